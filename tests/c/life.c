/* The life of connections, from the first event to the last, and what their names say before, meanwhile and after. */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static int connect_to(int port)
{
    struct sockaddr_in address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

/* The next event of this kind; others are passed over. */
static sp_event next(sp_pool *pool, int kind)
{
    sp_event event;
    int turns;

    for (turns = 0; turns < 200; turns++) {
        while (sp_pool_next_event(pool, &event) == 1) {
            if (event.kind == kind)
                return event;
            if (event.kind == SP_EVENT_READABLE)
                CHECK(sp_connection_receive(event.connection, NULL) == SP_OK);
        }
        CHECK(sp_pool_turn(pool, 50) == SP_OK);
    }
    CHECK(!"the event comes");
    memset(&event, 0, sizeof event);
    return event;
}

static void a_life(sp_pool *pool, int port, sp_connection **gone)
{
    int client = connect_to(port), hung_on = 0;
    const void *data, *again;
    size_t length, count;
    char text[64], answer[16];
    sp_event event = next(pool, SP_EVENT_OPENED);
    sp_connection *connection = event.connection;

    CHECK(event.userdata == NULL && connection != *gone);
    CHECK(sp_connection_set_userdata(connection, &hung_on) == SP_OK);
    CHECK(sp_connection_userdata(connection) == &hung_on);
    CHECK(sp_connection_fd(connection) > 2);
    CHECK(sp_connection_peer(connection, text, sizeof text) == SP_OK && strncmp(text, "127.0.0.1:", 10) == 0);
    CHECK(sp_connection_peer(connection, text, 5) == SP_BAD_ARGUMENT);
    CHECK(sp_connection_peer(connection, NULL, 5) == SP_BAD_ARGUMENT);
    CHECK(sp_pool_count(pool, &count) == SP_OK && count == 1);

    CHECK(write(client, "hello, you", 10) == 10);
    event = next(pool, SP_EVENT_READABLE);
    CHECK(event.connection == connection && event.userdata == &hung_on);
    CHECK(sp_connection_receive(connection, &count) == SP_OK && count == 10);
    CHECK(sp_connection_input(connection, &data, &length) == SP_OK && length == 10);
    CHECK(memcmp(data, "hello, you", 10) == 0);
    CHECK(sp_connection_consume(connection, 11) == SP_BAD_ARGUMENT);
    CHECK(strstr(sp_last_error(), "length is 11, must be at most the 10 bytes") != NULL);
    CHECK(sp_connection_send(connection, data, 5) == SP_SENT_NOW);
    CHECK(sp_connection_send(connection, NULL, 5) == SP_BAD_ARGUMENT);
    CHECK(sp_connection_consume(connection, 7) == SP_OK);
    CHECK(read(client, answer, sizeof answer) == 5 && memcmp(answer, "hello", 5) == 0);

    /* Where bytes wait they stay, whatever else the pool does. */
    CHECK(sp_connection_input(connection, &data, &length) == SP_OK && length == 3);
    CHECK(sp_pool_next_event(pool, &event) == 0 && sp_pool_turn(pool, 0) == SP_OK);
    CHECK(sp_connection_input(connection, &again, &length) == SP_OK && length == 3 && memcmp(again, "you", 3) == 0);

    close(client);
    event = next(pool, SP_EVENT_CLOSED);
    CHECK(event.connection == connection && event.userdata == &hung_on);
    CHECK(strcmp(sp_reason_name(event.reason), "peer") == 0);
    /* Its name answers until the next event is asked for; there is nothing left to do with it. */
    CHECK(sp_connection_userdata(connection) == &hung_on);
    CHECK(sp_connection_send(connection, "x", 1) == SP_BAD_HANDLE);
    CHECK(sp_pool_next_event(pool, &event) == 0);
    CHECK(sp_connection_userdata(connection) == NULL);
    CHECK(strstr(sp_last_error(), "is stale") != NULL);
    *gone = connection;
}

static void a_fork(sp_pool *pool)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        sp_pool *copy = pool, *own;
        CHECK(sp_pool_turn(pool, 0) == SP_BAD_HANDLE);
        CHECK(strstr(sp_last_error(), "belongs to the process that forked this one") != NULL);
        CHECK(sp_pool_free(&copy) == SP_BAD_HANDLE);
        CHECK(sp_pool_new(10, 4096, &own) == SP_OK && sp_pool_turn(own, 0) == SP_OK && sp_pool_free(&own) == SP_OK);
        fflush(stdout);
        _exit(failures);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* What is sent answers a message that is used up before, or in the same event. One that stays is answered after it is. */
static void a_drain_waits_for_an_answer(int stays)
{
    sp_pool *pool;
    sp_event event;
    int port = 0, state = 7, client, turns;

    CHECK(sp_pool_new(10, 65536, &pool) == SP_OK);
    CHECK(sp_pool_listen(pool, "127.0.0.1", 0, &port) == SP_OK);
    client = connect_to(port);
    event = next(pool, SP_EVENT_OPENED);
    CHECK(write(client, "hello", 5) == 5);
    event = next(pool, SP_EVENT_READABLE);
    CHECK(sp_connection_receive(event.connection, NULL) == SP_OK);
    CHECK(sp_connection_send(event.connection, "x", 1) == SP_SENT_NOW);
    if (!stays)
        CHECK(sp_connection_consume(event.connection, 5) == SP_OK);
    CHECK(sp_pool_drain(pool, -1) == SP_OK);
    if (stays) {
        sp_connection *connection = event.connection;

        CHECK(sp_pool_turn(pool, 0) == SP_OK);
        CHECK(sp_connection_consume(connection, 5) == SP_OK);
        for (turns = 0; turns < 5; turns++)
            CHECK(sp_pool_turn(pool, 0) == SP_OK && sp_pool_next_event(pool, &event) == 0);
        CHECK(sp_pool_state(pool, &state) == SP_OK && state == SP_STATE_DRAINING);
        CHECK(sp_connection_send(connection, "y", 1) == SP_SENT_NOW);
    }
    event = next(pool, SP_EVENT_CLOSED);
    CHECK(strcmp(sp_reason_name(event.reason), "drained") == 0);
    next(pool, SP_EVENT_DRAINED);
    CHECK(sp_pool_free(&pool) == SP_OK);
    close(client);
}

int main(void)
{
    sp_pool *pool;
    sp_event event;
    sp_connection *gone = NULL;
    int port = 0, state = 7, round, client;

    CHECK(sp_pool_new(10, 65536, &pool) == SP_OK);
    CHECK(sp_pool_listen(pool, "127.0.0.1", 0, &port) == SP_OK && port > 0);
    for (round = 0; round < 100; round++)
        a_life(pool, port, &gone);
    a_fork(pool);

    /* A pool that is freed closes its connections, and their names end with it. */
    client = connect_to(port);
    event = next(pool, SP_EVENT_OPENED);
    gone = event.connection;
    CHECK(sp_connection_fd(gone) > 2);
    CHECK(sp_pool_free(&pool) == SP_OK);
    CHECK(sp_connection_fd(gone) == -1);
    CHECK(read(client, &state, 1) <= 0);
    close(client);

    /* A drain ends with its event. */
    CHECK(sp_pool_new(10, 65536, &pool) == SP_OK);
    CHECK(sp_pool_listen(pool, NULL, 0, &port) == SP_OK);
    CHECK(sp_pool_state(pool, &state) == SP_OK && state == SP_STATE_ACTIVE);
    CHECK(sp_pool_drain(pool, -1) == SP_OK);
    event = next(pool, SP_EVENT_DRAINED);
    CHECK(sp_pool_state(pool, &state) == SP_OK && state == SP_STATE_DRAINED);
    CHECK(sp_pool_free(&pool) == SP_OK);
    a_drain_waits_for_an_answer(0);
    a_drain_waits_for_an_answer(1);
    return failures != 0;
}
