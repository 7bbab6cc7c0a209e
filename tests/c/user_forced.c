/* However the connections of a pool that the program turns are ended, except by taking them out of the program's own accord,
 * each is told by an event once, and by the close callback once, with what hangs on it. */
#include "client.h"
#include "pool/SocketPool.h"

enum { CONNECTIONS = 5 };
enum how { BY_FORCE, BY_FORCE_IN_EVENT, BY_FORCE_AFTER_CLOSES, BY_DEADLINE, BY_DRAIN, BY_CLOSE, BY_REMOVE, BY_FREE, HOWS };

static int told, marks[CONNECTIONS];

static void on_close(Connection_T conn, void *userdata, int reason, void *argument)
{
    (void)conn;
    CHECK(reason != 0 && argument == &told && (int *)userdata >= marks && (int *)userdata < marks + CONNECTIONS);
    ++*(int *)userdata;
    told++;
}

static void end(SocketPool_T pool, Connection_T *connections, enum how how)
{
    int n;

    switch (how) {
    case BY_FORCE_AFTER_CLOSES:
        CHECK(sp_connection_close(connections[1]) == 0 && sp_connection_close(connections[3]) == 0);
        CHECK(SocketPool_force_close_all(pool) == 0);
        break;
    case BY_FORCE:
    case BY_FORCE_IN_EVENT:
        CHECK(SocketPool_force_close_all(pool) == 0);
        break;
    case BY_DEADLINE:
        CHECK(sp_pool_drain(pool, 0) == 0);
        break;
    case BY_DRAIN:
        CHECK(SocketPool_drain(pool) == 0);
        break;
    case BY_CLOSE:
        for (n = 0; n < CONNECTIONS; n++)
            CHECK(sp_connection_close(connections[n]) == 0);
        break;
    case BY_REMOVE:
        for (n = 0; n < CONNECTIONS; n++)
            CHECK(SocketPool_remove(pool, connections[n]) == 0 && marks[n] == 1);
        break;
    case BY_FREE:
    case HOWS:
        break;
    }
}

static void try(enum how how)
{
    SocketPool_T pool = SocketPool_new(NULL, 100, 4096);
    int fds[CONNECTIONS], n, port, events = 0, drained = 0, drains = how <= BY_DRAIN, is_over = how >= BY_REMOVE;
    Connection_T connections[CONNECTIONS];
    sp_event event;

    told = 0;
    port = SocketPool_listen(pool, "127.0.0.1", 0);
    CHECK(port > 0 && SocketPool_set_close_callback(pool, on_close, &told) == 0);
    for (n = 0; n < CONNECTIONS; n++) {
        marks[n] = 0;
        fds[n] = client_of(port);
        connections[n] = opened(pool);
        CHECK(Connection_set_userdata(connections[n], &marks[n]) == 0);
    }
    if (how == BY_FORCE_IN_EVENT) {
        say(fds[0], "x");
        do
            CHECK(SocketPool_turn(pool, -1) == 0);
        while (SocketPool_next_event(pool, &event) != 1 || event.kind != SP_EVENT_READABLE);
    }
    end(pool, connections, how);
    while (!is_over) {
        while (SocketPool_next_event(pool, &event) == 1) {
            if (event.kind == SP_EVENT_CLOSED) {
                events++;
                CHECK(*(int *)event.userdata == 1 && Connection_userdata(event.connection) == event.userdata);
                CHECK(!drained);
            }
            drained += event.kind == SP_EVENT_DRAINED;
        }
        is_over = events == CONNECTIONS && drained == drains;
        if (!is_over)
            CHECK(SocketPool_turn(pool, 1000) == 0);
    }
    /* None of them was told by an event. */
    if (how == BY_REMOVE)
        CHECK(told == CONNECTIONS && SocketPool_turn(pool, 0) == 0 && SocketPool_next_event(pool, &event) == 0);
    CHECK(drains == (SocketPool_state(pool) == SP_STATE_DRAINED) && SocketPool_count(pool) == (how == BY_FREE ? CONNECTIONS : 0));
    SocketPool_free(&pool);
    CHECK(told == CONNECTIONS);
    for (n = 0; n < CONNECTIONS; n++) {
        CHECK(marks[n] == 1 && Connection_isactive(connections[n]) == 0);
        close(fds[n]);
    }
}

int main(void)
{
    int how;

    for (how = 0; how < HOWS; how++)
        try((enum how)how);
    return failures != 0;
}
