/* Sockets for the programs of the tests. */
#ifndef SOCKETS_H
#define SOCKETS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

static inline int connect_to(int port)
{
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

/* The connection that the pool opens for a client. */
static inline Connection_T opened(SocketPool_T pool)
{
    sp_event event;
    int turns;

    for (turns = 0; turns < 200; turns++) {
        while (SocketPool_next_event(pool, &event) == 1)
            if (event.kind == SP_EVENT_OPENED)
                return event.connection;
        CHECK(SocketPool_turn(pool, 50) == 0);
    }
    CHECK(!"a connection is opened");
    return NULL;
}

#endif
