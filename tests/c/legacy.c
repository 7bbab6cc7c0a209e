/* Faults of the legacy library, by their numbers, where the guide's pool might have the same: one function for each, which
 * fails if it has. `legacy NAME [few]` runs one, and with `few` less of it, for a memory checker. */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "core/Except.h"
#include "pool/SocketPool.h"
#include "sockets.h"

enum { MOST = 200 };

static SocketPool_T pool;
static Socket_T others[MOST];
static int few, wall_clock_is_ahead;

/* In place of the C library's: what the wall clock says here is up to the test. */
int clock_gettime(clockid_t which, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, which, now);

    if (which == CLOCK_REALTIME && wall_clock_is_ahead)
        now->tv_sec += 1000000;
    return result;
}

static void moment(long ms)
{
    struct timespec span = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&span, NULL);
}

static double now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int open_descriptors(void)
{
    int fd, count = 0;

    for (fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) != -1;
    return count;
}

static SocketPool_T make(size_t most)
{
    SocketPool_T made = SocketPool_new(NULL, most, 4096);

    CHECK(made != NULL);
    return made;
}

/* A connection of the pool, with this on the other side. */
static Connection_T join(Socket_T *other)
{
    Socket_T ours = NULL;
    Connection_T joined;

    CHECK(SocketPair_new(SOCK_STREAM, &ours, other) == 0);
    joined = SocketPool_add(pool, ours);
    if (joined == NULL) {
        /* It is ours still. */
        CHECK(Socket_fd(ours) > 2 && Socket_send(ours, "x", 1, 0) == 1);
        Socket_free(&ours);
        Socket_free(other);
    }
    return joined;
}

/* A client of a listening socket as the pool gets it, and its own end of it. */
static Socket_T come(Socket_T server, int *client)
{
    Socket_T came = NULL;

    *client = connect_to(Socket_getlocalport(server));
    came = Socket_accept(server);
    CHECK(came != NULL);
    return came;
}

static Socket_T listening(void)
{
    Socket_T server = Socket_new(AF_INET, SOCK_STREAM, 0);

    CHECK(Socket_bind(server, "127.0.0.1", 0) == 0 && Socket_listen(server, 64) == 0);
    CHECK(Socket_setnonblocking(server) == 0);
    return server;
}

static int is_told(const char *reason, int number)
{
    return strcmp(sp_reason_name(number), reason) == 0;
}

/* Whether the other side has closed. */
static int is_over(Socket_T socket)
{
    char byte;

    return Socket_recv(socket, &byte, 1, MSG_DONTWAIT) == 0;
}

/* A byte from the other side arrives at this connection and at no other. */
static int hears(Connection_T connection, Socket_T other, char byte)
{
    char got[2] = {0, 0};

    return Socket_send(other, &byte, 1, 0) == 1 && Socket_recv(Connection_socket(connection), got, 2, 0) == 1 &&
           got[0] == byte;
}

static void w01_a_pool_that_grows_keeps_everybody(void)
{
    Connection_T seats[MOST];
    int n;

    pool = make(10);
    for (n = 0; n < MOST; n++) {
        if (n == 10) {
            CHECK(join(&others[n]) == NULL);
            CHECK(SocketPool_resize(pool, 2000) == 0);
        }
        seats[n] = join(&others[n]);
        CHECK(seats[n] != NULL && Connection_set_userdata(seats[n], &others[n]) == 0);
    }
    CHECK(SocketPool_count(pool) == MOST);
    for (n = 0; n < MOST; n++) {
        CHECK(Connection_userdata(seats[n]) == &others[n] && hears(seats[n], others[n], (char)('a' + n % 26)));
        CHECK(SocketPool_get(pool, Connection_socket(seats[n])) == seats[n]);
        CHECK(SocketBuf_write(Connection_inbuf(seats[n]), "in", 2) == 2);
    }
    for (n = 0; n < MOST; n++) {
        CHECK(SocketPool_remove(pool, seats[n]) == 0 && SocketPool_count(pool) == (size_t)(MOST - 1 - n));
        Socket_free(&others[n]);
    }
    SocketPool_free(&pool);
}

static void w02_a_pool_that_shrinks_loses_nobody(void)
{
    int n, before = open_descriptors();
    Connection_T seats[10], late;
    Socket_T other;

    pool = make(10);
    for (n = 0; n < 10; n++)
        seats[n] = join(&others[n]);
    CHECK(SocketPool_resize(pool, 5) == 0 && SocketPool_count(pool) == 10 && join(&other) == NULL);
    for (n = 0; n < 10; n++)
        CHECK(SocketPool_get(pool, Connection_socket(seats[n])) == seats[n] && Connection_isactive(seats[n]));
    for (n = 0; n < 6; n++) {
        CHECK(SocketPool_remove(pool, seats[n]) == 0);
        Socket_free(&others[n]);
    }
    /* There is a place again, for one and not for two. */
    late = join(&others[0]);
    CHECK(late != NULL && SocketPool_count(pool) == 5 && join(&other) == NULL);
    for (n = 6; n < 10; n++)
        CHECK(hears(seats[n], others[n], 'x'));
    CHECK(SocketPool_force_close_all(pool) == 0 && SocketPool_count(pool) == 0);
    for (n = 6; n < 10; n++) {
        CHECK(!Connection_isactive(seats[n]) && is_over(others[n]));
        Socket_free(&others[n]);
    }
    Socket_free(&others[0]);
    SocketPool_free(&pool);
    CHECK(open_descriptors() == before);
}

enum { ENDERS = 4 };

static Connection_T ended[MOST];
static int times_told[MOST];
static pthread_barrier_t together;

static void tell(Connection_T connection, void *userdata, int reason, void *argument)
{
    (void)connection, (void)reason, (void)argument;
    __atomic_fetch_add((int *)userdata, 1, __ATOMIC_RELAXED);
}

static void *end_everybody(void *how)
{
    int n;

    pthread_barrier_wait(&together);
    for (n = 0; n < MOST; n++) {
        if ((size_t)how < 2)
            SocketPool_tick(pool);
        else
            SocketPool_remove(pool, ended[(size_t)how == 2 ? n : MOST - 1 - n]);
    }
    if (how == NULL)
        SocketPool_force_close_all(pool);
    return NULL;
}

static void w03_threads_that_clean_up_at_once_end_each_connection_once(void)
{
    int round, n, before = open_descriptors();
    pthread_t threads[ENDERS];
    size_t thread;

    for (round = 0; round < (few ? 2 : 30); round++) {
        pool = make(MOST);
        CHECK(SocketPool_set_close_callback(pool, tell, NULL) == 0 && SocketPool_set_idle_timeout(pool, 1) == 0);
        for (n = 0; n < MOST; n++) {
            times_told[n] = 0;
            ended[n] = join(&others[n]);
            Connection_set_userdata(ended[n], &times_told[n]);
        }
        moment(3);
        CHECK(pthread_barrier_init(&together, NULL, ENDERS) == 0);
        for (thread = 0; thread < ENDERS; thread++)
            CHECK(pthread_create(&threads[thread], NULL, end_everybody, (void *)thread) == 0);
        for (thread = 0; thread < ENDERS; thread++)
            CHECK(pthread_join(threads[thread], NULL) == 0);
        pthread_barrier_destroy(&together);
        CHECK(SocketPool_count(pool) == 0);
        SocketPool_free(&pool);
        for (n = 0; n < MOST; n++) {
            CHECK(times_told[n] == 1 && is_over(others[n]));
            Socket_free(&others[n]);
        }
    }
    CHECK(open_descriptors() == before);
}

static void w04_a_new_connection_has_nothing_of_one_whose_socket_was_freed(void)
{
    Socket_T ours, other, stale, fresh, fresh_other;
    Connection_T old, young;
    int round, fd;

    pool = make(1);
    for (round = 0; round < 100; round++) {
        CHECK(SocketPair_new(SOCK_STREAM, &ours, &other) == 0);
        old = SocketPool_add(pool, ours);
        CHECK(Connection_set_userdata(old, &round) == 0 && SocketBuf_write(Connection_inbuf(old), "unread", 6) == 6);
        CHECK(SocketBuf_write(Connection_outbuf(old), "unsent", 6) == 6);
        fd = Socket_fd(ours);
        stale = ours;
        Socket_free(&ours);
        CHECK(SocketPool_count(pool) == 0);
        CHECK(SocketPair_new(SOCK_STREAM, &fresh, &fresh_other) == 0 && Socket_fd(fresh) == fd);
        CHECK(SocketPool_get(pool, fresh) == NULL && SocketPool_get(pool, stale) == NULL);
        young = SocketPool_add(pool, fresh);
        CHECK(young != NULL && young != old && Connection_userdata(young) == NULL);
        CHECK(SocketBuf_empty(Connection_inbuf(young)) == 1 && SocketBuf_empty(Connection_outbuf(young)) == 1);
        CHECK(SocketPool_get(pool, stale) == NULL && SocketPool_get(pool, fresh) == young);
        CHECK(SocketPool_remove(pool, young) == 0);
        Socket_free(&other);
        Socket_free(&fresh_other);
    }
    SocketPool_free(&pool);
}

static void w05_a_name_that_is_kept_never_means_the_next_client(void)
{
    Connection_T kept, next;
    SocketBuf_T kept_buffer;
    Socket_T next_other;
    int round;

    pool = make(1);
    for (round = 0; round < (few ? 100 : 5000); round++) {
        kept = join(&others[0]);
        CHECK(Connection_set_userdata(kept, &round) == 0);
        kept_buffer = Connection_inbuf(kept);
        CHECK(SocketPool_remove(pool, kept) == 0);
        next = join(&next_other);
        CHECK(next != NULL && next != kept && Connection_set_userdata(next, &next_other) == 0);
        CHECK(Connection_isactive(kept) == 0 && Connection_userdata(kept) == NULL && Connection_socket(kept) == NULL);
        CHECK(Connection_fd(kept) == -1 && Connection_created_at(kept) == 0 && Connection_inbuf(kept) == NULL);
        CHECK(Connection_set_userdata(kept, &round) == -1 && Connection_touch(kept) == -1);
        CHECK(SocketBuf_write(kept_buffer, "x", 1) == 0 && SocketPool_remove(pool, kept) == -1);
        CHECK(Connection_isactive(next) == 1 && Connection_userdata(next) == &next_other);
        CHECK(SocketBuf_empty(Connection_inbuf(next)) == 1 && hears(next, next_other, 'x'));
        CHECK(SocketPool_remove(pool, next) == 0);
        Socket_free(&others[0]);
        Socket_free(&next_other);
    }
    SocketPool_free(&pool);
}

static void w07_a_new_pool_has_nothing_of_one_before(void)
{
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 1000, 1000);
    Socket_T server = listening(), came;
    SocketPool_Stats stats;
    Arena_T arena;
    int round, n, clients[3];

    CHECK(SocketSYNProtect_blacklist_add(protect, "127.0.0.1", 0) == 1);
    for (round = 0; round < 100; round++) {
        arena = Arena_new();
        pool = SocketPool_new(arena, 1, 64);
        CHECK(SocketPool_set_syn_protection(pool, protect) == 0 && SocketPool_setmaxperip(pool, 1) == 0);
        CHECK(SocketPool_set_idle_timeout(pool, 1) == 0 && SocketPool_set_global_rate(pool, 1, 1000) == 0);
        CHECK(SocketPool_drain(pool) == 0);
        Arena_dispose(&arena);
        arena = Arena_new();
        pool = SocketPool_new(arena, 3, 4096);
        for (n = 0; n < 3; n++) {
            came = come(server, &clients[n]);
            CHECK(SocketPool_add(pool, came) != NULL);
            CHECK(SocketPool_check_rate(pool, SocketPool_get(pool, came)) == 1);
        }
        CHECK(SocketPool_get_idle_timeout(pool) != 1 && SocketPool_state(pool) == POOL_STATE_ACTIVE);
        CHECK(SocketPool_get_stats(pool, &stats) == 0 && stats.total_added == 3 && stats.total_removed == 0);
        CHECK(stats.total_refused == 0 && stats.total_denied == 0 && stats.max_connections == 3);
        Arena_dispose(&arena);
        for (n = 0; n < 3; n++)
            close(clients[n]);
    }
    Socket_free(&server);
    SocketSYNProtect_free(&protect);
}

static void w09_a_connection_is_found_whatever_its_socket_connects_with(void)
{
    Socket_T server = listening(), nobody = listening(), ours = Socket_new(AF_INET, SOCK_STREAM, 0);
    int fd = Socket_fd(ours), nobodys_port = Socket_getlocalport(nobody);
    Connection_T connection;

    Socket_free(&nobody);
    CHECK(Socket_connect(ours, "localhost", nobodys_port) == -1 && Socket_geterrno() == ECONNREFUSED);
    CHECK(Socket_connect(ours, "localhost", Socket_getlocalport(server)) == 0 && Socket_fd(ours) == fd);
    pool = make(4);
    connection = SocketPool_add(pool, ours);
    CHECK(SocketPool_get(pool, ours) == connection && Connection_fd(connection) == fd);
    CHECK(Socket_connect(ours, "localhost", Socket_getlocalport(server)) == -1 && Socket_geterrno() == EISCONN);
    CHECK(Connection_fd(connection) == fd && Connection_socket(connection) == ours);
    CHECK(SocketPool_get(pool, ours) == connection && SocketPool_remove(pool, ours) == 0);
    CHECK(SocketPool_get(pool, ours) == NULL && SocketPool_count(pool) == 0 && fcntl(fd, F_GETFD) == -1);
    SocketPool_free(&pool);
    Socket_free(&server);
}

static void free_the_pool(Connection_T connection, void *userdata, int reason, void *told)
{
    (void)connection, (void)userdata, (void)reason;
    ++*(int *)told;
    SocketPool_free(&pool);
}

static void w11_a_callback_of_a_drain_frees_the_pool(void)
{
    int n, told, round;
    SocketPool_T name;

    for (round = 0; round < 100; round++) {
        name = pool = make(3);
        told = 0;
        CHECK(SocketPool_set_close_callback(pool, free_the_pool, &told) == 0);
        for (n = 0; n < 3; n++)
            CHECK(join(&others[n]) != NULL);
        CHECK(SocketPool_drain(name) == 0);
        CHECK(pool == NULL && told == 3 && SocketPool_state(name) == -1 && SocketPool_count(name) == 0);
        for (n = 0; n < 3; n++) {
            CHECK(is_over(others[n]));
            Socket_free(&others[n]);
        }
    }
}

static int match(Connection_T connection, void *wanted)
{
    return connection == *(Connection_T *)wanted;
}

static void count_it(Connection_T connection, void *count)
{
    (void)connection;
    ++*(int *)count;
}

static void call_the_pool(Connection_T connection, void *visits)
{
    Connection_T found[3] = {NULL, NULL, NULL};
    SocketPool_Stats stats;
    SocketPool_T copy = pool;
    int seen = 0;

    ++*(int *)visits;
    CHECK(SocketPool_get(pool, Connection_socket(connection)) == connection && SocketPool_state(pool) == 0);
    SocketPool_foreach(pool, count_it, &seen);
    CHECK(seen > 0 && SocketPool_count(pool) == (size_t)seen);
    CHECK(SocketPool_find(pool, match, &connection) == connection);
    CHECK(SocketPool_filter(pool, match, &connection, found, 3) == 1 && found[0] == connection);
    CHECK(SocketPool_get_stats(pool, &stats) == 0 && SocketPool_health(pool) != NULL);
    CHECK(SocketPool_set_idle_timeout(pool, 60000) == 0 && SocketPool_resize(pool, 20) == 0);
    SocketPool_tick(pool);
    if (*(int *)visits == 1)
        CHECK(join(&others[3]) != NULL);
    CHECK(SocketPool_remove(copy, connection) == 0 && Connection_isactive(connection) == 0);
}

static void raise_it(Connection_T connection, void *nothing)
{
    (void)connection, (void)nothing;
    RAISE(SocketPool_Failed);
}

static int raise_out_of_find(Connection_T connection, void *nothing)
{
    raise_it(connection, nothing);
    return 0;
}

static void raise_out_of_close(Connection_T connection, void *userdata, int reason, void *argument)
{
    (void)userdata, (void)reason;
    raise_it(connection, argument);
}

static void raise_out_of(int which)
{
    Connection_T found;

    if (which == 0)
        SocketPool_foreach(pool, raise_it, NULL);
    else if (which == 1)
        SocketPool_find(pool, raise_out_of_find, NULL);
    else if (which == 2)
        SocketPool_filter(pool, raise_out_of_find, NULL, &found, 1);
    else
        SocketPool_remove(pool, SocketPool_get(pool, Connection_socket(ended[0])));
}

/* Whoever has left a lock behind may have it once more itself, but nobody else. */
static void *use_it(void *nothing)
{
    int seen = 0;
    Socket_T other;
    Connection_T connection = join(&other);

    CHECK(connection != NULL);
    SocketPool_foreach(pool, count_it, &seen);
    CHECK((size_t)seen == SocketPool_count(pool) && SocketPool_remove(pool, connection) == 0);
    Socket_free(&other);
    return nothing;
}

static void w13_a_visitor_calls_the_pool_or_raises_out_of_it(void)
{
    volatile int which, caught = 0;
    int n, visits = 0;
    pthread_t thread;

    pool = make(8);
    for (n = 0; n < 3; n++)
        CHECK(join(&others[n]) != NULL);
    SocketPool_foreach(pool, call_the_pool, &visits);
    CHECK(visits >= 3 && SocketPool_count(pool) == (size_t)(4 - visits));
    SocketPool_foreach(pool, call_the_pool, &visits);
    CHECK(visits == 4 && SocketPool_count(pool) == 0);
    for (n = 0; n < 4; n++)
        Socket_free(&others[n]);

    for (n = 0; n < 3; n++)
        ended[n] = join(&others[n]);
    CHECK(SocketPool_set_close_callback(pool, raise_out_of_close, NULL) == 0);
    for (which = 0; which < 4; which++) {
        TRY {
            raise_out_of(which);
        } EXCEPT (SocketPool_Failed) {
            caught++;
        } END_TRY;
        CHECK(caught == which + 1);
        if (which == 3)
            CHECK(SocketPool_set_close_callback(pool, NULL, NULL) == 0);
        CHECK(SocketPool_count(pool) == (size_t)(which == 3 ? 2 : 3));
        if (which != 3)
            CHECK(SocketPool_set_close_callback(pool, NULL, NULL) == 0);
        CHECK(pthread_create(&thread, NULL, use_it, NULL) == 0 && pthread_join(thread, NULL) == 0);
        CHECK(SocketPool_set_close_callback(pool, raise_out_of_close, NULL) == 0);
    }
    CHECK(SocketPool_set_close_callback(pool, NULL, NULL) == 0);
    SocketPool_free(&pool);
    for (n = 0; n < 3; n++)
        Socket_free(&others[n]);
}

static SocketPoll_T poll;

static void *wait_in_poll(void *nothing)
{
    SocketEvent_T *events;

    while (SocketPoll_wait(poll, &events, -1) != -1)
        ;
    return nothing;
}

static void *wait_in_turn(void *name)
{
    while (SocketPool_turn((SocketPool_T)name, -1) == 0)
        ;
    return NULL;
}

static void w15_a_pool_is_freed_at_once_whoever_waits_in_it(void)
{
    pthread_t threads[2];
    SocketPool_T turned;
    double began;
    int n;

    pool = make(8);
    turned = make(8);
    poll = SocketPoll_new(8);
    for (n = 0; n < 5; n++)
        CHECK(SocketPoll_add(poll, Connection_socket(join(&others[n])), POLL_READ, NULL) == 0);
    CHECK(SocketPool_turn(turned, 0) == 0);
    CHECK(pthread_create(&threads[0], NULL, wait_in_poll, NULL) == 0);
    CHECK(pthread_create(&threads[1], NULL, wait_in_turn, turned) == 0);
    moment(50);
    began = now_us();
    SocketPool_free(&pool);
    SocketPool_free(&turned);
    CHECK(now_us() - began < 5e6);
    for (n = 0; n < 5; n++) {
        CHECK(is_over(others[n]));
        Socket_free(&others[n]);
    }
    SocketPoll_free(&poll);
    CHECK(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
}

static void w16_a_connect_that_is_not_to_block_returns_at_once(void)
{
    Socket_T server = Socket_new(AF_INET, SOCK_STREAM, 0), clients[8];
    int n, undecided = 0;
    double began;

    /* Nobody accepts, so that whoever comes when the queue is full gets no answer. */
    CHECK(Socket_bind(server, "127.0.0.1", 0) == 0 && Socket_listen(server, 1) == 0);
    for (n = 0; n < 8; n++) {
        clients[n] = Socket_new(AF_INET, SOCK_STREAM, 0);
        CHECK(Socket_setnonblocking(clients[n]) == 0);
        began = now_us();
        if (Socket_connect(clients[n], "127.0.0.1", Socket_getlocalport(server)) == -1)
            CHECK(Socket_geterrno() == EINPROGRESS);
        CHECK(now_us() - began < 5e6);
    }
    moment(20);
    for (n = 0; n < 8; n++) {
        undecided += Socket_isconnected(clients[n]) == 0;
        Socket_free(&clients[n]);
    }
    CHECK(undecided > 0);
    Socket_free(&server);
}

static pthread_barrier_t inside, finished;

static void dally(Connection_T connection, void *userdata, int reason, void *argument)
{
    (void)connection, (void)userdata, (void)reason;
    if (++*(int *)argument > 1)
        return;
    pthread_barrier_wait(&inside);
    pthread_barrier_wait(&finished);
}

static void *remove_first(void *nothing)
{
    CHECK(SocketPool_remove(pool, ended[0]) == 0);
    return nothing;
}

static void *accept_one(void *server)
{
    Socket_T came = Socket_accept((Socket_T)server);

    CHECK(came != NULL);
    Socket_free(&came);
    return NULL;
}

static void use_everything(void)
{
    SocketPool_Stats stats;

    use_it(NULL);
    CHECK(SocketPool_get_stats(pool, &stats) == 0 && SocketPool_health(pool) != NULL);
    CHECK(SocketPool_set_idle_timeout(pool, 60000) == 0 && SocketPool_state(pool) == 0);
    SocketPool_tick(pool);
}

static void w17_nothing_is_locked_while_something_takes_long(void)
{
    Socket_T server = Socket_new(AF_INET, SOCK_STREAM, 0);
    pthread_t in_callback, in_accept;
    int told = 0, client;

    pool = make(8);
    CHECK(Socket_bind(server, "127.0.0.1", 0) == 0 && Socket_listen(server, 8) == 0);
    CHECK(pthread_barrier_init(&inside, NULL, 2) == 0 && pthread_barrier_init(&finished, NULL, 2) == 0);
    ended[0] = join(&others[0]);
    CHECK(SocketPool_set_close_callback(pool, dally, &told) == 0);
    CHECK(pthread_create(&in_accept, NULL, accept_one, server) == 0);
    CHECK(pthread_create(&in_callback, NULL, remove_first, NULL) == 0);
    pthread_barrier_wait(&inside);
    use_everything();
    pthread_barrier_wait(&finished);
    CHECK(pthread_join(in_callback, NULL) == 0);
    use_everything();
    client = connect_to(Socket_getlocalport(server));
    CHECK(pthread_join(in_accept, NULL) == 0 && told == 3);
    close(client);
    pthread_barrier_destroy(&inside);
    pthread_barrier_destroy(&finished);
    SocketPool_free(&pool);
    Socket_free(&others[0]);
    Socket_free(&server);
}

static void w18_everybody_is_looked_at_and_not_only_the_first(void)
{
    enum { PEOPLE = 50, AT_A_TIME = 4 };
    int n, count, waits, seen[PEOPLE] = {0}, sum = 0;
    SocketEvent_T *events;

    pool = make(PEOPLE);
    poll = SocketPoll_new(AT_A_TIME);
    for (n = 0; n < PEOPLE; n++) {
        CHECK(SocketPoll_add(poll, Connection_socket(join(&others[n])), POLL_READ, &seen[n]) == 0);
        CHECK(Socket_send(others[n], "x", 1, 0) == 1);
    }
    /* Nobody reads, so the first of them are ready at every wait. */
    for (waits = 0; waits < PEOPLE && sum < PEOPLE; waits++) {
        count = SocketPoll_wait(poll, &events, 100);
        CHECK(count >= 0 && count <= AT_A_TIME);
        for (n = 0; n < count; n++) {
            sum += *(int *)events[n].data == 0;
            *(int *)events[n].data = 1;
        }
    }
    CHECK(sum == PEOPLE);
    SocketPoll_free(&poll);
    SocketPool_free(&pool);
    SocketPoll_free(&poll);
    for (n = 0; n < PEOPLE; n++)
        Socket_free(&others[n]);

    /* And each of them is ended when its time is over. */
    pool = make(PEOPLE);
    for (n = 0; n < PEOPLE; n++)
        CHECK(join(&others[n]) != NULL);
    CHECK(SocketPool_set_idle_timeout(pool, 1) == 0);
    moment(5);
    SocketPool_tick(pool);
    for (n = 0; n < PEOPLE; n++) {
        CHECK(is_over(others[n]));
        Socket_free(&others[n]);
    }
    SocketPool_free(&pool);
}

static int is_draining, came_in;

static void *add_until_it_drains(void *nothing)
{
    Socket_T other;
    Connection_T joined;

    while ((joined = join(&other)) != NULL) {
        Connection_set_userdata(joined, &times_told[0]);
        __atomic_fetch_add(&came_in, 1, __ATOMIC_RELAXED);
        SocketPool_remove(pool, joined);
        Socket_free(&other);
    }
    CHECK(__atomic_load_n(&is_draining, __ATOMIC_ACQUIRE));
    return nothing;
}

static void count_end(Connection_T connection, void *userdata, int reason, void *argument)
{
    (void)connection, (void)userdata, (void)reason;
    __atomic_fetch_add((int *)argument, 1, __ATOMIC_RELAXED);
}

static void w20_whoever_comes_as_a_drain_begins_is_in_or_out(void)
{
    int round, before = open_descriptors(), told;
    pthread_t threads[ENDERS];
    SocketPool_Stats stats;
    size_t n;

    for (round = 0; round < (few ? 3 : 50); round++) {
        pool = make(MOST);
        is_draining = came_in = told = 0;
        CHECK(SocketPool_set_close_callback(pool, count_end, &told) == 0);
        for (n = 0; n < ENDERS; n++)
            CHECK(pthread_create(&threads[n], NULL, add_until_it_drains, NULL) == 0);
        while (__atomic_load_n(&came_in, __ATOMIC_RELAXED) < 10)
            moment(1);
        __atomic_store_n(&is_draining, 1, __ATOMIC_RELEASE);
        CHECK(SocketPool_drain(pool) == 0);
        for (n = 0; n < ENDERS; n++)
            CHECK(pthread_join(threads[n], NULL) == 0);
        CHECK(SocketPool_is_drained(pool) == 1 && SocketPool_count(pool) == 0);
        CHECK(SocketPool_get_stats(pool, &stats) == 0 && stats.total_added == stats.total_removed);
        CHECK((int)stats.total_added == came_in && told == came_in);
        SocketPool_free(&pool);
    }
    CHECK(open_descriptors() == before);
}

/* How a connection of the test below ends. */
enum { BY_CONNECTION, BY_SOCKET, BY_FREE, BY_PEER, BY_IDLENESS, BY_ITSELF, WAYS };

static void end_in(int way, Connection_T connection, Socket_T socket, int *client)
{
    int n;

    if (way == BY_PEER || way == BY_ITSELF) {
        close(*client);
        *client = -1;
        moment(1);
    }
    if (way == BY_IDLENESS) {
        CHECK(SocketPool_set_idle_timeout(pool, 1) == 0);
        moment(3);
        SocketPool_tick(pool);
    }
    if (way == BY_ITSELF) {
        /* Nobody removes it: what the pool has ended it closes itself. */
        CHECK(SocketPool_set_idle_timeout(pool, 1) == 0);
        for (n = 0; n < 300 && SocketPool_count(pool) > 0; n++)
            moment(10);
    } else if (way == BY_SOCKET) {
        CHECK(SocketPool_remove(pool, socket) == 0);
    } else if (way == BY_FREE) {
        Socket_free(&socket);
    } else {
        CHECK(SocketPool_remove(pool, connection) == 0);
    }
    CHECK(SocketPool_set_idle_timeout(pool, 0) == 0);
}

static void w21_an_address_has_its_places_back_however_its_connections_end(void)
{
    Socket_T server = listening(), came;
    Connection_T connections[3];
    int way, n, clients[4];

    pool = make(100);
    CHECK(SocketPool_setmaxperip(pool, 3) == 0);
    for (way = 0; way < WAYS; way++)
        /* Once more than there are places. */
        for (n = 0; n < (way == BY_ITSELF ? 1 : 4); n++) {
            came = come(server, &clients[0]);
            connections[0] = SocketPool_add(pool, came);
            CHECK(connections[0] != NULL);
            end_in(way, connections[0], came, &clients[0]);
            CHECK(SocketPool_count(pool) == 0);
            if (clients[0] != -1)
                close(clients[0]);
        }
    for (n = 0; n < 3; n++)
        CHECK((connections[n] = SocketPool_add(pool, come(server, &clients[n]))) != NULL);
    came = come(server, &clients[3]);
    CHECK(SocketPool_add(pool, came) == NULL && SocketPool_remove(pool, connections[1]) == 0);
    /* Refused is not ended: it may come again. */
    CHECK(SocketPool_add(pool, came) != NULL);
    SocketPool_free(&pool);
    for (n = 0; n < 4; n++)
        close(clients[n]);
    Socket_free(&server);
}

static void w22_nothing_is_used_up_where_nobody_is(void)
{
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 5, 100);
    Socket_T server = listening(), came;
    SocketSYNProtect_Stats stats;
    Connection_T one, other;
    int n, port, clients[5];

    /* Five a second, and the pool has looked fifty times before they come. */
    pool = make(10);
    CHECK(SocketPool_set_syn_protection(pool, protect) == 0);
    for (n = 0; n < 50; n++) {
        CHECK(Socket_accept(server) == NULL && Socket_geterrno() == EAGAIN);
        SocketPool_tick(pool);
    }
    for (n = 0; n < 5; n++) {
        came = come(server, &clients[n]);
        CHECK(SocketPool_add(pool, came) != NULL);
    }
    SocketSYNProtect_stats(protect, &stats);
    CHECK(stats.total_attempts == 5 && stats.total_blocked == 0);
    /* What is denied takes nothing: neither by the rate of the one, nor by that of all. */
    one = SocketPool_get(pool, came);
    CHECK(SocketPool_setconnrate(pool, 1, 60000) == 0 && SocketPool_set_global_rate(pool, 2, 60000) == 0);
    CHECK(SocketPool_check_rate(pool, one) == 1);
    for (n = 0; n < 50; n++)
        CHECK(SocketPool_check_rate(pool, one) == 0);
    other = join(&others[0]);
    CHECK(other != NULL && SocketPool_check_rate(pool, other) == 1);
    SocketPool_free(&pool);
    for (n = 0; n < 5; n++)
        close(clients[n]);
    SocketSYNProtect_free(&protect);

    /* The same where the pool listens. */
    protect = SocketSYNProtect_new(NULL, 5, 100);
    pool = make(10);
    port = SocketPool_listen(pool, "127.0.0.1", 0);
    CHECK(SocketPool_set_syn_protection(pool, protect) == 0);
    for (n = 0; n < 50; n++)
        CHECK(SocketPool_turn(pool, 0) == 0);
    for (n = 0; n < 5; n++) {
        clients[n] = connect_to(port);
        CHECK(opened(pool) != NULL);
    }
    SocketPool_free(&pool);
    for (n = 0; n < 5; n++)
        close(clients[n]);
    SocketSYNProtect_free(&protect);
    Socket_free(&server);
}

/* The pool refuses a client, whom nobody has closed and who may stay with somebody else. */
static void refuses(Socket_T server)
{
    int client;
    Socket_T came = come(server, &client);
    char byte;

    CHECK(SocketPool_add(pool, came) == NULL);
    CHECK(recv(client, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    CHECK(Socket_send(came, "y", 1, 0) == 1 && recv(client, &byte, 1, 0) == 1 && byte == 'y');
    Socket_free(&came);
    close(client);
}

static void w23_no_way_in_goes_round_the_limits(void)
{
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 1000, 1000);
    Socket_T server = listening(), late;
    int n, port, clients[2], refused;
    SocketPool_Stats stats;
    sp_event event;
    char byte;

    pool = make(3);
    CHECK(SocketPool_setmaxperip(pool, 2) == 0);
    for (n = 0; n < 2; n++)
        CHECK(SocketPool_add(pool, come(server, &clients[n])) != NULL);
    refuses(server);
    CHECK(SocketPool_setmaxperip(pool, 0) == 0 && SocketPool_set_syn_protection(pool, protect) == 0);
    CHECK(SocketSYNProtect_blacklist_add(protect, "127.0.0.1", 0) == 1);
    refuses(server);
    SocketSYNProtect_blacklist_clear(protect);
    CHECK(join(&others[0]) != NULL);
    refuses(server);
    CHECK(SocketPool_resize(pool, 10) == 0 && SocketPool_drain(pool) == 0);
    refuses(server);
    CHECK(SocketPool_get_stats(pool, &stats) == 0 && stats.total_refused == 4 && stats.total_added == 3);
    SocketPool_free(&pool);
    Socket_free(&others[0]);
    for (n = 0; n < 2; n++)
        close(clients[n]);

    /* Where the pool accepts: by the same limits, and once it drains it takes nobody only to drop him. */
    pool = make(8);
    port = SocketPool_listen(pool, "127.0.0.1", 0);
    CHECK(SocketPool_setmaxperip(pool, 1) == 0);
    clients[0] = connect_to(port);
    CHECK(opened(pool) != NULL && write(clients[0], "busy", 4) == 4);
    refused = connect_to(port);
    for (n = 0; n < 10; n++) {
        CHECK(SocketPool_turn(pool, 10) == 0);
        while (SocketPool_next_event(pool, &event) == 1) {
            CHECK(event.kind != SP_EVENT_OPENED);
            if (event.kind == SP_EVENT_READABLE)
                Connection_receive(event.connection);
        }
    }
    CHECK(recv(refused, &byte, 1, MSG_DONTWAIT) == 0);
    close(refused);
    CHECK(SocketPool_drain(pool) == 0 && SocketPool_turn(pool, 10) == 0);
    CHECK(SocketPool_count(pool) == 1 && SocketPool_get_stats(pool, &stats) == 0);
    late = Socket_new(AF_INET, SOCK_STREAM, 0);
    CHECK(Socket_connect(late, "127.0.0.1", port) == -1 && Socket_geterrno() == ECONNREFUSED);
    Socket_free(&late);
    close(clients[0]);
    SocketPool_free(&pool);
    SocketSYNProtect_free(&protect);
    Socket_free(&server);
}

static void w24_peers_without_an_address_are_not_counted_as_one(void)
{
    int n;

    pool = make(8);
    CHECK(SocketPool_setmaxperip(pool, 1) == 0);
    for (n = 0; n < 8; n++)
        CHECK(join(&others[n]) != NULL);
    SocketPool_free(&pool);
    for (n = 0; n < 8; n++)
        Socket_free(&others[n]);
}

static int used_up(Connection_T connection)
{
    int count = 0;

    while (count < 1000 && SocketPool_check_rate(pool, connection) == 1)
        count++;
    return count;
}

static void w25_who_was_idle_for_a_window_has_all_of_it(void)
{
    Connection_T connection;

    pool = make(1);
    connection = join(&others[0]);
    /* 16 in 1.6 seconds: a second would give back 10. */
    CHECK(SocketPool_setconnrate(pool, 16, 1600) == 0 && SocketPool_set_global_rate(pool, 16, 1600) == 0);
    CHECK(used_up(connection) >= 16);
    moment(1700);
    CHECK(used_up(connection) >= 16);
    SocketPool_free(&pool);
    Socket_free(&others[0]);
}

static void w29_idleness_is_counted_in_milliseconds_of_a_clock_that_does_not_jump(void)
{
    uint64_t before, after;
    Connection_T connection;
    struct timespec now;

    pool = make(4);
    connection = join(&others[0]);
    clock_gettime(CLOCK_MONOTONIC, &now);
    after = Socket_get_monotonic_ms();
    before = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    CHECK(before <= after && after - before < 1000);
    CHECK(Connection_created_at(connection) <= after && after - Connection_created_at(connection) < 1000);
    CHECK(Connection_last_active(connection) <= after && after - Connection_last_active(connection) < 1000);

    /* Half a second is not nothing, and an hour more of the wall clock is none of it. */
    CHECK(Connection_touch(connection) == 0);
    before = Socket_get_monotonic_ms();
    CHECK(SocketPool_set_idle_timeout(pool, 500) == 0 && SocketPool_get_idle_timeout(pool) == 500);
    SocketPool_tick(pool);
    CHECK(!is_over(others[0]) || Socket_get_monotonic_ms() - before >= 500);
    wall_clock_is_ahead = 1;
    moment(65);
    SocketPool_tick(pool);
    CHECK(!is_over(others[0]) || Socket_get_monotonic_ms() - before >= 500);
    wall_clock_is_ahead = 0;
    while (!is_over(others[0]) && Socket_get_monotonic_ms() - before < 5000) {
        moment(1);
        SocketPool_tick(pool);
    }
    after = Socket_get_monotonic_ms();
    CHECK(after - before >= 500 && after - before < 5000);
    SocketPool_free(&pool);
    Socket_free(&others[0]);
}

static void tell_idle(Connection_T connection, void *userdata, int reason, void *argument)
{
    CHECK(Connection_userdata(connection) == userdata && is_told("idle", reason));
    ++*(int *)userdata;
    ++*(int *)argument;
}

static void w30_the_end_of_an_idle_one_is_told_and_idle_is_not_active(void)
{
    SocketPool_Stats stats;
    Connection_T connections[4];
    int n, told[4] = {0}, sum = 0;

    pool = make(8);
    CHECK(SocketPool_set_close_callback(pool, tell_idle, &sum) == 0);
    for (n = 0; n < 4; n++) {
        connections[n] = join(&others[n]);
        CHECK(Connection_set_userdata(connections[n], &told[n]) == 0);
    }
    CHECK(SocketBuf_write(Connection_outbuf(connections[3]), "unsent", 6) == 6);
    CHECK(SocketPool_get_stats(pool, &stats) == 0 && stats.current_active == 1 && stats.current_idle == 3);
    CHECK(SocketPoolHealth_active_count(SocketPool_health(pool)) == 1);
    CHECK(SocketPoolHealth_idle_count(SocketPool_health(pool)) == 3);
    CHECK(SocketBuf_consume(Connection_outbuf(connections[3]), 6) == 0);
    CHECK(SocketPool_set_idle_timeout(pool, 1) == 0);
    moment(5);
    SocketPool_tick(pool);
    /* The program removes whom it sees at their ends. */
    for (n = 0; n < 4; n++) {
        SocketPool_remove(pool, connections[n]);
        CHECK(told[n] == 1);
        Socket_free(&others[n]);
    }
    CHECK(sum == 4 && SocketPool_get_stats(pool, &stats) == 0 && stats.total_idle_cleanups == 4);
    CHECK(stats.current_active == 0 && stats.current_idle == 0);
    SocketPool_free(&pool);
}

/* The shortest of some tries, in microseconds, so that it is nobody else's time. */
static double shortest(void (*action)(void))
{
    double best = 1e12, took;
    int n;

    for (n = 0; n < 10; n++) {
        took = now_us();
        action();
        took = now_us() - took;
        best = took < best ? took : best;
    }
    return best;
}

static void ask_how_it_is(void)
{
    SocketPool_Stats stats;
    int n;

    for (n = 0; n < 100; n++) {
        CHECK(SocketPool_get_stats(pool, &stats) == 0 && SocketPool_health(pool) != NULL);
        SocketPool_count(pool);
        SocketPool_tick(pool);
    }
}

static void w31_to_ask_how_a_pool_is_costs_the_same_at_any_size(void)
{
    double small, large;

    pool = make(10);
    small = shortest(ask_how_it_is);
    SocketPool_free(&pool);
    pool = make(few ? 100000 : 10000000);
    large = shortest(ask_how_it_is);
    SocketPool_free(&pool);
    CHECK(large < 20 * small);
}

static void come_and_go(void)
{
    Connection_T connection = join(&others[0]);

    CHECK(SocketBuf_write(Connection_inbuf(connection), "x", 1) == 1);
    CHECK(SocketBuf_write(Connection_outbuf(connection), "x", 1) == 1);
    CHECK(SocketPool_remove(pool, connection) == 0);
    Socket_free(&others[0]);
}

static void w32_to_come_and_go_costs_the_same_whatever_the_buffers_may_hold(void)
{
    double small, large;

    pool = SocketPool_new(NULL, 4, 64);
    small = shortest(come_and_go);
    SocketPool_free(&pool);
    pool = SocketPool_new(NULL, 4, 16 << 20);
    large = shortest(come_and_go);
    SocketPool_free(&pool);
    CHECK(large < 20 * small);
}

/* Memory of this process that is in use, in bytes. */
static long resident(void)
{
    long pages = 0, all = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    CHECK(file != NULL && fscanf(file, "%ld %ld", &all, &pages) == 2);
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static void w34_an_idle_connection_takes_little_whatever_its_buffers_may_hold(void)
{
    size_t sizes[] = {64, 65536, 16 << 20}, size, first, taken;
    long before, grown;
    int n;

    for (size = 0; size < 3; size++) {
        pool = SocketPool_new(NULL, MOST, sizes[size]);
        CHECK(join(&others[0]) != NULL);
        first = SocketPoolHealth_memory_bytes(SocketPool_health(pool));
        before = resident();
        for (n = 1; n < MOST; n++)
            CHECK(join(&others[n]) != NULL);
        grown = (resident() - before) / (MOST - 1);
        taken = (SocketPoolHealth_memory_bytes(SocketPool_health(pool)) - first) / (MOST - 1);
        printf("%lu bytes: %lu of the pool's and %ld of the process's\n", (unsigned long)sizes[size],
               (unsigned long)taken, grown);
        CHECK(taken < 512);
        /* A memory checker takes some for itself. */
        CHECK(few || grown < 2048);
        SocketPool_free(&pool);
        for (n = 0; n < MOST; n++)
            Socket_free(&others[n]);
    }
}

static const struct {
    const char *name;
    void (*test)(void);
} FAULTS[] = {
#define FAULT(name) {#name, name}
    FAULT(w01_a_pool_that_grows_keeps_everybody),
    FAULT(w02_a_pool_that_shrinks_loses_nobody),
    FAULT(w03_threads_that_clean_up_at_once_end_each_connection_once),
    FAULT(w04_a_new_connection_has_nothing_of_one_whose_socket_was_freed),
    FAULT(w05_a_name_that_is_kept_never_means_the_next_client),
    FAULT(w07_a_new_pool_has_nothing_of_one_before),
    FAULT(w09_a_connection_is_found_whatever_its_socket_connects_with),
    FAULT(w11_a_callback_of_a_drain_frees_the_pool),
    FAULT(w13_a_visitor_calls_the_pool_or_raises_out_of_it),
    FAULT(w15_a_pool_is_freed_at_once_whoever_waits_in_it),
    FAULT(w16_a_connect_that_is_not_to_block_returns_at_once),
    FAULT(w17_nothing_is_locked_while_something_takes_long),
    FAULT(w18_everybody_is_looked_at_and_not_only_the_first),
    FAULT(w20_whoever_comes_as_a_drain_begins_is_in_or_out),
    FAULT(w21_an_address_has_its_places_back_however_its_connections_end),
    FAULT(w22_nothing_is_used_up_where_nobody_is),
    FAULT(w23_no_way_in_goes_round_the_limits),
    FAULT(w24_peers_without_an_address_are_not_counted_as_one),
    FAULT(w25_who_was_idle_for_a_window_has_all_of_it),
    FAULT(w29_idleness_is_counted_in_milliseconds_of_a_clock_that_does_not_jump),
    FAULT(w30_the_end_of_an_idle_one_is_told_and_idle_is_not_active),
    FAULT(w31_to_ask_how_a_pool_is_costs_the_same_at_any_size),
    FAULT(w32_to_come_and_go_costs_the_same_whatever_the_buffers_may_hold),
    FAULT(w34_an_idle_connection_takes_little_whatever_its_buffers_may_hold),
};

int main(int argc, char **argv)
{
    size_t n;

    few = argc > 2;
    /* Who waits for ever fails too. */
    alarm(120);
    for (n = 0; n < sizeof FAULTS / sizeof *FAULTS; n++)
        if (argc > 1 && strcmp(argv[1], FAULTS[n].name) == 0) {
            FAULTS[n].test();
            return failures != 0;
        }
    printf("no such fault\n");
    return 2;
}
