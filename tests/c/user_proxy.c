/* A proxy by the guide: each client has a connection of its own to the server behind it. Both are in the pool, each hangs on
 * the other, and the end of one, for whatever reason, is the end of the other: it is removed in the close callback. */
#include <stdlib.h>

#include "client.h"
#include "pool/SocketPool.h"

enum { CLIENTS = 12, IDLE_MS = 1000 };

static SocketPool_T pool;
static SocketPoll_T poll;
static int port, behind_port, ended;

static void on_close(Connection_T conn, void *userdata, int reason, void *argument)
{
    Connection_T other = (Connection_T)userdata;

    (void)argument;
    CHECK(reason != 0 && Connection_userdata(conn) == userdata);
    ended++;
    /* Of the two only the first finds the other; for the second this answers -1. */
    if (SocketPool_remove(pool, other) == -1)
        CHECK(Connection_isactive(other) == 0 || Connection_userdata(other) == conn);
}

static void handle_readable(Connection_T conn)
{
    Connection_T other = (Connection_T)Connection_userdata(conn);
    SocketBuf_T out = Connection_outbuf(other);
    ssize_t n = Socket_recv(Connection_socket(conn), SocketBuf_writeptr(out), SocketBuf_writeable(out), 0);

    if (n <= 0) {
        SocketPool_remove(pool, conn);
        CHECK(Connection_isactive(other) == 0);
        return;
    }
    /* What comes from one goes to the other: this asks for its POLL_WRITE. */
    CHECK(SocketBuf_produce(out, (size_t)n) == 0);
}

static void handle_writable(Connection_T conn)
{
    SocketBuf_T out = Connection_outbuf(conn);
    ssize_t n;

    if (SocketBuf_readable(out) == 0) {
        SocketPoll_mod(poll, Connection_fd(conn), POLL_READ, conn);
        return;
    }
    n = Socket_send(Connection_socket(conn), SocketBuf_readptr(out), SocketBuf_readable(out), 0);
    if (n < 0)
        SocketPool_remove(pool, conn);
    else
        SocketBuf_consume(out, (size_t)n);
}

static void accept_one(Socket_T server)
{
    Socket_T client = Socket_accept(server), behind;
    Connection_T conn, other;

    if (client == NULL)
        return;
    behind = Socket_new(AF_INET, SOCK_STREAM, 0);
    CHECK(Socket_connect(behind, "127.0.0.1", behind_port) == 0);
    conn = SocketPool_add(pool, client);
    other = SocketPool_add(pool, behind);
    CHECK(conn != NULL && other != NULL);
    Connection_set_userdata(conn, other);
    Connection_set_userdata(other, conn);
    CHECK(SocketPoll_add(poll, Connection_fd(conn), POLL_READ, conn) == 0);
    CHECK(SocketPoll_add(poll, Connection_socket(other), POLL_READ, other) == 0);
}

/* The server behind it, in a thread for each connection: an echo that ends whoever says so. */
static void *answer(void *accepted)
{
    int fd = (int)(intptr_t)accepted;
    char text[64];
    ssize_t count;

    while ((count = recv(fd, text, sizeof text, 0)) > 0 && memcmp(text, "end", 3) != 0)
        CHECK(send(fd, text, (size_t)count, MSG_NOSIGNAL) == count);
    close(fd);
    return NULL;
}

static void *behind(void *listener)
{
    pthread_t threads[CLIENTS];
    int n;

    for (n = 0; n < CLIENTS; n++)
        CHECK(pthread_create(&threads[n], NULL, answer, (void *)(intptr_t)accept(*(int *)listener, NULL, NULL)) == 0);
    for (n = 0; n < CLIENTS; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
    return NULL;
}

static void *clients(void *nothing)
{
    int fds[CLIENTS], n, round;

    for (n = 0; n < CLIENTS; n++) {
        fds[n] = client_of(port);
        for (round = 0; round < 5 && n % 3 != 2; round++) {
            say(fds[n], "round and round\n");
            CHECK(hears(fds[n], "round and round\n"));
            if (round == 4) {
                /* A third ends itself, a third is ended from behind, and a third is silent until its time is over. */
                if (n % 3 == 0) {
                    close(fds[n]);
                } else {
                    say(fds[n], "end");
                    CHECK(hears_end(fds[n]));
                    close(fds[n]);
                }
            }
        }
    }
    for (n = 2; n < CLIENTS; n += 3) {
        CHECK(hears_end(fds[n]));
        close(fds[n]);
    }
    return nothing;
}

int main(void)
{
    Arena_T arena = Arena_new();
    Socket_T server = Socket_new(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    SocketEvent_T *events;
    pthread_t threads[2];
    int n, count, listener = socket(AF_INET, SOCK_STREAM, 0);

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, CLIENTS) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    behind_port = ntohs(address.sin_port);

    pool = SocketPool_new(arena, 2 * CLIENTS, 1024);
    poll = SocketPoll_new(4);
    CHECK(SocketPool_set_idle_timeout(pool, IDLE_MS) == 0 && SocketPool_set_close_callback(pool, on_close, NULL) == 0);
    CHECK(Socket_bind(server, "127.0.0.1", 0) == 0 && Socket_listen(server, 16) == 0 && Socket_setnonblocking(server) == 0);
    port = Socket_getlocalport(server);
    CHECK(SocketPoll_add(poll, server, POLL_READ, NULL) == 0);
    CHECK(pthread_create(&threads[0], NULL, behind, &listener) == 0 && pthread_create(&threads[1], NULL, clients, NULL) == 0);

    while (ended < 2 * CLIENTS) {
        count = SocketPoll_wait(poll, &events, -1);
        CHECK(count >= 0);
        for (n = 0; n < count; n++) {
            Connection_T conn = (Connection_T)events[n].data;

            if (conn == NULL && events[n].events != 0)
                accept_one(server);
            if (events[n].events & POLL_WRITE)
                handle_writable(conn);
            /* The other's end may have been this one's. */
            if (conn != NULL && events[n].events & (POLL_READ | POLL_HANGUP | POLL_ERROR) && Connection_isactive(conn))
                handle_readable(conn);
        }
    }
    CHECK(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
    CHECK(ended == 2 * CLIENTS && SocketPool_count(pool) == 0 && SocketPoll_getregisteredcount(poll) == 1);
    SocketPool_free(&pool);
    Arena_dispose(&arena);
    SocketPoll_free(&poll);
    Socket_free(&server);
    close(listener);
    return failures != 0;
}
