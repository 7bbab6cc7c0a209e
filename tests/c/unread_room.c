/* A program that reads until nothing is there has asked for the room of another reading when it finds that out. It keeps that
 * room until the next wait, one for each connection: such memory is not touched before something is written there. */
#include <stdlib.h>

#include "check.h"
#include "pool/SocketPool.h"

enum { CONNECTIONS = 200, BUFFER = 1 << 20, MOST_KIB = 20 << 10 };

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

int main(void)
{
    static Socket_T theirs[CONNECTIONS];
    static Connection_T connections[CONNECTIONS];
    SocketPool_T pool = SocketPool_new(NULL, CONNECTIONS, BUFFER);
    Socket_T ours;
    long before, grown;
    int n;

    for (n = 0; n < CONNECTIONS; n++) {
        CHECK(SocketPair_new(SOCK_STREAM, &ours, &theirs[n]) == 0);
        connections[n] = SocketPool_add(pool, ours);
        CHECK(Socket_send(theirs[n], "a line\n", 7, 0) == 7);
    }
    before = resident_kib();
    for (n = 0; n < CONNECTIONS; n++) {
        SocketBuf_T in = Connection_inbuf(connections[n]);
        ssize_t got;

        while ((got = Socket_recv(Connection_socket(connections[n]), SocketBuf_writeptr(in), SocketBuf_writeable(in), 0)) > 0)
            SocketBuf_produce(in, (size_t)got);
        CHECK(got == -1 && SocketBuf_readable(in) == 7 && memcmp(SocketBuf_readptr(in), "a line\n", 7) == 0);
    }
    grown = resident_kib() - before;
    printf("%d buffers of %d bytes, 7 bytes in each: %ld KiB\n", CONNECTIONS, BUFFER, grown);
    CHECK(grown < MOST_KIB);
    for (n = 0; n < CONNECTIONS; n++)
        Socket_free(&theirs[n]);
    SocketPool_free(&pool);
    return failures != 0;
}
