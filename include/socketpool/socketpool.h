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

// A connection. A pointer to it is a name, not an address.
typedef struct sp_connection sp_connection;

// A pool. A pointer to it is a name, not an address.
typedef struct sp_pool sp_pool;

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
