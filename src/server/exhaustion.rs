//! What accepting does when the process has no descriptors or memory to give (DECISIONS 5).
//! Says when to try again and when somebody must go; closes nobody.

use std::time::Duration;

use crate::clock::Nanos;

/// Whether there are descriptors to be had.
///
/// ```text
/// Enough --failed--> Pausing --failed--> Short --accepted, with nothing known to be free--> Enough
///    ^                  |                  |
///    +----accepted------+---found nobody---+
/// ```
///
/// A failure that comes and goes (every second accept, say) never leads to `Short`, so it closes nobody. `Pausing` and
/// `Short` keep count of the descriptors that are known to have come free: an accept that fails although there are some
/// leads to `Pausing`, since to close somebody would not help it. While there are none in `Short`, an accept is known to
/// fail and is only tried now and then, in case they came free elsewhere in the process.
///
/// Each failure with some known to be free makes the next `Pausing` of that kind longer: where no close helps, whoever goes
/// goes for nothing, and fewer and fewer do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhaustion {
    Enough,
    Pausing { until: Nanos, free: u32, in_vain: Duration },
    Short { free: u32, probe_at: Nanos, delay: Duration, in_vain: Duration },
}

/// What accepting may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Try.
    Try,
    /// Wait until then; a close ends the wait.
    Wait(Nanos),
    /// It would fail: somebody must go for a newcomer. If nobody can, try at this time.
    MakeRoom(Nanos),
}

impl Exhaustion {
    pub(crate) fn advice(self, now: Nanos) -> Advice {
        match self {
            Self::Enough => Advice::Try,
            Self::Pausing { until, .. } if now < until => Advice::Wait(until),
            Self::Pausing { .. } => Advice::Try,
            Self::Short { free: 0, probe_at, .. } if now < probe_at => Advice::MakeRoom(probe_at),
            Self::Short { .. } => Advice::Try,
        }
    }

    /// An accept failed though somebody waits.
    pub(crate) fn failed(&mut self, now: Nanos) {
        *self = match *self {
            Self::Enough => {
                Self::Pausing { until: now + FIRST_PAUSE, free: 0, in_vain: PROBE_WHILE_EVICTING }
            }
            // One came free and it failed all the same: the shortage is not ours to end, and the next to go would go for
            // nothing.
            Self::Pausing { free: 1.., in_vain, .. } | Self::Short { free: 1.., in_vain, .. } => {
                Self::Pausing { until: now + in_vain, free: 0, in_vain: (in_vain * 2).min(LONGEST_PROBE) }
            }
            Self::Pausing { in_vain, .. } => {
                Self::Short { free: 0, probe_at: now + FIRST_PAUSE, delay: FIRST_PAUSE, in_vain }
            }
            Self::Short { delay, in_vain, .. } => {
                let delay = (delay * 2).min(LONGEST_PROBE);
                Self::Short { free: 0, probe_at: now + delay, delay, in_vain }
            }
        };
    }

    /// An accept succeeded.
    pub(crate) fn accepted(&mut self) {
        match self {
            Self::Enough => {}
            Self::Short { free: free @ 1.., in_vain, .. } => {
                *free -= 1;
                *in_vain = PROBE_WHILE_EVICTING;
            }
            Self::Pausing { .. } | Self::Short { .. } => *self = Self::Enough,
        }
    }

    /// An accept found nobody. It takes a descriptor before it looks, so there was one to be had.
    pub(crate) fn found_nobody(&mut self) {
        *self = Self::Enough;
    }

    /// Whether there are none to be had, as far as is known.
    pub(crate) fn pauses_accepting(self) -> bool {
        matches!(self, Self::Pausing { .. } | Self::Short { free: 0, .. })
    }

    /// A descriptor of ours was closed.
    pub(crate) fn closed(&mut self, now: Nanos) {
        match self {
            Self::Enough => {}
            Self::Pausing { until, free, .. } => {
                *until = now;
                *free = free.saturating_add(1);
            }
            Self::Short { free, delay, .. } => {
                *free = free.saturating_add(1);
                *delay = PROBE_WHILE_EVICTING;
            }
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// While evictions make room, a probe this seldom keeps failing accepts at 20 a second. It is also the first pause after a
/// close that did not help.
const PROBE_WHILE_EVICTING: Duration = Duration::from_millis(50);
const LONGEST_PROBE: Duration = Duration::from_millis(1000);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn failures_that_alternate_with_success_never_cost_anybody_the_place() {
        let (mut state, mut now) = (Exhaustion::Enough, Nanos::ZERO);
        for _ in 0..100 {
            state.failed(now);
            assert_eq!(state.advice(now), Advice::Wait(now + 10 * MS));
            now = now + 10 * MS;
            assert_eq!(state.advice(now), Advice::Try);
            state.accepted();
            assert_eq!(state, Exhaustion::Enough);
        }
    }

    #[test]
    fn a_second_failure_in_a_row_asks_for_room() {
        let mut state = Exhaustion::Enough;
        state.failed(Nanos::ZERO);
        state.failed(Nanos::from_millis(10));
        assert!(matches!(state.advice(Nanos::from_millis(10)), Advice::MakeRoom(_)));
        state.closed(Nanos::from_millis(10));
        assert_eq!(state.advice(Nanos::from_millis(10)), Advice::Try);
        state.accepted();
        assert!(
            matches!(state.advice(Nanos::from_millis(10)), Advice::MakeRoom(_)),
            "the one that came free is used"
        );
    }

    #[test]
    fn a_shortage_that_no_eviction_ends_costs_few_their_place() {
        let (mut state, mut evicted) = (Exhaustion::Enough, 0);
        for ms in 0..60_000 {
            let now = Nanos::from_millis(ms);
            for _ in 0..64 {
                match state.advice(now) {
                    Advice::Try => state.failed(now),
                    Advice::MakeRoom(_) => {
                        evicted += 1;
                        state.closed(now);
                    }
                    Advice::Wait(_) => break,
                }
            }
        }
        assert!((1..=70).contains(&evicted), "{evicted} went in a minute");
    }

    #[test]
    fn whoever_leaves_during_a_shortage_that_is_not_ours_takes_nobody_with_him() {
        let (mut state, mut evicted) = (Exhaustion::Enough, 0);
        for ms in 0..1000 {
            let now = Nanos::from_millis(ms);
            if ms.is_multiple_of(5) {
                state.closed(now);
            }
            match state.advice(now) {
                Advice::Try => state.failed(now),
                Advice::MakeRoom(_) => evicted += 1,
                Advice::Wait(_) => {}
            }
        }
        assert_eq!(evicted, 0);
    }

    #[test]
    fn with_nothing_to_be_had_at_most_twenty_accepts_fail_in_a_second_and_then_one() {
        let (mut state, mut failures) = (Exhaustion::Enough, Vec::new());
        for ms in 0..10_000 {
            let now = Nanos::from_millis(ms);
            if state.advice(now) == Advice::Try {
                state.failed(now);
                failures.push(ms);
            }
        }
        assert!(failures.iter().filter(|ms| **ms < 1000).count() <= 20, "{failures:?}");
        assert!(failures.iter().filter(|ms| **ms >= 5000).count() <= 5, "{failures:?}");
    }

    #[test]
    fn a_close_ends_every_wait_at_once() {
        let mut state = Exhaustion::Enough;
        state.failed(Nanos::ZERO);
        state.closed(Nanos::ZERO);
        assert_eq!(state.advice(Nanos::ZERO), Advice::Try);
        state.failed(Nanos::ZERO);
        for _ in 0..20 {
            state.failed(Nanos::ZERO);
        }
        state.closed(Nanos::ZERO);
        assert_eq!(state.advice(Nanos::ZERO), Advice::Try);
    }

    #[test]
    fn what_is_known_to_be_free_is_no_want() {
        let mut state = Exhaustion::Enough;
        state.failed(Nanos::ZERO);
        assert!(state.pauses_accepting());
        state.failed(Nanos::ZERO);
        assert!(state.pauses_accepting());
        state.closed(Nanos::ZERO);
        assert!(!state.pauses_accepting(), "whether anybody comes to use it or not");
        state.found_nobody();
        assert_eq!(state, Exhaustion::Enough);
    }

    #[test]
    fn descriptors_that_come_free_elsewhere_are_noticed_by_a_probe() {
        let mut state =
            Exhaustion::Short { free: 0, probe_at: Nanos::from_millis(50), delay: 10 * MS, in_vain: 50 * MS };
        assert_eq!(state.advice(Nanos::from_millis(50)), Advice::Try);
        state.accepted();
        assert_eq!(state, Exhaustion::Enough);
    }
}
