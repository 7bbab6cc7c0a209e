//! Where resources go and when connects begin. One function decides about a resource that has become free
//! ([`Core::place`]), one about those who wait ([`Core::provide`]).

use super::core::Core;
use super::counts::Counts;
use super::ids::SlotId;
use super::key::Room;
use super::line::{Failure, Standing, Want};
use super::protocol::{CloseReason, Command};
use super::slots::{Errand, NONE, Phase, Slot, Work};
use crate::breaker::Ask;
use crate::clock::Nanos;
use crate::drain::DrainState;

/// What became of a wish to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Begun,
    /// There are as many as there may be.
    Full,
    /// Not now: the breaker said so.
    Later,
}

/// What became of a resource that was free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Kept,
    Closing,
}

/// Hands a resource out. It must have been taken from wherever it was.
#[inline]
pub(super) fn lend(slot: &mut Slot, counts: &mut Counts, index: u32, now: Nanos) -> SlotId {
    slot.phase = Phase::InUse;
    slot.since = now;
    if slot.uses == 0 {
        counts.misses += 1;
    }
    slot.uses += 1;
    counts.acquisitions += 1;
    SlotId { index, generation: slot.generation }
}

impl Core {
    /// Sees to it that everybody who waits under the key is served or will be: with what is idle, else with a connect.
    pub(super) fn provide(&mut self, index: u32, now: Nanos) {
        let key = &self.keys[index as usize];
        // What follows could change nothing: most who come into line behind others find this.
        if key.idle.newest == NONE && key.live >= key.terms.max_size && key.room == Room::Enough {
            return;
        }
        self.serve_from_idle(index, now);
        let mut step = Step::Begun;
        while step == Step::Begun && self.keys[index as usize].lacks() {
            step = self.connect(index, Errand::None, now);
        }
        let key = &self.keys[index as usize];
        let starves = step == Step::Full && key.live < key.terms.max_size && key.lacks();
        self.note_room(index, if starves { Room::Starving } else { Room::Enough });
    }

    /// Decides about a resource that nobody holds and that works: it goes to who waits first, or becomes idle, or must
    /// be closed.
    pub(super) fn place(&mut self, index: u32, now: Nanos) -> Placed {
        let slot = &self.slots[index];
        let (of, since) = (slot.key, slot.since);
        let key = &self.keys[of as usize];
        let waiter = match (key.any.first, key.new.first) {
            // It would have to be validated, and enough are being validated for those who wait.
            _ if key.is_covered() && !self.is_fit(index, now) => NONE,
            (any, new) if slot.uses == 0 => self.first_of(any, new),
            (any, _) => any,
        };
        let unfit = if now >= slot.ends {
            Some(CloseReason::Lifetime)
        } else if slot.uses >= key.terms.max_uses {
            Some(CloseReason::Uses)
        } else if key.staying() > key.terms.max_size {
            Some(CloseReason::Surplus)
        } else if matches!(self.drain, DrainState::Forcing | DrainState::Drained) {
            Some(CloseReason::Closing)
        } else if self.is_wanted_elsewhere(of, waiter) {
            self.close_for_room(index, now);
            return Placed::Closing;
        } else if slot.uses > 0 && self.stands_in_the_way(of) {
            self.close_in_the_way(index, now);
            return Placed::Closing;
        } else {
            None
        };
        if let Some(reason) = unfit {
            self.close(index, reason, now);
            return Placed::Closing;
        }
        if waiter != NONE && self.is_fit(index, now) {
            self.grant(waiter, index, now);
            return Placed::Kept;
        }
        if self.drain != DrainState::Active {
            self.close(index, CloseReason::Closing, now);
            return Placed::Closing;
        }
        let key = &mut self.keys[of as usize];
        let near = key.errands.round.as_ref().map_or(NONE, |round| round.cursor.slot);
        let slot = &mut self.slots[index];
        slot.fresh_until = key.terms.validate_after.after(slot.known_to_work()).min(slot.ends);
        key.fresh_below = key.fresh_below.max(slot.fresh_until);
        if key.idle.newest == NONE || self.slots[key.idle.newest].since <= since {
            self.slots.push(&mut key.idle, index);
        } else {
            self.slots.insert_by_age(&mut key.idle, index, near);
        }
        Placed::Kept
    }

    /// Whether what has come free may be handed on as it is: all may that was found to work just now, but not what
    /// somebody has kept who never looked at it.
    fn is_fit(&self, index: u32, now: Nanos) -> bool {
        let slot = &self.slots[index];
        let known = slot.known_to_work();
        known >= now || now < self.keys[slot.key as usize].terms.validate_after.after(known)
    }

    /// Begins connects up to the key's minimum. What there is no room for is made up when there is.
    pub(super) fn restore_minimum(&mut self, index: u32, now: Nanos) {
        if self.drain != DrainState::Active {
            return;
        }
        while self.keys[index as usize].below_minimum() > 0
            && self.slots.live() < self.max_total
            && self.connect(index, Errand::None, now) == Step::Begun
        {}
        let is_short = self.keys[index as usize].below_minimum() > 0 && self.slots.live() >= self.max_total;
        let room = if is_short { Room::Starving } else { Room::Enough };
        let before = std::mem::replace(&mut self.keys[index as usize].minimum_room, room);
        self.short += u32::from(room == Room::Starving);
        self.short -= u32::from(before == Room::Starving);
    }

    /// Begins connects for the minimum of those keys for which there was no room.
    fn restore_short(&mut self, now: Nanos) {
        if self.short == 0 {
            return;
        }
        for index in 0..self.keys.len() as u32 {
            if self.slots.live() >= self.max_total {
                return;
            }
            if self.keys[index as usize].minimum_room == Room::Starving {
                self.restore_minimum(index, now);
            }
        }
    }

    /// Begins one connect for somebody who does not wait for it, unless one is on its way.
    pub(super) fn connect_in_background(&mut self, index: u32, now: Nanos) {
        let key = &self.keys[index as usize];
        if key.connecting == 0 && key.live < key.terms.max_size && self.slots.live() < self.max_total {
            self.connect(index, Errand::None, now);
        }
    }

    /// Begins a connect if limits and breaker allow it, and otherwise does what may bring one nearer.
    pub(super) fn connect(&mut self, index: u32, errand: Errand, now: Nanos) -> Step {
        if matches!(self.drain, DrainState::Forcing | DrainState::Drained) {
            return Step::Later;
        }
        let key = &mut self.keys[index as usize];
        let full = key.live >= key.terms.max_size;
        if full && !key.has_one_in_the_way() {
            return Step::Full;
        }
        match key.breaker.ask(now) {
            // Only now, or a destination that is down would have closed what works elsewhere.
            Ask::Go if full || self.slots.live() >= self.max_total => {
                self.make_room(index, now);
                Step::Full
            }
            Ask::Go => {
                self.begin_connect(index, errand, now);
                Step::Begun
            }
            Ask::NotBefore(then) => {
                key.times.connect = then;
                self.arm_key(index);
                Step::Later
            }
            Ask::Open(until) => {
                self.turn_away(index, until);
                let key = &mut self.keys[index as usize];
                if key.below_minimum() > 0 {
                    key.times.connect = until;
                    self.arm_key(index);
                }
                Step::Later
            }
            Ask::Probing => Step::Later,
        }
    }

    /// The newest idle one, validated lately or not, as long as its lifetime lasts.
    pub(super) fn lend_newest(&mut self, index: u32, now: Nanos) -> Option<SlotId> {
        let key = &mut self.keys[index as usize];
        let newest = key.idle.newest;
        if newest == NONE {
            return None;
        }
        let slot = &mut self.slots[newest];
        slot.leave_top(&mut key.idle);
        Some(lend(slot, &mut key.counts, newest, now))
    }

    /// Closes the newest idle ones as long as their lifetime is over.
    pub(super) fn close_expired(&mut self, index: u32, now: Nanos) {
        loop {
            let newest = self.keys[index as usize].idle.newest;
            if newest == NONE || now < self.slots[newest].ends {
                return;
            }
            self.close_idle(newest, CloseReason::Lifetime, now);
        }
    }

    /// Closes one that is idle.
    pub(super) fn close_idle(&mut self, index: u32, reason: CloseReason, now: Nanos) {
        self.take_from_idle(index);
        self.close(index, reason, now);
    }

    /// Takes one out of the idle stack, wherever in it.
    pub(super) fn take_from_idle(&mut self, index: u32) {
        let key = &mut self.keys[self.slots[index].key as usize];
        if let Some(round) = key.errands.round.as_mut().filter(|round| round.cursor.slot == index) {
            round.cursor = self.slots.cursor(self.slots.newer(&key.idle, index));
        }
        self.slots.unlink(&mut key.idle, index);
    }

    /// Has a resource closed that is in no count but `live`.
    pub(super) fn close(&mut self, index: u32, reason: CloseReason, now: Nanos) {
        let slot = &mut self.slots[index];
        let key = &mut self.keys[slot.key as usize];
        if slot.errand == Errand::Retiring {
            key.retiring -= 1;
        }
        slot.errand = Errand::None;
        key.closing += 1;
        self.closing += 1;
        self.begin_close(index, reason, now);
    }

    /// The close of a resource has been carried out, or there turned out to be nothing to close.
    pub(super) fn end_closing(&mut self, index: u32, now: Nanos) {
        let slot = &self.slots[index];
        let key = slot.key;
        if slot.errand == Errand::Room {
            self.room_coming -= 1;
        }
        self.keys[key as usize].closing -= 1;
        self.closing -= 1;
        self.vacate(index, key, now);
    }

    /// Closes what is counted as closing: also what was overdue and has come back, with nobody who has a use for it.
    pub(super) fn begin_close(&mut self, index: u32, reason: CloseReason, now: Nanos) {
        let slot = &mut self.slots[index];
        (slot.phase, slot.since, slot.work) = (Phase::Closing, now, Work::Begun);
        self.slot_timers.arm(index, self.keys[slot.key as usize].terms.connect_timeout.after(now));
        self.commands.push_back(Command::Close(self.slots.id(index), reason));
    }

    /// The place of a resource becomes free, and with it room: for those who have waited for it longest, then for its
    /// own key, at last for what nobody waits for.
    pub(super) fn vacate(&mut self, index: u32, of: u32, now: Nanos) {
        let key = &mut self.keys[of as usize];
        key.live -= 1;
        key.counts.destroyed += 1;
        self.slot_timers.disarm(index);
        self.slots.give_back(index);
        self.serve_starving(now);
        self.end_drain();
        self.provide(of, now);
        self.restore_minimum(of, now);
        self.restore_short(now);
        self.go_on_making_room(now);
    }

    /// Takes somebody out of line.
    pub(super) fn leave(&mut self, index: u32, standing: Standing) {
        let waiter = self.waiters.at(index);
        let key = waiter.key;
        let of = &mut self.keys[key as usize];
        of.waiting -= 1;
        let line = match waiter.want {
            Want::Any => &mut of.any,
            Want::New => &mut of.new,
        };
        self.waiters.leave(line, index, standing);
        self.waiter_timers.disarm(index);
        if !self.keys[key as usize].lacks() {
            self.note_room(key, Room::Enough);
        }
    }

    /// Tells everybody who waits under the key that there is nothing for him, in the order in which they came.
    pub(super) fn fail_waiters(&mut self, index: u32, failure: Failure) {
        loop {
            let key = &mut self.keys[index as usize];
            let (any, new) = (key.any.first, key.new.first);
            let first = self.first_of(any, new);
            if first == NONE {
                return;
            }
            self.keys[index as usize].counts.refused += 1;
            self.fail(first, failure);
        }
    }

    /// Tells those for whom a connect would have to be made that the breaker is open: the last who came.
    fn turn_away(&mut self, index: u32, until: Nanos) {
        let told = self.commands.len();
        while self.keys[index as usize].lacks() {
            let key = &mut self.keys[index as usize];
            key.counts.refused += 1;
            let (any, new) = (key.any.last, key.new.last);
            let last = if key.new.len > key.connecting || self.first_of(any, new) == any { new } else { any };
            self.fail(if last == NONE { any } else { last }, Failure::Unavailable { until });
        }
        // They are woken in the order in which they came.
        let waiters = &self.waiters;
        self.commands.make_contiguous()[told..].sort_unstable_by_key(|command| match command {
            Command::Fail(waiter) => waiters.at(waiter.index).ticket,
            _ => 0,
        });
    }

    /// Tells one who waits that there is nothing for him.
    pub(super) fn fail(&mut self, index: u32, failure: Failure) {
        self.leave(index, Standing::Failed(failure));
        self.commands.push_back(Command::Fail(self.waiters.id(index)));
    }

    /// Has an idle one validated that has been taken out of the stack.
    pub(super) fn begin_validation(&mut self, index: u32, errand: Errand, now: Nanos) {
        let slot = &mut self.slots[index];
        let key = &mut self.keys[slot.key as usize];
        slot.phase = Phase::Validating;
        slot.work = Work::Begun;
        // One that is retiring stays what it is: it is closed when its replacement is there.
        if slot.errand == Errand::Retiring {
            key.retiring -= 1;
        }
        slot.errand = errand;
        key.validating += 1;
        self.slot_timers.arm(index, key.terms.connect_timeout.after(now));
        self.commands.push_back(Command::Validate(self.slots.id(index)));
    }

    /// A validation is over, well or not; the slot is in no count but `live` now.
    pub(super) fn end_validation(&mut self, index: u32, result: Result<(), ()>) {
        let slot = &mut self.slots[index];
        let key = &mut self.keys[slot.key as usize];
        key.validating -= 1;
        if std::mem::replace(&mut slot.errand, Errand::None) == Errand::Check
            && let Some(round) = &mut key.errands.round
        {
            round.flying -= 1;
            round.failed += u32::from(result.is_err());
        }
        let due = key.terms.idle_timeout.after(slot.since).min(slot.ends);
        self.slot_timers.arm(index, due);
    }

    fn begin_connect(&mut self, of: u32, errand: Errand, now: Nanos) {
        let index = self.slots.take(of, now);
        let key = &mut self.keys[of as usize];
        self.slots[index].errand = errand;
        key.live += 1;
        key.connecting += 1;
        key.counts.created += 1;
        self.slots[index].attempt = Some(key.breaker.begin(now));
        self.slots[index].work = Work::Begun;
        self.slot_timers.arm(index, key.terms.connect_timeout.after(now));
        self.commands.push_back(Command::Connect(self.slots.id(index)));
    }

    fn serve_from_idle(&mut self, index: u32, now: Nanos) {
        loop {
            let key = &self.keys[index as usize];
            let (newest, waiter) = (key.idle.newest, key.any.first);
            if newest == NONE || waiter == NONE {
                return;
            }
            if now >= self.slots[newest].ends {
                self.close_idle(newest, CloseReason::Lifetime, now);
            } else if let Some(fresh) = self.newest_fresh(index, now) {
                self.take_from_idle(fresh);
                self.grant(waiter, fresh, now);
            } else if self.keys[index as usize].is_covered() {
                return;
            } else {
                self.take_from_idle(newest);
                self.begin_validation(newest, Errand::None, now);
            }
        }
    }

    /// The newest idle one that need not be validated. One that was validated lately may have been idle for longer than
    /// one that must be validated again.
    fn newest_fresh(&mut self, index: u32, now: Nanos) -> Option<u32> {
        let key = &mut self.keys[index as usize];
        let mut slot = key.idle.newest;
        if slot != NONE && now >= self.slots[slot].fresh_until && now >= key.fresh_below {
            return None;
        }
        while slot != NONE && now >= self.slots[slot].fresh_until {
            slot = self.slots.get_older(slot);
        }
        if slot == NONE {
            // Those who come next need not look again: what comes back from now on is above, or raises this.
            key.fresh_below = Nanos::ZERO;
        }
        (slot != NONE).then_some(slot)
    }

    fn grant(&mut self, waiter: u32, index: u32, now: Nanos) {
        let lease = self.lend_to(waiter, index, now);
        self.commands.push_back(Command::Grant(self.waiters.id(waiter), lease));
    }

    /// Lends to one who waits and leaves the line with it.
    pub(super) fn lend_to(&mut self, waiter: u32, index: u32, now: Nanos) -> SlotId {
        let key = &mut self.keys[self.slots[index].key as usize];
        let asked = self.waiters.at(waiter).asked;
        let slot = &mut self.slots[index];
        if slot.errand == Errand::Retiring {
            key.retiring -= 1;
            slot.errand = Errand::None;
        }
        // Whoever gets it may give up before he has looked.
        (slot.since_before, slot.checked) = (slot.since, slot.known_to_work());
        let lease = lend(slot, &mut key.counts, index, now);
        key.note_wait(now.as_nanos().saturating_sub(asked.as_nanos()));
        self.leave(waiter, Standing::Granted(lease));
        lease
    }

    /// Of two who are the first of their lines, the one who came first; `NONE` is nobody.
    pub(super) fn first_of(&self, one: u32, other: u32) -> u32 {
        match (self.waiters.ticket(one), self.waiters.ticket(other)) {
            (Some(first), Some(second)) if second < first => other,
            (None, _) => other,
            _ => one,
        }
    }
}
