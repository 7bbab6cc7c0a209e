/* A server that gives up inside a function of its own: the pool is freed in the callback of the end that was one too many,
 * whichever call tells of it. The others are told as well, once each, and the loop goes on with what is left. */
#include "client.h"
#include "pool/SocketPool.h"

enum { CONNECTIONS = 6, MOST_ENDS = 2 };

static SocketPool_T pool, copy;
static SocketPoll_T poll;
static int told, freed_in;

static void on_close(Connection_T conn, void *userdata, int reason, void *argument)
{
    (void)reason;
    CHECK(argument == &pool && Connection_userdata(conn) == userdata && ++*(int *)userdata == 1);
    if (++told == MOST_ENDS) {
        freed_in = told;
        SocketPool_free(&pool);
        CHECK(pool == NULL && SocketPool_count(copy) == 0);
    }
    /* It is told of itself still, and the pool answers nothing more. */
    CHECK(Connection_userdata(conn) == userdata);
}

static void try(int by_peers)
{
    Socket_T ours, others[CONNECTIONS];
    Connection_T conns[CONNECTIONS];
    SocketEvent_T *events;
    int marks[CONNECTIONS] = {0}, n, count, rest = 0;

    told = freed_in = 0;
    copy = pool = SocketPool_new(NULL, 100, 1024);
    poll = SocketPoll_new(10);
    CHECK(SocketPool_set_close_callback(pool, on_close, &pool) == 0);
    for (n = 0; n < CONNECTIONS; n++) {
        CHECK(SocketPair_new(SOCK_STREAM, &ours, &others[n]) == 0);
        conns[n] = SocketPool_add(pool, ours);
        CHECK(conns[n] != NULL && Connection_set_userdata(conns[n], &marks[n]) == 0);
        CHECK(SocketPoll_add(poll, Connection_fd(conns[n]), POLL_READ, conns[n]) == 0);
    }
    if (by_peers) {
        for (n = 0; n < CONNECTIONS; n++)
            Socket_free(&others[n]);
        count = SocketPoll_wait(poll, &events, -1);
        CHECK(count == CONNECTIONS);
        for (n = 0; n < count; n++) {
            Connection_T conn = (Connection_T)events[n].data;
            char byte;

            /* Nobody is told of who went with the pool. */
            CHECK(n < MOST_ENDS ? events[n].events != 0 : events[n].events == 0);
            if (events[n].events != 0 && Socket_recv(Connection_socket(conn), &byte, 1, 0) == 0)
                SocketPool_remove(pool, conn);
        }
    } else {
        CHECK(SocketPool_force_close_all(pool) == 0);
    }
    CHECK(freed_in == MOST_ENDS && told == CONNECTIONS);
    for (n = 0; n < CONNECTIONS; n++) {
        rest += marks[n];
        CHECK(Connection_isactive(conns[n]) == 0);
        Socket_free(&others[n]);
    }
    CHECK(rest == CONNECTIONS && SocketPoll_wait(poll, &events, 0) == 0 && SocketPoll_getregisteredcount(poll) == 0);
    SocketPoll_free(&poll);
}

int main(void)
{
    try(0);
    try(1);
    return failures != 0;
}
