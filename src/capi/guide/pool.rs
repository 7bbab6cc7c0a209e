//! `SocketPool_…`: a pool whose sockets the program accepts, adds, reads and writes itself.

use std::ffi::{c_int, c_void};
use std::ptr::{null_mut, without_provenance_mut};
use std::time::Duration;

use super::super::arena::Arena_T;
use super::super::callback::{Callback, SocketPool_CloseCallback};
use super::super::connection::sp_connection;
use super::super::handles::{self, Kind};
use super::super::pool::{self, SP_STATE_ACTIVE, SP_STATE_DRAINED, SP_STATE_DRAINING, sp_pool};
use super::super::protection::{self, SocketSYNProtect_T};
use super::super::shared::{self, Inner, Shared};
use super::super::socket::Socket_T;
use super::super::status::{Failure, answer, attempt, found};
use super::super::telling::{self, Ends};
use super::super::{arena, driven, poll, shortage, waiting};
use super::millis_or_off;
use crate::bucket::Rate;
use crate::drain::State;
use crate::error::Error;
use crate::server::{Config, Eviction, SocketPool, WhenFull};

/// A pool, as the guide calls it.
pub type SocketPool_T = *mut sp_pool;
/// A connection, as the guide calls it.
pub type Connection_T = *mut sp_connection;

/// Makes a pool of at most `max_connections` connections (1 to 16,777,216), each with at most `buffer_bytes` (64 bytes to
/// 16 MiB) of input and of output that wait in its buffers; memory is taken only while bytes wait. It lives until
/// `SocketPool_free` or until its arena is disposed of; a NULL arena stands for the process. NULL on failure.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPool_new(
    arena: Arena_T,
    max_connections: usize,
    buffer_bytes: usize,
) -> SocketPool_T {
    answer("SocketPool_new", null_mut(), || {
        let max_connections = connections(max_connections)?;
        let builder = SocketPool::builder().max_connections(max_connections);
        let name = Shared::make(builder.max_input(buffer_bytes).max_output(buffer_bytes))?;
        let made = without_provenance_mut(name as usize);
        if let Err(failure) = arena::adopt(arena, name) {
            let _ = pool::free_named("SocketPool_new", made);
            return Err(failure);
        }
        Ok(made)
    })
}

fn connections(n: usize) -> Result<u32, Failure> {
    u32::try_from(n).map_err(|_| {
        Failure::argument("max_connections", format_args!("is {n}, must be from 1 to {MOST_CONNECTIONS}"))
    })
}

const MOST_CONNECTIONS: u32 = 1 << 24;

/// Closes every connection of a pool, forgets the pool, and tells the close callback of each connection, in which the pool
/// is gone already; sets the handle to NULL. NULL, or a pointer to NULL, is no error. May be called in a callback of that
/// pool.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn SocketPool_free(pool: *mut SocketPool_T) {
    if pool.is_null() {
        return;
    }
    // SAFETY: not NULL, and the caller promises that it may be read and written.
    let named = unsafe { pool.replace(null_mut()) };
    let _ = pool::free_named("SocketPool_free", named);
}

/// Adds a connected socket, subject to every limit of the pool but its rate of accepts, and makes it non-blocking. The
/// pool owns it from now on: its end closes it. NULL if it is refused (errno EAGAIN), because the pool is full or drains or for
/// whatever else `Socket_GetLastError` says, or if it cannot be added; then the socket is the caller's as before.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_add(pool: SocketPool_T, socket: Socket_T) -> Connection_T {
    let added = driven::add("SocketPool_add", pool, socket.addr() as u64);
    without_provenance_mut(added as usize)
}

/// Removes a connection of this pool: tells the close callback, closes the socket and frees the buffers. Another thread that is
/// telling ends just then may tell this one too, and this does not wait for it. Among the events of the pool's own loop its end
/// is only if it was decided before: `sp_connection_close` ends one with an event. Returns 0; -1 if there is no such
/// connection any more, and nothing else happens.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sp_pool_remove_connection(pool: SocketPool_T, connection: Connection_T) -> c_int {
    remove(pool, connection.addr() as u64, "SocketPool_remove")
}

/// Removes the connection that a socket is, as `sp_pool_remove_connection` does.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sp_pool_remove_socket(pool: SocketPool_T, socket: Socket_T) -> c_int {
    let function = "SocketPool_remove";
    let connection = answer(function, None, || driven::connection_of(socket.addr() as u64).map(Some));
    connection.map_or(-1, |connection| remove(pool, connection, function))
}

fn remove(pool: SocketPool_T, connection: u64, function: &str) -> c_int {
    let removed = attempt(|| driven::remove(Some(pool), connection));
    let ends = *removed.as_ref().unwrap_or(&Ends::None);
    telling::tell_and_answer(function, -1, removed.map(|_| 0), ends)
}

/// The connection that a socket is in this pool; NULL if it is in none, or in another.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPool_get(pool: SocketPool_T, socket: Socket_T) -> Connection_T {
    match handles::connection_in(pool.addr() as u64, socket.addr() as u64) {
        Some(connection) => without_provenance_mut(connection as usize),
        None => is_not_there(pool, socket),
    }
}

/// NULL, and what is wrong is told, if anything is.
#[cold]
fn is_not_there(pool: SocketPool_T, socket: Socket_T) -> Connection_T {
    match handles::check_both(pool.addr() as u64, socket.addr() as u64) {
        Ok(()) => null_mut(),
        Err((kind, bad)) => found("SocketPool_get", null_mut(), Err(bad), kind),
    }
}

/// Runs a change of limits: 0, or -1 and nothing is changed.
fn change(
    function: &str,
    pool: SocketPool_T,
    change: impl FnOnce(&mut Config) -> Result<(), Failure>,
) -> c_int {
    telling::answer_and_tell(function, pool, -1, |inner| {
        let mut changed = inner.pool.config().clone();
        change(&mut changed)?;
        inner.pool.reconfigure(|config| *config = changed)?;
        // Whoever is over a limit now goes at once, and there may be a place now for those who wait for one.
        inner.do_what_is_due();
        waiting::a_place_is_free(inner.own_name);
        Ok(0)
    })
}

/// Runs a question to a pool, after what is due has been done, and tells what ended by that.
fn ask<T>(function: &str, pool: SocketPool_T, otherwise: T, ask: impl FnOnce(&mut Inner) -> T) -> T {
    telling::answer_and_tell(function, pool, otherwise, |inner| {
        inner.do_what_is_due();
        Ok(ask(inner))
    })
}

/// How long a connection may be idle, in milliseconds; 0: for ever. 0 is returned, or -1 for a bad argument.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_set_idle_timeout(pool: SocketPool_T, timeout_ms: i64) -> c_int {
    change("SocketPool_set_idle_timeout", pool, |config| {
        config.idle_timeout = millis_or_off("timeout_ms", timeout_ms)?;
        Ok(())
    })
}

/// How long a connection may be idle, in milliseconds; 0 if for ever, and for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPool_get_idle_timeout(pool: SocketPool_T) -> u64 {
    answer("SocketPool_get_idle_timeout", 0, || {
        shared::with(pool, |inner| {
            let timeout = inner.pool.config().idle_timeout.unwrap_or_default();
            Ok(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX))
        })
    })
}

/// How long a connection may live, in milliseconds, give or take 10 %; 0: for ever. One that is busy then may finish what
/// it does. 0 is returned, or -1 for a bad argument.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_set_max_lifetime(pool: SocketPool_T, lifetime_ms: i64) -> c_int {
    change("SocketPool_set_max_lifetime", pool, |config| {
        config.lifetime = millis_or_off("lifetime_ms", lifetime_ms)?;
        Ok(())
    })
}

/// How long a connection may take for its first message, in milliseconds (30,000 unless set); 0: for ever. Bytes that
/// dribble in do not put it off. 0 is returned, or -1 for a bad argument.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_set_first_message_timeout(pool: SocketPool_T, timeout_ms: i64) -> c_int {
    change("SocketPool_set_first_message_timeout", pool, |config| {
        config.first_message_timeout = millis_or_off("timeout_ms", timeout_ms)?;
        Ok(())
    })
}

/// How long output may wait in a connection's buffer without any of it being sent, in milliseconds (30,000 unless set); 0:
/// for ever. 0 is returned, or -1 for a bad argument.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_set_write_stall_timeout(pool: SocketPool_T, timeout_ms: i64) -> c_int {
    change("SocketPool_set_write_stall_timeout", pool, |config| {
        config.write_stall_timeout = millis_or_off("timeout_ms", timeout_ms)?;
        Ok(())
    })
}

/// So many operations in a window of so many milliseconds (from 1 on), for each connection: all of them at once, and then one
/// whenever its share of the window has passed; `operations` 0: as many as there are. See `SocketPool_check_rate`. 0 is
/// returned, or -1 for a bad argument.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_setconnrate(
    pool: SocketPool_T,
    operations: c_int,
    window_ms: c_int,
) -> c_int {
    change("SocketPool_setconnrate", pool, |config| {
        config.operation_rate = rate(operations, window_ms)?;
        Ok(())
    })
}

/// The same for all connections of a pool together.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_set_global_rate(
    pool: SocketPool_T,
    operations: c_int,
    window_ms: c_int,
) -> c_int {
    change("SocketPool_set_global_rate", pool, |config| {
        config.pool_operation_rate = rate(operations, window_ms)?;
        Ok(())
    })
}

fn rate(operations: c_int, window_ms: c_int) -> Result<Option<Rate>, Failure> {
    let Ok(n) = u32::try_from(operations) else {
        return Err(Failure::argument("operations", format_args!("is {operations}, must be at least 0")));
    };
    if n == 0 {
        return Ok(None);
    }
    match u64::try_from(window_ms) {
        Ok(window @ 1..) => Ok(Some(Rate::new(n, Duration::from_millis(window)))),
        _ => Err(Failure::argument("window_ms", format_args!("is {window_ms}, must be at least 1"))),
    }
}

/// Takes one operation from the rate of a connection and from that of the pool, and returns 1; if one of them has none left
/// it takes from neither and returns 0, which is no error. For a bad handle 0, with an error.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPool_check_rate(pool: SocketPool_T, connection: Connection_T) -> c_int {
    answer("SocketPool_check_rate", 0, || {
        driven::of(pool, connection.addr() as u64, |conn| Ok(c_int::from(conn.check_operation())))
    })
}

/// At most so many connections of one address at a time; 0: as many as come. Those who came while there was no limit by address
/// are not counted. 0 is returned, or -1 for a bad argument.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_setmaxperip(pool: SocketPool_T, most: c_int) -> c_int {
    change("SocketPool_setmaxperip", pool, |config| {
        let most = u32::try_from(most)
            .map_err(|_| Failure::argument("most", format_args!("is {most}, must be at least 0")))?;
        config.max_per_ip = (most > 0).then_some(most);
        Ok(())
    })
}

/// Whether a full pool closes a connection that is not at work to let a newcomer in, those first that have not proven
/// themselves: 1, as it is unless set; 0: nobody goes for a newcomer. 0 is returned, or -1 for a bad argument.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_set_eviction(pool: SocketPool_T, on: c_int) -> c_int {
    change("SocketPool_set_eviction", pool, |config| {
        config.eviction = match on {
            0 => Eviction::Off,
            1 => Eviction::OldestUnproven,
            _ => return Err(Failure::argument("on", format_args!("is {on}, must be 0 or 1"))),
        };
        Ok(())
    })
}

/// They wait in the backlog for a place, in which `Socket_accept` leaves them.
pub const SP_WHEN_FULL_WAIT: c_int = 0;
/// They are turned away: the pool's own loop accepts and closes them, and `SocketPool_add` refuses them.
pub const SP_WHEN_FULL_REFUSE: c_int = 1;

/// What happens to newcomers when a pool is full and nobody goes for them, one of `SP_WHEN_FULL_…`; they wait unless this is
/// set. 0 is returned, or -1 for a bad argument.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_set_when_full(pool: SocketPool_T, how: c_int) -> c_int {
    change("SocketPool_set_when_full", pool, |config| {
        config.when_full = match how {
            SP_WHEN_FULL_WAIT => WhenFull::Wait,
            SP_WHEN_FULL_REFUSE => WhenFull::Refuse,
            _ => {
                let bounds = format_args!("is {how}, must be one of SP_WHEN_FULL_, from 0 to 1");
                return Err(Failure::argument("how", bounds));
            }
        };
        Ok(())
    })
}

/// Has a protection against connection floods decide about newcomers, in place of the pool's own; NULL takes it away. It stays
/// the program's, and several pools may have the same one; once it is freed it counts as none. 0 is returned, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPool_set_syn_protection(pool: SocketPool_T, protect: SocketSYNProtect_T) -> c_int {
    answer("SocketPool_set_syn_protection", -1, || {
        shared::with(pool, |inner| protection::give(protect, &mut inner.pool).map(|()| 0))
    })
}

/// At most so many connections from now on (1 to 16,777,216). Nobody is closed for it: who is too many leaves in his own
/// time. 0 is returned, or -1 for a bad argument.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_resize(pool: SocketPool_T, max_connections: usize) -> c_int {
    change("SocketPool_resize", pool, |config| {
        config.max_connections = connections(max_connections)?;
        Ok(())
    })
}

/// At most so many bytes wait in a buffer from now on (64 bytes to 16 MiB). Nothing is lost that waits already. 0 is
/// returned, or -1 for a bad argument.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_set_bufsize(pool: SocketPool_T, buffer_bytes: usize) -> c_int {
    change("SocketPool_set_bufsize", pool, |config| {
        set_buffers(config, buffer_bytes);
        Ok(())
    })
}

fn set_buffers(config: &mut Config, bytes: usize) {
    config.max_input = bytes;
    config.max_output = bytes;
    // Both marks keep their distance from the bound.
    config.output_high = bytes;
    config.output_low = bytes / 4;
}

/// Makes the buffers now that so many in a hundred connections (0 to 100) will need, as far as the pool keeps free ones, so
/// that their first bytes cost no allocation. 0 is returned, or -1 for a bad argument, or without memory.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPool_prewarm(pool: SocketPool_T, percent: c_int) -> c_int {
    answer("SocketPool_prewarm", -1, || {
        let Some(share) = usize::try_from(percent).ok().filter(|percent| *percent <= 100) else {
            return Err(Failure::argument("percent", format_args!("is {percent}, must be from 0 to 100")));
        };
        shared::with(pool, |inner| {
            let most = inner.pool.config().max_connections as usize;
            inner.pool.prepare(most * share / 100).map_err(|_| Error::Memory { what: "buffers" })?;
            Ok(0)
        })
    })
}

/// Takes no newcomers any more and lets everybody go: who is idle now, the others as soon as nothing is owed to them. There
/// is no deadline: see `SocketPool_force_close_all`. Does nothing in a pool that drains already. 0 is returned, or -1.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_drain(pool: SocketPool_T) -> c_int {
    ask("SocketPool_drain", pool, -1, |inner| {
        if inner.pool.state() == State::Active {
            inner.pool.drain(None);
            inner.do_what_is_due();
            // Whoever comes now is left to whoever takes over.
            for listener in inner.listeners.drain(..) {
                if let Ok(held) = handles::hold_socket(listener, Kind::Socket) {
                    // Nothing that ends meanwhile may have it looked at again.
                    waiting::forget(listener);
                    shortage::forget(listener);
                    poll::mute_reading(held.fd, None);
                }
            }
        }
        0
    })
}

/// Ends every connection at once, whatever it is doing, and takes no newcomers any more. Those that the pool's own loop drives
/// end with the events that tell of it, so go on until `SP_EVENT_DRAINED`. 0 is returned, or -1.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_force_close_all(pool: SocketPool_T) -> c_int {
    ask("SocketPool_force_close_all", pool, -1, |inner| {
        inner.close_parting();
        inner.pool.force_close_all();
        inner.end_all();
        inner.do_what_is_due();
        0
    })
}

/// 1 when a drain is over and nobody is left, else 0; 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_is_drained(pool: SocketPool_T) -> c_int {
    ask("SocketPool_is_drained", pool, 0, |inner| c_int::from(inner.pool.state() == State::Drained))
}

/// The state of a pool: 0 active, 1 draining, 2 drained; -1 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_state(pool: SocketPool_T) -> c_int {
    ask("SocketPool_state", pool, -1, |inner| match inner.pool.state() {
        State::Active => SP_STATE_ACTIVE,
        State::Draining => SP_STATE_DRAINING,
        State::Drained => SP_STATE_DRAINED,
    })
}

/// How many connections a pool has; 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_count(pool: SocketPool_T) -> usize {
    ask("SocketPool_count", pool, 0, |inner| inner.pool.len())
}

/// Does what is due in a pool: ends those whose time is over, and goes on with a drain. Only for a program that waits
/// neither in `SocketPoll_wait` nor in the pool's own loop. Returns for how many milliseconds it may wait before it calls
/// this again: -1 for as long as it likes, and for a bad handle.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn SocketPool_tick(pool: SocketPool_T) -> c_int {
    ask("SocketPool_tick", pool, -1, |inner| {
        inner.pool.let_rest_end();
        let up = |next: Duration| c_int::try_from(next.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX);
        inner.next_timeout().map_or(-1, up)
    })
}

/// Has `callback(connection, userdata, reason, argument)` called once for every connection that ends from now on, however
/// it ends; `sp_reason_name` tells the reason in a word. What hangs on the connection answers until it returns, whatever
/// it calls, which may be anything, this pool's `SocketPool_free` included. NULL: nothing is called any more. 0 is
/// returned, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPool_set_close_callback(
    pool: SocketPool_T,
    callback: SocketPool_CloseCallback,
    argument: *mut c_void,
) -> c_int {
    answer("SocketPool_set_close_callback", -1, || {
        shared::with(pool, |inner| {
            inner.close_callback = callback.map(|call| Callback { call, argument });
            Ok(0)
        })
    })
}
