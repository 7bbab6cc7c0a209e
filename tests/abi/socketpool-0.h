#ifndef SOCKETPOOL_SOCKETPOOL_H
#define SOCKETPOOL_SOCKETPOOL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define SP_SENT_NOW 0

#define SP_SENT_QUEUED 1

#define SP_SENT_REFUSED 2

#define SP_EVENT_OPENED 1

#define SP_EVENT_READABLE 2

#define SP_EVENT_WRITABLE 3

#define SP_EVENT_READ_CLOSED 4

#define SP_EVENT_CLOSED 5

#define SP_EVENT_DRAINED 6

#define SP_WHEN_FULL_WAIT 0

#define SP_WHEN_FULL_REFUSE 1

#define SOCKET_POLL_TIMEOUT_USE_DEFAULT -2

#define SP_STATE_ACTIVE 0

#define SP_STATE_DRAINING 1

#define SP_STATE_DRAINED 2

#define SP_OK 0

#define SP_BAD_HANDLE -1

#define SP_BAD_ARGUMENT -2

#define SP_BUSY -3

#define SP_SYSTEM -4

#define SP_NO_MEMORY -5

#define SP_BAD_STATE -6

#define SP_REFUSED -7

typedef struct Except_Frame Except_Frame;

typedef struct sp_arena sp_arena;

typedef struct sp_buffer sp_buffer;

typedef struct sp_connection sp_connection;

typedef struct sp_health sp_health;

typedef struct sp_poll sp_poll;

typedef struct sp_pool sp_pool;

typedef struct sp_protection sp_protection;

typedef struct sp_socket sp_socket;

typedef struct sp_arena *Arena_T;

typedef struct sp_buffer *SocketBuf_T;

typedef struct sp_socket *Socket_T;

typedef struct sp_connection *Connection_T;

typedef struct sp_health *SocketPoolHealth_T;

typedef struct sp_pool *SocketPool_T;

typedef struct SocketPool_Stats {
  uint64_t total_added;
  uint64_t total_removed;
  uint64_t total_refused;
  uint64_t total_operations;
  uint64_t total_denied;
  uint64_t total_idle_cleanups;
  uint64_t bytes_received;
  uint64_t bytes_sent;
  size_t current_active;
  size_t current_idle;
  size_t max_connections;
} SocketPool_Stats;

typedef struct sp_protection *SocketSYNProtect_T;

typedef void (*SocketPool_CloseCallback)(struct sp_connection*, void*, int, void*);

typedef struct sp_event {
  int kind;
  int reason;
  struct sp_connection *connection;
  void *userdata;
} sp_event;

typedef void (*SocketPool_Visitor)(Connection_T, void*);

typedef int (*SocketPool_Predicate)(Connection_T, void*);

typedef struct sp_poll *SocketPoll_T;

typedef struct SocketEvent_T {
  Socket_T socket;
  void *data;
  unsigned int events;
} SocketEvent_T;

typedef struct SocketSYNProtect_Config {
  int window_duration_ms;
  int max_attempts_per_window;
  int max_global_per_second;
  float min_success_ratio;
  int throttle_delay_ms;
  int block_duration_ms;
  int challenge_defer_sec;
  float score_throttle;
  float score_challenge;
  float score_block;
  float score_decay_per_sec;
  float score_penalty_attempt;
  float score_penalty_failure;
  float score_reward_success;
  size_t max_tracked_ips;
  size_t max_whitelist;
  size_t max_blacklist;
  unsigned int hash_seed;
} SocketSYNProtect_Config;

typedef int SocketSYN_Action;

typedef int SocketSYN_Reputation;

typedef struct SocketSYN_IPState {
  char ip[64];
  int64_t window_start_ms;
  uint32_t attempts_current;
  uint32_t attempts_previous;
  uint32_t successes;
  uint32_t failures;
  int64_t last_attempt_ms;
  int64_t block_until_ms;
  SocketSYN_Reputation rep;
  float score;
} SocketSYN_IPState;

typedef struct SocketSYNProtect_Stats {
  uint64_t total_attempts;
  uint64_t total_allowed;
  uint64_t total_throttled;
  uint64_t total_challenged;
  uint64_t total_blocked;
  uint64_t total_whitelisted;
  uint64_t total_blacklisted;
  uint64_t current_tracked_ips;
  uint64_t current_blocked_ips;
  uint64_t lru_evictions;
  int64_t uptime_ms;
} SocketSYNProtect_Stats;

typedef struct Except_T {
  const struct Except_T *type;
  const char *reason;
} Except_T;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

extern const struct Except_T Socket_Failed;

extern const struct Except_T Socket_Closed;

extern const struct Except_T SocketPool_Failed;

extern const struct Except_T SocketBuf_Failed;

extern const struct Except_T SocketPoll_Failed;

extern const struct Except_T SocketSYNProtect_Failed;

extern const struct Except_T Arena_Failed;

extern const struct Except_T Assert_Failed;

Arena_T Arena_new(void);

void Arena_dispose(Arena_T *arena);

SocketBuf_T SocketBuf_new(Arena_T arena,
                          size_t capacity);

void SocketBuf_release(SocketBuf_T *buffer);

size_t SocketBuf_write(SocketBuf_T buffer,
                       const void *data,
                       size_t length);

size_t SocketBuf_read(SocketBuf_T buffer, void *data, size_t length);

size_t SocketBuf_peek(SocketBuf_T buffer, void *data, size_t length);

int SocketBuf_consume(SocketBuf_T buffer, size_t length);

int SocketBuf_produce(SocketBuf_T buffer,
                      size_t length);

int SocketBuf_written(SocketBuf_T buffer, size_t length);

size_t SocketBuf_readable(SocketBuf_T buffer);

size_t SocketBuf_available(SocketBuf_T buffer);

size_t SocketBuf_writeable(SocketBuf_T buffer);

size_t SocketBuf_space(SocketBuf_T buffer);

int SocketBuf_empty(SocketBuf_T buffer);

int SocketBuf_full(SocketBuf_T buffer);

int SocketBuf_clear(SocketBuf_T buffer);

int SocketBuf_secureclear(SocketBuf_T buffer);

const void *SocketBuf_readptr(SocketBuf_T buffer);

void *SocketBuf_writeptr(SocketBuf_T buffer);

int SocketBuf_reserve(SocketBuf_T buffer,
                      size_t length);

int SocketBuf_ensure(SocketBuf_T buffer, size_t length);

int SocketBuf_compact(SocketBuf_T buffer);

ssize_t SocketBuf_find(SocketBuf_T buffer,
                       const void *needle,
                       size_t length);

ssize_t SocketBuf_readline(SocketBuf_T buffer,
                           char *line,
                           size_t size);

ssize_t SocketBuf_readv(SocketBuf_T buffer, const struct iovec *pieces, int count);

ssize_t SocketBuf_writev(SocketBuf_T buffer,
                         const struct iovec *pieces,
                         int count);

int sp_connection_receive(struct sp_connection *connection,
                          size_t *count);

int sp_connection_input(struct sp_connection *connection,
                        const void **data,
                        size_t *length);

int sp_connection_consume(struct sp_connection *connection,
                          size_t length);

int sp_connection_send(struct sp_connection *connection, const void *data, size_t length);

int sp_connection_close(struct sp_connection *connection);

int sp_connection_close_when_done(struct sp_connection *connection);

int sp_connection_set_userdata(struct sp_connection *connection, void *userdata);

void *sp_connection_userdata(struct sp_connection *connection);

int sp_connection_fd(struct sp_connection *connection);

int sp_connection_peer(struct sp_connection *connection,
                       char *text,
                       size_t size);

struct Except_Frame **sp_except_top(void);

Socket_T Connection_socket(Connection_T connection);

SocketBuf_T Connection_inbuf(Connection_T connection);

SocketBuf_T Connection_outbuf(Connection_T connection);

int Connection_fd(Connection_T connection);

void *Connection_userdata(Connection_T connection);

int Connection_set_userdata(Connection_T connection, void *userdata);

void *Connection_data(Connection_T connection);

int Connection_setdata(Connection_T connection, void *userdata);

uint64_t Connection_created_at(Connection_T connection);

uint64_t Connection_last_active(Connection_T connection);

int Connection_isactive(Connection_T connection);

int Connection_touch(Connection_T connection);

int Connection_peer(Connection_T connection,
                    char *text,
                    size_t size);

SocketPoolHealth_T SocketPool_health(SocketPool_T pool);

int SocketPoolHealth_active_count(SocketPoolHealth_T health);

int SocketPoolHealth_idle_count(SocketPoolHealth_T health);

int SocketPoolHealth_total_count(SocketPoolHealth_T health);

double SocketPoolHealth_ops_rate(SocketPoolHealth_T health);

double SocketPoolHealth_error_rate(SocketPoolHealth_T health);

uint64_t SocketPoolHealth_latency_p50(SocketPoolHealth_T health);

uint64_t SocketPoolHealth_latency_p90(SocketPoolHealth_T health);

uint64_t SocketPoolHealth_latency_p99(SocketPoolHealth_T health);

size_t SocketPoolHealth_memory_bytes(SocketPoolHealth_T health);

int SocketPool_get_stats(SocketPool_T pool,
                         struct SocketPool_Stats *stats);

SocketPool_T SocketPool_new(Arena_T arena,
                            size_t max_connections,
                            size_t buffer_bytes);

void SocketPool_free(SocketPool_T *pool);

Connection_T SocketPool_add(SocketPool_T pool,
                            Socket_T socket);

int sp_pool_remove_connection(SocketPool_T pool,
                              Connection_T connection);

int sp_pool_remove_socket(SocketPool_T pool, Socket_T socket);

Connection_T SocketPool_get(SocketPool_T pool, Socket_T socket);

int SocketPool_set_idle_timeout(SocketPool_T pool,
                                int64_t timeout_ms);

uint64_t SocketPool_get_idle_timeout(SocketPool_T pool);

int SocketPool_set_max_lifetime(SocketPool_T pool,
                                int64_t lifetime_ms);

int SocketPool_set_first_message_timeout(SocketPool_T pool,
                                         int64_t timeout_ms);

int SocketPool_set_write_stall_timeout(SocketPool_T pool,
                                       int64_t timeout_ms);

int SocketPool_setconnrate(SocketPool_T pool,
                           int operations,
                           int window_ms);

int SocketPool_set_global_rate(SocketPool_T pool, int operations, int window_ms);

int SocketPool_check_rate(SocketPool_T pool,
                          Connection_T connection);

int SocketPool_setmaxperip(SocketPool_T pool,
                           int most);

int SocketPool_set_eviction(SocketPool_T pool,
                            int on);

int SocketPool_set_when_full(SocketPool_T pool,
                             int how);

int SocketPool_set_syn_protection(SocketPool_T pool,
                                  SocketSYNProtect_T protect);

int SocketPool_resize(SocketPool_T pool,
                      size_t max_connections);

int SocketPool_set_bufsize(SocketPool_T pool,
                           size_t buffer_bytes);

int SocketPool_prewarm(SocketPool_T pool,
                       int percent);

int SocketPool_drain(SocketPool_T pool);

int SocketPool_force_close_all(SocketPool_T pool);

int SocketPool_is_drained(SocketPool_T pool);

int SocketPool_state(SocketPool_T pool);

size_t SocketPool_count(SocketPool_T pool);

int SocketPool_tick(SocketPool_T pool);

int SocketPool_set_close_callback(SocketPool_T pool,
                                  SocketPool_CloseCallback callback,
                                  void *argument);

int SocketPool_listen(SocketPool_T pool,
                      const char *host,
                      int port);

int SocketPool_turn(SocketPool_T pool,
                    int timeout_ms);

int SocketPool_next_event(SocketPool_T pool, struct sp_event *event);

int SocketPool_pollfd(SocketPool_T pool);

int SocketPool_next_timeout_ms(SocketPool_T pool);

int SocketPool_wake(SocketPool_T pool);

const char *SocketPool_last_error(void);

ptrdiff_t Connection_receive(Connection_T connection);

const void *Connection_input(Connection_T connection,
                             size_t *length);

int Connection_consume(Connection_T connection,
                       size_t length);

int Connection_send(Connection_T connection,
                    const void *data,
                    size_t length);

void SocketPool_foreach(SocketPool_T pool, SocketPool_Visitor function, void *argument);

Connection_T SocketPool_find(SocketPool_T pool,
                             SocketPool_Predicate predicate,
                             void *argument);

size_t SocketPool_filter(SocketPool_T pool,
                         SocketPool_Predicate predicate,
                         void *argument,
                         Connection_T *found,
                         size_t most);

const char *Socket_GetLastError(void);

int Socket_geterrno(void);

const char *Socket_safe_strerror(int errnum);

uint64_t Socket_get_monotonic_ms(void);

int Socket_ignore_sigpipe(void);

SocketPoll_T SocketPoll_new(int max_events);

void SocketPoll_free(SocketPoll_T *poll);

int sp_poll_add_fd(SocketPoll_T poll,
                   int fd,
                   unsigned int events,
                   void *data);

int sp_poll_add_socket(SocketPoll_T poll, Socket_T socket, unsigned int events, void *data);

int sp_poll_mod_fd(SocketPoll_T poll,
                   int fd,
                   unsigned int events,
                   void *data);

int sp_poll_mod_socket(SocketPoll_T poll, Socket_T socket, unsigned int events, void *data);

int sp_poll_del_fd(SocketPoll_T poll,
                   int fd);

int sp_poll_del_socket(SocketPoll_T poll, Socket_T socket);

int SocketPoll_wait(SocketPoll_T poll,
                    struct SocketEvent_T **events,
                    int timeout_ms);

int SocketPoll_getdefaulttimeout(SocketPoll_T poll);

int SocketPoll_setdefaulttimeout(SocketPoll_T poll,
                                 int timeout_ms);

int SocketPoll_getregisteredcount(SocketPoll_T poll);

const char *SocketPoll_get_backend_name(SocketPoll_T poll);

int sp_pool_new(uint32_t max_connections,
                size_t buffer_bytes,
                struct sp_pool **pool);

int sp_pool_free(struct sp_pool **pool);

int sp_pool_listen(struct sp_pool *pool,
                   const char *host,
                   int port,
                   int *bound_port);

int sp_pool_turn(struct sp_pool *pool,
                 int timeout_ms);

int sp_pool_next_event(struct sp_pool *pool, struct sp_event *event);

const char *sp_reason_name(int reason);

int sp_pool_next_timeout_ms(struct sp_pool *pool,
                            int *timeout_ms);

int sp_pool_fd(struct sp_pool *pool, int *fd);

int sp_pool_wake(struct sp_pool *pool);

int sp_pool_drain(struct sp_pool *pool,
                  int64_t deadline_ms);

int sp_pool_state(struct sp_pool *pool, int *state);

int sp_pool_count(struct sp_pool *pool, size_t *count);

SocketSYNProtect_T SocketSYNProtect_new(Arena_T arena,
                                        int max_global_per_second,
                                        int max_attempts_per_window);

void SocketSYNProtect_free(SocketSYNProtect_T *protect);

void SocketSYNProtect_config_defaults(struct SocketSYNProtect_Config *config);

void SocketSYNProtect_configure(SocketSYNProtect_T protect,
                                const struct SocketSYNProtect_Config *config);

SocketSYN_Action SocketSYNProtect_check(SocketSYNProtect_T protect,
                                        const char *ip,
                                        struct SocketSYN_IPState *state);

void SocketSYNProtect_report_success(SocketSYNProtect_T protect,
                                     const char *ip);

void SocketSYNProtect_report_failure(SocketSYNProtect_T protect,
                                     const char *ip,
                                     int error);

int SocketSYNProtect_whitelist_add(SocketSYNProtect_T protect,
                                   const char *ip);

int SocketSYNProtect_whitelist_add_cidr(SocketSYNProtect_T protect,
                                        const char *cidr);

void SocketSYNProtect_whitelist_remove(SocketSYNProtect_T protect,
                                       const char *ip);

int SocketSYNProtect_whitelist_contains(SocketSYNProtect_T protect, const char *ip);

void SocketSYNProtect_whitelist_clear(SocketSYNProtect_T protect);

int SocketSYNProtect_blacklist_add(SocketSYNProtect_T protect,
                                   const char *ip,
                                   int duration_ms);

void SocketSYNProtect_blacklist_remove(SocketSYNProtect_T protect,
                                       const char *ip);

int SocketSYNProtect_blacklist_contains(SocketSYNProtect_T protect, const char *ip);

void SocketSYNProtect_blacklist_clear(SocketSYNProtect_T protect);

int SocketSYNProtect_get_ip_state(SocketSYNProtect_T protect,
                                  const char *ip,
                                  struct SocketSYN_IPState *state);

void SocketSYNProtect_stats(SocketSYNProtect_T protect,
                            struct SocketSYNProtect_Stats *stats);

void SocketSYNProtect_stats_reset(SocketSYNProtect_T protect);

size_t SocketSYNProtect_cleanup(SocketSYNProtect_T protect);

void SocketSYNProtect_clear_all(SocketSYNProtect_T protect);

void SocketSYNProtect_reset(SocketSYNProtect_T protect);

const char *SocketSYNProtect_action_name(SocketSYN_Action action);

const char *SocketSYNProtect_reputation_name(SocketSYN_Reputation rep);

Socket_T Socket_new(int domain, int type, int protocol);

Socket_T Socket_new_from_fd(int fd);

int SocketPair_new(int type,
                   Socket_T *first,
                   Socket_T *second);

void Socket_free(Socket_T *socket);

int Socket_bind(Socket_T socket,
                const char *host,
                int port);

int Socket_listen(Socket_T socket,
                  int backlog);

Socket_T Socket_accept(Socket_T socket);

int Socket_connect(Socket_T socket,
                   const char *host,
                   int port);

ssize_t Socket_recv(Socket_T socket,
                    void *buffer,
                    size_t length,
                    int flags);

ssize_t Socket_send(Socket_T socket,
                    const void *data,
                    size_t length,
                    int flags);

int Socket_shutdown(Socket_T socket,
                    int how);

int Socket_fd(Socket_T socket);

int Socket_isconnected(Socket_T socket);

int Socket_isbound(Socket_T socket);

int Socket_islistening(Socket_T socket);

const char *Socket_getpeeraddr(Socket_T socket);

const char *Socket_getlocaladdr(Socket_T socket);

int Socket_getpeerport(Socket_T socket);

int Socket_getlocalport(Socket_T socket);

int Socket_setnonblocking(Socket_T socket);

int Socket_setreuseaddr(Socket_T socket);

int Socket_setnodelay(Socket_T socket,
                      int nodelay);

int Socket_setkeepalive(Socket_T socket,
                        int idle,
                        int interval,
                        int count);

uint64_t sp_bad_handles(void);

const char *sp_last_error(void);

int sp_last_errno(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SOCKETPOOL_SOCKETPOOL_H */
