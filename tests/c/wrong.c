/* Every function of sockets, buffers and arenas with every handle that is wrong: neutral, told, and nothing else happens. */
#include <stdint.h>

#include "check.h"
#include "core/Arena.h"
#include "socket/Socket.h"
#include "socket/SocketBuf.h"

static const char *why;
static uint64_t told;

/* Each call counts one bad handle and says why. */
static int is_told(const char *function)
{
    const char *said = sp_last_error();
    int good = sp_bad_handles() == told + 1 && strncmp(said, function, strlen(function)) == 0
        && said[strlen(function)] == ':' && strstr(said, why) != NULL && Socket_geterrno() != 0;

    told = sp_bad_handles();
    return good;
}

#define WRONG(function, arguments, neutral) CHECK(function arguments == (neutral) && is_told(#function))

static void bad_socket(Socket_T socket)
{
    Socket_T copy = socket;
    char text[4] = "abc";

    told = sp_bad_handles();
    WRONG(Socket_bind, (socket, "127.0.0.1", 0), -1);
    WRONG(Socket_listen, (socket, 1), -1);
    WRONG(Socket_accept, (socket), NULL);
    WRONG(Socket_connect, (socket, "127.0.0.1", 1), -1);
    WRONG(Socket_recv, (socket, text, sizeof text, 0), -1);
    WRONG(Socket_recv, (socket, text, 0, 0), -1);
    WRONG(Socket_send, (socket, text, sizeof text, 0), -1);
    WRONG(Socket_shutdown, (socket, 2), -1);
    WRONG(Socket_fd, (socket), -1);
    WRONG(Socket_isconnected, (socket), 0);
    WRONG(Socket_isbound, (socket), 0);
    WRONG(Socket_islistening, (socket), 0);
    WRONG(Socket_getpeerport, (socket), 0);
    WRONG(Socket_getlocalport, (socket), 0);
    WRONG(Socket_setnonblocking, (socket), -1);
    WRONG(Socket_setreuseaddr, (socket), -1);
    WRONG(Socket_setnodelay, (socket, 1), -1);
    WRONG(Socket_setkeepalive, (socket, 1, 1, 1), -1);
    CHECK(strcmp(Socket_getpeeraddr(socket), "(unknown)") == 0 && is_told("Socket_getpeeraddr"));
    CHECK(strcmp(Socket_getlocaladdr(socket), "(unknown)") == 0 && is_told("Socket_getlocaladdr"));
    Socket_free(&copy);
    CHECK(copy == NULL && (socket == NULL || is_told("Socket_free")) && strcmp(text, "abc") == 0);
}

static void bad_buffer(SocketBuf_T buffer)
{
    SocketBuf_T copy = buffer;
    char text[4] = "abc";
    struct iovec piece;

    piece.iov_base = text, piece.iov_len = sizeof text;
    told = sp_bad_handles();
    WRONG(SocketBuf_write, (buffer, text, sizeof text), 0);
    WRONG(SocketBuf_read, (buffer, text, sizeof text), 0);
    WRONG(SocketBuf_peek, (buffer, text, sizeof text), 0);
    WRONG(SocketBuf_consume, (buffer, 0), -1);
    WRONG(SocketBuf_produce, (buffer, 0), -1);
    WRONG(SocketBuf_written, (buffer, 0), -1);
    WRONG(SocketBuf_readable, (buffer), 0);
    WRONG(SocketBuf_available, (buffer), 0);
    WRONG(SocketBuf_writeable, (buffer), 0);
    WRONG(SocketBuf_space, (buffer), 0);
    WRONG(SocketBuf_empty, (buffer), 1);
    WRONG(SocketBuf_full, (buffer), 0);
    WRONG(SocketBuf_clear, (buffer), -1);
    WRONG(SocketBuf_secureclear, (buffer), -1);
    WRONG(SocketBuf_readptr, (buffer), NULL);
    WRONG(SocketBuf_writeptr, (buffer), NULL);
    WRONG(SocketBuf_reserve, (buffer, 0), -1);
    WRONG(SocketBuf_ensure, (buffer, 0), 0);
    WRONG(SocketBuf_compact, (buffer), -1);
    WRONG(SocketBuf_find, (buffer, "", 0), -1);
    WRONG(SocketBuf_readline, (buffer, text, sizeof text), -1);
    WRONG(SocketBuf_readv, (buffer, &piece, 1), -1);
    WRONG(SocketBuf_writev, (buffer, &piece, 1), -1);
    SocketBuf_release(&copy);
    CHECK(copy == NULL && strcmp(text, "abc") == 0);
}

static void bad_arena(Arena_T arena)
{
    Arena_T copy = arena;

    told = sp_bad_handles();
    if (arena != NULL)
        WRONG(SocketBuf_new, (arena, 64), NULL);
    Arena_dispose(&copy);
    CHECK(copy == NULL && (arena == NULL || is_told("Arena_dispose")));
}

int main(int argc, char **argv)
{
    Socket_T socket, far, stale_socket;
    SocketBuf_T buffer, stale_buffer;
    Arena_T arena = Arena_new(), stale_arena;
    unsigned seed = 7;
    int round, rounds = argc > 1 ? 500 : 20000;

    (void)argv;
    CHECK(SocketPair_new(SOCK_STREAM, &socket, &far) == 0);
    buffer = SocketBuf_new(arena, 64);
    why = "is NULL";
    bad_socket(NULL);
    bad_buffer(NULL);
    bad_arena(NULL);
    why = " is no ";
    bad_socket((Socket_T)(void *)buffer);
    bad_socket((Socket_T)(void *)arena);
    bad_buffer((SocketBuf_T)(void *)socket);
    bad_buffer((SocketBuf_T)(void *)arena);
    bad_arena((Arena_T)(void *)socket);
    bad_arena((Arena_T)(void *)buffer);
    why = " is ";
    for (round = 0; round < rounds && !failures; round++) {
        size_t bits = 0, part;
        for (part = 0; part < sizeof bits; part++) {
            seed = seed * 1103515245u + 12345u;
            bits = bits << 8 | (seed >> 16 & 0xff);
        }
        /* Slots that are there, of another generation or kind. */
        if (round % 2)
            bits = (bits & ~(size_t)0xfffffff) | (size_t)(round % 8);
        if (round % 4 == 3)
            bits = ((size_t)socket & ~(size_t)0xffffffff) | (bits & 0xffffffff);
        if ((void *)bits == (void *)socket || (void *)bits == (void *)far || (void *)bits == (void *)buffer
            || (void *)bits == (void *)arena)
            continue;
        bad_socket((Socket_T)bits);
        bad_buffer((SocketBuf_T)bits);
        bad_arena((Arena_T)bits);
    }
    CHECK(Socket_send(socket, "x", 1, 0) == 1 && SocketBuf_write(buffer, "x", 1) == 1);
    stale_socket = socket, stale_buffer = buffer, stale_arena = arena;
    Socket_free(&socket);
    SocketBuf_release(&buffer);
    Arena_dispose(&arena);
    Socket_free(&far);
    why = "is stale";
    bad_socket(stale_socket);
    bad_buffer(stale_buffer);
    bad_arena(stale_arena);
    /* Their slots are used again, their names are not. */
    CHECK(SocketPair_new(SOCK_STREAM, &socket, &far) == 0);
    arena = Arena_new();
    buffer = SocketBuf_new(arena, 64);
    bad_socket(stale_socket);
    bad_buffer(stale_buffer);
    bad_arena(stale_arena);
    Socket_free(&socket);
    Socket_free(&far);
    Arena_dispose(&arena);
    return failures != 0;
}
