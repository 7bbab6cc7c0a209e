//! One turn of the loop: wait, take in what is ready, keep deadlines, accept, and hand events out in fair order.
//! The one place in this room that reads the clock for a turn.

use std::time::Duration;

use super::core::WRITABLE_OR_FAILED;
use super::event::Event;
use super::inbox::Inbox;
use super::{SocketPool, accept, ending, receiving, sending};
use crate::bucket::Moment;
use crate::clock::Nanos;
use crate::connection::{Flags, Muted, Reading, Record, Stage, facts};
use crate::error::Error;
use crate::id::ConnId;
use crate::net::{Kind, Net, Poller, Reactor, Token};
use crate::readiness::Readiness;

impl<U, N: Net> SocketPool<U, N> {
    /// Waits at most `timeout` (`None`: as long as nothing happens) and does the turn's work. Pull events with
    /// [`next_event`](Self::next_event) afterwards until it says `None`; what was not pulled is kept, and then the next
    /// turn does not wait.
    ///
    /// # Errors
    /// [`Error::State`] if the pool shares a reactor, which is to be turned instead; [`Error::Io`] if the operating
    /// system's poller fails. No peer can bring about either.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// pool.turn(None)?; // does not wait: there is news of the connection
    /// pool.turn(None)?; // nor here: it was not pulled
    /// assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// pool.turn(Some(Duration::ZERO))?; // only looks
    /// assert_eq!(pool.next_event(), None);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn turn(&mut self, timeout: Option<Duration>) -> Result<(), Error> {
        let sleep = self.before_wait(timeout);
        let Some(mut reactor) = self.reactor.take() else {
            return Err(Error::State {
                what: "turn",
                why: "the pool shares a reactor: turn that, then process",
            });
        };
        let result = reactor.turn(sleep);
        self.after_wait(&mut reactor);
        self.reactor = Some(reactor);
        result
    }

    /// Does the turn's work after a shared reactor has been turned; then pull events as after [`turn`](Self::turn).
    ///
    /// `reactor` is the one that the pool was built on. Of what another one has found nothing is taken in, and the log
    /// says so, at most once a second; the rest of the turn's work is done.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let mut reactor = Reactor::new()?;
    /// let mut pool = SocketPool::<()>::builder().build_on(&mut reactor)?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// reactor.turn(pool.next_timeout())?;
    /// pool.process(&mut reactor);
    /// assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn process(&mut self, reactor: &mut Reactor<N>) {
        self.settle_handled();
        self.after_wait(reactor);
    }

    /// What happened next; `None` when this turn has nothing more to tell. Of each connection a turn tells one event, and
    /// its end.
    ///
    /// The connection of the event before is put in order first: what was left of its input is kept, what was queued
    /// for it is sent, and whatever ends were asked for are carried out from here on.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// client.write_all(b"hello\n").unwrap();
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert_eq!(pool.next_event(), Some(Event::Opened(id)));
    /// assert_eq!(pool.next_event(), None, "one event of a connection in each turn");
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert_eq!(pool.next_event(), Some(Event::Readable(id)));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[inline]
    pub fn next_event(&mut self) -> Option<Event<U>> {
        let event = self.pull();
        self.audit();
        event
    }

    #[inline]
    fn pull(&mut self) -> Option<Event<U>> {
        self.settle_touched();
        if self.has_ends_to_tell()
            && let Some(event) = self.next_closed()
        {
            return Some(event);
        }
        while let Some(id) = self.core.run.pop() {
            if let Some(event) = self.event_of(id) {
                return Some(event);
            }
        }
        if let Some(event) = self.next_closed() {
            return Some(event);
        }
        self.between_turns = true;
        self.next_drained()
    }

    /// The time that a turn may sleep: not at all while something is left to do.
    fn before_wait(&mut self, timeout: Option<Duration>) -> Option<Duration> {
        self.settle_handled();
        self.sleep_at_most(timeout)
    }

    pub(super) fn sleep_at_most(&self, timeout: Option<Duration>) -> Option<Duration> {
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        match self.next_deadline() {
            Nanos::MAX => timeout,
            deadline => {
                let left = deadline.since(self.core.clock.now());
                Some(timeout.map_or(left, |timeout| timeout.min(left)))
            }
        }
    }

    /// Whether there is something to do, or to tell, whatever the time.
    pub(super) fn has_work(&self) -> bool {
        let core = &self.core;
        !core.run.is_empty()
            || !core.ending.is_empty()
            || !self.closed.is_empty()
            || self.is_being_handled()
            || self.has_sliced_work()
            || self.commands.are_waiting()
            || core.drain.has_news()
            || self.is_under_pressure()
    }

    /// When there is something to do by itself.
    pub(super) fn next_deadline(&self) -> Nanos {
        let core = &self.core;
        core.timers
            .next()
            .min(self.accept_deadline())
            .min(core.drain.deadline)
            .min(core.pressure.look_at)
            .min(core.line_deadline())
    }

    fn after_wait(&mut self, reactor: &mut Reactor<N>) {
        self.begin_work();
        self.take_in(reactor);
        self.work();
        self.core.store.begin_turn();
    }

    pub(super) fn begin_work(&mut self) {
        self.core.read_clock();
        self.between_turns = false;
        self.core.health.counters.turns += 1;
        self.accepts_left = accept::MOST_A_TURN;
    }

    /// Does what is due.
    pub(super) fn work(&mut self) {
        self.run_commands();
        self.keep_deadlines();
        self.serve_line();
        self.relieve_pressure();
        self.work_in_slices();
        self.accept();
        self.core.run.begin_turn();
        self.inbox.begin_turn(self.core.run.len());
        self.core.closes_left = ending::MOST_A_TURN;
        self.audit();
    }

    /// Notes what the poller has found. An event whose generation is over is dropped here and nowhere else.
    fn take_in(&mut self, reactor: &Reactor<N>) {
        if !self.place.is_at(reactor) {
            return self.complain_of_reactor();
        }
        let party = self.core.party;
        let connections = Token::class_of(Kind::Server, party);
        let listeners = Token::class_of(Kind::Listener, party);
        for (token, readiness) in reactor.poller().events() {
            let class = token.class();
            if class == connections {
                let found = token.id(party).and_then(|id| Some((id, self.table.get_mut(id)?)));
                let Some((id, record)) = found else {
                    self.core.health.counters.stale_events += 1;
                    continue;
                };
                record.ready = record.ready.with(readiness);
                self.core.enqueue(id, record);
            } else if class == listeners {
                self.listener_is_ready(token.listener_place());
            }
        }
    }

    /// Whether work is left that is done in slices.
    fn has_sliced_work(&self) -> bool {
        let slots = self.table.slots_used();
        self.core.drain.is_sweeping(slots)
            || self.core.look.is_going_on(slots)
            || self.commands.is_broadcasting()
    }

    fn work_in_slices(&mut self) {
        if self.has_sliced_work() {
            // Whoever drains after a broadcast means it to be heard first.
            self.work_on_broadcasts();
            self.sweep_drain();
            self.look_again();
        }
    }

    /// What a queued connection has to tell; a connection that turns out to have nothing leaves the queue.
    #[inline]
    fn event_of(&mut self, id: ConnId) -> Option<Event<U>> {
        let record = self.table.get_mut(id)?;
        record.flags.remove(Flags::QUEUED);
        if record.facts() & ONLY_READABLE_IF.0 == ONLY_READABLE_IF.1 {
            if !self.core.may_operate(id, record) {
                return None;
            }
            hand_out(&mut self.inbox, id, record);
            return Some(Event::Readable(id));
        }
        let event = self.core.event_of(id, record)?;
        hand_out(&mut self.inbox, id, record);
        Some(event)
    }

    /// Before a handle of `id` is given out whose input is not open: whoever's is open is put on the list of those to be
    /// put in order.
    pub(super) fn open_input(&mut self, id: ConnId) -> Option<()> {
        self.table.get(id)?;
        if self.between_turns || !self.is_being_handled() {
            self.core.read_clock();
        }
        match self.inbox.owner() {
            Some(owner) if owner == id => return Some(()),
            Some(owner) => self.list(owner),
            None => {}
        }
        let record = self.table.get_mut(id)?;
        hand_out(&mut self.inbox, id, record);
        if record.flags.has(Flags::LISTED) {
            let share = self.touched.iter().find(|touched| touched.id == id).map(|touched| touched.share);
            self.inbox.keep_share(share.unwrap_or(0));
        }
        Some(())
    }

    /// Closes the input of `owner`, which is still being handled. What is left of its share is noted, for when it is opened
    /// again.
    fn list(&mut self, owner: ConnId) {
        let Some(record) = self.table.get_mut(owner) else {
            debug_assert!(false, "its input is closed before a connection leaves");
            return;
        };
        let share = self.inbox.share();
        receiving::close_input(&mut self.core, owner, record, &mut self.inbox);
        if record.flags.has(Flags::LISTED) {
            self.touched
                .iter_mut()
                .filter(|touched| touched.id == owner)
                .for_each(|touched| touched.share = share);
            return;
        }
        record.flags.insert(Flags::LISTED);
        if self.touched.len() == MOST_TOUCHED {
            // The event's own was the first.
            for place in (1..MOST_TOUCHED).rev() {
                let Touched { id, .. } = self.touched.swap_remove(place);
                self.settle_one(id);
            }
        }
        self.touched.push(Touched { id: owner, share });
    }

    /// Whether the application may still have a handle of a connection, or has had one since it was put in order.
    pub(super) fn is_being_handled(&self) -> bool {
        self.inbox.owner().is_some() || !self.touched.is_empty()
    }

    /// Puts every connection in order of which the application has had a handle.
    #[inline(always)] // See `complete_operation`.
    pub(super) fn settle_touched(&mut self) {
        if let Some(owner) = self.inbox.owner() {
            if let Some(record) = self.table.get_mut(owner) {
                receiving::close_input(&mut self.core, owner, record, &mut self.inbox);
                record.flags.remove(Flags::TOUCHED);
                self.core.settle(owner, record);
                self.keep_to_budget();
            }
            if !self.touched.is_empty() {
                self.settle_listed();
            }
        }
    }

    /// The same outside of a turn, where what was put aside may leave long after the turn began.
    #[inline]
    pub(super) fn settle_handled(&mut self) {
        if self.is_being_handled() {
            self.settle_now();
        }
    }

    #[cold]
    fn settle_now(&mut self) {
        self.core.read_clock();
        self.settle_touched();
    }

    #[cold]
    fn settle_listed(&mut self) {
        while let Some(Touched { id, .. }) = self.touched.pop() {
            self.settle_one(id);
        }
    }

    fn settle_one(&mut self, id: ConnId) {
        if let Some(record) = self.table.get_mut(id) {
            record.flags.remove(Flags::TOUCHED.with(Flags::LISTED));
            self.core.settle(id, record);
            self.keep_to_budget();
        }
    }
}

/// A connection of which the application has had a handle while it has one of another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touched {
    id: ConnId,
    /// Bytes that it may still receive, should it be opened again before it is put in order.
    share: usize,
}

/// Notes that the application is about to have a handle of a connection, and opens its input, while nobody's is open.
#[inline]
pub(super) fn hand_out<S, U>(inbox: &mut Inbox, id: ConnId, record: &mut Record<S, U>) {
    record.flags.insert(Flags::TOUCHED);
    inbox.open(id, &mut record.input);
}

impl<N: Net> super::core::Core<N> {
    /// What time it is, for what may happen long after the turn began: in a slow handler, or between turns.
    #[inline]
    pub(super) fn this_moment(&self) -> Nanos {
        self.clock.now()
    }

    /// Reads the clock: for a turn, and for calls that come from outside of one and set a deadline.
    #[inline]
    pub(super) fn read_clock(&mut self) {
        self.now = self.clock.now();
        self.moment = Moment::of(self.now);
    }

    /// The time of this turn in milliseconds, cut to 32 bits as in `ranked_ms`.
    #[inline]
    pub(super) const fn now_ms(&self) -> u32 {
        self.now.as_millis() as u32
    }

    /// What `id` has to tell, the most urgent first.
    #[inline(never)]
    fn event_of<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) -> Option<Event<U>> {
        if record.is_ending() {
            return None;
        }
        if record.muted.has(Muted::UNANNOUNCED) {
            record.muted.remove(Muted::UNANNOUNCED);
            return Some(Event::Opened(id));
        }
        if record.ready.has(WRITABLE_OR_FAILED) {
            let wrote = sending::on_writable(self, id, record);
            self.settle(id, record);
            if record.is_ending() {
                return None;
            }
            if wrote == sending::Wrote::DownToLow {
                self.enqueue(id, record);
                return Some(Event::Writable(id));
            }
        }
        let readable =
            record.ready.has(Readiness::READABLE) && record.muted.is_nothing() && !record.is_ending();
        if record.reading == Reading::Ended && !is_held_back(record) {
            record.reading = Reading::Reported;
            return Some(Event::ReadClosed(id));
        }
        (readable && self.may_operate(id, record)).then_some(Event::Readable(id))
    }

    /// Whether the operation that is about to open may run, where the pool itself sees to the rates.
    #[inline]
    fn may_operate<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) -> bool {
        if !self.policy.enforced || record.flags.has(Flags::CHARGED) {
            return true;
        }
        self.charge(id, record, 0)
    }
}

/// Whether messages that came before the end of the stream wait to be told, for a rate that the pool enforces or for
/// whatever else keeps the connection from being read: the end is told after them, since it ends a connection to which
/// nothing is owed. Of a full buffer the application has been told.
fn is_held_back<S, U>(record: &Record<S, U>) -> bool {
    let is_to_be_told = record.ready.has(Readiness::READABLE) && !record.muted.has(Muted::FULL);
    record.muted.has(Muted::OPERATIONS) || (is_to_be_told && record.input.is_some())
}

/// A connection has nothing to tell but that it is readable if these facts, in the first, are as in the second.
const ONLY_READABLE_IF: (u32, u32) = (
    facts(WRITABLE_OR_FAILED.with(Readiness::READABLE), Muted::ANYTHING, u8::MAX, Stage::Ending as u8),
    facts(Readiness::READABLE, Muted::NOTHING, Reading::Open as u8, 0),
);

/// Connections of which a handle may be given out before the first of them are put in order.
pub(super) const MOST_TOUCHED: usize = 64;
