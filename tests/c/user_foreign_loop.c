/* A pool in a loop of the program's own, among descriptors that are none of the pool's: it waits for as long as the pool says,
 * and no longer, so a silent client goes in time. */
#define _GNU_SOURCE

#include <sys/epoll.h>
#include <time.h>

#include "client.h"
#include "pool/SocketPool.h"

enum { ROUNDS = 20, IDLE_MS = 150 };

static int port;

static void *clients(void *pipe_end)
{
    int talks = client_of(port), silent = client_of(port), n;

    for (n = 0; n < ROUNDS; n++) {
        say(talks, "round\n");
        CHECK(hears(talks, "round\n"));
        CHECK(write(*(int *)pipe_end, "x", 1) == 1);
    }
    /* Nothing but the time makes the loop go on. */
    CHECK(hears_end(silent) && hears_end(talks));
    close(talks);
    close(silent);
    return NULL;
}

int main(void)
{
    SocketPool_T pool = SocketPool_new(NULL, 100, 4096);
    int loop = epoll_create1(EPOLL_CLOEXEC), pipe_ends[2], n, count, closed_count = 0, foreign = 0, waits = 0;
    struct epoll_event ready[4], wanted;
    pthread_t thread;
    sp_event event;
    char byte;

    port = SocketPool_listen(pool, "127.0.0.1", 0);
    CHECK(loop >= 0 && pipe(pipe_ends) == 0 && port > 0 && SocketPool_set_idle_timeout(pool, IDLE_MS) == 0);
    memset(&wanted, 0, sizeof wanted);
    wanted.events = EPOLLIN;
    wanted.data.fd = SocketPool_pollfd(pool);
    CHECK(wanted.data.fd >= 0 && epoll_ctl(loop, EPOLL_CTL_ADD, wanted.data.fd, &wanted) == 0);
    wanted.data.fd = pipe_ends[0];
    CHECK(epoll_ctl(loop, EPOLL_CTL_ADD, pipe_ends[0], &wanted) == 0);
    CHECK(pthread_create(&thread, NULL, clients, &pipe_ends[1]) == 0);

    while (closed_count < 2) {
        count = epoll_wait(loop, ready, 4, SocketPool_next_timeout_ms(pool));
        waits++;
        for (n = 0; n < count; n++)
            if (ready[n].data.fd == pipe_ends[0])
                foreign += read(pipe_ends[0], &byte, 1) == 1;
        CHECK(SocketPool_turn(pool, 0) == 0);
        while (SocketPool_next_event(pool, &event) == 1) {
            const void *input;
            size_t length;

            if (event.kind == SP_EVENT_READABLE) {
                CHECK(Connection_receive(event.connection) >= 0);
                input = Connection_input(event.connection, &length);
                if (length > 0) {
                    CHECK(Connection_send(event.connection, input, length) == SP_SENT_NOW);
                    CHECK(Connection_consume(event.connection, length) == 0);
                }
            } else if (event.kind == SP_EVENT_CLOSED) {
                CHECK(strcmp(sp_reason_name(event.reason), "idle") == 0);
                closed_count++;
            }
        }
    }
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(foreign == ROUNDS);
    /* It sleeps when nothing happens: some waits for each round, and a few for the time. */
    CHECK(waits < ROUNDS * 6 + 50);
    SocketPool_free(&pool);
    close(loop);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return failures != 0;
}
