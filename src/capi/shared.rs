//! What stands behind a pool's handle: the pool under its lock, and the ends of connections that the program drives, which
//! are told without any lock.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::net::Shutdown;
use std::num::NonZeroU64;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::call::{Call, NoCall};
use super::callback::Callback;
use super::connection::sp_connection;
use super::event::{self, sp_event};
use super::handles::{self, Bad, Kind, Member, Object, Pinned};
use super::lock::{Guard, Lock, NoLock};
use super::pool::sp_pool;
use super::status::Failure;
use super::telling::{End, Ends, Then};
use super::{driven, limbo, poll, waiting};
use crate::clock::{Clock, Nanos};
use crate::health::Snapshot;
use crate::id::ConnId;
use crate::net::{OsStream, OsWaker, Poller, Reactor, Stream, sys};
use crate::reason::Reason;
use crate::server::{Builder, Event, Handle, SocketPool};

/// The handle that hangs on a connection.
pub(super) type Name = NonZeroU64;

/// A pool and what its callers share.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Lock<Inner>,
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
    pub(super) told_closed: Option<Name>,
    /// Ends to be told by the callback.
    pub(super) untold: VecDeque<End>,
    /// Ends that are being told, by functions that have not returned: those names go on answering, even if the pool does not.
    /// With what becomes of them then.
    telling: Vec<(Name, Then)>,
    /// Connections that the program drives, that have ended, and that it has not removed yet: when they are closed all the
    /// same, the first of them first.
    pub(super) parting: VecDeque<(Nanos, Name)>,
    pub(super) close_callback: Option<Callback>,
    /// The listeners from which connections have come.
    pub(super) listeners: Vec<u64>,
    pub(super) snapshot: Option<Box<Snapshot>>,
    /// When something is due as the last who waits in a `SocketPoll` was told; nobody sleeps longer for this pool's sake.
    told_deadline: Nanos,
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

impl Object for Shared {
    const KIND: Kind = Kind::Pool;
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.forget_told();
        let mut names = Vec::new();
        self.pool.for_each(|connection| names.extend(connection.userdata().copied()));
        self.pool.let_streams_go();
        while let Some((until, name)) = self.parting.pop_front() {
            self.forget_in_polls(name);
            match self.is_telling(name) {
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
#[inline]
pub(super) fn end_name(name: Name) {
    let _ = handles::free_socket(name.get(), Kind::Connection);
}

impl Shared {
    /// Makes a pool and gives it its name.
    pub(super) fn make(builder: Builder<Name>) -> Result<u64, Failure> {
        let mut reactor = Reactor::new()?;
        // The program compares what it is told with its own CLOCK_MONOTONIC (DECISIONS 20).
        let mut pool = builder.clock(Clock::showing(sys::monotonic_nanos)).build_on(&mut reactor)?;
        pool.lend_addresses();
        pool.close_by(close);
        let shared = Self {
            handle: pool.handle(),
            waker: reactor.poller().waker(),
            fd: std::os::fd::AsRawFd::as_raw_fd(&reactor),
            inner: Lock::new(Inner {
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
                told_deadline: Nanos::ZERO,
            }),
            reactor: Mutex::new(reactor),
            waits: AtomicBool::new(false),
        };
        let name = handles::name(Box::new(shared)).ok_or_else(|| Failure::memory("a handle"))?;
        handles::pin::<Self>(name).map_err(bad)?.lock()?.own_name = name;
        driven::is_made(name);
        Ok(name)
    }

    /// The pool, for one call. A panic in an earlier call has left it in nobody knows which state.
    #[inline]
    pub(super) fn lock(&self) -> Result<Guard<'_, Inner>, Failure> {
        self.inner.lock().map_err(|why| NoCall::NoLock(why).told(bad))
    }

    /// The same for the one thread of a process.
    #[inline]
    pub(super) fn lock_alone(&self) -> Result<Guard<'_, Inner>, NoLock> {
        self.inner.lock_alone()
    }

    /// The same for one of several.
    #[inline(always)]
    pub(super) fn lock_among_threads(&self) -> Result<Guard<'_, Inner>, NoLock> {
        self.inner.lock_among_threads()
    }

    /// Ends the wait of a turn in another thread, and of a `SocketPoll` if something is due sooner: they sleep by what was
    /// due before. The caller does not hold the lock.
    #[inline]
    pub(super) fn hurry(&self) {
        if poll::somebody_waits() {
            self.hurry_polls();
        }
        if self.waits.load(Ordering::Acquire) {
            // It fails only when the pool is gone, or so many wait already that it is awake.
            let _ = self.handle.wake();
        }
    }

    #[cold]
    fn hurry_polls(&self) {
        let Ok(mut inner) = self.inner.lock() else { return };
        let deadline = inner.deadline();
        // One and the same is read a little later now and then.
        if deadline + SAME < inner.told_deadline {
            inner.told_deadline = deadline;
            poll::hurry(inner.own_name, deadline.as_nanos());
        }
    }
}

#[cold]
fn bad(reason: Bad) -> Failure {
    Failure::handle("pool", Kind::Pool, reason)
}

/// The pool is done with the stream of a connection that it drives.
fn close(name: &Name, stream: OsStream) {
    poll::forget_everywhere(stream.fd());
    handles::give_up(name.get(), stream.into());
}

/// Finds a pool.
#[inline]
pub(super) fn pin(pool: *mut sp_pool) -> Result<Pinned<Shared>, Failure> {
    handles::pin(pool.addr() as u64).map_err(bad)
}

/// Runs a call on a pool, alone with it.
#[inline(always)] // It is all that a function of C's is.
pub(super) fn with<T>(
    pool: *mut sp_pool,
    run: impl FnOnce(&mut Inner) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut inner = Call::on(pool.addr() as u64).map_err(|why| why.told(bad))?;
    let answer = run(&mut inner);
    inner.leave();
    answer
}

/// The same after what is due has been done, for a pool that nobody turns. The caller has [`tell`](super::telling::tell)
/// called afterwards.
#[inline(always)]
pub(super) fn with_due<T>(
    pool: *mut sp_pool,
    run: impl FnOnce(&mut Inner) -> Result<T, Failure>,
) -> Result<T, Failure> {
    with(pool, |inner| {
        inner.do_what_is_due();
        run(inner)
    })
}

impl Inner {
    /// Does what is due in a pool that nobody turns. Ends that are decided meanwhile are told later.
    pub(super) fn do_what_is_due(&mut self) {
        limbo::sweep(|| self.pool.now());
        if self.stage == Stage::Called && self.pool.tick() {
            self.take_ends(Parting::ByProgram);
        }
        if !self.parting.is_empty() {
            self.close_those_who_had_their_time();
        }
    }

    #[cold]
    fn close_those_who_had_their_time(&mut self) {
        let now = self.pool.now();
        while let Some((until, name)) = self.parting.front().copied()
            && until <= now
        {
            self.parting.pop_front();
            // Its function has jumped away.
            self.is_told(name);
            self.close(name);
        }
    }

    /// For how long the program may wait.
    pub(super) fn next_timeout(&mut self) -> Option<Duration> {
        // Nobody is to be woken for those whom the program has removed meanwhile.
        while self.parting.front().is_some_and(|(_, name)| !handles::lives(name.get())) {
            self.parting.pop_front();
        }
        let parting = self.parting.front().map(|(until, _)| until.since(self.pool.now()));
        let due = if self.stage == Stage::Called { self.pool.next_timeout() } else { None };
        due.into_iter().chain(parting).min()
    }

    /// For how long whoever turns the pool may wait.
    pub(super) fn next_turn_timeout(&mut self) -> Option<Duration> {
        let next = self.next_timeout();
        self.pool.next_timeout().into_iter().chain(next).min()
    }

    /// When the next thing is due; never: the last of all times.
    fn deadline(&mut self) -> Nanos {
        let timeout = self.next_timeout();
        timeout.map_or(Nanos::MAX, |timeout| self.pool.now() + timeout)
    }

    /// The same, for one who waits until then and is to hear of an earlier one.
    pub(super) fn told_deadline(&mut self) -> Nanos {
        self.told_deadline = self.deadline();
        self.told_deadline
    }

    /// Takes note of the ends of connections in a pool that nobody turns.
    fn take_ends(&mut self, parting: Parting) {
        while let Some(event) = self.pool.next_event() {
            let Event::Closed { userdata: Some(name), reason, .. } = event else { continue };
            match parting {
                Parting::ByProgram => self.ended(name, reason),
                Parting::AtOnce => {
                    self.forget_in_polls(name);
                    self.removed(name, reason);
                }
            }
        }
    }

    /// Takes a connection out that the program removes, and whose id it has just been. One whose end is still to come as an
    /// event goes with that.
    #[inline(always)] // As its caller.
    pub(super) fn remove(&mut self, member: Member, name: Name, mut id: u64) -> Result<(), Bad> {
        if self.stage == Stage::Called && self.pool.has_ends() {
            // It may have ended without anybody having taken note of it.
            self.take_ends(Parting::ByProgram);
            id = member.id_now(name.get())?;
        }
        if id == handles::REMOVED {
            return Err(Bad::Stale);
        }
        match ConnId::from_u64(id) {
            None => {
                if member.closes_descriptor() {
                    driven::part(member.fd());
                }
                self.end_when_told(name);
            }
            Some(id) => match self.pool.let_go(id, Reason::Closed) {
                Some(reason) => self.removed(name, reason),
                // Its end is still to come as an event, and then nobody removes it once more.
                None => handles::set_left(name.get(), handles::REMOVED),
            },
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

    pub(super) fn part_with(&mut self, name: Name) {
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
    pub(super) fn close(&mut self, name: Name) {
        self.forget_in_polls(name);
        self.end_when_told(name);
    }

    /// Its end is told by a function from now on, after which the name goes or not.
    pub(super) fn tells(&mut self, name: Name, then: Then) {
        self.telling.push((name, then));
        if then == Then::Free {
            // If the function never returns, its time is over soon all the same.
            self.part_with(name);
        }
    }

    /// That function has returned. What is to become of the name now.
    pub(super) fn is_told(&mut self, name: Name) -> Then {
        let place = self.telling.iter().position(|(told, _)| *told == name);
        place.map_or(Then::Keep, |place| self.telling.remove(place).1)
    }

    pub(super) fn is_telling(&self, name: Name) -> bool {
        self.telling.iter().any(|(told, _)| *told == name)
    }

    /// Ends the name of a connection that has ended, but not before that is told, and whoever is told has returned.
    pub(super) fn end_when_told(&mut self, name: Name) {
        if self.is_telling(name) {
            handles::set_left(name.get(), handles::REMOVED);
            self.is_told(name);
            return self.tells(name, Then::Free);
        }
        match self.untold.is_empty() {
            true => end_name(name),
            false => {
                handles::set_left(name.get(), handles::REMOVED);
                self.untold.push_back(End { name, reason: None, then: Then::Free });
            }
        }
    }

    /// Ends every connection at once. They are told of when this is over; those that the pool's loop drives are told by an
    /// event, as it told of their beginning, unless nobody asks for events any more.
    pub(super) fn end_all(&mut self) {
        if self.stage == Stage::Freed {
            // Nobody asks for events any more.
            self.take_ends(Parting::AtOnce);
        }
        let mut all = Vec::new();
        self.pool.for_each(|connection| all.push((connection.id(), connection.userdata().copied())));
        for (id, name) in all {
            if self.stage != Stage::Freed && self.pool.drives(id) {
                name.into_iter().for_each(|name| self.forget_in_polls(name));
                continue;
            }
            // Others have ended, and their event tells it.
            let goes = self.pool.let_go(id, Reason::Forced);
            let goes = goes.or((self.stage == Stage::Freed).then_some(Reason::Forced));
            if let (Some(name), Some(reason)) = (name, goes) {
                self.forget_in_polls(name);
                self.removed(name, reason);
            }
        }
    }

    fn forget_in_polls(&self, name: Name) {
        if let Ok(held) = handles::hold_socket(name.get(), Kind::Connection) {
            poll::forget_everywhere(held.fd);
        }
    }

    /// Which connection has a descriptor, those included that have ended and that the program has not removed.
    pub(super) fn name_of_fd(&self, fd: RawFd) -> Option<Name> {
        let has =
            |name: &Name| handles::facts(name.get(), Kind::Connection).is_ok_and(|facts| facts.fd == fd);
        let live = self.pool.userdata_of_fd(fd).copied().filter(has);
        live.or_else(|| {
            // Those that the pool has closed itself have it no more.
            let untold = self.pool.ended_untold().filter(|name| handles::closes_descriptor(name.get()));
            let mut ended = self.parting.iter().map(|(_, name)| name).chain(untold).copied();
            ended.find(|name| has(name) && !is_removed(*name))
        })
    }

    pub(super) fn ends_to_tell(&self) -> Ends {
        if self.untold.is_empty() { Ends::None } else { Ends::Of(self.own_name) }
    }

    /// Closes every connection that has ended and that the program has not removed.
    pub(super) fn close_parting(&mut self) {
        // Those whose end is being told come back into it.
        for (_, name) in std::mem::take(&mut self.parting) {
            self.close(name);
        }
    }

    /// Ends the name of the connection whose end was told last, once the program's function has been told as well.
    fn forget_told(&mut self) {
        if let Some(name) = self.told_closed.take() {
            self.end_when_told(name);
        }
    }

    /// The next event of a pool that the program turns.
    #[inline(always)] // It is all that its caller does.
    pub(super) fn next_event(&mut self) -> Option<sp_event> {
        self.forget_told();
        self.pool.end_show();
        loop {
            let event = self.pool.next_event()?;
            if let Some(event) = self.event(event) {
                return Some(event);
            }
        }
    }

    /// The event as C has it; `None` for one that C does not hear of.
    #[inline(always)] // As its caller.
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
                match (handles::closes_descriptor(name.get()), is_removed(name)) {
                    (true, false) => {
                        self.ended(name, reason);
                        return None;
                    }
                    (true, true) => {
                        self.forget_in_polls(name);
                        self.removed(name, reason);
                        return None;
                    }
                    (false, false) => handles::set_left(name.get(), handles::ENDED),
                    (false, true) => {}
                }
                self.untold.push_back(End { name, reason: Some(reason), then: Then::Keep });
                self.told_closed = Some(name);
                return Some(sp_event { reason: code(reason), ..named(event::SP_EVENT_CLOSED, name) });
            }
            Event::Drained => return Some(sp_event { kind: event::SP_EVENT_DRAINED, ..sp_event::none() }),
            Event::Readable(id) => (event::SP_EVENT_READABLE, id),
            Event::Writable(id) => (event::SP_EVENT_WRITABLE, id),
            Event::ReadClosed(id) => (event::SP_EVENT_READ_CLOSED, id),
        };
        self.pool.userdata_of(id).map(|name| named(kind, *name))
    }
}

/// Whether the program has removed a connection whose name goes on answering.
fn is_removed(name: Name) -> bool {
    handles::facts(name.get(), Kind::Connection).is_ok_and(|facts| facts.id == handles::REMOVED)
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
pub(super) const PARTING_TIME: Duration = Duration::from_secs(1);
/// Waits are in milliseconds.
const SAME: Duration = Duration::from_millis(1);
