//! The core itself: what callers ask of it and what they report to it. Where resources go and when connects begin is in
//! [`provide`](super::provide), what happens by itself in [`upkeep`](super::upkeep).

use std::collections::VecDeque;

use super::counts::{Counts, Waits};
use super::ids::{KeyId, SlotId, WaiterId};
use super::key::Key;
use super::line::{Failure, Place, Standing, Waiters, Want};
use super::protocol::{
    Acquired, Cancelled, Claim, CloseReason, Command, Gauges, Patience, Refusal, Return, Stale,
};
use super::provide::{Placed, lend};
use super::slots::{NONE, Phase, Slots, Work};
use super::terms::Terms;
use crate::breaker::{BreakerState, Jitter, Went};
use crate::clock::Nanos;
use crate::drain::DrainState;
use crate::timer::Timers;

/// All keys, their resources and those who wait.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) slots: Slots,
    pub(super) waiters: Waiters,
    pub(super) keys: Vec<Key>,
    pub(super) commands: VecDeque<Command>,
    /// By slot: the end of a lifetime or of idleness, and of what a connect or validation may take.
    pub(super) slot_timers: Timers,
    /// By waiter: his deadline.
    pub(super) waiter_timers: Timers,
    /// By key: the next upkeep.
    pub(super) key_timers: Timers,
    /// Most resources of all keys together.
    pub(super) max_total: u32,
    /// How many keys are [`Starving`](super::key::Room::Starving).
    pub(super) starving: u32,
    /// How many keys have less than their minimum because there is no room.
    pub(super) short: u32,
    /// How many resources are being closed to make room in the whole core.
    pub(super) room_coming: u32,
    /// How many are being closed under all keys, overdue ones included.
    pub(super) closing: u32,
    pub(super) drain: DrainState,
    /// What keeps resources from simply becoming idle under any key: how many starve, and a drain.
    pub(super) unrest: u32,
    pub(super) drain_deadline: Nanos,
    random: Jitter,
}

impl Core {
    /// A core without keys. `seed` is what jitter is drawn from.
    pub(crate) fn new(max_total: Option<u32>, seed: u64) -> Self {
        Self {
            slots: Slots::new(),
            waiters: Waiters::new(),
            keys: Vec::new(),
            commands: VecDeque::with_capacity(COMMANDS),
            slot_timers: Timers::new(),
            waiter_timers: Timers::new(),
            key_timers: Timers::new(),
            max_total: max_total.unwrap_or(u32::MAX),
            starving: 0,
            short: 0,
            room_coming: 0,
            closing: 0,
            drain: DrainState::Active,
            unrest: 0,
            drain_deadline: Nanos::MAX,
            random: Jitter::new(seed),
        }
    }

    /// A new destination. It begins with nothing.
    pub(crate) fn add_key(&mut self, terms: Terms, now: Nanos) -> KeyId {
        let seed = self.random.bits();
        let index = self.keys.len() as u32;
        self.commands.reserve(terms.min_size as usize);
        let key = Key::new(1, terms, seed, now);
        let id = KeyId { index, generation: key.generation };
        self.keys.push(key);
        self.arm_key(index);
        id
    }

    /// Something idle at once, or a place in line, or a reason why there is neither. Whoever gets a place is woken by
    /// [`Command::Grant`] or [`Command::Fail`].
    #[inline(always)]
    pub(crate) fn acquire(&mut self, id: KeyId, claim: Claim, now: Nanos) -> Result<Acquired, Refusal> {
        if claim.want == Want::Any
            && let Some(slot) = self.acquire_idle(id, now)
        {
            return Ok(Acquired::Lease(slot));
        }
        self.acquire_slowly(id, claim, now)
    }

    /// The first half of [`acquire`](Self::acquire): something idle that need not be validated, if nobody waits. Causes
    /// no command, so `now` may be from a clock that is a little late.
    #[inline(always)]
    pub(crate) fn acquire_idle(&mut self, id: KeyId, now: Nanos) -> Option<SlotId> {
        let key = self.keys.get_mut(id.index()).filter(|key| key.generation == id.generation)?;
        let newest = key.idle.newest;
        let slot = self.slots.get_mut(newest)?;
        if key.waiting != 0 || now >= slot.fresh_until {
            return None;
        }
        slot.leave_top(&mut key.idle);
        Some(lend(slot, &mut key.counts, newest, now))
    }

    /// The same for one who got something that turned out not to work: that one is closed, and he stands before all
    /// others. `asked` is when he asked first.
    pub(crate) fn acquire_again(
        &mut self,
        broken: SlotId,
        claim: Claim,
        asked: Nanos,
        now: Nanos,
    ) -> Result<Acquired, Refusal> {
        let Some(key) = self.slots.find(broken, Phase::InUse).map(|slot| slot.key) else {
            return Err(Refusal::Closed);
        };
        self.close(broken.index, CloseReason::Discarded, now);
        self.ask(key, Ticket { want: claim.want, asked, place: Place::First }, claim.patience, now)
    }

    /// Takes back what was lent, with no regard to who gives it.
    #[inline(always)]
    pub(crate) fn release(&mut self, id: SlotId, what: Return, now: Nanos) -> Result<(), Stale> {
        if what == Return::Keep && self.release_to_idle(id, now) {
            return Ok(());
        }
        self.release_slowly(id, what, now)
    }

    /// The first half of [`release`](Self::release): says whether it could simply become idle. Causes no command, so
    /// `now` may be from a clock that is a little late.
    #[inline(always)]
    pub(crate) fn release_to_idle(&mut self, id: SlotId, now: Nanos) -> bool {
        let Some(slot) = self.slots.find(id, Phase::InUse) else { return false };
        let key = &mut self.keys[slot.key as usize];
        if self.unrest != 0 || !key.is_calm() || now >= slot.ends || slot.uses >= key.terms.max_uses {
            return false;
        }
        slot.since = now;
        slot.fresh_until = key.terms.validate_after.after(now).min(slot.ends);
        let below = slot.become_newest(&mut key.idle, id.index);
        self.slots.put_above(&mut key.idle, below, id.index);
        true
    }

    /// Takes back what was lent and lends it to whoever waits first, if nothing else is to be decided and he
    /// `may_have` it. His name is stale then: no command tells him, and there is no outcome to collect.
    pub(crate) fn hand_on(
        &mut self,
        id: SlotId,
        now: Nanos,
        may_have: impl FnOnce(WaiterId) -> bool,
    ) -> Option<WaiterId> {
        let slot = self.slots.find(id, Phase::InUse)?;
        let key = &self.keys[slot.key as usize];
        let first = key.any.first;
        let is_plain = self.unrest == 0 && key.new.len == 0 && first != NONE;
        if !is_plain || now >= slot.ends || slot.uses >= key.terms.max_uses {
            return None;
        }
        let waiter = self.waiters.id(first);
        if key.staying() > key.terms.max_size || !may_have(waiter) {
            return None;
        }
        self.slots[id.index].since = now;
        self.lend_to(first, id.index, now);
        self.waiters.give_back(first);
        Some(waiter)
    }

    /// Takes back what was [handed on](Self::hand_on) to somebody, or collected by him, who has not used it.
    pub(crate) fn give_back_unused(&mut self, id: SlotId, now: Nanos) {
        if self.slots.find(id, Phase::InUse).is_some() {
            self.take_back_unused(id.index, now);
        }
    }

    /// Gives up what a waiter asked for.
    pub(crate) fn cancel(&mut self, id: WaiterId, now: Nanos) -> Cancelled {
        let Some(waiter) = self.waiters.find(id) else { return Cancelled::Gone };
        let standing = waiter.standing;
        match standing {
            Standing::Waiting => {
                self.leave(id.index, Standing::Gone);
                self.waiters.give_back(id.index);
                self.after_leaving(now);
                Cancelled::Left
            }
            Standing::Granted(slot) => {
                self.waiters.give_back(id.index);
                self.take_back_unused(slot.index, now);
                Cancelled::PassedOn(slot)
            }
            Standing::Failed(_) | Standing::Gone => {
                self.waiters.give_back(id.index);
                Cancelled::Gone
            }
        }
    }

    /// What has become of a waiter, once; `None` as long as he waits. His name is stale afterwards. For one who is not
    /// there it is as if the pool had been closed.
    pub(crate) fn outcome(&mut self, id: WaiterId) -> Option<Result<SlotId, Failure>> {
        let Some(waiter) = self.waiters.find(id) else { return Some(Err(Failure::Closed)) };
        let outcome = match waiter.standing {
            Standing::Waiting => return None,
            Standing::Granted(slot) => Ok(slot),
            Standing::Failed(failure) => Err(failure),
            Standing::Gone => Err(Failure::Closed),
        };
        self.waiters.give_back(id.index);
        Some(outcome)
    }

    /// Who waits first under the key, of those who take anything.
    pub(crate) fn first_in_line(&self, id: KeyId) -> Option<WaiterId> {
        let first = self.key(id)?.any.first;
        (first != NONE).then(|| self.waiters.id(first))
    }

    /// Whether the name is still that of somebody who waits or has an outcome to collect. A command may name one who
    /// has gone, if others were let in before it was fetched.
    pub(crate) fn knows(&self, id: WaiterId) -> bool {
        self.waiters.find(id).is_some()
    }

    /// What came of [`Command::Connect`]. A resource that comes too late is closed: it must be kept for
    /// [`Command::Close`].
    pub(crate) fn connected(&mut self, id: SlotId, result: Result<(), ()>, now: Nanos) -> Result<(), Stale> {
        match (self.slots.phase(id), result) {
            (Some(Phase::Connecting), Ok(())) => self.connect_succeeded(id.index, now),
            (Some(Phase::Connecting), Err(())) => {
                let key = self.connect_failed(id.index, now);
                self.vacate(id.index, key, now);
            }
            (Some(Phase::Overdue), Ok(())) => self.begin_close(id.index, CloseReason::Late, now),
            (Some(Phase::Overdue), Err(_)) => self.end_closing(id.index, now),
            _ => return Err(Stale),
        }
        Ok(())
    }

    /// What was commanded for a slot has to wait for somebody who does it. If it is too late before that one
    /// [begins](Self::begun), this is not counted against the other side.
    pub(crate) fn queued(&mut self, id: SlotId) {
        if matches!(self.slots.phase(id), Some(Phase::Connecting | Phase::Validating | Phase::Closing)) {
            self.slots[id.index].work = Work::Queued;
        }
    }

    /// What was commanded for a slot goes on now.
    pub(crate) fn begun(&mut self, id: SlotId, now: Nanos) {
        let phase = self.slots.phase(id);
        if matches!(phase, Some(Phase::Connecting | Phase::Validating | Phase::Closing)) {
            let slot = &mut self.slots[id.index];
            slot.work = Work::Begun;
            if phase == Some(Phase::Closing) {
                // Nobody waits for a close as such, so it has its time from here on, however long it stood in line.
                slot.since = now;
            }
        }
    }

    /// What came of [`Command::Validate`].
    pub(crate) fn validated(&mut self, id: SlotId, result: Result<(), ()>, now: Nanos) -> Result<(), Stale> {
        match (self.slots.phase(id), result) {
            (Some(Phase::Validating), Ok(())) => self.validation_passed(id.index, now),
            (Some(Phase::Validating), Err(())) => {
                self.end_validation(id.index, Err(()));
                let key = self.slots[id.index].key;
                self.close(id.index, CloseReason::Invalid, now);
                self.provide(key, now);
                self.go_on_checking(key, now);
            }
            (Some(Phase::Overdue), _) => self.begin_close(id.index, CloseReason::Late, now),
            _ => return Err(Stale),
        }
        Ok(())
    }

    /// [`Command::Close`] has been carried out.
    pub(crate) fn closed(&mut self, id: SlotId, now: Nanos) -> Result<(), Stale> {
        if self.slots.find(id, Phase::Closing).is_none() {
            return Err(Stale);
        }
        self.end_closing(id.index, now);
        Ok(())
    }

    /// The next thing to do, in the order in which it was found.
    #[inline]
    pub(crate) fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Whether there is something to do.
    pub(crate) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// How many places for resources there are, free ones included: indices of slots are below.
    pub(crate) fn places(&self) -> usize {
        self.slots.len() as usize
    }

    /// In which phase a resource is; `None` when it is gone.
    pub(crate) fn phase(&self, id: SlotId) -> Option<Phase> {
        self.slots.phase(id)
    }

    /// What is known of a resource: when it was last used, how often.
    pub(crate) fn uses(&self, id: SlotId) -> Option<u64> {
        self.slots.phase(id).map(|_| self.slots[id.index].uses)
    }

    /// Counters of a key, and how long was waited.
    pub(crate) fn counts(&mut self, id: KeyId) -> Option<(&Counts, &Waits)> {
        let key = self.keys.get_mut(id.index()).filter(|key| key.generation == id.generation)?;
        key.waits.add_recent(&mut key.recent);
        Some((&key.counts, &key.waits))
    }

    /// How many resources of a key are in which phase, and how many wait.
    pub(crate) fn gauges(&self, id: KeyId) -> Option<Gauges> {
        self.key(id).map(|key| Gauges {
            total: key.live,
            active: key.active(),
            idle: key.idle.len,
            connecting: key.connecting,
            validating: key.validating,
            closing: key.closing,
            waiters: key.waiters(),
            max: key.terms.max_size,
        })
    }

    /// Since when connects have failed, if the last one has.
    pub(crate) fn failing_since(&self, id: KeyId) -> Option<Nanos> {
        self.key(id).and_then(|key| key.failing_since)
    }

    pub(crate) fn breaker(&self, id: KeyId, now: Nanos) -> Option<BreakerState> {
        self.key(id).map(|key| key.breaker.state(now))
    }

    /// Whoever holds a lease says how it goes: this counts as a connect does that went so.
    pub(crate) fn report(&mut self, id: SlotId, went: Went, now: Nanos) {
        let Some(slot) = self.slots.find(id, Phase::InUse) else { return };
        let key = slot.key;
        self.keys[key as usize].breaker.reported(went, now);
        // Whoever waits for a connect may have one now, or later than he was told, or not at all.
        self.provide(key, now);
    }

    pub(crate) const fn drain_state(&self) -> DrainState {
        self.drain
    }

    pub(super) fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.get(id.index()).filter(|key| key.generation == id.generation)
    }

    pub(super) fn key_id(&self, index: u32) -> KeyId {
        KeyId { index, generation: self.keys[index as usize].generation }
    }

    #[cold]
    #[inline(never)]
    fn acquire_slowly(&mut self, id: KeyId, claim: Claim, now: Nanos) -> Result<Acquired, Refusal> {
        if self.key(id).is_none() {
            return Err(Refusal::Closed);
        }
        self.ask(id.index, Ticket { want: claim.want, asked: now, place: Place::Last }, claim.patience, now)
    }

    /// Gives what there is, a place in line, or a reason why there is neither.
    fn ask(
        &mut self,
        index: u32,
        ticket: Ticket,
        patience: Patience,
        now: Nanos,
    ) -> Result<Acquired, Refusal> {
        let key = &mut self.keys[index as usize];
        if self.drain != DrainState::Active {
            key.counts.refused += 1;
            return Err(Refusal::Closed);
        }
        if patience == Patience::None && ticket.want == Want::Any && key.waiters() == 0 {
            self.close_expired(index, now);
            if let Some(slot) = self.lend_newest(index, now) {
                return Ok(Acquired::Lease(slot));
            }
            self.connect_in_background(index, now);
        }
        let key = &mut self.keys[index as usize];
        let full = ticket.place == Place::Last && key.waiters() >= key.terms.max_waiters;
        if patience == Patience::None || full {
            key.counts.refused += 1;
            return Err(Refusal::Exhausted {
                in_use: key.active(),
                max: key.terms.max_size,
                waiters: key.waiters(),
            });
        }
        self.queue(index, ticket, patience, now)
    }

    /// Puts somebody in line, has the key served, and sees whether that was enough.
    fn queue(
        &mut self,
        index: u32,
        ticket: Ticket,
        patience: Patience,
        now: Nanos,
    ) -> Result<Acquired, Refusal> {
        let key = &mut self.keys[index as usize];
        key.waits.prepare();
        key.waiting += 1;
        let line = match ticket.want {
            Want::Any => &mut key.any,
            Want::New => &mut key.new,
        };
        let waiter = self.waiters.enter(line, index, ticket.want, ticket.asked, ticket.place);
        self.prepare(index);
        self.provide(index, now);
        match self.waiters.find(waiter).map(|waiter| waiter.standing) {
            Some(Standing::Granted(slot)) => {
                self.take_back(Command::Grant(waiter, slot));
                self.waiters.give_back(waiter.index);
                Ok(Acquired::Lease(slot))
            }
            Some(Standing::Failed(failure)) => {
                self.take_back(Command::Fail(waiter));
                self.waiters.give_back(waiter.index);
                Err(match failure {
                    Failure::Unavailable { until } => Refusal::Unavailable { until },
                    Failure::Timeout { .. } | Failure::Connect { .. } | Failure::Closed => Refusal::Closed,
                })
            }
            _ => {
                if let Patience::Until(deadline) = patience {
                    self.waiter_timers.arm(waiter.index, deadline);
                }
                Ok(Acquired::Wait(waiter))
            }
        }
    }

    /// Makes now what a release must not have to make: places, and room in the timers.
    fn prepare(&mut self, index: u32) {
        let key = &self.keys[index as usize];
        let more = key.waiters().saturating_add(key.terms.min_size);
        let more = more.min(key.terms.max_size.saturating_sub(key.live));
        self.slots.prepare(self.slots.live().saturating_add(more).min(self.max_total) as usize);
        // What cannot be reserved now is tried again when it is needed.
        let _ = self.slot_timers.try_reserve(self.slots.len() as usize);
        let _ = self.waiter_timers.try_reserve(self.waiters.places());
    }

    /// The caller learns it himself, so nobody has to be woken.
    fn take_back(&mut self, told: Command) {
        if let Some(place) = self.commands.iter().rposition(|command| *command == told) {
            self.commands.remove(place);
        }
    }

    #[cold]
    #[inline(never)]
    fn release_slowly(&mut self, id: SlotId, what: Return, now: Nanos) -> Result<(), Stale> {
        let Some(slot) = self.slots.find(id, Phase::InUse) else { return Err(Stale) };
        let (key, index) = (slot.key, id.index);
        if what == Return::Discard {
            self.close(index, CloseReason::Discarded, now);
        } else {
            self.slots[index].since = now;
            if self.place(index, now) == Placed::Kept {
                return Ok(());
            }
        }
        self.provide(key, now);
        self.restore_minimum(key, now);
        Ok(())
    }

    /// A grant that nobody took. Nobody has used it, so it is as old and as well known to work as before.
    fn take_back_unused(&mut self, index: u32, now: Nanos) {
        let slot = &mut self.slots[index];
        slot.since = slot.since_before;
        let (of, since, ends) = (slot.key, slot.since, slot.ends);
        let idle_timeout = self.keys[of as usize].terms.idle_timeout;
        self.slot_timers.arm(index, idle_timeout.after(since).min(ends));
        self.place(index, now);
        self.provide(of, now);
        self.restore_minimum(of, now);
    }

    fn connect_succeeded(&mut self, index: u32, now: Nanos) {
        let jitter = self.random.unit();
        let slot = &mut self.slots[index];
        let key = &mut self.keys[slot.key as usize];
        key.connecting -= 1;
        let is_back = key.breaker.state(now) == BreakerState::HalfOpen;
        if let Some(attempt) = slot.attempt.take() {
            key.breaker.succeeded(attempt);
        }
        key.failing_since = None;
        slot.since = now;
        slot.checked = now;
        slot.ends = key.terms.lifetime(jitter).after(now);
        let due = key.terms.idle_timeout.after(now).min(slot.ends);
        let key = slot.key;
        self.slot_timers.arm(index, due);
        self.end_errand(index, Ok(()), now);
        self.place(index, now);
        self.provide(key, now);
        if is_back {
            // While one was a probe, no other could begin.
            self.restore_minimum(key, now);
        }
    }

    /// Tells the breaker of the failure; the slot is still there.
    pub(super) fn connect_failed(&mut self, index: u32, now: Nanos) -> u32 {
        let slot = &mut self.slots[index];
        let at = slot.key;
        let key = &mut self.keys[at as usize];
        key.connecting -= 1;
        match (slot.attempt.take(), slot.work) {
            (Some(attempt), Work::Begun) => {
                key.breaker.failed(attempt, now);
                key.failing_since.get_or_insert(now);
            }
            // Nobody has asked the other side anything.
            (Some(attempt), Work::Queued) => key.breaker.abandoned(attempt),
            (None, _) => {}
        }
        self.end_errand(index, Err(()), now);
        at
    }

    fn validation_passed(&mut self, index: u32, now: Nanos) {
        self.end_validation(index, Ok(()));
        self.slots[index].checked = now;
        let key = self.slots[index].key;
        self.place(index, now);
        self.provide(key, now);
        self.go_on_checking(key, now);
    }

    /// Somebody has left the line, which may be what a drain waits for.
    fn after_leaving(&mut self, now: Nanos) {
        if self.drain != DrainState::Active {
            self.close_unneeded(now);
        }
    }
}

/// How somebody comes into line.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    want: Want,
    asked: Nanos,
    place: Place,
}

/// Commands that a release may cause must find room, whatever was not fetched before.
const COMMANDS: usize = 64;
