/* What the blocks of the guide, as they are printed there, do when they are run: tests/guide.rs makes functions of them. */
#include <stdarg.h>

#include "client.h"
#include "pool/SocketPool.h"

/* The guide's, by the place of their block. */
void block_0(size_t max_connections, size_t buffer_size);
void block_1(Socket_T server, SocketPool_T pool, SocketPoll_T poll, void *app_context);
void block_2(Connection_T conn, void *new_data);
void block_5(SocketPool_T pool, SocketPoll_T poll, SocketEvent_T *events, Arena_T arena);
void block_6(SocketPool_T pool);
void block_7(SocketPool_T pool, Connection_T conn, int max_ops, int max_total_ops, int window_ms);
void block_10(SocketPool_T pool, Socket_T client);
void handle_readable(Connection_T conn);
void handle_writable(Connection_T conn);
void remove_connection(Connection_T conn);
void cleanup_idle_connections(SocketPool_T pool);

/* What it leaves to the program. */
int has_complete_message(SocketBuf_T in);
void process_message(Connection_T conn, SocketBuf_T in);
int drain_timeout_exceeded(void);
void send_rate_limit_response(Connection_T conn);
void process_client(Connection_T conn);
void log_error(const char *format, ...);
uint64_t get_monotonic_ms(void);

SocketPool_T pool;
SocketPoll_T poll;

static int ended, limited, processed, logged, drain_looks;
static uint64_t ahead_ms;

#ifdef GUIDE_BLOCKS
/* What a block on the stack needs of a runtime if nobody copies it. */
void *_NSConcreteStackBlock[32];
void _Block_object_assign(void *to, const void *from, int flags);
void _Block_object_dispose(const void *object, int flags);

void _Block_object_assign(void *to, const void *from, int flags)
{
    (void)to, (void)from, (void)flags;
    CHECK(!"it is copied");
}

void _Block_object_dispose(const void *object, int flags)
{
    (void)object, (void)flags;
}
#endif

int has_complete_message(SocketBuf_T in)
{
    return SocketBuf_find(in, "\n", 1) >= 0;
}

void process_message(Connection_T conn, SocketBuf_T in)
{
    char line[64];
    ssize_t length = SocketBuf_readline(in, line, sizeof line - 1);

    CHECK(length >= 0);
    line[length++] = '\n';
    CHECK(SocketBuf_write(Connection_outbuf(conn), line, (size_t)length) == (size_t)length);
}

/* The guide's loop looks after each wait. */
int drain_timeout_exceeded(void)
{
    return ++drain_looks > 100;
}

void send_rate_limit_response(Connection_T conn)
{
    CHECK(Connection_isactive(conn));
    limited++;
}

void process_client(Connection_T conn)
{
    CHECK(Connection_isactive(conn));
    processed++;
}

void log_error(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    CHECK(strcmp(format, "Connection failed: %s") == 0 && strstr(va_arg(arguments, const char *), "SocketPool_add") != NULL);
    va_end(arguments);
    logged++;
}

uint64_t get_monotonic_ms(void)
{
    return Socket_get_monotonic_ms() + ahead_ms;
}

static void on_close(Connection_T conn, void *userdata, int reason, void *argument)
{
    (void)conn, (void)userdata, (void)reason;
    ++*(int *)argument;
}

static int is_any(Connection_T conn, void *argument)
{
    (void)conn, (void)argument;
    return 1;
}

/* One round of the guide's loop. */
static void serve(int timeout_ms)
{
    SocketEvent_T *events;
    int n, count = SocketPoll_wait(poll, &events, timeout_ms);

    for (n = 0; n < count; n++) {
        Connection_T conn = (Connection_T)events[n].data;

        if (events[n].events & POLL_READ)
            handle_readable(conn);
        if (events[n].events & POLL_WRITE && Connection_isactive(conn))
            handle_writable(conn);
    }
}

int main(void)
{
    Arena_T arena = Arena_new();
    Socket_T server = Socket_new(AF_INET, SOCK_STREAM, 0), pairs[4];
    SocketEvent_T *events = NULL;
    int first, second, n, context, other;
    Connection_T conn, rest;
    char heard[8];

    block_0(100, 4096);

    pool = SocketPool_new(arena, 10, 4096);
    poll = SocketPoll_new(100);
    CHECK(SocketPool_set_close_callback(pool, on_close, &ended) == 0);
    CHECK(Socket_setnonblocking(server) == 0 && Socket_bind(server, "127.0.0.1", 0) == 0 && Socket_listen(server, 8) == 0);

    /* Nobody comes, and then one does. */
    block_1(server, pool, poll, &context);
    CHECK(SocketPool_count(pool) == 0);
    first = client_of(Socket_getlocalport(server));
    block_1(server, pool, poll, &context);
    conn = SocketPool_find(pool, is_any, NULL);
    CHECK(conn != NULL && Connection_userdata(conn) == &context && SocketPoll_getregisteredcount(poll) == 1);
    block_2(conn, &other);
    CHECK(Connection_userdata(conn) == &other);

    /* It is answered, though the guide's handlers never ask for POLL_WRITE. */
    say(first, "hel");
    serve(-1);
    say(first, "lo\n");
    for (n = 0; n < 100 && recv(first, heard, 6, MSG_PEEK | MSG_DONTWAIT) != 6; n++)
        serve(-1);
    CHECK(hears(first, "hello\n"));
    /* With nothing to write it asks for it no more. */
    serve(-1);
    CHECK(SocketPoll_wait(poll, &events, 0) == 0);

    block_6(pool);
    CHECK(SocketPoolHealth_total_count(SocketPool_health(pool)) == 1);

    block_7(pool, conn, 1, 100, 60000);
    CHECK(limited == 0);
    block_7(pool, conn, 1, 100, 60000);
    CHECK(limited == 1);

    /* When the pool is full, and nobody goes for him, the newcomer is sent away, and the error is caught. */
    CHECK(SocketPool_resize(pool, 1) == 0 && SocketPool_set_eviction(pool, 0) == 0);
    second = client_of(Socket_getlocalport(server));
    block_1(server, pool, poll, &context);
    CHECK(hears_end(second) && SocketPool_count(pool) == 1);
    close(second);
    CHECK(SocketPair_new(SOCK_STREAM, &pairs[0], &pairs[1]) == 0 && SocketPair_new(SOCK_STREAM, &pairs[2], &pairs[3]) == 0);
    block_10(pool, pairs[0]);
    CHECK(logged == 1 && processed == 0 && Socket_fd(pairs[0]) >= 0);
    CHECK(SocketPool_resize(pool, 10) == 0);
    block_10(pool, pairs[2]);
    CHECK(logged == 1 && processed == 1 && SocketPool_count(pool) == 2);

#ifdef GUIDE_BLOCKS
    CHECK(SocketPool_set_idle_timeout(pool, 30000) == 0);
    cleanup_idle_connections(pool);
    CHECK(SocketPool_count(pool) == 2 && ended == 0);
    ahead_ms = 31000;
    cleanup_idle_connections(pool);
    CHECK(SocketPool_count(pool) == 0 && ended == 2 && hears_end(first));
    close(first);
    first = client_of(Socket_getlocalport(server));
    block_1(server, pool, poll, &context);
    conn = SocketPool_find(pool, is_any, NULL);
    CHECK(conn != NULL);
#else
    /* The second one is in no SocketPoll: the drain does not see its end for the program. */
    rest = SocketPool_get(pool, pairs[2]);
    remove_connection(rest);
    CHECK(Connection_isactive(rest) == 0 && ended == 1);
#endif
    (void)rest;
    n = ended;
    block_5(pool, poll, events, arena);
    CHECK(ended == n + 1 && drain_looks < 100 && hears_end(first) && Connection_isactive(conn) == 0);

    close(first);
    for (n = 0; n < 4; n++)
        Socket_free(&pairs[n]);
    Socket_free(&server);
    SocketPoll_free(&poll);
    return failures != 0;
}
