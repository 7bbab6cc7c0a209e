//! The pool's own loop under names like the guide's: the pool accepts, waits, reads and writes; the program pulls events.
//! The functions behind them answer a status; these answer 0 or a count, and -1.

use std::ffi::{c_char, c_int, c_void};

use super::super::connection as conn;
use super::super::event::sp_event;
use super::super::pool as loops;
use super::super::status::{SP_OK, called_as, sp_last_error};
use super::pool::{Connection_T, SocketPool_T};

fn or_minus_one(function: &str, status: c_int) -> c_int {
    called_as(function, status).max(-1)
}

/// Accepts connections at `host` (an address; NULL for every one of this machine) and `port` (0 to 65535; with 0 the system
/// chooses one) and returns the port; -1 on failure. From now on the program drives the pool by `SocketPool_turn`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketPool_listen(pool: SocketPool_T, host: *const c_char, port: c_int) -> c_int {
    let mut bound = -1;
    // SAFETY: the caller promises what is asked of `host`.
    let status = unsafe { loops::sp_pool_listen(pool, host, port, &raw mut bound) };
    match called_as("SocketPool_listen", status) {
        0 => bound,
        _ => -1,
    }
}

/// Waits for events, at most `timeout_ms` (-1: for as long as nothing happens; 0: not at all), and does what is due; fetch
/// the events with `SocketPool_next_event` afterwards. Nothing is locked during the wait. 0 is returned; -1 on failure, with
/// errno EBUSY while another thread turns the pool.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPool_turn(pool: SocketPool_T, timeout_ms: c_int) -> c_int {
    or_minus_one("SocketPool_turn", loops::sp_pool_turn(pool, timeout_ms))
}

/// Stores the next event and returns 1; 0 when this turn has nothing more to tell; -1 on failure.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn SocketPool_next_event(pool: SocketPool_T, event: *mut sp_event) -> c_int {
    // SAFETY: the caller promises the same.
    unsafe { loops::next_event("SocketPool_next_event", pool, event) }.max(-1)
}

/// A descriptor that is readable when the pool has something to do; it belongs to the pool. -1 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPool_pollfd(pool: SocketPool_T) -> c_int {
    let mut fd = -1;
    // SAFETY: it points at a local.
    let status = unsafe { loops::sp_pool_fd(pool, &raw mut fd) };
    called_as("SocketPool_pollfd", status);
    fd
}

/// For how many milliseconds the program may sleep before the next turn: -1 for as long as nothing happens; 0 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPool_next_timeout_ms(pool: SocketPool_T) -> c_int {
    let mut timeout_ms = 0;
    // SAFETY: it points at a local.
    let status = unsafe { loops::sp_pool_next_timeout_ms(pool, &raw mut timeout_ms) };
    called_as("SocketPool_next_timeout_ms", status);
    timeout_ms
}

/// Ends the wait of whoever turns the pool, or the next one. From any thread, and from a signal handler if the pool is not
/// freed meanwhile. 0 is returned, or -1, which leaves no text.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPool_wake(pool: SocketPool_T) -> c_int {
    loops::sp_pool_wake(pool).max(-1)
}

/// What the last call of this thread that failed says about it: never NULL, and valid until the next one that fails.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPool_last_error() -> *const c_char {
    sp_last_error()
}

/// Receives what has arrived on a connection that the pool's loop drives: how many bytes came; -1 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn Connection_receive(connection: Connection_T) -> isize {
    let mut count = 0;
    // SAFETY: it points at a local.
    match unsafe { conn::receive("Connection_receive", connection, &raw mut count) } {
        SP_OK => count.cast_signed(),
        _ => -1,
    }
}

/// Where the bytes are that have been received and not consumed, in one piece, and through `length` how many; NULL on
/// failure. They stay there until the next call with this connection, or the next event or turn of its pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Connection_input(connection: Connection_T, length: *mut usize) -> *const c_void {
    let mut data = std::ptr::null();
    // SAFETY: the first points at a local, and the caller promises the same of the second.
    match unsafe { conn::input("Connection_input", connection, &raw mut data, length) } {
        SP_OK => data,
        _ => std::ptr::null(),
    }
}

/// Says that so many bytes from the front of the input are used up. 0 is returned; -1 if there are not so many.
#[unsafe(no_mangle)]
pub extern "C" fn Connection_consume(connection: Connection_T, length: usize) -> c_int {
    conn::consume("Connection_consume", connection, length).max(-1)
}

/// Sends bytes: 0 if the kernel has taken them, 1 if some of them wait in the pool, 2 if they do not fit behind what waits
/// and nothing of them will be sent; -1 on failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Connection_send(
    connection: Connection_T,
    data: *const c_void,
    length: usize,
) -> c_int {
    // SAFETY: the caller promises the same.
    unsafe { conn::send("Connection_send", connection, data, length) }.max(-1)
}
