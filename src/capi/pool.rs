//! A pool of a C program: made, turned, asked and freed from any thread.

use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::atomic::Ordering;
use std::sync::{OnceLock, TryLockError};
use std::time::Duration;

use super::event::sp_event;
use super::shared::{self, Inner, Shared, Stage};
use super::status::{Failure, SP_BAD_HANDLE, SP_OK, SP_SYSTEM, call, set_errno, store};
use super::telling::{self, Ends};
use super::{handles, orphans};
use crate::drain::State;
use crate::net::Wake;
use crate::reason::Reason;
use crate::server::SocketPool;

/// A pool. A pointer to it is a name, not an address.
#[derive(Debug)]
pub struct sp_pool;

/// Runs a call on a pool, alone with it.
#[inline(always)]
fn with_pool(
    function: &str,
    pool: *mut sp_pool,
    run: impl FnOnce(&mut Inner) -> Result<c_int, Failure>,
) -> c_int {
    call(function, || shared::with(pool, run))
}

/// Makes a pool of at most `max_connections` connections (1 to 16,777,216), each with at most `buffer_bytes` of input that
/// waits for the program, and as much output that waits for the peer (64 bytes to 16 MiB).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sp_pool_new(
    max_connections: u32,
    buffer_bytes: usize,
    pool: *mut *mut sp_pool,
) -> c_int {
    call("sp_pool_new", || {
        // SAFETY: as the caller promises.
        unsafe { store("pool", pool, std::ptr::null_mut()) }?;
        let builder = SocketPool::builder().max_connections(max_connections);
        let name = Shared::make(builder.max_input(buffer_bytes).max_output(buffer_bytes))?;
        // SAFETY: as above.
        unsafe { store("pool", pool, std::ptr::without_provenance_mut(name as usize)) }?;
        Ok(SP_OK)
    })
}

/// Closes every connection and listener of a pool and forgets it; sets the handle to NULL. NULL, or a pointer to NULL, is
/// no error. Whoever is still open is told to the close callback. If another thread is in a call with this pool, that call
/// goes on and is the last to let go of it.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sp_pool_free(pool: *mut *mut sp_pool) -> c_int {
    if pool.is_null() {
        return SP_OK;
    }
    // SAFETY: not NULL, and the caller promises that it may be read and written.
    let name = unsafe { pool.replace(std::ptr::null_mut()) };
    free_named("sp_pool_free", name)
}

/// Frees a pool, for `function`.
pub(super) fn free_named(function: &str, pool: *mut sp_pool) -> c_int {
    if pool.is_null() {
        return SP_OK;
    }
    let status = call(function, || {
        shared::with(pool, |inner| {
            inner.stage = Stage::Freed;
            inner.end_all();
            orphans::take_over(inner);
            Ok(SP_OK)
        })
    });
    if status == SP_OK
        && let Ok(waiting) = shared::pin(pool)
    {
        // Another thread may have been faster.
        let _ = handles::free::<Shared>(pool.addr() as u64);
        // Whoever waits in a turn lets go.
        let _ = waiting.handle.wake();
    }
    // Nothing is left of the pool, so the program's functions may jump away. There may be something to tell of one that was
    // freed before, from which they have.
    telling::tell_all(pool.addr() as u64);
    status
}

/// Accepts connections at `host` (an address; NULL for every one of this machine) and `port` (0 to 65535; with 0 the system
/// chooses one), and stores the port through `bound_port` unless that is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sp_pool_listen(
    pool: *mut sp_pool,
    host: *const c_char,
    port: c_int,
    bound_port: *mut c_int,
) -> c_int {
    with_pool("sp_pool_listen", pool, |inner| {
        let port = u16::try_from(port)
            .map_err(|_| Failure::argument("port", format_args!("is {port}, must be from 0 to 65535")))?;
        let host = if host.is_null() {
            "::"
        } else {
            // SAFETY: not NULL, and the caller promises a text that ends with NUL.
            let host = unsafe { CStr::from_ptr(host) };
            host.to_str().map_err(|_| Failure::argument("host", "is no address: it is not UTF-8"))?
        };
        let address: std::net::IpAddr = host.parse().map_err(|_| {
            Failure::argument("host", format_args!("is {host:?}, must be an IPv4 or IPv6 address"))
        })?;
        let bound = inner.pool.listen(&std::net::SocketAddr::new(address, port).to_string())?;
        inner.stage = Stage::Turned;
        if !bound_port.is_null() {
            let bound = bound.tcp().map_or(0, |address| c_int::from(address.port()));
            // SAFETY: not NULL, and the caller promises the rest.
            unsafe { bound_port.write(bound) };
        }
        Ok(SP_OK)
    })
}

/// Waits for events, at most `timeout_ms` (-1: for as long as nothing happens; 0: not at all), and does what is due. Fetch
/// the events with `sp_pool_next_event` afterwards. No lock is held during the wait: every other function may be called
/// meanwhile, from any thread. A second thread that turns the same pool gets `SP_BUSY`.
#[unsafe(no_mangle)]
pub extern "C" fn sp_pool_turn(pool: *mut sp_pool, timeout_ms: c_int) -> c_int {
    call("sp_pool_turn", || {
        let pinned = shared::pin(pool)?;
        let mut reactor = match pinned.reactor.try_lock() {
            Ok(reactor) => reactor,
            Err(TryLockError::WouldBlock) => return Err(Failure::busy("another thread turns the pool")),
            Err(TryLockError::Poisoned(_)) => return Err(Failure::state("the pool has failed before")),
        };
        let most = match timeout_ms {
            -1 => None,
            0.. => Some(Duration::from_millis(u64::from(timeout_ms.unsigned_abs()))),
            _ => {
                let what = format_args!("is {timeout_ms}, must be at least -1");
                return Err(Failure::argument("timeout_ms", what));
            }
        };
        let due = {
            let mut inner = pinned.lock()?;
            if inner.stage == Stage::Called {
                inner.stage = Stage::Turned;
            }
            pinned.waits.store(true, Ordering::Release);
            inner.next_turn_timeout()
        };
        let timeout = match (most, due) {
            (Some(most), Some(due)) => Some(most.min(due)),
            (most, due) => most.or(due),
        };
        let waited = reactor.turn(timeout);
        pinned.waits.store(false, Ordering::Release);
        // What was due is done even if the wait has failed.
        let mut inner = pinned.lock()?;
        inner.pool.end_show();
        inner.pool.process(&mut reactor);
        inner.do_what_is_due();
        waited?;
        Ok(SP_OK)
    })
}

/// Stores the next event and returns 1; returns 0 when this turn has nothing more to tell.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sp_pool_next_event(pool: *mut sp_pool, event: *mut sp_event) -> c_int {
    // SAFETY: the caller promises the same.
    unsafe { next_event("sp_pool_next_event", pool, event) }
}

/// The same, for `function`.
///
/// # Safety
/// `event` is NULL or may be written through.
#[inline(never)] // Two functions of C's are this.
pub(super) unsafe fn next_event(function: &str, pool: *mut sp_pool, event: *mut sp_event) -> c_int {
    let mut ends = Ends::None;
    let status = with_pool(function, pool, |inner| {
        // SAFETY: as the caller promises.
        unsafe { store("event", event, sp_event::none()) }?;
        let next = inner.next_event();
        ends = inner.ends_to_tell();
        let Some(next) = next else { return Ok(0) };
        // SAFETY: as above.
        unsafe { store("event", event, next) }?;
        Ok(1)
    });
    telling::tell_if(ends);
    status
}

/// The reason of an end in a word that never changes, such as "peer" or "idle"; "unknown" for a number that is no reason.
#[unsafe(no_mangle)]
pub extern "C" fn sp_reason_name(reason: c_int) -> *const c_char {
    static WORDS: OnceLock<Vec<CString>> = OnceLock::new();
    let words = WORDS.get_or_init(|| {
        let words = Reason::ALL.iter().map(|reason| CString::new(reason.as_str()));
        words.map(|word| word.expect("words have no NUL")).collect()
    });
    let place = usize::try_from(reason).ok().and_then(|reason| reason.checked_sub(1));
    place.and_then(|place| words.get(place)).map_or(c"unknown", |word| word).as_ptr()
}

/// Stores for how long the program may sleep before the next `sp_pool_turn`, in milliseconds, rounded up: -1 for as long as
/// nothing happens. For a program that waits in a loop of its own, on `sp_pool_fd`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sp_pool_next_timeout_ms(pool: *mut sp_pool, timeout_ms: *mut c_int) -> c_int {
    with_pool("sp_pool_next_timeout_ms", pool, |inner| {
        let next = inner.next_turn_timeout();
        let up = |next: Duration| c_int::try_from(next.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX);
        // SAFETY: as the caller promises.
        unsafe { store("timeout_ms", timeout_ms, next.map_or(-1, up)) }?;
        Ok(SP_OK)
    })
}

/// Stores a descriptor that is readable when the pool has something to do. It belongs to the pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sp_pool_fd(pool: *mut sp_pool, fd: *mut c_int) -> c_int {
    call("sp_pool_fd", || {
        let pinned = shared::pin(pool)?;
        // SAFETY: as the caller promises.
        unsafe { store("fd", fd, pinned.fd) }?;
        Ok(SP_OK)
    })
}

/// Ends the wait of whoever turns the pool, or the next one. From any thread, and from a signal handler, if the pool is not
/// freed meanwhile. A failure leaves no text and errno as it was.
#[unsafe(no_mangle)]
pub extern "C" fn sp_pool_wake(pool: *mut sp_pool) -> c_int {
    // Nothing here allocates or waits for a lock.
    let Ok(pinned) = handles::pin::<Shared>(pool.addr() as u64) else { return SP_BAD_HANDLE };
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    let status = if pinned.waker.wake().is_ok() { SP_OK } else { SP_SYSTEM };
    set_errno(errno);
    status
}

/// Takes no newcomers any more and lets everybody go: the idle at once, the busy when they have finished, and after
/// `deadline_ms` (-1: never) whoever is left. `SP_EVENT_DRAINED` follows once.
#[unsafe(no_mangle)]
pub extern "C" fn sp_pool_drain(pool: *mut sp_pool, deadline_ms: i64) -> c_int {
    with_pool("sp_pool_drain", pool, |inner| {
        let deadline = match deadline_ms {
            -1 => None,
            0.. => Some(Duration::from_millis(deadline_ms.unsigned_abs())),
            _ => {
                let what = format_args!("is {deadline_ms}, must be at least -1");
                return Err(Failure::argument("deadline_ms", what));
            }
        };
        inner.pool.drain(deadline);
        Ok(SP_OK)
    })
}

/// It takes newcomers.
pub const SP_STATE_ACTIVE: c_int = 0;
/// It lets everybody go.
pub const SP_STATE_DRAINING: c_int = 1;
/// Nobody is left.
pub const SP_STATE_DRAINED: c_int = 2;

/// Stores the state of a pool, one of `SP_STATE_…`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sp_pool_state(pool: *mut sp_pool, state: *mut c_int) -> c_int {
    with_pool("sp_pool_state", pool, |inner| {
        let now = match inner.pool.state() {
            State::Active => SP_STATE_ACTIVE,
            State::Draining => SP_STATE_DRAINING,
            State::Drained => SP_STATE_DRAINED,
        };
        // SAFETY: as the caller promises.
        unsafe { store("state", state, now) }?;
        Ok(SP_OK)
    })
}

/// Stores how many connections a pool has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sp_pool_count(pool: *mut sp_pool, count: *mut usize) -> c_int {
    with_pool("sp_pool_count", pool, |inner| {
        // SAFETY: as the caller promises.
        unsafe { store("count", count, inner.pool.len()) }?;
        Ok(SP_OK)
    })
}
