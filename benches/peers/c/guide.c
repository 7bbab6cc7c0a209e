/* The guide's flow, for comparisons: what `examples/c/guide_server.c` leaves out.
 *
 *     guide CONNECTIONS through|toggled some|all
 *
 * `toggled`: the handlers are the guide's, word for word. What is to go is put into the output buffer and POLL_WRITE asked
 * for; once the buffer has gone, the next POLL_WRITE is what takes the wish back. `through`: the handlers of the example,
 * which sends at once. `all`: every limit that there is, and none of them ever reached; `some`: those of the example. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "pool/SocketPool.h"

enum { BUFFER = 65536, LONG_MS = 600000, OFTEN = 1000000 };

static SocketPool_T pool;
static SocketPoll_T poll;
static Socket_T server;
static int toggled;

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

/* What does not go now waits. */
static int answer_through(Connection_T conn, const char *line, size_t length)
{
    ssize_t sent = Socket_send(Connection_socket(conn), line, length, 0);
    size_t rest;

    if (sent < 0)
        return -1;
    rest = length - (size_t)sent;
    if (rest == 0)
        return 0;
    SocketPoll_mod(poll, Connection_fd(conn), POLL_READ | POLL_WRITE, conn);
    return SocketBuf_write(Connection_outbuf(conn), line + sent, rest) == rest ? 0 : -1;
}

static int answer_toggled(Connection_T conn, const char *line, size_t length)
{
    SocketPoll_mod(poll, Connection_fd(conn), POLL_READ | POLL_WRITE, conn);
    return SocketBuf_write(Connection_outbuf(conn), line, length) == length ? 0 : -1;
}

static void handle_readable(Connection_T conn)
{
    SocketBuf_T in = Connection_inbuf(conn);
    Socket_T sock = Connection_socket(conn);
    ssize_t n = Socket_recv(sock, SocketBuf_writeptr(in), SocketBuf_writeable(in), 0);
    size_t length;

    if (n <= 0) {
        remove_connection(conn);
        return;
    }
    SocketBuf_produce(in, (size_t)n);
    while ((length = line_of(in)) > 0) {
        const char *line = (const char *)SocketBuf_readptr(in);

        if (!SocketPool_check_rate(pool, conn) ||
            (toggled ? answer_toggled(conn, line, length) : answer_through(conn, line, length)) < 0) {
            remove_connection(conn);
            return;
        }
        SocketBuf_consume(in, length);
    }
    if (toggled)
        Connection_touch(conn);
}

static void handle_writable(Connection_T conn)
{
    SocketBuf_T out = Connection_outbuf(conn);
    Socket_T sock = Connection_socket(conn);
    ssize_t n;

    if (SocketBuf_readable(out) == 0) {
        SocketPoll_mod(poll, Connection_fd(conn), POLL_READ, conn);
        return;
    }
    n = Socket_send(sock, SocketBuf_readptr(out), SocketBuf_readable(out), 0);
    if (n < 0) {
        remove_connection(conn);
        return;
    }
    SocketBuf_consume(out, (size_t)n);
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
            fprintf(stderr, "guide: %s\n", Socket_GetLastError());
            Socket_free(&client);
            continue;
        }
        SocketPoll_add(poll, Socket_fd(Connection_socket(conn)), POLL_READ, conn);
    }
}

static int set_every_limit(Arena_T arena)
{
    SocketSYNProtect_T protection = SocketSYNProtect_new(arena, OFTEN, 10000);

    return protection != NULL && SocketPool_set_max_lifetime(pool, LONG_MS) == 0 &&
           SocketPool_setconnrate(pool, OFTEN, 1000) == 0 && SocketPool_set_global_rate(pool, OFTEN, 1000) == 0 &&
           SocketPool_setmaxperip(pool, 65535) == 0 && SocketPool_set_syn_protection(pool, protection) == 0;
}

static int fail(void)
{
    fprintf(stderr, "guide: %s\n", Socket_GetLastError());
    return 1;
}

int main(int argc, char **argv)
{
    SocketEvent_T *events;
    Arena_T arena = Arena_new();
    int count, i;

    if (argc != 4) {
        fprintf(stderr, "guide: CONNECTIONS through|toggled some|all\n");
        return 2;
    }
    toggled = strcmp(argv[2], "toggled") == 0;
    pool = SocketPool_new(arena, (size_t)strtoul(argv[1], NULL, 10), BUFFER);
    poll = SocketPoll_new(1024);
    server = Socket_new(AF_INET, SOCK_STREAM, 0);
    if (pool == NULL || poll == NULL || server == NULL || Socket_bind(server, "127.0.0.1", 0) != 0 ||
        Socket_listen(server, 4096) != 0 || Socket_setnonblocking(server) != 0 ||
        SocketPool_set_idle_timeout(pool, LONG_MS) != 0 || SocketPool_set_first_message_timeout(pool, LONG_MS) != 0 ||
        SocketPool_set_write_stall_timeout(pool, LONG_MS) != 0)
        return fail();
    if (strcmp(argv[3], "all") == 0 && !set_every_limit(arena))
        return fail();
    SocketPoll_add(poll, server, POLL_READ, NULL);
    printf("listening on 127.0.0.1:%d\n", Socket_getlocalport(server));
    fflush(stdout);

    while ((count = SocketPoll_wait(poll, &events, 200)) >= 0) {
        for (i = 0; i < count; i++) {
            Connection_T conn = (Connection_T)events[i].data;

            if (conn == NULL) {
                accept_all();
                continue;
            }
            if (events[i].events & POLL_READ)
                handle_readable(conn);
            if (events[i].events & POLL_WRITE && Connection_isactive(conn))
                handle_writable(conn);
        }
    }
    return fail();
}
