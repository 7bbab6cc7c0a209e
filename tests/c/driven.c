/* Connections that the program drives: added, read, written, limited, drained and removed, and what is told of their ends. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "core/Arena.h"
#include "core/SocketError.h"
#include "core/SocketUtil.h"
#include "poll/SocketPoll.h"
#include "pool/SocketPoolHealth.h"
#include "socket/Socket.h"
#include "socket/SocketBuf.h"

static struct {
    int count;
    Connection_T last;
    void *userdata;
    const char *reason;
} told;

static void note(Connection_T conn, void *userdata, int reason, void *argument)
{
    CHECK(argument == &told);
    CHECK(Connection_userdata(conn) == userdata);
    told.count++;
    told.last = conn;
    told.userdata = userdata;
    told.reason = sp_reason_name(reason);
}

static SocketPool_T make(size_t most)
{
    SocketPool_T pool = SocketPool_new(NULL, most, 4096);

    CHECK(pool != NULL);
    memset(&told, 0, sizeof told);
    CHECK(SocketPool_set_close_callback(pool, note, &told) == 0);
    return pool;
}

/* A connection, and the other end. */
static Connection_T add(SocketPool_T pool, Socket_T *other)
{
    Socket_T ours;
    Connection_T conn;

    CHECK(SocketPair_new(SOCK_STREAM, &ours, other) == 0);
    conn = SocketPool_add(pool, ours);
    CHECK(conn != NULL);
    CHECK(Connection_socket(conn) == ours);
    CHECK(SocketPool_get(pool, ours) == conn);
    return conn;
}

static int fcntl_ok(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void sleep_ms(long ms)
{
    struct timespec span = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&span, NULL);
}

static void ask(Socket_T other, const char *text)
{
    CHECK(Socket_send(other, text, strlen(text), 0) == (ssize_t)strlen(text));
}

static void a_life(void)
{
    SocketPool_T pool = make(10);
    Socket_T other;
    Connection_T conn = add(pool, &other);
    SocketBuf_T in = Connection_inbuf(conn), out = Connection_outbuf(conn);
    int hung_on = 0, fd = Connection_fd(conn);
    char answer[16], text[64];
    SocketPoolHealth_T health;
    uint64_t created = Connection_created_at(conn);

    CHECK(SocketPool_count(pool) == 1 && SocketPool_state(pool) == SP_STATE_ACTIVE);
    CHECK(Connection_isactive(conn) == 1 && fd > 2 && fcntl_ok(fd));
    CHECK(Connection_userdata(conn) == NULL && Connection_set_userdata(conn, &hung_on) == 0);
    CHECK(Connection_data(conn) == &hung_on);
    CHECK(created > 0 && created <= Socket_get_monotonic_ms() && Connection_last_active(conn) == created);
    CHECK(Connection_peer(conn, text, sizeof text) == 0 && strcmp(text, "unix") == 0);

    /* A request that comes in two parts. */
    ask(other, "he");
    CHECK(SocketBuf_writeable(in) == 4096);
    CHECK(Socket_recv(Connection_socket(conn), SocketBuf_writeptr(in), SocketBuf_writeable(in), 0) == 2);
    CHECK(SocketBuf_produce(in, 2) == 0 && SocketBuf_readable(in) == 2);
    ask(other, "llo");
    CHECK(Socket_recv(Connection_socket(conn), SocketBuf_writeptr(in), SocketBuf_writeable(in), 0) == 3);
    CHECK(SocketBuf_produce(in, 3) == 0);
    CHECK(SocketBuf_readable(in) == 5 && memcmp(SocketBuf_readptr(in), "hello", 5) == 0);
    health = SocketPool_health(pool);
    CHECK(SocketPoolHealth_active_count(health) == 1 && SocketPoolHealth_idle_count(health) == 0);
    CHECK(Socket_recv(Connection_socket(conn), text, sizeof text, 0) == -1 && Socket_geterrno() == 11);
    CHECK(SocketBuf_consume(in, 5) == 0 && SocketBuf_consume(in, 1) == -1);

    /* The answer waits in the buffer, and leaves. */
    CHECK(SocketBuf_write(out, "HELLO", 5) == 5);
    CHECK(Socket_send(Connection_socket(conn), SocketBuf_readptr(out), SocketBuf_readable(out), 0) == 5);
    CHECK(SocketBuf_consume(out, 5) == 0 && SocketBuf_readable(out) == 0);
    CHECK(Socket_recv(other, answer, sizeof answer, 0) == 5 && memcmp(answer, "HELLO", 5) == 0);
    health = SocketPool_health(pool);
    CHECK(SocketPoolHealth_active_count(health) == 0 && SocketPoolHealth_total_count(health) == 1);
    CHECK(SocketPoolHealth_memory_bytes(health) > 0 && SocketPoolHealth_latency_p99(health) < 10000000);

    /* More than fits. */
    CHECK(SocketBuf_produce(in, 4097) == -1);

    CHECK(told.count == 0);
    CHECK(sp_pool_remove_connection(pool, conn) == 0);
    CHECK(told.count == 1 && told.last == conn && told.userdata == &hung_on);
    CHECK(sp_pool_remove_connection(pool, conn) == -1 && told.count == 1);
    CHECK(Connection_isactive(conn) == 0 && Connection_fd(conn) == -1 && Connection_userdata(conn) == NULL);
    CHECK(SocketBuf_readable(in) == 0 && SocketBuf_writeptr(out) == NULL);
    CHECK(!fcntl_ok(fd));
    CHECK(Socket_recv(other, answer, sizeof answer, 0) == 0);
    Socket_free(&other);
    SocketPool_free(&pool);
    CHECK(pool == NULL && told.count == 1);
}

static void a_full_pool_refuses_and_the_caller_keeps_his(void)
{
    SocketPool_T pool = make(1);
    Socket_T other, more, last;

    add(pool, &other);
    CHECK(SocketPair_new(SOCK_STREAM, &more, &last) == 0);
    CHECK(SocketPool_add(pool, more) == NULL && strstr(Socket_GetLastError(), "full") != NULL);
    CHECK(Socket_send(more, "x", 1, 0) == 1);
    CHECK(SocketPool_add(pool, other) == NULL);
    CHECK(SocketPool_resize(pool, 3) == 0 && SocketPool_add(pool, more) != NULL);
    CHECK(SocketPool_add(pool, more) == NULL && strstr(Socket_GetLastError(), "already") != NULL);
    CHECK(SocketPool_count(pool) == 2);
    SocketPool_free(&pool);
    CHECK(told.count == 2 && strcmp(told.reason, "forced") == 0);
    CHECK(Socket_fd(more) == -1);
    Socket_free(&more);
    Socket_free(&other);
    Socket_free(&last);
}

static void the_pool_ends_who_is_idle(void)
{
    SocketPool_T pool = make(10);
    Socket_T other, second_other;
    Connection_T conn = add(pool, &other), second = add(pool, &second_other);
    char byte;

    CHECK(SocketPool_set_idle_timeout(pool, 40) == 0 && SocketPool_get_idle_timeout(pool) == 40);
    sleep_ms(60);
    CHECK(SocketPool_count(pool) == 0);
    CHECK(told.count == 2 && strcmp(told.reason, "idle") == 0);
    /* They see it as the end of the stream, and are there until they are removed. */
    CHECK(Connection_isactive(conn) == 1);
    CHECK(Socket_recv(Connection_socket(conn), &byte, 1, 0) == 0);
    CHECK(Socket_send(Connection_socket(conn), &byte, 1, 0) == -1 && Socket_geterrno() == 32);
    CHECK(SocketBuf_writeable(Connection_inbuf(conn)) == 0);
    CHECK(Socket_recv(other, &byte, 1, 0) == 0);
    CHECK(sp_pool_remove_connection(pool, conn) == 0 && told.count == 2 && Connection_isactive(conn) == 0);
    /* Or until their time is over. */
    sleep_ms(1100);
    CHECK(SocketPool_tick(pool) == -1);
    CHECK(Connection_isactive(second) == 0 && told.count == 2);
    SocketPool_free(&pool);
    Socket_free(&other);
    Socket_free(&second_other);
}

static void a_drain(void)
{
    SocketPool_T pool = make(10);
    Socket_T idle_other, busy_other, more, last;
    Connection_T idle = add(pool, &idle_other), busy = add(pool, &busy_other);
    char text[8];

    ask(busy_other, "what?");
    CHECK(SocketPool_drain(pool) == 0 && SocketPool_state(pool) == SP_STATE_DRAINING);
    CHECK(told.count == 1 && told.last == idle && strcmp(told.reason, "drained") == 0);
    CHECK(SocketPair_new(SOCK_STREAM, &more, &last) == 0 && SocketPool_add(pool, more) == NULL);
    CHECK(strstr(Socket_GetLastError(), "draining") != NULL);
    CHECK(Socket_recv(Connection_socket(busy), text, sizeof text, 0) == 5 && SocketPool_is_drained(pool) == 0);
    CHECK(Socket_send(Connection_socket(busy), "this.", 5, 0) == 5);
    CHECK(SocketPool_is_drained(pool) == 1 && told.count == 2 && told.last == busy);
    CHECK(Socket_recv(busy_other, text, sizeof text, 0) == 5 && Socket_recv(busy_other, text, sizeof text, 0) == 0);
    SocketPool_free(&pool);
    CHECK(told.count == 2 && Connection_isactive(idle) == 0);
    Socket_free(&more);
    Socket_free(&last);
    Socket_free(&idle_other);
    Socket_free(&busy_other);
}

static void a_forced_end(void)
{
    SocketPool_T pool = make(10);
    Socket_T other;
    Connection_T conn = add(pool, &other);

    ask(other, "what?");
    CHECK(SocketPool_drain(pool) == 0 && SocketPool_is_drained(pool) == 0);
    CHECK(SocketPool_force_close_all(pool) == 0 && SocketPool_is_drained(pool) == 1);
    CHECK(told.count == 1 && strcmp(told.reason, "forced") == 0 && Connection_isactive(conn) == 0);
    SocketPool_free(&pool);
    Socket_free(&other);
}

static void rates(void)
{
    SocketPool_T pool = make(10);
    Socket_T other;
    Connection_T conn = add(pool, &other);

    CHECK(SocketPool_check_rate(pool, conn) == 1);
    CHECK(SocketPool_setconnrate(pool, 2, 60000) == 0);
    CHECK(SocketPool_check_rate(pool, conn) == 1 && SocketPool_check_rate(pool, conn) == 1);
    CHECK(SocketPool_check_rate(pool, conn) == 0 && SocketPool_check_rate(NULL, conn) == 0);
    CHECK(SocketPool_setconnrate(pool, 2, 0) == -1 && strstr(Socket_GetLastError(), "window_ms is 0") != NULL);
    CHECK(SocketPool_setconnrate(pool, 0, 0) == 0 && SocketPool_set_global_rate(pool, 1, 60000) == 0);
    CHECK(SocketPool_check_rate(pool, conn) == 1 && SocketPool_check_rate(pool, conn) == 0);
    SocketPool_free(&pool);
    Socket_free(&other);
}

static SocketPool_T walked;
static int met;

static void remove_it(Connection_T conn, void *argument)
{
    (void)argument;
    met++;
    CHECK(sp_pool_remove_connection(walked, conn) == 0);
}

static int is_third(Connection_T conn, void *argument)
{
    (void)conn;
    return ++*(int *)argument == 3;
}

static int is_any(Connection_T conn, void *argument)
{
    (void)conn;
    (void)argument;
    return 1;
}

static void walks_may_call_the_pool(void)
{
    Socket_T others[5];
    Connection_T conns[5], found[5];
    int i, seen = 0;

    walked = make(10);
    for (i = 0; i < 5; i++)
        conns[i] = add(walked, &others[i]);
    CHECK(SocketPool_find(walked, is_third, &seen) == conns[2]);
    CHECK(SocketPool_filter(walked, is_any, NULL, found, 4) == 4 && found[3] == conns[3]);
    CHECK(SocketPool_filter(walked, is_any, NULL, NULL, 1) == 0);
    SocketPool_foreach(walked, remove_it, NULL);
    CHECK(met == 5 && told.count == 5 && SocketPool_count(walked) == 0);
    SocketPool_free(&walked);
    for (i = 0; i < 5; i++)
        Socket_free(&others[i]);
}

static SocketPool_T freed;

static void free_the_pool(Connection_T conn, void *userdata, int reason, void *argument)
{
    (void)userdata;
    (void)reason;
    ++*(int *)argument;
    SocketPool_free(&freed);
    CHECK(Connection_isactive(conn) == 1);
}

static void a_callback_frees_its_pool(void)
{
    Socket_T others[3];
    Connection_T conns[3];
    int i, count = 0;

    freed = make(10);
    SocketPool_set_close_callback(freed, free_the_pool, &count);
    for (i = 0; i < 3; i++)
        conns[i] = add(freed, &others[i]);
    CHECK(sp_pool_remove_connection(freed, conns[1]) == 0);
    CHECK(count == 3 && freed == NULL);
    for (i = 0; i < 3; i++) {
        CHECK(Connection_isactive(conns[i]) == 0);
        Socket_free(&others[i]);
    }
}

static jmp_buf out_of_here;

static void jump(Connection_T conn, void *userdata, int reason, void *argument)
{
    (void)conn;
    (void)userdata;
    (void)reason;
    (void)argument;
    longjmp(out_of_here, 1);
}

static void a_callback_jumps(void)
{
    static Connection_T volatile conn;
    static Socket_T other, second;
    static SocketPool_T volatile pool;
    SocketPool_T last;

    pool = make(10);
    SocketPool_set_close_callback(pool, jump, NULL);
    conn = add(pool, &other);
    if (setjmp(out_of_here) == 0)
        sp_pool_remove_connection(pool, conn);
    SocketPool_set_close_callback(pool, note, &told);
    CHECK(SocketPool_count(pool) == 0);
    CHECK(sp_pool_remove_connection(pool, add(pool, &second)) == 0 && told.count == 1);
    last = pool;
    SocketPool_free(&last);
    /* It never returned, so its socket is closed when its time is over. */
    sleep_ms(1100);
    last = make(1);
    CHECK(SocketPool_count(last) == 0 && Connection_isactive(conn) == 0);
    SocketPool_free(&last);
    Socket_free(&other);
    Socket_free(&second);
}

static void an_arena_ends_its_pools(void)
{
    Arena_T arena = Arena_new();
    SocketPool_T pool = SocketPool_new(arena, 10, 4096);
    Socket_T other;
    Connection_T conn = add(pool, &other);

    memset(&told, 0, sizeof told);
    SocketPool_set_close_callback(pool, note, &told);
    Arena_dispose(&arena);
    CHECK(told.count == 1 && told.last == conn && Connection_isactive(conn) == 0);
    CHECK(SocketPool_count(pool) == 0);
    SocketPool_free(&pool);
    CHECK(pool == NULL);
    Socket_free(&other);
}

static void a_pooled_socket_is_freed(void)
{
    SocketPool_T pool = make(10);
    Socket_T other, ours;
    Connection_T conn = add(pool, &other);

    ours = Connection_socket(conn);
    Socket_free(&ours);
    CHECK(ours == NULL && told.count == 1 && SocketPool_count(pool) == 0);
    SocketPool_free(&pool);
    Socket_free(&other);
}

/* The next event of this kind; whatever comes is received. */
static sp_event next(SocketPool_T pool, int kind)
{
    sp_event event;
    int turns;

    for (turns = 0; turns < 200; turns++) {
        while (SocketPool_next_event(pool, &event) == 1) {
            if (event.kind == kind)
                return event;
            if (event.kind == SP_EVENT_READABLE)
                Connection_receive(event.connection);
        }
        CHECK(SocketPool_turn(pool, 50) == 0);
    }
    CHECK(!"the event comes");
    memset(&event, 0, sizeof event);
    return event;
}

/* A descriptor that has the number of one that was closed, and the other end of it. */
static int take_number(int number, int *other)
{
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    if (pair[1] == number) {
        *other = pair[0];
        return number;
    }
    *other = pair[1];
    if (pair[0] != number) {
        CHECK(dup2(pair[0], number) == number);
        close(pair[0]);
    }
    return number;
}

static void a_number_that_the_pool_has_closed_is_somebody_elses(void)
{
    SocketPool_T pool = make(10);
    int port = SocketPool_listen(pool, "127.0.0.1", 0), other, number;
    Socket_T client = Socket_new(AF_INET, SOCK_STREAM, 0);
    Connection_T conn;
    char byte = 0;

    CHECK(port > 0 && Socket_connect(client, "127.0.0.1", port) == 0);
    conn = next(pool, SP_EVENT_OPENED).connection;
    Socket_free(&client);
    CHECK(next(pool, SP_EVENT_CLOSED).connection == conn);
    number = Connection_fd(conn);
    take_number(number, &other);
    CHECK(write(other, "x", 1) == 1);
    sp_pool_remove_connection(pool, conn);
    CHECK(recv(number, &byte, 1, MSG_DONTWAIT) == 1 && byte == 'x');
    SocketPool_free(&pool);
    CHECK(fcntl_ok(number));
    close(number);
    close(other);
}

static void a_number_is_somebody_elses_before_the_end_is_told(void)
{
    SocketPool_T pool = make(1);
    SocketPoll_T poll = SocketPoll_new(4);
    SocketEvent_T *events;
    Socket_T other, newcomer, last, socket;
    Connection_T conn;
    int number, far;

    CHECK(SocketPool_turn(pool, 0) == 0);
    conn = add(pool, &other);
    socket = Connection_socket(conn);
    CHECK(next(pool, SP_EVENT_OPENED).connection == conn && Socket_fd(socket) == Connection_fd(conn));
    CHECK(sp_connection_close(conn) == SP_OK && SocketPool_turn(pool, 0) == 0);
    CHECK(sp_poll_add_socket(poll, socket, POLL_READ, NULL) == 0);
    /* He is about to go, and goes at once for somebody else. */
    CHECK(SocketPair_new(SOCK_STREAM, &newcomer, &last) == 0 && SocketPool_add(pool, newcomer) != NULL);
    number = take_number(Connection_fd(conn), &far);
    CHECK(write(far, "x", 1) == 1);
    CHECK(sp_poll_add_fd(poll, number, POLL_READ, &number) == 0);

    CHECK(Socket_fd(socket) == -1 && strstr(Socket_GetLastError(), "closed by its pool") != NULL);
    CHECK(Socket_shutdown(socket, SHUT_RDWR) == -1 && Socket_setnonblocking(socket) == -1);
    CHECK(sp_poll_mod_socket(poll, socket, 0, NULL) == -1 && sp_poll_del_socket(poll, socket) == -1);
    CHECK(sp_poll_add_socket(poll, socket, POLL_READ, NULL) == -1);
    CHECK(told.count == 0 && sp_pool_remove_connection(pool, conn) == 0);
    CHECK(sp_pool_remove_connection(pool, conn) == -1 && told.count == 0);
    CHECK(SocketPoll_getregisteredcount(poll) == 1 && SocketPoll_wait(poll, &events, 0) == 1);
    CHECK(events[0].data == &number && events[0].events == POLL_READ);
    CHECK(next(pool, SP_EVENT_CLOSED).connection == conn && told.count == 1);
    CHECK(sp_pool_remove_connection(pool, conn) == -1 && Connection_isactive(conn) == 1);
    SocketPool_free(&pool);
    CHECK(told.count == 2 && SocketPoll_getregisteredcount(poll) == 1);
    CHECK(write(number, "y", 1) == 1);
    close(number);
    close(far);
    SocketPoll_free(&poll);
    Socket_free(&other);
    Socket_free(&last);
}

static void whom_the_pool_closes_no_poll_has(void)
{
    SocketPool_T pool = make(10);
    SocketPoll_T poll = SocketPoll_new(4);
    Socket_T other;
    Connection_T conn;

    CHECK(SocketPool_turn(pool, 0) == 0);
    conn = add(pool, &other);
    CHECK(sp_poll_add_socket(poll, Connection_socket(conn), POLL_READ, NULL) == 0);
    CHECK(SocketPoll_getregisteredcount(poll) == 1 && sp_connection_close(conn) == SP_OK);
    CHECK(next(pool, SP_EVENT_CLOSED).connection == conn && SocketPoll_getregisteredcount(poll) == 0);
    SocketPool_free(&pool);
    SocketPoll_free(&poll);
    Socket_free(&other);
}

/* Once he is removed he does not wait to be removed again, even if the pool had ended him before and not told. */
static void who_is_removed_before_his_end_is_told_is_gone_with_it(void)
{
    SocketPool_T pool = make(10);
    Socket_T other;
    Connection_T conn = add(pool, &other);
    sp_event event;
    char byte;

    CHECK(SocketPool_turn(pool, 0) == 0 && SocketPool_drain(pool) == 0 && SocketPool_turn(pool, 0) == 0);
    CHECK(told.count == 0 && sp_pool_remove_connection(pool, conn) == 0);
    CHECK(sp_pool_remove_connection(pool, conn) == -1);
    CHECK(SocketPool_next_event(pool, &event) == 1 && event.kind == SP_EVENT_DRAINED);
    CHECK(told.count == 1 && strcmp(told.reason, "drained") == 0);
    CHECK(Connection_isactive(conn) == 0 && Socket_recv(other, &byte, 1, 0) == 0);
    SocketPool_free(&pool);
    CHECK(told.count == 1);
    Socket_free(&other);
}

static void who_sleeps_by_the_pools_word_is_back_to_close_who_has_ended(void)
{
    SocketPool_T pool = make(10);
    Socket_T other;
    Connection_T conn = add(pool, &other);
    sp_event event;
    int ms = 0, sp_ms = 0;

    CHECK(SocketPool_turn(pool, 0) == 0 && SocketPool_drain(pool) == 0 && SocketPool_turn(pool, 0) == 0);
    while (SocketPool_next_event(pool, &event) == 1)
        continue;
    CHECK(told.count == 1 && Connection_isactive(conn) == 1);
    ms = SocketPool_next_timeout_ms(pool);
    CHECK(sp_pool_next_timeout_ms(pool, &sp_ms) == SP_OK);
    CHECK(ms > 0 && ms <= 1000 && sp_ms > 0 && sp_ms <= 1000);
    sleep_ms(ms);
    CHECK(SocketPool_turn(pool, 0) == 0 && Connection_isactive(conn) == 0);
    CHECK(SocketPool_next_timeout_ms(pool) == -1);
    SocketPool_free(&pool);
    Socket_free(&other);
}

/* Whom the pool has ended and the program has removed nobody has to close. */
static void nobody_is_woken_for_who_was_removed(void)
{
    SocketPool_T pool = make(10);
    Socket_T other[2];
    Connection_T conn[2];
    int n;

    for (n = 0; n < 2; n++)
        conn[n] = add(pool, &other[n]);
    CHECK(SocketPool_set_first_message_timeout(pool, 0) == 0 && SocketPool_set_idle_timeout(pool, 1) == 0);
    sleep_ms(3);
    n = SocketPool_tick(pool);
    CHECK(n > 0 && n <= 1000 && told.count == 2 && SocketPool_set_idle_timeout(pool, 0) == 0);
    CHECK(sp_pool_remove_connection(pool, conn[0]) == 0);
    CHECK(SocketPool_tick(pool) > 0);
    CHECK(sp_pool_remove_connection(pool, conn[1]) == 0);
    CHECK(SocketPool_tick(pool) == -1);
    for (n = 0; n < 2; n++)
        Socket_free(&other[n]);
    SocketPool_free(&pool);
}

static void nothing_is_produced_behind_the_end_of_a_stream(void)
{
    SocketPool_T pool = make(10);
    Socket_T other, second_other;
    Connection_T conn = add(pool, &other), second = add(pool, &second_other);
    void *space;
    char byte;

    space = SocketBuf_writeptr(Connection_inbuf(conn));
    CHECK(space != NULL && SocketBuf_writeptr(Connection_inbuf(second)) != NULL);
    Socket_free(&second_other);
    CHECK(Socket_recv(Connection_socket(second), &byte, 1, 0) == 0);
    *(char *)space = 'x';
    CHECK(SocketBuf_produce(Connection_inbuf(conn), 1) == 0);
    CHECK(SocketBuf_produce(Connection_inbuf(second), 1) == -1);
    CHECK(SocketBuf_read(Connection_inbuf(conn), &byte, 1) == 1 && byte == 'x' && SocketPool_count(pool) == 2);
    SocketPool_free(&pool);
    Socket_free(&other);
}

/* Whoever is told of an end asks for the next one. */
static void ask_for_more(Connection_T conn, void *userdata, int reason, void *pool)
{
    sp_event event;

    CHECK(reason > 0 && userdata != NULL && Connection_userdata(conn) == userdata);
    if (userdata != NULL)
        ++*(int *)userdata;
    while (SocketPool_next_event(pool, &event) == 1)
        continue;
}

static void an_end_that_is_told_late_is_told_of_a_name_that_answers(void)
{
    enum { MANY = 30 };
    SocketPool_T pool = SocketPool_new(NULL, MANY, 4096);
    Socket_T others[MANY];
    sp_event event;
    int times[MANY] = {0}, n;

    CHECK(SocketPool_set_close_callback(pool, ask_for_more, pool) == 0 && SocketPool_turn(pool, 0) == 0);
    for (n = 0; n < MANY; n++)
        CHECK(Connection_set_userdata(add(pool, &others[n]), &times[n]) == 0);
    while (SocketPool_turn(pool, 0) == 0 && SocketPool_next_event(pool, &event) == 1)
        continue;
    CHECK(SocketPool_drain(pool) == 0 && SocketPool_turn(pool, 0) == 0);
    while (SocketPool_next_event(pool, &event) == 1)
        continue;
    for (n = 0; n < MANY; n++) {
        CHECK(times[n] == 1);
        Socket_free(&others[n]);
    }
    SocketPool_free(&pool);
}

static void fail_at_will(Connection_T conn, void *userdata, int reason, void *calls)
{
    char byte;

    (void)conn, (void)userdata, (void)reason;
    CHECK(Socket_recv(NULL, &byte, 1, 0) == -1 && strstr(Socket_GetLastError(), "Socket_recv") != NULL);
    errno = ENOTTY;
    *(int *)calls += 1;
}

/* What a call fails with is still to be read when it has told the close callback of somebody. */
static void a_callback_leaves_the_failure_of_its_caller_alone(void)
{
    SocketPool_T pool = make(10);
    Socket_T server = Socket_new(AF_INET, SOCK_STREAM, 0), clients[3], third;
    Connection_T conns[2];
    const char *text;
    int i, calls = 0;

    CHECK(Socket_bind(server, "127.0.0.1", 0) == 0 && Socket_listen(server, 9) == 0);
    for (i = 0; i < 3; i++) {
        clients[i] = Socket_new(AF_INET, SOCK_STREAM, 0);
        CHECK(Socket_connect(clients[i], "127.0.0.1", Socket_getlocalport(server)) == 0);
    }
    CHECK(SocketPool_setmaxperip(pool, 2) == 0);
    for (i = 0; i < 2; i++)
        conns[i] = SocketPool_add(pool, Socket_accept(server));
    third = Socket_accept(server);
    CHECK(SocketPool_setmaxperip(pool, 1) == 0 && SocketPool_set_idle_timeout(pool, 200) == 0);
    CHECK(SocketPool_set_close_callback(pool, fail_at_will, &calls) == 0);
    sleep_ms(150);
    CHECK(Connection_touch(conns[1]) == 0);
    sleep_ms(100);
    errno = 0;
    /* The first one's time is over, and the second one is one of that address too many. */
    CHECK(SocketPool_add(pool, third) == NULL && calls == 1);
    CHECK(errno == EAGAIN && Socket_geterrno() == EAGAIN);
    text = Socket_GetLastError();
    CHECK(strstr(text, "SocketPool_add: the pool refuses it") != NULL);
    SocketPool_set_close_callback(pool, NULL, NULL);
    SocketPool_free(&pool);
    CHECK(text == Socket_GetLastError());
    Socket_free(&third);
    Socket_free(&server);
    for (i = 0; i < 3; i++)
        Socket_free(&clients[i]);
}

static void bounds(void)
{
    CHECK(SocketPool_new(NULL, 0, 4096) == NULL && strstr(Socket_GetLastError(), "max_connections is 0") != NULL);
    CHECK(SocketPool_new(NULL, ((size_t)1 << 24) + 1, 4096) == NULL);
    CHECK(SocketPool_new(NULL, 10, 63) == NULL && SocketPool_new(NULL, 10, ((size_t)16 << 20) + 1) == NULL);
    CHECK(SocketPool_count(NULL) == 0 && SocketPool_is_drained(NULL) == 0 && SocketPool_state(NULL) == -1);
    CHECK(SocketPool_health(NULL) == NULL && SocketPoolHealth_active_count(NULL) == 0);
}

int main(void)
{
    bounds();
    a_life();
    a_full_pool_refuses_and_the_caller_keeps_his();
    the_pool_ends_who_is_idle();
    a_drain();
    a_forced_end();
    rates();
    walks_may_call_the_pool();
    a_callback_frees_its_pool();
    a_callback_jumps();
    an_arena_ends_its_pools();
    a_pooled_socket_is_freed();
    a_number_that_the_pool_has_closed_is_somebody_elses();
    a_callback_leaves_the_failure_of_its_caller_alone();
    a_number_is_somebody_elses_before_the_end_is_told();
    whom_the_pool_closes_no_poll_has();
    who_is_removed_before_his_end_is_told_is_gone_with_it();
    who_sleeps_by_the_pools_word_is_back_to_close_who_has_ended();
    nobody_is_woken_for_who_was_removed();
    nothing_is_produced_behind_the_end_of_a_stream();
    an_end_that_is_told_late_is_told_of_a_name_that_answers();
    return failures;
}
