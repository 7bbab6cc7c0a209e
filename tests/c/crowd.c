/* Many threads and one pool: the counts are exact, nobody waits for those who sleep in a loop, and no client gets another
 * client's bytes. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "pool/SocketPool.h"

enum { THREADS = 8, HELD = 16 };

/* Under valgrind fewer are enough. */
static int rounds = 3000;

static SocketPool_T pool;
static unsigned long added, told, removed;
static int mistakes;

/* What a thread checks: `failures` is not for several of them. */
#define SEE(condition) \
    do { \
        if (!(condition)) { \
            printf("%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, sp_last_error()); \
            __atomic_fetch_add(&mistakes, 1, __ATOMIC_RELAXED); \
        } \
    } while (0)

static void count_up(unsigned long *what)
{
    __atomic_fetch_add(what, 1, __ATOMIC_RELAXED);
}

static void closed(Connection_T connection, void *userdata, int reason, void *argument)
{
    (void)reason;
    SEE(argument == &told && Connection_isactive(connection) && userdata != NULL);
    if (userdata != NULL)
        SEE(__atomic_fetch_add((int *)userdata, 1, __ATOMIC_RELAXED) == 0);
    count_up(&told);
}

static void visit(Connection_T connection, void *argument)
{
    /* It may go at any moment. */
    Connection_fd(connection);
    Connection_last_active(connection);
    ++*(int *)argument;
}

static uint64_t now_ms(void)
{
    return Socket_get_monotonic_ms();
}

static void *add_and_remove(void *which)
{
    unsigned seed = (unsigned)(size_t)which + 1;
    Connection_T held[HELD];
    Socket_T others[HELD], ours;
    int *ends = (int *)calloc((size_t)rounds, sizeof *ends);
    int n = 0, round, made = 0, seen;
    SocketPool_Stats stats;

    for (round = 0; round < rounds && ends != NULL; round++) {
        seed = seed * 1103515245u + 12345u;
        switch (n == HELD ? 0 : seed >> 16 & 7) {
        case 0:
        case 1:
            if (n == 0)
                break;
            n--;
            if (seed >> 20 & 1) {
                SEE(sp_pool_remove_connection(pool, held[n]) == 0);
                SEE(sp_pool_remove_connection(pool, held[n]) == -1);
            } else {
                ours = Connection_socket(held[n]);
                Socket_free(&ours);
            }
            count_up(&removed);
            Socket_free(&others[n]);
            break;
        case 2:
        case 3:
        case 4:
            SEE(SocketPair_new(SOCK_STREAM, &ours, &others[n]) == 0);
            held[n] = SocketPool_add(pool, ours);
            SEE(held[n] != NULL && Connection_set_userdata(held[n], &ends[made++]) == 0);
            SEE(SocketPool_get(pool, ours) == held[n]);
            count_up(&added);
            n++;
            break;
        case 5:
            seen = 0;
            SocketPool_foreach(pool, visit, &seen);
            SEE(seen >= n && seen <= THREADS * HELD);
            break;
        case 6:
            SEE(SocketPool_get_stats(pool, &stats) == 0 && stats.total_added - stats.total_removed <= THREADS * HELD);
            SEE(stats.current_active + stats.current_idle == stats.total_added - stats.total_removed);
            break;
        default:
            SEE(SocketPool_count(pool) >= (size_t)n && SocketPool_count(pool) <= THREADS * HELD);
            SEE(SocketPoolHealth_total_count(SocketPool_health(pool)) <= THREADS * HELD);
        }
    }
    while (n > 0) {
        SEE(sp_pool_remove_connection(pool, held[--n]) == 0);
        count_up(&removed);
        Socket_free(&others[n]);
    }
    for (n = 0; n < made; n++)
        SEE(__atomic_load_n(&ends[n], __ATOMIC_RELAXED) <= 1);
    /* An end may be told in another thread, later than this. */
    return ends;
}

static void counts_are_exact(void)
{
    pthread_t threads[THREADS];
    SocketPool_Stats stats;
    void *ends[THREADS];
    size_t n;

    pool = SocketPool_new(NULL, THREADS * HELD, 4096);
    CHECK(SocketPool_set_close_callback(pool, closed, &told) == 0);
    for (n = 0; n < THREADS; n++)
        CHECK(pthread_create(&threads[n], NULL, add_and_remove, (void *)n) == 0);
    for (n = 0; n < THREADS; n++)
        CHECK(pthread_join(threads[n], &ends[n]) == 0);
    CHECK(SocketPool_count(pool) == 0 && SocketPool_get_stats(pool, &stats) == 0);
    CHECK(added > 0 && added == removed && added == told);
    CHECK(stats.total_added == added && stats.total_removed == added && stats.current_idle + stats.current_active == 0);
    SocketPool_free(&pool);
    CHECK(added == told);
    for (n = 0; n < THREADS; n++)
        free(ends[n]);
}

static SocketPoll_T poll;
static SocketPool_T slept_in, polled;
static int over;

static void *sleep_in_poll(void *nothing)
{
    SocketEvent_T *events;

    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE))
        if (SocketPoll_wait(poll, &events, -1) == -1)
            break;
    return nothing;
}

static void *sleep_in_turn(void *nothing)
{
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE) && sp_pool_turn(slept_in, -1) == SP_OK)
        ;
    return nothing;
}

static int none(Connection_T connection, void *argument)
{
    (void)connection, (void)argument;
    return 0;
}

/* Every function of a pool, while others sleep in it. */
static void call_everything(SocketPool_T of)
{
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 1000, 1000);
    SocketPool_Stats stats;
    Connection_T connection, found;
    Socket_T ours, other;
    int seen = 0, number;
    size_t count;

    CHECK(SocketPair_new(SOCK_STREAM, &ours, &other) == 0);
    connection = SocketPool_add(of, ours);
    CHECK(connection != NULL && SocketPool_get(of, ours) == connection);
    CHECK(SocketPoll_add(poll, Connection_fd(connection), POLL_READ, NULL) == 0);
    CHECK(SocketPoll_mod(poll, Connection_fd(connection), POLL_READ, &seen) == 0);
    CHECK(SocketPoll_getregisteredcount(poll) > 0 && SocketPoll_setdefaulttimeout(poll, 10) == 0);
    CHECK(SocketPool_set_idle_timeout(of, 60000) == 0 && SocketPool_get_idle_timeout(of) == 60000);
    CHECK(SocketPool_set_max_lifetime(of, 600000) == 0 && SocketPool_set_first_message_timeout(of, 60000) == 0);
    CHECK(SocketPool_set_write_stall_timeout(of, 60000) == 0 && SocketPool_setconnrate(of, 100, 1000) == 0);
    CHECK(SocketPool_set_global_rate(of, 100000, 1000) == 0 && SocketPool_setmaxperip(of, 100) == 0);
    CHECK(SocketPool_set_syn_protection(of, protect) == 0 && SocketPool_set_syn_protection(of, NULL) == 0);
    CHECK(SocketPool_resize(of, 20) == 0 && SocketPool_set_bufsize(of, 8192) == 0 && SocketPool_prewarm(of, 1) == 0);
    SocketPool_check_rate(of, connection);
    CHECK(SocketPool_count(of) > 0 && SocketPool_state(of) == SP_STATE_ACTIVE && SocketPool_is_drained(of) == 0);
    CHECK(SocketPool_get_stats(of, &stats) == 0 && SocketPool_health(of) != NULL);
    SocketPool_foreach(of, visit, &seen);
    CHECK(SocketPool_find(of, none, NULL) == NULL && SocketPool_filter(of, none, NULL, &found, 1) == 0);
    CHECK(sp_pool_state(of, &number) == SP_OK && sp_pool_count(of, &count) == SP_OK && sp_pool_fd(of, &number) == SP_OK);
    CHECK(sp_pool_next_timeout_ms(of, &number) == SP_OK && sp_pool_wake(of) == SP_OK);
    SocketPool_tick(of);
    Connection_touch(connection);
    CHECK(SocketBuf_readable(Connection_inbuf(connection)) == 0);
    CHECK(sp_pool_remove_connection(of, connection) == 0);
    Socket_free(&other);
    SocketSYNProtect_free(&protect);
}

static void nobody_waits_for_those_who_sleep(void)
{
    pthread_t in_poll, in_turn;
    struct timespec moment = {0, 20000000};
    SocketPoll_T poll_freed;
    SocketPool_T pool_freed;
    Connection_T kept;
    Socket_T ours, other;
    uint64_t began;
    int n;

    poll = SocketPoll_new(8);
    polled = SocketPool_new(NULL, 20, 4096);
    slept_in = SocketPool_new(NULL, 20, 4096);
    CHECK(SocketPair_new(SOCK_STREAM, &ours, &other) == 0);
    kept = SocketPool_add(polled, ours);
    CHECK(sp_poll_add_socket(poll, ours, POLL_READ, kept) == 0);
    CHECK(sp_pool_turn(slept_in, 0) == SP_OK);
    CHECK(pthread_create(&in_poll, NULL, sleep_in_poll, NULL) == 0);
    CHECK(pthread_create(&in_turn, NULL, sleep_in_turn, NULL) == 0);
    nanosleep(&moment, NULL);
    began = now_ms();
    for (n = 0; n < 5; n++) {
        call_everything(polled);
        call_everything(slept_in);
    }
    /* Forever is not so long. */
    CHECK(now_ms() - began < 20000);
    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
    CHECK(SocketPool_drain(slept_in) == 0 && SocketPool_force_close_all(polled) == 0);
    /* By names of its own: the threads read the others until they have ended. */
    pool_freed = slept_in;
    poll_freed = poll;
    SocketPool_free(&pool_freed);
    SocketPoll_free(&poll_freed);
    CHECK(pthread_join(in_poll, NULL) == 0 && pthread_join(in_turn, NULL) == 0);
    SocketPool_free(&polled);
    Socket_free(&other);
}

enum { CLIENTS = 24 };

/* The sockets that are read at this moment, each of which gets nothing but its own number. */
static Socket_T near[CLIENTS], far[CLIENTS];

static void *receive(void *nothing)
{
    unsigned char got[64];
    ssize_t n, i;

    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        int which;

        for (which = 0; which < CLIENTS; which++) {
            Socket_T socket = __atomic_load_n(&near[which], __ATOMIC_ACQUIRE);

            memset(got, 255, sizeof got);
            n = Socket_recv(socket, got, sizeof got, 0);
            for (i = 0; i < n; i++)
                SEE(got[i] == which);
        }
    }
    return nothing;
}

static void a_removal_hands_on_nobodys_bytes(void)
{
    pthread_t readers[3];
    int which, n, round;
    unsigned char bytes[16];

    over = 0;
    pool = SocketPool_new(NULL, CLIENTS + 1, 4096);
    for (which = 0; which < CLIENTS; which++) {
        CHECK(SocketPair_new(SOCK_STREAM, &near[which], &far[which]) == 0);
        CHECK(SocketPool_add(pool, near[which]) != NULL);
    }
    for (n = 0; n < 3; n++)
        CHECK(pthread_create(&readers[n], NULL, receive, NULL) == 0);
    for (round = 0; round < rounds; round++) {
        Socket_T old, fresh, other;

        which = round % CLIENTS;
        memset(bytes, which, sizeof bytes);
        CHECK(Socket_send(far[which], bytes, sizeof bytes, 0) == (ssize_t)sizeof bytes);
        /* The descriptor is another client's right after this, while they read by the old name. */
        old = near[which];
        CHECK(sp_pool_remove_socket(pool, old) == 0);
        Socket_free(&far[which]);
        n = (which + 7) % CLIENTS;
        CHECK(SocketPair_new(SOCK_STREAM, &fresh, &other) == 0 && SocketPool_add(pool, fresh) != NULL);
        memset(bytes, n, sizeof bytes);
        CHECK(Socket_send(other, bytes, sizeof bytes, 0) == (ssize_t)sizeof bytes);
        /* It takes the place of another. */
        old = near[n];
        __atomic_store_n(&near[n], fresh, __ATOMIC_RELEASE);
        CHECK(sp_pool_remove_socket(pool, old) == 0 || n == which);
        Socket_free(&far[n]);
        far[n] = other;
        CHECK(SocketPair_new(SOCK_STREAM, &fresh, &far[which]) == 0 && SocketPool_add(pool, fresh) != NULL);
        __atomic_store_n(&near[which], fresh, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
    for (n = 0; n < 3; n++)
        CHECK(pthread_join(readers[n], NULL) == 0);
    SocketPool_free(&pool);
    for (which = 0; which < CLIENTS; which++)
        Socket_free(&far[which]);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        rounds = atoi(argv[1]);
    counts_are_exact();
    nobody_waits_for_those_who_sleep();
    a_removal_hands_on_nobodys_bytes();
    return failures != 0 || mistakes != 0;
}
