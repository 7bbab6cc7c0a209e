//! Those who pause, between two attempts or until something has come to its end: each is woken when his time is over, or
//! with all others. Reads no clock and wakes nobody, for wakers are the executor's code.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::clock::Nanos;

/// All of one pool.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// By when they end, and in the order in which they began.
    wakers: BTreeMap<Pause, Waker>,
    /// What ends no later than this has ended.
    over: Nanos,
    begun: u64,
    /// Those up to this number have ended, whatever their time; 0 when they have been woken.
    ended: u64,
}

/// The name of a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pause {
    until: Nanos,
    number: u64,
}

impl Pauses {
    /// One more, of whom `waker` wakes.
    pub(super) fn begin(&mut self, until: Nanos, waker: Waker) -> Pause {
        self.begun += 1;
        let pause = Pause { until, number: self.begun };
        self.wakers.insert(pause, waker);
        pause
    }

    /// Ends one before its time; gives back who need not be woken any more.
    pub(super) fn end(&mut self, pause: Pause) -> Option<Waker> {
        self.wakers.remove(&pause)
    }

    /// Whom a pause wakes; nobody when it is over.
    pub(super) fn waker(&mut self, pause: Pause) -> Option<&mut Waker> {
        self.wakers.get_mut(&pause)
    }

    /// Ends those whose time has come.
    pub(super) fn expire(&mut self, now: Nanos) {
        self.over = self.over.max(now);
    }

    /// Ends all that there are.
    pub(super) const fn end_all(&mut self) {
        self.ended = self.begun;
    }

    /// The next whose pause has ended; he is to be woken.
    pub(super) fn next_over(&mut self) -> Option<Waker> {
        if let Some(first) = self.wakers.first_entry().filter(|first| first.key().until <= self.over) {
            return Some(first.remove());
        }
        if self.ended == 0 {
            return None;
        }
        let ended = self.wakers.keys().find(|pause| pause.number <= self.ended).copied();
        if ended.is_none() {
            self.ended = 0;
        }
        self.wakers.remove(&ended?)
    }

    /// When the next one ends.
    pub(super) fn next_end(&self) -> Nanos {
        self.wakers.first_key_value().map_or(Nanos::MAX, |(pause, _)| pause.until)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }
}

impl Pause {
    pub(super) fn is_over(self, now: Nanos) -> bool {
        now >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_end_in_the_order_of_their_times_and_each_once() {
        let mut pauses = Pauses::default();
        let at = Nanos::from_millis;
        assert!(pauses.is_empty() && pauses.next_end() == Nanos::MAX);
        let [late, early, other] = [30, 10, 10].map(|ms| pauses.begin(at(ms), Waker::noop().clone()));
        assert!(early < other, "of two that end together the first comes first");
        assert_eq!(pauses.next_end(), at(10));
        assert!(pauses.next_over().is_none());
        pauses.expire(at(10));
        assert!(pauses.waker(early).is_some(), "it is still to be woken");
        assert!(pauses.next_over().is_some() && pauses.next_over().is_some() && pauses.next_over().is_none());
        assert!(pauses.waker(early).is_none() && pauses.end(other).is_none());
        assert!(!late.is_over(at(29)) && late.is_over(at(30)));
        assert!(pauses.end(late).is_some() && pauses.is_empty());
    }

    #[test]
    fn all_end_together_but_those_that_begin_afterwards() {
        let mut pauses = Pauses::default();
        let [never, later] = [u64::MAX, 30].map(|ns| pauses.begin(Nanos::new(ns), Waker::noop().clone()));
        pauses.end_all();
        let after = pauses.begin(Nanos::new(20), Waker::noop().clone());
        assert!(pauses.next_over().is_some() && pauses.next_over().is_some() && pauses.next_over().is_none());
        assert!(pauses.waker(never).is_none() && pauses.waker(later).is_none());
        assert!(pauses.end(after).is_some());
    }

    #[test]
    fn one_that_begins_after_its_end_is_over_at_once() {
        let mut pauses = Pauses::default();
        pauses.expire(Nanos::MAX);
        pauses.begin(Nanos::from_millis(5), Waker::noop().clone());
        assert!(pauses.next_over().is_some(), "as in a pool that is closed");
    }
}
