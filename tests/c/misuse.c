/* Every function with every handle that is wrong: each says so, and nothing else happens. */
#include "check.h"

static void bad_pool(sp_pool *pool, const char *why)
{
    sp_event event;
    sp_pool *copy = pool;
    int number = 7;
    size_t count = 7;

    CHECK(sp_pool_listen(pool, "127.0.0.1", 0, &number) == SP_BAD_HANDLE);
    CHECK(strstr(sp_last_error(), why) != NULL && strstr(sp_last_error(), "sp_pool_listen: pool") != NULL);
    CHECK(sp_last_errno() != 0);
    CHECK(sp_pool_turn(pool, 0) == SP_BAD_HANDLE);
    CHECK(sp_pool_next_event(pool, &event) == SP_BAD_HANDLE);
    CHECK(sp_pool_next_timeout_ms(pool, &number) == SP_BAD_HANDLE);
    CHECK(sp_pool_fd(pool, &number) == SP_BAD_HANDLE);
    CHECK(sp_pool_wake(pool) == SP_BAD_HANDLE);
    CHECK(sp_pool_drain(pool, -1) == SP_BAD_HANDLE);
    CHECK(sp_pool_state(pool, &number) == SP_BAD_HANDLE);
    CHECK(sp_pool_count(pool, &count) == SP_BAD_HANDLE);
    CHECK(sp_pool_free(&copy) == (pool == NULL ? SP_OK : SP_BAD_HANDLE));
    CHECK(copy == NULL && number == 7 && count == 7);
}

static void bad_connection(sp_connection *connection, const char *why)
{
    const void *data = &failures;
    size_t count = 7;
    char text[64] = "untouched";

    CHECK(sp_connection_receive(connection, &count) == SP_BAD_HANDLE);
    CHECK(strstr(sp_last_error(), why) != NULL);
    CHECK(sp_connection_input(connection, &data, &count) == SP_BAD_HANDLE);
    CHECK(sp_connection_consume(connection, 0) == SP_BAD_HANDLE);
    CHECK(sp_connection_send(connection, "x", 1) == SP_BAD_HANDLE);
    CHECK(sp_connection_close(connection) == SP_BAD_HANDLE);
    CHECK(sp_connection_close_when_done(connection) == SP_BAD_HANDLE);
    CHECK(sp_connection_set_userdata(connection, text) == SP_BAD_HANDLE);
    CHECK(sp_connection_userdata(connection) == NULL);
    CHECK(sp_connection_fd(connection) == -1);
    CHECK(sp_connection_peer(connection, text, sizeof text) == SP_BAD_HANDLE);
    CHECK(data == &failures && count == 7 && strcmp(text, "untouched") == 0);
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

int main(void)
{
    sp_pool *pool, *stale;
    unsigned seed = 1;
    int round;

    CHECK(strcmp(sp_last_error(), "") == 0 && sp_last_errno() == 0);
    CHECK(sp_pool_new(10, 65536, &pool) == SP_OK && pool != NULL);
    bad_arguments(pool);
    bad_pool(NULL, "is NULL");
    bad_connection(NULL, "is NULL");
    bad_connection((sp_connection *)pool, "is no connection");
    for (round = 0; round < 10000; round++) {
        size_t bits = 0, part;
        for (part = 0; part < sizeof bits; part++) {
            seed = seed * 1103515245u + 12345u;
            bits = bits << 8 | (seed >> 16 & 0xff);
        }
        /* The slots of this process, of every generation but the right one. */
        if (round % 2)
            bits = (bits & ~(size_t)0xfff) | (size_t)(round % 4);
        if ((sp_pool *)bits == pool)
            continue;
        bad_pool((sp_pool *)bits, "is ");
        bad_connection((sp_connection *)bits, "is ");
        if (failures)
            return 1;
    }
    stale = pool;
    CHECK(sp_pool_free(&pool) == SP_OK && pool == NULL);
    CHECK(sp_pool_free(&pool) == SP_OK);
    bad_pool(stale, "is stale");
    /* Its slot is used again, its name is not. */
    CHECK(sp_pool_new(10, 65536, &pool) == SP_OK && pool != stale);
    bad_pool(stale, "is stale");
    CHECK(sp_pool_free(&pool) == SP_OK);
    return failures != 0;
}
