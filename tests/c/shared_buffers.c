/* Threads write to one buffer and take from it until it is released under them: bytes are counted, and nobody is hurt. */
#include <pthread.h>
#include <stdlib.h>

#include "check.h"
#include "socket/SocketBuf.h"

enum { PAIRS = 3 };

static SocketBuf_T shared;
static long writes = 20000;

static void *write_some(void *wrote)
{
    long n;

    for (n = 0; n < writes; n++)
        *(long *)wrote += (long)SocketBuf_write(shared, "12345", 5);
    return NULL;
}

static void *take_some(void *took)
{
    char into[16];
    long n;

    for (n = 0; n < writes; n++)
        *(long *)took += (long)SocketBuf_read(shared, into, sizeof into);
    return NULL;
}

static void *use_until_released(void *buffer)
{
    char into[16];

    while (SocketBuf_consume((SocketBuf_T)buffer, 0) == 0) {
        SocketBuf_write((SocketBuf_T)buffer, "12345", 5);
        SocketBuf_read((SocketBuf_T)buffer, into, sizeof into);
        SocketBuf_ensure((SocketBuf_T)buffer, 100);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[2 * PAIRS];
    long moved[2 * PAIRS] = {0}, wrote = 0, took = 0;
    int n, round;

    if (argc > 1)
        writes = atol(argv[1]);
    shared = SocketBuf_new(NULL, 64);
    for (n = 0; n < 2 * PAIRS; n++)
        CHECK(pthread_create(&threads[n], NULL, n % 2 ? take_some : write_some, &moved[n]) == 0);
    for (n = 0; n < 2 * PAIRS; n++) {
        pthread_join(threads[n], NULL);
        *(n % 2 ? &took : &wrote) += moved[n];
    }
    CHECK(wrote > 0 && wrote == took + (long)SocketBuf_readable(shared));
    SocketBuf_release(&shared);

    for (round = 0; round < 20; round++) {
        SocketBuf_T name = SocketBuf_new(NULL, 64);
        for (n = 0; n < 2 * PAIRS; n++)
            CHECK(pthread_create(&threads[n], NULL, use_until_released, name) == 0);
        SocketBuf_release(&name);
        for (n = 0; n < 2 * PAIRS; n++)
            pthread_join(threads[n], NULL);
    }
    return failures != 0;
}
