#ifndef SOCKETPOOL_SOCKETPOOL_H
#define SOCKETPOOL_SOCKETPOOL_H

/* Made by cbindgen of src/capi. Do not edit: SOCKETPOOL_BLESS=1 cargo test --all-features --test header */

#include <stddef.h>
#include <stdint.h>

// The kernel has taken it all.
#define SP_SENT_NOW 0

// Some of it waits in the pool until the peer takes it.
#define SP_SENT_QUEUED 1

// Nothing of it will be sent: so much waits already that it does not fit, or the connection has ended.
#define SP_SENT_REFUSED 2

// A connection has come: hang your own data on it.
#define SP_EVENT_OPENED 1

// Bytes may have come: receive them.
#define SP_EVENT_READABLE 2

// Output that waited has gone down to its low mark.
#define SP_EVENT_WRITABLE 3

// The peer has sent its last byte. Without an answer owed to it, the connection ends after this.
#define SP_EVENT_READ_CLOSED 4

// A connection has ended. Its handle answers until the next `sp_pool_next_event`, then never again.
#define SP_EVENT_CLOSED 5

// A drain is over: nobody is left and nobody will come.
#define SP_EVENT_DRAINED 6

// It takes newcomers.
#define SP_STATE_ACTIVE 0

// It lets everybody go.
#define SP_STATE_DRAINING 1

// Nobody is left.
#define SP_STATE_DRAINED 2

// It was done.
#define SP_OK 0

// A handle names nothing: it is NULL, stale, of another kind, or was made up.
#define SP_BAD_HANDLE -1

// Another argument is out of bounds; the text names it, its value and the bound.
#define SP_BAD_ARGUMENT -2

// Another thread is in the way: it turns the pool at this moment.
#define SP_BUSY -3

// The operating system refused; see `sp_last_errno`.
#define SP_SYSTEM -4

// There is no memory for it.
#define SP_NO_MEMORY -5

// It cannot be done in this state.
#define SP_BAD_STATE -6

// An arena. A pointer to it is a name, not an address.
typedef struct sp_arena sp_arena;

// A connection. A pointer to it is a name, not an address.
typedef struct sp_connection sp_connection;

// A pool. A pointer to it is a name, not an address.
typedef struct sp_pool sp_pool;

// A protection against connection floods. A pointer to it is a name, not an address.
typedef struct sp_protection sp_protection;

// One event. Fields that mean nothing for its type are NULL or 0.
typedef struct sp_event {
  // One of `SP_EVENT_…`.
  int kind;
  // Why a connection has ended, as `sp_reason_name` tells in a word.
  int reason;
  // Which connection.
  struct sp_connection *connection;
  // What the program has hung on it.
  void *userdata;
} sp_event;

// A protection against connection floods. Any thread may use it, and pools may share it.
typedef struct sp_protection *SocketSYNProtect_T;

// An arena; NULL stands for the whole process.
typedef struct sp_arena *Arena_T;

// Every setting of a protection. Begin with `SocketSYNProtect_config_defaults`. A value out of its bounds is refused, never
// corrected.
typedef struct SocketSYNProtect_Config {
  // In which attempts are counted, in milliseconds: 1 to 3,600,000, default 10,000.
  int window_duration_ms;
  // More than this of one address in a window, those left out that made good, block it: 1 to 10,000, default 50.
  int max_attempts_per_window;
  // Of all addresses together: 1 to 1,000,000, default 1,000. Beyond it everybody is blocked, which is held against
  // nobody.
  int max_global_per_second;
  // Must be 0: how many successes make up for a failure is what the rewards and penalties below say.
  float min_success_ratio;
  // For how long a pool does not read from a throttled newcomer, in milliseconds: 0 to 3,600,000, default 100.
  int throttle_delay_ms;
  // How long a block lasts, in milliseconds: from 1, default 60,000. Who floods on is blocked anew at its end.
  int block_duration_ms;
  // For how long a pool does not read from a challenged newcomer, in seconds: up to 3,600, not below the throttle
  // delay, default 5.
  int challenge_defer_sec;
  // Scores below this are throttled: 0 to 1, default 0.7.
  float score_throttle;
  // Scores below this are challenged: at most `score_throttle`, default 0.4.
  float score_challenge;
  // Scores below this are blocked: at most `score_challenge`, default 0.2.
  float score_block;
  // What a score gains each second, despite the name: 0 to 1,000, default 0.01.
  float score_decay_per_sec;
  // What an attempt costs: up to 1. Below 0, as by default: 0.6 / `max_attempts_per_window`, with which score and count
  // block at about the same attempt.
  float score_penalty_attempt;
  // What a failure costs: 0 to 1, default 0.05.
  float score_penalty_failure;
  // What a success earns, besides what its attempt has cost: 0 to 1, default 0.05.
  float score_reward_success;
  // Addresses that are remembered: 1 to 16,777,216, default 100,000.
  size_t max_tracked_ips;
  // Entries of the whitelist: up to 1,000,000, default 1,000. Those that are in it stay.
  size_t max_whitelist;
  // Entries of the blacklist: up to 1,000,000, default 10,000. Those that are in it stay.
  size_t max_blacklist;
  // Not looked at: the table is always seeded at random, so that nobody can choose addresses that collide.
  unsigned int hash_seed;
} SocketSYNProtect_Config;

// What to do with a newcomer: one of `SYN_ACTION_…`.
typedef int SocketSYN_Action;

// What a score is called: one of `SYN_REP_…`.
typedef int SocketSYN_Reputation;

// How an address stands. Times are milliseconds of CLOCK_MONOTONIC.
typedef struct SocketSYN_IPState {
  // The address in its one true form, with NUL.
  char ip[64];
  // When the window began in which attempts are counted now.
  int64_t window_start_ms;
  // Attempts in this window, those left out that made good.
  uint32_t attempts_current;
  // Attempts in the window before.
  uint32_t attempts_previous;
  // Connections that proved themselves, since the address is remembered.
  uint32_t successes;
  // Connections that did not.
  uint32_t failures;
  // 0 if there was none.
  int64_t last_attempt_ms;
  // Until when every attempt is refused; 0 if none is.
  int64_t block_until_ms;
  // What the score is called.
  SocketSYN_Reputation rep;
  // From 0, hostile, to 1, trusted.
  float score;
} SocketSYN_IPState;

// What a protection has seen. Each attempt is in one of allowed, throttled, challenged and blocked; those of whitelisted
// addresses are a part of the allowed, those of blacklisted ones a part of the blocked.
typedef struct SocketSYNProtect_Stats {
  // Checks, of the program and of pools.
  uint64_t total_attempts;
  // Let in.
  uint64_t total_allowed;
  // Let in, and to be delayed a little.
  uint64_t total_throttled;
  // Let in, and to be delayed for longer.
  uint64_t total_challenged;
  // Not let in.
  uint64_t total_blocked;
  // From addresses of the whitelist.
  uint64_t total_whitelisted;
  // From addresses of the blacklist.
  uint64_t total_blacklisted;
  // Addresses that are remembered now.
  uint64_t current_tracked_ips;
  // Addresses that are blocked now, those of the blacklist left out.
  uint64_t current_blocked_ips;
  // Addresses that were forgotten to make room for others.
  uint64_t lru_evictions;
  // Since it was made or reset.
  int64_t uptime_ms;
} SocketSYNProtect_Stats;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Receives what has arrived and stores how many bytes came: 0 if none, which is no error. They wait behind those of before:
// see `sp_connection_input`. `count` may be NULL.
int sp_connection_receive(struct sp_connection *connection,
                          size_t *count);

// Stores where the bytes are that have been received and not consumed, in one piece, and how many. They stay there until
// the next call with this connection, or the next `sp_pool_next_event` or `sp_pool_turn` of its pool, in whichever thread.
int sp_connection_input(struct sp_connection *connection,
                        const void **data,
                        size_t *length);

// Says that so many bytes from the front of the input are used up. More than there are is an error, and uses up none.
int sp_connection_consume(struct sp_connection *connection,
                          size_t length);

// Sends bytes and returns what became of them, one of `SP_SENT_…`.
int sp_connection_send(struct sp_connection *connection, const void *data, size_t length);

// Ends a connection now. Output that waits is dropped. `SP_EVENT_CLOSED` follows.
int sp_connection_close(struct sp_connection *connection);

// Reads nothing more of a connection and ends it as soon as what waits has been sent.
int sp_connection_close_when_done(struct sp_connection *connection);

// Hangs something of the program's on a connection.
int sp_connection_set_userdata(struct sp_connection *connection, void *userdata);

// What hangs on a connection; NULL if nothing does, or for a bad handle. Takes no lock.
void *sp_connection_userdata(struct sp_connection *connection);

// The descriptor of a connection, which stays the pool's; -1 for a bad handle. Takes no lock.
int sp_connection_fd(struct sp_connection *connection);

// Stores who is on the other side, as text that ends with NUL, such as `192.0.2.1:40000`, or `unix`. `size` is the room
// that is there for it, of which 64 bytes are always enough; less than it takes is an error.
int sp_connection_peer(struct sp_connection *connection,
                       char *text,
                       size_t size);

// Makes a pool of at most `max_connections` connections (1 to 16,777,215), each with at most `buffer_bytes` of input that
// waits for the program, and as much output that waits for the peer (64 bytes to 16 MiB).
int sp_pool_new(uint32_t max_connections,
                size_t buffer_bytes,
                struct sp_pool **pool);

// Closes every connection and listener of a pool and forgets it; sets the handle to NULL. NULL, or a pointer to NULL, is
// no error. If another thread is in a call with this pool, that call goes on and is the one that closes.
int sp_pool_free(struct sp_pool **pool);

// Accepts connections at `host` (an address; NULL for every one of this machine) and `port` (0 to 65535; with 0 the system
// chooses one), and stores the port through `bound_port` unless that is NULL.
int sp_pool_listen(struct sp_pool *pool,
                   const char *host,
                   int port,
                   int *bound_port);

// Waits for events, at most `timeout_ms` (-1: for as long as nothing happens; 0: not at all), and does what is due. Fetch
// the events with `sp_pool_next_event` afterwards. No lock is held during the wait: every other function may be called
// meanwhile, from any thread. A second thread that turns the same pool gets `SP_BUSY`.
int sp_pool_turn(struct sp_pool *pool,
                 int timeout_ms);

// Stores the next event and returns 1; returns 0 when this turn has nothing more to tell.
int sp_pool_next_event(struct sp_pool *pool, struct sp_event *event);

// The reason of an end in a word that never changes, such as "peer" or "idle"; "unknown" for a number that is no reason.
const char *sp_reason_name(int reason);

// Stores for how long the program may sleep before the next `sp_pool_turn`, in milliseconds, rounded up: -1 for as long as
// nothing happens. For a program that waits in a loop of its own, on `sp_pool_fd`.
int sp_pool_next_timeout_ms(struct sp_pool *pool,
                            int *timeout_ms);

// Stores a descriptor that is readable when the pool has something to do. It belongs to the pool.
int sp_pool_fd(struct sp_pool *pool, int *fd);

// Ends the wait of whoever turns the pool, or the next one. From any thread.
int sp_pool_wake(struct sp_pool *pool);

// Takes no newcomers any more and lets everybody go: the idle at once, the busy when they have finished, and after
// `deadline_ms` (-1: never) whoever is left. `SP_EVENT_DRAINED` follows once.
int sp_pool_drain(struct sp_pool *pool,
                  int64_t deadline_ms);

// Stores the state of a pool, one of `SP_STATE_…`.
int sp_pool_state(struct sp_pool *pool, int *state);

// Stores how many connections a pool has.
int sp_pool_count(struct sp_pool *pool, size_t *count);

// Makes a protection that lets at most `max_global_per_second` newcomers in a second (1 to 1,000,000), and blocks an
// address that makes more than `max_attempts_per_window` attempts (1 to 10,000) in ten seconds on which nobody makes good;
// `SocketSYNProtect_configure` changes this and everything else. It lives until it is freed or the arena is disposed of;
// a NULL arena means the process. NULL on error.
//
// Each address has a score between 0 and 1 and begins at 0.8; an attempt costs 0.6 / `max_attempts_per_window`, a failure
// costs 0.05, a success gives back what its attempt has cost and earns 0.05, and each second earns 0.01. Below 0.7 it is
// throttled, below 0.4 challenged, below 0.2 blocked for a minute, and anew if it goes on then.
//
// Addresses are compared as addresses, however they are written: `::ffff:192.0.2.7` is `192.0.2.7`. All of an IPv6
// /64 have one score; lists tell them apart. 100,000 addresses are remembered; then the one is forgotten that was not heard of
// for longest, of the eight that are next one that is not blocked if there is such, and never one with live connections
// in a pool that shares this protection.
SocketSYNProtect_T SocketSYNProtect_new(Arena_T arena,
                                        int max_global_per_second,
                                        int max_attempts_per_window);

// Ends a protection and sets the handle to NULL. NULL, or a pointer to NULL, is no error. Pools that share it go on as if
// they had none.
void SocketSYNProtect_free(SocketSYNProtect_T *protect);

// Stores the defaults.
void SocketSYNProtect_config_defaults(struct SocketSYNProtect_Config *config);

// Changes every setting; scores, lists and counts go on. If one is out of its bounds nothing changes, and the last error
// of the thread names the field, its value and the bound.
void SocketSYNProtect_configure(SocketSYNProtect_T protect,
                                const struct SocketSYNProtect_Config *config);

// Counts an attempt of an address and says what to do with it, one of `SYN_ACTION_…`; stores how the address stands then
// unless `state` is NULL. Never waits: to throttle or to challenge is to read from the newcomer later, as a pool does it.
//
// `SYN_ACTION_ALLOW` for a handle or a text that is wrong, and then nothing is counted or stored: what has no address,
// such as the peer of a Unix socket, has no score.
SocketSYN_Action SocketSYNProtect_check(SocketSYNProtect_T protect,
                                        const char *ip,
                                        struct SocketSYN_IPState *state);

// A connection of this address proved itself, for instance by a request that was good. Once for each connection: it takes
// back the attempt. Nothing happens for an address that is not remembered.
void SocketSYNProtect_report_success(SocketSYNProtect_T protect,
                                     const char *ip);

// A connection of this address ended without having proved itself. `error` may say why, and is not looked at. Nothing
// happens for an address that is not remembered.
void SocketSYNProtect_report_failure(SocketSYNProtect_T protect,
                                     const char *ip,
                                     int error);

// Adds an address that is always let in and never scored. Returns 1, also when it is there already; 0 for what is no
// address, or when the list is full.
int SocketSYNProtect_whitelist_add(SocketSYNProtect_T protect,
                                   const char *ip);

// Adds a network, such as `10.0.0.0/8`, or a single address. Bits of it beyond the prefix do not count. Returns as
// `SocketSYNProtect_whitelist_add`; a bad prefix is an error.
int SocketSYNProtect_whitelist_add_cidr(SocketSYNProtect_T protect,
                                        const char *cidr);

// Takes out an address, or a network that was added as this one. Nothing happens if it is not there.
void SocketSYNProtect_whitelist_remove(SocketSYNProtect_T protect,
                                       const char *ip);

// 1 if the address is in the whitelist, by itself or in a network; else 0.
int SocketSYNProtect_whitelist_contains(SocketSYNProtect_T protect, const char *ip);

// Empties the whitelist.
void SocketSYNProtect_whitelist_clear(SocketSYNProtect_T protect);

// Adds an address that is refused for so many milliseconds, 0 or less for ever, unless it is in the whitelist too; or a
// network, such as `192.0.2.0/24`. One that is there already gets the new time. Returns 1; 0 for what is no address, or when
// the list is full of what has not expired.
int SocketSYNProtect_blacklist_add(SocketSYNProtect_T protect,
                                   const char *ip,
                                   int duration_ms);

// Takes out an address, or a network that was added as this one. Nothing happens if it is not there.
void SocketSYNProtect_blacklist_remove(SocketSYNProtect_T protect,
                                       const char *ip);

// 1 if the address is in the blacklist at this moment, by itself or in a network; else 0.
int SocketSYNProtect_blacklist_contains(SocketSYNProtect_T protect, const char *ip);

// Empties the blacklist.
void SocketSYNProtect_blacklist_clear(SocketSYNProtect_T protect);

// Stores how an address stands and returns 1; returns 0, and stores nothing, if it is not remembered. What the lists say of
// an address is stored if it is in one.
int SocketSYNProtect_get_ip_state(SocketSYNProtect_T protect,
                                  const char *ip,
                                  struct SocketSYN_IPState *state);

// Stores what it has seen. Looks at every address for those that are blocked: some 0.1 ms for 100,000.
void SocketSYNProtect_stats(SocketSYNProtect_T protect,
                            struct SocketSYNProtect_Stats *stats);

// Sets the totals to 0. Evictions and the time since it was made go on.
void SocketSYNProtect_stats_reset(SocketSYNProtect_T protect);

// Takes out of the blacklist what has expired, and returns how many entries that were. Nothing depends on it: what has
// expired blocks nobody, and gives way when the list is full. Blocks end by themselves.
size_t SocketSYNProtect_cleanup(SocketSYNProtect_T protect);

// Forgets what is known of all addresses. Lists and totals stay.
void SocketSYNProtect_clear_all(SocketSYNProtect_T protect);

// Begins anew: addresses, lists and totals. Settings stay.
void SocketSYNProtect_reset(SocketSYNProtect_T protect);

// "ALLOW", "THROTTLE", "CHALLENGE" or "BLOCK"; "UNKNOWN" for a number that is no action.
const char *SocketSYNProtect_action_name(SocketSYN_Action action);

// "TRUSTED", "NEUTRAL", "SUSPECT" or "HOSTILE"; "UNKNOWN" for a number that is no reputation.
const char *SocketSYNProtect_reputation_name(SocketSYN_Reputation rep);

// How many calls of this process have failed for a handle that named nothing.
uint64_t sp_bad_handles(void);

// What the last call of this thread that failed says about it: the function, the argument and the reason. Never NULL;
// empty if none has failed. Valid until the next call of this thread that fails.
const char *sp_last_error(void);

// The errno that belongs to `sp_last_error`; 0 if no call of this thread has failed.
int sp_last_errno(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SOCKETPOOL_SOCKETPOOL_H */
