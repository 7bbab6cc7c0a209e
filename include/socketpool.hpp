// The pool for C++: header-only, over socketpool/socketpool.h. Move-only owners, functions as lambdas, and errors as
// socketpool::Error. What you throw inside a function that you gave reaches you unharmed.

#ifndef SOCKETPOOL_HPP
#define SOCKETPOOL_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "socketpool/socketpool.h"

namespace socketpool {

// What a call failed with: what() names the function, the argument, its value and the bound.
class Error : public std::runtime_error {
public:
    Error(int status, int number, const char *text) : std::runtime_error(text), status_(status), errno_(number) {}

    // One of SP_BAD_HANDLE, SP_BAD_ARGUMENT, SP_BUSY, SP_SYSTEM, SP_NO_MEMORY, SP_BAD_STATE, SP_REFUSED.
    int status() const noexcept { return status_; }
    // The errno that belongs to it.
    int number() const noexcept { return errno_; }

private:
    int status_;
    int errno_;
};

// Throws for a negative status.
inline int check(int status)
{
    if (status < 0)
        throw Error(status, sp_last_errno(), sp_last_error());
    return status;
}

// Bytes that lie somewhere else.
struct View {
    const char *data;
    std::size_t size;

    const char *begin() const noexcept { return data; }
    const char *end() const noexcept { return data + size; }
    std::string str() const { return std::string(data, size); }
};

enum class Sent { now = SP_SENT_NOW, queued = SP_SENT_QUEUED, refused = SP_SENT_REFUSED };

// A connection of a pool. A name: copying it copies no connection, and when it is gone calls throw.
class Connection {
public:
    Connection() noexcept : handle_(nullptr) {}
    explicit Connection(sp_connection *handle) noexcept : handle_(handle) {}

    // Receives what has arrived: how many bytes came.
    std::size_t receive()
    {
        std::size_t count = 0;
        check(sp_connection_receive(handle_, &count));
        return count;
    }

    // What has been received and not consumed. It stays there until the next call with this connection, or the pool's next
    // event or turn.
    View input() const
    {
        const void *data = nullptr;
        std::size_t size = 0;
        check(sp_connection_input(handle_, &data, &size));
        return View{static_cast<const char *>(data), size};
    }

    // The first line of the input without its end, if one is complete; how many bytes of the input it takes.
    bool line(View &line, std::size_t &taken) const
    {
        const View all = input();
        const void *end = all.size == 0 ? nullptr : std::memchr(all.data, '\n', all.size);
        if (end == nullptr)
            return false;
        line = View{all.data, static_cast<std::size_t>(static_cast<const char *>(end) - all.data)};
        taken = line.size + 1;
        return true;
    }

    void consume(std::size_t count) { check(sp_connection_consume(handle_, count)); }

    Sent send(const void *data, std::size_t size)
    {
        return static_cast<Sent>(check(sp_connection_send(handle_, data, size)));
    }
    Sent send(View bytes) { return send(bytes.data, bytes.size); }
    Sent send(const std::string &bytes) { return send(bytes.data(), bytes.size()); }

    void close() { check(sp_connection_close(handle_)); }
    void close_when_done() { check(sp_connection_close_when_done(handle_)); }

    template <class T> T *userdata() const noexcept { return static_cast<T *>(sp_connection_userdata(handle_)); }
    void set_userdata(void *data) { check(sp_connection_set_userdata(handle_, data)); }

    int fd() const noexcept { return sp_connection_fd(handle_); }

    std::string peer() const
    {
        char text[64];
        check(sp_connection_peer(handle_, text, sizeof text));
        return text;
    }

    sp_connection *handle() const noexcept { return handle_; }
    explicit operator bool() const noexcept { return handle_ != nullptr; }
    friend bool operator==(Connection a, Connection b) noexcept { return a.handle_ == b.handle_; }
    friend bool operator!=(Connection a, Connection b) noexcept { return a.handle_ != b.handle_; }

private:
    sp_connection *handle_;
};

enum class Kind {
    opened = SP_EVENT_OPENED,
    readable = SP_EVENT_READABLE,
    writable = SP_EVENT_WRITABLE,
    read_closed = SP_EVENT_READ_CLOSED,
    closed = SP_EVENT_CLOSED,
    drained = SP_EVENT_DRAINED
};

struct Event {
    Kind kind;
    Connection connection;
    void *userdata;
    // Why a connection has ended, in a word.
    const char *reason;
};

enum class State { active = SP_STATE_ACTIVE, draining = SP_STATE_DRAINING, drained = SP_STATE_DRAINED };

// A pool and its loop. Owns its connections; moved, never copied.
class Pool {
public:
    // At most so many connections, each with so many bytes of input and of output that wait.
    explicit Pool(std::size_t max_connections, std::size_t buffer_bytes = 65536) : handle_(nullptr)
    {
        // What does not fit there is beyond the bound all the same.
        const bool fits = max_connections <= UINT32_MAX;
        check(sp_pool_new(fits ? static_cast<std::uint32_t>(max_connections) : UINT32_MAX, buffer_bytes, &handle_));
    }

    // Closes everybody, of which the function of on_close hears: what that throws here ends the program.
    ~Pool() { sp_pool_free(&handle_); }

    Pool(Pool &&other) noexcept : handle_(other.handle_), on_close_(std::move(other.on_close_)) { other.handle_ = nullptr; }
    Pool &operator=(Pool &&other) noexcept
    {
        std::swap(handle_, other.handle_);
        on_close_.swap(other.on_close_);
        return *this;
    }
    Pool(const Pool &) = delete;
    Pool &operator=(const Pool &) = delete;

    // Accepts connections at an address of this machine (nullptr: at every one): the port that it is.
    int listen(const char *host, int port)
    {
        check(sp_pool_listen(handle_, host, port, &port));
        return port;
    }

    // Waits for events, at most so many milliseconds (-1: as long as nothing happens).
    void turn(int timeout_ms = -1) { check(sp_pool_turn(handle_, timeout_ms)); }

    // The next event; false when this turn has nothing more to tell.
    bool next(Event &event)
    {
        sp_event told;
        if (check(sp_pool_next_event(handle_, &told)) == 0)
            return false;
        event = Event{static_cast<Kind>(told.kind), Connection(told.connection), told.userdata, sp_reason_name(told.reason)};
        return true;
    }

    // Calls `handle(event)` with every event until the pool has drained.
    template <class Handler> void run(Handler &&handle)
    {
        for (;;) {
            turn();
            Event event{};
            while (next(event)) {
                handle(event);
                if (event.kind == Kind::drained)
                    return;
            }
        }
    }

    // Calls `function(connection)` with every connection. It may call anything, this pool too; what it throws comes out of here.
    template <class Function> void for_each(Function &&function)
    {
        typedef typename std::remove_reference<Function>::type Its;
        // A wrong handle throws.
        (void)size();
        SocketPool_foreach(
            handle_, [](sp_connection *connection, void *its) { (*static_cast<Its *>(its))(Connection(connection)); },
            const_cast<void *>(static_cast<const volatile void *>(std::addressof(function))));
    }

    // `function(connection, userdata, reason)` is called once for every connection that ends from now on, however it ends;
    // nullptr: nothing is. It may call anything, this pool too. What it throws comes out of the call that found the end, whose
    // answer, an event of next() too, is lost with that. Not while another thread is in a call with this pool.
    typedef std::function<void(Connection, void *, const char *)> CloseFunction;
    void on_close(CloseFunction function)
    {
        if (!function) {
            accept(SocketPool_set_close_callback(handle_, nullptr, nullptr));
            on_close_.reset();
            return;
        }
        std::unique_ptr<SharedFunction> kept(new SharedFunction(std::make_shared<CloseFunction>(std::move(function))));
        accept(SocketPool_set_close_callback(handle_, call_on_close, kept.get()));
        on_close_.swap(kept);
    }

    // How long a connection may be idle, live, take for its first message, and leave output waiting: milliseconds, 0 for ever.
    void set_idle_timeout(std::int64_t timeout_ms) { accept(SocketPool_set_idle_timeout(handle_, timeout_ms)); }
    void set_max_lifetime(std::int64_t lifetime_ms) { accept(SocketPool_set_max_lifetime(handle_, lifetime_ms)); }
    void set_first_message_timeout(std::int64_t timeout_ms)
    {
        accept(SocketPool_set_first_message_timeout(handle_, timeout_ms));
    }
    void set_write_stall_timeout(std::int64_t timeout_ms) { accept(SocketPool_set_write_stall_timeout(handle_, timeout_ms)); }

    // Ends the wait of whoever turns the pool. From any thread.
    void wake() { check(sp_pool_wake(handle_)); }

    // Lets everybody finish, for at most so many milliseconds (-1: for ever).
    void drain(std::int64_t deadline_ms = -1) { check(sp_pool_drain(handle_, deadline_ms)); }

    State state() const
    {
        int state = 0;
        check(sp_pool_state(handle_, &state));
        return static_cast<State>(state);
    }

    std::size_t size() const
    {
        std::size_t count = 0;
        check(sp_pool_count(handle_, &count));
        return count;
    }

    // For a loop of your own: wait on fd() for as long as next_timeout() says, then turn(0).
    int fd() const
    {
        int fd = -1;
        check(sp_pool_fd(handle_, &fd));
        return fd;
    }
    int next_timeout() const
    {
        int timeout_ms = -1;
        check(sp_pool_next_timeout_ms(handle_, &timeout_ms));
        return timeout_ms;
    }

    // For every other function of the header for C.
    sp_pool *handle() const noexcept { return handle_; }

private:
    typedef std::shared_ptr<CloseFunction> SharedFunction;

    static void call_on_close(sp_connection *connection, void *userdata, int reason, void *function)
    {
        // It may be replaced, or the pool be gone, before it returns.
        const SharedFunction kept = *static_cast<SharedFunction *>(function);
        (*kept)(Connection(connection), userdata, sp_reason_name(reason));
    }

    // Throws for what is not 0.
    void accept(int answer) const
    {
        if (answer != 0)
            throw Error(handle_ == nullptr ? SP_BAD_HANDLE : SP_BAD_ARGUMENT, sp_last_errno(), sp_last_error());
    }

    sp_pool *handle_;
    // Where the pool knows it, though this is moved.
    std::unique_ptr<SharedFunction> on_close_;
};

} // namespace socketpool

#endif
