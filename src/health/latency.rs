//! How long operations took over the last minute, as quantiles.
//! Does not measure: durations are handed in. Keeps nothing for a single connection.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::clock::Nanos;

/// How long the operations of the last minute took.
///
/// A quantile is the true one to 1 % and 1 µs, and rather too long than too short. An operation of more than a minute
/// counts as a minute in the quantiles (a minute is no latency, it is a timeout); `max` is exact whatever it is. All is
/// zero when there was no operation. Ten seconds at a time are forgotten, so the answer covers the last 50 to 60 s.
///
/// ```
/// use socketpool::Quantiles;
/// use std::time::Duration;
///
/// let none = Quantiles::default();
/// assert_eq!((none.count, none.p99, none.max), (0, Duration::ZERO, Duration::ZERO));
/// assert_eq!(none.to_string(), "timed=0 p50_us=0 p90_us=0 p99_us=0 p999_us=0 max_us=0");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quantiles {
    /// Half of the operations took no longer.
    pub p50: Duration,
    /// 90 % took no longer.
    pub p90: Duration,
    /// 99 % took no longer.
    pub p99: Duration,
    /// 99.9 % took no longer.
    pub p999: Duration,
    /// The longest, to the nanosecond.
    pub max: Duration,
    /// How many operations there were.
    pub count: u64,
}

impl fmt::Display for Quantiles {
    /// `key=value` words, durations in whole microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "timed={} p50_us={} p90_us={} p99_us={} p999_us={} max_us={}",
            self.count,
            self.p50.as_micros(),
            self.p90.as_micros(),
            self.p99.as_micros(),
            self.p999.as_micros(),
            self.max.as_micros(),
        )
    }
}

/// A ring of windows, each a histogram of its own; the oldest is cleared to become the newest.
///
/// The hot path does not touch them. It counts in `intake`, which takes a third of the instructions of recording in a
/// histogram, and whoever reads or ends a window settles it first. Counts of 32 bits are enough: to fill one, a single
/// thread would have to complete 70 million operations a second for a minute.
#[derive(Debug)]
pub(crate) struct Latency {
    /// What was recorded since the last settlement; all of it belongs to the running window.
    intake: Intake,
    windows: [Window; WINDOWS],
    /// The running window. Invariant: below `WINDOWS`.
    current: usize,
    /// When the running window is over. Invariant: a whole number of window spans after the start.
    boundary: Nanos,
    /// Invariant: the sum of all windows, so that reading is one pass over one histogram.
    sum: Histogram<u32>,
}

impl Latency {
    pub(crate) fn new(now: Nanos) -> Self {
        Self {
            intake: Intake::new(),
            windows: std::array::from_fn(|_| Window { durations: histogram(), longest: 0 }),
            current: 0,
            boundary: now + SPAN,
            sum: histogram(),
        }
    }

    /// Counts one operation of `nanos` nanoseconds in the window of the last [`advance`](Self::advance).
    #[inline]
    pub(crate) fn record(&mut self, nanos: u64) {
        self.intake.record(nanos);
    }

    /// Clears the windows that are over at `now`. Fine to call at any time; time that stands still changes nothing.
    pub(crate) fn advance(&mut self, now: Nanos) {
        if now < self.boundary {
            return;
        }
        self.settle();
        let over = 1 + now.since(self.boundary).as_secs() / SPAN.as_secs();
        self.boundary = self.boundary + Duration::from_secs(over * SPAN.as_secs());
        for _ in 0..over.min(WINDOWS as u64) {
            self.current = (self.current + 1) % WINDOWS;
            self.windows[self.current].clear();
        }
        self.sum.reset();
        for window in self.windows.iter().filter(|window| !window.durations.is_empty()) {
            self.sum.add(&window.durations).expect("all histograms have the same bounds");
        }
    }

    /// The operations of the running window and the five before it.
    pub(crate) fn quantiles(&mut self, now: Nanos) -> Quantiles {
        self.advance(now);
        self.settle();
        let longest = self.windows.iter().map(|window| window.longest).max().unwrap_or(0);
        let max = Duration::from_nanos(longest);
        let mut at = [Duration::ZERO; 4];
        for (place, micros) in at.iter_mut().zip(self.sum.value_at_quantiles([0.5, 0.9, 0.99, 0.999])) {
            *place = Duration::from_micros(micros.min(LONGEST_MICROS)).min(max);
        }
        let [p50, p90, p99, p999] = at;
        Quantiles { p50, p90, p99, p999, max, count: self.sum.len() }
    }

    /// Bytes on the heap.
    pub(crate) fn memory_bytes(&self) -> usize {
        let histograms = (WINDOWS + 1) * self.sum.distinct_values() * size_of::<u32>();
        histograms + size_of_val(&*self.intake.counts)
    }

    fn settle(&mut self) {
        let window = &mut self.windows[self.current];
        window.longest = window.longest.max(self.intake.longest);
        self.intake.empty(|micros, count| {
            window.durations.saturating_record_n(micros, count);
            self.sum.saturating_record_n(micros, count);
        });
    }
}

#[derive(Debug)]
struct Window {
    /// In microseconds.
    durations: Histogram<u32>,
    /// In nanoseconds, exact.
    longest: u64,
}

impl Window {
    fn clear(&mut self) {
        if !self.durations.is_empty() {
            self.durations.reset();
            self.longest = 0;
        }
    }
}

/// Counts by duration in the same steps as the histograms: 1 µs up to 256 µs, then 128 steps to each doubling.
#[derive(Debug)]
struct Intake {
    counts: Box<[u32; STEPS]>,
    /// In nanoseconds, exact.
    longest: u64,
}

impl Intake {
    fn new() -> Self {
        Self { counts: Box::new([0; STEPS]), longest: 0 }
    }

    #[inline]
    fn record(&mut self, nanos: u64) {
        let count = &mut self.counts[step(nanos / NANOS_PER_MICRO)];
        *count = count.wrapping_add(1);
        self.longest = self.longest.max(nanos);
    }

    /// Hands every count to `take`, with a duration of its step in microseconds, and starts from nothing.
    fn empty(&mut self, mut take: impl FnMut(u64, u32)) {
        if self.longest == 0 && self.counts[0] == 0 {
            return;
        }
        for (step, count) in self.counts.iter_mut().enumerate().filter(|(_, count)| **count != 0) {
            take(shortest_of(step), std::mem::take(count));
        }
        self.longest = 0;
    }
}

/// The step that a duration falls in; the last one for everything beyond the bound.
#[inline]
const fn step(micros: u64) -> usize {
    let micros = if micros < LONGEST_MICROS { micros } else { LONGEST_MICROS };
    let doublings = u64::BITS - SUB_BITS - (micros | (2 * SUB_STEPS - 1)).leading_zeros() - 1;
    (doublings as usize * SUB_STEPS as usize) + (micros >> doublings) as usize
}

/// The shortest duration that falls in a step, in microseconds.
const fn shortest_of(step: usize) -> u64 {
    let step = step as u64;
    if step < 2 * SUB_STEPS {
        return step;
    }
    (SUB_STEPS + step % SUB_STEPS) << (step / SUB_STEPS - 1)
}

fn histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS)
        .expect("bounds from 1 us to 60 s with 2 digits are valid ones")
}

/// Six windows of ten seconds: the answer is never older than a minute and never younger than 50 s.
const WINDOWS: usize = 6;
const SPAN: Duration = Duration::from_secs(10);
/// Longer operations are timeouts, not latencies; the bound keeps a histogram at 10 KiB.
const LONGEST_MICROS: u64 = 60_000_000;
/// Significant digits: 1 % of error for a seventh of the memory of 0.1 %.
const DIGITS: u8 = 2;
/// Steps to a doubling, the power of two that two digits need.
const SUB_STEPS: u64 = 1 << SUB_BITS;
const SUB_BITS: u32 = 7;
const STEPS: usize = step(LONGEST_MICROS) + 1;
const NANOS_PER_MICRO: u64 = 1_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::span_nanos;

    #[test]
    fn ten_operations_of_5_to_50_ms_give_a_p99_of_at_least_45_ms() {
        let mut latency = Latency::new(Nanos::ZERO);
        for step in 1..=10 {
            latency.record(span_nanos(Duration::from_millis(5 * step)));
        }
        let got = latency.quantiles(Nanos::ZERO);
        assert!(got.p99 >= Duration::from_millis(45), "{got}");
        assert_eq!((got.count, got.max), (10, Duration::from_millis(50)));
        assert!(got.p50 >= Duration::from_millis(25) && got.p50 < Duration::from_millis(26), "{got}");
    }

    #[test]
    fn the_longest_is_exact_and_bounds_the_quantiles() {
        let mut latency = Latency::new(Nanos::ZERO);
        latency.record(123_456_789);
        let got = latency.quantiles(Nanos::ZERO);
        assert_eq!(got.max, Duration::from_nanos(123_456_789));
        assert_eq!((got.p50, got.p999), (got.max, got.max));
    }

    #[test]
    fn operations_beyond_a_minute_count_as_a_minute() {
        let mut latency = Latency::new(Nanos::ZERO);
        latency.record(span_nanos(Duration::from_secs(7200)));
        latency.record(span_nanos(Duration::MAX));
        let got = latency.quantiles(Nanos::ZERO);
        assert_eq!((got.count, got.p50, got.p99), (2, Duration::from_secs(60), Duration::from_secs(60)));
        assert_eq!(got.max, Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn operations_below_the_resolution_are_counted() {
        let mut latency = Latency::new(Nanos::ZERO);
        latency.record(span_nanos(Duration::ZERO));
        latency.record(999);
        let got = latency.quantiles(Nanos::ZERO);
        assert_eq!((got.count, got.p99, got.max), (2, Duration::ZERO, Duration::from_nanos(999)));
    }

    #[test]
    fn an_operation_is_forgotten_within_the_minute_and_kept_for_fifty_seconds() {
        for begun in [0, 3_000, 9_999] {
            let mut latency = Latency::new(Nanos::ZERO);
            latency.advance(Nanos::from_millis(begun));
            latency.record(span_nanos(Duration::from_millis(1)));
            assert_eq!(latency.quantiles(Nanos::from_millis(begun + 50_000)).count, 1, "begun at {begun}");
            assert_eq!(latency.quantiles(Nanos::from_millis(begun + 60_000)).count, 0, "begun at {begun}");
        }
    }

    #[test]
    fn hours_of_silence_leave_nothing_behind_and_the_next_windows_work() {
        let mut latency = Latency::new(Nanos::ZERO);
        latency.record(span_nanos(Duration::from_secs(3)));
        let later = Nanos::from_millis(5 * 3_600_000 + 1);
        assert_eq!(latency.quantiles(later), Quantiles::default());
        latency.record(span_nanos(Duration::from_millis(2)));
        assert_eq!(latency.quantiles(later + Duration::from_secs(49)).count, 1);
        assert_eq!(latency.quantiles(later + Duration::from_secs(60)), Quantiles::default());
    }

    #[test]
    fn the_end_of_time_is_survived() {
        let mut latency = Latency::new(Nanos::ZERO);
        for _ in 0..3 {
            latency.advance(Nanos::MAX);
            latency.record(span_nanos(Duration::from_millis(1)));
        }
        assert!(latency.quantiles(Nanos::MAX).count <= 3);
    }

    #[test]
    fn steps_of_the_intake_are_those_of_the_histogram() {
        let histogram = histogram();
        for place in 0..STEPS {
            let shortest = shortest_of(place);
            assert_eq!(step(shortest), place);
            assert_eq!(histogram.lowest_equivalent(shortest), shortest);
            if place + 1 < STEPS {
                assert_eq!(histogram.next_non_equivalent(shortest), shortest_of(place + 1));
            }
        }
        assert_eq!(step(u64::MAX), STEPS - 1);
    }

    #[test]
    fn reading_changes_nothing() {
        let mut latency = Latency::new(Nanos::ZERO);
        for millis in 1..=100 {
            latency.record(span_nanos(Duration::from_millis(millis)));
        }
        let first = latency.quantiles(Nanos::ZERO);
        assert_eq!(latency.quantiles(Nanos::ZERO), first);
        assert_eq!(latency.quantiles(Nanos::from_millis(10_000)), first);
        assert_eq!(first.count, 100);
    }

    proptest! {
        #![proptest_config(crate::health::testing::config())]

        #[test]
        fn quantiles_are_those_of_the_operations_that_the_windows_cover(
            steps in prop::collection::vec((0_u64..4_000, 0_u64..70_000_000_000), 1..60)
        ) {
            let mut latency = Latency::new(Nanos::ZERO);
            let mut model: Vec<(u64, u64)> = Vec::new();
            let mut millis = 0;
            for (pause, took) in steps {
                millis += pause;
                latency.advance(Nanos::from_millis(millis));
                latency.record(took);
                model.push((millis / 10_000, took));
                if took % 7 == 0 {
                    latency.quantiles(Nanos::from_millis(millis));
                }
            }
            model.retain(|(window, _)| window + 6 > millis / 10_000);
            let mut kept: Vec<u64> = model.iter().map(|&(_, took)| took).collect();
            kept.sort_unstable();
            let got = latency.quantiles(Nanos::from_millis(millis));
            prop_assert_eq!(got.count, kept.len() as u64);
            prop_assert_eq!(got.max, Duration::from_nanos(kept[kept.len() - 1]));
            for (quantile, shown) in [(0.5, got.p50), (0.9, got.p90), (0.99, got.p99), (0.999, got.p999)] {
                let rank = (quantile * kept.len() as f64).ceil() as usize;
                let truth = kept[rank - 1].min(60_000_000_000) as f64;
                let shown = shown.as_nanos() as f64;
                prop_assert!(shown >= truth - 1_000.0 && shown <= truth * 1.01 + 1_000.0, "{} {}", shown, truth);
            }
        }
    }
}
