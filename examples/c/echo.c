/*
 * Sends every line back, on the pool's own loop.
 *
 *     echo [PORT [MAX_CONNECTIONS [FIRST_MESSAGE_MS [WRITE_STALL_MS]]]]
 *
 * SIGTERM or Ctrl-C lets everybody finish, for at most five seconds.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <socketpool/socketpool.h>

enum { MOST_CONNECTIONS = 1 << 24, MOST_MS = 2147483647 };

static volatile sig_atomic_t asked_to_stop = 0;

static void stop(int signal_number)
{
    (void)signal_number;
    asked_to_stop = 1;
}

static int give_up(void)
{
    fprintf(stderr, "echo: %s\n", sp_last_error());
    return 1;
}

/* Answers every whole line that waits. Those for whose answer there is no room wait until the client has read some. */
static void answer(sp_connection *connection)
{
    const void *data, *end;
    size_t length;

    sp_connection_receive(connection, NULL);
    while (sp_connection_input(connection, &data, &length) == SP_OK && length > 0 &&
           (end = memchr(data, '\n', length)) != NULL) {
        size_t line = (size_t)((const char *)end - (const char *)data) + 1;
        if (sp_connection_send(connection, data, line) == SP_SENT_REFUSED)
            return;
        sp_connection_consume(connection, line);
    }
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
    fprintf(stderr, "echo: %s is \"%s\", must be a whole number from 0 to %lld\n", name, argv[place], most);
    exit(2);
}

int main(int argc, char **argv)
{
    sp_pool *pool;
    sp_event event;
    int port = (int)number(argc, argv, 1, "PORT", 65535, 7000), draining = 0;
    size_t most = (size_t)number(argc, argv, 2, "MAX_CONNECTIONS", MOST_CONNECTIONS, 10000);
    int64_t first_message_ms = number(argc, argv, 3, "FIRST_MESSAGE_MS", MOST_MS, 30000);
    int64_t write_stall_ms = number(argc, argv, 4, "WRITE_STALL_MS", MOST_MS, 30000);

    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    if (sp_pool_new(most, 65536, &pool) != SP_OK ||
        SocketPool_set_first_message_timeout(pool, first_message_ms) != 0 ||
        SocketPool_set_write_stall_timeout(pool, write_stall_ms) != 0 ||
        sp_pool_listen(pool, "127.0.0.1", port, &port) != SP_OK)
        return give_up();
    printf("listening on 127.0.0.1:%d\n", port);
    fflush(stdout);

    for (;;) {
        if (asked_to_stop && !draining++)
            sp_pool_drain(pool, 5000);
        /* A signal that comes just before the wait is seen after it. */
        if (sp_pool_turn(pool, 200) != SP_OK)
            return give_up();
        while (sp_pool_next_event(pool, &event) == 1) {
            if (event.kind == SP_EVENT_READABLE || event.kind == SP_EVENT_WRITABLE)
                answer(event.connection);
            else if (event.kind == SP_EVENT_CLOSED)
                printf("a connection ended: %s\n", sp_reason_name(event.reason));
            else if (event.kind == SP_EVENT_DRAINED) {
                sp_pool_free(&pool);
                return 0;
            }
        }
    }
}
