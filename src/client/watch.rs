//! What whoever runs a pool should be told in the log without asking: that connections are hardly used again, that nearly
//! all are in use. Each at most once a minute. Does not log.

use std::fmt;
use std::time::Duration;

use super::stats::PoolStats;
use crate::clock::Nanos;

/// What was seen when it was last looked.
#[derive(Debug, Default)]
pub(super) struct Watch {
    acquisitions: u64,
    hits: u64,
    /// From when on the next warning of each kind may come.
    hit_rate_again: Nanos,
    capacity_again: Nanos,
}

/// Something to tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Warning {
    LowHitRate { rate: f64, acquisitions: u64 },
    NearCapacity { active: u32, max: u32 },
}

impl Watch {
    /// What there is to tell by these numbers, with the limit that holds now.
    pub(super) fn look(&mut self, stats: &PoolStats, max: u32, now: Nanos) -> [Option<Warning>; 2] {
        [self.hit_rate(stats, now), self.capacity(stats.active_connections, max, now)]
    }

    fn hit_rate(&mut self, stats: &PoolStats, now: Nanos) -> Option<Warning> {
        let acquisitions = stats.total_acquisitions - self.acquisitions;
        if acquisitions < ENOUGH_ACQUISITIONS {
            return None;
        }
        let rate = (stats.pool_hits - self.hits) as f64 / acquisitions as f64;
        (self.acquisitions, self.hits) = (stats.total_acquisitions, stats.pool_hits);
        if rate >= LOW_HIT_RATE || now < self.hit_rate_again {
            return None;
        }
        self.hit_rate_again = again(now);
        Some(Warning::LowHitRate { rate, acquisitions })
    }

    fn capacity(&mut self, active: u32, max: u32, now: Nanos) -> Option<Warning> {
        if f64::from(active) <= NEAR_CAPACITY * f64::from(max) || now < self.capacity_again {
            return None;
        }
        self.capacity_again = again(now);
        Some(Warning::NearCapacity { active, max })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LowHitRate { rate, acquisitions } => {
                write!(f, "Low pool hit rate: {:.0}% of {acquisitions} acquisitions", rate * 100.0)
            }
            Self::NearCapacity { active, max } => write!(f, "Pool near capacity: {active}/{max}"),
        }
    }
}

fn again(now: Nanos) -> Nanos {
    now + PAUSE
}

/// Fewer say nothing about the rate.
const ENOUGH_ACQUISITIONS: u64 = 100;
const LOW_HIT_RATE: f64 = 0.8;
const NEAR_CAPACITY: f64 = 0.9;
/// Between two warnings of one kind.
const PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Nanos {
        Nanos::from_millis(seconds * 1000)
    }

    fn told(watch: &mut Watch, stats: PoolStats, now: Nanos) -> Vec<String> {
        watch.look(&stats, 10, now).iter().flatten().map(ToString::to_string).collect()
    }

    #[test]
    fn a_low_hit_rate_is_told_once_a_minute_and_only_of_enough() {
        let mut watch = Watch::default();
        let stats = |acquisitions, hits| PoolStats {
            total_acquisitions: acquisitions,
            pool_hits: hits,
            ..PoolStats::default()
        };
        assert!(told(&mut watch, stats(99, 0), seconds(0)).is_empty(), "too few to tell");
        assert_eq!(
            told(&mut watch, stats(100, 79), seconds(1)),
            ["Low pool hit rate: 79% of 100 acquisitions"]
        );
        assert!(
            told(&mut watch, stats(200, 79), seconds(60)).is_empty(),
            "told a minute ago, but for a second"
        );
        assert!(told(&mut watch, stats(300, 159), seconds(62)).is_empty(), "80 of 100 are well");
        assert_eq!(
            told(&mut watch, stats(500, 159), seconds(63)),
            ["Low pool hit rate: 0% of 200 acquisitions"]
        );
    }

    #[test]
    fn nearly_all_in_use_is_told_once_a_minute() {
        let mut watch = Watch::default();
        let stats = |active| PoolStats { active_connections: active, ..PoolStats::default() };
        assert!(told(&mut watch, stats(9), seconds(0)).is_empty());
        assert_eq!(told(&mut watch, stats(10), seconds(0)), ["Pool near capacity: 10/10"]);
        assert!(told(&mut watch, stats(10), seconds(59)).is_empty());
        assert_eq!(told(&mut watch, stats(10), seconds(60)), ["Pool near capacity: 10/10"]);
    }
}
