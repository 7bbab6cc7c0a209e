/* Every overloaded name of SocketPoll.h, by descriptor and by socket, in every dialect of C and C++. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>

#include <poll/SocketPoll.h>
#include <poll/SocketPoll.h>

#include "sockets.h"

int main(void)
{
    SocketPool_T pool = SocketPool_new(NULL, 4, 4096);
    int port = SocketPool_listen(pool, "127.0.0.1", 0), client = connect_to(port);
    Connection_T connection = opened(pool);
    Socket_T socket = Connection_socket(connection), nobody = NULL;
    SocketPoll_T poll = SocketPoll_new(4);
    SocketEvent_T *events = NULL;
    int fds[2], mark = 0;

    CHECK(sizeof(SocketEvent_T) == 24);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);

    CHECK(SocketPoll_add(poll, fds[0], POLL_READ | POLL_WRITE, &mark) == 0);
    CHECK(SocketPoll_add(poll, fds[0], POLL_READ, NULL) == -1 && sp_last_errno() == EEXIST);
    CHECK(SocketPoll_wait(poll, &events, 1000) == 1);
    CHECK(events[0].socket == NULL && events[0].data == &mark && events[0].events == POLL_WRITE);
    CHECK(SocketPoll_mod(poll, fds[0], POLL_READ, NULL) == 0);
    CHECK(write(fds[1], "x", 1) == 1);
    CHECK(SocketPoll_wait(poll, &events, 1000) == 1);
    CHECK(events[0].data == NULL && events[0].events == POLL_READ);
    CHECK(SocketPoll_del(poll, fds[0]) == 0);
    CHECK(SocketPoll_del(poll, fds[0]) == -1 && sp_last_errno() == ENOENT);

    CHECK(SocketPoll_add(poll, socket, POLL_READ | POLL_WRITE, connection) == 0);
    CHECK(SocketPoll_wait(poll, &events, 1000) == 1);
    CHECK(events[0].socket == socket && events[0].data == connection && events[0].events == POLL_WRITE);
    CHECK(SocketPoll_mod(poll, socket, 0, NULL) == 0);
    CHECK(SocketPoll_mod(poll, Connection_fd(connection), POLL_WRITE, &mark) == 0);
    CHECK(SocketPoll_wait(poll, &events, SOCKET_POLL_TIMEOUT_USE_DEFAULT) == 1 && events[0].data == &mark);
    CHECK(SocketPoll_del(poll, socket) == 0 && SocketPoll_getregisteredcount(poll) == 0);

    CHECK(SocketPoll_add(poll, nobody, POLL_READ, NULL) == -1);
    CHECK(SocketPoll_mod(poll, nobody, POLL_READ, NULL) == -1);
    CHECK(SocketPoll_del(poll, nobody) == -1);

    SocketPoll_free(&poll);
    CHECK(poll == NULL);
    SocketPool_free(&pool);
    close(client);
    close(fds[0]);
    close(fds[1]);
    return failures != 0;
}
