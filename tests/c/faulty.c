/* Mistakes of a program in what it lends to the library, which a sanitizer is to find in the library's own code:
 * `faulty overflow` or `faulty race`. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "socket/SocketBuf.h"

static char shared[8];
static pthread_barrier_t both;

static void *read_into(void *place)
{
    SocketBuf_T buffer = SocketBuf_new(NULL, 64);
    int round;

    /* What one has done before, the other may know of. */
    if (place == shared)
        pthread_barrier_wait(&both);
    for (round = 0; round < 1000; round++) {
        SocketBuf_write(buffer, "12345678", 8);
        SocketBuf_read(buffer, place, 8);
    }
    SocketBuf_release(&buffer);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "overflow") == 0) {
        char *place = (char *)malloc(4);

        read_into(place);
        free(place);
    } else {
        pthread_t threads[2];
        int n;

        pthread_barrier_init(&both, NULL, 2);
        for (n = 0; n < 2; n++)
            pthread_create(&threads[n], NULL, read_into, shared);
        for (n = 0; n < 2; n++)
            pthread_join(threads[n], NULL);
    }
    return 0;
}
