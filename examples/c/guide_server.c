/* An echo of lines by the guide's flow: the program accepts, polls, reads and writes; the pool keeps the limits.
 *
 *     guide_server [PORT [MAX_CONNECTIONS [FIRST_MESSAGE_MS [WRITE_STALL_MS]]]]
 *
 * SIGTERM or SIGINT drains: idle connections go at once, busy ones finish, and after ten seconds the rest is closed. */

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "pool/SocketPool.h"

enum { MOST_LINE = 65536, DRAIN_MS = 10000, MOST_CONNECTIONS = 1 << 24, MOST_MS = 2147483647 };

static SocketPool_T pool;
static SocketPoll_T poll;
static Socket_T server;
static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* Told once of every connection that ends, whoever has ended it. */
static void on_close(Connection_T conn, void *userdata, int reason, void *argument)
{
    unsigned long *closed = (unsigned long *)argument;
    (void)conn;
    (void)reason;
    free(userdata);
    *closed += 1;
}

static void remove_connection(Connection_T conn)
{
    SocketPoll_del(poll, Connection_fd(conn));
    SocketPool_remove(pool, conn);
}

/* The length of the first line in the buffer, its end included; 0 if none is complete. */
static size_t line_of(SocketBuf_T in)
{
    const char *bytes = (const char *)SocketBuf_readptr(in);
    size_t there = SocketBuf_readable(in);
    const char *end = there > 0 ? (const char *)memchr(bytes, '\n', there) : NULL;

    return end != NULL ? (size_t)(end - bytes) + 1 : 0;
}

/* Sends a line. What does not go now waits, and nothing more is read of this one until it has gone. */
static int answer(Connection_T conn, const char *line, size_t length)
{
    ssize_t sent = Socket_send(Connection_socket(conn), line, length, 0);
    size_t rest;

    if (sent < 0)
        return -1;
    rest = length - (size_t)sent;
    if (rest == 0)
        return 0;
    SocketPoll_mod(poll, Connection_fd(conn), POLL_WRITE, conn);
    return SocketBuf_write(Connection_outbuf(conn), line + sent, rest) == rest ? 0 : -1;
}

static void handle_lines(Connection_T conn)
{
    SocketBuf_T in = Connection_inbuf(conn);
    size_t length;

    while (SocketBuf_readable(Connection_outbuf(conn)) == 0 && (length = line_of(in)) > 0) {
        if (!SocketPool_check_rate(pool, conn) || answer(conn, (const char *)SocketBuf_readptr(in), length) < 0) {
            remove_connection(conn);
            return;
        }
        SocketBuf_consume(in, length);
    }
    /* A line that is longer than the buffer. */
    if (SocketBuf_writeable(in) == 0 && line_of(in) == 0)
        remove_connection(conn);
}

static void handle_readable(Connection_T conn)
{
    SocketBuf_T in = Connection_inbuf(conn);
    Socket_T sock = Connection_socket(conn);
    ssize_t n = Socket_recv(sock, SocketBuf_writeptr(in), SocketBuf_writeable(in), 0);

    if (n <= 0) {
        remove_connection(conn);
        return;
    }
    SocketBuf_produce(in, (size_t)n);
    handle_lines(conn);
}

static void handle_writable(Connection_T conn)
{
    SocketBuf_T out = Connection_outbuf(conn);
    ssize_t n = Socket_send(Connection_socket(conn), SocketBuf_readptr(out), SocketBuf_readable(out), 0);

    if (n < 0) {
        remove_connection(conn);
        return;
    }
    SocketBuf_consume(out, (size_t)n);
    if (SocketBuf_readable(out) == 0) {
        SocketPoll_mod(poll, Connection_fd(conn), POLL_READ, conn);
        handle_lines(conn);
    }
}

static void accept_all(void)
{
    int most = 64;

    while (most-- > 0) {
        Socket_T client = Socket_accept(server);
        Connection_T conn;

        if (client == NULL)
            return;
        conn = SocketPool_add(pool, client);
        if (conn == NULL) {
            /* Full, draining, or too many of one address. */
            Socket_free(&client);
            continue;
        }
        SocketPoll_add(poll, Socket_fd(Connection_socket(conn)), POLL_READ, conn);
    }
}

static void handle(const SocketEvent_T *event)
{
    Connection_T conn = (Connection_T)event->data;

    if (conn == NULL) {
        accept_all();
        return;
    }
    if (event->events & POLL_WRITE)
        handle_writable(conn);
    if (event->events & (POLL_READ | POLL_HANGUP | POLL_ERROR) && Connection_isactive(conn))
        handle_readable(conn);
}

/* What stands at a place of the command line, or `otherwise` if it has none. Ends the program if that is no such number. */
static long long number(int argc, char **argv, int place, const char *name, long long most, long long otherwise)
{
    long long value;
    char *end;

    if (place >= argc)
        return otherwise;
    errno = 0;
    value = strtoll(argv[place], &end, 10);
    if (errno == 0 && argv[place][0] >= '0' && argv[place][0] <= '9' && *end == '\0' && value <= most)
        return value;
    fprintf(stderr, "guide_server: %s is \"%s\", must be a whole number from 0 to %lld\n", name, argv[place], most);
    exit(2);
}

int main(int argc, char **argv)
{
    int port = (int)number(argc, argv, 1, "PORT", 65535, 7000);
    size_t most = (size_t)number(argc, argv, 2, "MAX_CONNECTIONS", MOST_CONNECTIONS, 10000);
    int64_t first_message_ms = number(argc, argv, 3, "FIRST_MESSAGE_MS", MOST_MS, 30000);
    int64_t write_stall_ms = number(argc, argv, 4, "WRITE_STALL_MS", MOST_MS, 30000);
    unsigned long closed = 0;
    uint64_t drains_until;
    SocketEvent_T *events;
    SocketPoolHealth_T health;
    Arena_T arena = Arena_new();
    int count, i;

    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    pool = SocketPool_new(arena, most, MOST_LINE);
    poll = SocketPoll_new(1024);
    server = Socket_new(AF_INET, SOCK_STREAM, 0);
    if (pool == NULL || poll == NULL || server == NULL || Socket_setreuseaddr(server) != 0 ||
        Socket_bind(server, NULL, port) != 0 || Socket_listen(server, 1024) != 0 || Socket_setnonblocking(server) != 0) {
        fprintf(stderr, "guide_server: %s\n", Socket_GetLastError());
        return 1;
    }
    SocketPool_set_idle_timeout(pool, 300000);
    SocketPool_set_first_message_timeout(pool, first_message_ms);
    SocketPool_set_write_stall_timeout(pool, write_stall_ms);
    SocketPool_set_close_callback(pool, on_close, &closed);
    SocketPoll_add(poll, server, POLL_READ, NULL);
    printf("listening on 127.0.0.1:%d\n", Socket_getlocalport(server));
    fflush(stdout);

    while (!stop) {
        /* A signal that comes just before the wait is seen after it. */
        count = SocketPoll_wait(poll, &events, 200);
        for (i = 0; i < count; i++)
            handle(&events[i]);
    }

    SocketPoll_del(poll, server);
    Socket_free(&server);
    SocketPool_drain(pool);
    drains_until = Socket_get_monotonic_ms() + DRAIN_MS;
    while (!SocketPool_is_drained(pool)) {
        count = SocketPoll_wait(poll, &events, 100);
        for (i = 0; i < count; i++)
            handle(&events[i]);
        if (Socket_get_monotonic_ms() > drains_until)
            SocketPool_force_close_all(pool);
    }

    health = SocketPool_health(pool);
    printf("drained: %lu closed, p50 %lu us, p99 %lu us\n", closed, (unsigned long)SocketPoolHealth_latency_p50(health),
           (unsigned long)SocketPoolHealth_latency_p99(health));
    SocketPoll_free(&poll);
    SocketPool_free(&pool);
    Arena_dispose(&arena);
    return 0;
}
