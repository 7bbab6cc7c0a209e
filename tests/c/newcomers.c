/* Newcomers that come to a full pool, who wait in the backlog where a SocketPoll watches the listening socket and no
 * other pool may have a place for them; and those for whom there is no descriptor. */
#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "core/SocketUtil.h"
#include "pool/SocketPool.h"

enum { MOST_CLIENTS = 8, LONG_MS = 3000 };

static Socket_T server;
static SocketPoll_T poll;
static Socket_T clients[MOST_CLIENTS];
static int came;

static void begin(int watched)
{
    server = Socket_new(AF_INET, SOCK_STREAM, 0);
    CHECK(Socket_bind(server, "127.0.0.1", 0) == 0 && Socket_listen(server, 64) == 0);
    CHECK(Socket_setnonblocking(server) == 0);
    poll = SocketPoll_new(16);
    if (watched)
        CHECK(SocketPoll_add(poll, server, POLL_READ, NULL) == 0);
    came = 0;
}

static void end(void)
{
    while (came > 0)
        Socket_free(&clients[--came]);
    SocketPoll_free(&poll);
    Socket_free(&server);
}

static SocketPool_T make(size_t most)
{
    SocketPool_T pool = SocketPool_new(NULL, most, 4096);

    CHECK(pool != NULL);
    return pool;
}

static void come(void)
{
    Socket_T client = Socket_new(AF_INET, SOCK_STREAM, 0);

    CHECK(Socket_connect(client, "127.0.0.1", Socket_getlocalport(server)) == 0);
    clients[came++] = client;
}

/* Accepts and adds once, as the guide does. -1: nobody was taken, 0: somebody was refused, 1: somebody came in. */
static int take(SocketPool_T pool, SocketPool_T other, Connection_T *conn)
{
    Socket_T taken = Socket_accept(server);
    Connection_T added;

    if (taken == NULL)
        return -1;
    added = SocketPool_add(pool, taken);
    if (added == NULL && other != NULL)
        added = SocketPool_add(other, taken);
    if (added == NULL) {
        Socket_free(&taken);
        return 0;
    }
    if (conn != NULL)
        *conn = added;
    return 1;
}

/* For how long the listening socket is not told, LONG_MS at most. */
static int64_t untold_ms(void)
{
    int64_t start = (int64_t)Socket_get_monotonic_ms(), past = 0;
    SocketEvent_T *events;
    int i, n;

    while (past < LONG_MS) {
        n = SocketPoll_wait(poll, &events, LONG_MS);
        past = (int64_t)Socket_get_monotonic_ms() - start;
        for (i = 0; i < n; i++)
            if (events[i].socket == server)
                return past;
    }
    return past;
}

/* A connection of which nothing was read, and that is told by no SocketPoll, is never evicted: the place stays taken. */
static void whoever_comes_waits_until_a_place_is_free(void)
{
    SocketPool_T pool = make(1);
    Connection_T conn = NULL;
    char byte;

    begin(1);
    come();
    CHECK(take(pool, NULL, &conn) == 1);
    come();
    CHECK(take(pool, NULL, NULL) == 0);
    come();
    CHECK(take(pool, NULL, NULL) == -1 && strstr(Socket_GetLastError(), "full") != NULL);
    CHECK(Socket_geterrno() == EAGAIN);
    CHECK(Socket_setnonblocking(clients[2]) == 0);
    CHECK(Socket_recv(clients[2], &byte, 1, 0) == -1 && Socket_geterrno() == EAGAIN);
    CHECK(SocketPool_remove(pool, conn) == 0);
    CHECK(untold_ms() < 500);
    CHECK(take(pool, NULL, &conn) == 1);
    /* Nobody is left for whom to look, and nobody is lost. */
    CHECK(take(pool, NULL, NULL) == -1);
    SocketPool_free(&pool);
    come();
    CHECK(untold_ms() < 500);
    end();
}

/* Who waits while a place is wanted for him is turned away as soon as that is what is wanted. */
static void whoever_comes_waits_or_is_refused_as_it_is_set(void)
{
    SocketPool_T pool = make(1);

    begin(1);
    come();
    CHECK(take(pool, NULL, NULL) == 1);
    come();
    CHECK(take(pool, NULL, NULL) == 0);
    come();
    come();
    CHECK(take(pool, NULL, NULL) == -1 && strstr(Socket_GetLastError(), "full") != NULL);
    CHECK(SocketPool_set_when_full(pool, SP_WHEN_FULL_REFUSE) == 0);
    CHECK(untold_ms() < LONG_MS);
    CHECK(take(pool, NULL, NULL) == 0);
    CHECK(SocketPool_set_when_full(pool, SP_WHEN_FULL_WAIT) == 0);
    CHECK(take(pool, NULL, NULL) == -1 && strstr(Socket_GetLastError(), "full") != NULL);
    CHECK(SocketPool_set_when_full(pool, 2) == -1 && SocketPool_set_when_full(pool, -1) == -1);
    CHECK(strstr(Socket_GetLastError(), "how is -1, must be one of SP_WHEN_FULL_, from 0 to 1") != NULL);
    /* A larger pool has a place at once. */
    CHECK(SocketPool_resize(pool, 2) == 0);
    CHECK(take(pool, NULL, NULL) == 1);
    SocketPool_free(&pool);
    end();
}

/* One that was answered and has nothing to do goes for a newcomer, unless nobody is to. */
static void somebody_goes_for_a_newcomer_or_nobody(void)
{
    SocketPool_T pool = make(1);
    Connection_T conn = NULL;
    uint64_t start;
    char byte;

    begin(0);
    CHECK(SocketPool_set_eviction(pool, 0) == 0);
    come();
    CHECK(take(pool, NULL, &conn) == 1);
    CHECK(Socket_send(clients[0], "x", 1, 0) == 1 && Socket_recv(Connection_socket(conn), &byte, 1, 0) == 1);
    CHECK(Socket_send(Connection_socket(conn), "y", 1, 0) == 1);
    start = Socket_get_monotonic_ms();
    while (Socket_get_monotonic_ms() < start + 60)
        SocketPool_tick(pool);
    come();
    CHECK(take(pool, NULL, NULL) == 0 && Connection_isactive(conn) == 1);
    CHECK(SocketPool_set_eviction(pool, 2) == -1 && strstr(Socket_GetLastError(), "on is 2, must be 0 or 1") != NULL);
    CHECK(SocketPool_set_eviction(pool, 1) == 0);
    come();
    CHECK(take(pool, NULL, NULL) == 1 && SocketPool_count(pool) == 1);
    SocketPool_free(&pool);
    end();
}

/* The poll sleeps meanwhile, and looks again now and then. */
static void the_poll_sleeps_while_there_is_no_place(void)
{
    SocketPool_T pool = make(1);
    int64_t untold;

    begin(1);
    come();
    CHECK(take(pool, NULL, NULL) == 1);
    come();
    CHECK(take(pool, NULL, NULL) == 0);
    come();
    CHECK(take(pool, NULL, NULL) == -1);
    untold = untold_ms();
    CHECK(untold >= 3 && untold < LONG_MS);
    SocketPool_free(&pool);
    end();
}

static void where_another_pool_may_have_a_place_nobody_waits(void)
{
    SocketPool_T first = make(1), second = make(2);
    Connection_T conn = NULL;

    begin(1);
    come();
    CHECK(take(first, second, &conn) == 1);
    come();
    CHECK(take(first, second, NULL) == 1);
    come();
    CHECK(take(first, second, NULL) == 1);
    come();
    CHECK(take(first, second, NULL) == 0);
    CHECK(SocketPool_remove(first, conn) == 0);
    come();
    CHECK(take(first, second, NULL) == 1);
    come();
    CHECK(take(first, second, NULL) == 0);
    SocketPool_free(&first);
    SocketPool_free(&second);
    end();
}

/* A loop of another kind would find the listening socket readable without end. */
static void in_another_kind_of_loop_nobody_waits(void)
{
    SocketPool_T pool = make(1);
    int i;

    begin(0);
    come();
    CHECK(take(pool, NULL, NULL) == 1);
    for (i = 0; i < 3; i++) {
        come();
        CHECK(take(pool, NULL, NULL) == 0);
    }
    SocketPool_free(&pool);
    end();
}

/* Whoever comes while the pool drains is left to whoever takes over, whoever ends meanwhile. */
static void a_drain_leaves_the_backlog_alone(void)
{
    SocketPool_T pool = make(1);
    SocketEvent_T *events;
    Connection_T conn = NULL;
    int rounds, i, n;

    begin(1);
    come();
    CHECK(take(pool, NULL, &conn) == 1);
    come();
    CHECK(take(pool, NULL, NULL) == 0);
    come();
    CHECK(take(pool, NULL, NULL) == -1);
    CHECK(SocketPool_drain(pool) == 0);
    SocketPool_remove(pool, conn);
    for (rounds = 0; rounds < 5; rounds++) {
        n = SocketPoll_wait(poll, &events, 20);
        for (i = 0; i < n; i++)
            CHECK(events[i].socket != server);
    }
    SocketPool_free(&pool);
    end();
}

static void count(Connection_T conn, void *userdata, int reason, void *argument)
{
    (void)conn;
    (void)userdata;
    CHECK(strcmp(sp_reason_name(reason), "evicted") == 0);
    *(int *)argument += 1;
}

/* Silent for longer than the grace, so that it may be evicted. */
static void be_silent(SocketPool_T pool)
{
    SocketEvent_T *events;
    int64_t until = (int64_t)Socket_get_monotonic_ms() + 50;

    while ((int64_t)Socket_get_monotonic_ms() < until)
        SocketPoll_wait(poll, &events, 10);
    SocketPool_tick(pool);
}

/* From now on there is none to be had. */
static void take_all_descriptors(struct rlimit *before)
{
    struct rlimit limit;
    int next = dup(0);

    close(next);
    CHECK(getrlimit(RLIMIT_NOFILE, before) == 0);
    limit = *before;
    limit.rlim_cur = (rlim_t)next;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* The first failure costs nobody anything. The next ones who come cost one each, as long as somebody comes. */
static void without_descriptors_one_goes_for_each_who_comes(void)
{
    SocketPool_T pool = make(10);
    struct rlimit before;
    Connection_T conn;
    int i, tries, taken, evicted = 0;

    begin(1);
    CHECK(SocketPool_set_close_callback(pool, count, &evicted) == 0);
    for (i = 0; i < 4; i++) {
        come();
        CHECK(take(pool, NULL, &conn) == 1);
        CHECK(SocketPoll_add(poll, Connection_fd(conn), POLL_READ, conn) == 0);
    }
    for (i = 0; i < 3; i++)
        come();
    take_all_descriptors(&before);

    be_silent(pool);
    CHECK(Socket_accept(server) == NULL && Socket_geterrno() == EMFILE);
    CHECK(untold_ms() < 500);
    CHECK(Socket_accept(server) == NULL && Socket_geterrno() == EMFILE && evicted == 0);
    for (i = 1; i <= 3; i++) {
        /* Now and then one is tried without that, and fails. */
        for (tries = 0, taken = -1; taken == -1 && tries < 5; tries++) {
            CHECK(untold_ms() < 500);
            taken = take(pool, NULL, NULL);
        }
        CHECK(taken == 1 && evicted == i);
    }
    for (i = 0; i < 3; i++)
        CHECK(Socket_accept(server) == NULL && Socket_geterrno() == EAGAIN);
    CHECK(evicted == 3 && SocketPool_count(pool) == 4);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(SocketPool_set_close_callback(pool, NULL, NULL) == 0);
    SocketPool_free(&pool);
    end();
}

/* Nobody can go for a newcomer who comes to no pool, and the listening socket is not told all the time. */
static void without_descriptors_and_a_pool_the_poll_sleeps(void)
{
    struct rlimit before;
    int64_t until = (int64_t)Socket_get_monotonic_ms() + 300;
    int tries = 0;

    begin(1);
    come();
    take_all_descriptors(&before);
    while ((int64_t)Socket_get_monotonic_ms() < until) {
        CHECK(untold_ms() < 500);
        CHECK(Socket_accept(server) == NULL && Socket_geterrno() == EMFILE);
        tries++;
    }
    CHECK(tries <= 20);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    end();
}

/* Nobody goes for somebody whom the pool would turn away, and what comes free is no reason to look at him. */
static void without_descriptors_a_drain_leaves_the_backlog_alone(void)
{
    SocketPool_T pool = make(10);
    SocketEvent_T *events;
    struct rlimit before;
    Connection_T conns[2];
    Socket_T spare = Socket_new(AF_INET, SOCK_STREAM, 0);
    int i, n, rounds, evicted = 0;

    begin(1);
    CHECK(SocketPool_set_close_callback(pool, count, &evicted) == 0);
    for (i = 0; i < 2; i++) {
        come();
        CHECK(take(pool, NULL, &conns[i]) == 1);
        CHECK(SocketPoll_add(poll, Connection_fd(conns[i]), POLL_READ, conns[i]) == 0);
    }
    /* Busy, or the drain would let them go. */
    for (i = 0; i < 2; i++)
        CHECK(SocketBuf_write(Connection_outbuf(conns[i]), "x", 1) == 1);
    come();
    take_all_descriptors(&before);
    be_silent(pool);
    CHECK(Socket_accept(server) == NULL && Socket_geterrno() == EMFILE);
    CHECK(SocketPool_drain(pool) == 0);
    for (rounds = 0; rounds < 5; rounds++) {
        CHECK(Socket_accept(server) == NULL);
        n = SocketPoll_wait(poll, &events, 20);
        for (i = 0; i < n; i++)
            CHECK(events[i].socket != server);
    }
    CHECK(evicted == 0 && SocketPool_count(pool) == 2);
    Socket_free(&spare);
    for (rounds = 0; rounds < 5; rounds++) {
        n = SocketPoll_wait(poll, &events, 20);
        for (i = 0; i < n; i++)
            CHECK(events[i].socket != server);
    }
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(SocketPool_set_close_callback(pool, NULL, NULL) == 0);
    SocketPool_free(&pool);
    end();
}

int main(int argc, char **argv)
{
    (void)argv;
    /* Under valgrind an accept that fails for want of descriptors has taken somebody all the same. */
    if (argc == 1) {
        without_descriptors_one_goes_for_each_who_comes();
        without_descriptors_and_a_pool_the_poll_sleeps();
        without_descriptors_a_drain_leaves_the_backlog_alone();
    }
    whoever_comes_waits_until_a_place_is_free();
    whoever_comes_waits_or_is_refused_as_it_is_set();
    somebody_goes_for_a_newcomer_or_nobody();
    the_poll_sleeps_while_there_is_no_place();
    where_another_pool_may_have_a_place_nobody_waits();
    in_another_kind_of_loop_nobody_waits();
    a_drain_leaves_the_backlog_alone();
    return failures != 0;
}
