/* Functions of the program that the pool calls do to the pool whatever they like: whoever calls them, each connection's end
 * is told once, the count is right, nothing is left over, and the pool goes on. C, and C++ for exceptions. */
#define _POSIX_C_SOURCE 200809L

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <time.h>

#include "check.h"
#include "pool/SocketPool.h"

/* In what the function is called. */
enum where {
    IN_REMOVE, IN_SOCKET_FREE, IN_FREE, IN_FORCE, IN_DRAIN, IN_COUNT, IN_STATE, IN_IS_DRAINED, IN_HEALTH, IN_STATS, IN_TICK,
    IN_ADD, IN_RESIZE, IN_SET_LIFETIME, IN_SET_BUFSIZE, IN_SET_RATE, IN_WAIT, IN_DISPOSE, IN_EVENT, IN_FOREACH, IN_FIND,
    IN_FILTER, WHERES
};

/* What it does. */
enum what {
    NOTHING, REMOVE_SELF, REMOVE_OTHER, REMOVE_ALL, FREE_SOCKETS, ADD, DRAIN, FORCE, RESIZE, FREE_POOL, DISPOSE, WAIT, TURN,
    WALK, REPLACE, CLEAR, FREE_POLL, JUMP, WHATS
};

struct seat {
    Connection_T connection;
    Socket_T other;
    int told;
};

enum { SEATS = 40, AT_FIRST = 5 };

static struct seat seats[SEATS];
static int taken, done, told_count, cleared, is_turned;
static enum where where;
static enum what what;
static Arena_T arena;
static SocketPool_T pool, pool_name;
static SocketPoll_T poll;
#ifndef __cplusplus
static jmp_buf out;
#endif

static void moment(long ms)
{
    struct timespec span = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&span, NULL);
}

static Connection_T add(void)
{
    struct seat *seat = &seats[taken];
    Socket_T ours = NULL;

    CHECK(taken < SEATS && SocketPair_new(SOCK_STREAM, &ours, &seat->other) == 0);
    seat->told = 0;
    seat->connection = SocketPool_add(pool, ours);
    if (seat->connection == NULL) {
        /* It is ours still. */
        CHECK(Socket_fd(ours) > 2);
        Socket_free(&ours);
        Socket_free(&seat->other);
        return NULL;
    }
    taken++;
    Connection_set_userdata(seat->connection, seat);
    if (poll != NULL && !is_turned)
        CHECK(sp_poll_add_socket(poll, ours, POLL_READ, seat) == 0);
    return seat->connection;
}

static void act(Connection_T self);

static void closed(Connection_T connection, void *userdata, int reason, void *argument)
{
    struct seat *seat = (struct seat *)userdata;

    CHECK(argument == &seats && seat != NULL && seat->connection == connection && ++seat->told == 1);
    CHECK(Connection_userdata(connection) == userdata && strcmp(sp_reason_name(reason), "unknown") != 0);
    CHECK(!cleared);
    told_count++;
    act(connection);
    /* Whatever that was, the program may look after it at what hangs on the connection. */
    CHECK(Connection_userdata(connection) == userdata);
}

/* The one that is put in place of the other. */
static void closed_too(Connection_T connection, void *userdata, int reason, void *argument)
{
    closed(connection, userdata, reason, argument);
}

static void visit(Connection_T connection, void *argument)
{
    CHECK(argument == &done);
    act(connection);
}

static int match(Connection_T connection, void *argument)
{
    visit(connection, argument);
    return 0;
}

static void act(Connection_T self)
{
    SocketPool_T copy = pool;
    SocketEvent_T *events;
    sp_event event;
    Socket_T socket;
    int n;

    if (done++)
        return;
    switch (what) {
    case NOTHING:
    case WHATS:
        break;
    case REMOVE_SELF:
        sp_pool_remove_connection(pool, self);
        break;
    case REMOVE_OTHER:
        sp_pool_remove_connection(pool, seats[self == seats[1].connection ? 0 : 1].connection);
        break;
    case REMOVE_ALL:
        for (n = taken - 1; n >= 0; n--)
            sp_pool_remove_connection(pool, seats[n].connection);
        break;
    case FREE_SOCKETS:
        for (n = 0; n < AT_FIRST; n++) {
            socket = Connection_socket(seats[n].connection);
            Socket_free(&socket);
        }
        break;
    case ADD:
        for (n = 0; n < 3; n++)
            add();
        break;
    case DRAIN:
        SocketPool_drain(pool);
        break;
    case FORCE:
        SocketPool_force_close_all(pool);
        break;
    case RESIZE:
        SocketPool_resize(pool, 1);
        SocketPool_resize(pool, 50);
        SocketPool_set_bufsize(pool, 64);
        break;
    case FREE_POOL:
        SocketPool_free(&pool);
        SocketPool_free(&copy);
        break;
    case DISPOSE:
        Arena_dispose(&arena);
        break;
    case WAIT:
        SocketPoll_wait(poll, &events, 0);
        SocketPoll_wait(poll, &events, 1);
        break;
    case TURN:
        is_turned = sp_pool_turn(pool, 0) == SP_OK || is_turned;
        while (sp_pool_next_event(pool, &event) == 1)
            ;
        break;
    case WALK:
        SocketPool_foreach(pool, visit, &done);
        break;
    case REPLACE:
        SocketPool_set_close_callback(pool, closed_too, &seats);
        break;
    case CLEAR:
        cleared = SocketPool_set_close_callback(pool, NULL, NULL) == 0;
        break;
    case FREE_POLL:
        SocketPoll_free(&poll);
        break;
    case JUMP:
#ifdef __cplusplus
        throw 7;
#else
        longjmp(out, 1);
#endif
    }
}

static void idle_is_due(void)
{
    CHECK(SocketPool_set_idle_timeout(pool, 1) == 0);
    moment(3);
}

static void begin(void)
{
    SocketEvent_T *events;
    SocketPool_Stats stats;
    Connection_T found;
    sp_event event;
    Socket_T socket;
    int n;

    if (where >= IN_COUNT && where <= IN_WAIT)
        idle_is_due();
    switch (where) {
    case IN_REMOVE:
        sp_pool_remove_connection(pool, seats[0].connection);
        break;
    case IN_SOCKET_FREE:
        socket = Connection_socket(seats[0].connection);
        Socket_free(&socket);
        break;
    case IN_FREE:
        SocketPool_free(&pool);
        break;
    case IN_FORCE:
        SocketPool_force_close_all(pool);
        break;
    case IN_DRAIN:
        SocketPool_drain(pool);
        break;
    case IN_COUNT:
        SocketPool_count(pool);
        break;
    case IN_STATE:
        SocketPool_state(pool);
        break;
    case IN_IS_DRAINED:
        SocketPool_is_drained(pool);
        break;
    case IN_HEALTH:
        SocketPool_health(pool);
        break;
    case IN_STATS:
        SocketPool_get_stats(pool, &stats);
        break;
    case IN_TICK:
        SocketPool_tick(pool);
        break;
    case IN_ADD:
        /* Without a name for it here, nobody could tell what is told of it. */
        done = -1000;
        cleared = 0;
        SocketPool_drain(pool);
        done = 0;
        add();
        break;
    case IN_RESIZE:
        SocketPool_resize(pool, 20);
        break;
    case IN_SET_LIFETIME:
        SocketPool_set_max_lifetime(pool, 100000);
        break;
    case IN_SET_BUFSIZE:
        SocketPool_set_bufsize(pool, 4096);
        break;
    case IN_SET_RATE:
        SocketPool_setconnrate(pool, 100, 1000);
        break;
    case IN_WAIT:
        for (n = 0; n < 100 && !done; n++)
            SocketPoll_wait(poll, &events, 10);
        break;
    case IN_DISPOSE:
        Arena_dispose(&arena);
        break;
    case IN_EVENT:
        CHECK(sp_connection_close(seats[0].connection) == SP_OK && sp_connection_close(seats[3].connection) == SP_OK);
        CHECK(sp_pool_turn(pool, 0) == SP_OK);
        while (sp_pool_next_event(pool, &event) == 1)
            ;
        break;
    case IN_FOREACH:
        SocketPool_foreach(pool, visit, &done);
        break;
    case IN_FIND:
        CHECK(SocketPool_find(pool, match, &done) == NULL);
        break;
    case IN_FILTER:
        CHECK(SocketPool_filter(pool, match, &done, &found, 1) == 0);
        break;
    case WHERES:
        break;
    }
}

static int try_it(void)
{
#ifdef __cplusplus
    try {
        begin();
    } catch (int) {
        return 1;
    }
    return 0;
#else
    if (setjmp(out) != 0)
        return 1;
    begin();
    return 0;
#endif
}

/* Whatever there is to be told of a pool that is turned. */
static void fetch_events(void)
{
    sp_event event;
    int turns;

    for (turns = 0; is_turned && turns < 3 && sp_pool_turn(pool_name, 0) == SP_OK; turns++)
        while (sp_pool_next_event(pool_name, &event) == 1)
            ;
}

static void go(void)
{
    SocketPool_T copy;
    int n, jumped, told;

    taken = done = told_count = cleared = is_turned = 0;
    arena = Arena_new();
    pool = pool_name = SocketPool_new(arena, 16, 4096);
    poll = SocketPoll_new(8);
    CHECK(SocketPool_set_close_callback(pool, closed, &seats) == 0);
    is_turned = where == IN_EVENT && sp_pool_turn(pool, 0) == SP_OK;
    for (n = 0; n < AT_FIRST; n++)
        CHECK(add() != NULL);

    jumped = try_it();
    CHECK(done > 0 || where == IN_ADD);
    CHECK(jumped == (what == JUMP && done > 0));

    /* What was not told before the jump is told by the next call. */
    SocketPool_state(pool_name);
    fetch_events();
    if (!cleared && SocketPool_state(pool_name) != -1)
        CHECK(SocketPool_count(pool_name) == (size_t)(taken - told_count));
    pool = pool_name;
    if ((where == IN_FREE || where == IN_DISPOSE) && jumped) {
        /* It is gone all the same. */
        CHECK(add() == NULL && SocketPool_state(pool) == -1);
    } else if (SocketPool_state(pool) == SP_STATE_ACTIVE) {
        CHECK(SocketPool_set_idle_timeout(pool, 0) == 0);
        told = told_count;
        CHECK(add() != NULL && Connection_isactive(seats[taken - 1].connection));
        CHECK(sp_pool_remove_connection(pool, seats[taken - 1].connection) == 0 || is_turned);
        fetch_events();
        CHECK(cleared || told_count == told + 1);
    } else if (what != FREE_POOL && what != DISPOSE && where != IN_FREE && where != IN_DISPOSE) {
        CHECK(SocketPool_state(pool) != -1 && add() == NULL);
    }
    copy = pool_name;
    SocketPool_free(&copy);
    CHECK(SocketPool_state(pool_name) == -1 && SocketPool_count(pool_name) == 0);
    CHECK(cleared || told_count == taken);
    for (n = 0; n < taken; n++) {
        CHECK(seats[n].told == 1 || cleared);
        CHECK(jumped || Connection_isactive(seats[n].connection) == 0);
        Socket_free(&seats[n].other);
    }
    Arena_dispose(&arena);
    if (poll != NULL)
        CHECK(SocketPoll_getregisteredcount(poll) == 0);
    SocketPoll_free(&poll);
}

enum { MANY = 300 };

static void count_and_remove(Connection_T connection, void *userdata, int reason, void *argument)
{
    (void)userdata, (void)reason;
    ++*(int *)argument;
    CHECK(SocketPool_count(pool) < MANY);
    sp_pool_remove_connection(pool, connection);
}

static void *end_many(void *how)
{
    if (*(int *)how == 0)
        SocketPool_force_close_all(pool);
    else if (*(int *)how == 1)
        SocketPool_drain(pool);
    SocketPool_free(&pool);
    return NULL;
}

/* More with checkers that put their own things on it. */
#ifndef SMALL_STACK
#define SMALL_STACK (128 * 1024)
#endif

/* Each call of the pool by a callback might tell of the next end, and that callback calls the pool: not so often that the
 * stack ends. */
static void many_end_on_a_small_stack(void)
{
    Socket_T others[MANY], ours;
    int n, how, counted = 0;
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    CHECK(pthread_attr_setstacksize(&attributes, SMALL_STACK) == 0);
    for (how = 0; how < 3; how++) {
        pool = SocketPool_new(NULL, MANY, 64);
        SocketPool_set_close_callback(pool, count_and_remove, &counted);
        for (n = 0; n < MANY; n++)
            CHECK(SocketPair_new(SOCK_STREAM, &ours, &others[n]) == 0 && SocketPool_add(pool, ours) != NULL);
        CHECK(pthread_create(&thread, &attributes, end_many, &how) == 0 && pthread_join(thread, NULL) == 0);
        CHECK(counted == (how + 1) * MANY && pool == NULL);
        for (n = 0; n < MANY; n++)
            Socket_free(&others[n]);
    }
    pthread_attr_destroy(&attributes);
}

static int open_descriptors(void)
{
    int fd, count = 0;

    for (fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) != -1;
    return count;
}

int main(void)
{
    int before, w, d;
    SocketPool_T last;

    before = open_descriptors();
    many_end_on_a_small_stack();
    for (w = 0; w < WHERES; w++)
        for (d = 0; d < WHATS; d++) {
            int failed = failures;

            where = (enum where)w;
            what = (enum what)d;
            go();
            if (failures > failed)
                printf("that was in %d, doing %d\n", w, d);
        }
    /* Those of whose ends nobody has returned are closed when their time is over. */
    moment(1100);
    last = SocketPool_new(NULL, 1, 64);
    CHECK(SocketPool_count(last) == 0);
    SocketPool_free(&last);
    CHECK(open_descriptors() == before);
    return failures != 0;
}
