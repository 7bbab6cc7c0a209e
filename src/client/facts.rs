//! What stands beside an idle connection in the stack without a lock: written by whoever has it, read by everybody. Of
//! what somebody else has, no two numbers belong together, but for a lease, which is counted after its time.

use std::time::Duration;

use super::sync::{AtomicU32, AtomicU64, Ordering};
use super::word::NONE;
use crate::clock::Nanos;
use crate::lease::{Known, Span};

#[derive(Debug)]
pub(super) struct Facts {
    /// The place below in the stack, which keeps it here, where there is a gap.
    pub(super) below: AtomicU32,
    generation: AtomicU32,
    /// Until when it may be lent.
    fresh_until: AtomicU64,
    /// When it was last lent.
    lent: AtomicU64,
    /// When it was last taken back; before the first time, when it was made.
    back: AtomicU64,
    /// How long all its leases have lasted, in nanoseconds; while one lasts, less the time at which it began. Wraps.
    held: AtomicU64,
    /// How often it has been lent.
    uses: AtomicU64,
    /// From when on it must not be taken back.
    ends: AtomicU64,
}

/// What is allowed to one that is taken back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reuse {
    /// How long it may be lent again after it came back, in nanoseconds; never more than half of all there are.
    fresh_for: u64,
    max_uses: u64,
}

impl Reuse {
    pub(super) fn new(fresh_for: Span, max_uses: u64) -> Self {
        Self { fresh_for: fresh_for.as_nanos().min(u64::MAX / 2), max_uses }
    }
}

impl Facts {
    pub(super) fn new() -> Self {
        Self {
            below: AtomicU32::new(NONE),
            generation: AtomicU32::new(0),
            fresh_until: AtomicU64::new(0),
            lent: AtomicU64::new(0),
            back: AtomicU64::new(0),
            held: AtomicU64::new(0),
            uses: AtomicU64::new(0),
            ends: AtomicU64::new(0),
        }
    }

    #[inline(always)]
    pub(super) fn is_fresh(&self, now: Nanos) -> bool {
        now.as_nanos() < self.fresh_until.load(Ordering::Relaxed)
    }

    /// It was lent; says under which generation.
    #[inline(always)]
    pub(super) fn lend(&self, now: Nanos) -> u32 {
        self.lent.store(now.as_nanos(), Ordering::Relaxed);
        self.add_held(now.as_nanos().wrapping_neg());
        // Whoever sees one lease more must not see when the connection became idle: it would look as if held since then.
        self.uses.store(self.uses.load(Ordering::Relaxed) + 1, Ordering::Release);
        self.generation.load(Ordering::Relaxed)
    }

    /// It is to be taken back; says whether it may.
    #[inline(always)]
    pub(super) fn take_back(&self, reuse: Reuse, now: Nanos) -> bool {
        let ends = Nanos::new(self.ends.load(Ordering::Relaxed));
        if now >= ends || self.uses.load(Ordering::Relaxed) >= reuse.max_uses {
            return false;
        }
        // A clock in its second half may wrap here, and then it is validated more often than it had to be.
        let fresh_until = Nanos::new(reuse.fresh_for.wrapping_add(now.as_nanos())).min(ends);
        self.fresh_until.store(fresh_until.as_nanos(), Ordering::Relaxed);
        self.back.store(now.as_nanos(), Ordering::Relaxed);
        self.add_held(now.as_nanos());
        true
    }

    /// One lease ends and the next begins.
    pub(super) fn hand_on(&self, now: Nanos) {
        self.back.store(now.as_nanos(), Ordering::Relaxed);
        self.lent.store(now.as_nanos(), Ordering::Relaxed);
        self.uses.store(self.uses.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// What was taken back at `now` is not kept here after all: its lease goes on until somebody else ends it.
    pub(super) fn go_on(&self, now: Nanos) {
        self.add_held(now.as_nanos().wrapping_neg());
    }

    /// Only whoever has the place writes here, so this need not be one step.
    #[inline(always)]
    fn add_held(&self, nanos: u64) {
        self.held.store(self.held.load(Ordering::Relaxed).wrapping_add(nanos), Ordering::Relaxed);
    }

    pub(super) fn known(&self) -> Known {
        let uses = self.uses.load(Ordering::Acquire);
        Known {
            fresh_until: Nanos::new(self.fresh_until.load(Ordering::Relaxed)),
            since: self.lent().max(self.back()),
            uses,
            ends: Nanos::new(self.ends.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn note(&self, generation: u32, known: Known) {
        self.generation.store(generation, Ordering::Relaxed);
        self.fresh_until.store(known.fresh_until.as_nanos(), Ordering::Relaxed);
        self.lent.store(known.since.as_nanos(), Ordering::Relaxed);
        self.uses.store(known.uses, Ordering::Relaxed);
        self.ends.store(known.ends.as_nanos(), Ordering::Relaxed);
    }

    /// What somebody else has counted. Comes after [`note`](Self::note).
    pub(super) fn note_times(&self, times: &Times) {
        self.back.store(times.back.as_nanos(), Ordering::Relaxed);
        self.held.store(times.held, Ordering::Relaxed);
    }

    /// What has been counted here, for whoever has the place; the rest as it was.
    pub(super) fn times(&self, was: Times) -> Times {
        Times { lent: self.lent(), back: self.back(), held: self.held.load(Ordering::Relaxed), ..was }
    }

    fn lent(&self) -> Nanos {
        Nanos::new(self.lent.load(Ordering::Relaxed))
    }

    fn back(&self) -> Nanos {
        Nanos::new(self.back.load(Ordering::Relaxed))
    }
}

/// When a connection was made, lent and given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    made: Nanos,
    /// When it was last lent.
    lent: Nanos,
    /// When it was last given back; before the first time, when it was made.
    back: Nanos,
    /// See [`Facts::held`].
    held: u64,
}

impl Times {
    /// Of what is not there.
    pub(super) const NONE: Self = Self::made(Nanos::ZERO);

    pub(super) const fn made(now: Nanos) -> Self {
        Self { made: now, lent: now, back: now, held: 0 }
    }

    pub(super) const fn lend(&mut self, now: Nanos) {
        self.lent = now;
        self.held = self.held.wrapping_sub(now.as_nanos());
    }

    pub(super) const fn take_back(&mut self, now: Nanos) {
        self.back = now;
        self.held = self.held.wrapping_add(now.as_nanos());
    }

    /// One lease ends and the next begins.
    pub(super) const fn hand_on(&mut self, now: Nanos) {
        (self.back, self.lent) = (now, now);
    }

    /// The last lease was none: whoever had it never saw it.
    pub(super) const fn undo_lease(&mut self) {
        self.held = self.held.wrapping_add(self.lent.as_nanos());
    }

    pub(super) fn age(self, now: Nanos) -> Duration {
        now.since(self.made)
    }

    pub(super) fn idle_before(self) -> Duration {
        self.lent.since(self.back)
    }

    /// While it is lent. Of two clocks one may be a little late, so a short lease may seem to have ended before it began.
    pub(super) fn held_total(self, now: Nanos) -> Duration {
        let nanos = self.held.wrapping_add(now.as_nanos()).cast_signed();
        Duration::from_nanos(nanos.max(0).cast_unsigned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_same_however_often_who_counts_changes() {
        let at = Nanos::from_millis;
        let mut apart = Times::made(at(10));
        let mut together = apart;
        let facts = Facts::new();
        let reuse = Reuse::new(Span::NEVER, u64::MAX);
        for (lent, back) in [(10, 15), (20, 40), (41, 41), (50, 90)] {
            for times in [&mut apart, &mut together] {
                times.lend(at(lent));
            }
            let known = Known { fresh_until: Nanos::MAX, since: at(lent), uses: 1, ends: Nanos::MAX };
            facts.note(1, known);
            facts.note_times(&apart);
            assert!(facts.take_back(reuse, at(back)));
            apart = facts.times(apart);
            together.take_back(at(back));
            assert_eq!(apart, together);
        }
        assert_eq!(apart.age(at(100)), Duration::from_millis(90));
        apart.lend(at(100));
        assert_eq!(apart.idle_before(), Duration::from_millis(10));
        assert_eq!(apart.held_total(at(101)), Duration::from_millis(66));
    }

    #[test]
    fn what_could_not_be_put_back_is_still_lent() {
        let facts = Facts::new();
        facts.note(1, Known { fresh_until: Nanos::MAX, since: Nanos::ZERO, uses: 0, ends: Nanos::MAX });
        let at = Nanos::from_millis;
        facts.lend(at(10));
        assert!(facts.take_back(Reuse::new(Span::NEVER, u64::MAX), at(20)));
        facts.go_on(at(20));
        let mut times = facts.times(Times::NONE);
        assert_eq!(times.held_total(at(25)), Duration::from_millis(15));
        times.take_back(at(30));
        times.lend(at(40));
        assert_eq!(times.held_total(at(40)), Duration::from_millis(20));
    }

    #[test]
    fn no_time_is_negative_when_one_clock_is_late() {
        let at = Nanos::from_millis;
        let mut times = Times::made(at(10));
        times.lend(at(12));
        times.take_back(at(9));
        assert_eq!(times.idle_before(), Duration::from_millis(3));
        times.lend(at(8));
        assert_eq!((times.idle_before(), times.held_total(at(8))), (Duration::ZERO, Duration::ZERO));
        assert_eq!(times.age(at(9)), Duration::ZERO);
    }
}
