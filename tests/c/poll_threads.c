/* Threads change a poll while one waits in it, bring what is due in its pools forward, and free it while one waits in it. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include <poll/SocketPoll.h>
#include <pool/SocketPool.h>

#include "sockets.h"

enum { CALLERS = 4 };

/* Under valgrind fewer are enough. */
static int call_count = 3000, round_count = 50;

static SocketPoll_T poll;

static void rest(void)
{
    struct timespec moment = {0, 5000000};

    nanosleep(&moment, NULL);
}

/* What one wait without an end answers. */
static void *wait_once(void *place)
{
    SocketEvent_T *events;
    int n = SocketPoll_wait(poll, &events, -1);

    if (n == 1)
        *(SocketEvent_T *)place = events[0];
    return n == 1 ? place : NULL;
}

static void a_wish_counts_at_once(void)
{
    SocketEvent_T told, *events;
    pthread_t waiter;
    void *answer;
    int fds[2], other[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, other) == 0);
    CHECK(write(other[1], "x", 1) == 1);

    CHECK(pthread_create(&waiter, NULL, wait_once, &told) == 0);
    rest();
    CHECK(SocketPoll_add(poll, fds[0], POLL_READ, fds) == 0);
    /* Only one may wait. */
    while (SocketPoll_wait(poll, &events, 0) == 0)
        rest();
    CHECK(sp_last_errno() == EBUSY);
    CHECK(SocketPoll_mod(poll, fds[0], POLL_WRITE, &told) == 0);
    pthread_join(waiter, &answer);
    CHECK(answer == &told && told.events == POLL_WRITE && told.data == &told);

    CHECK(SocketPoll_mod(poll, fds[0], 0, NULL) == 0);
    CHECK(pthread_create(&waiter, NULL, wait_once, &told) == 0);
    rest();
    CHECK(SocketPoll_del(poll, fds[0]) == 0);
    CHECK(SocketPoll_add(poll, other[0], 0, NULL) == 0);
    rest();
    CHECK(SocketPoll_mod(poll, other[0], POLL_READ, other) == 0);
    pthread_join(waiter, &answer);
    CHECK(answer == &told && told.events == POLL_READ && told.data == other);
    CHECK(SocketPoll_del(poll, other[0]) == 0);
    close(fds[0]);
    close(fds[1]);
    close(other[0]);
    close(other[1]);
}

static int at_work = CALLERS;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static int bell[2];

static void *come_and_go(void *data)
{
    int fds[2], calls;

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    for (calls = 0; calls < call_count; calls++) {
        CHECK(SocketPoll_add(poll, fds[0], POLL_READ, data) == 0);
        CHECK(SocketPoll_mod(poll, fds[0], calls % 2 ? POLL_WRITE : POLL_READ | POLL_WRITE, data) == 0);
        CHECK(SocketPoll_getregisteredcount(poll) >= 1);
        if (calls % 3 == 0) {
            /* Without a word; its number is somebody's at once. */
            close(fds[0]);
            close(fds[1]);
            CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
        } else {
            CHECK(SocketPoll_del(poll, fds[0]) == 0);
        }
    }
    close(fds[0]);
    close(fds[1]);
    pthread_mutex_lock(&one_at_a_time);
    at_work--;
    pthread_mutex_unlock(&one_at_a_time);
    CHECK(write(bell[1], "x", 1) == 1);
    return NULL;
}

static void everybody_comes_and_goes(void)
{
    pthread_t threads[CALLERS];
    SocketEvent_T *events;
    int data[CALLERS], n, told, left = CALLERS;

    CHECK(pipe(bell) == 0 && SocketPoll_add(poll, bell[0], POLL_READ, bell) == 0);
    for (n = 0; n < CALLERS; n++)
        CHECK(pthread_create(&threads[n], NULL, come_and_go, &data[n]) == 0);
    while (left > 0) {
        told = SocketPoll_wait(poll, &events, -1);
        CHECK(told >= 0);
        for (n = 0; n < told; n++) {
            int *of = (int *)events[n].data;
            CHECK(of == bell || (of >= data && of < data + CALLERS));
        }
        pthread_mutex_lock(&one_at_a_time);
        left = at_work;
        pthread_mutex_unlock(&one_at_a_time);
    }
    for (n = 0; n < CALLERS; n++)
        pthread_join(threads[n], NULL);
    CHECK(SocketPoll_del(poll, bell[0]) == 0);
    close(bell[0]);
    close(bell[1]);
}

static void *wait_until_freed(void *nothing)
{
    SocketEvent_T *events;
    int n;

    do
        n = SocketPoll_wait(poll, &events, -1);
    while (n >= 0 || sp_last_errno() == EBUSY);
    CHECK(n == -1 && strstr(sp_last_error(), "stale") != NULL);
    return nothing;
}

static void *use_until_freed(void *nothing)
{
    int fds[2];

    CHECK(pipe(fds) == 0);
    while (SocketPoll_add(poll, fds[0], POLL_READ, NULL) == 0)
        SocketPoll_del(poll, fds[0]);
    close(fds[0]);
    close(fds[1]);
    return nothing;
}

static void who_waits_hears_of_the_end(void)
{
    pthread_t threads[CALLERS];
    SocketPoll_T name;
    int n, round;

    for (round = 0; round < round_count; round++) {
        name = poll;
        for (n = 0; n < CALLERS; n++)
            CHECK(pthread_create(&threads[n], NULL, n < 2 ? wait_until_freed : use_until_freed, NULL) == 0);
        if (round % 2 == 0)
            rest();
        SocketPoll_free(&name);
        for (n = 0; n < CALLERS; n++)
            pthread_join(threads[n], NULL);
        poll = SocketPoll_new(4);
    }
}

static void note(Connection_T connection, void *userdata, int reason, void *ended_ms)
{
    (void)connection, (void)userdata, (void)reason;
    *(uint64_t *)ended_ms = Socket_get_monotonic_ms();
}

enum { LONG_MS = 3000 };

static void *wait_for_an_end(void *ended_ms)
{
    SocketEvent_T *events;
    uint64_t start = Socket_get_monotonic_ms();

    while (*(uint64_t *)ended_ms == 0 && Socket_get_monotonic_ms() < start + LONG_MS)
        CHECK(SocketPoll_wait(poll, &events, LONG_MS) >= 0);
    return NULL;
}

static Connection_T come(SocketPool_T pool, Socket_T server, int *client)
{
    Connection_T connection;

    *client = connect_to(Socket_getlocalport(server));
    connection = SocketPool_add(pool, Socket_accept(server));
    CHECK(connection != NULL);
    return connection;
}

enum { IDLE, LIFETIME, NEWCOMER, WAYS };

/* What another thread makes due sooner ends somebody in the wait that goes on. */
static void a_deadline_that_comes_nearer_counts_at_once(int way)
{
    SocketPool_T pool = SocketPool_new(NULL, 4, 4096);
    Socket_T server = Socket_new(AF_INET, SOCK_STREAM, 0);
    SocketPoll_T other = SocketPoll_new(4);
    Connection_T connection;
    pthread_t waiter;
    uint64_t start = Socket_get_monotonic_ms(), ended = 0;
    char byte;
    int clients[2] = {-1, -1};

    CHECK(Socket_bind(server, "127.0.0.1", 0) == 0 && Socket_listen(server, 9) == 0);
    CHECK(SocketPool_set_idle_timeout(pool, 0) == 0);
    CHECK(SocketPool_set_first_message_timeout(pool, 50) == 0);
    CHECK(SocketPool_set_close_callback(pool, note, &ended) == 0);
    /* One that has said something, and has all the time in the world. */
    connection = come(pool, server, &clients[0]);
    CHECK(write(clients[0], "x", 1) == 1 && Socket_recv(Connection_socket(connection), &byte, 1, 0) == 1);
    CHECK(Socket_send(Connection_socket(connection), "y", 1, 0) == 1);
    CHECK(SocketPoll_add(poll, Connection_fd(connection), POLL_READ, NULL) == 0);
    CHECK(pthread_create(&waiter, NULL, wait_for_an_end, &ended) == 0);
    rest();
    if (way == IDLE)
        CHECK(SocketPool_set_idle_timeout(pool, 50) == 0);
    if (way == LIFETIME)
        CHECK(SocketPool_set_max_lifetime(pool, 50) == 0);
    if (way == NEWCOMER) {
        connection = come(pool, server, &clients[1]);
        CHECK(SocketPoll_add(other, Connection_fd(connection), POLL_READ, NULL) == 0);
    }
    pthread_join(waiter, NULL);
    /* Not before its time; how late depends on what else the machine does, but nobody slept through it. */
    CHECK(ended >= start + 30 && ended < start + LONG_MS);
    SocketPool_set_close_callback(pool, NULL, NULL);
    SocketPool_free(&pool);
    SocketPoll_free(&other);
    Socket_free(&server);
    close(clients[0]);
    if (way == NEWCOMER)
        close(clients[1]);
}

int main(int argc, char **argv)
{
    int way;

    if (argc > 1) {
        call_count = atoi(argv[1]);
        round_count = 4;
    }
    poll = SocketPoll_new(4);
    a_wish_counts_at_once();
    everybody_comes_and_goes();
    for (way = 0; way < WAYS; way++)
        a_deadline_that_comes_nearer_counts_at_once(way);
    who_waits_hears_of_the_end();
    SocketPoll_free(&poll);
    return failures != 0;
}
