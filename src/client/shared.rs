//! The pool that all its handles, leases, waiters and threads share: the core behind one lock, the connections that the
//! core only knows by name, and what has to be done when the lock is let go.
//!
//! Nothing of the application runs under the lock: managers are called, wakers woken and connections dropped
//! outside of it. A visit takes the lock, asks or tells the core something, and [leaves](Shared::leave).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::Thread;
use std::time::Duration;

use super::backend::{Backend, Connected, WorksIn, tell};
use super::config::PoolConfig;
use super::connectors::Jobs;
use super::deadlines::{Name, Process, Ticks};
use super::error::{ConnectError, ConnectPhase};
use super::guard::ConnectionStats;
use super::manager::Timeouts;
use super::stats::PoolStats;
use crate::clock::{Clock, Nanos};
use crate::lease::{
    Acquired, CloseReason, Command, ConnectFailed, Core, Failure, KeyId, Phase, Refusal, SlotId, WaiterId,
};
use crate::net::sys;

pub(super) struct Shared<B: Backend> {
    inner: Mutex<Inner<B>>,
    /// For those who wait until a warm-up, a round of checks or a drain is over.
    settled: Condvar,
    pub(super) backend: B,
    pub(super) key: KeyId,
    pub(super) config: PoolConfig,
    /// Exact, for whatever waits.
    clock: Clock,
    /// Cheap and a little late, for whatever does not.
    coarse: Clock,
    /// How many forks deep the process was in which the pool was made.
    forks: u32,
    driver: Drive,
}

/// Who carries out commands and calls `tick`.
#[derive(Clone, Copy)]
pub(super) enum Drive {
    /// Threads of the process.
    Threads(&'static Process, Name),
    /// Whoever calls [`Pool::tick`](super::Pool::tick).
    Hand,
}

pub(super) struct Inner<B: Backend> {
    pub(super) core: Core,
    /// By slot.
    records: Vec<Record<B::Connection>>,
    /// By waiter: who is to be woken.
    wakes: Vec<Wake<B>>,
    jobs: VecDeque<Job>,
    /// How many connector threads are at work for this pool, those that are stuck not counted.
    at_work: u32,
    enlisted: Enlisted,
    /// When the deadline thread will call `tick`, at the latest.
    armed: Nanos,
    pub(super) last_error: Option<ConnectError<B::Error>>,
    pub(super) over: Over,
    means: Means,
}

/// How work is done.
#[derive(Clone, Copy)]
struct Means {
    driver: Drive,
    works_in: WorksIn,
    limits: Timeouts,
}

/// What stands beside a slot of the core.
struct Record<C> {
    connection: Option<C>,
    /// Where the lease was taken.
    place: Option<&'static Location<'static>>,
    /// What is being done, if its slot is connecting or validating.
    task: Task,
    work: WorkIs,
    recorded: ConnectionStats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Connect,
    Validate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WorkIs {
    NotBegun,
    Running,
    /// Running for so long that its thread is not counted any more.
    Stuck,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Enlisted {
    No,
    Yes,
}

/// How one who waits is told.
pub(super) enum Wake<B: Backend> {
    Nobody,
    Thread(Thread),
    Waker(Waker),
    Callback(Callback<B>),
}

/// What is called with the lease.
pub(super) type Callback<B> = Box<dyn FnOnce(Given<B>) + Send>;

/// What a waiter ends with.
pub(super) type Given<B> = Result<(SlotId, <B as Backend>::Connection), Failure>;

/// How often something that others wait for has come to its end, and how the last one ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Over {
    pub(super) warms: u64,
    pub(super) not_warmed: u32,
    pub(super) checks: u64,
    pub(super) not_working: u32,
}

enum Job {
    Connect(SlotId),
    Validate(SlotId),
    Close(SlotId, CloseReason),
    /// Call back for a waiter.
    Call(WaiterId),
    /// Log that a lease lasts too long.
    Tell(SlotId),
}

/// What an acquisition came to, with the connection.
pub(super) enum Got<C> {
    Lease(SlotId, C),
    Wait(WaiterId),
}

impl<B: Backend> Shared<B> {
    pub(super) fn new(
        backend: B,
        config: PoolConfig,
        clock: Option<Clock>,
        driver: Drive,
        seed: u64,
    ) -> Self {
        let (clock, coarse) = match clock {
            Some(clock) => (clock.clone(), clock),
            None => (Clock::showing(sys::monotonic_nanos), Clock::showing(sys::coarse_nanos)),
        };
        let mut core = Core::new(None, seed);
        let key = core.add_key(config.terms(), clock.now());
        Self {
            inner: Mutex::new(Inner {
                core,
                records: Vec::new(),
                wakes: Vec::new(),
                jobs: VecDeque::with_capacity(JOBS + config.min_size as usize),
                at_work: 0,
                enlisted: Enlisted::No,
                armed: Nanos::MAX,
                last_error: None,
                over: Over::default(),
                means: Means { driver, works_in: backend.works_in(), limits: Timeouts::from(&config) },
            }),
            settled: Condvar::new(),
            backend,
            key,
            config,
            clock,
            coarse,
            forks: sys::forks(),
            driver,
        }
    }

    /// Whether the pool was made by a parent of this process: then none of its threads is here, and its lock may be taken
    /// for ever.
    #[inline]
    pub(super) fn is_inherited(&self) -> bool {
        sys::forks_seen() != self.forks
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner<B>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Nanos {
        self.clock.now()
    }

    pub(super) const fn driver(&self) -> Drive {
        self.driver
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        Timeouts::from(&self.config)
    }

    /// Something idle that may be handed out as it is. Nothing else happens.
    #[inline]
    pub(super) fn take_idle(&self) -> Option<(SlotId, B::Connection)> {
        let now = self.coarse.now();
        let mut inner = self.lock();
        let slot = inner.core.acquire_idle(self.key, now)?;
        let connection = inner.take(slot);
        drop(inner);
        Some((slot, connection))
    }

    /// Puts back what may simply become idle; gives it back when there is more to it.
    #[inline]
    pub(super) fn put_back(&self, slot: SlotId, connection: B::Connection) -> Result<(), B::Connection> {
        let now = self.coarse.now();
        let mut inner = self.lock();
        if inner.core.release_to_idle(slot, now) {
            inner.records[slot.index()].connection = Some(connection);
            return Ok(());
        }
        drop(inner);
        Err(connection)
    }

    /// One who acquires, with what the core has said at once. `wake` is kept if he has to wait.
    pub(super) fn settle_acquired(
        inner: &mut Inner<B>,
        result: Result<Acquired, Refusal>,
        wake: &mut Wake<B>,
    ) -> Result<Got<B::Connection>, Refusal> {
        match result? {
            Acquired::Lease(slot) => {
                let connection = inner.take(slot);
                Ok(Got::Lease(slot, connection))
            }
            Acquired::Wait(waiter) => {
                inner.prepare();
                *inner.wake(waiter) = std::mem::replace(wake, Wake::Nobody);
                Ok(Got::Wait(waiter))
            }
        }
    }

    /// What has become of one who waits, with the connection.
    pub(super) fn outcome(inner: &mut Inner<B>, waiter: WaiterId) -> Option<Given<B>> {
        let outcome = inner.core.outcome(waiter)?;
        Some(outcome.map(|slot| (slot, inner.take(slot))))
    }

    /// Notes where a lease was taken.
    pub(super) fn note_place(&self, slot: SlotId, place: &'static Location<'static>) {
        self.lock().record(slot).place = Some(place);
    }

    /// Ends a visit in which the core may have found something to do: everything is set going, outside of the lock.
    pub(super) fn leave<'a>(self: &'a Arc<Self>, mut inner: MutexGuard<'a, Inner<B>>) {
        loop {
            let mut woken = Woken::new();
            let more = inner.fetch_commands(&mut woken);
            let enlist = inner.enlist();
            let rearm = inner.rearm();
            drop(inner);
            woken.wake();
            if woken.settled {
                self.settled.notify_all();
            }
            if let Drive::Threads(process, name) = self.driver {
                if enlist {
                    process.submit(Arc::clone(self) as Arc<dyn Jobs>);
                }
                if let Some(due) = rearm {
                    process.rearm(name, due);
                }
            }
            if !more {
                return;
            }
            inner = self.lock();
        }
    }

    /// Waits until `is_over` says so of the pool; with a driver by hand, does meanwhile what is to be done.
    pub(super) fn wait_until<T>(
        self: &Arc<Self>,
        deadline: Nanos,
        mut is_over: impl FnMut(&mut Inner<B>) -> Option<T>,
    ) -> Option<T> {
        let mut inner = self.lock();
        loop {
            if let Some(result) = is_over(&mut inner) {
                self.leave(inner);
                return Some(result);
            }
            let now = self.now();
            if now >= deadline {
                self.leave(inner);
                return None;
            }
            if matches!(self.driver, Drive::Hand) && inner.has_jobs() {
                self.leave(inner);
                self.do_jobs();
                inner = self.lock();
                continue;
            }
            let span = deadline.min(inner.core.next_deadline()).since(now).min(LONGEST_WAIT);
            inner = self.settled.wait_timeout(inner, span).unwrap_or_else(PoisonError::into_inner).0;
            if matches!(self.driver, Drive::Hand) {
                inner.core.tick(self.now());
            }
        }
    }

    /// Does all jobs there are in this thread.
    pub(super) fn do_jobs(self: &Arc<Self>) {
        loop {
            let Some(job) = self.lock().next_job() else { return };
            self.carry_out(job);
        }
    }

    /// Does what is due and says when something is due next.
    pub(super) fn tick_now(self: &Arc<Self>) -> Nanos {
        let mut inner = self.lock();
        inner.armed = Nanos::MAX;
        inner.core.tick(self.now());
        self.leave(inner);
        self.lock().core.next_deadline()
    }

    fn carry_out(self: &Arc<Self>, job: Job) {
        match job {
            Job::Connect(slot) if self.is_late(slot) => {
                self.connected(slot, Err(self.too_late(ConnectPhase::Connect)));
            }
            Job::Connect(slot) => {
                let pool = Arc::clone(self);
                self.backend.begin_connect(self.timeouts(), move |result| pool.connected(slot, result));
            }
            Job::Validate(slot) => {
                let is_late = self.is_late(slot);
                let Some(connection) = self.lock().record(slot).connection.take() else { return };
                if is_late {
                    return self.validated(slot, connection, Err(self.too_late(ConnectPhase::Validate)));
                }
                let pool = Arc::clone(self);
                self.backend.begin_validate(connection, self.timeouts(), move |connection, result| {
                    pool.validated(slot, connection, result);
                });
            }
            Job::Close(slot, reason) => {
                let connection = self.lock().record(slot).connection.take();
                log::debug!("closing connection {slot:?}: {reason:?}");
                let pool = Arc::clone(self);
                let done = move || {
                    let mut inner = pool.lock();
                    let _ = inner.core.closed(slot, pool.now());
                    pool.leave(inner);
                };
                match connection {
                    Some(connection) => self.backend.begin_close(connection, done),
                    None => done(),
                }
            }
            Job::Call(waiter) => {
                let mut inner = self.lock();
                let wake = std::mem::replace(inner.wake(waiter), Wake::Nobody);
                let outcome = Self::outcome(&mut inner, waiter);
                self.leave(inner);
                if let (Wake::Callback(callback), Some(outcome)) = (wake, outcome) {
                    callback(outcome);
                }
            }
            Job::Tell(slot) => {
                let place = self.lock().record(slot).place;
                let held = self.config.leak_threshold.unwrap_or_default();
                match place {
                    Some(place) => log::warn!(
                        "Possible connection leak: connection {slot:?} has been held for more than {held:?}, taken at {place}"
                    ),
                    None => log::warn!(
                        "Possible connection leak: connection {slot:?} has been held for more than {held:?}"
                    ),
                }
            }
        }
    }

    /// Whether a connect or validation was given up before a thread had time for it. Beginning it then would keep that
    /// thread from what somebody waits for, and nothing would count it as stuck.
    fn is_late(&self, slot: SlotId) -> bool {
        self.lock().core.phase(slot) == Some(Phase::Overdue)
    }

    fn too_late(&self, phase: ConnectPhase) -> ConnectError<B::Error> {
        ConnectError::timed_out(phase, self.config.connect_timeout.unwrap_or_default())
    }

    fn connected(self: &Arc<Self>, slot: SlotId, result: Connected<B>) {
        let failed = result.as_ref().err().cloned();
        let mut inner = self.lock();
        inner.end_work(slot);
        let now = self.now();
        let old = match result {
            Ok(connection) => {
                inner.record(slot).connection = Some(connection);
                // A name that the core does not know any more would be a fault of ours.
                let known = inner.core.connected(slot, Ok(()), now);
                debug_assert!(known.is_ok(), "{slot:?} was not being connected");
                None
            }
            Err(error) => {
                let known = inner.core.connected(slot, Err(ConnectFailed::Error), now);
                debug_assert!(known.is_ok(), "{slot:?} was not being connected");
                inner.last_error.replace(error)
            }
        };
        self.leave(inner);
        // An error of the application may do what it likes when it is shown or dropped.
        drop(old);
        if let Some(error) = failed {
            log::warn!("Failed to create connection: {error}");
        }
    }

    fn validated(
        self: &Arc<Self>,
        slot: SlotId,
        connection: B::Connection,
        result: Result<(), ConnectError<B::Error>>,
    ) {
        let mut inner = self.lock();
        inner.end_work(slot);
        inner.record(slot).connection = Some(connection);
        let known = inner.core.validated(slot, result.as_ref().map(|()| ()).map_err(|_| ()), self.now());
        debug_assert!(known.is_ok(), "{slot:?} was not being validated");
        self.leave(inner);
        if let Err(error) = result {
            log::warn!("Removing unhealthy connection from pool: {error}");
        }
    }
}

impl<B: Backend> Jobs for Shared<B> {
    fn work(self: Arc<Self>) {
        let (job, more) = {
            let mut inner = self.lock();
            inner.enlisted = Enlisted::No;
            let job = inner.next_job();
            if job.is_some() {
                inner.at_work += 1;
            }
            (job, inner.enlist())
        };
        if let (Drive::Threads(process, _), true) = (self.driver, more) {
            process.submit(Arc::clone(&self) as Arc<dyn Jobs>);
        }
        let Some(job) = job else { return };
        // A log, or an error that cannot be shown, may panic as well: the thread works for other pools too.
        tell("a connector thread", catch_unwind(AssertUnwindSafe(|| self.carry_out(job))));
        let mut inner = self.lock();
        inner.at_work -= 1;
        let more = inner.enlist();
        drop(inner);
        if let (Drive::Threads(process, _), true) = (self.driver, more) {
            process.submit(self);
        }
    }
}

impl<B: Backend> Ticks for Shared<B> {
    fn tick(self: Arc<Self>) -> Nanos {
        self.tick_now()
    }
}

impl<B: Backend> Drop for Shared<B> {
    fn drop(&mut self) {
        let is_inherited = self.is_inherited();
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        let records = std::mem::take(&mut inner.records);
        if is_inherited {
            // They are the parent's. Dropping them here might say goodbye in the parent's name.
            std::mem::forget(records);
            return;
        }
        // A pool that was driven by hand leaves those for which nobody could call `tick` any more.
        for connection in records.into_iter().filter_map(|record| record.connection) {
            self.backend.begin_close(connection, || ());
        }
        if let Drive::Threads(process, name) = self.driver {
            process.leave(name);
        }
    }
}

impl<B: Backend> Inner<B> {
    /// What must be there when a slot has been lent.
    #[inline]
    fn take(&mut self, slot: SlotId) -> B::Connection {
        self.records[slot.index()].connection.take().expect("an idle slot has its connection")
    }

    /// Puts a connection where the core's commands find it.
    pub(super) fn store(&mut self, slot: SlotId, connection: B::Connection) {
        self.record(slot).connection = Some(connection);
    }

    /// What was recorded of a connection.
    pub(super) fn recorded(&mut self, slot: SlotId) -> ConnectionStats {
        self.record(slot).recorded
    }

    pub(super) fn add_recorded(&mut self, slot: SlotId, more: ConnectionStats) {
        let recorded = &mut self.record(slot).recorded;
        recorded.ops += more.ops;
        recorded.op_time = recorded.op_time.saturating_add(more.op_time);
    }

    fn record(&mut self, slot: SlotId) -> &mut Record<B::Connection> {
        while self.records.len() <= slot.index() {
            self.records.push(Record::new());
        }
        &mut self.records[slot.index()]
    }

    pub(super) fn wake(&mut self, waiter: WaiterId) -> &mut Wake<B> {
        while self.wakes.len() <= waiter.index() {
            self.wakes.push(Wake::Nobody);
        }
        &mut self.wakes[waiter.index()]
    }

    pub(super) fn stats(&self, key: KeyId) -> PoolStats {
        let Some(gauges) = self.core.gauges(key) else { return PoolStats::default() };
        let acquires = self.core.counts(key).map_or(0, |(counts, _)| counts.acquisitions);
        PoolStats {
            total_connections: gauges.total,
            idle_connections: gauges.idle,
            active_connections: gauges.active,
            acquires,
        }
    }

    pub(super) fn has_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    fn next_job(&mut self) -> Option<Job> {
        let job = self.jobs.pop_front()?;
        if let Job::Connect(slot) | Job::Validate(slot) = job {
            self.record(slot).work = WorkIs::Running;
        }
        Some(job)
    }

    /// A connect or a validation is back.
    fn end_work(&mut self, slot: SlotId) {
        let was = std::mem::replace(&mut self.record(slot).work, WorkIs::NotBegun);
        if let (WorkIs::Stuck, Drive::Threads(process, _)) = (was, self.means.driver) {
            // Its thread counts again, until it has come to the end of its job.
            self.at_work += 1;
            process.connectors.count_freed();
        }
    }

    /// Takes up what the core wants done, as far as those go who can be woken at once; says whether there is more.
    fn fetch_commands(&mut self, woken: &mut Woken<B>) -> bool {
        while let Some(command) = self.core.next_command() {
            match command {
                Command::Connect(slot) => {
                    let record = self.record(slot);
                    record.task = Task::Connect;
                    record.recorded = ConnectionStats { ops: 0, op_time: Duration::ZERO };
                    self.jobs.push_back(Job::Connect(slot));
                }
                Command::Validate(slot) => {
                    self.record(slot).task = Task::Validate;
                    self.jobs.push_back(Job::Validate(slot));
                }
                Command::Close(slot, reason) => self.jobs.push_back(Job::Close(slot, reason)),
                Command::Overdue(slot) => self.jobs.push_back(Job::Tell(slot)),
                Command::Late(slot) => self.give_up(slot, woken),
                Command::Drained => woken.settled = true,
                Command::Warmed(_, failed) => {
                    self.over.warms += 1;
                    self.over.not_warmed = failed;
                    woken.settled = true;
                }
                Command::Checked(_, failed) => {
                    self.over.checks += 1;
                    self.over.not_working = failed;
                    woken.settled = true;
                }
                // Its outcome was seen before this was fetched, and somebody else may stand at its place.
                Command::Grant(waiter, _) | Command::Fail(waiter) if !self.core.knows(waiter) => {}
                Command::Grant(waiter, _) | Command::Fail(waiter) => {
                    let wake = self.wake(waiter);
                    if matches!(wake, Wake::Callback(_)) {
                        self.jobs.push_back(Job::Call(waiter));
                    } else if woken.push(std::mem::replace(wake, Wake::Nobody)) == Room::Full {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Makes now what a release must not have to make.
    fn prepare(&mut self) {
        let slots = self.core.places();
        while self.records.len() < slots {
            self.records.push(Record::new());
        }
    }

    /// A connect or validation has taken so long that nobody waits for it: others may have its thread's place.
    fn give_up(&mut self, slot: SlotId, woken: &mut Woken<B>) {
        let record = self.record(slot);
        let (task, work) = (record.task, record.work);
        if let (Task::Connect, Some(limit)) = (task, self.means.limits.connect) {
            let error = ConnectError::timed_out(ConnectPhase::Connect, limit);
            woken.dropped.extend(self.last_error.replace(error));
        }
        // It may have come back before this was fetched, and something else be at work at its place.
        let is_gone = self.core.phase(slot) != Some(Phase::Overdue);
        if is_gone || work != WorkIs::Running || self.means.works_in == WorksIn::Executor {
            return;
        }
        if let Drive::Threads(process, _) = self.means.driver {
            let record = self.record(slot);
            record.work = WorkIs::Stuck;
            self.at_work -= 1;
            process.count_stuck();
        }
    }

    /// Whether the pool has to be put in line for connector threads.
    fn enlist(&mut self) -> bool {
        let wanted = self.enlisted == Enlisted::No && !self.jobs.is_empty() && self.at_work < MOST_AT_WORK;
        if wanted {
            self.enlisted = Enlisted::Yes;
        }
        wanted
    }

    /// When `tick` is to be called, if that is earlier than it would be.
    fn rearm(&mut self) -> Option<Nanos> {
        let due = self.core.next_deadline();
        (due < self.armed).then(|| {
            self.armed = due;
            due
        })
    }
}

impl<C> Record<C> {
    const fn new() -> Self {
        let recorded = ConnectionStats { ops: 0, op_time: Duration::ZERO };
        Self { connection: None, place: None, task: Task::Connect, work: WorkIs::NotBegun, recorded }
    }
}

/// Who is to be woken when the lock has been let go.
struct Woken<B: Backend> {
    wakes: [Wake<B>; WOKEN_AT_ONCE],
    len: usize,
    /// Whether those who wait for the end of something have to look.
    settled: bool,
    /// Errors of the application that nobody needs any more.
    dropped: Vec<ConnectError<B::Error>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    More,
    Full,
}

impl<B: Backend> Woken<B> {
    fn new() -> Self {
        Self { wakes: [const { Wake::Nobody }; WOKEN_AT_ONCE], len: 0, settled: false, dropped: Vec::new() }
    }

    /// Takes one more, and says whether there is room for another.
    fn push(&mut self, wake: Wake<B>) -> Room {
        self.wakes[self.len] = wake;
        self.len += 1;
        if self.len == WOKEN_AT_ONCE { Room::Full } else { Room::More }
    }

    fn wake(&mut self) {
        for wake in &mut self.wakes[..self.len] {
            match std::mem::replace(wake, Wake::Nobody) {
                Wake::Thread(thread) => thread.unpark(),
                // Others are still to be woken, perhaps by a thread that works for all pools.
                Wake::Waker(waker) => {
                    tell("waking a future", catch_unwind(AssertUnwindSafe(|| waker.wake())));
                }
                Wake::Nobody | Wake::Callback(_) => {}
            }
        }
        self.len = 0;
    }
}

/// Jobs that find room without allocating.
const JOBS: usize = 64;
/// Connector threads that one pool keeps busy, so that two whose servers hang do not keep all.
const MOST_AT_WORK: u32 = 4;
/// Those who are woken for one visit to the lock; more take another visit.
const WOKEN_AT_ONCE: usize = 4;
/// No wait is longer than this without looking.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
