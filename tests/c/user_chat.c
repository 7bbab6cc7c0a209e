/* A chat by the guide: what one says everybody hears, by SocketPool_foreach, in which those who do not read are removed.
 * Whoever says "quit" is removed while everybody is told. */
#include <stdlib.h>

#include "client.h"
#include "pool/SocketPool.h"

enum { CLIENTS = 8, BUFFER = 4096, KERNEL_BUFFER = 4096 };

struct member {
    int lines;
};

static SocketPool_T pool;
static SocketPoll_T poll;
static int port, is_over, ended, dropped;

static void on_close(Connection_T conn, void *userdata, int reason, void *argument)
{
    (void)conn;
    (void)reason;
    free(userdata);
    ++*(int *)argument;
}

static void remove_connection(Connection_T conn)
{
    SocketPoll_del(poll, Connection_fd(conn));
    SocketPool_remove(pool, conn);
}

struct line {
    const char *text;
    size_t length;
};

static void tell(Connection_T conn, void *argument)
{
    const struct line *line = (const struct line *)argument;
    SocketBuf_T out = Connection_outbuf(conn);

    if (SocketBuf_writeable(out) < line->length) {
        /* It has not read for long. */
        dropped++;
        remove_connection(conn);
        return;
    }
    CHECK(SocketBuf_write(out, line->text, line->length) == line->length);
    CHECK(SocketPoll_mod(poll, Connection_fd(conn), POLL_READ | POLL_WRITE, conn) == 0);
}

static void handle_readable(Connection_T conn)
{
    SocketBuf_T in = Connection_inbuf(conn);
    ssize_t n = Socket_recv(Connection_socket(conn), SocketBuf_writeptr(in), SocketBuf_writeable(in), 0);
    char text[256];
    struct line line;

    if (n <= 0) {
        remove_connection(conn);
        return;
    }
    CHECK(SocketBuf_produce(in, (size_t)n) == 0);
    line.text = text;
    while ((n = SocketBuf_readline(in, text, sizeof text - 1)) >= 0) {
        ((struct member *)Connection_userdata(conn))->lines++;
        text[n] = '\n';
        line.length = (size_t)n + 1;
        if (strncmp(text, "end\n", 4) == 0)
            is_over = 1;
        if (strncmp(text, "quit\n", 5) == 0) {
            SocketPool_foreach(pool, tell, &line);
            remove_connection(conn);
            return;
        }
        SocketPool_foreach(pool, tell, &line);
    }
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
    if (SocketBuf_readable(out) == 0)
        SocketPoll_mod(poll, Connection_fd(conn), POLL_READ, conn);
}

static void *clients(void *nothing)
{
    int fds[CLIENTS], deaf, n, from;
    char text[32];
    char much[200];

    for (n = 0; n < CLIENTS; n++) {
        fds[n] = client_of(port);
        snprintf(text, sizeof text, "%d is here\n", n);
        say(fds[n], text);
        for (from = 0; from <= n; from++)
            CHECK(hears(fds[from], text));
    }
    for (from = 0; from < CLIENTS; from++) {
        snprintf(text, sizeof text, "says %d\n", from);
        say(fds[from], text);
        for (n = 0; n < CLIENTS; n++)
            CHECK(hears(fds[n], text));
    }
    say(fds[3], "quit\n");
    for (n = 0; n < CLIENTS; n++)
        CHECK(n == 3 || hears(fds[n], "quit\n"));
    CHECK(hears_end(fds[3]));
    /* One hears nothing, and goes for it. */
    deaf = client_of(port);
    say(deaf, "I am deaf\n");
    for (n = 0; n < CLIENTS; n++)
        if (n != 3)
            CHECK(hears(fds[n], "I am deaf\n"));
    memset(much, 'm', sizeof much - 2);
    much[sizeof much - 2] = '\n';
    much[sizeof much - 1] = 0;
    for (from = 0; from < 60000 && dropped == 0; from++) {
        say(fds[0], much);
        for (n = 0; n < CLIENTS; n++)
            if (n != 3)
                CHECK(hears(fds[n], much));
    }
    say(fds[0], "end\n");
    for (n = 0; n < CLIENTS; n++)
        close(fds[n]);
    close(deaf);
    return nothing;
}

int main(void)
{
    Arena_T arena = Arena_new();
    Socket_T server = Socket_new(AF_INET, SOCK_STREAM, 0), client;
    SocketEvent_T *events;
    pthread_t thread;
    int n, count, added = 0, kernel_buffer = KERNEL_BUFFER;

    pool = SocketPool_new(arena, 100, BUFFER);
    poll = SocketPoll_new(100);
    CHECK(Socket_bind(server, "127.0.0.1", 0) == 0 && Socket_listen(server, 16) == 0 && Socket_setnonblocking(server) == 0);
    port = Socket_getlocalport(server);
    CHECK(SocketPool_set_close_callback(pool, on_close, &ended) == 0 && SocketPoll_add(poll, server, POLL_READ, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, clients, NULL) == 0);

    while (!is_over) {
        count = SocketPoll_wait(poll, &events, -1);
        CHECK(count >= 0);
        for (n = 0; n < count; n++) {
            Connection_T conn = (Connection_T)events[n].data;

            if (conn == NULL) {
                while ((client = Socket_accept(server)) != NULL) {
                    conn = SocketPool_add(pool, client);
                    CHECK(conn != NULL && Connection_set_userdata(conn, calloc(1, sizeof(struct member))) == 0);
                    CHECK(SocketPoll_add(poll, Connection_fd(conn), POLL_READ, conn) == 0);
                    CHECK(setsockopt(Connection_fd(conn), SOL_SOCKET, SO_SNDBUF, &kernel_buffer, sizeof kernel_buffer) == 0);
                    added++;
                }
                continue;
            }
            if (events[n].events & POLL_WRITE)
                handle_writable(conn);
            if (events[n].events & (POLL_READ | POLL_HANGUP) && Connection_isactive(conn))
                handle_readable(conn);
        }
    }
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(added == CLIENTS + 1 && dropped == 1);
    SocketPoll_free(&poll);
    Socket_free(&server);
    SocketPool_free(&pool);
    CHECK(ended == added);
    Arena_dispose(&arena);
    return failures != 0;
}
