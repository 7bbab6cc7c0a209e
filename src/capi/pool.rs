//! A pool of a C program: made, turned, asked and freed from any thread.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};
use std::time::Duration;

use super::connection::sp_connection;
use super::event::{self, sp_event};
use super::handles::{self, Bad, Kind, Object, Pinned};
use super::status::{Failure, SP_OK, call, store};
use crate::clock::Nanos;
use crate::drain::State;
use crate::net::Reactor;
use crate::reason::Reason;
use crate::server::{Event, Handle, SocketPool};

/// A pool. A pointer to it is a name, not an address.
#[derive(Debug)]
pub struct sp_pool;

/// A pool and what its callers share.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// Held during a turn, in whose wait `inner` is not.
    reactor: Mutex<Reactor>,
    /// Whether a turn sleeps by what was due when it looked. Set while `inner` is locked.
    waits: AtomicBool,
    handle: Handle,
    fd: c_int,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Inner {
    /// What hangs on a connection is its own handle.
    pub(super) pool: SocketPool<u64>,
    own_name: u64,
    /// The connection whose end was told last: its name answers until the next event is asked for.
    told_closed: u64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.forget_told();
        let names = &mut Vec::new();
        self.pool.for_each(|connection| names.extend(connection.userdata().copied()));
        for name in names {
            // Nobody else ends the name of a connection that lives.
            let _ = handles::free_socket(*name, Kind::Connection);
        }
    }
}

impl Object for Shared {
    const KIND: Kind = Kind::Pool;
}

impl Shared {
    /// The pool, for one call. A panic in an earlier call has left it in nobody knows which state.
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, Inner>, Failure> {
        self.inner.lock().map_err(|_| Failure::state("the pool has failed before and does nothing any more"))
    }
}

impl Shared {
    /// Ends the wait of a turn in another thread: it sleeps by what was due before.
    pub(super) fn hurry(&self) {
        if self.waits.load(Ordering::Acquire) {
            // It fails only when the pool is gone, or so many wait already that it is awake.
            let _ = self.handle.wake();
        }
    }
}

/// Finds a pool.
fn pin(pool: *mut sp_pool) -> Result<Pinned<Shared>, Failure> {
    handles::pin(pool.addr() as u64).map_err(bad)
}

fn bad(reason: Bad) -> Failure {
    Failure::handle("pool", Kind::Pool, reason)
}

/// Runs a call on a pool, alone with it.
fn with_pool(
    function: &str,
    pool: *mut sp_pool,
    run: impl FnOnce(&mut Inner) -> Result<c_int, Failure>,
) -> c_int {
    call(function, || {
        let pinned = pin(pool)?;
        let status = run(&mut *pinned.lock()?)?;
        pinned.hurry();
        Ok(status)
    })
}

/// Makes a pool of at most `max_connections` connections (1 to 16,777,215), each with at most `buffer_bytes` of input that
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
        let mut reactor = Reactor::new()?;
        let builder = SocketPool::builder().max_connections(max_connections);
        let mut made = builder.max_input(buffer_bytes).max_output(buffer_bytes).build_on(&mut reactor)?;
        made.lend_addresses();
        let shared = Shared {
            handle: made.handle(),
            fd: std::os::fd::AsRawFd::as_raw_fd(&reactor),
            inner: Mutex::new(Inner { pool: made, own_name: 0, told_closed: 0 }),
            reactor: Mutex::new(reactor),
            waits: AtomicBool::new(false),
        };
        let name = handles::name(Box::new(shared)).ok_or_else(|| Failure::memory("a handle"))?;
        handles::pin::<Shared>(name).map_err(bad)?.lock()?.own_name = name;
        // SAFETY: as above.
        unsafe { store("pool", pool, std::ptr::without_provenance_mut(name as usize)) }?;
        Ok(SP_OK)
    })
}

/// Closes every connection and listener of a pool and forgets it; sets the handle to NULL. NULL, or a pointer to NULL, is
/// no error. If another thread is in a call with this pool, that call goes on and is the one that closes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sp_pool_free(pool: *mut *mut sp_pool) -> c_int {
    call("sp_pool_free", || {
        if pool.is_null() {
            return Ok(SP_OK);
        }
        // SAFETY: not NULL, and the caller promises that it may be read and written.
        let name = unsafe { pool.replace(std::ptr::null_mut()) };
        if name.is_null() {
            return Ok(SP_OK);
        }
        free_named(name.addr() as u64)?;
        Ok(SP_OK)
    })
}

/// Frees a pool by its handle.
pub(super) fn free_named(handle: u64) -> Result<(), Failure> {
    // Whoever waits in a turn lets go.
    let waiting = handles::pin::<Shared>(handle).map_err(bad)?;
    handles::free::<Shared>(handle).map_err(bad)?;
    let _ = waiting.handle.wake();
    Ok(())
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
        let pinned = pin(pool)?;
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
            let inner = pinned.lock()?;
            pinned.waits.store(true, Ordering::Release);
            inner.pool.next_timeout()
        };
        let timeout = match (most, due) {
            (Some(most), Some(due)) => Some(most.min(due)),
            (most, due) => most.or(due),
        };
        let waited = reactor.turn(timeout);
        pinned.waits.store(false, Ordering::Release);
        // What was due is done even if the wait has failed.
        pinned.lock()?.pool.process(&mut reactor);
        waited?;
        Ok(SP_OK)
    })
}

/// Stores the next event and returns 1; returns 0 when this turn has nothing more to tell.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sp_pool_next_event(pool: *mut sp_pool, event: *mut sp_event) -> c_int {
    with_pool("sp_pool_next_event", pool, |inner| {
        // SAFETY: as the caller promises.
        unsafe { store("event", event, sp_event::none()) }?;
        let Some(next) = inner.next() else { return Ok(0) };
        // SAFETY: as above.
        unsafe { store("event", event, next) }?;
        Ok(1)
    })
}

impl Inner {
    /// Ends the name of the connection whose end was told last.
    fn forget_told(&mut self) {
        // There may be none.
        let _ = handles::free_socket(std::mem::take(&mut self.told_closed), Kind::Connection);
    }

    fn next(&mut self) -> Option<sp_event> {
        self.forget_told();
        loop {
            let event = self.pool.next_event()?;
            if let Some(event) = self.tell(event) {
                return Some(event);
            }
        }
    }

    /// The event as C has it; `None` for one that C does not hear of.
    fn tell(&mut self, event: Event<u64>) -> Option<sp_event> {
        let (kind, id) = match event {
            Event::Opened(id) => {
                let mut connection = self.pool.get(id)?;
                let facts = handles::Facts {
                    owner: self.own_name,
                    id: id.as_u64(),
                    created_ms: millis(connection.created()),
                    fd: connection.fd(),
                };
                let Some(name) = handles::name_connection(facts) else {
                    // Without a name nobody could do anything with it.
                    self.pool.kill(id);
                    return None;
                };
                connection.set_userdata(name);
                return Some(named(event::SP_EVENT_OPENED, name));
            }
            Event::Closed { userdata, reason, .. } => {
                let name = userdata?;
                self.told_closed = name;
                return Some(sp_event { reason: code(reason), ..named(event::SP_EVENT_CLOSED, name) });
            }
            Event::Drained => return Some(sp_event { kind: event::SP_EVENT_DRAINED, ..sp_event::none() }),
            Event::Readable(id) => (event::SP_EVENT_READABLE, id),
            Event::Writable(id) => (event::SP_EVENT_WRITABLE, id),
            Event::ReadClosed(id) => (event::SP_EVENT_READ_CLOSED, id),
        };
        let name = *self.pool.get(id)?.userdata()?;
        Some(named(kind, name))
    }
}

fn named(kind: c_int, name: u64) -> sp_event {
    let connection = std::ptr::without_provenance_mut::<sp_connection>(name as usize);
    let userdata = handles::userdata(name).unwrap_or(std::ptr::null_mut::<c_void>());
    sp_event { kind, reason: 0, connection, userdata }
}

pub(super) fn millis(at: Nanos) -> u64 {
    at.as_nanos() / 1_000_000
}

/// Reasons have numbers from 1 on, in the order of `Reason::ALL`.
fn code(reason: Reason) -> c_int {
    Reason::ALL.iter().position(|other| *other == reason).map_or(0, |place| place as c_int + 1)
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
        let next = inner.pool.next_timeout();
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
        let pinned = pin(pool)?;
        // SAFETY: as the caller promises.
        unsafe { store("fd", fd, pinned.fd) }?;
        Ok(SP_OK)
    })
}

/// Ends the wait of whoever turns the pool, or the next one. From any thread.
#[unsafe(no_mangle)]
pub extern "C" fn sp_pool_wake(pool: *mut sp_pool) -> c_int {
    call("sp_pool_wake", || {
        let pinned = pin(pool)?;
        pinned.handle.wake().map_err(|error| Failure::state(&error.to_string()))?;
        Ok(SP_OK)
    })
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
