//! What all connections of a pool share: limits, time, lists, timers, memory and counts. Everything but the table, so
//! that one record and the core can be changed together.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use super::accept::Unwatched;
use super::config::{Config, Proof};
use super::draining::Draining;
use super::exhaustion::Exhaustion;
use super::line::Line;
use super::policy::Policy;
use super::pressure::Pressure;
use super::reap::Look;
use super::run_queue::RunQueue;
use super::sending;
use crate::admission::{Gate, Protection, Shared};
use crate::bucket::{Level, Moment};
use crate::buffer::ChunkStore;
use crate::clock::{Clock, Nanos};
use crate::connection::{Flags, Lists, Muted, Operation, Reading, Record, Stage, Standing, facts};
use crate::error::Error;
use crate::health::Health;
use crate::id::ConnId;
use crate::net::{Net, Party, Poller, Reactor, sys};
use crate::readiness::Readiness;
use crate::reason::Reason;
use crate::timer::Timers;

/// What all connections of a pool share.
pub(super) struct Core<N: Net> {
    config: Config,
    pub(super) policy: Policy,
    pub(super) pool_level: Level,
    pub(super) clock: Clock,
    /// The time of this turn: read once, after the wait.
    pub(super) now: Nanos,
    /// The same as buckets take it.
    pub(super) moment: Moment,
    pub(super) registry: N::Registry,
    pub(super) party: Party,
    pub(super) gate: Gate,
    pub(super) health: Health,
    pub(super) store: ChunkStore,
    pub(super) timers: Timers,
    /// Who is evicted first: [`UNPROVEN`] in order of arrival, those behind who were held when their turn came;
    /// [`PROVEN`] in order of last activity.
    pub(super) order: Lists<2>,
    pub(super) pressure: Pressure,
    /// Who waits for the pool's own rate of operations.
    pub(super) line: Line,
    /// Connections with something to tell, in fair order.
    pub(super) run: RunQueue,
    /// Connections whose end is decided.
    pub(super) ending: VecDeque<ConnId>,
    /// How many of those ends this turn may still carry out.
    pub(super) closes_left: usize,
    pub(super) drain: Draining,
    pub(super) exhaustion: Exhaustion,
    /// Of whom the poller does not tell yet.
    pub(super) unwatched: Option<Unwatched>,
    /// Output that is gathered for one connection while its event is handled.
    pub(super) stage: OutputStage,
    /// How far those have been looked at who were there when limits changed.
    pub(super) look: Look,
    /// What lifetimes are spread with.
    pub(super) seed: u64,
    /// Connections with something in flight.
    pub(super) busy: usize,
    pub(super) proven: usize,
}

/// Output gathered for one connection.
#[derive(Debug)]
pub(super) struct OutputStage {
    pub(super) owner: Option<ConnId>,
    pub(super) bytes: Vec<u8>,
}

pub(super) const UNPROVEN: usize = 0;
pub(super) const PROVEN: usize = 1;

impl<N: Net> Core<N> {
    pub(super) fn new(
        config: Config,
        clock: Clock,
        reactor: &Reactor<N>,
        party: Party,
    ) -> Result<Self, Error> {
        let (capacity, in_line) = (config.max_connections as usize, config.most_in_line());
        let gate = Gate::new(config.admission(), config.max_connections)?;
        let mut store = ChunkStore::new(RETAINED_BYTES);
        store.allocate_by(sys::zeroed);
        let mut gathered = Vec::new();
        let prepared = store.prepare(PREPARED_CHUNKS.min(capacity));
        prepared
            .and_then(|()| gathered.try_reserve_exact(sending::MOST_GATHERED))
            .map_err(|_| Error::Memory { what: "buffers" })?;
        let registry = reactor.poller().registry().map_err(|error| Error::io("share the poller", error))?;
        let now = clock.now();
        let mut core = Self {
            policy: Policy::of(&config),
            pool_level: Level::full(),
            clock,
            now,
            moment: Moment::of(now),
            registry,
            party,
            gate,
            health: Health::new(now),
            store,
            timers: Timers::new(),
            order: Lists::new(),
            pressure: Pressure::new(),
            line: Line::new(),
            run: RunQueue::default(),
            ending: VecDeque::new(),
            drain: Draining::default(),
            closes_left: 0,
            exhaustion: Exhaustion::Enough,
            unwatched: None,
            stage: OutputStage { owner: None, bytes: gathered },
            look: Look::Done,
            seed: RandomState::new().hash_one(0),
            busy: 0,
            proven: 0,
            config,
        };
        core.try_reserve(capacity, in_line)?;
        Ok(core)
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn set_config(&mut self, config: Config) -> Result<(), Error> {
        self.try_reserve(config.max_connections as usize, config.most_in_line())?;
        self.gate.set_max_connections(config.max_connections)?;
        if let Err(error) = self.gate.set_limits(config.admission()) {
            // It only takes back what it has just reserved.
            self.gate.set_max_connections(self.config.max_connections)?;
            return Err(error);
        }
        let rates_changed = config.operation_rates() != self.config.operation_rates();
        self.policy = Policy::of(&config);
        if let Some(bucket) = self.policy.pool_operation.as_ref().filter(|_| rates_changed) {
            bucket.forgive(&self.pool_level, self.moment);
        }
        self.config = config;
        self.look.begin(rates_changed);
        Ok(())
    }

    /// What the gate needs of a protection by whose clock it is `its_now`. Clocks begin when they like, and then go alike.
    pub(super) fn shared(
        &self,
        protection: &Arc<Mutex<Protection>>,
        its_now: Nanos,
    ) -> Result<Shared, Error> {
        let (now, its_now) = (self.clock.now().as_nanos(), its_now.as_nanos());
        let ahead = its_now.wrapping_sub(now).cast_signed();
        Shared::new(protection, ahead, self.config.max_connections)
    }

    fn try_reserve(&mut self, capacity: usize, in_line: usize) -> Result<(), Error> {
        let mut reserve = || {
            self.timers.try_reserve(capacity)?;
            self.order.try_reserve(capacity)?;
            self.pressure.try_reserve(capacity)?;
            // A slot may stand in the run queue under the id of the connection that lives there, and once more under the
            // one of a connection that has ended there since it was put in.
            self.run.try_reserve(2 * capacity)?;
            self.line.try_reserve(in_line)?;
            self.ending.try_reserve(capacity.saturating_sub(self.ending.len()))
        };
        reserve().map_err(|_| Error::Memory { what: "timers and queues" })
    }

    /// Puts a connection into the run queue, once.
    #[inline]
    pub(super) fn enqueue<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        if !record.flags.has(Flags::QUEUED) {
            record.flags.insert(Flags::QUEUED);
            self.run.push(id);
        }
    }

    /// Decides the end of a connection. Its first reason stands.
    pub(super) fn end<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>, reason: Reason) {
        if record.is_ending() {
            return;
        }
        self.decide_end(id, record, reason);
        self.order.remove(id.slot());
        // What nobody reads or takes any more need not be kept until the end is carried out.
        self.give_back_buffers(record);
        self.charge_memory(id, record);
        self.ending.push_back(id);
    }

    /// The same for one whose end has not been decided, and is carried out at once: then it leaves the order and gives back
    /// its buffers.
    #[inline]
    pub(super) fn decide_end<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>, reason: Reason) {
        record.advance_to(Stage::Ending, reason);
        if record.muted.has(Muted::OPERATIONS) {
            self.line.remove(id.slot());
        }
    }

    #[inline]
    fn give_back_buffers<U>(&mut self, record: &mut Record<N::Stream, U>) {
        if let Some(ring) = record.input.take() {
            self.store.give_back(ring);
        }
        if let Some(output) = record.output.take() {
            self.store.give_back_output(output);
        }
    }

    /// Reads nothing any more and ends a connection as soon as nothing is owed to its peer.
    pub(super) fn close_when_done<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        record.muted.insert(Muted::APPLICATION);
        if self.staged(id) > 0 {
            sending::flush_stage(self, id, record);
        }
        self.finish(id, record, Reason::Closed);
    }

    /// Ends a connection as soon as nothing is owed to its peer.
    pub(super) fn finish<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>, reason: Reason) {
        let replaces = match record.finishes_for() {
            // These go on with messages that are there or come; whoever asks for less has the last word.
            Some(Reason::Drained | Reason::Lifetime | Reason::Peer) => reason == Reason::Closed,
            Some(_) => false,
            None => record.stage == Stage::Open,
        };
        if replaces {
            record.advance_to(Stage::Finishing, reason);
        }
        self.end_if_finished(id, record);
    }

    /// Whether a message has been open for longer than a first message may be, nothing else is in flight, and neither we
    /// nor the application make it wait: such a connection is busy, but only in name.
    pub(super) fn has_hung<U>(&self, record: &Record<N::Stream, U>) -> bool {
        let Some(longest) = self.config.first_message_timeout else { return false };
        record.operation == Operation::Open
            && record.output.is_none()
            && !record.muted.has(Muted::IMPOSED.with(Muted::APPLICATION))
            && self.now >= record.operation_since + longest
    }

    /// A finishing connection ends when nothing is owed any more. One that drains also waits for input that has come,
    /// unless its peer has sent its last byte: of half a message nothing will come then.
    pub(super) fn end_if_finished<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        let Some(reason) = record.finishes_for() else { return };
        let waits = match reason {
            Reason::Drained | Reason::Lifetime if record.reading != Reading::Reported => record.is_busy(),
            Reason::Rate => record.output.is_some(),
            _ => record.owes(),
        };
        if !waits {
            if reason != Reason::Peer {
                record.flags.insert(Flags::PARTING);
            }
            self.end(id, record, reason);
        }
    }

    /// Bytes moved, or the application says that the connection is in use.
    #[inline]
    pub(super) fn touch<U>(&self, record: &mut Record<N::Stream, U>) {
        record.last_active = record.last_active.max(self.now);
    }

    /// Moves a proven connection back in the order of eviction if it has been active since it was put there.
    #[cold]
    fn rank<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        // Whoever was handled for long was active later than the turn began.
        let silent_for_ms = self.now.since(record.last_active).as_millis();
        let was_active = silent_for_ms < u128::from(self.now_ms().wrapping_sub(record.ranked_ms));
        if was_active && record.standing == Standing::Proven && !record.is_ending() {
            record.ranked_ms = self.now_ms();
            self.order.push_back(PROVEN, id.slot());
        }
    }

    /// From now on we hear of one that the application has read itself.
    #[cold]
    pub(super) fn observe<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        record.standing = Standing::Unproven;
        self.order.push_back(UNPROVEN, id.slot());
        // How long it was the application's says nothing of the message that begins here.
        record.resume_at = record.resume_at.max(self.now);
        // What is due is worked out then.
        self.timers.arm_by(id.slot(), self.now + self.policy.first_look);
    }

    /// It has shown that it is a client.
    pub(super) fn prove<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        if record.standing == Standing::Proven {
            return;
        }
        record.standing = Standing::Proven;
        record.ranked_ms = self.now_ms();
        self.proven += 1;
        self.gate.proven(&record.permit, &record.peer, self.now);
        if !record.is_ending() {
            self.order.push_back(PROVEN, id.slot());
        }
    }

    /// Input is there, or is known to come, while no operation is open.
    #[inline]
    pub(super) fn open_operation<U>(&self, record: &mut Record<N::Stream, U>) {
        if record.operation == Operation::None {
            record.operation = Operation::Open;
            record.operation_since = self.now;
        }
    }

    /// The open operation is done; `left` bytes of input wait behind it. Reads the clock, so that the handler's own time
    /// is in the latency.
    #[inline(always)] // A request is one function then, whatever the profile: as ten it costs a third more, with one codegen unit.
    pub(super) fn complete_operation<U>(
        &mut self,
        id: ConnId,
        record: &mut Record<N::Stream, U>,
        left: usize,
    ) {
        self.count_operation(record);
        self.leave_operation(id, record, left);
    }

    #[inline(always)]
    fn count_operation<U>(&mut self, record: &mut Record<N::Stream, U>) {
        let finished = self.clock.now();
        record.operations += 1;
        // The time that the handler took is no time without activity.
        record.last_active = finished;
        self.health.operation(record.operation_since, finished);
    }

    /// What is done is behind it, and `left` bytes of input are the next message.
    #[inline(always)]
    fn leave_operation<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>, left: usize) {
        record.operation = Operation::None;
        if self.policy.enforced {
            record.flags.remove(Flags::CHARGED);
            if left > 0 && !record.hears_no_more() {
                // Of several messages that came together each one needs a token of its own.
                let _ = self.charge(id, record, left);
            }
        }
    }

    /// The application says that the open operation is done; `left` bytes of input wait, of its message or behind it.
    pub(super) fn finish_operation<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>, left: usize) {
        match record.operation {
            Operation::None | Operation::Finished => {}
            // One that is held back has not begun, as far as the application knows, and what it has reserved is still to
            // come.
            Operation::Open if record.muted.has(Muted::OPERATIONS) => {}
            Operation::Open | Operation::Answered if left > 0 => {
                if record.operation == Operation::Answered {
                    record.flags.insert(Flags::ANSWERS_FIRST);
                }
                self.count_operation(record);
                record.operation = Operation::Finished;
            }
            _ => self.complete_operation(id, record, left),
        }
    }

    /// The message of an operation that was finished before is used up, or is not going to be.
    #[cold]
    pub(super) fn leave_finished<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>, left: usize) {
        self.leave_operation(id, record, left);
        if left > 0 {
            // It may be finished before it is used up, too.
            self.open_operation(record);
        }
    }

    /// Puts a connection in order after the application or a transfer has changed it: its place among the busy, its
    /// share of memory, its timer, and its end if it was only waiting for this.
    #[inline]
    pub(super) fn settle<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        let at_rest = record.facts() & AT_REST_IF_NONE == 0
            && record.operation == Operation::None
            && !record.flags.has(SETTLED_SPECIALLY)
            && record.input.is_none()
            && record.output.is_none();
        if !at_rest {
            self.settle_fully(id, record);
        }
        // Moving it in the order at each byte would cost more than the order is worth.
        if self.now_ms().wrapping_sub(record.ranked_ms) > RANK_STEP_MS {
            self.rank(id, record);
        }
    }

    #[inline(never)]
    fn settle_fully<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        if record.flags.has(Flags::CHARGED) {
            self.settle_token(record);
        }
        match record.operation {
            Operation::Finished => self.leave_finished(id, record, record.waiting_in()),
            // Its message has stayed: what was sent was no answer to it.
            Operation::Answered => record.operation = Operation::Open,
            // Nobody will answer it.
            Operation::Consumed if self.config.proof == Proof::Consumed => {
                self.complete_operation(id, record, record.waiting_in());
            }
            _ => {}
        }
        match record.reading {
            Reading::Open => {}
            Reading::Ended => self.enqueue(id, record),
            // The application has had its chance to answer, or to hold it.
            Reading::Reported => self.finish(id, record, Reason::Peer),
        }
        if record.input.is_some() {
            // What is left of the input is the beginning of the next message.
            self.open_operation(record);
        }
        self.watch_read_rate(id, record);
        self.count_busy(record);
        self.charge_memory(id, record);
        self.end_if_finished(id, record);
        let readable = record.ready.has(Readiness::READABLE) && record.muted.is_nothing();
        if (readable || record.ready.has(WRITABLE_OR_FAILED)) && !record.is_ending() {
            self.enqueue(id, record);
        }
    }

    /// Counts a connection among the busy ones or not, as it is now.
    pub(super) fn count_busy<U>(&mut self, record: &mut Record<N::Stream, U>) {
        let busy = record.is_busy();
        if busy != record.flags.has(Flags::BUSY) {
            if busy {
                record.flags.insert(Flags::BUSY);
                self.busy += 1;
            } else {
                record.flags.remove(Flags::BUSY);
                self.busy -= 1;
            }
        }
    }

    /// Opens a window for the least read rate when part of a message waits for the rest.
    pub(super) fn watch_read_rate<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        let Some(stall) = self.config.read_stall else { return };
        let open = record.input.is_some() && record.muted.is_nothing() && !record.flags.has(Flags::HELD);
        if !open {
            record.flags.remove(Flags::WINDOW);
        } else if !record.flags.has(Flags::WINDOW) {
            record.flags.insert(Flags::WINDOW);
            record.window_since_ms = self.window_start_ms();
            // What the message begins with has arrived already.
            record.window_bytes = u32::try_from(record.waiting_in()).unwrap_or(u32::MAX);
            self.timers.arm_by(id.slot(), self.now + stall.window);
        }
    }

    /// When a window for the least read rate that opens now began: rounded up, so that none is too short.
    pub(super) fn window_start_ms(&self) -> u32 {
        self.now.as_nanos().div_ceil(1_000_000) as u32
    }

    /// Charges what its buffers hold now.
    pub(super) fn charge_memory<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        let input = record.input.as_ref().map_or(0, |ring| ring.capacity());
        let output = record.output.as_ref().map_or(0, |output| output.held());
        let held = u32::try_from(input + output).expect("buffers are bounded by 2 x 16 MiB and a size class");
        if held != record.held_bytes {
            self.pressure.change(id.slot(), record.held_bytes, held);
            record.held_bytes = held;
        }
    }

    /// Takes a connection that leaves the table out of everything else.
    #[inline]
    pub(super) fn forget<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        let slot = id.slot();
        self.timers.disarm(slot);
        self.order.remove(slot);
        self.give_back_buffers(record);
        if record.held_bytes > 0 {
            self.pressure.change(slot, record.held_bytes, 0);
        }
        if record.flags.has(Flags::BUSY) {
            self.busy -= 1;
        }
        if record.standing == Standing::Proven {
            self.proven -= 1;
        }
        if self.stage.owner == Some(id) {
            self.stage.owner = None;
            self.stage.bytes.clear();
        }
    }

    /// Bytes gathered for this connection and not sent yet.
    pub(super) fn staged(&self, id: ConnId) -> usize {
        if self.stage.owner == Some(id) { self.stage.bytes.len() } else { 0 }
    }

    /// Lets a connection be read from again, as far as `reason` goes.
    pub(super) fn unmute<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>, reason: Muted) {
        record.muted.remove(reason);
        if record.flags.has(Flags::ASIDE) && record.muted.is_at_most(Muted::OPERATIONS) && !record.is_ending()
        {
            self.comes_back(id, record);
        }
        if record.muted.is_nothing() && !record.is_ending() && record.ready.has(Readiness::READABLE) {
            self.enqueue(id, record);
        }
    }

    /// Keeps a connection from being read from until its byte rate lets more in, at `at`. That is over in a moment, so it
    /// puts no deadline off; but bytes that wait for it are heard before one ends anybody.
    pub(super) fn pause_until<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>, at: Nanos) {
        record.muted.insert(Muted::BYTES);
        record.flags.remove(Flags::HEARD_LATE);
        self.timers.arm_by(id.slot(), at);
    }

    /// Keeps a connection from being read from until `at`.
    pub(super) fn mute_until<U>(
        &mut self,
        id: ConnId,
        record: &mut Record<N::Stream, U>,
        reason: Muted,
        at: Nanos,
    ) {
        record.resume_at = if record.muted.has(Muted::TIMED) { record.resume_at.max(at) } else { at };
        record.muted.insert(reason);
        self.timers.arm_by(id.slot(), record.resume_at);
    }
}

pub(super) const WRITABLE_OR_FAILED: Readiness = Readiness::WRITABLE.with(Readiness::FAILED);
/// A connection of which any of these facts is true needs putting in order.
const AT_REST_IF_NONE: u32 =
    facts(WRITABLE_OR_FAILED.with(Readiness::READABLE), Muted::ANYTHING, u8::MAX, u8::MAX);
/// So does one with any of these flags.
const SETTLED_SPECIALLY: Flags = Flags::BUSY.with(Flags::HELD).with(Flags::CHARGED);
/// The order of last activity is kept to within this many milliseconds.
pub(super) const RANK_STEP_MS: u32 = 25;
/// Free chunks that are kept for the next connection that needs one: 1 MiB, so that bursts do not allocate.
const RETAINED_BYTES: usize = 1 << 20;
/// Chunks that are made at start: so many connections at a time may have bytes waiting before the first allocation.
const PREPARED_CHUNKS: usize = 256;
