//! Of which descriptors of a poll POLL_READ is withheld, and until when. Does not know what is registered.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::os::fd::RawFd;

use crate::hash::FoldedState;

/// Times are in milliseconds.
#[derive(Debug)]
pub(super) struct Silences {
    until: HashMap<RawFd, u64, FoldedState>,
    /// The first to end in front, without those [`FOR_GOOD`]. Some are over already: what counts is what `until` says.
    /// Invariant: at most [`FEW`] more than twice as many as were ever silent at once.
    ends: BinaryHeap<Reverse<(u64, RawFd)>>,
}

impl Silences {
    pub(super) fn new() -> Self {
        Self { until: HashMap::default(), ends: BinaryHeap::new() }
    }

    /// Until when a descriptor is silent, if it is.
    pub(super) fn of(&self, fd: RawFd) -> Option<u64> {
        self.until.get(&fd).copied()
    }

    /// Makes a descriptor silent until then, and no longer. `false`, and nothing has changed, without memory.
    pub(super) fn begin(&mut self, fd: RawFd, until_ms: u64) -> bool {
        if self.until.try_reserve(1).is_err() || self.ends.try_reserve(1).is_err() {
            return false;
        }
        if self.until.insert(fd, until_ms) != Some(until_ms) && until_ms != FOR_GOOD {
            if self.ends.len() >= 2 * self.until.len() + FEW {
                let until = &self.until;
                self.ends.retain(|Reverse((end, fd))| until.get(fd) == Some(end));
            }
            self.ends.push(Reverse((until_ms, fd)));
        }
        true
    }

    /// Ends the silence of a descriptor, if it is silent.
    pub(super) fn end(&mut self, fd: RawFd) {
        self.until.remove(&fd);
    }

    /// Ends the first silence whose time is over by now, and says whose it was.
    pub(super) fn end_next_due(&mut self, now_ms: u64) -> Option<RawFd> {
        if self.next_end() > now_ms {
            return None;
        }
        let Reverse((_, fd)) = self.ends.pop()?;
        self.until.remove(&fd);
        Some(fd)
    }

    /// When the next one ends; [`FOR_GOOD`]: never.
    pub(super) fn next_end(&mut self) -> u64 {
        while let Some(Reverse((end, fd))) = self.ends.peek() {
            if self.until.get(fd) == Some(end) {
                return *end;
            }
            self.ends.pop();
        }
        FOR_GOOD
    }
}

/// A silence that nothing ends but that the descriptor goes.
pub(super) const FOR_GOOD: u64 = u64::MAX;
/// So many that are over do no harm.
const FEW: usize = 32;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Begin(RawFd, u64),
        End(RawFd),
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..8, prop_oneof![5 => 0..200_u64, 1 => Just(FOR_GOOD)]).prop_map(|(fd, ms)| Step::Begin(fd, ms)),
            2 => (0..8).prop_map(Step::End),
            2 => (0..20_u64).prop_map(Step::Pass),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #![proptest_config(crate::model_cases())]

        #[test]
        fn each_silence_ends_in_its_time_and_the_heap_is_not_much_larger(steps in steps()) {
            let (mut silences, mut model, mut now) = (Silences::new(), BTreeMap::new(), 0_u64);
            for step in steps {
                match step {
                    Step::Begin(fd, ms) => {
                        let until = now.saturating_add(ms);
                        prop_assert!(silences.begin(fd, until));
                        model.insert(fd, until);
                    }
                    Step::End(fd) => {
                        silences.end(fd);
                        model.remove(&fd);
                    }
                    Step::Pass(ms) => {
                        now += ms;
                        let mut ended: Vec<_> = std::iter::from_fn(|| silences.end_next_due(now)).collect();
                        ended.sort_unstable();
                        let due: Vec<_> =
                            model.iter().filter(|(_, until)| **until <= now).map(|(fd, _)| *fd).collect();
                        prop_assert_eq!(ended, due);
                        model.retain(|_, until| *until > now);
                    }
                }
                prop_assert_eq!(silences.next_end(), model.values().copied().min().unwrap_or(FOR_GOOD));
                prop_assert!((0..8).all(|fd| silences.of(fd) == model.get(&fd).copied()));
                prop_assert!(silences.ends.len() <= 2 * 8 + FEW);
            }
        }
    }
}
