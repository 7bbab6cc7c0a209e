//! What stands behind a pool's lock: the core, the connections that it only knows by name, and what is to be done when
//! the lock has been let go. Calls nothing of the application.

use std::sync::Arc;
use std::time::Duration;

use super::backend::{Backend, WorksIn};
use super::error::{ConnectError, ConnectPhase, ErrorKind};
use super::facts::Times;
use super::guard::ConnectionStats;
use super::manager::Timeouts;
use super::pace::{Next, Pace};
use super::pauses::Pauses;
use super::queue::{Job, Queue};
use super::record::{Record, Task, WorkIs};
use super::seat::{Call, Seat};
use super::shared::{Drive, Shared, Stack};
use super::slots::{Parked, Place};
use super::stats::{ErrorCounts, PoolStats, WaitTimes};
use super::watch::{Warning, Watch};
use super::woken::{Called, Room, Woken};
use crate::clock::Nanos;
use crate::drain::DrainState;
use crate::lease::{
    Acquired, Command, Core, Failure, KeyId, Known, Lending, Phase, Refusal, SlotId, WaiterId,
};

#[repr(align(64))]
pub(super) struct Inner<B: Backend> {
    pub(super) core: Core,
    pub(super) slots: Arc<Stack<B>>,
    /// By slot.
    pub(super) records: Vec<Record<B::Connection>>,
    /// By slot: the right to its place in the stack without a lock, while what is there is not lent.
    pub(super) rights: Vec<Option<Place>>,
    /// Who lends what is idle.
    pub(super) lending: Lending,
    /// What comes back from the stack, on its way to the core.
    pub(super) returning: Vec<(Place, B::Connection)>,
    /// By waiter: who is to be woken.
    pub(super) wakes: Vec<Wake<B>>,
    /// Who is to be woken at a time, without standing in line.
    pub(super) pauses: Pauses,
    /// Futures that wait for something to have come to its end, until a time.
    pub(super) watchers: Pauses,
    pub(super) queue: Queue,
    pub(super) enlisted: Enlisted,
    /// When the deadline thread will call `tick`, at the latest.
    pub(super) armed: Nanos,
    pub(super) pace: Pace,
    pub(super) last_error: Option<ConnectError<B::Error>>,
    /// The one before, if a timeout took its place: dropping it is the application's code, and a thread that finds a
    /// timeout runs none. Those that follow until the next report are timeouts, which anybody may drop.
    pub(super) replaced_error: Option<ConnectError<B::Error>>,
    pub(super) over: Over,
    pub(super) watch: Watch,
    /// How often an acquire was tried again, by the kind of what failed.
    pub(super) retries: ErrorCounts,
    /// Connects and validations that came to nothing.
    pub(super) errors: ErrorCounts,
    pub(super) means: Means,
}

/// How work is done.
#[derive(Clone, Copy)]
pub(super) struct Means {
    pub(super) key: KeyId,
    pub(super) driver: Drive,
    pub(super) works_in: WorksIn,
    pub(super) limits: Timeouts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enlisted {
    No,
    Yes,
}

/// How one who waits is told.
pub(super) enum Wake<B: Backend> {
    Nobody,
    /// What he gets is put there, and the thread is woken.
    Thread(Arc<Seat<B>>),
    /// The same with a future.
    Task(Arc<Seat<B>>),
    Callback(Callback<B>),
}

/// What is called with the lease.
pub(super) type Callback<B> = Box<dyn FnOnce(Given<B>) + Send>;

/// What a waiter ends with.
pub(super) type Given<B> = Result<Granted<B>, Failure>;

/// What he is granted.
pub(super) struct Granted<B: Backend> {
    pub(super) lent: Lent<B::Connection>,
    /// The share in the pool of whoever had it before: so it need not be counted that one goes and one comes.
    pub(super) home: Option<Arc<Shared<B>>>,
}

/// How often something that others wait for has come to its end, and how the last one ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Over {
    pub(super) warms: u64,
    pub(super) not_warmed: u32,
    pub(super) checks: u64,
    pub(super) not_working: u32,
}

impl Over {
    /// How many connects have failed of the warm-up after so many.
    pub(super) fn after_warm(&self, before: u64) -> Option<u32> {
        (self.warms > before).then_some(self.not_warmed)
    }

    /// How many connections did not work in the round of checks after so many.
    pub(super) fn after_check(&self, before: u64) -> Option<u32> {
        (self.checks > before).then_some(self.not_working)
    }
}

/// A connection on its way out of the pool or back.
pub(super) struct Lent<C> {
    pub(super) slot: SlotId,
    pub(super) connection: C,
    /// To its place in the stack without a lock, if it has one.
    pub(super) right: Option<Place>,
}

/// Who gets what came back.
pub(super) struct HandedOn<B: Backend> {
    pub(super) seat: Arc<Seat<B>>,
    /// Who is to be called up.
    pub(super) next: Option<Arc<Seat<B>>>,
    pub(super) rest: Line,
}

/// Whether anybody is left who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Waits,
    Empty,
}

/// What an acquisition came to, with the connection.
pub(super) enum Got<C> {
    Lease(Lent<C>),
    Wait(WaiterId),
}

impl<B: Backend> Inner<B> {
    pub(super) fn new(
        core: Core,
        slots: Arc<Stack<B>>,
        rights: Vec<Place>,
        means: Means,
        min_size: usize,
    ) -> Self {
        Self {
            core,
            slots,
            records: Vec::new(),
            returning: Vec::with_capacity(rights.len()),
            rights: rights.into_iter().map(Some).collect(),
            lending: Lending::ByCore,
            wakes: Vec::new(),
            pauses: Pauses::default(),
            watchers: Pauses::default(),
            queue: Queue::new(JOBS + min_size),
            enlisted: Enlisted::No,
            armed: Nanos::MAX,
            pace: Pace::default(),
            last_error: None,
            replaced_error: None,
            over: Over::default(),
            watch: Watch::default(),
            retries: ErrorCounts::default(),
            errors: ErrorCounts::default(),
            means,
        }
    }

    /// One who acquires, with what the core has said at once. `wake` is kept if he has to wait.
    pub(super) fn settle(
        &mut self,
        result: Result<Acquired, Refusal>,
        wake: &mut Wake<B>,
    ) -> Result<Got<B::Connection>, Refusal> {
        match result? {
            Acquired::Lease(slot) => Ok(Got::Lease(self.take(slot))),
            Acquired::Wait(waiter) => {
                self.prepare();
                *self.wake(waiter) = std::mem::replace(wake, Wake::Nobody);
                Ok(Got::Wait(waiter))
            }
        }
    }

    /// What has become of one who waits, with the connection.
    pub(super) fn outcome(&mut self, waiter: WaiterId) -> Option<Given<B>> {
        let outcome = self.core.outcome(waiter)?;
        Some(outcome.map(|slot| Granted { lent: self.take(slot), home: None }))
    }

    /// What the core has lent, with the right to bring it back without the lock.
    fn take(&mut self, slot: SlotId) -> Lent<B::Connection> {
        let connection = self.record(slot).connection.take().expect("an idle slot has its connection");
        let right = self.rights.get_mut(slot.index()).and_then(Option::take);
        let known = self.core.known(slot);
        let times = &mut self.records[slot.index()].times;
        times.lend(known.since);
        if right.is_some() {
            let facts = self.slots.facts(slot.index());
            facts.note(slot.generation(), known);
            facts.note_times(times);
        }
        Lent { slot, connection, right }
    }

    /// Puts back what was lent, to where the core's commands find it. The core learns how often it was lent meanwhile.
    pub(super) fn store(&mut self, lent: Lent<B::Connection>, now: Nanos) {
        let Lent { slot, connection, right } = lent;
        let times = self.times(slot, right.as_ref());
        let record = self.record(slot);
        record.connection = Some(connection);
        record.times = times;
        record.times.take_back(now);
        if let Some(right) = right {
            self.core.catch_up(right.index(), self.slots.facts(right.index() as usize).known());
            self.rights[slot.index()] = Some(right);
        }
    }

    /// Gets back what is idle in the stack without a lock, so that the core decides about all there is.
    pub(super) fn gather(&mut self) {
        if self.lending == Lending::ByCore {
            return;
        }
        self.lending = Lending::ByCore;
        let returning = &mut self.returning;
        self.slots.shut(|right, held| returning.push((right, held.connection)));
        // The newest came first, and to the core they come in the order in which they became idle: those of the first top,
        // and then those of each lane, for which it looks where they belong.
        while let Some((right, connection)) = self.returning.pop() {
            let index = right.index();
            self.core.get_back(index, self.slots.facts(right.index() as usize).known());
            let record = &mut self.records[index as usize];
            record.connection = Some(connection);
            record.times = self.slots.facts(index as usize).times(record.times);
            self.rights[index as usize] = Some(right);
        }
    }

    /// Learns what has happened to those that are lent without the core's knowledge. Comes after [`gather`](Self::gather).
    pub(super) fn catch_up(&mut self, now: Nanos) {
        for index in 0..self.rights.len().min(self.records.len()) {
            if self.rights[index].is_none() {
                self.core.catch_up_lent(index as u32, self.slots.facts(index).known(), now);
            }
        }
    }

    /// Does what is due, with what there is and what has happened to it.
    pub(super) fn tick(&mut self, now: Nanos) {
        self.gather();
        self.catch_up(now);
        self.core.tick(now);
        self.pauses.expire(now);
        self.watchers.expire(now);
    }

    /// When [`tick`](Self::tick) is to be called next.
    pub(super) fn next_deadline(&self) -> Nanos {
        self.core.next_deadline().min(self.pauses.next_end()).min(self.watchers.next_end())
    }

    /// Puts what is idle into the stack of `pool` without a lock, as long as nothing is to be decided.
    pub(super) fn hand_over(&mut self, pool: &Arc<Shared<B>>) {
        if self.lending == Lending::Apart {
            return;
        }
        let Self { core, slots, rights, records, .. } = self;
        let places = rights.len() as u32;
        self.lending = core.give_away(self.means.key, MOST_APART, places, |slot, known| {
            let right = rights[slot.index()].take().expect("idle ones are with the core");
            let connection =
                records[slot.index()].connection.take().expect("an idle slot has its connection");
            let facts = slots.facts(slot.index());
            facts.note(slot.generation(), known);
            facts.note_times(&records[slot.index()].times);
            slots.fill(right, Parked { connection, home: Arc::clone(pool) });
        });
        if self.lending == Lending::Apart {
            slots.open();
        }
    }

    /// What was recorded of a connection.
    pub(super) fn recorded(&mut self, slot: SlotId) -> ConnectionStats {
        self.record(slot).recorded
    }

    pub(super) fn record_op(&mut self, slot: SlotId, elapsed: Duration) {
        let recorded = &mut self.record(slot).recorded;
        recorded.ops += 1;
        recorded.op_time = recorded.op_time.saturating_add(elapsed);
    }

    /// The times of what whoever asks has on lease, by this right if there is one.
    pub(super) fn times(&mut self, slot: SlotId, right: Option<&Place>) -> Times {
        let times = self.record(slot).times;
        right.map_or(times, |right| self.slots.facts(right.index() as usize).times(times))
    }

    pub(super) fn record(&mut self, slot: SlotId) -> &mut Record<B::Connection> {
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

    /// A connect or validation has failed. One that was given up was counted then.
    pub(super) fn count_error(&mut self, slot: SlotId, kind: ErrorKind) {
        if self.core.phase(slot) != Some(Phase::Overdue) {
            self.errors.count(kind);
        }
    }

    /// An acquire is tried again after a failure of this kind.
    pub(super) fn count_retry(&mut self, kind: ErrorKind) {
        self.retries.count(kind);
    }

    pub(super) fn stats(&mut self, key: KeyId) -> PoolStats {
        let (Some(gauges), Some((counts, waits))) = (self.core.gauges(key), self.core.counts(key)) else {
            return PoolStats::default();
        };
        PoolStats {
            max_connections: gauges.max,
            total_connections: gauges.total,
            active_connections: gauges.active,
            idle_connections: gauges.idle,
            connecting_connections: gauges.connecting,
            validating_connections: gauges.validating,
            closing_connections: gauges.closing,
            pending_requests: gauges.waiters,
            total_acquisitions: counts.acquisitions,
            total_releases: counts.acquisitions - u64::from(gauges.active),
            timeouts: counts.timeouts,
            errors: counts.refused,
            connections_created: counts.created,
            connections_destroyed: counts.destroyed,
            pool_hits: counts.acquisitions - counts.misses,
            pool_misses: counts.misses,
            total_wait: Duration::from_nanos(counts.waited_ns),
            waits: WaitTimes::of(waits),
            retries: self.retries,
            connection_errors: self.errors,
        }
    }

    /// What should be told in the log. Comes after [`catch_up`](Self::catch_up).
    pub(super) fn warnings(&mut self, now: Nanos) -> [Option<Warning>; 2] {
        let key = self.means.key;
        let (stats, max) = (self.stats(key), self.core.gauges(key).map_or(0, |gauges| gauges.max));
        self.watch.look(&stats, max, now)
    }

    pub(super) fn has_jobs(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn next_job(&mut self, now: Nanos) -> Option<Job> {
        let job = self.queue.pop()?;
        if let Job::Connect(slot) | Job::Validate(slot) | Job::Close(slot, _) = job {
            self.record(slot).work = WorkIs::Running;
            self.core.begun(slot, now);
        }
        Some(job)
    }

    /// A connect, a validation or a close is back.
    pub(super) fn end_work(&mut self, slot: SlotId) {
        let record = self.record(slot);
        let (was, job) = (std::mem::replace(&mut record.work, WorkIs::NotBegun), record.task.of(slot));
        if let (WorkIs::Stuck, Drive::Threads(process, _)) = (was, self.means.driver) {
            // Its thread counts again, until it has come to the end of its job.
            self.queue.begin(job);
            process.connectors.count_freed();
        }
    }

    /// Whether there is anything to take up, or to have done by somebody else.
    pub(super) fn has_news(&self) -> bool {
        let does_anybody_pause = !self.pauses.is_empty() || !self.watchers.is_empty();
        self.core.has_commands() || does_anybody_pause || self.wants_hands()
    }

    /// Takes up what the core wants done, as far as those go who can be woken at once; says whether there is more.
    pub(super) fn fetch_commands(&mut self, woken: &mut Woken<B>) -> bool {
        while let Some(command) = self.core.next_command() {
            match command {
                Command::Connect(slot) => {
                    let record = self.record(slot);
                    record.task = Task::Connect;
                    record.recorded = ConnectionStats { ops: 0, op_time: Duration::ZERO };
                    self.core.queued(slot);
                    self.queue.push(Job::Connect(slot));
                }
                Command::Validate(slot) => {
                    self.record(slot).task = Task::Validate;
                    self.core.queued(slot);
                    self.queue.push(Job::Validate(slot));
                }
                Command::Close(slot, reason) => {
                    self.record(slot).task = Task::Close(reason);
                    self.core.queued(slot);
                    self.queue.push(Job::Close(slot, reason));
                }
                Command::Overdue(slot) => self.queue.push(Job::Tell(slot)),
                Command::Late(slot) => self.give_up(slot),
                Command::Drained => self.note_end(woken),
                Command::Warmed(_, failed) => {
                    self.over.warms += 1;
                    self.over.not_warmed = failed;
                    self.note_end(woken);
                }
                Command::Checked(_, failed) => {
                    self.over.checks += 1;
                    self.over.not_working = failed;
                    self.note_end(woken);
                }
                // He gave up before this was fetched, and somebody else may stand at his place.
                Command::Grant(waiter, _) | Command::Fail(waiter) if !self.core.knows(waiter) => {}
                Command::Grant(waiter, _) | Command::Fail(waiter) => {
                    if self.tell(waiter, woken) == Room::Full {
                        return true;
                    }
                }
            }
        }
        self.fetch_pauses(woken) == Room::Full
    }

    /// Something has come to its end: whoever waits for that has to look.
    fn note_end(&mut self, woken: &mut Woken<B>) {
        woken.settled = true;
        self.watchers.end_all();
    }

    /// Has one who waited learn what he ends with.
    fn tell(&mut self, waiter: WaiterId, woken: &mut Woken<B>) -> Room {
        let seat = match std::mem::replace(self.wake(waiter), Wake::Nobody) {
            Wake::Thread(seat) | Wake::Task(seat) => seat,
            callback => {
                *self.wake(waiter) = callback;
                self.queue.push(Job::Call(waiter));
                return Room::More;
            }
        };
        let given = self.outcome(waiter).expect("the core has just said so");
        woken.push(Called::Seated(seat, given))
    }

    /// Lends what comes back to whoever waits first, if nothing else is to be decided, and says where he sits. `known`
    /// is what the core may not know of it.
    pub(super) fn hand_on(&mut self, slot: SlotId, known: Option<Known>, now: Nanos) -> Option<HandedOn<B>> {
        let Self { core, wakes, records, pace, means, .. } = self;
        if let Some(known) = known {
            core.catch_up(slot.index() as u32, known);
        }
        // A function that waits is called by a thread that has to be found first.
        let has_seat =
            |waiter: WaiterId| matches!(wakes.get(waiter.index()), Some(Wake::Thread(_) | Wake::Task(_)));
        let waiter = core.hand_on(slot, now, has_seat)?;
        if known.is_none() {
            records[slot.index()].times.hand_on(now);
        }
        let (Wake::Thread(seat) | Wake::Task(seat)) =
            std::mem::replace(&mut wakes[waiter.index()], Wake::Nobody)
        else {
            unreachable!("he has a seat")
        };
        let first = core.first_in_line(means.key);
        let rest = if first.is_some() { Line::Waits } else { Line::Empty };
        let next = match first.map(|first| &wakes[first.index()]) {
            Some(Wake::Thread(next)) if pace.step(now) == Next::IsCalledUp => Some(Arc::clone(next)),
            _ => None,
        };
        Some(HandedOn { seat, next, rest })
    }

    /// Puts back what somebody was given who has not looked, as if he had not got it.
    pub(super) fn give_back_unused(&mut self, lent: Lent<B::Connection>, now: Nanos) {
        let Lent { slot, connection, right } = lent;
        let mut times = self.times(slot, right.as_ref());
        times.undo_lease();
        let record = self.record(slot);
        (record.connection, record.times) = (Some(connection), times);
        if let Some(right) = right {
            self.rights[slot.index()] = Some(right);
        }
        self.core.give_back_unused(slot, now);
    }

    /// Takes up whose pause is over; in a pool that is closed none goes on between attempts.
    fn fetch_pauses(&mut self, woken: &mut Woken<B>) -> Room {
        if !self.pauses.is_empty() && self.core.drain_state() != DrainState::Active {
            self.pauses.expire(Nanos::MAX);
        }
        for pauses in [&mut self.pauses, &mut self.watchers] {
            while let Some(waker) = pauses.next_over() {
                if woken.push(Called::Call(Call::Waker(waker))) == Room::Full {
                    return Room::Full;
                }
            }
        }
        Room::More
    }

    /// Makes now what a release must not have to make.
    pub(super) fn prepare(&mut self) {
        let slots = self.core.places();
        while self.records.len() < slots {
            self.records.push(Record::new());
        }
    }

    /// A connect, validation or close has taken so long that nobody waits for it: others may have its thread's place.
    pub(super) fn give_up(&mut self, slot: SlotId) {
        let record = self.record(slot);
        let (task, work) = (record.task, record.work);
        let waited_in = if matches!(task, Task::Close(_)) { Phase::Closing } else { Phase::Overdue };
        if waited_in == Phase::Overdue {
            self.errors.count(ErrorKind::Timeout);
        }
        if let (Task::Connect, Some(limit)) = (task, self.means.limits.connect) {
            let error = ConnectError::timed_out(ConnectPhase::Connect, limit);
            if let Some(before) = self.last_error.replace(error) {
                self.replaced_error.get_or_insert(before);
            }
        }
        // It may have come back before this was fetched, and something else be at work at its place.
        let is_gone = self.core.phase(slot) != Some(waited_in);
        if is_gone || work != WorkIs::Running || self.means.works_in == WorksIn::Executor {
            return;
        }
        if let Drive::Threads(process, _) = self.means.driver {
            let record = self.record(slot);
            record.work = WorkIs::Stuck;
            self.queue.end(task.of(slot));
            process.count_stuck();
        }
    }

    /// Whether the pool has to be put in line for connector threads.
    pub(super) fn enlist(&mut self) -> bool {
        let wanted = self.wants_hands();
        if wanted {
            self.enlisted = Enlisted::Yes;
        }
        wanted
    }

    /// The same, before it is.
    fn wants_hands(&self) -> bool {
        self.enlisted == Enlisted::No && self.queue.wants_hands()
    }

    /// When `tick` is to be called, if that is earlier than it would be.
    pub(super) fn rearm(&mut self) -> Option<Nanos> {
        let due = self.next_deadline();
        (due < self.armed).then(|| {
            self.armed = due;
            due
        })
    }
}

/// Idle ones that are handed over at one time. More stay with the core, until these are lent.
const MOST_APART: u32 = 64;
/// Jobs of each kind that find room without allocating.
const JOBS: usize = 64;
