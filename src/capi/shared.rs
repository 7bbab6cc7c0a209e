//! What stands behind a pool's handle: the pool under its lock, and the ends of connections that the program drives, which
//! are told without any lock.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::net::Shutdown;
use std::num::NonZeroU64;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::connection::sp_connection;
use super::event::{self, sp_event};
use super::handles::{self, Bad, Kind, Object, Pinned};
use super::pool::sp_pool;
use super::status::Failure;
use super::{driven, limbo, nesting, poll, waiting};
use crate::clock::{Clock, Nanos};
use crate::health::Snapshot;
use crate::id::ConnId;
use crate::net::{OsWaker, Poller, Reactor, sys};
use crate::reason::Reason;
use crate::server::{Builder, Event, Handle, SocketPool};

/// The handle that hangs on a connection.
pub(super) type Name = NonZeroU64;

/// A pool and what its callers share.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// Held during a turn, in whose wait `inner` is not.
    pub(super) reactor: Mutex<Reactor>,
    /// Whether a turn sleeps by what was due when it looked. Set while `inner` is locked.
    pub(super) waits: AtomicBool,
    pub(super) handle: Handle,
    pub(super) waker: OsWaker,
    pub(super) fd: c_int,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) pool: SocketPool<Name>,
    pub(super) own_name: u64,
    pub(super) stage: Stage,
    /// The connection whose end was told last by an event: its name answers until the next event is asked for.
    told_closed: Option<Name>,
    /// Ends to be told by the callback.
    untold: VecDeque<End>,
    /// Ends that are being told, by functions that have not returned: those names go on answering, even if the pool does not.
    telling: Vec<Name>,
    /// Connections that the program drives, that have ended, and that it has not removed yet: when they are closed all the
    /// same, the first of them first.
    parting: VecDeque<(Nanos, Name)>,
    pub(super) close_callback: Option<Callback>,
    /// The listeners from which connections have come.
    pub(super) listeners: Vec<u64>,
    pub(super) snapshot: Option<Box<Snapshot>>,
}

/// Who turns a pool, and how long there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody: it does what is due when it is called, and in the waits of `SocketPoll`.
    Called,
    /// The program: it listens, or has been turned.
    Turned,
    /// It is being freed.
    Freed,
}

/// Who closes a connection that the pool has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parting {
    /// The program, when it sees the end.
    ByProgram,
    /// The pool.
    AtOnce,
}

/// What is called with every connection that ends: which, what hangs on it, why, and what was given with the function.
/// NULL: nothing is called.
pub type SocketPool_CloseCallback =
    Option<unsafe extern "C-unwind" fn(*mut sp_connection, *mut c_void, c_int, *mut c_void)>;

/// That function.
pub(super) type CloseCallback =
    unsafe extern "C-unwind" fn(*mut sp_connection, *mut c_void, c_int, *mut c_void);

/// A function of the program's, with what it gave to be called with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Callback {
    pub(super) call: CloseCallback,
    pub(super) argument: *mut c_void,
}

// SAFETY: the argument is not looked at here; what the program makes of it in which thread is its own business.
unsafe impl Send for Callback {}

/// The end of a connection, to be told.
#[derive(Clone, Copy, Debug)]
struct End {
    name: Name,
    /// `None`: it was told before, or is further in front. Now its name goes.
    reason: Option<Reason>,
    then: Then,
}

/// What becomes of a name when its end has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It goes.
    Free,
    /// It goes with the next event, or when the program removes it.
    Keep,
}

impl Object for Shared {
    const KIND: Kind = Kind::Pool;
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.forget_told();
        let mut names = Vec::new();
        self.pool.for_each(|connection| names.extend(connection.userdata().copied()));
        while let Some((until, name)) = self.parting.pop_front() {
            poll::forget(name.get());
            match self.telling.contains(&name) {
                // Its end is being told, or its function has jumped away.
                true => limbo::put(until, name.get()),
                false => names.push(name),
            }
        }
        names.extend(self.untold.drain(..).map(|end| end.name));
        names.into_iter().for_each(end_name);
    }
}

/// Ends the name of a connection, if it has not ended yet.
fn end_name(name: Name) {
    let _ = handles::free_socket(name.get(), Kind::Connection);
}

impl Shared {
    /// Makes a pool and gives it its name.
    pub(super) fn make(builder: Builder<Name>) -> Result<u64, Failure> {
        let mut reactor = Reactor::new()?;
        // The program compares what it is told with its own CLOCK_MONOTONIC (DECISIONS 20).
        let mut pool = builder.clock(Clock::showing(sys::monotonic_nanos)).build_on(&mut reactor)?;
        pool.lend_addresses();
        let shared = Self {
            handle: pool.handle(),
            waker: reactor.poller().waker(),
            fd: std::os::fd::AsRawFd::as_raw_fd(&reactor),
            inner: Mutex::new(Inner {
                pool,
                own_name: 0,
                stage: Stage::Called,
                told_closed: None,
                untold: VecDeque::new(),
                telling: Vec::new(),
                parting: VecDeque::new(),
                close_callback: None,
                listeners: Vec::new(),
                snapshot: None,
            }),
            reactor: Mutex::new(reactor),
            waits: AtomicBool::new(false),
        };
        let name = handles::name(Box::new(shared)).ok_or_else(|| Failure::memory("a handle"))?;
        handles::pin::<Self>(name).map_err(bad)?.lock()?.own_name = name;
        Ok(name)
    }

    /// The pool, for one call. A panic in an earlier call has left it in nobody knows which state.
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, Inner>, Failure> {
        self.inner.lock().map_err(|_| Failure::state("the pool has failed before and does nothing any more"))
    }

    /// Ends the wait of a turn in another thread: it sleeps by what was due before.
    pub(super) fn hurry(&self) {
        if self.waits.load(Ordering::Acquire) {
            // It fails only when the pool is gone, or so many wait already that it is awake.
            let _ = self.handle.wake();
        }
    }
}

fn bad(reason: Bad) -> Failure {
    Failure::handle("pool", Kind::Pool, reason)
}

/// Finds a pool.
pub(super) fn pin(pool: *mut sp_pool) -> Result<Pinned<Shared>, Failure> {
    handles::pin(pool.addr() as u64).map_err(bad)
}

/// Runs a call on a pool, alone with it.
pub(super) fn with<T>(
    pool: *mut sp_pool,
    run: impl FnOnce(&mut Inner) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let pinned = pin(pool)?;
    let value = run(&mut *pinned.lock()?)?;
    pinned.hurry();
    Ok(value)
}

/// The same after what is due has been done, for a pool that nobody turns. The caller has [`tell`] called afterwards.
pub(super) fn with_due<T>(
    pool: *mut sp_pool,
    run: impl FnOnce(&mut Inner) -> Result<T, Failure>,
) -> Result<T, Failure> {
    with(pool, |inner| {
        inner.do_what_is_due();
        run(inner)
    })
}

/// Tells what ends there are to be told. Nothing is locked, held or borrowed while the program's function runs: it may call
/// anything, free the pool, throw, or jump out of it.
///
/// A function that is told of an end and calls the pool is told of the next one in that call, and so on: that goes only so
/// deep, and the rest is left to whoever is further up.
pub(super) fn tell(pool: u64) {
    let here = 0_u8;
    let frame = (&raw const here).addr();
    if nesting::enter(frame) {
        tell_all(pool);
        nesting::leave(frame);
    }
}

/// The same, however deep.
pub(super) fn tell_all(pool: u64) {
    while let Some(Telling { call, connection, userdata, reason, argument, then }) = next_to_tell(pool) {
        // SAFETY: the program gave the function for this, and vouches for what it does.
        unsafe { call(connection, userdata, reason, argument) };
        told(pool, connection, then);
    }
}

/// The program's function has returned.
fn told(pool: u64, connection: *mut sp_connection, then: Then) {
    let name = connection.addr() as u64;
    match handles::pin::<Shared>(pool) {
        Ok(pinned) => {
            if let Ok(mut inner) = pinned.lock() {
                inner.telling.retain(|other| other.get() != name);
            }
            if then == Then::Free {
                let _ = handles::free_socket(name, Kind::Connection);
            }
        }
        // It was freed meanwhile, and there is nobody else to whom the connection belongs.
        Err(_) => limbo::end(name),
    }
}

/// One call of the program's function.
#[derive(Clone, Copy)]
struct Telling {
    call: CloseCallback,
    connection: *mut sp_connection,
    userdata: *mut c_void,
    reason: c_int,
    argument: *mut c_void,
    then: Then,
}

fn next_to_tell(pool: u64) -> Option<Telling> {
    let pinned = handles::pin::<Shared>(pool).ok()?;
    let mut inner = pinned.lock().ok()?;
    loop {
        let End { name, reason, then } = inner.untold.pop_front()?;
        let Some(reason) = reason else {
            end_name(name);
            continue;
        };
        let Some(Callback { call, argument }) = inner.close_callback else {
            if then == Then::Free {
                end_name(name);
            }
            continue;
        };
        inner.telling.push(name);
        if then == Then::Free {
            // If the function never returns, its time is over soon all the same.
            inner.part_with(name);
        }
        return Some(Telling {
            call,
            connection: std::ptr::without_provenance_mut(name.get() as usize),
            userdata: handles::userdata(name.get()).unwrap_or(std::ptr::null_mut()),
            reason: code(reason),
            argument,
            then,
        });
    }
}

impl Inner {
    /// Does what is due in a pool that nobody turns. Ends that are decided meanwhile are told later.
    pub(super) fn do_what_is_due(&mut self) {
        limbo::sweep(|| self.pool.now());
        if self.stage == Stage::Called {
            self.pool.tick();
            self.take_ends(Parting::ByProgram);
        }
        let now = self.pool.now();
        while let Some((until, name)) = self.parting.front().copied()
            && until <= now
        {
            self.parting.pop_front();
            self.close(name);
        }
    }

    /// For how long the program may wait.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        let parting = self.parting.front().map(|(until, _)| until.since(self.pool.now()));
        let due = if self.stage == Stage::Called { self.pool.next_timeout() } else { None };
        due.into_iter().chain(parting).min()
    }

    /// Takes note of the ends of connections in a pool that nobody turns.
    fn take_ends(&mut self, parting: Parting) {
        while let Some(event) = self.pool.next_event() {
            let Event::Closed { userdata: Some(name), reason, .. } = event else { continue };
            match parting {
                Parting::ByProgram => self.ended(name, reason),
                Parting::AtOnce => {
                    poll::forget(name.get());
                    self.removed(name, reason);
                }
            }
        }
    }

    /// Takes a connection out that the program removes. One whose end is still to come as an event goes with that.
    pub(super) fn remove(&mut self, name: Name) -> Result<(), Bad> {
        if self.stage == Stage::Called {
            // It may have ended without anybody having taken note of it.
            self.take_ends(Parting::ByProgram);
        }
        let facts = handles::facts(name.get(), Kind::Connection)?;
        if facts.id == handles::REMOVED {
            return Err(Bad::Stale);
        }
        match ConnId::from_u64(facts.id) {
            None => {
                if handles::closes_descriptor(name.get()) {
                    driven::part(facts.fd);
                }
                self.end_when_told(name);
            }
            Some(id) => {
                match self.pool.let_go(id, Reason::Closed) {
                    Some(reason) => {
                        poll::forget(name.get());
                        self.removed(name, reason);
                    }
                    // Its end is still to come as an event, and then nobody removes it once more.
                    None => handles::set_left(name.get(), handles::REMOVED),
                }
            }
        }
        Ok(())
    }

    /// Somebody goes for a newcomer for whom there is no descriptor, and his is free at once.
    pub(super) fn make_room(&mut self) -> bool {
        let goes = self.stage == Stage::Called && self.pool.make_room();
        if goes {
            self.take_ends(Parting::AtOnce);
        }
        goes
    }

    /// Until when newcomers are to wait for a place, if there is none now.
    pub(super) fn no_place_until(&mut self) -> Option<Nanos> {
        if self.stage == Stage::Called { self.pool.no_place_until() } else { None }
    }

    /// The pool has ended a connection that the program drives, which sees that its peer has gone and removes it.
    fn ended(&mut self, name: Name, reason: Reason) {
        handles::set_left(name.get(), handles::ENDED);
        waiting::a_place_is_free(self.own_name);
        if let Ok(facts) = handles::facts(name.get(), Kind::Connection) {
            shut_down(facts.fd);
        }
        self.part_with(name);
        self.untold.push_back(End { name, reason: Some(reason), then: Then::Keep });
    }

    fn part_with(&mut self, name: Name) {
        self.parting.push_back((self.pool.now() + PARTING_TIME, name));
    }

    /// The program has removed a connection, or it is not to see to that itself.
    pub(super) fn removed(&mut self, name: Name, reason: Reason) {
        waiting::a_place_is_free(self.own_name);
        if self.close_callback.is_some() {
            handles::set_left(name.get(), handles::REMOVED);
            self.untold.push_back(End { name, reason: Some(reason), then: Then::Free });
        } else {
            end_name(name);
        }
    }

    /// Closes a connection that has ended and that the program has not removed.
    fn close(&mut self, name: Name) {
        poll::forget(name.get());
        self.end_when_told(name);
    }

    /// Ends the name of a connection that has ended, but not before that is told.
    pub(super) fn end_when_told(&mut self, name: Name) {
        match self.untold.is_empty() {
            true => end_name(name),
            false => {
                handles::set_left(name.get(), handles::REMOVED);
                self.untold.push_back(End { name, reason: None, then: Then::Free });
            }
        }
    }

    /// Ends every connection at once. They are told of when this is over.
    pub(super) fn end_all(&mut self) {
        if self.stage == Stage::Freed {
            // Nobody asks for events any more.
            self.take_ends(Parting::AtOnce);
        }
        let mut all = Vec::new();
        self.pool.for_each(|connection| all.push((connection.id(), connection.userdata().copied())));
        for (id, name) in all {
            // Others have ended, and their event tells it.
            let goes = self.pool.let_go(id, Reason::Forced);
            let goes = goes.or((self.stage == Stage::Freed).then_some(Reason::Forced));
            if let (Some(name), Some(reason)) = (name, goes) {
                poll::forget(name.get());
                self.removed(name, reason);
            }
        }
    }

    pub(super) fn has_ends_to_tell(&self) -> bool {
        !self.untold.is_empty()
    }

    /// Closes every connection that has ended and that the program has not removed.
    pub(super) fn close_parting(&mut self) {
        while let Some((_, name)) = self.parting.pop_front() {
            self.close(name);
        }
    }

    /// Ends the name of the connection whose end was told last.
    fn forget_told(&mut self) {
        self.told_closed.take().into_iter().for_each(end_name);
    }

    /// The next event of a pool that the program turns.
    pub(super) fn next_event(&mut self) -> Option<sp_event> {
        self.forget_told();
        loop {
            let event = self.pool.next_event()?;
            if let Some(event) = self.event(event) {
                return Some(event);
            }
        }
    }

    /// The event as C has it; `None` for one that C does not hear of.
    fn event(&mut self, event: Event<Name>) -> Option<sp_event> {
        let (kind, id) = match event {
            Event::Opened(id) => {
                let mut connection = self.pool.get(id)?;
                if let Some(name) = connection.userdata() {
                    return Some(named(event::SP_EVENT_OPENED, *name));
                }
                let facts = handles::Facts {
                    owner: self.own_name,
                    id: id.as_u64(),
                    created_ms: connection.created().as_millis(),
                    fd: connection.fd(),
                };
                let Some(name) = handles::name_connection(facts).and_then(Name::new) else {
                    // Without a name nobody could do anything with it.
                    self.pool.kill(id);
                    return None;
                };
                connection.set_userdata(name);
                return Some(named(event::SP_EVENT_OPENED, name));
            }
            Event::Closed { userdata, reason, .. } => {
                let name = userdata?;
                let facts = handles::facts(name.get(), Kind::Connection);
                let was_removed = facts.is_ok_and(|facts| facts.id == handles::REMOVED);
                match (handles::closes_descriptor(name.get()), was_removed) {
                    (true, false) => {
                        self.ended(name, reason);
                        return None;
                    }
                    (true, true) => {
                        poll::forget(name.get());
                        self.removed(name, reason);
                        return None;
                    }
                    (false, false) => handles::set_left(name.get(), handles::ENDED),
                    (false, true) => {}
                }
                poll::forget(name.get());
                self.untold.push_back(End { name, reason: Some(reason), then: Then::Keep });
                self.told_closed = Some(name);
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

/// The peer hears that it is over, and whoever watches the socket sees it.
fn shut_down(fd: RawFd) {
    // SAFETY: the connection's name, which has not ended, keeps its descriptor open.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    // The peer may be gone already.
    let _ = socket2::SockRef::from(&socket).shutdown(Shutdown::Both);
}

fn named(kind: c_int, name: Name) -> sp_event {
    let connection = std::ptr::without_provenance_mut::<sp_connection>(name.get() as usize);
    let userdata = handles::userdata(name.get()).unwrap_or(std::ptr::null_mut::<c_void>());
    sp_event { kind, reason: 0, connection, userdata }
}

/// Reasons have numbers from 1 on, in the order of `Reason::ALL`.
pub(super) fn code(reason: Reason) -> c_int {
    Reason::ALL.iter().position(|other| *other == reason).map_or(0, |place| place as c_int + 1)
}

/// How long the program has to remove a connection that the pool has ended (DECISIONS 17).
const PARTING_TIME: Duration = Duration::from_secs(1);
