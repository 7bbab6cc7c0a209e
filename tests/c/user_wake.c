/* A server that sleeps for as long as nothing happens, and that SIGTERM wakes: who is idle goes at once, who is owed an answer
 * gets it. Every end is told by an event, on which it frees what it has hung on the connection. */
#define _POSIX_C_SOURCE 200809L

#include <signal.h>
#include <stdlib.h>

#include "client.h"
#include "pool/SocketPool.h"

enum { CLIENTS = 10 };

static SocketPool_T pool;
static volatile sig_atomic_t asked_to_stop;
static int port;

static void on_signal(int number)
{
    (void)number;
    asked_to_stop = 1;
    SocketPool_wake(pool);
}

static void *clients(void *nothing)
{
    int fds[CLIENTS], n;

    for (n = 0; n < CLIENTS; n++) {
        fds[n] = client_of(port);
        say(fds[n], "hello\n");
        CHECK(hears(fds[n], "hello\n"));
    }
    /* Half a message is there when the drain begins: that one may finish. */
    say(fds[0], "and a");
    kill(getpid(), SIGTERM);
    say(fds[0], " word\n");
    CHECK(hears(fds[0], "and a word\n"));
    for (n = 0; n < CLIENTS; n++) {
        CHECK(hears_end(fds[n]));
        close(fds[n]);
    }
    return nothing;
}

/* Answers whole lines. */
static void answer(Connection_T conn, int *answers)
{
    const char *input, *end;
    size_t length;

    CHECK(Connection_receive(conn) >= 0);
    while ((input = (const char *)Connection_input(conn, &length)) != NULL &&
           (end = (const char *)memchr(input, '\n', length)) != NULL) {
        length = (size_t)(end - input) + 1;
        CHECK(Connection_send(conn, input, length) != SP_SENT_REFUSED);
        CHECK(Connection_consume(conn, length) == 0);
        ++*answers;
    }
}

int main(void)
{
    struct sigaction action;
    int drains = 0, drained = 0, opened_count = 0, closed_count = 0, answers = 0;
    pthread_t thread;
    sp_event event;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    pool = SocketPool_new(NULL, 100, 4096);
    port = SocketPool_listen(pool, "127.0.0.1", 0);
    CHECK(port > 0 && sigaction(SIGTERM, &action, NULL) == 0 && pthread_create(&thread, NULL, clients, NULL) == 0);

    while (!drained) {
        CHECK(SocketPool_turn(pool, -1) == 0);
        while (SocketPool_next_event(pool, &event) == 1)
            switch (event.kind) {
            case SP_EVENT_OPENED:
                opened_count++;
                CHECK(Connection_set_userdata(event.connection, malloc(16)) == 0);
                break;
            case SP_EVENT_READABLE:
                answer(event.connection, &answers);
                break;
            case SP_EVENT_CLOSED:
                closed_count++;
                CHECK(event.userdata != NULL && event.userdata == Connection_userdata(event.connection));
                free(event.userdata);
                break;
            case SP_EVENT_DRAINED:
                drained = 1;
                break;
            }
        /* Looked at after the events, so that a signal during them is not slept over: its wake ends the next wait. */
        if (asked_to_stop && !drains++)
            CHECK(SocketPool_drain(pool) == 0);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(opened_count == CLIENTS && closed_count == CLIENTS && answers == CLIENTS + 1);
    SocketPool_free(&pool);
    return failures != 0;
}
