//! What takes its time: a warm-up, a round of checks, a drain. It is begun, and waited for by a thread or by a future until
//! it has come to its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::backend::Backend;
use super::error::PoolError;
use super::inner::Inner;
use super::pauses::Pause;
use super::shared::Shared;
use crate::clock::Nanos;
use crate::drain::State;

/// How it begins, which waits for nothing, and what has come of it.
impl<B: Backend> Shared<B> {
    /// How many warm-ups were over before this one.
    pub(super) fn begin_warming(self: &Arc<Self>) -> Result<u64, PoolError<B::Error>> {
        if self.state() != State::Active {
            return Err(PoolError::Closed);
        }
        let now = self.now();
        let mut inner = self.visit();
        let before = inner.over.warms;
        inner.core.warm(self.key, u32::MAX, 0, now);
        self.leave(inner);
        Ok(before)
    }

    /// After that many connects have failed; `None` in a child of the pool's process.
    pub(super) fn end_warming(&self, failed: Option<u32>) -> Result<(), PoolError<B::Error>> {
        match failed {
            Some(0) => Ok(()),
            Some(_) => Err(self.lock().last_error.clone().map_or(PoolError::Closed, PoolError::Connect)),
            None => Err(PoolError::Closed),
        }
    }

    /// How many rounds were over before this one; `None` in a child of the pool's process.
    pub(super) fn begin_checking(self: &Arc<Self>) -> Option<u64> {
        if self.is_inherited() {
            return None;
        }
        let now = self.now();
        let mut inner = self.visit();
        let before = inner.over.checks;
        inner.core.check(self.key, now);
        self.leave(inner);
        Some(before)
    }

    /// Says when the time for it is over.
    pub(super) fn begin_drain(self: &Arc<Self>, within: Duration) -> Nanos {
        if self.is_inherited() {
            return Nanos::ZERO;
        }
        let now = self.now();
        let deadline = now + within;
        let mut inner = self.visit();
        inner.core.begin_drain(deadline, now);
        self.leave(inner);
        self.tell_all();
        deadline
    }

    pub(super) fn end_drain(self: &Arc<Self>, deadline: Nanos) -> State {
        if self.is_inherited() {
            return State::Drained;
        }
        self.wait_until(deadline, is_drained).unwrap_or_else(|| self.give_up_drain())
    }

    pub(super) async fn end_drain_async(self: Arc<Self>, deadline: Nanos) -> State {
        let drained = Settling::new(Arc::clone(&self), deadline, is_drained).await;
        drained.unwrap_or_else(|| self.give_up_drain())
    }

    fn give_up_drain(self: &Arc<Self>) -> State {
        self.close();
        self.state()
    }
}

fn is_drained<B: Backend>(inner: &mut Inner<B>) -> Option<State> {
    Some(inner.core.drain_state().state()).filter(|state| *state == State::Drained)
}

/// What `is_over` says of the pool when it says something; `None` at `until`, and in a child of the pool's process. What
/// [`Shared::wait_until`] is for threads.
pub(super) struct Settling<B: Backend, F> {
    pool: Arc<Shared<B>>,
    until: Nanos,
    is_over: F,
    /// Who is woken now.
    watcher: Option<Pause>,
}

impl<B: Backend, T, F: FnMut(&mut Inner<B>) -> Option<T> + Unpin> Settling<B, F> {
    pub(super) const fn new(pool: Arc<Shared<B>>, until: Nanos, is_over: F) -> Self {
        Self { pool, until, is_over, watcher: None }
    }
}

impl<B: Backend, T, F: FnMut(&mut Inner<B>) -> Option<T> + Unpin> Future for Settling<B, F> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let Self { pool, until, is_over, watcher } = &mut *self;
        if pool.is_inherited() {
            return Poll::Ready(None);
        }
        // Wakers are the executor's code, so they are cloned and dropped outside of the lock.
        let waker = context.waker().clone();
        let mut inner = pool.lock();
        let old = watcher.take().and_then(|watcher| inner.watchers.end(watcher));
        let poll = match is_over(&mut inner) {
            Some(result) => Poll::Ready(Some(result)),
            None if pool.now() >= *until => Poll::Ready(None),
            None => {
                *watcher = Some(inner.watchers.begin(*until, waker));
                Poll::Pending
            }
        };
        pool.leave(inner);
        drop(old);
        poll
    }
}

impl<B: Backend, F> Drop for Settling<B, F> {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher
            && !self.pool.is_inherited()
        {
            let waker = self.pool.lock().watchers.end(watcher);
            drop(waker);
        }
    }
}
