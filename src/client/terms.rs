//! Settings in the words of the lease core.

use super::config::PoolConfig;
use super::manager::Timeouts;
use crate::breaker::BreakerConfig;
use crate::lease::{AdaptiveTerms, Span, Terms};

impl PoolConfig {
    /// The limits of the one key that a pool of one destination has.
    pub(super) fn terms(&self) -> Terms {
        let adaptive = self.adaptive.as_ref().map(|adaptive| AdaptiveTerms {
            interval: Span::from(adaptive.interval),
            min_acquisitions: u64::from(adaptive.min_acquisitions),
            wait_high: Span::from(adaptive.wait_high),
            grow: adaptive.grow,
            idle_high: adaptive.idle_high,
            shrink: adaptive.shrink,
            ceiling: adaptive.ceiling_for(self.max_size),
        });
        Terms {
            max_size: self.max_size,
            min_size: self.min_size,
            min_idle: self.min_idle,
            max_waiters: self.max_waiters,
            idle_timeout: Span::from(self.idle_timeout),
            max_lifetime: Span::from(self.max_lifetime),
            lifetime_jitter: self.lifetime_jitter,
            max_uses: self.max_uses.unwrap_or(u64::MAX),
            connect_timeout: Span::from(self.connect_timeout),
            validate_after: Span::from(self.validate_after),
            health_check_interval: Span::from(self.health_check_interval),
            leak_threshold: Span::from(self.leak_threshold),
            adaptive,
            // Without a breaker it is tried again and again, with pauses.
            breaker: self.breaker.unwrap_or(BreakerConfig { failures: u32::MAX, ..BreakerConfig::default() }),
        }
    }
}

impl PoolConfig {
    /// For how many connections there is a place in the stack without a lock: as many as there may ever be by these
    /// settings. Those beyond are lent by the lock.
    pub(super) fn places(&self) -> usize {
        let grown = self.adaptive.as_ref().map_or(0, |adaptive| adaptive.ceiling_for(self.max_size));
        self.max_size.max(grown).min(MOST_PLACES) as usize
    }
}

/// More than so many connections of one pool are rare, and each place takes memory from the beginning.
const MOST_PLACES: u32 = 1 << 16;

impl From<&PoolConfig> for Timeouts {
    fn from(config: &PoolConfig) -> Self {
        Self { connect: config.connect_timeout, operation: config.op_timeout }
    }
}
