//! What holds for a key, in the units of the core: nanoseconds, and the largest number for "never".

use std::time::Duration;

use super::adaptive::AdaptiveTerms;
use crate::breaker::BreakerConfig;
use crate::clock::{Nanos, span_nanos};

/// A span of time; [`Span::NEVER`] is longer than any clock runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(u64);

impl Span {
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// The point of time this long after `from`.
    #[inline]
    pub(crate) const fn after(self, from: Nanos) -> Nanos {
        Nanos::new(from.as_nanos().saturating_add(self.0))
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }
}

impl From<Duration> for Span {
    fn from(span: Duration) -> Self {
        Self(span_nanos(span))
    }
}

impl From<Option<Duration>> for Span {
    fn from(span: Option<Duration>) -> Self {
        span.map_or(Self::NEVER, Self::from)
    }
}

/// The limits of one key.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Most resources, those that are being made or closed included.
    pub(crate) max_size: u32,
    /// How many are kept, idle or in use.
    pub(crate) min_size: u32,
    /// How many idle ones are kept.
    pub(crate) min_idle: u32,
    /// Most who may stand in line.
    pub(crate) max_waiters: u32,
    pub(crate) idle_timeout: Span,
    pub(crate) max_lifetime: Span,
    /// By which share of it, at most, a lifetime is shorter: drawn for each.
    pub(crate) lifetime_jitter: f64,
    /// Leases a resource serves.
    pub(crate) max_uses: u64,
    /// How long a connect, a validation or a close may take.
    pub(crate) connect_timeout: Span,
    /// How long after its last use a resource is handed out without being validated.
    pub(crate) validate_after: Span,
    pub(crate) health_check_interval: Span,
    /// How long a lease may last before it is told.
    pub(crate) leak_threshold: Span,
    pub(crate) adaptive: Option<AdaptiveTerms>,
    pub(crate) breaker: BreakerConfig,
}

impl Terms {
    /// How long a resource lives, for a `share` from 0 to 1 that was drawn for it.
    pub(super) fn lifetime(&self, share: f64) -> Span {
        match self.max_lifetime {
            Span::NEVER => Span::NEVER,
            Span(nanos) => Span(nanos - (nanos as f64 * self.lifetime_jitter * share) as u64),
        }
    }

    /// How often it is looked for leases that last too long: often enough that none is told of later than a quarter too late.
    pub(super) fn leak_check_interval(&self) -> Span {
        match self.leak_threshold {
            Span::NEVER => Span::NEVER,
            Span(threshold) => Span((threshold / 4).max(SHORTEST_CHECK_NS)),
        }
    }
}

const SHORTEST_CHECK_NS: u64 = 1_000_000;
