//! What happens by itself: deadlines, idleness, lifetimes, validation in the background, warming up, the limit that
//! follows the load. All of it in [`Core::tick`].

use super::adaptive::Seen;
use super::core::Core;
use super::ids::KeyId;
use super::key::{Round, Warming};
use super::line::Failure;
use super::protocol::{CloseReason, Command};
use super::provide::Step;
use super::slots::{Errand, NONE, Phase, Work};
use crate::breaker::Ask;
use crate::clock::Nanos;
use crate::drain::{DrainEvent, DrainState};

impl Core {
    /// Does what is due. May be called at any time; [`next_deadline`](Self::next_deadline) says when it must be.
    pub(crate) fn tick(&mut self, now: Nanos) {
        while let Some(slot) = self.slot_timers.expired(now) {
            self.slot_due(slot, now);
        }
        while let Some(waiter) = self.waiter_timers.expired(now) {
            self.patience_ends(waiter, now);
        }
        while let Some(key) = self.key_timers.expired(now) {
            self.key_due(key, now);
        }
        if now >= self.drain_deadline {
            self.close_all(now);
        }
    }

    /// When [`tick`](Self::tick) is to be called next; `MAX` when nothing is due by itself.
    pub(crate) fn next_deadline(&self) -> Nanos {
        let timers = self.slot_timers.next().min(self.waiter_timers.next()).min(self.key_timers.next());
        timers.min(self.drain_deadline)
    }

    /// Changes how many there may be. Surplus idle ones are closed, the longest idle first; those in use when they come
    /// back.
    pub(crate) fn resize(&mut self, id: KeyId, max_size: u32, now: Nanos) {
        if self.key(id).is_none() {
            return;
        }
        let index = id.index;
        self.keys[id.index()].terms.max_size = max_size;
        loop {
            let key = &self.keys[id.index()];
            if key.staying() <= max_size || key.idle.oldest == NONE {
                break;
            }
            self.close_idle(key.idle.oldest, CloseReason::Surplus, now);
        }
        self.provide(index, now);
    }

    /// Makes resources up to the key's minimum, so many at a time, with a gap between batches.
    /// [`Command::Warmed`] tells when all have come to something. While this goes on, another call joins it.
    pub(crate) fn warm(&mut self, id: KeyId, batch: u32, gap_ns: u64, now: Nanos) {
        if self.key(id).is_none() {
            return;
        }
        let key = &mut self.keys[id.index()];
        if key.errands.warming.is_none() {
            let left = key.terms.min_size.min(key.terms.max_size).saturating_sub(key.staying());
            key.errands.warming = Some(Warming { left, batch, gap_ns, next: now, flying: 0, failed: 0 });
        }
        // Who joins does not shorten the gap.
        if key.errands.warming.as_ref().is_some_and(|warming| now >= warming.next) {
            self.warm_batch(id.index, now);
        }
        self.arm_key(id.index);
    }

    /// Has every idle resource validated. [`Command::Checked`] tells when all have been. While a round goes on, it is
    /// widened to all that are idle now.
    pub(crate) fn check(&mut self, id: KeyId, now: Nanos) {
        if self.key(id).is_none() {
            return;
        }
        let after = Nanos::new(now.as_nanos().saturating_add(1));
        self.begin_round(id.index, after);
        self.go_on_checking(id.index, now);
    }

    /// No newcomers; those in line are served; what is not needed for them is closed. What is left at `deadline` is
    /// given up as [`close_all`](Self::close_all) does.
    pub(crate) fn begin_drain(&mut self, deadline: Nanos, now: Nanos) {
        self.drain = self.drain.next(DrainEvent::Begin);
        self.note_unrest();
        if self.drain == DrainState::Draining {
            self.drain_deadline = deadline;
        }
        self.close_unneeded(now);
    }

    /// No newcomers, those in line get nothing, everything idle is closed, and what is in use when it comes back.
    pub(crate) fn close_all(&mut self, now: Nanos) {
        self.drain = self.drain.next(DrainEvent::Begin).next(DrainEvent::Expired);
        self.note_unrest();
        self.drain_deadline = Nanos::MAX;
        for index in 0..self.keys.len() as u32 {
            self.fail_waiters(index, Failure::Closed);
        }
        self.close_unneeded(now);
    }

    /// Closes what is idle and lets nothing begin that nobody waits for.
    pub(super) fn close_unneeded(&mut self, now: Nanos) {
        for index in 0..self.keys.len() {
            while self.keys[index].idle.oldest != NONE {
                self.close_idle(self.keys[index].idle.oldest, CloseReason::Closing, now);
            }
            let key = &mut self.keys[index];
            if let Some(warming) = &mut key.errands.warming {
                warming.failed += std::mem::take(&mut warming.left);
            }
            // What is due only while newcomers are taken would stay due for ever.
            (key.times.health_check, key.times.adaptive) = (Nanos::MAX, Nanos::MAX);
            self.arm_key(index as u32);
            self.end_errands(index as u32);
        }
        self.end_drain();
    }

    /// A drain is over when nothing is left and nobody waits.
    pub(super) fn end_drain(&mut self) {
        if self.drain != DrainState::Active
            && self.slots.live() == 0
            && self.keys.iter().all(|key| key.waiters() == 0)
        {
            if self.drain != DrainState::Drained {
                self.commands.push_back(Command::Drained);
                self.end_upkeep();
            }
            self.drain = self.drain.next(DrainEvent::LastClosed);
            self.drain_deadline = Nanos::MAX;
        }
    }

    /// Nothing is ever due again.
    fn end_upkeep(&mut self) {
        for index in 0..self.keys.len() as u32 {
            let times = &mut self.keys[index as usize].times;
            (times.connect, times.leak_check) = (Nanos::MAX, Nanos::MAX);
            self.arm_key(index);
        }
    }

    /// The next of a round of validations, up to so many at a time.
    pub(super) fn go_on_checking(&mut self, index: u32, now: Nanos) {
        loop {
            let key = &mut self.keys[index as usize];
            let Some(round) = &mut key.errands.round else { return };
            let slot = round.cursor.slot;
            if round.flying >= CHECKS_AT_ONCE || slot == NONE {
                break;
            }
            if !self.slots.is_still_idle(round.cursor) || self.slots[slot].key != index {
                // It was handed out meanwhile: look again from the oldest, those that are done are passed over.
                round.cursor = self.slots.cursor(key.idle.oldest);
                continue;
            }
            round.cursor = self.slots.cursor(self.slots.newer(&key.idle, slot));
            if self.slots[slot].known_to_work() < round.before && now < self.slots[slot].ends {
                round.flying += 1;
                self.take_from_idle(slot);
                self.begin_validation(slot, Errand::Check, now);
            }
        }
        self.end_errands(index);
    }

    /// An errand's connect has come to something.
    pub(super) fn end_errand(&mut self, index: u32, result: Result<(), ()>, now: Nanos) {
        let slot = &mut self.slots[index];
        let key = slot.key;
        if std::mem::replace(&mut slot.errand, Errand::None) == Errand::Warm
            && let Some(warming) = &mut self.keys[key as usize].errands.warming
        {
            warming.flying -= 1;
            warming.failed += u32::from(result.is_err());
            self.end_errands(key);
        }
        if result.is_ok() {
            self.close_retiring(key, now);
        }
    }

    pub(super) fn arm_key(&mut self, index: u32) {
        self.key_timers.arm(index, self.keys[index as usize].due());
    }

    /// Tells what is over.
    fn end_errands(&mut self, index: u32) {
        let id = self.key_id(index);
        let errands = &mut self.keys[index as usize].errands;
        if let Some(warming) = errands.warming.take_if(|warming| warming.left == 0 && warming.flying == 0) {
            self.commands.push_back(Command::Warmed(id, warming.failed));
        }
        if let Some(round) = errands.round.take_if(|round| round.cursor.slot == NONE && round.flying == 0) {
            self.commands.push_back(Command::Checked(id, round.failed));
        }
    }

    fn slot_due(&mut self, index: u32, now: Nanos) {
        let slot = &self.slots[index];
        let key = &self.keys[slot.key as usize];
        let idle_due = key.terms.idle_timeout.after(slot.since);
        match slot.phase {
            Phase::Connecting => self.connect_is_overdue(index, now),
            Phase::Validating => self.validation_is_overdue(index, now),
            Phase::InUse => {
                // It is looked at again when it is given back; only idleness can end it later.
                let ends = if slot.ends > now { slot.ends } else { Nanos::MAX };
                self.slot_timers.arm(index, key.terms.idle_timeout.after(now).min(ends));
            }
            Phase::Idle if now >= slot.ends => self.retire(index, now),
            Phase::Idle if now >= idle_due && key.may_shrink() => {
                self.close_idle(index, CloseReason::Idle, now);
            }
            Phase::Idle => {
                let due = if now >= idle_due { key.terms.idle_timeout.after(now) } else { idle_due };
                self.slot_timers.arm(index, due.min(slot.ends));
            }
            Phase::Closing => self.close_is_due(index, now),
            Phase::Free | Phase::Overdue => {}
        }
    }

    /// The lifetime of an idle one is over. If the minimum needs it, its replacement is made first.
    fn retire(&mut self, index: u32, now: Nanos) {
        let of = self.slots[index].key;
        let key = &self.keys[of as usize];
        let needed = !key.may_shrink() && self.drain == DrainState::Active;
        let room = key.live < key.terms.max_size && self.slots.live() < self.max_total;
        if self.slots[index].errand != Errand::Retiring
            && needed
            && room
            && self.connect(of, Errand::None, now) == Step::Begun
        {
            let key = &mut self.keys[of as usize];
            key.retiring += 1;
            self.slots[index].errand = Errand::Retiring;
            self.slot_timers.arm(index, key.terms.connect_timeout.after(now));
            return;
        }
        self.close_idle(index, CloseReason::Lifetime, now);
        self.restore_minimum(of, now);
    }

    /// The replacement of one whose lifetime is over has come.
    fn close_retiring(&mut self, index: u32, now: Nanos) {
        let key = &self.keys[index as usize];
        if key.retiring == 0 {
            return;
        }
        let mut slot = key.idle.oldest;
        while slot != NONE && self.slots[slot].errand != Errand::Retiring {
            slot = self.slots.newer(&key.idle, slot);
        }
        if slot != NONE {
            self.close_idle(slot, CloseReason::Lifetime, now);
        }
    }

    fn connect_is_overdue(&mut self, index: u32, now: Nanos) {
        let key = self.connect_failed(index, now);
        self.be_overdue(index, now);
        self.provide(key, now);
        self.restore_minimum(key, now);
    }

    fn validation_is_overdue(&mut self, index: u32, now: Nanos) {
        self.end_validation(index, Err(()));
        let key = self.slots[index].key;
        self.be_overdue(index, now);
        self.provide(key, now);
        self.restore_minimum(key, now);
        self.go_on_checking(key, now);
    }

    /// A close that does not come back keeps its place, for what is closed may still be there.
    fn close_is_due(&mut self, index: u32, now: Nanos) {
        let slot = &self.slots[index];
        let span = self.keys[slot.key as usize].terms.connect_timeout;
        let due = span.after(slot.since);
        if slot.work == Work::Begun && now >= due {
            self.commands.push_back(Command::Late(self.slots.id(index)));
            return;
        }
        self.slot_timers.arm(index, if slot.work == Work::Begun { due } else { span.after(now) });
    }

    fn be_overdue(&mut self, index: u32, now: Nanos) {
        self.slot_timers.disarm(index);
        let slot = &mut self.slots[index];
        slot.phase = Phase::Overdue;
        slot.since = now;
        self.keys[slot.key as usize].closing += 1;
        self.closing += 1;
        self.commands.push_back(Command::Late(self.slots.id(index)));
    }

    fn patience_ends(&mut self, index: u32, now: Nanos) {
        let waiter = self.waiters.at(index);
        let (of, waited_ns) = (waiter.key, now.as_nanos().saturating_sub(waiter.asked.as_nanos()));
        let connects_fail = self.keys[of as usize].failing_since.is_some() && self.could_have_room(of);
        let key = &mut self.keys[of as usize];
        let failure = if connects_fail {
            key.counts.refused += 1;
            Failure::Connect { waited_ns }
        } else {
            key.counts.timeouts += 1;
            Failure::Timeout { waited_ns }
        };
        self.fail(index, failure);
        if self.drain != DrainState::Active {
            self.end_drain();
        }
    }

    fn key_due(&mut self, index: u32, now: Nanos) {
        let at = index as usize;
        let times = &mut self.keys[at].times;
        if now >= times.connect {
            times.connect = Nanos::MAX;
            self.provide(index, now);
            self.restore_minimum(index, now);
        }
        if self.drain == DrainState::Active {
            self.upkeep(index, now);
        } else {
            // Else they would be due for ever, and `tick` would never be done with them.
            let times = &mut self.keys[at].times;
            (times.health_check, times.adaptive) = (Nanos::MAX, Nanos::MAX);
        }
        if now >= self.keys[at].times.leak_check {
            self.keys[at].times.leak_check = self.keys[at].terms.leak_check_interval().after(now);
            self.tell_overdue(index, now);
        }
        self.arm_key(index);
    }

    /// What is done under a key only while it takes newcomers.
    fn upkeep(&mut self, index: u32, now: Nanos) {
        let key = &mut self.keys[index as usize];
        if now >= key.times.health_check {
            let interval = key.terms.health_check_interval;
            key.times.health_check = interval.after(now);
            let before = Nanos::new(now.as_nanos().saturating_sub(interval.as_nanos()).saturating_add(1));
            self.begin_round(index, before);
            self.go_on_checking(index, now);
            self.restore_minimum(index, now);
        }
        let key = &mut self.keys[index as usize];
        if key.errands.warming.as_ref().is_some_and(|warming| warming.left > 0 && now >= warming.next) {
            self.warm_batch(index, now);
        }
        let key = &mut self.keys[index as usize];
        if now >= key.times.adaptive
            && let Some(terms) = &key.terms.adaptive
        {
            key.times.adaptive = terms.interval.after(now);
            let seen = Seen {
                acquisitions: key.counts.acquisitions,
                waited_ns: key.counts.waited_ns,
                total: key.live,
                idle: key.idle.len,
                active: key.active(),
                max: key.terms.max_size,
                min: key.terms.min_size,
            };
            if let Some(max_size) = key.adaptive.step(terms, seen) {
                self.resize(self.key_id(index), max_size, now);
            }
        }
    }

    fn warm_batch(&mut self, index: u32, now: Nanos) {
        let at = index as usize;
        let mut begun = 0;
        loop {
            let key = &mut self.keys[at];
            let full = key.live >= key.terms.max_size || self.slots.live() >= self.max_total;
            let enough = key.staying() >= key.terms.min_size;
            let Some(warming) = &mut key.errands.warming else { return };
            if warming.left == 0 || begun == warming.batch {
                break;
            }
            if full || enough {
                // Others have made what was to be made.
                warming.left = 0;
                break;
            }
            if self.drain != DrainState::Active || !matches!(key.breaker.ask(now), Ask::Go) {
                warming.failed += std::mem::take(&mut warming.left);
                break;
            }
            warming.left -= 1;
            warming.flying += 1;
            warming.next = Nanos::new(now.as_nanos().saturating_add(warming.gap_ns));
            begun += 1;
            self.connect(index, Errand::Warm, now);
        }
        if self.slots.live() >= self.max_total {
            // Nobody is told of what others leave no room for: it is made when there is some.
            self.restore_minimum(index, now);
        }
        self.end_errands(index);
    }

    fn begin_round(&mut self, index: u32, before: Nanos) {
        let key = &mut self.keys[index as usize];
        let cursor = self.slots.cursor(key.idle.oldest);
        let round = key.errands.round.get_or_insert(Round { before, cursor, flying: 0, failed: 0 });
        round.before = round.before.max(before);
        round.cursor = cursor;
    }

    fn tell_overdue(&mut self, index: u32, now: Nanos) {
        let threshold = self.keys[index as usize].terms.leak_threshold;
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            let is_held = slot.phase == Phase::InUse && slot.key == index && slot.told != slot.uses;
            if is_held && now >= threshold.after(slot.since) {
                slot.told = slot.uses;
                self.commands.push_back(Command::Overdue(self.slots.id(at)));
            }
        }
    }
}

/// Idle ones that are validated at the same time, under one key: the others stay to be handed out.
const CHECKS_AT_ONCE: u32 = 4;
