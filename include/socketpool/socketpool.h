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

typedef struct sp_arena sp_arena;

typedef struct sp_buffer sp_buffer;

// A connection. A pointer to it is a name, not an address.
typedef struct sp_connection sp_connection;

// How a pool was when it was asked.
typedef struct sp_health sp_health;

// A level-triggered set of descriptors. A pointer to it is a name, not an address.
typedef struct sp_poll sp_poll;

// A pool. A pointer to it is a name, not an address.
typedef struct sp_pool sp_pool;

typedef struct sp_socket sp_socket;

typedef struct sp_socket *Socket_T;

// A connection, as the guide calls it.
typedef struct sp_connection *Connection_T;

typedef struct sp_buffer *SocketBuf_T;

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
  // Bytes received and sent.
  uint64_t bytes_received;
  uint64_t bytes_sent;
  // Connections that are busy now, and that are not.
  size_t current_active;
  size_t current_idle;
  // Connections there may be.
  size_t max_connections;
} SocketPool_Stats;

typedef struct sp_arena *Arena_T;

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

// Makes a pool of at most `max_connections` connections (1 to 16,777,215), each with at most `buffer_bytes` (64 bytes to
// 16 MiB) of input and of output that wait in its buffers; memory is taken only while bytes wait. It lives until
// `SocketPool_free` or until its arena is disposed of; a NULL arena stands for the process. NULL on failure.
SocketPool_T SocketPool_new(Arena_T arena,
                            size_t max_connections,
                            size_t buffer_bytes);

// Closes every connection of a pool, tells the close callback of each, and forgets the pool; sets the handle to NULL. NULL,
// or a pointer to NULL, is no error. May be called in a callback of that pool.
void SocketPool_free(SocketPool_T *pool);

// Adds a connected socket, subject to every limit of the pool but its rate of accepts, and makes it non-blocking. The
// pool owns it from now on: its end closes it. NULL if it is refused, because the pool is full or drains or for whatever
// else `Socket_GetLastError` says; then the socket is the caller's as before.
Connection_T SocketPool_add(SocketPool_T pool,
                            Socket_T socket);

// Removes a connection of this pool: tells the close callback, closes the socket and frees the buffers. Returns 0; -1 if
// there is no such connection any more, and nothing else happens.
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

// So many operations in a window of so many milliseconds, for each connection; `operations` 0: as many as there are. See
// `SocketPool_check_rate`. 0 is returned, or -1 for a bad argument.
int SocketPool_setconnrate(SocketPool_T pool,
                           int operations,
                           int window_ms);

// The same for all connections of a pool together.
int SocketPool_set_global_rate(SocketPool_T pool, int operations, int window_ms);

// Takes one operation from the rate of a connection and from that of the pool, and returns 1; if one of them has none left
// it takes from neither and returns 0, which is no error. For a bad handle 0, with an error.
int SocketPool_check_rate(SocketPool_T pool,
                          Connection_T connection);

// At most so many connections of one address at a time; 0: as many as come. 0 is returned, or -1 for a bad argument.
int SocketPool_setmaxperip(SocketPool_T pool,
                           int most);

// At most so many connections from now on (1 to 16,777,215). Nobody is closed for it: who is too many leaves in his own
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

// Ends every connection at once, whatever it is doing, and takes no newcomers any more. 0 is returned, or -1.
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
// it ends; `sp_reason_name` tells the reason in a word. What hangs on the connection answers until it returns. It may call
// anything, this pool's `SocketPool_free` included. NULL: nothing is called any more. 0 is returned, or -1.
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
// freed meanwhile. 0 is returned, or -1.
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

// Calls `function(connection, argument)` with every connection of a pool.
void SocketPool_foreach(SocketPool_T pool, SocketPool_Visitor function, void *argument);

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

// Makes a pool of at most `max_connections` connections (1 to 16,777,215), each with at most `buffer_bytes` of input that
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
