/* Threads change a poll while one waits in it, and free it while one waits in it. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include <poll/SocketPoll.h>

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

int main(int argc, char **argv)
{
    if (argc > 1) {
        call_count = atoi(argv[1]);
        round_count = 4;
    }
    poll = SocketPoll_new(4);
    a_wish_counts_at_once();
    everybody_comes_and_goes();
    who_waits_hears_of_the_end();
    SocketPoll_free(&poll);
    return failures != 0;
}
