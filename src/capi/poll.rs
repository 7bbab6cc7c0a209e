//! `SocketPoll_…`: a level-triggered set of descriptors, in whose waits the pools work whose connections are in it.
//!
//! Lock order: a pool, the list of all polls, one poll. So no pool is called while a poll is locked.

mod entries;
mod set;
mod silences;
#[cfg(test)]
mod tests;
mod wait;

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::common::Common;
use super::driven;
use super::handles::{self, HeldSocket, Kind, Object, Pinned};
use super::socket::Socket_T;
use super::status::{Failure, answer};
use crate::net::epoll::{ERROR, HANGUP, READ, WRITE};
use set::{Member, Set};
use silences::FOR_GOOD;

/// A level-triggered set of descriptors. A pointer to it is a name, not an address.
#[derive(Debug)]
pub struct sp_poll;

/// The same, as the guide calls it.
pub type SocketPoll_T = *mut sp_poll;

/// What has become ready.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SocketEvent_T {
    /// The socket, also if it was added by its descriptor and is a pool's connection; NULL for any other descriptor.
    pub socket: Socket_T,
    /// What was given with it.
    pub data: *mut c_void,
    /// A sum of POLL_READ (also at the end of the stream), POLL_WRITE, POLL_ERROR and POLL_HANGUP.
    pub events: c_uint,
}

/// As a timeout: the default of the poll.
pub const SOCKET_POLL_TIMEOUT_USE_DEFAULT: c_int = -2;

/// A poll, for all of its callers.
#[derive(Debug)]
struct Poll {
    set: Mutex<Set>,
}

impl Object for Poll {
    const KIND: Kind = Kind::Poll;
}

impl Poll {
    fn lock(&self) -> MutexGuard<'_, Set> {
        // Nothing that holds it leaves it half changed.
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every poll of the process, for what must reach all of them.
pub(super) static POLLS: Common<Mutex<Vec<u64>>> = Common::<Mutex<_>>::new(Vec::new());
/// How many there are: programs without one pay nothing.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// How many wait in them: programs in which nobody does pay nothing for what those are to hear of.
static WAITERS: AtomicUsize = AtomicUsize::new(0);

fn polls() -> MutexGuard<'static, Vec<u64>> {
    POLLS.lock()
}

fn everywhere(run: impl Fn(&mut Set)) {
    if LIVE.load(Ordering::Acquire) == 0 {
        return;
    }
    for poll in polls().iter() {
        // The polls of the process that forked this one are not touched.
        if let Ok(poll) = handles::pin::<Poll>(*poll) {
            run(&mut poll.lock());
        }
    }
}

/// Whether somebody waits in a poll, or is about to.
#[inline]
pub(super) fn somebody_waits() -> bool {
    WAITERS.load(Ordering::Acquire) > 0
}

/// Something is due in a pool at that time (CLOCK_MONOTONIC, in nanoseconds): whoever waits in a poll in which a connection
/// of it is registered waits no longer.
pub(super) fn hurry(pool: u64, due: u64) {
    everywhere(|set| set.hurry(pool, due));
}

/// Whether there is a poll that could have a descriptor.
#[inline]
pub(super) fn are_there() -> bool {
    LIVE.load(Ordering::Acquire) > 0
}

/// A descriptor is about to be closed, or is nobody's any more: no poll has it from now on.
pub(super) fn forget_everywhere(fd: RawFd) {
    everywhere(|set| set.remove(fd));
}

/// Output waits for a descriptor: wherever it is registered, room to write is told.
pub(super) fn want_write(fd: RawFd) {
    everywhere(|set| set.want_write(fd));
}

/// Withholds POLL_READ of a descriptor wherever it is registered: until that time (CLOCK_MONOTONIC, in milliseconds) or
/// [`unmute_reading`], or else for good. `false`: it is registered nowhere.
pub(super) fn mute_reading(fd: RawFd, until: Option<u64>) -> bool {
    let muted = Cell::new(false);
    everywhere(|set| muted.set(set.mute(fd, until.unwrap_or(FOR_GOOD)) || muted.get()));
    muted.get()
}

/// Tells POLL_READ of that descriptor again, unless it is withheld for good.
pub(super) fn unmute_reading(fd: RawFd) {
    everywhere(|set| set.unmute(fd));
}

/// A socket has become a connection of a pool. It may be in polls already. Whoever calls this holds no pool.
#[inline]
pub(super) fn has_joined(connection: u64) {
    if are_there() {
        join_those_there_are(connection);
    }
}

#[inline(never)]
fn join_those_there_are(connection: u64) {
    let Ok(facts) = handles::facts(connection, Kind::Connection) else { return };
    let registered = AtomicUsize::new(0);
    everywhere(|set| {
        let joined = set.join(facts.fd, handles::view(connection, Kind::Socket), facts.owner);
        registered.fetch_add(usize::from(joined), Ordering::Relaxed);
    });
    if registered.into_inner() > 0 {
        driven::observe(connection);
    }
}

fn pin(poll: SocketPoll_T) -> Result<Pinned<Poll>, Failure> {
    handles::pin(poll.addr() as u64).map_err(|bad| Failure::handle("poll", Kind::Poll, bad))
}

/// Makes a poll whose waits tell of at most `max_events` descriptors at a time (1 to 1,048,576); any number may be
/// registered. NULL on failure. Every function of a poll may be called by any thread at any time.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPoll_new(max_events: c_int) -> SocketPoll_T {
    answer("SocketPoll_new", null_mut(), || {
        let most = usize::try_from(max_events).ok().filter(|most| (1..=MOST_EVENTS).contains(most));
        let bounds = format_args!("is {max_events}, must be from 1 to {MOST_EVENTS}");
        let set = Set::new(most.ok_or_else(|| Failure::argument("max_events", bounds))?)?;
        let mut polls = polls();
        polls.try_reserve(1).map_err(|_| Failure::memory("a poll"))?;
        let poll = Poll { set: Mutex::new(set) };
        let name = handles::name(Box::new(poll)).ok_or_else(|| Failure::memory("a handle"))?;
        polls.push(name);
        LIVE.store(polls.len(), Ordering::Release);
        Ok(std::ptr::without_provenance_mut(name as usize))
    })
}

/// Frees a poll and sets the handle to NULL; the descriptors in it stay open. Who waits in it in another thread returns -1
/// at once. NULL, or a pointer to NULL, is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketPoll_free(poll: *mut SocketPoll_T) {
    if poll.is_null() {
        return;
    }
    // SAFETY: not NULL, and the caller promises that it may be read and written.
    let named = unsafe { poll.replace(null_mut()) };
    if !named.is_null() {
        answer("SocketPoll_free", (), || free(named));
    }
}

fn free(poll: SocketPoll_T) -> Result<(), Failure> {
    let pinned = pin(poll)?;
    let name = poll.addr() as u64;
    handles::free::<Poll>(name).map_err(|bad| Failure::handle("poll", Kind::Poll, bad))?;
    let mut polls = polls();
    polls.retain(|other| *other != name);
    LIVE.store(polls.len(), Ordering::Release);
    drop(polls);
    // Whoever waits finds that the name is gone.
    pinned.lock().ring();
    Ok(())
}

/// Registers a descriptor, whose readiness for `events` (a sum of POLL_READ and POLL_WRITE, or 0) the waits tell from now
/// on together with `data`; POLL_ERROR and POLL_HANGUP are told in any case. The descriptor stays the caller's. If it is a
/// pool's connection, the waits do what is due in that pool. 0 is returned, or -1, with errno EEXIST if it is registered
/// already.
#[unsafe(no_mangle)]
pub extern "C" fn sp_poll_add_fd(poll: SocketPoll_T, fd: c_int, events: c_uint, data: *mut c_void) -> c_int {
    answer("SocketPoll_add", -1, || {
        // A connection is known by its descriptor as well.
        let socket = driven::name_of_fd(fd).map(|connection| handles::view(connection, Kind::Socket));
        let held = socket.and_then(|socket| handles::hold_socket(socket, Kind::Socket).ok());
        let held = held.filter(|held| held.fd == fd);
        let socket = held.as_ref().and(socket).unwrap_or(0);
        add(poll, Member { fd, socket, wish: wish(events)?, data })
    })
}

/// Registers a socket as `sp_poll_add_fd` does, and makes it non-blocking.
#[unsafe(no_mangle)]
pub extern "C" fn sp_poll_add_socket(
    poll: SocketPoll_T,
    socket: Socket_T,
    events: c_uint,
    data: *mut c_void,
) -> c_int {
    answer("SocketPoll_add", -1, || {
        let held = hold(socket)?;
        let wish = wish(events)?;
        let added = add(poll, Member { fd: held.fd, socket: socket.addr() as u64, wish, data })?;
        // SAFETY: the socket is held, so its descriptor is open.
        let fd = unsafe { BorrowedFd::borrow_raw(held.fd) };
        // It fails for no socket.
        let _ = socket2::SockRef::from(&fd).set_nonblocking(true);
        Ok(added)
    })
}

fn add(poll: SocketPoll_T, member: Member) -> Result<c_int, Failure> {
    let poll = pin(poll)?;
    let Member { fd, socket, .. } = member;
    let connection = handles::connection_of(socket);
    let owner = connection.and_then(|connection| handles::facts(connection, Kind::Connection).ok());
    poll.lock().add(member, owner.map_or(0, |facts| facts.owner))?;
    if let Err(bad) = alive(socket) {
        // It has gone meanwhile, when the poll did not have it yet.
        poll.lock().remove_dead(fd);
        return Err(Failure::handle("socket", Kind::Socket, bad));
    }
    if let Some(connection) = connection {
        driven::observe(connection);
    }
    Ok(0)
}

/// Changes for which events (as in `SocketPoll_add`; 0 is allowed) a registered descriptor is told, and with which `data`.
/// Costs no system call before the next wait, and then only if something has changed. 0 is returned, or -1, with errno
/// ENOENT if it is not registered.
#[unsafe(no_mangle)]
pub extern "C" fn sp_poll_mod_fd(poll: SocketPoll_T, fd: c_int, events: c_uint, data: *mut c_void) -> c_int {
    answer("SocketPoll_mod", -1, || {
        pin(poll)?.lock().change(Member { fd, socket: 0, wish: wish(events)?, data }).map(|()| 0)
    })
}

/// The same for a registered socket.
#[unsafe(no_mangle)]
pub extern "C" fn sp_poll_mod_socket(
    poll: SocketPoll_T,
    socket: Socket_T,
    events: c_uint,
    data: *mut c_void,
) -> c_int {
    answer("SocketPoll_mod", -1, || {
        let held = hold(socket)?;
        let wish = wish(events)?;
        let member = Member { fd: held.fd, socket: socket.addr() as u64, wish, data };
        pin(poll)?.lock().change(member).map(|()| 0)
    })
}

/// Takes a descriptor out of the poll; call it before the descriptor is closed. What the last wait of this thread has told
/// of it becomes an event without a reason (`events` 0). What a pool closes is taken out by itself. 0 is returned, or -1,
/// with errno ENOENT if it is not registered.
#[unsafe(no_mangle)]
pub extern "C" fn sp_poll_del_fd(poll: SocketPoll_T, fd: c_int) -> c_int {
    answer("SocketPoll_del", -1, || pin(poll)?.lock().take_out(fd, 0).map(|()| 0))
}

/// The same for a socket.
#[unsafe(no_mangle)]
pub extern "C" fn sp_poll_del_socket(poll: SocketPoll_T, socket: Socket_T) -> c_int {
    answer("SocketPoll_del", -1, || {
        let held = hold(socket)?;
        pin(poll)?.lock().take_out(held.fd, socket.addr() as u64).map(|()| 0)
    })
}

/// Waits until something is ready, at most `timeout_ms` (-1: for as long as nothing happens; 0: not at all;
/// SOCKET_POLL_TIMEOUT_USE_DEFAULT: for as long as the poll's default says), and does what is due in every pool of which a
/// connection is registered, close callbacks included; they may call anything, free this poll, throw or `longjmp`.
///
/// Stores in `*events` an array, which belongs to the poll and is good until its next wait or its end, and returns how many
/// events are in it: 0 when the time is over, after a signal, and possibly before the time is over when connections of a
/// pool are registered, since something may have been due in it. A descriptor is told again by every wait, until it is not
/// ready any more. -1 on failure, with errno EBUSY while another thread waits in the same poll.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn SocketPoll_wait(
    poll: SocketPoll_T,
    events: *mut *mut SocketEvent_T,
    timeout_ms: c_int,
) -> c_int {
    let Some((array, n)) = wait::wait(poll.addr() as u64, !events.is_null(), timeout_ms) else { return -1 };
    // SAFETY: it is not NULL, or that was a failure; the caller promises that it may be written through.
    unsafe { events.write(array) };
    c_int::try_from(n).unwrap_or(c_int::MAX)
}

/// For how many milliseconds SOCKET_POLL_TIMEOUT_USE_DEFAULT waits (1,000 unless set); 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPoll_getdefaulttimeout(poll: SocketPoll_T) -> c_int {
    answer("SocketPoll_getdefaulttimeout", 0, || Ok(pin(poll)?.lock().default_timeout_ms))
}

/// For how many milliseconds SOCKET_POLL_TIMEOUT_USE_DEFAULT waits from now on; -1: for as long as nothing happens. 0 is
/// returned, or -1 for a bad argument.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPoll_setdefaulttimeout(poll: SocketPoll_T, timeout_ms: c_int) -> c_int {
    answer("SocketPoll_setdefaulttimeout", -1, || {
        let poll = pin(poll)?;
        if timeout_ms < -1 {
            let bound = format_args!("is {timeout_ms}, must be at least -1");
            return Err(Failure::argument("timeout_ms", bound));
        }
        poll.lock().default_timeout_ms = timeout_ms;
        Ok(0)
    })
}

/// How many descriptors are registered; 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPoll_getregisteredcount(poll: SocketPoll_T) -> c_int {
    answer("SocketPoll_getregisteredcount", 0, || {
        Ok(c_int::try_from(pin(poll)?.lock().len()).unwrap_or(c_int::MAX))
    })
}

/// What a poll waits with: "epoll". It is never freed; NULL for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketPoll_get_backend_name(poll: SocketPoll_T) -> *const c_char {
    answer("SocketPoll_get_backend_name", std::ptr::null(), || pin(poll).map(|_| c"epoll".as_ptr()))
}

fn hold(socket: Socket_T) -> Result<HeldSocket, Failure> {
    handles::hold_socket(socket.addr() as u64, Kind::Socket)
        .map_err(|bad| Failure::handle("socket", Kind::Socket, bad))
}

/// Whether a member is what it was when it was registered; what is not a socket of ours (0) is for the kernel to judge.
fn alive(socket: u64) -> Result<(), handles::Bad> {
    if socket == 0 { Ok(()) } else { handles::facts(socket, Kind::Socket).map(|_| ()) }
}

fn wish(events: c_uint) -> Result<u32, Failure> {
    const ALL: u32 = READ | WRITE | ERROR | HANGUP;
    if events & !ALL != 0 {
        let bounds = format_args!("is {events}, must be a sum of POLL_ values, from 0 to {ALL}");
        return Err(Failure::argument("events", bounds));
    }
    Ok(events & (READ | WRITE))
}

/// A batch is allocated when the poll is made, at 44 bytes an event.
const MOST_EVENTS: usize = 1 << 20;
