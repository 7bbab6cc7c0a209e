//! Walks all of a core and panics where a rule of the room does not hold. For tests: the core never walks itself.

use super::core::Core;
use super::key::{Key, Room};
use super::line::{Line, Standing, Want};
use super::slots::{Errand, NONE, Phase};
use crate::clock::Nanos;
use crate::drain::DrainState;

impl Core {
    pub(crate) fn assert_invariants(&self, now: Nanos) {
        self.slot_timers.assert_invariants();
        self.waiter_timers.assert_invariants();
        self.key_timers.assert_invariants();
        self.assert_rules(now);
    }

    /// The same without the timers, which have a test of their own and take long to walk.
    pub(crate) fn assert_rules(&self, now: Nanos) {
        for index in 0..self.keys.len() as u32 {
            self.assert_key(index, now);
        }
        let live = (0..self.slots.len()).filter(|slot| self.slots[*slot].phase != Phase::Free).count();
        assert_eq!(live as u32, self.slots.live(), "slots that are not free");
        assert_eq!(self.keys.iter().map(|key| key.live).sum::<u32>(), self.slots.live(), "slots of all keys");
        let starving = self.keys.iter().filter(|key| key.room == Room::Starving).count();
        assert_eq!(starving as u32, self.starving, "starving keys");
        let short = self.keys.iter().filter(|key| key.minimum_room == Room::Starving).count();
        assert_eq!(short as u32, self.short, "keys whose minimum waits for room");
        assert_eq!(self.count(|_, errand| errand == Errand::Room), self.room_coming, "closed to make room");
        assert_eq!(self.keys.iter().map(|key| key.closing).sum::<u32>(), self.closing, "closing of all keys");
        assert_eq!(self.unrest, self.starving + u32::from(self.drain != DrainState::Active), "unrest");
        if self.drain == DrainState::Drained {
            assert_eq!(self.slots.live(), 0, "nothing is left when drained");
        }
    }

    fn assert_key(&self, index: u32, now: Nanos) {
        let key = &self.keys[index as usize];
        let count = |phase| self.count_of(index, |of, _| of == phase);
        assert_eq!(count(Phase::Idle), key.idle.len, "idle under {index}");
        assert_eq!(count(Phase::Connecting), key.connecting, "connecting under {index}");
        assert_eq!(count(Phase::Validating), key.validating, "validating under {index}");
        assert_eq!(count(Phase::Closing) + count(Phase::Overdue), key.closing, "closing under {index}");
        assert_eq!(count(Phase::InUse), key.active(), "in use under {index}");
        assert_eq!(self.count_of(index, |_, errand| errand == Errand::Retiring), key.retiring, "retiring");
        let counts = &key.counts;
        assert_eq!(counts.created - counts.destroyed, u64::from(key.live), "created and destroyed");
        assert!(counts.misses <= counts.acquisitions, "misses are acquisitions");
        let warming = key.errands.warming.as_ref().map_or(0, |warming| warming.flying);
        assert_eq!(self.count_of(index, |_, errand| errand == Errand::Warm), warming, "warming");
        let checking = key.errands.round.as_ref().map_or(0, |round| round.flying);
        assert_eq!(self.count_of(index, |_, errand| errand == Errand::Check), checking, "checking");
        self.assert_stack(key);
        assert_eq!(key.waiting, key.any.len + key.new.len, "waiting under {index}");
        self.assert_line(&key.any, index, Want::Any);
        self.assert_line(&key.new, index, Want::New);
        if self.drain != DrainState::Active {
            assert_eq!(key.idle.len, 0, "nothing stays idle in a drain");
        }
        if key.any.first != NONE && key.idle.newest != NONE {
            let newest = &self.slots[key.idle.newest];
            assert!(
                now >= newest.fresh_until,
                "somebody waits under {index} while {:?} could be lent",
                self.slots.id(key.idle.newest)
            );
            assert!(
                key.validating_for_waiters() >= key.any.len,
                "somebody waits, nothing is validated for him"
            );
        }
    }

    fn assert_stack(&self, key: &Key) {
        let (mut slot, mut newer, mut len) = (key.idle.newest, NONE, 0);
        while slot != NONE {
            assert_eq!(self.slots[slot].phase, Phase::Idle, "only idle ones are in the stack");
            assert_eq!(self.slots.newer(&key.idle, slot), newer, "it knows who is above");
            if newer != NONE {
                assert!(self.slots[newer].since >= self.slots[slot].since, "the newest is first");
            }
            assert!(
                self.slots[slot].fresh_until <= self.slots[slot].ends,
                "nothing is fresh when its lifetime is over"
            );
            (newer, slot, len) = (slot, self.slots.get_older(slot), len + 1);
        }
        assert_eq!((key.idle.oldest, key.idle.len), (newer, len), "the end of the stack and its length");
    }

    fn assert_line(&self, line: &Line, key: u32, want: Want) {
        let (mut waiter, mut ticket, mut len) = (line.first, 0, 0);
        while waiter != NONE {
            let this = self.waiters.at(waiter);
            assert_eq!(
                (this.standing, this.key, this.want),
                (Standing::Waiting, key, want),
                "who stands here"
            );
            assert!(this.ticket > ticket, "in the order of tickets");
            (ticket, waiter, len) = (this.ticket, self.waiters.behind(waiter), len + 1);
        }
        assert_eq!(line.len, len, "how many stand here");
    }

    fn count(&self, which: impl Fn(Phase, Errand) -> bool) -> u32 {
        let is_meant = |slot: &u32| {
            let slot = &self.slots[*slot];
            slot.phase != Phase::Free && which(slot.phase, slot.errand)
        };
        (0..self.slots.len()).filter(is_meant).count() as u32
    }

    fn count_of(&self, key: u32, which: impl Fn(Phase, Errand) -> bool) -> u32 {
        let is_meant = |slot: &u32| {
            let slot = &self.slots[*slot];
            slot.phase != Phase::Free && slot.key == key && which(slot.phase, slot.errand)
        };
        (0..self.slots.len()).filter(is_meant).count() as u32
    }
}
