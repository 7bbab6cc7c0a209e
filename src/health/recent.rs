//! How often things happened in the last ten seconds. Counts by the second; does not judge.

use std::time::Duration;

use crate::clock::Nanos;

/// A ring of ten one-second counts of everything that is reported as a rate.
///
/// What it covers is the running second and the nine before it, and rates divide by exactly that time, so they are
/// neither too low early in a second nor early in the life of the pool.
#[derive(Debug)]
pub(crate) struct Recent {
    seconds: [Tally; SECONDS],
    /// The running second. Invariant: below `SECONDS`.
    current: usize,
    /// When the running second is over. Invariant: a whole number of seconds after `start`.
    boundary: Nanos,
    start: Nanos,
}

/// How many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Operations completed.
    pub(crate) operations: u64,
    /// Connections that ended, for whatever reason.
    pub(crate) ended: u64,
    /// Of those, by an error or a stall.
    pub(crate) failed: u64,
    /// Newcomers turned away for want of room, not for what they are.
    pub(crate) crowded_out: u64,
}

impl Recent {
    pub(crate) fn new(now: Nanos) -> Self {
        Self { seconds: [Tally::default(); SECONDS], current: 0, boundary: now + SECOND, start: now }
    }

    /// Whether the running second is over, so that [`advance`](Self::advance) has something to do.
    #[inline]
    pub(crate) fn is_over(&self, now: Nanos) -> bool {
        now >= self.boundary
    }

    /// The running second of the last [`advance`](Self::advance).
    #[inline]
    pub(crate) fn current(&mut self) -> &mut Tally {
        &mut self.seconds[self.current]
    }

    /// Forgets the seconds that are too long ago at `now`.
    pub(crate) fn advance(&mut self, now: Nanos) {
        if !self.is_over(now) {
            return;
        }
        let over = 1 + now.since(self.boundary).as_secs();
        for _ in 0..over.min(SECONDS as u64) {
            self.current = (self.current + 1) % SECONDS;
            self.seconds[self.current] = Tally::default();
        }
        self.boundary = self.boundary + Duration::from_secs(over);
    }

    /// Everything that is remembered.
    pub(crate) fn total(&self) -> Tally {
        self.seconds.iter().fold(Tally::default(), |sum, second| Tally {
            operations: sum.operations + second.operations,
            ended: sum.ended + second.ended,
            failed: sum.failed + second.failed,
            crowded_out: sum.crowded_out + second.crowded_out,
        })
    }

    /// `count` of what is remembered, as a number a second.
    pub(crate) fn per_second(&self, count: u64, now: Nanos) -> f64 {
        count as f64 / self.covered(now).as_secs_f64()
    }

    /// The time that the ring covers: from nine to ten seconds, less in the beginning.
    fn covered(&self, now: Nanos) -> Duration {
        let left = self.boundary.since(now);
        let full = SECOND * SECONDS as u32;
        full.saturating_sub(left).min(now.since(self.start)).max(SHORTEST)
    }
}

const SECONDS: usize = 10;
const SECOND: Duration = Duration::from_secs(1);
/// A rate over less than this says nothing, and over nothing it would be infinite.
const SHORTEST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_divides_by_the_time_there_has_been() {
        let start = Nanos::from_millis(77);
        let mut recent = Recent::new(start);
        recent.current().operations += 10;
        assert_eq!(recent.per_second(10, start + Duration::from_millis(500)), 20.0);
        let now = start + Duration::from_secs(2);
        recent.advance(now);
        assert_eq!(recent.per_second(recent.total().operations, now), 5.0);
    }

    #[test]
    fn the_first_moment_gives_no_infinite_rate() {
        let recent = Recent::new(Nanos::ZERO);
        assert_eq!(recent.per_second(0, Nanos::ZERO), 0.0);
        assert_eq!(recent.per_second(1, Nanos::ZERO), 10.0);
    }

    #[test]
    fn a_steady_rate_is_shown_as_it_is_wherever_in_a_second_one_asks() {
        let mut recent = Recent::new(Nanos::ZERO);
        for millis in (0..60_000).step_by(20) {
            let now = Nanos::from_millis(millis);
            recent.advance(now);
            recent.current().operations += 1;
            let shown = recent.per_second(recent.total().operations, now + Duration::from_millis(10));
            assert!(millis < 1_000 || (shown - 50.0).abs() < 1.0, "{shown} at {millis} ms");
        }
    }

    #[test]
    fn hours_of_silence_leave_nothing_behind() {
        let mut recent = Recent::new(Nanos::ZERO);
        recent.current().failed += 3;
        let now = Nanos::from_millis(7 * 3_600_000 + 123);
        recent.advance(now);
        assert_eq!(recent.total(), Tally::default());
        recent.current().failed += 1;
        assert_eq!(recent.per_second(recent.total().failed, now), 1.0 / 9.123);
    }

    #[test]
    fn the_end_of_time_is_survived() {
        let mut recent = Recent::new(Nanos::ZERO);
        recent.advance(Nanos::MAX);
        recent.advance(Nanos::MAX);
        assert_eq!(recent.per_second(recent.total().operations, Nanos::MAX), 0.0);
    }

    proptest! {
        #![proptest_config(crate::health::testing::config())]

        #[test]
        fn the_ring_remembers_this_second_and_the_nine_before(
            steps in prop::collection::vec((0_u64..4_000, 0_u64..5), 1..80)
        ) {
            let mut recent = Recent::new(Nanos::ZERO);
            let mut model: Vec<(u64, u64)> = Vec::new();
            let mut millis = 0;
            for (pause, count) in steps {
                millis += pause;
                recent.advance(Nanos::from_millis(millis));
                recent.current().operations += count;
                model.push((millis / 1_000, count));
                let kept: u64 =
                    model.iter().filter(|(second, _)| second + 10 > millis / 1_000).map(|&(_, count)| count).sum();
                prop_assert_eq!(recent.total().operations, kept);
            }
        }
    }
}
