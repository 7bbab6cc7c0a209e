//! What has happened under a key, counted at the place where it happens, and how long its waiters waited.

use hdrhistogram::Histogram;

/// Counters since the beginning; none ever falls. Those come first that change with every lease.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(crate) struct Counts {
    /// Leases that were granted, also those that were given up before anybody saw them.
    pub(crate) acquisitions: u64,
    /// Those of them that were the first of their resource.
    pub(crate) misses: u64,
    /// What all grants together have waited.
    pub(crate) waited_ns: u64,
    /// Connects that were begun. Minus `destroyed`, this is how many resources there are.
    pub(crate) created: u64,
    /// Resources that were closed, and connects that came to nothing.
    pub(crate) destroyed: u64,
    /// Waiters whose deadline passed while all were in use.
    pub(crate) timeouts: u64,
    /// Calls and waiters that got nothing for another reason.
    pub(crate) refused: u64,
}

/// How long those who stood in line and were served have waited, in microseconds, with two digits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits {
    times: Option<Histogram<u64>>,
    /// How many were no longer than each of [`WAIT_BOUNDS_MS`] and longer than the one before; at the end, than all.
    buckets: [u64; WAIT_BOUNDS_MS.len() + 1],
}

/// The last few waits, in nanoseconds: to count one means to change several lines of the cache.
#[derive(Debug, Default)]
pub(super) struct Recent {
    waits: [u64; 4],
    /// How many of them are yet to be counted.
    len: usize,
}

/// In which steps waits are counted for those who add them up over many pools.
pub(crate) const WAIT_BOUNDS_MS: [u64; 12] = [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

impl Waits {
    /// Allocates what recording needs, for this must not happen while somebody gives something back.
    pub(super) fn prepare(&mut self) {
        if self.times.is_none() {
            self.times = Histogram::new_with_bounds(1, LONGEST_US, 2).ok();
        }
    }

    /// Counts the last few, which are none then.
    pub(super) fn add_recent(&mut self, recent: &mut Recent) {
        for waited_ns in &recent.waits[..std::mem::take(&mut recent.len)] {
            self.times.iter_mut().for_each(|times| times.saturating_record(waited_ns / 1_000));
            let is_longer = |bound_ms: &u64| *waited_ns > bound_ms * 1_000_000;
            self.buckets[WAIT_BOUNDS_MS.partition_point(is_longer)] += 1;
        }
    }

    /// The wait, in microseconds, that a share of `quantile` of all did not exceed; `None` when nobody has waited.
    pub(crate) fn at_quantile(&self, quantile: f64) -> Option<u64> {
        self.times.as_ref().filter(|waits| !waits.is_empty()).map(|waits| waits.value_at_quantile(quantile))
    }

    pub(crate) fn max(&self) -> Option<u64> {
        self.times.as_ref().filter(|waits| !waits.is_empty()).map(Histogram::max)
    }

    pub(crate) fn len(&self) -> u64 {
        self.times.as_ref().map_or(0, Histogram::len)
    }

    /// Counts what was counted elsewhere as well.
    pub(crate) fn add(&mut self, other: &Self) {
        let Some(times) = &other.times else { return };
        match &mut self.times {
            // Both have the same bounds, so there is room for whatever the other has.
            Some(all) => all.add(times).expect("of the same bounds"),
            None => self.times = Some(times.clone()),
        }
        for (sum, more) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += more;
        }
    }

    pub(crate) const fn buckets(&self) -> [u64; WAIT_BOUNDS_MS.len() + 1] {
        self.buckets
    }
}

impl Recent {
    /// One more; says whether they are to be counted now.
    #[inline]
    pub(super) fn push(&mut self, waited_ns: u64) -> Fill {
        self.waits[self.len] = waited_ns;
        self.len += 1;
        if self.len == self.waits.len() { Fill::Full } else { Fill::Room }
    }
}

/// Whether there is room for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    Room,
    Full,
}

/// Longer waits are recorded as this long: an hour.
const LONGEST_US: u64 = 3_600_000_000;
