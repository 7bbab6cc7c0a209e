//! The limits on rates in the form in which they are checked, made of the configuration once: whose tokens an operation
//! takes, and what bytes may leave. Says what may pass and when; what happens otherwise is the core's to decide.

use std::time::Duration;

use super::config::{Config, OverRate};
use super::reap;
use crate::bucket::{Bucket, ByteBucket, Level, Moment, check_both};
use crate::clock::Nanos;
use crate::connection::Record;

/// Limits in the form in which they are checked.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) operation: Option<Bucket>,
    pub(super) pool_operation: Option<Bucket>,
    pub(super) received: Option<ByteBucket>,
    pub(super) sent: Option<ByteBucket>,
    pub(super) enforced: bool,
    /// What all buffers may hold.
    pub(super) most_buffer_bytes: usize,
    /// How long after its accept the earliest deadline of a connection can be.
    pub(super) first_look: Duration,
}

impl Policy {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            operation: config.operation_rate.map(Bucket::new),
            pool_operation: config.pool_operation_rate.map(Bucket::new),
            received: config.received_rate.map(ByteBucket::new),
            sent: config.sent_rate.map(ByteBucket::new),
            enforced: config.over_rate != OverRate::Ask
                && (config.operation_rate.is_some() || config.pool_operation_rate.is_some()),
            most_buffer_bytes: config.max_buffer_bytes.unwrap_or(usize::MAX),
            first_look: reap::earliest_deadline(config),
        }
    }

    /// Takes a token from the connection's bucket and from the pool's, or from neither.
    #[inline]
    pub(super) fn check<S, U>(&self, record: &Record<S, U>, pool: &Level, now: Moment) -> Result<(), Nanos> {
        let own = self.operation.as_ref().map(|bucket| (bucket, &record.level));
        let pool = self.pool_operation.as_ref().map(|bucket| (bucket, pool));
        check_both(own, pool, now)
    }

    /// When the connection's own rate allows an operation.
    pub(super) fn ready_at<S, U>(&self, record: &Record<S, U>, now: Moment) -> Nanos {
        self.operation.as_ref().map_or(Nanos::ZERO, |bucket| bucket.ready_at(&record.level, now))
    }

    /// Whether the byte rate lets `len` bytes go at once.
    #[inline]
    pub(super) fn lets_out<S, U>(&self, record: &Record<S, U>, len: usize, now: Moment) -> bool {
        self.sent.as_ref().is_none_or(|bucket| bucket.allowance(&record.sent_level, now) >= len as u64)
    }

    /// Takes a token of the connection's own, there or not. If not, the error says from when on it counts.
    #[inline]
    pub(super) fn reserve<S, U>(&self, record: &Record<S, U>, now: Moment) -> Result<(), Nanos> {
        self.operation.as_ref().map_or(Ok(()), |bucket| bucket.reserve(&record.level, now))
    }

    /// What was reserved is used now.
    pub(super) fn use_late<S, U>(&self, record: &Record<S, U>, now: Moment) {
        if let Some(bucket) = &self.operation {
            bucket.use_late(&record.level, now);
        }
    }

    /// Takes a token from the pool, there or not.
    pub(super) fn take_ahead(&self, pool: &Level, now: Moment) {
        if let Some(bucket) = &self.pool_operation {
            // Whoever stands in line waits for it.
            let _ = bucket.reserve(pool, now);
        }
    }

    /// Levels that were reached under another policy mean no more than an empty bucket under this one.
    pub(super) fn forgive<S, U>(&self, record: &Record<S, U>, now: Moment) {
        if let Some(bucket) = &self.operation {
            bucket.forgive(&record.level, now);
        }
    }

    pub(super) fn give_back<S, U>(&self, record: &Record<S, U>) {
        if let Some(bucket) = &self.operation {
            bucket.give_back(&record.level);
        }
    }
}
