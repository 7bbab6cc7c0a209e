//! A limit that follows the load: up when leases are waited for, down when most resources are idle. What it was at first
//! is no bound: the minimum is. One pure step for each interval; does not know whose limit it is.

use super::terms::Span;

/// When to grow and when to shrink.
#[derive(Clone, Debug)]
pub(crate) struct AdaptiveTerms {
    pub(crate) interval: Span,
    /// An interval with fewer acquisitions changes nothing: they are judged together with those of the next.
    pub(crate) min_acquisitions: u64,
    /// Grow when the mean wait of an interval is longer than this.
    pub(crate) wait_high: Span,
    pub(crate) grow: f64,
    /// Shrink when a larger share than this is idle.
    pub(crate) idle_high: f64,
    pub(crate) shrink: f64,
    pub(crate) ceiling: u32,
}

/// Where the limit stands and what it was judged by last.
#[derive(Clone, Debug)]
pub(super) struct Adaptive {
    /// Steps since the last growth.
    quiet: u32,
    acquisitions: u64,
    waited_ns: u64,
}

/// What an interval looked like at its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Both since the beginning.
    pub(super) acquisitions: u64,
    pub(super) waited_ns: u64,
    pub(super) total: u32,
    pub(super) idle: u32,
    pub(super) active: u32,
    pub(super) max: u32,
    pub(super) min: u32,
}

impl Adaptive {
    pub(super) const fn new() -> Self {
        Self { quiet: QUIET_STEPS, acquisitions: 0, waited_ns: 0 }
    }

    /// The limit for the next interval, or `None` when it stays.
    pub(super) fn step(&mut self, terms: &AdaptiveTerms, seen: Seen) -> Option<u32> {
        let acquisitions = seen.acquisitions - self.acquisitions;
        if acquisitions < terms.min_acquisitions {
            // Too few to judge by: they count in the next interval.
            return None;
        }
        let mean_wait_ns = (seen.waited_ns - self.waited_ns) / acquisitions.max(1);
        (self.acquisitions, self.waited_ns) = (seen.acquisitions, seen.waited_ns);
        let idle_ratio = f64::from(seen.idle) / f64::from(seen.total.max(1));
        let max = f64::from(seen.max);
        if mean_wait_ns > terms.wait_high.as_nanos() {
            self.quiet = 0;
            let larger = (max * terms.grow).floor().max(max + 1.0).min(f64::from(terms.ceiling)) as u32;
            return (larger > seen.max).then_some(larger);
        }
        self.quiet = self.quiet.saturating_add(1);
        if idle_ratio > terms.idle_high && self.quiet > QUIET_STEPS {
            let smaller = (max * terms.shrink).ceil().min(max - 1.0).max(0.0) as u32;
            let smaller = smaller.max(seen.min).max(seen.active).max(1);
            return (smaller < seen.max).then_some(smaller);
        }
        None
    }
}

/// Steps after a growth in which nothing shrinks, or the end of a spike would be taken for the end of the load.
const QUIET_STEPS: u32 = 3;
