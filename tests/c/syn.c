/* The protection from connection floods as a C program uses it. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <core/SocketSYNProtect.h>
#include <core/SocketSYNProtect.h>

#include "check.h"

enum { THREADS = 8 };

/* Under valgrind fewer are enough. */
static int round_count = 5000;

static void pause_ms(long ms)
{
    struct timespec moment;

    moment.tv_sec = ms / 1000;
    moment.tv_nsec = ms % 1000 * 1000000;
    nanosleep(&moment, NULL);
}

static long long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int near(float one, float other)
{
    return one - other < 0.01f && other - one < 0.01f;
}

static void layout(void)
{
    CHECK(sizeof(SocketSYN_IPState) == 112 && sizeof(SocketSYNProtect_Stats) == 88);
    CHECK(sizeof(SocketSYNProtect_Config) == 88);
    CHECK(offsetof(SocketSYN_IPState, window_start_ms) == 64 && offsetof(SocketSYN_IPState, attempts_current) == 72);
    CHECK(offsetof(SocketSYN_IPState, attempts_previous) == 76 && offsetof(SocketSYN_IPState, successes) == 80);
    CHECK(offsetof(SocketSYN_IPState, failures) == 84 && offsetof(SocketSYN_IPState, last_attempt_ms) == 88);
    CHECK(offsetof(SocketSYN_IPState, block_until_ms) == 96 && offsetof(SocketSYN_IPState, rep) == 104);
    CHECK(offsetof(SocketSYN_IPState, score) == 108);
    CHECK(offsetof(SocketSYNProtect_Config, max_global_per_second) == 8);
    CHECK(offsetof(SocketSYNProtect_Config, min_success_ratio) == 12);
    CHECK(offsetof(SocketSYNProtect_Config, block_duration_ms) == 20);
    CHECK(offsetof(SocketSYNProtect_Config, score_throttle) == 28);
    CHECK(offsetof(SocketSYNProtect_Config, score_reward_success) == 52);
    CHECK(offsetof(SocketSYNProtect_Config, max_tracked_ips) == 56);
    CHECK(offsetof(SocketSYNProtect_Config, max_blacklist) == 72);
    CHECK(offsetof(SocketSYNProtect_Config, hash_seed) == 80);
    CHECK(offsetof(SocketSYNProtect_Stats, total_blacklisted) == 48);
    CHECK(offsetof(SocketSYNProtect_Stats, lru_evictions) == 72);
    CHECK(offsetof(SocketSYNProtect_Stats, uptime_ms) == 80);
    CHECK(strcmp(SocketSYNProtect_action_name(SYN_ACTION_ALLOW), "ALLOW") == 0);
    CHECK(strcmp(SocketSYNProtect_action_name(SYN_ACTION_THROTTLE), "THROTTLE") == 0);
    CHECK(strcmp(SocketSYNProtect_action_name(SYN_ACTION_CHALLENGE), "CHALLENGE") == 0);
    CHECK(strcmp(SocketSYNProtect_action_name(SYN_ACTION_BLOCK), "BLOCK") == 0);
    CHECK(strcmp(SocketSYNProtect_reputation_name(SYN_REP_TRUSTED), "TRUSTED") == 0);
    CHECK(strcmp(SocketSYNProtect_reputation_name(SYN_REP_NEUTRAL), "NEUTRAL") == 0);
    CHECK(strcmp(SocketSYNProtect_reputation_name(SYN_REP_SUSPECT), "SUSPECT") == 0);
    CHECK(strcmp(SocketSYNProtect_reputation_name(SYN_REP_HOSTILE), "HOSTILE") == 0);
    CHECK(strcmp(SocketSYNProtect_action_name(4), "UNKNOWN") == 0);
    CHECK(strcmp(SocketSYNProtect_action_name(-1), "UNKNOWN") == 0);
    CHECK(strcmp(SocketSYNProtect_reputation_name(99), "UNKNOWN") == 0);
}

/* As many attempts as allowed come in, and then none; what is reported as good takes its attempt back. */
static void algorithm(void)
{
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 10000, 100);
    SocketSYN_IPState state;
    SocketSYNProtect_Stats stats;
    unsigned seen[4] = {0, 0, 0, 0};
    int n;

    CHECK(protect != NULL);
    CHECK(SocketSYNProtect_get_ip_state(protect, "192.0.2.7", &state) == 0);
    CHECK(SocketSYNProtect_check(protect, "192.0.2.7", &state) == SYN_ACTION_ALLOW);
    CHECK(strcmp(state.ip, "192.0.2.7") == 0 && near(state.score, 0.794f) && state.rep == SYN_REP_NEUTRAL);
    CHECK(state.attempts_current + state.attempts_previous == 1 && state.block_until_ms == 0);
    CHECK(state.last_attempt_ms <= now_ms() && state.last_attempt_ms > now_ms() - 5000);
    CHECK(state.window_start_ms <= state.last_attempt_ms && state.window_start_ms > state.last_attempt_ms - 10000);
    for (n = 1; n < 200; n++)
        seen[SocketSYNProtect_check(protect, "192.0.2.7", NULL)]++;
    CHECK(seen[SYN_ACTION_BLOCK] >= 96 && seen[SYN_ACTION_BLOCK] <= 104);
    CHECK(seen[SYN_ACTION_ALLOW] > 10 && seen[SYN_ACTION_THROTTLE] > 40 && seen[SYN_ACTION_CHALLENGE] > 25);
    CHECK(SocketSYNProtect_get_ip_state(protect, "192.0.2.7", &state) == 1);
    CHECK(state.block_until_ms > now_ms() && state.rep == SYN_REP_HOSTILE && state.score < 0.2f);
    CHECK(SocketSYNProtect_check(protect, "192.0.2.8", NULL) == SYN_ACTION_ALLOW);

    SocketSYNProtect_stats(protect, &stats);
    CHECK(stats.total_attempts == 201 && stats.current_tracked_ips == 2 && stats.current_blocked_ips == 1);
    CHECK(stats.total_allowed + stats.total_throttled + stats.total_challenged + stats.total_blocked == 201);
    CHECK(stats.total_blocked == seen[SYN_ACTION_BLOCK] && stats.lru_evictions == 0 && stats.uptime_ms >= 0);

    /* Whoever makes good may come as often as it likes. */
    for (n = 0; n < 1000; n++) {
        CHECK(SocketSYNProtect_check(protect, "192.0.2.9", NULL) == SYN_ACTION_ALLOW);
        SocketSYNProtect_report_success(protect, "192.0.2.9");
    }
    CHECK(SocketSYNProtect_get_ip_state(protect, "192.0.2.9", &state) == 1);
    CHECK(state.successes == 1000 && state.rep == SYN_REP_TRUSTED && state.attempts_current == 0);
    /* Failures alone block too, and good news lifts the block. */
    for (n = 0; n < 20; n++)
        SocketSYNProtect_report_failure(protect, "192.0.2.9", ECONNRESET);
    CHECK(SocketSYNProtect_check(protect, "192.0.2.9", &state) == SYN_ACTION_BLOCK && state.failures == 20);
    for (n = 0; n < 20; n++)
        SocketSYNProtect_report_success(protect, "192.0.2.9");
    CHECK(SocketSYNProtect_check(protect, "192.0.2.9", &state) == SYN_ACTION_ALLOW);
    /* Nobody knows this one. */
    SocketSYNProtect_report_success(protect, "192.0.2.10");
    CHECK(SocketSYNProtect_get_ip_state(protect, "192.0.2.10", &state) == 0);

    SocketSYNProtect_stats_reset(protect);
    SocketSYNProtect_stats(protect, &stats);
    CHECK(stats.total_attempts == 0 && stats.total_blocked == 0 && stats.current_tracked_ips == 3);
    CHECK(SocketSYNProtect_blacklist_add(protect, "192.0.2.11", 0) == 1);
    SocketSYNProtect_clear_all(protect);
    SocketSYNProtect_stats(protect, &stats);
    CHECK(stats.current_tracked_ips == 0 && stats.current_blocked_ips == 0);
    CHECK(SocketSYNProtect_check(protect, "192.0.2.7", NULL) == SYN_ACTION_ALLOW);
    CHECK(SocketSYNProtect_blacklist_contains(protect, "192.0.2.11") == 1);
    SocketSYNProtect_reset(protect);
    SocketSYNProtect_stats(protect, &stats);
    CHECK(stats.total_attempts == 0 && SocketSYNProtect_blacklist_contains(protect, "192.0.2.11") == 0);
    SocketSYNProtect_free(&protect);
    CHECK(protect == NULL);
    SocketSYNProtect_free(&protect);
    SocketSYNProtect_free(NULL);
}

static void lists(void)
{
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 1000, 1);
    SocketSYNProtect_Config config;
    SocketSYNProtect_Stats stats;
    SocketSYN_IPState state;
    int n;

    CHECK(SocketSYNProtect_whitelist_add(protect, "192.0.2.1") == 1);
    CHECK(SocketSYNProtect_whitelist_add(protect, "192.0.2.1") == 1);
    CHECK(SocketSYNProtect_whitelist_add_cidr(protect, "10.1.2.3/8") == 1);
    CHECK(SocketSYNProtect_whitelist_add_cidr(protect, "192.0.2.3") == 1);
    CHECK(SocketSYNProtect_whitelist_contains(protect, "10.200.0.1") == 1);
    CHECK(SocketSYNProtect_whitelist_contains(protect, "192.0.2.3") == 1);
    CHECK(SocketSYNProtect_whitelist_contains(protect, "11.0.0.1") == 0);
    for (n = 0; n < 100; n++)
        CHECK(SocketSYNProtect_check(protect, "10.1.1.1", &state) == SYN_ACTION_ALLOW);
    CHECK(state.rep == SYN_REP_TRUSTED && state.score == 1.0f);
    /* The blacklist blocks, and the whitelist is above it. */
    CHECK(SocketSYNProtect_blacklist_add(protect, "192.0.2.0/24", 0) == 1);
    CHECK(SocketSYNProtect_check(protect, "192.0.2.1", NULL) == SYN_ACTION_ALLOW);
    CHECK(SocketSYNProtect_check(protect, "192.0.2.2", &state) == SYN_ACTION_BLOCK);
    CHECK(state.rep == SYN_REP_HOSTILE && state.score == 0.0f);
    CHECK(SocketSYNProtect_get_ip_state(protect, "192.0.2.2", &state) == 1 && state.rep == SYN_REP_HOSTILE);
    SocketSYNProtect_stats(protect, &stats);
    CHECK(stats.total_whitelisted == 101 && stats.total_allowed == 101);
    CHECK(stats.total_blacklisted == 1 && stats.total_blocked == 1 && stats.current_tracked_ips == 0);
    /* A time, and a new one. */
    CHECK(SocketSYNProtect_blacklist_add(protect, "198.51.100.1", 3600000) == 1);
    CHECK(SocketSYNProtect_blacklist_add(protect, "198.51.100.1", 20) == 1);
    CHECK(SocketSYNProtect_blacklist_add(protect, "198.51.100.2", 20) == 1);
    CHECK(SocketSYNProtect_blacklist_add(protect, "198.51.100.3", -1) == 1);
    pause_ms(40);
    CHECK(SocketSYNProtect_blacklist_contains(protect, "198.51.100.1") == 0);
    CHECK(SocketSYNProtect_blacklist_contains(protect, "198.51.100.3") == 1);
    CHECK(SocketSYNProtect_cleanup(protect) == 2 && SocketSYNProtect_cleanup(protect) == 0);
    SocketSYNProtect_blacklist_remove(protect, "198.51.100.3");
    CHECK(SocketSYNProtect_blacklist_contains(protect, "198.51.100.3") == 0);
    SocketSYNProtect_blacklist_clear(protect);
    CHECK(SocketSYNProtect_blacklist_contains(protect, "192.0.2.2") == 0);
    SocketSYNProtect_whitelist_clear(protect);
    CHECK(SocketSYNProtect_whitelist_contains(protect, "192.0.2.1") == 0);
    /* Full lists say so, but take a new time. */
    SocketSYNProtect_config_defaults(&config);
    config.max_blacklist = 2;
    config.max_whitelist = 0;
    SocketSYNProtect_configure(protect, &config);
    CHECK(SocketSYNProtect_whitelist_add(protect, "192.0.2.1") == 0);
    CHECK(strstr(sp_last_error(), "SocketSYNProtect_whitelist_add: the list is full") != NULL);
    CHECK(SocketSYNProtect_blacklist_add(protect, "192.0.2.1", 0) == 1);
    CHECK(SocketSYNProtect_blacklist_add(protect, "192.0.2.2", 0) == 1);
    CHECK(SocketSYNProtect_blacklist_add(protect, "192.0.2.3", 0) == 0);
    CHECK(SocketSYNProtect_blacklist_add(protect, "192.0.2.2", 1) == 1);
    pause_ms(5);
    CHECK(SocketSYNProtect_blacklist_add(protect, "192.0.2.3", 0) == 1);
    SocketSYNProtect_free(&protect);
}

static void bounded_table(void)
{
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 1000000, 100);
    SocketSYNProtect_Config config;
    SocketSYNProtect_Stats stats;
    SocketSYN_IPState state;
    char ip[32];
    int n;

    SocketSYNProtect_config_defaults(&config);
    config.max_global_per_second = 1000000;
    config.max_tracked_ips = 100;
    SocketSYNProtect_configure(protect, &config);
    for (n = 0; n < 1000; n++) {
        snprintf(ip, sizeof ip, "10.0.%d.%d", n / 250, n % 250);
        CHECK(SocketSYNProtect_check(protect, ip, NULL) == SYN_ACTION_ALLOW);
    }
    SocketSYNProtect_stats(protect, &stats);
    CHECK(stats.current_tracked_ips == 100 && stats.lru_evictions == 900);
    CHECK(SocketSYNProtect_get_ip_state(protect, ip, &state) == 1);
    CHECK(SocketSYNProtect_get_ip_state(protect, "10.0.0.0", &state) == 0);
    SocketSYNProtect_free(&protect);
}

/* A handle that is wrong: each function says so, and nothing else happens. */
static void bad_handle(SocketSYNProtect_T protect, const char *why)
{
    SocketSYNProtect_T copy = protect;
    SocketSYNProtect_Config config;
    SocketSYNProtect_Stats stats;
    SocketSYN_IPState state;
    unsigned long long before = sp_bad_handles();

    SocketSYNProtect_config_defaults(&config);
    stats.total_attempts = 7;
    state.score = 7;
    errno = 0;
    CHECK(SocketSYNProtect_check(protect, "192.0.2.7", &state) == SYN_ACTION_ALLOW && state.score == 7);
    CHECK(strstr(sp_last_error(), "SocketSYNProtect_check: protect") != NULL);
    CHECK(strstr(sp_last_error(), why) != NULL && errno == EINVAL);
    SocketSYNProtect_report_success(protect, "192.0.2.7");
    SocketSYNProtect_report_failure(protect, "192.0.2.7", 0);
    CHECK(SocketSYNProtect_whitelist_add(protect, "192.0.2.7") == 0);
    CHECK(SocketSYNProtect_whitelist_add_cidr(protect, "192.0.2.0/24") == 0);
    SocketSYNProtect_whitelist_remove(protect, "192.0.2.7");
    CHECK(SocketSYNProtect_whitelist_contains(protect, "192.0.2.7") == 0);
    SocketSYNProtect_whitelist_clear(protect);
    CHECK(SocketSYNProtect_blacklist_add(protect, "192.0.2.7", 1) == 0);
    SocketSYNProtect_blacklist_remove(protect, "192.0.2.7");
    CHECK(SocketSYNProtect_blacklist_contains(protect, "192.0.2.7") == 0);
    SocketSYNProtect_blacklist_clear(protect);
    CHECK(SocketSYNProtect_get_ip_state(protect, "192.0.2.7", &state) == 0 && state.score == 7);
    SocketSYNProtect_stats(protect, &stats);
    SocketSYNProtect_stats_reset(protect);
    CHECK(stats.total_attempts == 7);
    CHECK(SocketSYNProtect_cleanup(protect) == 0);
    SocketSYNProtect_clear_all(protect);
    SocketSYNProtect_reset(protect);
    SocketSYNProtect_configure(protect, &config);
    CHECK(strstr(sp_last_error(), "SocketSYNProtect_configure: protect") != NULL);
    CHECK(sp_bad_handles() == before + 19);
    SocketSYNProtect_free(&copy);
    CHECK(copy == NULL && sp_bad_handles() == before + 19 + (protect != NULL));
}

static void bad_arguments(void)
{
    static const char *const no_addresses[] = {
        NULL, "", "(unknown)", "localhost", "192.0.2", "192.0.2.256", "010.0.0.1", "192.0.2.1 ", "192.0.2.1%1",
        "2001:db8::1::2", "[::1]", "192.0.2.1:80", "\xff\xfe",
        "1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111"
        "1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111",
    };
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 1000, 100);
    SocketSYNProtect_Stats stats;
    SocketSYN_IPState state;
    size_t n;

    state.score = 7;
    for (n = 0; n < sizeof no_addresses / sizeof no_addresses[0]; n++) {
        const char *ip = no_addresses[n];

        CHECK(SocketSYNProtect_check(protect, ip, &state) == SYN_ACTION_ALLOW);
        CHECK(strstr(sp_last_error(), "SocketSYNProtect_check: ip is ") != NULL);
        SocketSYNProtect_report_success(protect, ip);
        SocketSYNProtect_report_failure(protect, ip, 0);
        CHECK(SocketSYNProtect_whitelist_add(protect, ip) == 0);
        CHECK(SocketSYNProtect_whitelist_add_cidr(protect, ip) == 0);
        CHECK(SocketSYNProtect_blacklist_add(protect, ip, 0) == 0);
        CHECK(strstr(sp_last_error(), "SocketSYNProtect_blacklist_add: ip is ") != NULL);
        CHECK(SocketSYNProtect_whitelist_contains(protect, ip) == 0);
        CHECK(SocketSYNProtect_blacklist_contains(protect, ip) == 0);
        SocketSYNProtect_whitelist_remove(protect, ip);
        SocketSYNProtect_blacklist_remove(protect, ip);
        CHECK(SocketSYNProtect_get_ip_state(protect, ip, &state) == 0);
    }
    CHECK(state.score == 7);
    CHECK(SocketSYNProtect_whitelist_add(protect, "10.0.0.0/8") == 0);
    CHECK(SocketSYNProtect_whitelist_add_cidr(protect, "10.0.0.0/33") == 0);
    CHECK(strstr(sp_last_error(), "must be from 0 to 32") != NULL);
    CHECK(SocketSYNProtect_whitelist_add_cidr(protect, "10.0.0.0/") == 0);
    CHECK(SocketSYNProtect_whitelist_add_cidr(protect, "2001:db8::/129") == 0);
    CHECK(SocketSYNProtect_whitelist_contains(protect, "10.0.0.0") == 0);
    CHECK(SocketSYNProtect_get_ip_state(protect, "192.0.2.7", NULL) == 0);
    CHECK(strstr(sp_last_error(), "state is NULL") != NULL);
    SocketSYNProtect_stats(protect, NULL);
    CHECK(strstr(sp_last_error(), "SocketSYNProtect_stats: stats is NULL") != NULL);
    SocketSYNProtect_configure(protect, NULL);
    CHECK(strstr(sp_last_error(), "config is NULL") != NULL);
    SocketSYNProtect_config_defaults(NULL);
    CHECK(strstr(sp_last_error(), "SocketSYNProtect_config_defaults: config is NULL") != NULL);
    SocketSYNProtect_stats(protect, &stats);
    CHECK(stats.total_attempts == 0 && stats.current_tracked_ips == 0);
    /* The zone of an address is no part of it. */
    CHECK(SocketSYNProtect_check(protect, "fe80::1%eth0", &state) == SYN_ACTION_ALLOW);
    CHECK(strcmp(state.ip, "fe80::1") == 0);
    SocketSYNProtect_free(&protect);

    CHECK(SocketSYNProtect_new(NULL, 0, 100) == NULL);
    CHECK(strstr(sp_last_error(), "SocketSYNProtect_new: max_global_per_second is 0, must be from 1 to 1000000"));
    CHECK(SocketSYNProtect_new(NULL, 1000, -1) == NULL);
    CHECK(strstr(sp_last_error(), "max_attempts_per_window is -1, must") != NULL);
    CHECK(SocketSYNProtect_new(NULL, 1000, 10001) == NULL);
    CHECK(strstr(sp_last_error(), "max_attempts_per_window is 10001, must be from 1 to 10000") != NULL);
}

static void misuse(void)
{
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 1000, 100), stale = protect;
    sp_pool *pool;
    unsigned seed = 1;
    int round;

    bad_arguments();
    CHECK(sp_pool_new(10, 65536, &pool) == SP_OK);
    bad_handle(NULL, "is NULL");
    bad_handle((SocketSYNProtect_T)pool, "is no protection against connection floods");
    for (round = 0; round < 2000; round++) {
        size_t bits = 0, part;
        for (part = 0; part < sizeof bits; part++) {
            seed = seed * 1103515245u + 12345u;
            bits = bits << 8 | (seed >> 16 & 0xff);
        }
        if (round % 2)
            bits = (bits & ~(size_t)0xfff) | (size_t)(round % 4);
        bad_handle((SocketSYNProtect_T)bits, "is ");
        if (failures)
            return;
    }
    CHECK(SocketSYNProtect_check(protect, "192.0.2.7", NULL) == SYN_ACTION_ALLOW);
    SocketSYNProtect_free(&protect);
    bad_handle(stale, "is stale");
    protect = SocketSYNProtect_new(NULL, 1000, 100);
    CHECK(protect != stale);
    bad_handle(stale, "is stale");
    SocketSYNProtect_free(&protect);
    CHECK(sp_pool_free(&pool) == SP_OK);
}

static SocketSYNProtect_T shared, doomed;

static void *check_and_report(void *number)
{
    const char *own = number;
    SocketSYN_IPState state;
    int n;

    for (n = 0; n < round_count; n++) {
        CHECK(SocketSYNProtect_check(shared, own, &state) == SYN_ACTION_ALLOW && strcmp(state.ip, own) == 0);
        SocketSYNProtect_report_success(shared, own);
        SocketSYNProtect_check(shared, "198.51.100.1", NULL);
        CHECK(SocketSYNProtect_blacklist_add(shared, own, 1) == 1);
        SocketSYNProtect_blacklist_remove(shared, own);
    }
    return NULL;
}

static void *use_until_stale(void *nothing)
{
    unsigned long long before = sp_bad_handles();

    while (sp_bad_handles() == before)
        SocketSYNProtect_check(doomed, "192.0.2.1", NULL);
    return nothing;
}

static void threads(void)
{
    static char own[THREADS][16];
    pthread_t all[THREADS];
    SocketSYNProtect_T name;
    SocketSYNProtect_Stats stats;
    SocketSYN_IPState state;
    int n;

    shared = SocketSYNProtect_new(NULL, 1000000, 1000);
    for (n = 0; n < THREADS; n++) {
        snprintf(own[n], sizeof own[n], "192.0.2.%d", n);
        CHECK(pthread_create(&all[n], NULL, check_and_report, own[n]) == 0);
    }
    for (n = 0; n < THREADS; n++)
        pthread_join(all[n], NULL);
    SocketSYNProtect_stats(shared, &stats);
    CHECK(stats.total_attempts == 2ull * THREADS * (unsigned)round_count);
    CHECK(stats.total_allowed + stats.total_throttled + stats.total_challenged + stats.total_blocked
          == stats.total_attempts);
    CHECK(stats.current_tracked_ips == THREADS + 1 && stats.total_blacklisted == 0);
    for (n = 0; n < THREADS; n++)
        CHECK(SocketSYNProtect_get_ip_state(shared, own[n], &state) == 1
              && state.successes == (unsigned)round_count);
    SocketSYNProtect_free(&shared);

    /* Freed while others use it. */
    name = doomed = SocketSYNProtect_new(NULL, 1000000, 1000);
    for (n = 0; n < THREADS; n++)
        CHECK(pthread_create(&all[n], NULL, use_until_stale, NULL) == 0);
    pause_ms(2);
    SocketSYNProtect_free(&name);
    for (n = 0; n < THREADS; n++)
        pthread_join(all[n], NULL);
}

static SocketSYNProtect_T quick(int block_ms, float recovery)
{
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 10000, 5);
    SocketSYNProtect_Config config;

    SocketSYNProtect_config_defaults(&config);
    config.max_global_per_second = 10000;
    config.max_attempts_per_window = 5;
    config.window_duration_ms = 20;
    config.block_duration_ms = block_ms;
    config.score_decay_per_sec = recovery;
    SocketSYNProtect_configure(protect, &config);
    return protect;
}

/* To throttle and to challenge is an answer, not a wait. */
static void legacy_w14_a_throttled_check_answers_at_once(void)
{
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 10000, 100);
    long long since = now_ms();
    int n, delayed = 0;

    for (n = 0; n < 90; n++) {
        int action = SocketSYNProtect_check(protect, "192.0.2.7", NULL);
        delayed += action == SYN_ACTION_THROTTLE || action == SYN_ACTION_CHALLENGE;
    }
    /* The legacy library takes 100 ms for each throttled one. */
    CHECK(delayed > 50 && now_ms() - since < 2000);
    SocketSYNProtect_free(&protect);
}

/* A bad setting changes nothing, and leaves nothing locked. */
static void legacy_w19_a_bad_setting_is_refused_and_the_next_call_goes_on(void)
{
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 1000, 3);
    SocketSYNProtect_Config good, bad;
    int passed = 0;

    SocketSYNProtect_config_defaults(&good);
#define REFUSED(field, value, said) \
    do { \
        bad = good; \
        bad.field = (value); \
        SocketSYNProtect_configure(protect, &bad); \
        CHECK(strstr(sp_last_error(), "SocketSYNProtect_configure: " #field " is " said) != NULL); \
    } while (0)
    REFUSED(window_duration_ms, 0, "0ns, must be from 1ms to 3600s");
    REFUSED(window_duration_ms, -1, "-1, must not be below 0");
    REFUSED(max_attempts_per_window, 0, "0, must be from 1 to 10000");
    REFUSED(max_global_per_second, 1000001, "1000001, must be from 1 to 1000000");
    REFUSED(throttle_delay_ms, -5, "-5, must");
    REFUSED(block_duration_ms, 0, "0ns, must be from 1ms");
    REFUSED(challenge_defer_sec, 3601, "3601s, must be from 100ms to 3600s");
    REFUSED(challenge_defer_sec, 0, "0ns, must be from 100ms to 3600s");
    REFUSED(score_throttle, 1.5f, "1.5, must be from 0 to 1");
    REFUSED(score_challenge, 0.8f, "0.8, must be from 0 to 0.7");
    REFUSED(score_block, -0.1f, "-0.1, must be from 0 to 0.4");
    REFUSED(score_decay_per_sec, -1.0f, "-1, must be from 0 to 1000");
    REFUSED(score_penalty_attempt, 1.5f, "1.5, must be from 0 to 1");
    REFUSED(score_penalty_failure, -1.0f, "-1, must be from 0 to 1");
    REFUSED(score_reward_success, 2.0f, "2, must be from 0 to 1");
    REFUSED(max_tracked_ips, 0, "0, must be from 1 to 16777216");
    REFUSED(max_tracked_ips, (size_t)-1, "18446744073709551615, must be at most 16777216");
    REFUSED(max_whitelist, 1000001, "1000001, must be at most 1000000");
    REFUSED(max_blacklist, (size_t)-1, "18446744073709551615, must be at most 1000000");
#undef REFUSED
    while (passed < 100 && SocketSYNProtect_check(protect, "192.0.2.7", NULL) != SYN_ACTION_BLOCK)
        passed++;
    CHECK(passed >= 2 && passed <= 4);
    SocketSYNProtect_free(&protect);
}

/* What has no address is neither refused nor counted. */
static void legacy_w24_a_unix_peer_is_let_in(void)
{
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 10, 2);
    int n;

    for (n = 0; n < 100; n++)
        CHECK(SocketSYNProtect_check(protect, "(unknown)", NULL) == SYN_ACTION_ALLOW);
    CHECK(SocketSYNProtect_check(protect, "192.0.2.7", NULL) != SYN_ACTION_BLOCK);
    SocketSYNProtect_free(&protect);
}

/* Attempts on which nobody reports block for a time, not for ever. */
static void legacy_w26_what_is_never_reported_blocks_nobody_for_ever(void)
{
    SocketSYNProtect_T protect = quick(30, 100.0f);
    int n = 0;

    while (n < 10000 && SocketSYNProtect_check(protect, "192.0.2.7", NULL) != SYN_ACTION_BLOCK)
        n++;
    CHECK(n < 10000);
    pause_ms(80);
    CHECK(SocketSYNProtect_check(protect, "192.0.2.7", NULL) == SYN_ACTION_ALLOW);
    SocketSYNProtect_free(&protect);
}

/* Lists compare addresses, refuse what is none, give back every entry; a block comes again. */
static void legacy_w27_lists_compare_addresses_and_a_block_is_armed_again(void)
{
    static const char *const forms[] = {"2001:DB8::1", "2001:db8::1", "2001:db8:0:0:0:0:0:1", "2001:0db8:0::0:0001"};
    static const char *const networks[] = {"10.0.0.0/8", "192.0.2.0/25", "2001:db8::/32", "0.0.0.0/0", "::/0"};
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 1000, 100);
    SocketSYN_IPState state;
    size_t n, m;
    int round;

    for (n = 0; n < 4; n++) {
        for (m = 0; m < 4; m++) {
            CHECK(SocketSYNProtect_blacklist_add(protect, forms[n], 0) == 1);
            CHECK(SocketSYNProtect_blacklist_contains(protect, forms[m]) == 1);
            CHECK(SocketSYNProtect_check(protect, forms[m], &state) == SYN_ACTION_BLOCK);
            CHECK(strcmp(state.ip, "2001:db8::1") == 0);
            SocketSYNProtect_blacklist_remove(protect, forms[m]);
            CHECK(SocketSYNProtect_blacklist_contains(protect, forms[n]) == 0);
            CHECK(SocketSYNProtect_whitelist_add(protect, forms[n]) == 1);
            CHECK(SocketSYNProtect_whitelist_contains(protect, forms[m]) == 1);
            SocketSYNProtect_whitelist_remove(protect, forms[m]);
            CHECK(SocketSYNProtect_whitelist_contains(protect, forms[n]) == 0);
        }
    }
    CHECK(SocketSYNProtect_blacklist_add(protect, "::ffff:192.0.2.7", 0) == 1);
    CHECK(SocketSYNProtect_check(protect, "192.0.2.7", &state) == SYN_ACTION_BLOCK);
    CHECK(strcmp(state.ip, "192.0.2.7") == 0);
    SocketSYNProtect_blacklist_remove(protect, "192.0.2.7");
    CHECK(SocketSYNProtect_check(protect, "::ffff:192.0.2.7", NULL) == SYN_ACTION_ALLOW);
    CHECK(SocketSYNProtect_blacklist_add(protect, "garbage", 0) == 0);
    for (n = 0; n < sizeof networks / sizeof networks[0]; n++)
        CHECK(SocketSYNProtect_whitelist_add_cidr(protect, networks[n]) == 1);
    CHECK(SocketSYNProtect_whitelist_contains(protect, "203.0.113.1") == 1);
    for (n = 0; n < sizeof networks / sizeof networks[0]; n++)
        SocketSYNProtect_whitelist_remove(protect, networks[n]);
    CHECK(SocketSYNProtect_whitelist_contains(protect, "203.0.113.1") == 0);
    CHECK(SocketSYNProtect_whitelist_contains(protect, "10.0.0.1") == 0);
    CHECK(SocketSYNProtect_whitelist_contains(protect, "2001:db8::1") == 0);
    SocketSYNProtect_free(&protect);

    /* Without recovery the score stays bad: the block ends and begins anew. */
    protect = quick(30, 0.0f);
    for (round = 0; round < 3; round++) {
        int calls = 0;
        while (calls < 10000 && SocketSYNProtect_check(protect, "192.0.2.7", &state) != SYN_ACTION_BLOCK)
            calls++;
        CHECK(calls < 10000 && state.block_until_ms > 0);
        pause_ms(60);
        CHECK(SocketSYNProtect_get_ip_state(protect, "192.0.2.7", &state) == 1 && state.block_until_ms == 0);
    }
    SocketSYNProtect_free(&protect);
}

/* A setting that would have no effect is refused; the delays are those of a pool. */
static void legacy_w28_no_setting_is_without_effect(void)
{
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 1000, 100);
    SocketSYNProtect_Config config;

    SocketSYNProtect_config_defaults(&config);
    config.min_success_ratio = 0.3f;
    SocketSYNProtect_configure(protect, &config);
    CHECK(strstr(sp_last_error(), "min_success_ratio is 0.3, must be 0") != NULL);
    SocketSYNProtect_free(&protect);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        round_count = atoi(argv[1]);
    layout();
    algorithm();
    lists();
    bounded_table();
    misuse();
    threads();
    legacy_w14_a_throttled_check_answers_at_once();
    legacy_w19_a_bad_setting_is_refused_and_the_next_call_goes_on();
    legacy_w24_a_unix_peer_is_let_in();
    legacy_w26_what_is_never_reported_blocks_nobody_for_ever();
    legacy_w27_lists_compare_addresses_and_a_block_is_armed_again();
    legacy_w28_no_setting_is_without_effect();
    return failures != 0;
}
