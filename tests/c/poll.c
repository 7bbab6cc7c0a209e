/* What SocketPoll tells, how often, and what it never tells; and what wrong arguments come to. */
#define _XOPEN_SOURCE 700

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include <poll/SocketPoll.h>

#include "sockets.h"

static SocketEvent_T *events;

static long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void pair(int fds[2])
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
}

static void end(int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

static void what_is_ready_is_told_until_it_is_not(SocketPoll_T poll)
{
    int fds[2];
    char bytes[2];

    pair(fds);
    CHECK(SocketPoll_add(poll, fds[0], POLL_READ, fds) == 0);
    CHECK(SocketPoll_wait(poll, &events, 0) == 0 && events != NULL);
    CHECK(write(fds[1], "abc", 3) == 3);
    CHECK(SocketPoll_wait(poll, &events, -1) == 1);
    CHECK(events[0].events == POLL_READ && events[0].data == fds && events[0].socket == NULL);
    CHECK(read(fds[0], bytes, 2) == 2);
    CHECK(SocketPoll_wait(poll, &events, -1) == 1 && events[0].events == POLL_READ);
    CHECK(read(fds[0], bytes, 1) == 1);
    CHECK(SocketPoll_wait(poll, &events, 0) == 0);

    CHECK(SocketPoll_mod(poll, fds[0], POLL_READ | POLL_WRITE, bytes) == 0);
    CHECK(SocketPoll_wait(poll, &events, -1) == 1 && events[0].events == POLL_WRITE && events[0].data == bytes);
    CHECK(SocketPoll_mod(poll, fds[0], 0, bytes) == 0);
    CHECK(write(fds[1], "d", 1) == 1);
    CHECK(SocketPoll_wait(poll, &events, 0) == 0);
    /* Of two wishes before a wait the last one stands. */
    CHECK(SocketPoll_mod(poll, fds[0], POLL_WRITE, NULL) == 0 && SocketPoll_mod(poll, fds[0], 0, NULL) == 0);
    CHECK(SocketPoll_wait(poll, &events, 0) == 0);
    /* A peer that sends no more has not hung up; one that has gone has. */
    CHECK(SocketPoll_mod(poll, fds[0], POLL_READ, NULL) == 0 && shutdown(fds[1], SHUT_WR) == 0);
    CHECK(SocketPoll_wait(poll, &events, -1) == 1 && events[0].events == POLL_READ);
    close(fds[1]);
    CHECK(SocketPoll_mod(poll, fds[0], POLL_HANGUP, NULL) == 0);
    CHECK(SocketPoll_wait(poll, &events, -1) == 1 && events[0].events == POLL_HANGUP);
    CHECK(SocketPoll_del(poll, fds[0]) == 0);
    CHECK(SocketPoll_wait(poll, &events, 0) == 0);
    close(fds[0]);
}

static void many_are_told_in_turn(void)
{
    SocketPoll_T poll = SocketPoll_new(1);
    int one[2], other[2], n, told[2] = {0, 0};

    pair(one);
    pair(other);
    CHECK(SocketPoll_add(poll, one[0], POLL_WRITE, &told[0]) == 0);
    CHECK(SocketPoll_add(poll, other[0], POLL_WRITE, &told[1]) == 0);
    CHECK(SocketPoll_getregisteredcount(poll) == 2);
    for (n = 0; n < 10; n++) {
        CHECK(SocketPoll_wait(poll, &events, -1) == 1);
        ++*(int *)events[0].data;
    }
    CHECK(told[0] == 5 && told[1] == 5);
    SocketPoll_free(&poll);
    end(one);
    end(other);
}

static void a_wait_lasts_as_long_as_it_should(SocketPoll_T poll)
{
    long start = now_ms();

    CHECK(SocketPoll_getdefaulttimeout(poll) == 1000);
    CHECK(SocketPoll_wait(poll, &events, 30) == 0);
    CHECK(now_ms() - start >= 29);
    CHECK(SocketPoll_setdefaulttimeout(poll, 20) == 0 && SocketPoll_getdefaulttimeout(poll) == 20);
    start = now_ms();
    CHECK(SocketPoll_wait(poll, &events, SOCKET_POLL_TIMEOUT_USE_DEFAULT) == 0);
    CHECK(now_ms() - start >= 19 && now_ms() - start < 900);
    CHECK(SocketPoll_setdefaulttimeout(poll, -2) == -1 && strstr(sp_last_error(), "timeout_ms is -2") != NULL);
    CHECK(SocketPoll_getdefaulttimeout(poll) == 20 && SocketPoll_setdefaulttimeout(poll, -1) == 0);
    CHECK(SocketPoll_setdefaulttimeout(poll, 1000) == 0);
}

static void note(int signal)
{
    (void)signal;
}

static void a_signal_ends_a_wait(SocketPoll_T poll)
{
    struct sigaction action;
    struct itimerval soon = {{0, 0}, {0, 20000}};

    memset(&action, 0, sizeof action);
    action.sa_handler = note;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &soon, NULL) == 0);
    CHECK(SocketPoll_wait(poll, &events, -1) == 0);
}

static void wrong_arguments_are_told(SocketPoll_T poll)
{
    int fds[2], device = open("/dev/null", O_RDONLY);

    pair(fds);
    CHECK(SocketPoll_new(0) == NULL && strstr(sp_last_error(), "max_events is 0, must be from 1 to 1048576") != NULL);
    CHECK(SocketPoll_new(-1) == NULL && SocketPoll_new(1048577) == NULL && sp_last_errno() == EINVAL);
    CHECK(SocketPoll_add(poll, -1, POLL_READ, NULL) == -1 && sp_last_errno() == EBADF);
    CHECK(SocketPoll_add(poll, 1 << 30, POLL_READ, NULL) == -1 && sp_last_errno() == EBADF);
    CHECK(SocketPoll_add(poll, device, POLL_READ, NULL) == -1 && sp_last_errno() == EPERM);
    CHECK(SocketPoll_add(poll, fds[0], 16, NULL) == -1 && strstr(sp_last_error(), "events is 16") != NULL);
    CHECK(SocketPoll_mod(poll, fds[0], POLL_READ, NULL) == -1 && sp_last_errno() == ENOENT);
    CHECK(SocketPoll_del(poll, fds[0]) == -1 && sp_last_errno() == ENOENT);
    CHECK(SocketPoll_add(poll, fds[0], POLL_READ, NULL) == 0);
    CHECK(SocketPoll_mod(poll, fds[0], ~0u, NULL) == -1 && sp_last_errno() == EINVAL);
    CHECK(SocketPoll_add(poll, fds[0], POLL_WRITE, NULL) == -1 && sp_last_errno() == EEXIST);
    CHECK(SocketPoll_wait(poll, NULL, 0) == -1 && strstr(sp_last_error(), "events is NULL") != NULL);
    CHECK(SocketPoll_wait(poll, &events, -3) == -1 && strstr(sp_last_error(), "timeout_ms is -3") != NULL);
    CHECK(SocketPoll_getregisteredcount(poll) == 1 && SocketPoll_del(poll, fds[0]) == 0);
    CHECK(strcmp(SocketPoll_get_backend_name(poll), "epoll") == 0);
    end(fds);
    close(device);
}

static void a_bad_handle_does_nothing(SocketPoll_T bad, SocketPoll_T good)
{
    SocketPoll_T copy = bad;
    uint64_t before = sp_bad_handles();

    CHECK(SocketPoll_add(bad, 0, POLL_READ, NULL) == -1);
    CHECK(SocketPoll_mod(bad, 0, POLL_READ, NULL) == -1);
    CHECK(SocketPoll_del(bad, 0) == -1);
    CHECK(SocketPoll_wait(bad, &events, -1) == -1 && sp_last_errno() == EINVAL);
    CHECK(SocketPoll_getdefaulttimeout(bad) == 0 && SocketPoll_setdefaulttimeout(bad, 1) == -1);
    CHECK(SocketPoll_getregisteredcount(bad) == 0 && SocketPoll_get_backend_name(bad) == NULL);
    CHECK(sp_bad_handles() >= before + 8);
    SocketPoll_free(&copy);
    CHECK(copy == NULL);

    before = sp_bad_handles();
    CHECK(SocketPoll_add(good, (Socket_T)bad, POLL_READ, NULL) == -1);
    CHECK(SocketPoll_mod(good, (Socket_T)bad, POLL_READ, NULL) == -1);
    CHECK(SocketPoll_del(good, (Socket_T)bad) == -1);
    CHECK(sp_bad_handles() == before + 3);
}

static void bad_handles_of_every_kind(SocketPoll_T poll)
{
    SocketPoll_T freed = SocketPoll_new(1), freed_by_another_name = freed;
    SocketPool_T pool = SocketPool_new(NULL, 1, 4096);

    SocketPoll_free(&freed_by_another_name);
    SocketPoll_free(&freed_by_another_name);
    SocketPoll_free(NULL);
    a_bad_handle_does_nothing(NULL, poll);
    a_bad_handle_does_nothing(freed, poll);
    a_bad_handle_does_nothing((SocketPoll_T)pool, poll);
    a_bad_handle_does_nothing((SocketPoll_T)(uintptr_t)0x5a5a5a5a5a5a5a5a, poll);
    a_bad_handle_does_nothing((SocketPoll_T)((uintptr_t)poll + 1), poll);
    a_bad_handle_does_nothing((SocketPoll_T)~(uintptr_t)0, poll);
    a_bad_handle_does_nothing((SocketPoll_T)&pool, poll);
    SocketPool_free(&pool);
}

/* Where the descriptor that was closed last is free again. */
static void reopen(int fd, int fds[2])
{
    pair(fds);
    if (fds[0] != fd) {
        CHECK(dup2(fds[0], fd) == fd);
        close(fds[0]);
        fds[0] = fd;
    }
}

static void an_event_of_the_old_never_reaches_the_new(SocketPoll_T poll)
{
    int fds[2][2], newcomer[2], data[3], first, second, deleted;

    for (deleted = 0; deleted < 2; deleted++) {
        pair(fds[0]);
        pair(fds[1]);
        CHECK(write(fds[0][1], "x", 1) == 1 && write(fds[1][1], "x", 1) == 1);
        CHECK(SocketPoll_add(poll, fds[0][0], POLL_READ, &data[0]) == 0);
        CHECK(SocketPoll_add(poll, fds[1][0], POLL_READ, &data[1]) == 0);
        CHECK(SocketPoll_wait(poll, &events, -1) == 2);
        first = events[0].data == &data[0] ? 0 : 1;
        second = 1 - first;
        CHECK(events[0].events == POLL_READ && events[1].events == POLL_READ);

        /* The handler of the first closes the second, whose number a newcomer takes. */
        if (deleted)
            CHECK(SocketPoll_del(poll, fds[second][0]) == 0);
        close(fds[second][0]);
        reopen(fds[second][0], newcomer);
        CHECK(SocketPoll_add(poll, newcomer[0], POLL_READ, &data[2]) == 0);
        CHECK(events[1].events == 0 && events[1].data == &data[second]);
        CHECK(SocketPoll_getregisteredcount(poll) == 2);

        CHECK(SocketPoll_del(poll, fds[first][0]) == 0);
        CHECK(SocketPoll_wait(poll, &events, 0) == 0);
        CHECK(write(newcomer[1], "x", 1) == 1);
        CHECK(SocketPoll_wait(poll, &events, -1) == 1 && events[0].data == &data[2]);
        CHECK(SocketPoll_del(poll, newcomer[0]) == 0);
        end(newcomer);
        end(fds[first]);
        close(fds[second][1]);
    }
}

static void whoever_was_closed_is_no_member(SocketPoll_T poll)
{
    int fds[2];

    pair(fds);
    CHECK(SocketPoll_add(poll, fds[0], POLL_READ, NULL) == 0);
    CHECK(write(fds[1], "x", 1) == 1);
    end(fds);
    CHECK(SocketPoll_wait(poll, &events, 0) == 0);
    /* The kernel finds it out when it is asked. */
    CHECK(SocketPoll_mod(poll, fds[0], POLL_WRITE, NULL) == 0);
    CHECK(SocketPoll_wait(poll, &events, 0) == 0);
    CHECK(SocketPoll_mod(poll, fds[0], POLL_WRITE, NULL) == -1 && sp_last_errno() == ENOENT);
    CHECK(SocketPoll_getregisteredcount(poll) == 0);
}

/* epoll tells of a closed descriptor for ever when there is a copy of it. */
static void a_copy_of_what_was_closed_is_not_told(SocketPoll_T poll)
{
    int fds[2], copy, other[2], round;
    clock_t work;

    pair(fds);
    pair(other);
    CHECK(SocketPoll_add(poll, fds[0], POLL_READ, NULL) == 0);
    CHECK(SocketPoll_add(poll, other[0], POLL_READ, other) == 0);
    copy = dup(fds[0]);
    CHECK(write(fds[1], "x", 1) == 1);
    close(fds[0]);
    CHECK(SocketPoll_del(poll, fds[0]) == 0);
    work = clock();
    for (round = 0; round < 5; round++)
        CHECK(SocketPoll_wait(poll, &events, 60) == 0);
    CHECK((clock() - work) * 1000 / CLOCKS_PER_SEC < 150);
    CHECK(write(other[1], "x", 1) == 1);
    CHECK(SocketPoll_wait(poll, &events, -1) == 1 && events[0].data == other);
    CHECK(SocketPoll_del(poll, other[0]) == 0);
    close(copy);
    close(fds[1]);
    end(other);
}

/* W10: sockets that a pool closes stay in the legacy's poll, and the next one of that name is refused. */
static void legacy_w10_what_a_pool_closes_leaves_the_poll(SocketPoll_T poll)
{
    SocketPool_T pool = SocketPool_new(NULL, 4, 4096);
    int port = SocketPool_listen(pool, "127.0.0.1", 0), round, fd = -1, client, data[4];

    for (round = 0; round < 4; round++) {
        Connection_T connection;
        Socket_T socket;

        client = connect_to(port);
        connection = opened(pool);
        socket = Connection_socket(connection);
        CHECK(write(client, "x", 1) == 1);
        CHECK(fd == -1 || Connection_fd(connection) == fd);
        fd = Connection_fd(connection);
        if (round % 2 == 0)
            CHECK(SocketPoll_add(poll, socket, POLL_READ, &data[round]) == 0);
        else
            CHECK(SocketPoll_add(poll, Connection_fd(connection), POLL_READ, &data[round]) == 0);
        CHECK(SocketPoll_wait(poll, &events, 1000) == 1 && events[0].data == &data[round]);
        CHECK(round % 2 != 0 || events[0].socket == socket);
        if (round < 2)
            CHECK(sp_pool_remove_connection(pool, connection) == 0);
        else
            CHECK(sp_pool_remove_socket(pool, socket) == 0);
        CHECK(events[0].events == 0);
        CHECK(SocketPoll_getregisteredcount(poll) == 0 && SocketPoll_wait(poll, &events, 0) == 0);
        CHECK(SocketPoll_add(poll, socket, POLL_READ, NULL) == -1);
        close(client);
    }
    /* A drain by force does the same. */
    client = connect_to(port);
    CHECK(SocketPoll_add(poll, Connection_socket(opened(pool)), POLL_WRITE, NULL) == 0);
    CHECK(SocketPool_force_close_all(pool) == 0);
    CHECK(SocketPoll_getregisteredcount(poll) == 0 && SocketPoll_wait(poll, &events, 0) == 0);
    SocketPool_free(&pool);
    close(client);
}

static void a_child_leaves_the_poll_alone(SocketPoll_T poll)
{
    int fds[2], status;
    pid_t child;

    pair(fds);
    CHECK(SocketPoll_add(poll, fds[0], POLL_READ, fds) == 0 && write(fds[1], "x", 1) == 1);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        SocketPoll_T own = SocketPoll_new(4);

        failures = 0;
        CHECK(SocketPoll_del(poll, fds[0]) == -1 && strstr(sp_last_error(), "forked") != NULL);
        CHECK(SocketPoll_wait(poll, &events, -1) == -1);
        SocketPoll_free(&poll);
        CHECK(SocketPoll_add(own, fds[0], POLL_READ, NULL) == 0 && SocketPoll_wait(own, &events, -1) == 1);
        SocketPoll_free(&own);
        fflush(stdout);
        _exit(failures != 0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(SocketPoll_wait(poll, &events, -1) == 1 && events[0].data == fds);
    CHECK(SocketPoll_del(poll, fds[0]) == 0);
    end(fds);
}

int main(void)
{
    SocketPoll_T poll = SocketPoll_new(16);

    CHECK(poll != NULL);
    what_is_ready_is_told_until_it_is_not(poll);
    many_are_told_in_turn();
    a_wait_lasts_as_long_as_it_should(poll);
    a_signal_ends_a_wait(poll);
    wrong_arguments_are_told(poll);
    bad_handles_of_every_kind(poll);
    an_event_of_the_old_never_reaches_the_new(poll);
    whoever_was_closed_is_no_member(poll);
    a_copy_of_what_was_closed_is_not_told(poll);
    legacy_w10_what_a_pool_closes_leaves_the_poll(poll);
    a_child_leaves_the_poll_alone(poll);
    CHECK(SocketPoll_getregisteredcount(poll) == 0);
    SocketPoll_free(&poll);
    CHECK(poll == NULL);
    return failures != 0;
}
