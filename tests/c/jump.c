/* A close callback leaves a wait by longjmp, or in C++ by an exception, and may have freed the poll before: the wait holds
 * nothing that would be lost, and the poll, if there is one, waits again. Out of a free, and the pool is gone. */
#define _POSIX_C_SOURCE 200809L

#include <setjmp.h>
#include <time.h>

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

enum { SEATS = 5 };

static int told_count;

/* Jumps at the first of the ends that are told. */
static void closed_at_the_end(Connection_T connection, void *userdata, int reason, void *argument)
{
    char byte;

    CHECK(userdata == argument && Connection_userdata(connection) == userdata);
    CHECK(Socket_recv(Connection_socket(connection), &byte, 1, 0) == 0);
    CHECK(SocketBuf_readable(Connection_inbuf(connection)) == 0);
    if (told_count++ == 0)
        closed(connection, userdata, reason, argument);
}

static int jumps_out_of_a_free(SocketPool_T *pool)
{
#ifdef __cplusplus
    try {
        SocketPool_free(pool);
    } catch (int) {
        return 1;
    }
    return 0;
#else
    if (setjmp(out) != 0)
        return 1;
    SocketPool_free(pool);
    return 0;
#endif
}

static int is_closed(Socket_T other)
{
    char byte;

    CHECK(Socket_setnonblocking(other) == 0);
    return Socket_recv(other, &byte, 1, 0) == 0;
}

/* Nothing is left of the pool, and whoever was not told is told by the next call with whichever pool. */
static void a_pool_is_gone_however_its_free_ends(void)
{
    const struct timespec longer_than_a_name_answers = {1, 100000000};
    SocketPool_T pool = SocketPool_new(NULL, SEATS, 4096), next = SocketPool_new(NULL, 1, 64), copy;
    Connection_T connections[SEATS];
    Socket_T ours, others[SEATS];
    int n, closed_count;

    SocketPool_set_close_callback(pool, closed_at_the_end, &told_count);
    for (n = 0; n < SEATS; n++) {
        CHECK(SocketPair_new(SOCK_STREAM, &ours, &others[n]) == 0);
        connections[n] = SocketPool_add(pool, ours);
        Connection_set_userdata(connections[n], &told_count);
    }
    copy = pool;
    frees_the_poll = 0;
    CHECK(jumps_out_of_a_free(&pool) && pool == NULL && told_count == 1);
    CHECK(SocketPool_set_idle_timeout(copy, 1) == -1 && strstr(Socket_GetLastError(), "stale") != NULL);
    CHECK(SocketPool_count(next) == 0 && told_count == SEATS);
    for (n = 0, closed_count = 0; n < SEATS; n++)
        closed_count += is_closed(others[n]);
    CHECK(closed_count == SEATS - 1);
    nanosleep(&longer_than_a_name_answers, NULL);
    CHECK(SocketPool_count(next) == 0);
    for (n = 0; n < SEATS; n++) {
        CHECK(is_closed(others[n]) && Connection_userdata(connections[n]) == NULL);
        Socket_free(&others[n]);
    }
    SocketPool_free(&next);
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
    a_pool_is_gone_however_its_free_ends();
    SocketPoll_free(&poll);
    Socket_free(&listener);
    return failures != 0;
}
