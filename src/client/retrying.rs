//! An acquire that is tried again: between attempts its thread waits as long as [`Retries`] says, or until the pool is
//! closed.

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::acquire::{self, Leased};
use super::backend::Backend;
use super::error::PoolError;
use super::retry::{Next, Retries, RetryConfig};
use super::shared::Shared;
use crate::drain::State;
use crate::lease::Want;

/// Whether the program that a pool belongs to is only starting.
#[derive(Debug)]
pub(super) struct Stage(AtomicU8);

/// What a [`Stage`] may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StageIs {
    /// Nothing limits how often an acquire is tried again.
    Starting,
    Running,
}

impl Stage {
    pub(super) const fn new(stage: StageIs) -> Self {
        Self(AtomicU8::new(stage as u8))
    }

    pub(super) fn set_running(&self) {
        self.0.store(StageIs::Running as u8, Ordering::Relaxed);
    }

    fn is_starting(&self) -> bool {
        self.0.load(Ordering::Relaxed) == StageIs::Starting as u8
    }
}

/// Asks for a lease until there is one or the time for it is over.
pub(super) fn acquire<B: Backend>(
    pool: &Arc<Shared<B>>,
    config: &RetryConfig,
    place: &'static Location<'static>,
) -> Leased<B> {
    config.validate().map_err(PoolError::Config)?;
    if pool.is_inherited() {
        return Err(PoolError::Closed);
    }
    let begun = pool.now();
    let mut retries = Retries::new(*config, begun.as_nanos());
    loop {
        let error = match acquire::acquire(pool, Want::Any, None, place) {
            Ok(lease) => {
                pool.stage.set_running();
                return Ok(lease);
            }
            Err(error @ (PoolError::Closed | PoolError::Config(_))) => return Err(error),
            Err(error) => error,
        };
        let open_for = match &error {
            PoolError::Unavailable { until, .. } => Some(*until),
            _ => None,
        };
        let now = pool.now();
        let elapsed = now.since(begun);
        let Next::Sleep(delay) = retries.next(elapsed, open_for, pool.stage.is_starting()) else {
            let attempts = retries.attempts();
            return Err(PoolError::RetriesExhausted { attempts, elapsed, last: Box::new(error) });
        };
        log::warn!("Connection attempt {} failed: {error}, retrying in {delay:?}", retries.attempts());
        if let Some(kind) = error.kind() {
            pool.lock().count_retry(kind);
        }
        let is_closed = |state: State| (state != State::Active).then_some(());
        if pool.wait_until(now + delay, |inner| is_closed(inner.core.drain_state().state())).is_some() {
            return Err(PoolError::Closed);
        }
    }
}
