/* Clients for the servers of these programs: they talk in a thread of their own and wait for what they want to hear. */
#ifndef CLIENT_H
#define CLIENT_H

#include <pthread.h>
#include <sys/time.h>

#include "sockets.h"

/* Whoever waits for more than this hangs. */
enum { PATIENCE_S = 20 };

static inline int client_of(int port)
{
    struct timeval patience = {PATIENCE_S, 0};
    int fd = connect_to(port);

    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    return fd;
}

static inline void say(int fd, const char *text)
{
    CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

/* Whether just this comes next. */
static inline int hears(int fd, const char *text)
{
    char heard[256];
    size_t length = strlen(text), got = 0;
    ssize_t n;

    while (got < length && (n = recv(fd, heard + got, length - got, 0)) > 0)
        got += (size_t)n;
    if (got == length && memcmp(heard, text, length) == 0)
        return 1;
    printf("heard \"%.*s\", not \"%s\"\n", (int)got, heard, text);
    return 0;
}

/* Whether the server has ended it, by a FIN. */
static inline int hears_end(int fd)
{
    char byte;

    return recv(fd, &byte, 1, 0) == 0;
}

#endif
