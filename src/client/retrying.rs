//! An acquire that is tried again: between attempts its thread, or its task, pauses as long as [`Retries`] says, or until the
//! pool is closed.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use super::acquire::{self, Leased};
use super::backend::Backend;
use super::error::{PoolError, in_millis};
use super::future::{Acquire, AcquireOwned};
use super::pauses::Pause;
use super::retry::{Next, Retries, RetryConfig};
use super::shared::Shared;
use crate::clock::Nanos;
use crate::drain::State;
use crate::lease::Want;

/// The future of a lease that is asked for again and again: see
/// [`Pool::acquire_retry_async`](super::Pool::acquire_retry_async).
///
/// It borrows nothing and needs no runtime: the pool wakes it when its pause is over. It may be dropped at any time; then
/// its place in line is given up, and what had been granted goes to the next. It does not keep the pool open.
///
/// ```
/// # use socketpool::{AcquireRetry, Backend, PooledConnection};
/// async fn patient<B: Backend>(lease: AcquireRetry<B>) -> Option<PooledConnection<B>> {
///     lease.await.ok()
/// }
/// ```
#[must_use = "a future does nothing unless it is awaited"]
pub struct AcquireRetry<B: Backend> {
    pool: Arc<Shared<B>>,
    config: RetryConfig,
    place: &'static Location<'static>,
    step: Step<B>,
}

enum Step<B: Backend> {
    NotAsked,
    Asking(Attempts, AcquireOwned<B>),
    Pausing(Attempts, Pause),
    Done,
}

/// What has come of the attempts so far.
struct Attempts {
    retries: Retries,
    begun: Nanos,
}

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

impl Attempts {
    /// None yet.
    fn begin<B: Backend>(pool: &Shared<B>, config: &RetryConfig) -> Result<Self, PoolError<B::Error>> {
        config.validate().map_err(PoolError::Config)?;
        if pool.is_inherited() {
            return Err(PoolError::Closed);
        }
        let begun = pool.now();
        Ok(Self { retries: Retries::new(*config, begun.as_nanos()), begun })
    }

    /// One has failed: until when to pause before the next, or what to tell the caller.
    fn pause_after<B: Backend>(
        &mut self,
        pool: &Shared<B>,
        error: PoolError<B::Error>,
    ) -> Result<Nanos, PoolError<B::Error>> {
        let open_for = match &error {
            PoolError::Closed | PoolError::Config(_) => return Err(error),
            PoolError::Unavailable { until, .. } => Some(*until),
            _ => None,
        };
        let now = pool.now();
        let elapsed = now.since(self.begun);
        let next = self.retries.next(elapsed, open_for, pool.stage.is_starting());
        let attempts = self.retries.attempts();
        let Next::Sleep(delay) = next else {
            return Err(PoolError::RetriesExhausted { attempts, elapsed, last: Box::new(error) });
        };
        log::warn!("Connection attempt {attempts} failed: {error}, retrying in {:?}", in_millis(delay));
        if let Some(kind) = error.kind() {
            pool.lock().count_retry(kind);
        }
        Ok(now + delay)
    }
}

/// Asks for a lease until there is one or the time for it is over.
pub(super) fn acquire<B: Backend>(
    pool: &Arc<Shared<B>>,
    config: &RetryConfig,
    place: &'static Location<'static>,
) -> Leased<B> {
    let mut attempts = Attempts::begin(pool, config)?;
    loop {
        let error = match acquire::acquire(pool, Want::Any, None, place) {
            Ok(lease) => {
                pool.stage.set_running();
                return Ok(lease);
            }
            Err(error) => error,
        };
        let until = attempts.pause_after(pool, error)?;
        let is_closed = |state: State| (state != State::Active).then_some(());
        if pool.wait_until(until, |inner| is_closed(inner.core.drain_state().state())).is_some() {
            return Err(PoolError::Closed);
        }
    }
}

impl<B: Backend> AcquireRetry<B> {
    pub(super) fn new(
        pool: &Arc<Shared<B>>,
        config: &RetryConfig,
        place: &'static Location<'static>,
    ) -> Self {
        Self { pool: Arc::clone(pool), config: *config, place, step: Step::NotAsked }
    }

    fn ask(&self, attempts: Attempts) -> Step<B> {
        Step::Asking(attempts, Acquire::new(&self.pool, Want::Any, None, self.place).into_owned())
    }

    /// What has come of an attempt. With a pause it is not asked again in this poll, however short that is: others of
    /// the executor's have their turn.
    fn end_attempt(
        &mut self,
        mut attempts: Attempts,
        result: Leased<B>,
        context: &Context<'_>,
    ) -> Poll<Leased<B>> {
        let error = match result {
            Ok(lease) => {
                self.pool.stage.set_running();
                return Poll::Ready(Ok(lease));
            }
            Err(error) => error,
        };
        let until = match attempts.pause_after(&self.pool, error) {
            Ok(until) => until,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let waker = context.waker().clone();
        let mut inner = self.pool.lock();
        let pause = inner.pauses.begin(until, waker);
        self.step = Step::Pausing(attempts, pause);
        self.pool.leave(inner);
        Poll::Pending
    }

    /// How a pause stands; if it goes on, `context` is who is woken from now on.
    fn pause(&self, pause: Pause, context: &Context<'_>) -> PauseIs {
        let mut inner = self.pool.lock();
        let state = inner.core.drain_state().state();
        let is_over = pause.is_over(self.pool.now());
        let old = match inner.pauses.waker(pause) {
            Some(waker) if state == State::Active && !is_over => {
                if waker.will_wake(context.waker()) {
                    return PauseIs::GoingOn;
                }
                drop(inner);
                // Wakers are the executor's code, so they are cloned and dropped outside of the lock.
                let new = context.waker().clone();
                let mut inner = self.pool.lock();
                let Some(waker) = inner.pauses.waker(pause) else {
                    drop(inner);
                    return self.pause(pause, context);
                };
                let old = std::mem::replace(waker, new);
                drop(inner);
                drop(old);
                return PauseIs::GoingOn;
            }
            Some(_) | None => inner.pauses.end(pause),
        };
        drop(inner);
        drop(old);
        if state == State::Active { PauseIs::Over } else { PauseIs::OfAClosedPool }
    }
}

/// How a pause stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PauseIs {
    GoingOn,
    Over,
    OfAClosedPool,
}

impl<B: Backend> Future for AcquireRetry<B> {
    type Output = Leased<B>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Leased<B>> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.step, Step::Done) {
                Step::Done => panic!("polled after it was done"),
                Step::NotAsked => this.step = this.ask(Attempts::begin(&this.pool, &this.config)?),
                _ if this.pool.is_inherited() => return Poll::Ready(Err(PoolError::Closed)),
                Step::Asking(attempts, mut acquire) => match Pin::new(&mut acquire).poll(context) {
                    Poll::Ready(result) => return this.end_attempt(attempts, result, context),
                    Poll::Pending => {
                        this.step = Step::Asking(attempts, acquire);
                        return Poll::Pending;
                    }
                },
                Step::Pausing(attempts, pause) => match this.pause(pause, context) {
                    PauseIs::Over => this.step = this.ask(attempts),
                    PauseIs::OfAClosedPool => return Poll::Ready(Err(PoolError::Closed)),
                    PauseIs::GoingOn => {
                        this.step = Step::Pausing(attempts, pause);
                        return Poll::Pending;
                    }
                },
            }
        }
    }
}

impl<B: Backend> Drop for AcquireRetry<B> {
    fn drop(&mut self) {
        if let Step::Pausing(_, pause) = self.step
            && !self.pool.is_inherited()
        {
            let waker = self.pool.lock().pauses.end(pause);
            drop(waker);
        }
    }
}

impl<B: Backend> fmt::Debug for AcquireRetry<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (step, failed) = match &self.step {
            Step::NotAsked => ("not asked", 0),
            Step::Asking(attempts, _) => ("asking", attempts.retries.attempts()),
            Step::Pausing(attempts, _) => ("pausing", attempts.retries.attempts()),
            Step::Done => ("done", 0),
        };
        f.debug_struct("AcquireRetry").field("step", &step).field("failed", &failed).finish_non_exhaustive()
    }
}
