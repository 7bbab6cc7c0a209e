//! Leaves nobody (DECISIONS 7): closes the listeners, then whoever is not busy, in slices; lets the busy finish; forces
//! what is left at the deadline; and tells once that it is done.

use std::time::Duration;

use super::core::Core;
use super::event::Event;
use super::{SocketPool, ending};
use crate::clock::Nanos;
use crate::connection::Record;
use crate::drain::{DrainEvent, DrainState};
use crate::id::ConnId;
use crate::net::{Net, Stream};
use crate::readiness::Readiness;
use crate::reason::Reason;

/// Where a drain stands and how far it has got.
#[derive(Debug)]
pub(super) struct Draining {
    pub(super) state: DrainState,
    /// When it forces; `MAX` for never.
    pub(super) deadline: Nanos,
    /// The slot to look at next, once it drains; at or past the end of the table nothing is left to look at.
    cursor: u32,
    news: News,
}

/// Whether the end of the drain has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    None,
    Untold,
    Told,
}

impl Default for Draining {
    fn default() -> Self {
        Self { state: DrainState::Active, deadline: Nanos::MAX, cursor: 0, news: News::None }
    }
}

impl Draining {
    pub(super) fn is_active(&self) -> bool {
        self.state == DrainState::Active
    }

    /// Whether `Drained` waits to be told.
    pub(super) fn has_news(&self) -> bool {
        self.news == News::Untold
    }

    /// Whether slots are left to look at, of a table that has used `slots`.
    pub(super) fn is_sweeping(&self, slots: u32) -> bool {
        !self.is_active() && self.cursor < slots
    }

    fn step(&mut self, event: DrainEvent) {
        let next = self.state.next(event);
        if next != self.state && next == DrainState::Drained {
            self.news = News::Untold;
            self.deadline = Nanos::MAX;
        }
        self.state = next;
    }
}

impl<U, N: Net> SocketPool<U, N> {
    /// Stops taking newcomers and lets everybody go: listeners close, after a last call for those who have connected
    /// already and may have sent a request, as far as there is room and accepting is not paused; connections with nothing
    /// in flight close in the next turns, at most 64 in each; the busy ones finish their operation and what they have to
    /// send; what is left after `deadline` is closed with [`Reason::Forced`]. `None` waits for ever. [`Event::Drained`]
    /// follows once, after the last `Closed`. There is no way back.
    ///
    /// Busy means unread input, unsent output, an open operation, or held. Called again, it only moves the deadline.
    ///
    /// ```
    /// use socketpool::{Event, SocketPool, State};
    /// use std::time::Duration;
    ///
    /// let mut pool = SocketPool::<()>::builder().build()?;
    /// pool.listen("127.0.0.1:0")?;
    /// pool.drain(Some(Duration::from_secs(10)));
    /// assert_eq!(pool.next_event(), Some(Event::Drained), "nobody was there");
    /// assert_eq!(pool.state(), State::Drained);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn drain(&mut self, deadline: impl Into<Option<Duration>>) {
        self.core.read_clock();
        let begins = self.core.drain.is_active();
        let drain = &mut self.core.drain;
        if drain.state != DrainState::Drained {
            drain.deadline = deadline.into().map_or(Nanos::MAX, |deadline| self.core.now + deadline);
        }
        drain.step(DrainEvent::Begin);
        if begins {
            drain.cursor = 0;
            log::info!("draining {} connections", self.table.len());
            self.call_last();
            self.note_last_closed();
        }
    }

    /// Ends every connection now, in slices, with [`Reason::Forced`], and drains: for those who cannot wait. Output that
    /// waits is dropped. Without effect on a pool that has drained.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// # pool.turn(Some(Duration::ZERO))?;
    /// # pool.next_event();
    /// pool.conn(id).hold(); // a drain would wait for it
    /// pool.force_close_all();
    /// pool.turn(Some(Duration::ZERO))?;
    /// assert!(matches!(pool.next_event(), Some(Event::Closed { reason: Reason::Forced, .. })));
    /// assert_eq!(pool.next_event(), Some(Event::Drained));
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn force_close_all(&mut self) {
        self.drain(Some(Duration::ZERO));
        self.expire_drain();
    }

    pub(super) fn keep_drain_deadline(&mut self) {
        if self.core.now >= self.core.drain.deadline {
            self.expire_drain();
        }
    }

    fn expire_drain(&mut self) {
        self.core.drain.deadline = Nanos::MAX;
        if self.core.drain.state != DrainState::Draining {
            // Everybody goes already, or is gone.
            return;
        }
        self.core.drain.step(DrainEvent::Expired);
        self.cancel_last_call();
        // From the start again: those who were left alone for being busy go now.
        self.core.drain.cursor = 0;
    }

    /// Looks at the next slots: bounded by what it closes and by what it looks at. A broadcast that is under way reaches
    /// everybody first, unless the deadline has passed.
    pub(super) fn sweep_drain(&mut self) {
        if self.commands.is_broadcasting() && self.core.drain.state != DrainState::Forcing {
            return;
        }
        let slots = self.table.slots_used();
        let mut looks = LOOKS_A_TURN;
        let (mut closes, most) = (0, ending::MOST_A_TURN);
        while self.core.drain.is_sweeping(slots)
            && looks > 0
            && closes < most
            && self.core.ending.len() + self.closed.len() < most
        {
            looks -= 1;
            let slot = self.core.drain.cursor;
            self.core.drain.cursor += 1;
            let Some((id, _)) = self.table.at(slot) else { continue };
            let Some(record) = self.table.get_mut(id) else { continue };
            self.core.drain_one(id, record);
            // Carried out at once, before a request can come for which there was none when it was looked at: to close then
            // would be to reset.
            if record.is_ending() && !record.is_added_and_untold() && self.core.ending.back() == Some(&id) {
                self.carry_out_at_once(id);
                closes += 1;
            }
        }
        self.note_last_closed();
    }

    /// Ends the drain if nobody is left.
    pub(super) fn note_last_closed(&mut self) {
        if self.table.len() == 0 && self.closed.is_empty() && self.listening.is_empty() {
            self.core.drain.step(DrainEvent::LastClosed);
        }
    }

    pub(super) fn next_drained(&mut self) -> Option<Event<U>> {
        if !self.core.drain.has_news() {
            return None;
        }
        self.core.drain.news = News::Told;
        Some(Event::Drained)
    }
}

impl<N: Net> Core<N> {
    /// Lets one connection go: now, or when it has finished.
    pub(super) fn drain_one<U>(&mut self, id: ConnId, record: &mut Record<N::Stream, U>) {
        if self.drain.state == DrainState::Forcing {
            self.end(id, record, Reason::Forced);
        } else if record.is_busy() {
            self.finish(id, record, Reason::Drained);
        } else if record.stream.has_unread() {
            // The edge for it may still be in the poller; that it is there is known now.
            record.ready = record.ready.with(Readiness::READABLE);
            self.open_operation(record);
            self.finish(id, record, Reason::Drained);
            self.settle(id, record);
        } else {
            self.end(id, record, Reason::Drained);
        }
    }
}

/// Slots looked at in a turn: some 100 µs of work when nobody is there.
const LOOKS_A_TURN: u32 = 4096;
