//! From a backlog into the table: accepts in bounded batches, asks the gate, and waits the right way when it cannot go
//! on. Who makes room is decided next door, in `eviction`.

use std::io;
use std::time::Duration;

use super::core::{Core, UNPROVEN};
use super::eviction::Seat;
use super::exhaustion::Advice;
use super::listen::{Accepting, Backlog};
use super::{SocketPool, WhenFull};
use crate::admission::{Decision, Intake, Origin, Permit, Proof, Room};
use crate::clock::Nanos;
use crate::connection::{Driver, Duplicate, Flags, Muted, Record, Standing};
use crate::error::AddError;
use crate::id::ConnId;
use crate::net::{AcceptFailure, Kind, Listener, Net, Registry, Stream, Token, classify, is_shortage};
use crate::peer::Peer;
use crate::readiness::Readiness;
use crate::reason::{Reason, Refusal};

/// Whether a listener is to be accepted from once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    More,
    /// Its backlog is empty.
    Empty,
    /// None can be accepted before this time, or before a close.
    Later(Nanos),
    /// This listener does not work and is left alone until then.
    Broken(Nanos),
}

/// A newcomer with slot and permit for whom the poller had no memory. Nobody else is accepted until he is watched, for it
/// would have none for them either.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unwatched {
    id: ConnId,
    /// When to try again; a close ends the wait.
    again_at: Nanos,
    /// The wait after that.
    pause: Duration,
}

impl<U, N: Net> SocketPool<U, N> {
    /// When accepting wants to go on by itself.
    pub(super) fn accept_deadline(&self) -> Nanos {
        if let Some(unwatched) = &self.core.unwatched {
            return unwatched.again_at;
        }
        let somebody_waits = self.listening.iter().any(|listening| listening.backlog == Backlog::Waiting);
        if self.is_accepting() && somebody_waits { self.accept_at } else { Nanos::MAX }
    }

    /// Something has changed for the better: whoever waits in a backlog is looked at in the next turn.
    pub(super) fn wake_accepting(&mut self) {
        self.accept_at = AT_ONCE;
        if let Some(unwatched) = &mut self.core.unwatched {
            unwatched.again_at = AT_ONCE;
        }
    }

    /// A pool that drains does so too, until the last call is over and its listeners are closed.
    fn is_accepting(&self) -> bool {
        self.accepting == Accepting::Open
    }

    /// Accepts what waits. The listeners at which somebody waits share what a turn takes equally, and what one of them
    /// leaves the others may have.
    pub(super) fn accept(&mut self) {
        self.watch_again();
        if self.core.unwatched.is_some() {
            return self.cancel_last_call();
        }
        if !self.is_accepting() || self.core.now < self.accept_at {
            return self.end_last_call();
        }
        self.accept_at = WHEN_CALLED;
        let mut in_line = self.line_up();
        let mut left = self.accepts_left;
        while in_line > 0 && left > 0 {
            in_line = self.accept_round((left / in_line).max(1), &mut left);
        }
        self.accepts_left = left;
        if in_line > 0 {
            self.accept_at = AT_ONCE;
        }
        self.first_listener = (self.first_listener + 1) % self.listening.len().max(1);
        self.end_last_call();
    }

    /// Puts the listeners in line at which somebody may wait. Returns how many these are.
    fn line_up(&mut self) -> usize {
        let now = self.core.now;
        for listening in &mut self.listening {
            let waits = listening.backlog == Backlog::Waiting;
            listening.in_line = waits && now >= listening.broken_until;
            if waits && !listening.in_line {
                self.accept_at = self.accept_at.min(listening.broken_until);
            }
        }
        self.listening.iter().filter(|listening| listening.in_line).count()
    }

    /// Accepts at most `share` from each listener that is in line. Returns how many are still in line.
    fn accept_round(&mut self, share: usize, left: &mut usize) -> usize {
        let count = self.listening.len();
        let mut in_line = 0;
        for step in 0..count {
            let place = (self.first_listener + step) % count;
            if self.listening[place].in_line {
                self.listening[place].in_line = self.accept_from(place, share.min(*left), left);
                in_line += usize::from(self.listening[place].in_line);
            }
        }
        in_line
    }

    /// A drain begins: takes those who are in the backlogs already, and then closes the listeners.
    pub(super) fn call_last(&mut self) {
        if self.accepting == Accepting::Paused {
            return self.close_listeners();
        }
        for listening in &mut self.listening {
            listening.backlog = Backlog::Waiting;
            // Linux lets one more wait than the backlog says.
            listening.last_call = listening.listener.backlog().saturating_add(1);
            // Who does not work now is not waited for.
            listening.broken_until = Nanos::ZERO;
        }
        self.wake_accepting();
        self.accept();
    }

    /// The last call is for those who can be taken at once, and no more than were there when it began.
    fn during_last_call(&mut self, place: usize, next: Next) -> Next {
        let left = &mut self.listening[place].last_call;
        *left = left.saturating_sub(1);
        match next {
            Next::More if *left > 0 => Next::More,
            _ => Next::Empty,
        }
    }

    /// Whoever has not been taken in the last call yet is not taken any more.
    pub(super) fn cancel_last_call(&mut self) {
        if !self.core.drain.is_active() {
            self.close_listeners();
            self.note_last_closed();
        }
    }

    fn end_last_call(&mut self) {
        let drains = !self.core.drain.is_active();
        if drains && self.listening.iter().all(|listening| listening.backlog == Backlog::Empty) {
            self.cancel_last_call();
        }
    }

    /// Accepts at most `most` from one listener. Returns whether more may wait there that can be taken.
    fn accept_from(&mut self, place: usize, most: usize, left: &mut usize) -> bool {
        for _ in 0..most {
            *left -= 1;
            let mut next = self.accept_one(place);
            if !self.core.drain.is_active() {
                next = self.during_last_call(place, next);
            }
            match next {
                Next::More => continue,
                Next::Empty => self.listening[place].backlog = Backlog::Empty,
                Next::Later(at) => self.accept_at = self.accept_at.min(at),
                Next::Broken(until) => self.leave_alone(place, until),
            }
            return false;
        }
        true
    }

    fn leave_alone(&mut self, place: usize, until: Nanos) {
        self.listening[place].broken_until = until;
        self.accept_at = self.accept_at.min(until);
    }

    /// Tries again to watch the newcomer for whom there was no memory.
    fn watch_again(&mut self) {
        let now = self.core.now;
        let Some(Unwatched { id, pause, .. }) =
            self.core.unwatched.filter(|unwatched| unwatched.again_at <= now)
        else {
            return;
        };
        self.core.unwatched = None;
        self.accept_at = AT_ONCE;
        let Some(record) = self.table.get_mut(id).filter(|record| !record.is_ending()) else { return };
        // That we hear nothing of him is no silence of his.
        record.resume_at = record.resume_at.max(now);
        self.core.touch(record);
        if record.flags.has(Flags::ROOM_WATCHED) {
            // Output that waits for room has brought him under the poller's eyes meanwhile.
            return;
        }
        let token = Token::connection(Kind::Server, self.core.party, id);
        match self.core.registry.watch(&record.stream, token) {
            Ok(()) => {}
            Err(error) if is_shortage(&error) => {
                let pause = (pause * 2).min(LONGEST_UNWATCHED);
                self.leave_unwatched(id, pause, &error);
            }
            Err(error) => {
                log::warn!("connection {id}: cannot watch it: {error}");
                self.end(id, Reason::Error);
            }
        }
    }

    fn leave_unwatched(&mut self, id: ConnId, pause: Duration, error: &io::Error) {
        self.core.health.counters.accept_failures += 1;
        self.core.unwatched = Some(Unwatched { id, again_at: self.core.now + pause, pause });
        self.complain("watch a newcomer", error);
    }

    fn accept_one(&mut self, place: usize) -> Next {
        if let Some(unwatched) = &self.core.unwatched {
            return Next::Later(unwatched.again_at);
        }
        if self.closed.len() >= MOST_A_TURN {
            // The application has not heard of the last evictions yet.
            return Next::Later(AT_ONCE);
        }
        let seat = self.seat();
        if seat == Seat::None && self.core.config().when_full == WhenFull::Wait {
            if !self.listening[place].listener.has_waiting() {
                return Next::Empty;
            }
            self.core.health.counters.deferred_accepts += 1;
            return Next::Later(self.next_evictable());
        }
        match self.core.exhaustion.advice(self.core.now) {
            Advice::Try => {}
            Advice::Wait(at) => return Next::Later(at),
            Advice::MakeRoom(at) => return self.make_room_for_descriptor(place, seat, at),
        }
        match self.listening[place].listener.accept() {
            Ok((stream, peer)) => {
                self.listening[place].aborted = 0;
                self.core.exhaustion.accepted();
                self.core.health.counters.accepted += 1;
                if let Err(refused) = self.admit(stream, peer, Origin::Accepted, seat, None) {
                    drop(refused);
                    self.core.exhaustion.closed(self.core.now);
                }
                Next::More
            }
            Err(error) => self.after_failed_accept(place, &error),
        }
    }

    fn after_failed_accept(&mut self, place: usize, error: &io::Error) -> Next {
        match classify(error) {
            AcceptFailure::Empty => {
                self.listening[place].aborted = 0;
                self.core.exhaustion.found_nobody();
                Next::Empty
            }
            AcceptFailure::Aborted => {
                self.core.health.counters.accept_aborted += 1;
                self.after_abort(place)
            }
            AcceptFailure::Exhausted => {
                self.core.health.counters.accept_failures += 1;
                // Without descriptors accept fails before it looks whether anybody is there.
                if !self.listening[place].listener.has_waiting() {
                    return Next::Empty;
                }
                self.core.exhaustion.failed(self.core.now);
                self.complain_of(place, error);
                Next::More
            }
            AcceptFailure::Broken => {
                self.core.health.counters.accept_failures += 1;
                self.complain_of(place, error);
                Next::Broken(self.core.now + BROKEN_PAUSE)
            }
        }
    }

    /// Newcomers that abort leave the backlog one by one. Where very many do in a row, it may be an error that takes
    /// nobody off it, and would be met again for ever.
    fn after_abort(&mut self, place: usize) -> Next {
        let aborted = &mut self.listening[place].aborted;
        *aborted += 1;
        if *aborted < MOST_ABORTED {
            return Next::More;
        }
        *aborted = 0;
        Next::Broken(self.core.now + ABORTED_PAUSE)
    }

    /// There is no descriptor for a newcomer unless somebody goes; but nobody goes for one who would have no seat.
    fn make_room_for_descriptor(&mut self, place: usize, seat: Seat, probe_at: Nanos) -> Next {
        if !self.listening[place].listener.has_waiting() {
            return Next::Empty;
        }
        let goes = match seat {
            Seat::Free => self.next_to_go(),
            Seat::Of(id) => Some(id),
            Seat::None => None,
        };
        match goes {
            Some(id) => {
                self.evict(id);
                Next::More
            }
            None => Next::Later(probe_at.min(self.next_evictable())),
        }
    }

    fn complain_of(&mut self, place: usize, error: &io::Error) {
        if self.may_complain() {
            let what = format!("accept on {}", self.listening[place].listener.address());
            self.complain(&what, error);
        }
    }

    /// Says, at most once a second, what there was no memory for.
    pub(super) fn complain_of_memory(&mut self, what: &str) {
        if self.may_complain() {
            self.complain_at = self.core.now + COMPLAIN_EVERY;
            log::warn!("no memory: {what}");
        }
    }

    /// Says, at most once a second, that the pool was given events that are not its own.
    #[cold]
    pub(super) fn complain_of_reactor(&mut self) {
        if self.may_complain() {
            self.complain_at = self.core.now + COMPLAIN_EVERY;
            log::error!("process: the pool was built on another reactor, and hears nothing from this one");
        }
    }

    fn may_complain(&self) -> bool {
        self.core.now >= self.complain_at
    }

    fn complain(&mut self, what: &str, error: &io::Error) {
        if !self.may_complain() {
            return;
        }
        self.complain_at = self.core.now + COMPLAIN_EVERY;
        let failures = self.core.health.counters.accept_failures;
        log::warn!("{what}: {error}; {failures} failures so far, {} connections", self.table.len());
    }

    /// Takes a newcomer in, to the seat that was found for it, if the gate lets it.
    pub(super) fn admit(
        &mut self,
        stream: N::Stream,
        peer: Peer,
        origin: Origin,
        seat: Seat,
        userdata: Option<U>,
    ) -> Result<ConnId, AddError<N::Stream>> {
        if origin != Origin::Accepted {
            self.core.health.counters.adopted += 1;
        }
        if self.table.id_by_fd(stream.fd()).is_some() {
            return Err(self.refuse(stream, Refusal::Duplicate));
        }
        let room = if seat == Seat::None { Room::None } else { Room::Available };
        let open = self.core.drain.is_active() || origin == Origin::Accepted;
        let intake = if open { Intake::Open } else { Intake::Draining };
        let now = self.core.now;
        let (permit, delay) = match self.core.gate.decide(&peer, origin, intake, room, now) {
            Decision::Admit(permit) => (permit, None),
            Decision::Delay(permit, delay) => (permit, Some(delay)),
            Decision::Refuse(reason) => return Err(self.refuse(stream, reason)),
        };
        if let Seat::Of(id) = seat {
            self.evict(id);
        }
        self.take_in_newcomer(stream, peer, permit, delay, origin, userdata)
    }

    /// Gives an admitted newcomer its place.
    fn take_in_newcomer(
        &mut self,
        stream: N::Stream,
        peer: Peer,
        permit: Permit,
        delay: Option<Duration>,
        origin: Origin,
        userdata: Option<U>,
    ) -> Result<ConnId, AddError<N::Stream>> {
        let now = self.core.now;
        let fd = stream.fd();
        let standing = if origin == Origin::Lent { Standing::Unobserved } else { Standing::Unproven };
        let (id, record) = match self.table.insert(fd, stream, peer, permit, standing, now) {
            Ok(inserted) => inserted,
            Err(Duplicate { stream, permit }) => {
                self.core.gate.release(permit, &peer, Proof::Proven, now);
                return Err(self.refuse(stream, Refusal::Duplicate));
            }
        };
        record.userdata = userdata;
        if origin == Origin::Lent {
            // The application goes on to drive it: nobody watches it here, and there is nothing to tell of it.
            record.driver = Driver::Application;
            record.muted = Muted::APPLICATION;
            self.core.take_up(id, record, delay);
            self.core.health.opened(self.table.len());
            return Ok(id);
        }
        // Of an accepted stream the peer tells what it is; of an added one it may tell whom somebody has accepted.
        if (origin == Origin::Added || peer.is_unix()) && record.stream.stops_short() {
            record.ready = record.ready.with(Readiness::STOPS_SHORT);
        }
        let token = Token::connection(Kind::Server, self.core.party, id);
        let watched = self.core.registry.watch(&record.stream, token);
        // Whoever adds a stream gets it back and can do so again; whoever was accepted would be lost.
        let patient = |error: &io::Error| origin == Origin::Accepted && is_shortage(error);
        if let Err(error) = watched.as_ref()
            && !patient(error)
        {
            log::warn!("connection from {peer}: cannot watch it: {error}");
            let record = self.table.remove(id, fd).expect("it was inserted just now");
            // No fault of the newcomer's.
            self.core.gate.release(record.permit, &peer, Proof::Proven, now);
            return Err(self.refuse(record.stream, Refusal::Register));
        }
        if origin == Origin::Added {
            record.flags.insert(Flags::SHARED);
        }
        self.core.order.push_back(UNPROVEN, id.slot());
        self.core.take_up(id, record, delay);
        self.core.enqueue(id, record);
        if !self.core.drain.is_active() {
            self.core.drain_one(id, record);
        }
        let live = self.table.len();
        self.core.health.opened(live);
        if let Err(error) = watched {
            self.leave_unwatched(id, FIRST_UNWATCHED, &error);
        }
        Ok(id)
    }

    fn refuse(&mut self, stream: N::Stream, reason: Refusal) -> AddError<N::Stream> {
        self.core.health.refused(reason, self.core.now);
        AddError { stream, reason }
    }
}

impl<N: Net> Core<N> {
    /// A newcomer has its place: its time runs, and its delay, if it was admitted with one.
    #[inline]
    fn take_up<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>, delay: Option<Duration>) {
        self.arm_newcomer(id, record);
        if let Some(delay) = delay {
            self.health.counters.delayed += 1;
            self.mute_until(id, record, Muted::DELAYED, self.now + delay);
        }
    }

    /// Whether the poller does not tell of a connection, for want of memory.
    pub(super) fn is_unwatched<U>(&self, id: ConnId, record: &Record<N::Stream, U>) -> bool {
        let is_next = self.unwatched.is_some_and(|unwatched| unwatched.id == id);
        is_next && !record.flags.has(Flags::ROOM_WATCHED)
    }
}

/// Accepting goes on in this turn or the next.
pub(super) const AT_ONCE: Nanos = Nanos::ZERO;
/// Accepting goes on at an edge or a close, which set [`AT_ONCE`], and not by itself. Whatever else asks for an earlier time
/// has it, since of all times the earliest counts.
pub(super) const WHEN_CALLED: Nanos = Nanos::MAX;
/// Newcomers taken in one turn: some 2.5 µs each, so well under a millisecond.
pub(super) const MOST_A_TURN: usize = 256;
/// Newcomers of one listener that may be gone, one after the other, before it rests.
const MOST_ABORTED: u32 = 64;
const ABORTED_PAUSE: Duration = Duration::from_millis(10);
const BROKEN_PAUSE: Duration = Duration::from_millis(1000);
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);
/// A shortage of the kernel's memory is mostly over at once, and costs few calls if it is not.
const FIRST_UNWATCHED: Duration = Duration::from_millis(10);
const LONGEST_UNWATCHED: Duration = Duration::from_millis(1000);
