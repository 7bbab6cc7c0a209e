/* The legacy library's arenas never gave anything back: whatever came and went made them larger. */
#include <stdlib.h>

#include "check.h"
#include "core/Arena.h"
#include "socket/SocketBuf.h"

static long resident_kib(void)
{
    char line[256];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");

    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    if (status != NULL)
        fclose(status);
    return kib;
}

int main(int argc, char **argv)
{
    Arena_T arena = Arena_new();
    SocketBuf_T kept = SocketBuf_new(arena, 64), buffer;
    long before = 0, rounds = argc > 1 ? atol(argv[1]) : 300000, round;

    for (round = 0; round < rounds; round++) {
        if (round == rounds / 10)
            before = resident_kib();
        buffer = SocketBuf_new(arena, 4096);
        CHECK(SocketBuf_write(buffer, "something", 9) == 9);
        SocketBuf_release(&buffer);
    }
    /* Under valgrind, which keeps what is freed for a while, only leaks are looked for. */
    CHECK(argc > 1 || resident_kib() < before + 1024);
    CHECK(SocketBuf_write(kept, "still", 5) == 5);
    Arena_dispose(&arena);
    CHECK(SocketBuf_readable(kept) == 0);
    return failures != 0;
}
