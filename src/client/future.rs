//! A lease as a future: of any executor, or of none. It stands in line from its first poll on, and leaves the line when it is
//! dropped.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::acquire::{Attempt, Leased, Received, Request, give_up, log_after, log_before, take_idle};
use super::backend::Backend;
use super::error::PoolError;
use super::guard::PooledConnection;
use super::inner::Wake;
use super::seat::{Call, Seat};
use super::shared::Shared;
use crate::lease::{WaiterId, Want};

/// The future of a lease: see [`Pool::acquire_async`](super::Pool::acquire_async).
///
/// It may be dropped at any time: then the place in line is given up, and what had been granted goes to the next. One that is
/// forgotten (`mem::forget`) keeps its place, and in the end a connection, as a forgotten lease does.
///
/// ```
/// # use socketpool::{Backend, Acquire, PooledConnection, PoolError};
/// async fn first<B: Backend>(lease: Acquire<'_, B>) -> Result<PooledConnection<B>, PoolError<B::Error>> {
///     lease.await
/// }
/// ```
#[must_use = "a future does nothing unless it is awaited"]
pub struct Acquire<'a, B: Backend> {
    pool: &'a Arc<Shared<B>>,
    asking: Asking<B>,
}

/// The future of a lease that borrows nothing: see [`Acquire::into_owned`].
///
/// ```
/// # use socketpool::{AcquireOwned, Backend, Pool};
/// struct Client<B: Backend> {
///     lease: AcquireOwned<B>,
/// }
///
/// fn begin<B: Backend>(pool: &Pool<B>) -> Client<B> {
///     Client { lease: pool.acquire_async().into_owned() }
/// }
/// ```
#[must_use = "a future does nothing unless it is awaited"]
pub struct AcquireOwned<B: Backend> {
    pool: Arc<Shared<B>>,
    asking: Asking<B>,
}

/// What both know beside their pool.
struct Asking<B: Backend> {
    standing: Standing<B>,
    /// With the pool's own patience if it has none, from the first question on.
    request: Request,
}

enum Standing<B: Backend> {
    NotAsked,
    InLine(WaiterId, Arc<Seat<B>>),
    Done,
}

impl<'a, B: Backend> Acquire<'a, B> {
    #[inline]
    pub(super) const fn new(
        pool: &'a Arc<Shared<B>>,
        want: Want,
        patience: Option<Duration>,
        at: &'static Location<'static>,
    ) -> Self {
        Self {
            pool,
            asking: Asking { standing: Standing::NotAsked, request: Request::new(want, patience, at) },
        }
    }

    /// The same future with a share in the pool in place of the borrow: for a task or a struct that outlives the handle
    /// it came from. It keeps its place in line. It does not keep the pool open: when the last handle is dropped it
    /// ends with [`PoolError::Closed`].
    ///
    /// The example of [`AcquireOwned`] does this.
    ///
    /// ```
    /// # use socketpool::{AcquireOwned, Backend, Pool};
    /// fn apart<B: Backend>(pool: &Pool<B>) -> AcquireOwned<B> {
    ///     pool.acquire_async().into_owned()
    /// }
    /// ```
    pub fn into_owned(mut self) -> AcquireOwned<B> {
        let standing = std::mem::replace(&mut self.asking.standing, Standing::Done);
        AcquireOwned {
            pool: Arc::clone(self.pool),
            asking: Asking { standing, request: self.asking.request },
        }
    }
}

impl<B: Backend> Asking<B> {
    /// Here and in the next, results are taken apart and put together again, so that what is at hand need not lie where
    /// functions that are called write theirs.
    #[inline(always)]
    fn poll(&mut self, pool: &Arc<Shared<B>>, context: &Context<'_>) -> Poll<Leased<B>> {
        if log::log_enabled!(log::Level::Debug) {
            return Poll::Ready(Ok(ready!(self.poll_and_log(pool, context))?));
        }
        self.poll_quietly(pool, context)
    }

    #[inline(always)]
    fn poll_quietly(&mut self, pool: &Arc<Shared<B>>, context: &Context<'_>) -> Poll<Leased<B>> {
        if !matches!(self.standing, Standing::NotAsked) || pool.is_inherited() {
            return Poll::Ready(Ok(ready!(self.go_on(pool, context))?));
        }
        self.standing = Standing::Done;
        let lease = match take_idle(pool, self.request.want, self.request.at) {
            Some(lease) => lease,
            None => ready!(self.ask(pool, context))?,
        };
        Poll::Ready(Ok(lease))
    }

    /// Polls one that stands in line, or that can have nothing.
    #[inline(never)]
    fn go_on(&mut self, pool: &Arc<Shared<B>>, context: &Context<'_>) -> Poll<Leased<B>> {
        match &self.standing {
            Standing::Done => panic!("polled after it was done"),
            _ if pool.is_inherited() => {
                self.give_up(pool);
                Poll::Ready(Err(PoolError::Closed))
            }
            // It is in line until there is an outcome: the waker may panic, and then the place is given up.
            Standing::InLine(_, seat) => {
                let given = ready!(seat.poll(context));
                self.standing = Standing::Done;
                match self.request.receive(pool, given) {
                    Ok(Received::Lease(lease)) => Poll::Ready(Ok(lease)),
                    Ok(Received::Broken(bad)) => self.stand_in_line(pool, Some(bad), context),
                    Err(error) => Poll::Ready(Err(error)),
                }
            }
            Standing::NotAsked => {
                self.standing = Standing::Done;
                self.ask(pool, context)
            }
        }
    }

    /// Asks the pool for the first time.
    #[cold]
    #[inline(never)]
    fn ask(&mut self, pool: &Arc<Shared<B>>, context: &Context<'_>) -> Poll<Leased<B>> {
        self.request.patience = self.request.patience.or(pool.config.acquire_timeout);
        self.stand_in_line(pool, None, context)
    }

    /// Polls, with the beginning and the end in the log.
    #[cold]
    #[inline(never)]
    fn poll_and_log(&mut self, pool: &Arc<Shared<B>>, context: &Context<'_>) -> Poll<Leased<B>> {
        let begun = match &self.standing {
            Standing::NotAsked if !pool.is_inherited() => log_before(pool),
            Standing::InLine(..) => self.request.asked.unwrap_or_default(),
            Standing::NotAsked | Standing::Done => return self.poll_quietly(pool, context),
        };
        let poll = self.poll_quietly(pool, context);
        if let Poll::Ready(result) = &poll {
            log_after(pool, begun, result);
        }
        poll
    }

    /// Asks for a place in line, if need be again with what did not work.
    fn stand_in_line(
        &mut self,
        pool: &Arc<Shared<B>>,
        broken: Option<PooledConnection<B>>,
        context: &Context<'_>,
    ) -> Poll<Leased<B>> {
        let seat = Seat::new(Call::Waker(context.waker().clone()));
        match self.request.attempt(pool, broken, &mut Wake::Task(Arc::clone(&seat))) {
            Ok(Attempt::Leased(lease)) => Poll::Ready(Ok(lease)),
            Err(error) => Poll::Ready(Err(error)),
            Ok(Attempt::Wait(waiter)) => {
                self.standing = Standing::InLine(waiter, seat);
                Poll::Pending
            }
        }
    }

    #[inline(always)]
    fn is_in_line(&self) -> bool {
        matches!(self.standing, Standing::InLine(..))
    }

    /// Leaves the line, if it stands there.
    #[cold]
    #[inline(never)]
    fn give_up(&mut self, pool: &Arc<Shared<B>>) {
        if let Standing::InLine(waiter, seat) = std::mem::replace(&mut self.standing, Standing::Done) {
            give_up(pool, waiter, seat);
        }
    }
}

impl<B: Backend> Future for Acquire<'_, B> {
    type Output = Leased<B>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Leased<B>> {
        let Self { pool, asking } = &mut *self;
        asking.poll(pool, context)
    }
}

impl<B: Backend> Future for AcquireOwned<B> {
    type Output = Leased<B>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Leased<B>> {
        let Self { pool, asking } = &mut *self;
        asking.poll(pool, context)
    }
}

impl<B: Backend> Drop for Acquire<'_, B> {
    #[inline]
    fn drop(&mut self) {
        if self.asking.is_in_line() {
            self.asking.give_up(self.pool);
        }
    }
}

impl<B: Backend> Drop for AcquireOwned<B> {
    #[inline]
    fn drop(&mut self) {
        if self.asking.is_in_line() {
            self.asking.give_up(&self.pool);
        }
    }
}

impl<B: Backend> fmt::Debug for Acquire<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").field("standing", &self.asking.standing.as_str()).finish_non_exhaustive()
    }
}

impl<B: Backend> fmt::Debug for AcquireOwned<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireOwned")
            .field("standing", &self.asking.standing.as_str())
            .finish_non_exhaustive()
    }
}

impl<B: Backend> Standing<B> {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::NotAsked => "not asked",
            Self::InLine(..) => "in line",
            Self::Done => "done",
        }
    }
}
