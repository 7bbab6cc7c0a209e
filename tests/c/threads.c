/* Seven threads call whatever they like while one waits in the loop: none waits for it, and nobody is lost. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { CALLERS = 7 };

/* Under valgrind fewer are enough. */
static int call_count = 2000, round_count = 20;

static sp_pool *pool;
static sp_pool *reborn;
static int at_work = CALLERS;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void *call(void *nothing)
{
    int calls, number, busy;
    size_t count;

    for (calls = 0; calls < call_count; calls++) {
        CHECK(sp_pool_count(pool, &count) == SP_OK && count == 0);
        CHECK(sp_pool_wake(pool) == SP_OK);
        CHECK(sp_pool_state(pool, &number) == SP_OK);
        CHECK(sp_pool_next_timeout_ms(pool, &number) == SP_OK);
        /* Unless the other one is just between two turns. */
        busy = sp_pool_turn(pool, 0);
        CHECK(busy == SP_BUSY || busy == SP_OK);
        CHECK(sp_connection_fd((sp_connection *)pool) == -1);
    }
    pthread_mutex_lock(&one_at_a_time);
    at_work--;
    pthread_mutex_unlock(&one_at_a_time);
    sp_pool_wake(pool);
    return nothing;
}

/* Frees a pool while others use it: whoever is in a call goes on, whoever comes later is told. */
static void *use_until_stale(void *nothing)
{
    size_t count;
    int status;

    while ((status = sp_pool_count(reborn, &count)) == SP_OK)
        CHECK(count == 0);
    CHECK(status == SP_BAD_HANDLE);
    return nothing;
}

static void *wait_until_freed(void *nothing)
{
    int status;

    do
        status = sp_pool_turn(reborn, -1);
    while (status == SP_OK);
    CHECK(status == SP_BAD_HANDLE);
    return nothing;
}

int main(int argc, char **argv)
{
    pthread_t threads[CALLERS];
    struct timespec moment = {0, 2000000};
    sp_pool *name;
    int n, left = 1, round;

    if (argc > 1) {
        call_count = atoi(argv[1]);
        round_count = 2;
    }

    CHECK(sp_pool_new(10, 65536, &pool) == SP_OK && sp_pool_listen(pool, "127.0.0.1", 0, NULL) == SP_OK);
    for (n = 0; n < CALLERS; n++)
        CHECK(pthread_create(&threads[n], NULL, call, NULL) == 0);
    while (left > 0) {
        int status = sp_pool_turn(pool, -1);
        CHECK(status == SP_OK || status == SP_BUSY);
        pthread_mutex_lock(&one_at_a_time);
        left = at_work;
        pthread_mutex_unlock(&one_at_a_time);
    }
    for (n = 0; n < CALLERS; n++)
        pthread_join(threads[n], NULL);
    CHECK(sp_pool_free(&pool) == SP_OK);

    for (round = 0; round < round_count; round++) {
        CHECK(sp_pool_new(10, 65536, &reborn) == SP_OK);
        name = reborn;
        for (n = 0; n < CALLERS; n++)
            CHECK(pthread_create(&threads[n], NULL, n == 0 ? wait_until_freed : use_until_stale, NULL) == 0);
        nanosleep(&moment, NULL);
        CHECK(sp_pool_free(&name) == SP_OK);
        for (n = 0; n < CALLERS; n++)
            pthread_join(threads[n], NULL);
    }
    return failures != 0;
}
