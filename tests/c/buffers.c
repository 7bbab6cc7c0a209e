/* Buffers: what goes in comes out, in one piece, and what does not fit changes nothing. */
#include <errno.h>
#include <stdlib.h>

#include "check.h"
#include "socket/SocketBuf.h"

static void in_and_out(void)
{
    SocketBuf_T buffer = SocketBuf_new(NULL, 64);
    char text[100];
    size_t count;

    CHECK(buffer != NULL && SocketBuf_empty(buffer) && !SocketBuf_full(buffer));
    CHECK(SocketBuf_readable(buffer) == 0 && SocketBuf_writeable(buffer) == 64);
    CHECK(SocketBuf_readptr(buffer) == NULL && SocketBuf_writeptr(buffer) != NULL);
    CHECK(SocketBuf_write(buffer, "hello world", 11) == 11 && SocketBuf_available(buffer) == 11);
    CHECK(SocketBuf_peek(buffer, text, 5) == 5 && memcmp(text, "hello", 5) == 0);
    CHECK(memcmp(SocketBuf_readptr(buffer), "hello world", 11) == 0);
    CHECK(SocketBuf_read(buffer, text, 6) == 6 && memcmp(text, "hello ", 6) == 0);
    CHECK(SocketBuf_consume(buffer, 6) == -1 && SocketBuf_readable(buffer) == 5);
    CHECK(strstr(SocketBuf_readable(buffer) == 5 ? sp_last_error() : "", "length is 6, must be at most the 5 bytes"));
    CHECK(SocketBuf_consume(buffer, (size_t)-1) == -1 && SocketBuf_consume(buffer, 0) == 0);
    CHECK(SocketBuf_consume(buffer, 5) == 0 && SocketBuf_empty(buffer));

    memset(text, 'x', sizeof text);
    CHECK(SocketBuf_write(buffer, text, sizeof text) == 64 && SocketBuf_full(buffer));
    CHECK(SocketBuf_write(buffer, text, 1) == 0 && SocketBuf_writeptr(buffer) == NULL);
    CHECK(SocketBuf_space(buffer) == 0 && SocketBuf_produce(buffer, 1) == -1);
    CHECK(SocketBuf_clear(buffer) == 0 && SocketBuf_empty(buffer) && SocketBuf_compact(buffer) == 0);

    /* Round and round, always in one piece. */
    for (count = 0; count < 1000; count++) {
        char *room = (char *)SocketBuf_writeptr(buffer);
        size_t part = count % 7 + 1, space = SocketBuf_writeable(buffer), n;
        const char *there;

        for (n = 0; n < space; n++)
            room[n] = (char)('a' + n % 26);
        CHECK(SocketBuf_produce(buffer, space + 1) == -1 && SocketBuf_written(buffer, space) == 0);
        CHECK(SocketBuf_full(buffer) && SocketBuf_readable(buffer) == 64);
        there = (const char *)SocketBuf_readptr(buffer);
        for (n = 0; n < space; n++)
            CHECK(there[64 - space + n] == (char)('a' + n % 26));
        CHECK(SocketBuf_consume(buffer, part) == 0);
    }
    SocketBuf_release(&buffer);
    CHECK(buffer == NULL);
    SocketBuf_release(&buffer);
    SocketBuf_release(NULL);
}

static void more_room(void)
{
    SocketBuf_T buffer = SocketBuf_new(NULL, 64);
    size_t most = 16 * 1024 * 1024;

    CHECK(SocketBuf_write(buffer, "0123456789", 10) == 10);
    CHECK(SocketBuf_reserve(buffer, 54) == 0 && SocketBuf_writeable(buffer) == 54);
    CHECK(SocketBuf_reserve(buffer, 55) == 0 && SocketBuf_writeable(buffer) == 118);
    CHECK(SocketBuf_ensure(buffer, 1000) == 1 && SocketBuf_writeable(buffer) == 1000);
    CHECK(memcmp(SocketBuf_readptr(buffer), "0123456789", 10) == 0);
    CHECK(SocketBuf_ensure(buffer, most) == 0 && SocketBuf_reserve(buffer, (size_t)-1) == -1);
    CHECK(strstr(sp_last_error(), "must be at most 16777206") != NULL);
    CHECK(SocketBuf_writeable(buffer) == 1000 && SocketBuf_readable(buffer) == 10);
    CHECK(SocketBuf_reserve(buffer, most - 10) == 0 && SocketBuf_writeable(buffer) == most - 10);
    SocketBuf_release(&buffer);

    CHECK(SocketBuf_new(NULL, 63) == NULL && strstr(sp_last_error(), "capacity is 63, must be from 64 to 16777216"));
    CHECK(SocketBuf_new(NULL, most + 1) == NULL && SocketBuf_new(NULL, (size_t)-1) == NULL);
    buffer = SocketBuf_new(NULL, most);
    CHECK(buffer != NULL && SocketBuf_writeable(buffer) == most);
    SocketBuf_release(&buffer);
}

static void lines(void)
{
    SocketBuf_T buffer = SocketBuf_new(NULL, 64);
    char line[32];

    errno = 0;
    CHECK(SocketBuf_readline(buffer, line, sizeof line) == -1 && errno == EAGAIN);
    CHECK(SocketBuf_write(buffer, "GET / HTTP/1.1\r\nHost: x\n\r\nrest", 30) == 30);
    CHECK(SocketBuf_find(buffer, "\r\n\r\n", 4) == -1 && SocketBuf_find(buffer, "\n", 1) == 15);
    CHECK(SocketBuf_find(buffer, "Host", 4) == 16 && SocketBuf_find(buffer, NULL, 0) == 0);
    CHECK(SocketBuf_find(buffer, NULL, 1) == -1 && SocketBuf_find(buffer, "GET", 3) == 0);
    errno = 0;
    CHECK(SocketBuf_readline(buffer, line, 14) == -1 && errno == ENOBUFS);
    CHECK(SocketBuf_readline(buffer, NULL, 10) == -1 && SocketBuf_readline(buffer, NULL, 0) == -1);
    CHECK(SocketBuf_readable(buffer) == 30);
    CHECK(SocketBuf_readline(buffer, line, 15) == 14 && strcmp(line, "GET / HTTP/1.1") == 0);
    CHECK(SocketBuf_readline(buffer, line, sizeof line) == 7 && strcmp(line, "Host: x") == 0);
    CHECK(SocketBuf_readline(buffer, line, sizeof line) == 0 && strcmp(line, "") == 0);
    CHECK(SocketBuf_readline(buffer, line, sizeof line) == -1 && SocketBuf_readable(buffer) == 4);
    SocketBuf_release(&buffer);
}

static void pieces(void)
{
    SocketBuf_T buffer = SocketBuf_new(NULL, 64);
    char one[40], other[40];
    struct iovec both[3];

    both[0].iov_base = one, both[0].iov_len = sizeof one;
    both[1].iov_base = NULL, both[1].iov_len = 0;
    both[2].iov_base = other, both[2].iov_len = sizeof other;
    memset(one, '1', sizeof one), memset(other, '2', sizeof other);
    CHECK(SocketBuf_writev(buffer, both, 3) == 64 && SocketBuf_writev(buffer, both, 3) == 0);
    memset(one, 0, sizeof one), memset(other, 0, sizeof other);
    CHECK(SocketBuf_readv(buffer, both, 3) == 64 && one[39] == '1' && other[0] == '2' && other[23] == '2');
    CHECK(other[24] == 0 && SocketBuf_readv(buffer, both, 3) == 0);
    CHECK(SocketBuf_writev(buffer, NULL, 0) == 0 && SocketBuf_readv(buffer, NULL, 1) == -1);
    CHECK(SocketBuf_writev(buffer, both, -1) == -1 && SocketBuf_readv(buffer, both, -1) == -1);
    /* One that cannot be, and then nothing moves. */
    both[1].iov_len = 1;
    CHECK(SocketBuf_writev(buffer, both, 3) == -1 && SocketBuf_empty(buffer));
    CHECK(SocketBuf_write(buffer, "abc", 3) == 3 && SocketBuf_readv(buffer, both, 3) == -1);
    CHECK(SocketBuf_readable(buffer) == 3);
    SocketBuf_release(&buffer);
}

static void secrets(void)
{
    SocketBuf_T buffer = SocketBuf_new(NULL, 256);
    char *room;
    size_t n;

    CHECK(SocketBuf_write(buffer, "a password", 10) == 10 && SocketBuf_consume(buffer, 5) == 0);
    room = (char *)SocketBuf_writeptr(buffer);
    memcpy(room + 100, "another", 7);
    CHECK(SocketBuf_secureclear(buffer) == 0 && SocketBuf_empty(buffer));
    room = (char *)SocketBuf_writeptr(buffer);
    for (n = 0; n < SocketBuf_writeable(buffer); n++)
        CHECK(room[n] == 0);
    SocketBuf_release(&buffer);
}

int main(void)
{
    in_and_out();
    more_room();
    lines();
    pieces();
    secrets();
    return failures != 0;
}
