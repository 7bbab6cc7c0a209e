/* Every function with every handle that is wrong: it answers what is documented, says so, counts it, and nothing else
 * happens. Which functions, stands in misuse_table.h. */
#define _POSIX_C_SOURCE 200809L

#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "pool/SocketPool.h"

enum kind { POOL, CONNECTION, SOCKET, BUFFER, HEALTH, POLL, ARENA, PROTECTION };
enum how { TOLD, NOT_NULL, MAY_BE_NULL, QUIET };

/* What is good, and places to which nothing must be stored. */
static struct {
    SocketPool_T pool;
    Connection_T connection;
    Socket_T pooled, polled, socket, other[3];
    SocketBuf_T buffer;
    SocketPoolHealth_T health;
    SocketPoll_T poll;
    Arena_T arena;
    SocketSYNProtect_T protect;
    int fd, visits;

    SocketPool_T pool_copy;
    Socket_T socket_copy;
    SocketBuf_T buffer_copy;
    SocketPoll_T poll_copy;
    Arena_T arena_copy;
    SocketSYNProtect_T protect_copy;

    int number;
    size_t size;
    char text[64];
    const void *data;
    struct iovec piece;
    sp_event event;
    SocketEvent_T *events;
    Connection_T found;
    SocketPool_Stats stats;
    SocketSYNProtect_Config config;
    SocketSYN_IPState ip;
    SocketSYNProtect_Stats seen;
} g;

static void closed(Connection_T connection, void *userdata, int reason, void *argument)
{
    (void)connection, (void)userdata, (void)reason, (void)argument;
    g.visits++;
}

static void visit(Connection_T connection, void *argument)
{
    (void)connection, (void)argument;
    g.visits++;
}

static int match(Connection_T connection, void *argument)
{
    visit(connection, argument);
    return 1;
}

#define ROW(function, place, kind, how, expression) \
    static int try_##function##_##place(void *h) \
    { \
        return expression; \
    }
#define NONE(function)
#include "misuse_table.h"
#undef ROW

static const struct row {
    const char *function;
    int place;
    enum kind kind;
    enum how how;
    int (*answers_well)(void *);
} rows[] = {
#define ROW(function, place, kind, how, expression) {#function, place, kind, how, try_##function##_##place},
#include "misuse_table.h"
#undef ROW
};

/* Macros and overloads call these, and these say what the program has called. */
static const char *called(const char *function)
{
    static const char *const names[][2] = {
        {"sp_pool_remove_", "SocketPool_remove"},
        {"sp_poll_add_", "SocketPoll_add"},
        {"sp_poll_mod_", "SocketPoll_mod"},
        {"sp_poll_del_", "SocketPoll_del"},
    };
    size_t n;

    for (n = 0; n < sizeof names / sizeof *names; n++)
        if (strncmp(function, names[n][0], strlen(names[n][0])) == 0)
            return names[n][1];
    return function;
}

static void with_row(const struct row *row, void *handle, const char *why)
{
    uint64_t before;
    const char *function = called(row->function), *said;
    int well, told;

    /* What this does stands elsewhere. */
    if (handle == NULL && row->how == MAY_BE_NULL)
        return;
    Socket_fd(NULL);
    before = sp_bad_handles();
    well = row->answers_well(handle);
    said = sp_last_error();
    if (row->how == QUIET || (row->how == NOT_NULL && handle == NULL))
        told = sp_bad_handles() == before && strncmp(said, "Socket_fd: ", 11) == 0;
    else
        told = sp_bad_handles() > before && strncmp(said, function, strlen(function)) == 0
            && said[strlen(function)] == ':' && strstr(said, why) != NULL && sp_last_errno() != 0;
    if (!well || !told) {
        printf("%s, handle %d, %p, %s: %s, \"%s\", %d counted\n", row->function, row->place, handle, why,
               well ? "well" : "badly", said, (int)(sp_bad_handles() - before));
        failures++;
    }
}

static void with_all(void *handle, const char *why)
{
    size_t n;

    for (n = 0; n < sizeof rows / sizeof *rows && failures < 20; n++)
        with_row(&rows[n], handle, why);
}

/* What lives, by kinds. */
static struct {
    void *handle;
    enum kind kind;
} live[16];
static size_t live_count;

static void lives(void *handle, enum kind kind)
{
    CHECK(handle != NULL);
    live[live_count].handle = handle;
    live[live_count++].kind = kind;
}

static void make(void)
{
    Socket_T polled;

    memset(&g, 0, sizeof g);
    live_count = 0;
    g.arena = Arena_new();
    g.pool = SocketPool_new(g.arena, 8, 4096);
    CHECK(SocketPool_set_close_callback(g.pool, closed, NULL) == 0);
    CHECK(SocketPair_new(SOCK_STREAM, &g.pooled, &g.other[0]) == 0);
    CHECK(SocketPair_new(SOCK_STREAM, &g.socket, &g.other[1]) == 0);
    CHECK(SocketPair_new(SOCK_STREAM, &polled, &g.other[2]) == 0);
    g.polled = polled;
    g.connection = SocketPool_add(g.pool, g.pooled);
    g.buffer = SocketBuf_new(g.arena, 64);
    g.poll = SocketPoll_new(8);
    CHECK(sp_poll_add_socket(g.poll, g.polled, POLL_READ, NULL) == 0);
    g.protect = SocketSYNProtect_new(g.arena, 10, 10);
    g.health = SocketPool_health(g.pool);
    g.fd = Socket_fd(g.socket);
    CHECK(g.fd > 2);
    SocketSYNProtect_config_defaults(&g.config);
    g.piece.iov_base = g.text;
    g.piece.iov_len = 4;
    memset(g.text, 7, sizeof g.text);

    lives(g.pool, POOL);
    lives(g.connection, CONNECTION);
    lives(g.pooled, SOCKET);
    lives(g.socket, SOCKET);
    lives(g.polled, SOCKET);
    lives(g.buffer, BUFFER);
    lives(Connection_inbuf(g.connection), BUFFER);
    lives(Connection_outbuf(g.connection), BUFFER);
    lives(g.health, HEALTH);
    lives(g.poll, POLL);
    lives(g.arena, ARENA);
    lives(g.protect, PROTECTION);
}

/* Nothing has happened to what is good. */
static void check_what_is_good(void)
{
    static const char sevens[] = {7, 7, 7, 7};
    static const SocketPool_Stats no_stats;
    static const SocketSYN_IPState no_ip;
    static const SocketSYNProtect_Stats nothing_seen;
    SocketSYNProtect_Stats seen;
    size_t n;

    CHECK(g.visits == 0 && g.number == 0 && g.size == 0 && g.data == NULL && g.events == NULL && g.found == NULL);
    CHECK(g.event.kind == 0 && memcmp(g.text, sevens, 4) == 0 && memcmp(&g.stats, &no_stats, sizeof no_stats) == 0);
    CHECK(memcmp(&g.ip, &no_ip, sizeof no_ip) == 0 && memcmp(&g.seen, &nothing_seen, sizeof nothing_seen) == 0);
    CHECK(SocketPool_count(g.pool) == 1 && SocketPool_state(g.pool) == SP_STATE_ACTIVE);
    CHECK(Connection_isactive(g.connection) == 1 && Connection_userdata(g.connection) == NULL);
    CHECK(SocketPool_get(g.pool, g.pooled) == g.connection && SocketPool_get(g.pool, g.socket) == NULL);
    CHECK(SocketPoll_getregisteredcount(g.poll) == 1 && SocketBuf_empty(g.buffer) == 1);
    SocketSYNProtect_stats(g.protect, &seen);
    CHECK(seen.total_attempts == 0);
    for (n = 0; n < 3; n++) {
        char byte = 'x';
        Socket_T near[3];

        near[0] = g.pooled, near[1] = g.socket, near[2] = g.polled;
        CHECK(Socket_send(g.other[n], &byte, 1, 0) == 1 && Socket_recv(near[n], &byte, 1, 0) == 1 && byte == 'x');
        CHECK(Socket_send(near[n], &byte, 1, 0) == 1 && Socket_recv(g.other[n], &byte, 1, 0) == 1);
    }
}

static void of_another_kind(void)
{
    size_t n, m;

    for (n = 0; n < sizeof rows / sizeof *rows; n++)
        for (m = 0; m < live_count; m++)
            if (live[m].kind != rows[n].kind)
                with_row(&rows[n], live[m].handle, " is no ");
}

static void in_a_forked_process(void)
{
    int status = -1;
    pid_t child;
    size_t n, m;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        for (n = 0; n < sizeof rows / sizeof *rows; n++)
            for (m = 0; m < live_count; m++)
                if (live[m].kind == rows[n].kind && rows[n].place == 0)
                    with_row(&rows[n], live[m].handle, " belongs to the process that forked this one");
        fflush(stdout);
        _exit(failures != 0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void made_up(int rounds)
{
    unsigned seed = 7;
    size_t n;
    int round;

    for (round = 0; round < rounds && failures < 9; round++) {
        size_t bits = 0, part;
        for (part = 0; part < sizeof bits; part++) {
            seed = seed * 1103515245u + 12345u;
            bits = bits << 8 | (seed >> 16 & 0xff);
        }
        /* Slots that are there, of another generation; and those generations, of another slot or kind. */
        if (round % 3 == 1)
            bits = (bits & ~(size_t)0xfffffff) | (size_t)(round % 16);
        if (round % 3 == 2)
            bits = ((size_t)live[(unsigned)round % live_count].handle & ~(size_t)0xffffffff) | (bits & 0xf00000ff);
        for (n = 0; n < live_count; n++)
            if ((void *)bits == live[n].handle)
                break;
        if (n == live_count && (void *)bits != (void *)g.other[0] && (void *)bits != (void *)g.other[1]
            && (void *)bits != (void *)g.other[2] && bits != 0)
            with_all((void *)bits, " is ");
    }
}

static void bad_arguments(sp_pool *pool)
{
    sp_pool *none = pool;

    CHECK(sp_pool_new(0, 65536, &none) == SP_BAD_ARGUMENT && none == NULL);
    CHECK(strstr(sp_last_error(), "max_connections is 0, must be") != NULL);
    CHECK(sp_pool_new(10, 1, &none) == SP_BAD_ARGUMENT && none == NULL);
    CHECK(sp_pool_new(10, 65536, NULL) == SP_BAD_ARGUMENT);
    CHECK(sp_pool_listen(pool, "127.0.0.1", 65536, NULL) == SP_BAD_ARGUMENT);
    CHECK(sp_pool_listen(pool, "127.0.0.1", -1, NULL) == SP_BAD_ARGUMENT);
    CHECK(strstr(sp_last_error(), "port is -1, must be from 0 to 65535") != NULL);
    CHECK(sp_pool_listen(pool, "nowhere", 0, NULL) == SP_BAD_ARGUMENT);
    CHECK(sp_pool_turn(pool, -2) == SP_BAD_ARGUMENT);
    CHECK(sp_pool_drain(pool, -2) == SP_BAD_ARGUMENT);
    CHECK(sp_pool_next_event(pool, NULL) == SP_BAD_ARGUMENT);
    CHECK(sp_pool_count(pool, NULL) == SP_BAD_ARGUMENT);
    CHECK(sp_pool_free(NULL) == SP_OK);
    CHECK(strcmp(sp_reason_name(0), "unknown") == 0 && strcmp(sp_reason_name(-5), "unknown") == 0);
    CHECK(strcmp(sp_reason_name(1), "unknown") != 0);
}

/* Ends everything: all that is in the arena, and the rest. */
static void end(void)
{
    size_t n;

    Arena_dispose(&g.arena);
    CHECK(g.visits == 1);
    Socket_free(&g.socket);
    Socket_free(&g.polled);
    SocketPoll_free(&g.poll);
    for (n = 0; n < 3; n++)
        Socket_free(&g.other[n]);
}

int main(int argc, char **argv)
{
    void *stale[16];
    size_t n, stale_count;

    CHECK(strcmp(sp_last_error(), "") == 0 && sp_last_errno() == 0);
    make();
    bad_arguments(g.pool);
    with_all(NULL, "is NULL");
    check_what_is_good();
    of_another_kind();
    check_what_is_good();
    in_a_forked_process();
    made_up(argc > 1 ? atoi(argv[1]) : 3000);
    check_what_is_good();

    stale_count = live_count;
    for (n = 0; n < live_count; n++)
        stale[n] = live[n].handle;
    end();
    /* Freed, by itself or with its pool or arena; then so again, after the slots have new names. */
    make();
    for (n = 0; n < stale_count; n++)
        with_all(stale[n], "is stale");
    check_what_is_good();
    end();
    return failures != 0;
}
