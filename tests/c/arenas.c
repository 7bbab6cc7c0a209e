/* What is made in an arena ends with it, or before. */
#include "check.h"
#include "core/Arena.h"
#include "socket/SocketBuf.h"

enum { BUFFERS = 100 };

int main(void)
{
    Arena_T arena = Arena_new(), other = Arena_new(), stale;
    SocketBuf_T buffers[BUFFERS], elsewhere, free;
    int n;

    CHECK(arena != NULL && other != NULL && arena != other);
    for (n = 0; n < BUFFERS; n++) {
        buffers[n] = SocketBuf_new(arena, 64);
        CHECK(SocketBuf_write(buffers[n], "x", 1) == 1);
    }
    elsewhere = SocketBuf_new(other, 64);
    free = SocketBuf_new(NULL, 64);
    /* Some end before. */
    for (n = 0; n < BUFFERS; n += 3)
        SocketBuf_release(&buffers[n]);
    stale = arena;
    Arena_dispose(&arena);
    CHECK(arena == NULL);
    for (n = 0; n < BUFFERS; n++) {
        CHECK(SocketBuf_readable(buffers[n]) == 0 && SocketBuf_write(buffers[n], "x", 1) == 0);
        SocketBuf_release(&buffers[n]);
        CHECK(buffers[n] == NULL);
    }
    CHECK(SocketBuf_write(elsewhere, "x", 1) == 1 && SocketBuf_write(free, "x", 1) == 1);

    /* No arena, no buffer. */
    CHECK(SocketBuf_new(stale, 64) == NULL && strstr(sp_last_error(), "SocketBuf_new: arena is stale") != NULL);
    CHECK(SocketBuf_new((Arena_T)(void *)free, 64) == NULL && strstr(sp_last_error(), "arena is no arena") != NULL);
    Arena_dispose(&stale);
    CHECK(stale == NULL);
    Arena_dispose(&stale);
    Arena_dispose(NULL);
    Arena_dispose(&other);
    CHECK(SocketBuf_readable(elsewhere) == 0 && SocketBuf_readable(free) == 1);
    SocketBuf_release(&free);
    return failures != 0;
}
