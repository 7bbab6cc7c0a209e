/* Threads that begin and end while a pool is used: the process has one thread, then five, then one again, and counts are
 * exact all the time. A signal that wakes the pool comes in the middle of whatever the only thread does. */
#define _DEFAULT_SOURCE

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

#include "check.h"
#include "pool/SocketPool.h"

enum { THREADS = 4, EACH = 20 };

/* Under valgrind fewer are enough. */
static int rounds = 200;

static SocketPool_T pool;
static SocketBuf_T shared;
static unsigned long told, removed, mistakes, detached;

static void count_up(unsigned long *what)
{
    __atomic_fetch_add(what, 1, __ATOMIC_RELAXED);
}

static unsigned long count_of(unsigned long *what)
{
    return __atomic_load_n(what, __ATOMIC_ACQUIRE);
}

static void add_and_remove(int count)
{
    int n, good;

    for (n = 0; n < count; n++) {
        Socket_T ours, theirs;
        Connection_T connection;
        char byte = 0;

        good = SocketPair_new(SOCK_STREAM, &ours, &theirs) == 0 && (connection = SocketPool_add(pool, ours)) != NULL &&
            SocketPool_get(pool, ours) == connection && Socket_send(ours, "x", 1, 0) == 1 &&
            Socket_recv(theirs, &byte, 1, 0) == 1 && byte == 'x' &&
            SocketBuf_write(Connection_outbuf(connection), "yz", 2) == 2 &&
            SocketBuf_readable(Connection_outbuf(connection)) == 2 && Connection_touch(connection) == 0 &&
            sp_pool_remove_connection(pool, connection) == 0 && sp_pool_remove_connection(pool, connection) == -1;
        if (!good)
            count_up(&mistakes);
        count_up(&removed);
        Socket_free(&theirs);
        if (SocketBuf_write(shared, "1", 1) != 1)
            count_up(&mistakes);
    }
}

static void *hammer(void *nothing)
{
    add_and_remove(EACH);
    return nothing;
}

static void *hammer_alone(void *nothing)
{
    hammer(nothing);
    __atomic_fetch_add(&detached, 1, __ATOMIC_RELEASE);
    return nothing;
}

static void closed(Connection_T connection, void *userdata, int reason, void *argument)
{
    (void)connection;
    (void)userdata;
    (void)reason;
    (void)argument;
    count_up(&told);
}

static void all_is_counted(size_t waiting)
{
    SocketPool_Stats stats;

    CHECK(SocketPool_get_stats(pool, &stats) == 0 && SocketPool_count(pool) == 0);
    CHECK(count_of(&told) == count_of(&removed) && count_of(&mistakes) == 0);
    CHECK(stats.total_added == removed && stats.total_removed == removed);
    CHECK(SocketBuf_readable(shared) == waiting && SocketBuf_consume(shared, waiting) == 0);
}

static void threads_come_and_go(void)
{
    pthread_t threads[THREADS], one;
    int n, round;

    for (round = 0; round < rounds && failures == 0; round++) {
        size_t alone = 0;

        add_and_remove(3);
        for (n = 0; n < THREADS; n++)
            CHECK(pthread_create(&threads[n], NULL, hammer, NULL) == 0);
        add_and_remove(3);
        for (n = 0; n < THREADS; n++)
            pthread_join(threads[n], NULL);
        add_and_remove(3);
        all_is_counted(THREADS * EACH + 9);
        CHECK(pthread_create(&one, NULL, hammer_alone, NULL) == 0 && pthread_detach(one) == 0);
        while (__atomic_load_n(&detached, __ATOMIC_ACQUIRE) != (unsigned long)round + 1)
            alone++, add_and_remove(1);
        all_is_counted(EACH + alone);
    }
}

static pthread_t started;
static int is_started;

static void start_a_thread(Connection_T connection, void *userdata, int reason, void *argument)
{
    closed(connection, userdata, reason, argument);
    if (__atomic_exchange_n(&is_started, 1, __ATOMIC_RELAXED))
        return;
    if (pthread_create(&started, NULL, hammer, NULL) != 0)
        count_up(&mistakes);
    add_and_remove(1);
}

/* The call that the only thread has begun ends as one of two. */
static void a_callback_starts_a_thread(void)
{
    int round;

    CHECK(SocketPool_set_close_callback(pool, start_a_thread, NULL) == 0);
    for (round = 0; round < rounds && failures == 0; round++) {
        Socket_T ours, theirs;

        __atomic_store_n(&is_started, 0, __ATOMIC_RELAXED);
        CHECK(SocketPair_new(SOCK_STREAM, &ours, &theirs) == 0 && SocketPool_add(pool, ours) != NULL);
        Socket_free(&ours);
        count_up(&removed);
        CHECK(__atomic_load_n(&is_started, __ATOMIC_RELAXED) && pthread_join(started, NULL) == 0);
        Socket_free(&theirs);
        all_is_counted(EACH + 1);
    }
    CHECK(SocketPool_set_close_callback(pool, closed, NULL) == 0);
}

static unsigned long wakes, bad_wakes;

static void wake(int number)
{
    int before = errno;

    (void)number;
    if (SocketPool_wake(pool) != 0 || errno != before)
        bad_wakes++;
    wakes++;
}

static void a_signal_wakes_in_the_middle(void)
{
    struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    struct sigaction action;
    unsigned long waited = 0;
    uint64_t until = Socket_get_monotonic_ms() + (rounds < 200 ? 200 : 1000);

    memset(&action, 0, sizeof action);
    action.sa_handler = wake;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    while (Socket_get_monotonic_ms() < until && failures == 0) {
        add_and_remove(1);
        CHECK(SocketBuf_consume(shared, 1) == 0);
        waited += SocketPool_tick(pool) != 12345;
    }
    setitimer(ITIMER_REAL, &never, NULL);
    CHECK(wakes > 0 && bad_wakes == 0 && waited > 0);
    all_is_counted(0);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        rounds = atoi(argv[1]);
    pool = SocketPool_new(NULL, 64, 4096);
    shared = SocketBuf_new(NULL, 4096);
    CHECK(SocketPool_set_close_callback(pool, closed, NULL) == 0);
    a_signal_wakes_in_the_middle();
    threads_come_and_go();
    a_signal_wakes_in_the_middle();
    a_callback_starts_a_thread();
    SocketPool_free(&pool);
    SocketBuf_release(&shared);
    return failures != 0;
}
