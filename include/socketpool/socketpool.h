#ifndef SOCKETPOOL_SOCKETPOOL_H
#define SOCKETPOOL_SOCKETPOOL_H

/* Made by cbindgen of src/capi. Do not edit: SOCKETPOOL_BLESS=1 cargo test --all-features --test header */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

// What is called sp_… returns SP_OK, or something from 0 on, or a negative SP_…; all else returns NULL, 0 or -1 when it fails,
// as its comment says. sp_last_error() then names the function, the argument and the reason; errno and sp_last_errno() are
// EINVAL (a wrong handle or argument), EBUSY, EPERM (not in this state), ENOMEM, EAGAIN (a newcomer is refused), or the system's.
// Times are milliseconds and sizes bytes unless a comment says otherwise. A handle is never followed as a pointer: a wrong one is
// an error, and nothing else happens. Any thread may call anything. More is in docs/C-API.md.

// The kernel has taken it all.
#define SP_SENT_NOW 0

// Some of it waits in the pool until the peer takes it.
#define SP_SENT_QUEUED 1

// Nothing of it will be sent: so much waits already that it does not fit, or the connection has ended. Nothing more is
// received then before `SP_EVENT_WRITABLE` tells that there is room.
#define SP_SENT_REFUSED 2

// A connection has come: hang your own data on it.
#define SP_EVENT_OPENED 1

// Bytes may have come: receive them.
#define SP_EVENT_READABLE 2

// Output that waited has gone down to its low mark.
#define SP_EVENT_WRITABLE 3

// The peer has sent its last byte. Without an answer owed to it, the connection ends after this.
#define SP_EVENT_READ_CLOSED 4

// A connection has ended. Its handle answers until the next `sp_pool_next_event`, or until the
// close callback that is told of it returns if that is later, then never again. Of those that the program itself
// takes out (`SocketPool_remove`, `Socket_free`), and of those that a freed pool had, only the close callback is told.
#define SP_EVENT_CLOSED 5

// A drain is over: nobody is left and nobody will come.
#define SP_EVENT_DRAINED 6

// They wait in the backlog for a place, in which `Socket_accept` leaves them.
#define SP_WHEN_FULL_WAIT 0

// They are turned away: the pool's own loop accepts and closes them, and `SocketPool_add` refuses them.
#define SP_WHEN_FULL_REFUSE 1

// As a timeout: the default of the poll.
#define SOCKET_POLL_TIMEOUT_USE_DEFAULT -2

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

// The pool turned a newcomer away; the text says why.
#define SP_REFUSED -7

// A TRY that has been entered: see `core/Except.h`.
typedef struct Except_Frame Except_Frame;

// An arena. A pointer to it is a name, not an address.
typedef struct sp_arena sp_arena;

// A buffer. A pointer to it is a name, not an address.
typedef struct sp_buffer sp_buffer;

// A connection. A pointer to it is a name, not an address.
typedef struct sp_connection sp_connection;

// How a pool was when it was asked.
typedef struct sp_health sp_health;

// A level-triggered set of descriptors. A pointer to it is a name, not an address.
typedef struct sp_poll sp_poll;

// A pool. A pointer to it is a name, not an address.
typedef struct sp_pool sp_pool;

// A protection against connection floods. A pointer to it is a name, not an address.
typedef struct sp_protection sp_protection;

// A socket. A pointer to it is a name, not an address.
typedef struct sp_socket sp_socket;

// The name of an arena.
typedef struct sp_arena *Arena_T;

// The name of a buffer.
typedef struct sp_buffer *SocketBuf_T;

// The name of a socket.
typedef struct sp_socket *Socket_T;

// A connection, as the guide calls it.
typedef struct sp_connection *Connection_T;

// How a pool is. It belongs to the pool, is NULL for a bad handle, and shows what the last `SocketPool_health` found.
typedef struct sp_health *SocketPoolHealth_T;

// A pool, as the guide calls it.
typedef struct sp_pool *SocketPool_T;

// What has happened in a pool since it was made, and how it is now.
typedef struct SocketPool_Stats {
  // Connections that were added or accepted.
  uint64_t total_added;
  // Connections that have ended.
  uint64_t total_removed;
  // Newcomers that were turned away.
  uint64_t total_refused;
  // Operations completed.
  uint64_t total_operations;
  // Operations denied by a rate.
  uint64_t total_denied;
  // Connections ended for being idle.
  uint64_t total_idle_cleanups;
  // Bytes received.
  uint64_t bytes_received;
  // Bytes sent.
  uint64_t bytes_sent;
  // Connections that are busy now.
  size_t current_active;
  // Connections that are not.
  size_t current_idle;
  // Connections there may be.
  size_t max_connections;
} SocketPool_Stats;

// A protection against connection floods. Any thread may use it, and pools may share it.
typedef struct sp_protection *SocketSYNProtect_T;

// What is called with every connection that ends: which, what hangs on it, why, and what was given with the function.
// NULL: nothing is called.
typedef void (*SocketPool_CloseCallback)(struct sp_connection*, void*, int, void*);

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

// Called with a connection and what was given with the function.
typedef void (*SocketPool_Visitor)(Connection_T, void*);

// The same, and says with anything but 0 that it is the one.
typedef int (*SocketPool_Predicate)(Connection_T, void*);

// The same, as the guide calls it.
typedef struct sp_poll *SocketPoll_T;

// What has become ready.
typedef struct SocketEvent_T {
  // The socket, also if it was added by its descriptor and is a pool's connection; NULL for any other descriptor.
  Socket_T socket;
  // What was given with it.
  void *data;
  // A sum of POLL_READ (also at the end of the stream), POLL_WRITE, POLL_ERROR and POLL_HANGUP.
  unsigned int events;
} SocketEvent_T;

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

// An exception. Programs make their own: `const Except_T Full = {&Full, "full"};`.
typedef struct Except_T {
  // Itself, or the one as which it is to be caught.
  const struct Except_T *type;
  // What is printed when nobody catches it.
  const char *reason;
} Except_T;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Something with a socket has failed.
extern const struct Except_T Socket_Failed;

// The other side has closed.
extern const struct Except_T Socket_Closed;

// Something with a pool has failed.
extern const struct Except_T SocketPool_Failed;

// Something with a buffer has failed.
extern const struct Except_T SocketBuf_Failed;

// Something with a poll has failed.
extern const struct Except_T SocketPoll_Failed;

// Something with the protection against connection floods has failed.
extern const struct Except_T SocketSYNProtect_Failed;

// Something with an arena has failed.
extern const struct Except_T Arena_Failed;

// An assertion does not hold.
extern const struct Except_T Assert_Failed;

// Makes an arena: whatever is made in it is freed with it. NULL if there is no memory for it.
Arena_T Arena_new(void);

// Frees an arena and what was made in it and still lives, the newest first, and sets the handle to NULL. What it freed need
// not be freed any more; doing so sets those handles to NULL and nothing else. NULL, or a pointer to NULL, is no error.
void Arena_dispose(Arena_T *arena);

// Makes a buffer in which up to `capacity` bytes wait (64 to 16,777,216). It lives until it is released or `arena` is
// disposed of; NULL is the process. NULL if it fails.
SocketBuf_T SocketBuf_new(Arena_T arena,
                          size_t capacity);

// Frees a buffer and sets the handle to NULL. The buffer of a connection stays the connection's, and only the handle is
// set. NULL, or a pointer to NULL, is no error.
void SocketBuf_release(SocketBuf_T *buffer);

// Copies bytes behind those that wait, and answers how many had room; 0 if it fails. They are not to lie in the buffer
// itself.
size_t SocketBuf_write(SocketBuf_T buffer,
                       const void *data,
                       size_t length);

// Takes up to `length` bytes out, and answers how many; 0 if none wait, or if it fails.
size_t SocketBuf_read(SocketBuf_T buffer, void *data, size_t length);

// As `SocketBuf_read`, but what was read goes on waiting.
size_t SocketBuf_peek(SocketBuf_T buffer, void *data, size_t length);

// Forgets so many bytes from the front. 0, or -1: more than wait forgets none.
int SocketBuf_consume(SocketBuf_T buffer, size_t length);

// Makes bytes wait that were written to `SocketBuf_writeptr`. 0, or -1: more than there is room for adds none.
int SocketBuf_produce(SocketBuf_T buffer,
                      size_t length);

// As `SocketBuf_produce`.
int SocketBuf_written(SocketBuf_T buffer, size_t length);

// How many bytes wait; 0 for a bad handle.
size_t SocketBuf_readable(SocketBuf_T buffer);

// As `SocketBuf_readable`.
size_t SocketBuf_available(SocketBuf_T buffer);

// How many more bytes have room; 0 for a bad handle.
size_t SocketBuf_writeable(SocketBuf_T buffer);

// As `SocketBuf_writeable`.
size_t SocketBuf_space(SocketBuf_T buffer);

// Whether nothing waits, 1 or 0; 1 for a bad handle.
int SocketBuf_empty(SocketBuf_T buffer);

// Whether nothing more has room, 1 or 0; 0 for a bad handle.
int SocketBuf_full(SocketBuf_T buffer);

// Forgets what waits. 0, or -1.
int SocketBuf_clear(SocketBuf_T buffer);

// Forgets what waits, and overwrites it with zeros, and what `SocketBuf_writeptr` shows. Memory of bytes that were consumed
// before is the pool's again if it was a connection's buffer: call this before `SocketBuf_consume`. 0, or -1.
int SocketBuf_secureclear(SocketBuf_T buffer);

// Where the bytes are that wait: all of them in one piece, `SocketBuf_readable` of them. NULL if none do, or if it fails.
// Valid until the next call with the buffer, or the next wait.
const void *SocketBuf_readptr(SocketBuf_T buffer);

// Where bytes may be written that are then made to wait by `SocketBuf_produce`: all the free space in one piece,
// `SocketBuf_writeable` bytes. NULL if there is none, or if it fails. Valid until the next call with the buffer or the next
// wait; of an input also only until the peer's last byte was received.
void *SocketBuf_writeptr(SocketBuf_T buffer);

// Makes room for `length` more bytes, in a larger buffer if need be: at least twice as large, and 16 MiB at most. 0, or -1;
// then nothing has changed.
int SocketBuf_reserve(SocketBuf_T buffer,
                      size_t length);

// As `SocketBuf_reserve`, but answers 1 if there is room, else 0.
int SocketBuf_ensure(SocketBuf_T buffer, size_t length);

// Brings what waits into one piece, which it always is: there is nothing to do. 0, or -1.
int SocketBuf_compact(SocketBuf_T buffer);

// How many bytes wait before the first place where these do; 0 for none. -1 if they do not, or if it fails.
ssize_t SocketBuf_find(SocketBuf_T buffer,
                       const void *needle,
                       size_t length);

// Takes the next line out as text that ends with NUL, without the newline and a carriage return before it, and answers its
// length. -1 with the errno EAGAIN if no whole line waits; -1 with ENOBUFS if it does not fit into `size` bytes, and it goes
// on waiting.
ssize_t SocketBuf_readline(SocketBuf_T buffer,
                           char *line,
                           size_t size);

// Takes bytes out into `count` pieces, one after the other, and answers how many; -1 if it fails.
ssize_t SocketBuf_readv(SocketBuf_T buffer, const struct iovec *pieces, int count);

// Copies the bytes of `count` pieces behind those that wait, and answers how many had room; -1 if it fails.
ssize_t SocketBuf_writev(SocketBuf_T buffer,
                         const struct iovec *pieces,
                         int count);

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
//
// They answer a message of which some was consumed before, or is before the next `sp_pool_next_event` or `sp_pool_turn`. To
// input that stays, what is sent is no answer: the connection stays busy, and a drain waits for it.
int sp_connection_send(struct sp_connection *connection,
                       const void *data,
                       size_t length);

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

// Where the calling thread keeps its innermost TRY, or NULL if it is in none. For `core/Except.h`.
struct Except_Frame **sp_except_top(void);

// The socket of a connection: the one that was added. It stays the pool's. NULL for a bad handle.
Socket_T Connection_socket(Connection_T connection);

// The buffer for what was received. It lives as long as the connection. NULL for a bad handle.
SocketBuf_T Connection_inbuf(Connection_T connection);

// The buffer for what is to be sent. It lives as long as the connection. NULL for a bad handle.
SocketBuf_T Connection_outbuf(Connection_T connection);

// The descriptor of a connection, which stays the pool's; -1 for a bad handle. Takes no lock.
int Connection_fd(Connection_T connection);

// What the program has hung on a connection; NULL if nothing, or for a bad handle. Takes no lock.
void *Connection_userdata(Connection_T connection);

// Hangs something of the program's on a connection. Returns 0; -1 for a bad handle.
int Connection_set_userdata(Connection_T connection, void *userdata);

// The same as `Connection_userdata`.
void *Connection_data(Connection_T connection);

// The same as `Connection_set_userdata`.
int Connection_setdata(Connection_T connection, void *userdata);

// When a connection was added, in milliseconds as `Socket_get_monotonic_ms` counts them; 0 for a bad handle. Takes no lock.
uint64_t Connection_created_at(Connection_T connection);

// When bytes last moved on a connection, or it was touched; as `Connection_created_at`. Takes no lock.
uint64_t Connection_last_active(Connection_T connection);

// 1 while a handle names a connection, the time included between an end that the pool has decided and its removal; else 0,
// which is no error. Takes no lock.
int Connection_isactive(Connection_T connection);

// Says that a connection is in use, and that the operation is done that was open on it. Returns 0; -1 for a bad handle.
int Connection_touch(Connection_T connection);

// Writes who is on the other side, as text that ends with NUL, such as `192.0.2.1:40000`, or `unix`; 64 bytes are always
// enough. Returns 0; -1 for a bad handle or too little room.
int Connection_peer(Connection_T connection,
                    char *text,
                    size_t size);

// Looks how a pool is. Costs the same however many connections there are.
SocketPoolHealth_T SocketPool_health(SocketPool_T pool);

// Connections that are busy: with unread input, unsent output, or an operation that is open. 0 for a bad handle.
int SocketPoolHealth_active_count(SocketPoolHealth_T health);

// Connections that are not busy. 0 for a bad handle.
int SocketPoolHealth_idle_count(SocketPoolHealth_T health);

// All connections: the busy and the idle ones. 0 for a bad handle.
int SocketPoolHealth_total_count(SocketPoolHealth_T health);

// Operations completed a second, over the last ten seconds. 0 for a bad handle.
double SocketPoolHealth_ops_rate(SocketPoolHealth_T health);

// Connections ended by an error or a stall a second, over the last ten seconds. 0 for a bad handle.
double SocketPoolHealth_error_rate(SocketPoolHealth_T health);

// Half of the operations of the last minute took no longer, in microseconds. 0 without operations, and for a bad handle.
uint64_t SocketPoolHealth_latency_p50(SocketPoolHealth_T health);

// 90 in a hundred operations took no longer; as `SocketPoolHealth_latency_p50`.
uint64_t SocketPoolHealth_latency_p90(SocketPoolHealth_T health);

// 99 in a hundred operations took no longer; as `SocketPoolHealth_latency_p50`.
uint64_t SocketPoolHealth_latency_p99(SocketPoolHealth_T health);

// Bytes of memory that the pool has taken, connections and buffers. 0 for a bad handle.
size_t SocketPoolHealth_memory_bytes(SocketPoolHealth_T health);

// Stores what has happened in a pool and how it is. Costs the same however many connections there are. 0 is returned, or
// -1 for a bad argument.
int SocketPool_get_stats(SocketPool_T pool,
                         struct SocketPool_Stats *stats);

// Makes a pool of at most `max_connections` connections (1 to 16,777,216), each with at most `buffer_bytes` (64 bytes to
// 16 MiB) of input and of output that wait in its buffers; memory is taken only while bytes wait. It lives until
// `SocketPool_free` or until its arena is disposed of; a NULL arena stands for the process. NULL on failure.
SocketPool_T SocketPool_new(Arena_T arena,
                            size_t max_connections,
                            size_t buffer_bytes);

// Closes every connection of a pool, forgets the pool, and tells the close callback of each connection, in which the pool
// is gone already; sets the handle to NULL. NULL, or a pointer to NULL, is no error. May be called in a callback of that
// pool.
void SocketPool_free(SocketPool_T *pool);

// Adds a connected socket, subject to every limit of the pool but its rate of accepts, and makes it non-blocking. The
// pool owns it from now on: its end closes it. NULL if it is refused (errno EAGAIN), because the pool is full or drains or for
// whatever else `Socket_GetLastError` says, or if it cannot be added; then the socket is the caller's as before.
Connection_T SocketPool_add(SocketPool_T pool,
                            Socket_T socket);

// Removes a connection of this pool: tells the close callback, closes the socket and frees the buffers. Another thread that is
// telling ends just then may tell this one too, and this does not wait for it. Among the events of the pool's own loop its end
// is only if it was decided before: `sp_connection_close` ends one with an event. Returns 0; -1 if there is no such
// connection any more, and nothing else happens.
int sp_pool_remove_connection(SocketPool_T pool,
                              Connection_T connection);

// Removes the connection that a socket is, as `sp_pool_remove_connection` does.
int sp_pool_remove_socket(SocketPool_T pool, Socket_T socket);

// The connection that a socket is in this pool; NULL if it is in none, or in another.
Connection_T SocketPool_get(SocketPool_T pool, Socket_T socket);

// How long a connection may be idle, in milliseconds; 0: for ever. 0 is returned, or -1 for a bad argument.
int SocketPool_set_idle_timeout(SocketPool_T pool,
                                int64_t timeout_ms);

// How long a connection may be idle, in milliseconds; 0 if for ever, and for a bad handle.
uint64_t SocketPool_get_idle_timeout(SocketPool_T pool);

// How long a connection may live, in milliseconds, give or take 10 %; 0: for ever. One that is busy then may finish what
// it does. 0 is returned, or -1 for a bad argument.
int SocketPool_set_max_lifetime(SocketPool_T pool,
                                int64_t lifetime_ms);

// How long a connection may take for its first message, in milliseconds (30,000 unless set); 0: for ever. Bytes that
// dribble in do not put it off. 0 is returned, or -1 for a bad argument.
int SocketPool_set_first_message_timeout(SocketPool_T pool,
                                         int64_t timeout_ms);

// How long output may wait in a connection's buffer without any of it being sent, in milliseconds (30,000 unless set); 0:
// for ever. 0 is returned, or -1 for a bad argument.
int SocketPool_set_write_stall_timeout(SocketPool_T pool,
                                       int64_t timeout_ms);

// So many operations in a window of so many milliseconds (from 1 on), for each connection: all of them at once, and then one
// whenever its share of the window has passed; `operations` 0: as many as there are. See `SocketPool_check_rate`. 0 is
// returned, or -1 for a bad argument.
int SocketPool_setconnrate(SocketPool_T pool,
                           int operations,
                           int window_ms);

// The same for all connections of a pool together.
int SocketPool_set_global_rate(SocketPool_T pool, int operations, int window_ms);

// Takes one operation from the rate of a connection and from that of the pool, and returns 1; if one of them has none left
// it takes from neither and returns 0, which is no error. For a bad handle 0, with an error.
int SocketPool_check_rate(SocketPool_T pool,
                          Connection_T connection);

// At most so many connections of one address at a time; 0: as many as come. Those who came while there was no limit by address
// are not counted. 0 is returned, or -1 for a bad argument.
int SocketPool_setmaxperip(SocketPool_T pool,
                           int most);

// Whether a full pool closes a connection that is not at work to let a newcomer in, those first that have not proven
// themselves: 1, as it is unless set; 0: nobody goes for a newcomer. 0 is returned, or -1 for a bad argument.
int SocketPool_set_eviction(SocketPool_T pool,
                            int on);

// What happens to newcomers when a pool is full and nobody goes for them, one of `SP_WHEN_FULL_…`; they wait unless this is
// set. 0 is returned, or -1 for a bad argument.
int SocketPool_set_when_full(SocketPool_T pool,
                             int how);

// Has a protection against connection floods decide about newcomers, in place of the pool's own; NULL takes it away. It stays
// the program's, and several pools may have the same one; once it is freed it counts as none. 0 is returned, or -1.
int SocketPool_set_syn_protection(SocketPool_T pool,
                                  SocketSYNProtect_T protect);

// At most so many connections from now on (1 to 16,777,216). Nobody is closed for it: who is too many leaves in his own
// time. 0 is returned, or -1 for a bad argument.
int SocketPool_resize(SocketPool_T pool,
                      size_t max_connections);

// At most so many bytes wait in a buffer from now on (64 bytes to 16 MiB). Nothing is lost that waits already. 0 is
// returned, or -1 for a bad argument.
int SocketPool_set_bufsize(SocketPool_T pool,
                           size_t buffer_bytes);

// Makes the buffers now that so many in a hundred connections (0 to 100) will need, as far as the pool keeps free ones, so
// that their first bytes cost no allocation. 0 is returned, or -1 for a bad argument, or without memory.
int SocketPool_prewarm(SocketPool_T pool,
                       int percent);

// Takes no newcomers any more and lets everybody go: who is idle now, the others as soon as nothing is owed to them. There
// is no deadline: see `SocketPool_force_close_all`. Does nothing in a pool that drains already. 0 is returned, or -1.
int SocketPool_drain(SocketPool_T pool);

// Ends every connection at once, whatever it is doing, and takes no newcomers any more. Those that the pool's own loop drives
// end with the events that tell of it, so go on until `SP_EVENT_DRAINED`. 0 is returned, or -1.
int SocketPool_force_close_all(SocketPool_T pool);

// 1 when a drain is over and nobody is left, else 0; 0 for a bad handle.
int SocketPool_is_drained(SocketPool_T pool);

// The state of a pool: 0 active, 1 draining, 2 drained; -1 for a bad handle.
int SocketPool_state(SocketPool_T pool);

// How many connections a pool has; 0 for a bad handle.
size_t SocketPool_count(SocketPool_T pool);

// Does what is due in a pool: ends those whose time is over, and goes on with a drain. Only for a program that waits
// neither in `SocketPoll_wait` nor in the pool's own loop. Returns for how many milliseconds it may wait before it calls
// this again: -1 for as long as it likes, and for a bad handle.
int SocketPool_tick(SocketPool_T pool);

// Has `callback(connection, userdata, reason, argument)` called once for every connection that ends from now on, however
// it ends; `sp_reason_name` tells the reason in a word. What hangs on the connection answers until it returns, whatever
// it calls, which may be anything, this pool's `SocketPool_free` included. NULL: nothing is called any more. 0 is
// returned, or -1.
int SocketPool_set_close_callback(SocketPool_T pool,
                                  SocketPool_CloseCallback callback,
                                  void *argument);

// Accepts connections at `host` (an address; NULL for every one of this machine) and `port` (0 to 65535; with 0 the system
// chooses one) and returns the port; -1 on failure. From now on the program drives the pool by `SocketPool_turn`.
int SocketPool_listen(SocketPool_T pool,
                      const char *host,
                      int port);

// Waits for events, at most `timeout_ms` (-1: for as long as nothing happens; 0: not at all), and does what is due; fetch
// the events with `SocketPool_next_event` afterwards. Nothing is locked during the wait. 0 is returned; -1 on failure, with
// errno EBUSY while another thread turns the pool.
int SocketPool_turn(SocketPool_T pool,
                    int timeout_ms);

// Stores the next event and returns 1; 0 when this turn has nothing more to tell; -1 on failure.
int SocketPool_next_event(SocketPool_T pool, struct sp_event *event);

// A descriptor that is readable when the pool has something to do; it belongs to the pool. -1 on failure.
int SocketPool_pollfd(SocketPool_T pool);

// For how many milliseconds the program may sleep before the next turn: -1 for as long as nothing happens; 0 on failure.
int SocketPool_next_timeout_ms(SocketPool_T pool);

// Ends the wait of whoever turns the pool, or the next one. From any thread, and from a signal handler if the pool is not
// freed meanwhile. 0 is returned, or -1, which leaves no text.
int SocketPool_wake(SocketPool_T pool);

// What the last call of this thread that failed says about it: never NULL, and valid until the next one that fails.
const char *SocketPool_last_error(void);

// Receives what has arrived on a connection that the pool's loop drives: how many bytes came; -1 on failure.
ptrdiff_t Connection_receive(Connection_T connection);

// Where the bytes are that have been received and not consumed, in one piece, and through `length` how many; NULL on
// failure. They stay there until the next call with this connection, or the next event or turn of its pool.
const void *Connection_input(Connection_T connection,
                             size_t *length);

// Says that so many bytes from the front of the input are used up. 0 is returned; -1 if there are not so many.
int Connection_consume(Connection_T connection,
                       size_t length);

// Sends bytes: 0 if the kernel has taken them, 1 if some of them wait in the pool, 2 if they do not fit behind what waits
// and nothing of them will be sent; -1 on failure.
int Connection_send(Connection_T connection,
                    const void *data,
                    size_t length);

// Calls `function(connection, argument)` with every connection of a pool, in no order. It may call anything, this pool too:
// who is removed meanwhile is left out, who is added may be, and when the pool is freed the rest is. With a bad handle or a NULL
// function nothing is called, and `Socket_GetLastError` says why.
void SocketPool_foreach(SocketPool_T pool,
                        SocketPool_Visitor function,
                        void *argument);

// The first connection for which `predicate(connection, argument)` is not 0; NULL if there is none, or for a bad handle.
Connection_T SocketPool_find(SocketPool_T pool,
                             SocketPool_Predicate predicate,
                             void *argument);

// Stores the connections for which `predicate(connection, argument)` is not 0, at most `most` of them, and returns how
// many; 0 for a bad argument.
size_t SocketPool_filter(SocketPool_T pool,
                         SocketPool_Predicate predicate,
                         void *argument,
                         Connection_T *found,
                         size_t most);

// What the last call of this thread that failed says about it: the function, the argument and the reason. Never NULL; empty
// if none has failed. Valid until the next call of this thread that fails.
const char *Socket_GetLastError(void);

// The errno that belongs to `Socket_GetLastError`; 0 if no call of this thread has failed.
int Socket_geterrno(void);

// What an errno means, in words. Never NULL. Valid until the thread has asked for seven more texts.
const char *Socket_safe_strerror(int errnum);

// The machine's monotonic clock (CLOCK_MONOTONIC), in milliseconds.
uint64_t Socket_get_monotonic_ms(void);

// Makes a write to a socket whose peer is gone an error and not the end of the process, for the whole process. What this
// library sends never raises SIGPIPE, with or without. 0, or -1.
int Socket_ignore_sigpipe(void);

// Makes a poll whose waits tell of at most `max_events` descriptors at a time (1 to 1,048,576); any number may be
// registered. NULL on failure. Every function of a poll may be called by any thread at any time.
SocketPoll_T SocketPoll_new(int max_events);

// Frees a poll and sets the handle to NULL; the descriptors in it stay open. Who waits in it in another thread returns -1
// at once. NULL, or a pointer to NULL, is no error.
void SocketPoll_free(SocketPoll_T *poll);

// Registers a descriptor, whose readiness for `events` (a sum of POLL_READ and POLL_WRITE, or 0) the waits tell from now
// on together with `data`; POLL_ERROR and POLL_HANGUP are told in any case. The descriptor stays the caller's. If it is a
// pool's connection, the waits do what is due in that pool. 0 is returned, or -1, with errno EEXIST if it is registered
// already.
int sp_poll_add_fd(SocketPoll_T poll,
                   int fd,
                   unsigned int events,
                   void *data);

// Registers a socket as `sp_poll_add_fd` does, and makes it non-blocking.
int sp_poll_add_socket(SocketPoll_T poll, Socket_T socket, unsigned int events, void *data);

// Changes for which events (as in `SocketPoll_add`; 0 is allowed) a registered descriptor is told, and with which `data`.
// Costs no system call before the next wait, and then only if something has changed. 0 is returned, or -1, with errno
// ENOENT if it is not registered.
int sp_poll_mod_fd(SocketPoll_T poll,
                   int fd,
                   unsigned int events,
                   void *data);

// The same for a registered socket.
int sp_poll_mod_socket(SocketPoll_T poll, Socket_T socket, unsigned int events, void *data);

// Takes a descriptor out of the poll; call it before the descriptor is closed. What the last wait of this thread has told
// of it becomes an event without a reason (`events` 0). What a pool closes is taken out by itself. 0 is returned, or -1,
// with errno ENOENT if it is not registered.
int sp_poll_del_fd(SocketPoll_T poll,
                   int fd);

// The same for a socket.
int sp_poll_del_socket(SocketPoll_T poll, Socket_T socket);

// Waits until something is ready, at most `timeout_ms` (-1: for as long as nothing happens; 0: not at all;
// SOCKET_POLL_TIMEOUT_USE_DEFAULT: for as long as the poll's default says), and does what is due in every pool of which a
// connection is registered, close callbacks included; they may call anything, free this poll, throw or `longjmp`.
//
// Stores in `*events` an array, which belongs to the poll and is good until its next wait or its end, and returns how many
// events are in it: 0 when the time is over, after a signal, and possibly before the time is over when connections of a
// pool are registered, since something may have been due in it. A descriptor is told again by every wait, until it is not
// ready any more. -1 on failure, with errno EBUSY while another thread waits in the same poll.
int SocketPoll_wait(SocketPoll_T poll,
                    struct SocketEvent_T **events,
                    int timeout_ms);

// For how many milliseconds SOCKET_POLL_TIMEOUT_USE_DEFAULT waits (1,000 unless set); 0 for a bad handle.
int SocketPoll_getdefaulttimeout(SocketPoll_T poll);

// For how many milliseconds SOCKET_POLL_TIMEOUT_USE_DEFAULT waits from now on; -1: for as long as nothing happens. 0 is
// returned, or -1 for a bad argument.
int SocketPoll_setdefaulttimeout(SocketPoll_T poll,
                                 int timeout_ms);

// How many descriptors are registered; 0 for a bad handle.
int SocketPoll_getregisteredcount(SocketPoll_T poll);

// What a poll waits with: "epoll". It is never freed; NULL for a bad handle.
const char *SocketPoll_get_backend_name(SocketPoll_T poll);

// Makes a pool of at most `max_connections` connections (1 to 16,777,216), each with at most `buffer_bytes` of input that
// waits for the program, and as much output that waits for the peer (64 bytes to 16 MiB).
int sp_pool_new(uint32_t max_connections,
                size_t buffer_bytes,
                struct sp_pool **pool);

// Closes every connection and listener of a pool and forgets it; sets the handle to NULL. NULL, or a pointer to NULL, is
// no error. Whoever is still open is told to the close callback. If another thread is in a call with this pool, that call
// goes on and is the last to let go of it.
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

// Ends the wait of whoever turns the pool, or the next one. From any thread, and from a signal handler, if the pool is not
// freed meanwhile. A failure leaves no text and errno as it was.
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

// Makes a socket as socket(2) does, blocking and close-on-exec. NULL if that fails.
Socket_T Socket_new(int domain, int type, int protocol);

// Takes the descriptor of a socket over and makes it non-blocking: from now on it is closed with `Socket_free` and not by
// the program. NULL if it is none; then it stays the program's.
Socket_T Socket_new_from_fd(int fd);

// Makes two sockets that are connected with each other, blocking and close-on-exec, of a type such as SOCK_STREAM. 0, or -1
// with NULL stored in both.
int SocketPair_new(int type,
                   Socket_T *first,
                   Socket_T *second);

// Closes a socket and sets the handle to NULL; takes it out of its pool first, if it is in one. A call with it in another
// thread is finished before the descriptor is closed. NULL, or a pointer to NULL, is no error.
void Socket_free(Socket_T *socket);

// Gives a socket its own address. `host` is an address of this machine or a name of one; NULL, "" and "0.0.0.0" are all of
// them. With port 0 the system chooses one: see `Socket_getlocalport`. 0, or -1.
int Socket_bind(Socket_T socket,
                const char *host,
                int port);

// Waits for connections. `backlog` (from 1 on; the system has a bound of its own) is how many may wait for
// `Socket_accept`. 0, or -1.
int Socket_listen(Socket_T socket,
                  int backlog);

// Takes the next connection: a new socket, non-blocking and close-on-exec. NULL with the errno EAGAIN when nobody waits,
// unless the listening socket is blocking, which waits until somebody comes; NULL with another errno when it fails.
//
// Where a `SocketPoll` watches the listening socket, and the one pool that gets its connections has refused one for being
// full, nobody is taken while there is no place in it: whoever comes waits, and is told of when there is one.
Socket_T Socket_accept(Socket_T socket);

// Connects a socket with an address or a name, of which each address is tried; asking for a name takes time. 0, or -1: with
// the errno EINPROGRESS a non-blocking socket has begun to, and is writable when that is decided.
int Socket_connect(Socket_T socket,
                   const char *host,
                   int port);

// Receives up to `length` bytes and answers how many; `flags` as recv(2) has them. 0 only when the other side has sent its
// last byte (or an empty datagram). -1 when it fails, with the errno EAGAIN when nothing has arrived, and ENOBUFS when
// `length` is 0.
ssize_t Socket_recv(Socket_T socket,
                    void *buffer,
                    size_t length,
                    int flags);

// Sends what goes through now and answers how many bytes that was, 0 for none; `flags` as send(2) has them. -1 only when it
// fails. Never raises SIGPIPE.
ssize_t Socket_send(Socket_T socket,
                    const void *data,
                    size_t length,
                    int flags);

// Ends one direction or both, as shutdown(2) does: `how` is SHUT_RD, SHUT_WR or SHUT_RDWR. 0, or -1.
int Socket_shutdown(Socket_T socket,
                    int how);

// The descriptor of a socket, which stays the library's; -1 for a bad handle.
int Socket_fd(Socket_T socket);

// Whether a socket has another side, 1 or 0; 0 for a bad handle.
int Socket_isconnected(Socket_T socket);

// Whether a socket has a port of its own, 1 or 0; 0 for a bad handle.
int Socket_isbound(Socket_T socket);

// Whether a socket waits for connections, 1 or 0; 0 for a bad handle.
int Socket_islistening(Socket_T socket);

// The address of the other side as text, such as "192.0.2.1"; "(unknown)" if it has none, and for a bad handle. Never NULL.
// Valid until the thread has asked for seven more texts.
const char *Socket_getpeeraddr(Socket_T socket);

// The socket's own address as text; else as `Socket_getpeeraddr`.
const char *Socket_getlocaladdr(Socket_T socket);

// The port of the other side; 0 if it has none, and for a bad handle.
int Socket_getpeerport(Socket_T socket);

// The socket's own port; 0 if it has none, and for a bad handle.
int Socket_getlocalport(Socket_T socket);

// Makes calls with a socket return at once, whether or not there is something to do. 0, or -1.
int Socket_setnonblocking(Socket_T socket);

// Lets `Socket_bind` take an address on which connections of before are still ending (SO_REUSEADDR). 0, or -1.
int Socket_setreuseaddr(Socket_T socket);

// Whether small messages go out at once and not with the next (TCP_NODELAY): 0 for no, else yes. 0, or -1.
int Socket_setnodelay(Socket_T socket,
                      int nodelay);

// Asks a silent other side whether it is there: after `idle` seconds (1 to 32,767), every `interval` seconds (1 to 32,767),
// and gives it up after `count` (1 to 127) questions without an answer. 0, or -1.
int Socket_setkeepalive(Socket_T socket,
                        int idle,
                        int interval,
                        int count);

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
