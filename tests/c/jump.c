/* A close callback leaves a wait by longjmp, or in C++ by an exception, and may have freed the poll before: the wait holds
 * nothing that would be lost, and the poll, if there is one, waits again. */
#define _POSIX_C_SOURCE 200809L

#include <setjmp.h>

#include "pool/SocketPool.h"
#include "sockets.h"

#ifndef __cplusplus
static jmp_buf out;
#endif
static SocketPool_T pool;
static SocketPoll_T poll;
static int frees_the_poll;

static void closed(Connection_T connection, void *userdata, int reason, void *argument)
{
    (void)connection, (void)userdata, (void)reason, (void)argument;
    if (frees_the_poll)
        SocketPoll_free(&poll);
#ifdef __cplusplus
    throw 7;
#else
    longjmp(out, 1);
#endif
}

static void wait_until_it_jumps(void)
{
    SocketEvent_T *events;
    int n;

    /* Not before there is somewhere to jump to. */
    SocketPool_set_first_message_timeout(pool, 100);
    for (n = 0; n < 50; n++)
        SocketPoll_wait(poll, &events, 100);
}

static int jumps(void)
{
#ifdef __cplusplus
    try {
        wait_until_it_jumps();
    } catch (int) {
        return 1;
    }
    return 0;
#else
    if (setjmp(out) != 0)
        return 1;
    wait_until_it_jumps();
    return 0;
#endif
}

int main(void)
{
    Socket_T listener = Socket_new(AF_INET, SOCK_STREAM, 0);
    int port, n, round, clients[2];

    CHECK(Socket_bind(listener, "127.0.0.1", 0) == 0 && Socket_listen(listener, 9) == 0);
    port = Socket_getlocalport(listener);
    for (round = 0; round < 4; round++) {
        SocketEvent_T *events;

        pool = SocketPool_new(NULL, 4, 4096);
        frees_the_poll = round % 2;
        if (poll == NULL)
            poll = SocketPoll_new(4);
        SocketPool_set_close_callback(pool, closed, NULL);
        for (n = 0; n < 2; n++) {
            Connection_T connection;

            clients[n] = connect_to(port);
            connection = SocketPool_add(pool, Socket_accept(listener));
            CHECK(SocketPoll_add(poll, Connection_fd(connection), POLL_READ, connection) == 0);
        }
        CHECK(jumps());
        SocketPool_set_close_callback(pool, NULL, NULL);
        if (frees_the_poll)
            CHECK(poll == NULL);
        else
            CHECK(SocketPoll_wait(poll, &events, 1000) >= 1);
        SocketPool_free(&pool);
        for (n = 0; n < 2; n++)
            close(clients[n]);
        if (!frees_the_poll)
            CHECK(SocketPoll_getregisteredcount(poll) == 0);
    }
    SocketPoll_free(&poll);
    Socket_free(&listener);
    return failures != 0;
}
