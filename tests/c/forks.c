/* Processes that are forked off in the middle, while other threads make and free whatever there is: in the child no old
 * handle names anything, and it serves clients of its own; the parent goes on. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "pool/SocketPool.h"
#include "sockets.h"

enum { CHURNERS = 3 };

/* Under valgrind fewer are enough. */
static int fork_count = 100;

static SocketPool_T old_pool;
static SocketPoll_T old_poll;
static Connection_T old_connection;
static int over;

static void add_one_to_count(Connection_T connection, void *userdata, int reason, void *argument)
{
    (void)connection;
    (void)userdata;
    (void)reason;
    ++*(int *)argument;
}

/* Takes every lock of the library for a moment, again and again. */
static void *churn(void *mistakes)
{
    while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
        SocketPool_T pool = SocketPool_new(NULL, 4, 4096);
        SocketPoll_T poll = SocketPoll_new(4);
        Socket_T ours = NULL, theirs = NULL;
        SocketEvent_T *events;
        Connection_T connection;

        if (SocketPair_new(SOCK_STREAM, &ours, &theirs) != 0 || (connection = SocketPool_add(pool, ours)) == NULL ||
            SocketPoll_add(poll, ours, POLL_READ, NULL) != 0 || SocketPoll_wait(poll, &events, 0) < 0 ||
            SocketPool_remove(pool, connection) != 0)
            ++*(int *)mistakes;
        SocketPool_count(old_pool);
        Socket_free(&theirs);
        SocketPoll_free(&poll);
        SocketPool_free(&pool);
    }
    return NULL;
}

/* Everything with its own: the guide's flow and the pool's own loop. */
static int live_as_child(void)
{
    SocketPool_T pool;
    SocketPoll_T poll;
    SocketEvent_T *events;
    Socket_T ours, theirs;
    Connection_T connection;
    size_t count, length = 0;
    const void *data;
    char byte = 0;
    int port, ended = 0, fd;

    CHECK(sp_pool_count(old_pool, &count) == SP_BAD_HANDLE && strstr(sp_last_error(), "forked") != NULL);
    CHECK(SocketPool_wake(old_pool) == -1 && SocketPoll_wait(old_poll, &events, 0) == -1);
    CHECK(Connection_isactive(old_connection) == 0 && sp_pool_remove_connection(old_pool, old_connection) == -1);

    pool = SocketPool_new(NULL, 4, 4096);
    poll = SocketPoll_new(4);
    SocketPool_set_close_callback(pool, add_one_to_count, &ended);
    CHECK(SocketPair_new(SOCK_STREAM, &ours, &theirs) == 0);
    connection = SocketPool_add(pool, ours);
    CHECK(connection != NULL && SocketPoll_add(poll, ours, POLL_READ, NULL) == 0);
    CHECK(Socket_send(theirs, "x", 1, 0) == 1 && SocketPoll_wait(poll, &events, 5000) == 1);
    CHECK(Socket_recv(ours, &byte, 1, 0) == 1 && byte == 'x');
    CHECK(SocketPool_remove(pool, connection) == 0 && ended == 1);
    Socket_free(&theirs);
    SocketPoll_free(&poll);
    SocketPool_free(&pool);

    pool = SocketPool_new(NULL, 4, 4096);
    port = SocketPool_listen(pool, "127.0.0.1", 0);
    CHECK(port > 0);
    fd = connect_to(port);
    connection = opened(pool);
    CHECK(write(fd, "y", 1) == 1);
    while (length == 0 && failures == 0) {
        sp_event event;
        CHECK(SocketPool_turn(pool, 50) == 0);
        while (SocketPool_next_event(pool, &event) == 1)
            CHECK(event.kind != SP_EVENT_CLOSED);
        CHECK(Connection_receive(connection) >= 0);
        data = Connection_input(connection, &length);
        CHECK(length == 0 || *(const char *)data == 'y');
    }
    CHECK(Connection_send(connection, "z", 1) == SP_SENT_NOW && read(fd, &byte, 1) == 1 && byte == 'z');
    close(fd);
    SocketPool_free(&pool);
    return failures != 0;
}

static void fork_some(int count)
{
    struct timespec moment = {0, 1000000};
    int n, waited, status;
    pid_t child;

    for (n = 0; n < count && failures == 0; n++) {
        fflush(stdout);
        child = fork();
        if (child == 0) {
            status = live_as_child();
            fflush(stdout);
            _exit(status);
        }
        for (waited = 0; waitpid(child, &status, WNOHANG) == 0; waited++) {
            nanosleep(&moment, NULL);
            if (waited == 15000) {
                CHECK(!"the child comes to its end");
                kill(child, SIGABRT);
            }
        }
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        CHECK(SocketPool_count(old_pool) == 1 && Connection_isactive(old_connection));
    }
}

int main(int argc, char **argv)
{
    pthread_t threads[CHURNERS];
    int mistakes[CHURNERS] = {0}, n;
    Socket_T ours, theirs;

    if (argc > 1)
        fork_count = atoi(argv[1]);
    old_pool = SocketPool_new(NULL, 4, 4096);
    old_poll = SocketPoll_new(4);
    CHECK(SocketPair_new(SOCK_STREAM, &ours, &theirs) == 0);
    old_connection = SocketPool_add(old_pool, ours);
    fork_some(fork_count);
    for (n = 0; n < CHURNERS; n++)
        CHECK(pthread_create(&threads[n], NULL, churn, &mistakes[n]) == 0);
    fork_some(fork_count);
    __atomic_store_n(&over, 1, __ATOMIC_RELAXED);
    for (n = 0; n < CHURNERS; n++)
        CHECK(pthread_join(threads[n], NULL) == 0 && mistakes[n] == 0);
    fork_some(fork_count);
    Socket_free(&theirs);
    SocketPool_free(&old_pool);
    SocketPoll_free(&old_poll);
    return failures != 0;
}
