//! Carries out the ends that were decided: at one place, when no event of the connection is being handled, a bounded
//! number a turn, each told exactly once.

use super::SocketPool;
use super::event::Event;
use super::turn::{MOST_TOUCHED, hand_out};
use crate::admission::Proof;
use crate::connection::{Driver, Flags, Muted, Record, Standing};
use crate::id::ConnId;
use crate::net::{Net, Registry, Stream};
use crate::reason::Reason;

impl<U, N: Net> SocketPool<U, N> {
    /// Whether [`next_closed`](Self::next_closed) is worth a call.
    #[inline]
    pub(super) fn has_ends_to_tell(&self) -> bool {
        !self.closed.is_empty() || !self.core.ending.is_empty()
    }

    /// Carries out the next end and tells it.
    #[inline(never)]
    pub(super) fn next_closed(&mut self) -> Option<Event<U>> {
        if let Some(event) = self.closed.pop_front() {
            self.note_last_closed();
            return Some(event);
        }
        while self.core.closes_left > 0 {
            if let Some(event) = self.announce_added() {
                return Some(event);
            }
            let id = self.core.ending.pop_front()?;
            self.core.closes_left -= 1;
            let event = self.carry_out(id);
            self.note_last_closed();
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// Whoever added a connection knows it already and hears of its end, so he hears of its beginning before.
    fn announce_added(&mut self) -> Option<Event<U>> {
        let id = *self.core.ending.front()?;
        let record = self.table.get_mut(id)?;
        if !record.is_added_and_untold() {
            return None;
        }
        record.muted.remove(Muted::UNANNOUNCED);
        hand_out(&mut self.inbox, id, record);
        Some(Event::Opened(id))
    }

    /// Carries out an end that was decided, without waiting for its turn, and keeps what is to be told of it. It was among
    /// the first that were decided, or has just become the last.
    pub(super) fn carry_out_at_once(&mut self, id: ConnId) {
        let place = self.core.ending.iter().take(MOST_TOUCHED + 1).position(|other| *other == id);
        match place {
            Some(place) => self.core.ending.remove(place),
            None => self.core.ending.pop_back(),
        };
        let event = self.carry_out(id);
        self.closed.extend(event);
    }

    /// Takes a connection whose end is decided out of everything and closes it. Returns what the application is to be
    /// told: nothing, if it has not been told of the connection either.
    pub(super) fn carry_out(&mut self, id: ConnId) -> Option<Event<U>> {
        let Ended { reason, announced, userdata } = self.take_out(id)?;
        announced.then_some(Event::Closed { id, reason, userdata })
    }

    /// The same, for those who tell of it in their own way.
    #[inline(always)]
    pub(super) fn take_out(&mut self, id: ConnId) -> Option<Ended<U>> {
        let record = self.table.get_mut(id)?;
        let Some(reason) = record.ends_for() else {
            debug_assert!(false, "{id} is carried out and its end was not decided");
            return None;
        };
        debug_assert!(self.inbox.owner() != Some(id), "{id} is closed while its input is open");
        self.core.forget(id, record);
        let driver = record.driver;
        if record.flags.has(Flags::PARTING) && driver == Driver::Pool && self.inbox.owner().is_none() {
            match self.inbox.scratch() {
                Some(scratch) => record.stream.part(scratch),
                None => record.stream.part(&mut [0; FEW]),
            }
        }
        if record.flags.has(Flags::SHARED) {
            self.core.registry.forget(&record.stream);
        }
        let proof = match record.standing {
            Standing::Proven | Standing::Unobserved => Proof::Proven,
            Standing::Unproven => Proof::Unproven,
        };
        let fd = record.stream.fd();
        let Record { stream, permit, peer, muted, userdata, .. } = self.table.remove(id, fd)?;
        self.core.gate.release(permit, &peer, proof, self.core.now);
        self.core.health.closed(reason, self.core.now);
        match (driver, self.closer, &userdata) {
            (Driver::Application, ..) => std::mem::forget(stream),
            (Driver::Pool, Some(close), Some(userdata)) => close(userdata, stream),
            (Driver::Pool, ..) => drop(stream),
        }
        self.core.exhaustion.closed(self.core.now);
        self.wake_accepting();
        Some(Ended { reason, announced: !muted.has(Muted::UNANNOUNCED), userdata })
    }
}

/// A connection that was taken out.
pub(super) struct Ended<U> {
    pub(super) reason: Reason,
    /// Whether the application was told of it, and is to be told of its end.
    announced: bool,
    userdata: Option<U>,
}

/// Bytes that are dropped at a time when the scratch buffer is not to be had.
const FEW: usize = 4096;

/// Ends carried out in one turn: some 8 µs each, so about half a millisecond. Now and then the kernel runs its timers inside of
/// one close, and that one takes up to two: a smaller number would not help.
pub(super) const MOST_A_TURN: usize = 64;
