//! Holds what happened to a rate: in no window of any length may more have happened than the burst and what the rate brings
//! in that time. One number says whether that is so for all windows at once (ITU-T I.371, virtual scheduling).

use std::time::Duration;

use socketpool::Nanos;

/// A rate: the time that brings one more, and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    nanos: u64,
    burst: u64,
}

impl Price {
    pub const fn of(each: Duration, burst: u64) -> Self {
        Self { nanos: each.as_nanos() as u64, burst }
    }

    const fn span(self) -> u64 {
        self.nanos * self.burst
    }
}

/// What has happened so far: when all of it will be paid for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    paid_at: u64,
}

impl Meter {
    /// Notes that `n` have happened at `now`. Returns whether they were allowed to.
    #[must_use]
    pub fn note(&mut self, price: Price, n: u64, now: Nanos) -> bool {
        self.paid_at = self.paid_at.max(now.as_nanos()) + n * price.nanos;
        self.paid_at <= now.as_nanos() + price.span()
    }

    /// Whether one more may happen at `now`.
    pub fn allows(mut self, price: Price, now: Nanos) -> bool {
        self.note(price, 1, now)
    }
}

/// Counts in every window, as slowly as it is plain.
#[cfg(test)]
fn is_within(price: Price, happened: &[u64]) -> bool {
    happened.iter().enumerate().all(|(first, begin)| {
        let count = |end: &u64| happened[first..].iter().filter(|at| *at <= end).count() as u64;
        happened[first..].iter().all(|end| count(end) <= price.burst + (end - begin) / price.nanos)
    })
}

proptest::proptest! {
    #[test]
    fn a_meter_knows_what_counting_in_every_window_would_find(
        gaps in proptest::collection::vec(0u64..30, 1..12),
        each in 1u64..20,
        burst in 1u64..5,
    ) {
        let price = Price::of(Duration::from_nanos(each), burst);
        let (mut now, mut happened, mut meter) = (0, Vec::new(), Meter::default());
        for gap in gaps {
            now += gap;
            happened.push(now);
            let allowed = meter.note(price, 1, Nanos::new(now));
            proptest::prop_assert_eq!(allowed, is_within(price, &happened));
            if !allowed {
                break;
            }
        }
    }
}
