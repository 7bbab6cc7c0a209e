//! How a lease is got: by a thread that waits, by a future, by a function that is called. All three stand in the one line
//! of the core; they differ in how they are woken.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use super::backend::{Backend, tell};
use super::error::PoolError;
use super::guard::PooledConnection;
use super::shared::{Drive, Given, Got, Shared, Wake};
use crate::clock::Nanos;
use crate::lease::{Claim, Failure, Patience, Refusal, SlotId, WaiterId, Want};

/// What somebody ends with who asks for a lease.
pub(super) type Leased<B> = Result<PooledConnection<B>, PoolError<<B as Backend>::Error>>;

/// One who asks for a lease, from the first question to the last.
pub(super) struct Request<B: Backend> {
    pool: Arc<Shared<B>>,
    want: Want,
    /// `None` waits for ever.
    patience: Option<Duration>,
    place: &'static Location<'static>,
    /// When it asked first, as far as it had to wait.
    asked: Option<Nanos>,
}

/// What an attempt came to.
enum Attempt<B: Backend> {
    Leased(PooledConnection<B>),
    Wait(WaiterId),
}

impl<B: Backend> Request<B> {
    pub(super) fn new(
        pool: &Arc<Shared<B>>,
        want: Want,
        patience: Option<Duration>,
        place: &'static Location<'static>,
    ) -> Self {
        Self { pool: Arc::clone(pool), want, patience, place, asked: None }
    }

    /// Waits in this thread.
    pub(super) fn wait(mut self) -> Leased<B> {
        let mut wake = Wake::Nobody;
        let mut broken = None;
        loop {
            if let Wake::Nobody = wake {
                wake = Wake::Thread(thread::current());
            }
            let waiter = match self.attempt(broken.take(), &mut wake)? {
                Attempt::Leased(lease) => return Ok(lease),
                Attempt::Wait(waiter) => waiter,
            };
            let given = self.park(waiter);
            match self.receive(given)? {
                Ok(lease) => return Ok(lease),
                Err(bad) => broken = Some(bad),
            }
        }
    }

    /// Asks once: for what is idle, else for a place in line, in which `wake` stays.
    fn attempt(
        &mut self,
        mut broken: Option<PooledConnection<B>>,
        wake: &mut Wake<B>,
    ) -> Result<Attempt<B>, PoolError<B::Error>> {
        loop {
            let got = self.ask(broken.take(), wake);
            let (slot, connection) = match got {
                Ok(Got::Lease(slot, connection)) => (slot, connection),
                Ok(Got::Wait(waiter)) => return Ok(Attempt::Wait(waiter)),
                Err(refusal) => return Err(self.refused(refusal)),
            };
            match self.look_at(slot, connection) {
                Ok(lease) => return Ok(Attempt::Leased(lease)),
                Err(bad) => broken = Some(bad),
            }
        }
    }

    fn ask(
        &mut self,
        broken: Option<PooledConnection<B>>,
        wake: &mut Wake<B>,
    ) -> Result<Got<B::Connection>, Refusal> {
        let pool = Arc::clone(&self.pool);
        let now = pool.now();
        let asked = *self.asked.get_or_insert(now);
        let patience = match self.patience {
            None => Patience::Endless,
            Some(Duration::ZERO) => Patience::None,
            Some(span) => Patience::Until(asked + span),
        };
        let claim = Claim { want: self.want, patience };
        let mut inner = pool.lock();
        let result = match broken.and_then(PooledConnection::into_parts) {
            Some((slot, connection)) => {
                inner.store(slot, connection);
                inner.core.acquire_again(slot, claim, asked, now)
            }
            None => inner.core.acquire(pool.key, claim, now),
        };
        let got = Shared::settle_acquired(&mut inner, result, wake);
        pool.leave(inner);
        got
    }

    /// Stands in line until something has become of it.
    fn park(&self, waiter: WaiterId) -> Given<B> {
        loop {
            if let Drive::Hand = self.pool.driver() {
                self.pool.do_jobs();
            }
            let mut inner = self.pool.lock();
            if let Some(given) = Shared::outcome(&mut inner, waiter) {
                return given;
            }
            let now = self.pool.now();
            let mut due = self.deadline();
            if let Drive::Hand = self.pool.driver() {
                due = due.min(inner.core.next_deadline());
            }
            if due <= now {
                // Fails this one, unless he has been given something.
                inner.core.tick(now);
                self.pool.leave(inner);
                continue;
            }
            drop(inner);
            thread::park_timeout(due.since(now).min(LONGEST_WAIT));
        }
    }

    fn deadline(&self) -> Nanos {
        match (self.asked, self.patience) {
            (Some(asked), Some(patience)) => asked + patience,
            _ => Nanos::MAX,
        }
    }

    /// What one who waited was given, if it looks as if it worked.
    fn receive(
        &self,
        given: Given<B>,
    ) -> Result<Result<PooledConnection<B>, PooledConnection<B>>, PoolError<B::Error>> {
        match given {
            Ok((slot, connection)) => Ok(self.look_at(slot, connection)),
            Err(failure) => Err(self.failed(failure)),
        }
    }

    fn look_at(
        &self,
        slot: SlotId,
        connection: B::Connection,
    ) -> Result<PooledConnection<B>, PooledConnection<B>> {
        lease(&self.pool, slot, connection, self.place)
    }

    fn refused(&self, refusal: Refusal) -> PoolError<B::Error> {
        match refusal {
            Refusal::Exhausted { in_use, max, waiters } => PoolError::Exhausted { in_use, max, waiters },
            Refusal::Unavailable { until } => self.unavailable(until),
            Refusal::Closed => PoolError::Closed,
        }
    }

    fn failed(&self, failure: Failure) -> PoolError<B::Error> {
        match failure {
            Failure::Timeout { waited_ns } => PoolError::Timeout { waited: Duration::from_nanos(waited_ns) },
            Failure::Connect { waited_ns } => match self.pool.lock().last_error.clone() {
                Some(error) => PoolError::Connect(error),
                None => PoolError::Timeout { waited: Duration::from_nanos(waited_ns) },
            },
            Failure::Unavailable { until } => self.unavailable(until),
            Failure::Closed => PoolError::Closed,
        }
    }

    fn unavailable(&self, until: Nanos) -> PoolError<B::Error> {
        let last = self.pool.lock().last_error.clone();
        PoolError::Unavailable { until: until.since(self.pool.now()), last }
    }
}

/// A lease of what looks as if it worked; what does not comes back.
#[inline]
fn lease<B: Backend>(
    pool: &Arc<Shared<B>>,
    slot: SlotId,
    connection: B::Connection,
    place: &'static Location<'static>,
) -> Result<PooledConnection<B>, PooledConnection<B>> {
    let mut lease = PooledConnection::new(Arc::clone(pool), slot, connection);
    if lease.looks_broken() {
        return Err(lease);
    }
    if pool.config.leak_threshold.is_some() {
        pool.note_place(slot, place);
    }
    Ok(lease)
}

/// What is idle, without waiting and without anything else happening.
#[inline]
pub(super) fn take_idle<B: Backend>(
    pool: &Arc<Shared<B>>,
    place: &'static Location<'static>,
) -> Option<Result<PooledConnection<B>, PooledConnection<B>>> {
    let (slot, connection) = pool.take_idle()?;
    Some(lease(pool, slot, connection, place))
}

/// Asks for a lease in this thread.
#[inline]
pub(super) fn acquire<B: Backend>(
    pool: &Arc<Shared<B>>,
    want: Want,
    patience: Option<Duration>,
    place: &'static Location<'static>,
) -> Leased<B> {
    if pool.is_inherited() {
        return Err(PoolError::Closed);
    }
    if want == Want::Any
        && let Some(Ok(lease)) = take_idle(pool, place)
    {
        return Ok(lease);
    }
    Request::new(pool, want, patience, place).wait()
}

/// Has `function` called with a lease: at once if one is idle, else by a connector thread.
pub(super) fn acquire_with<B: Backend>(
    pool: &Arc<Shared<B>>,
    patience: Option<Duration>,
    place: &'static Location<'static>,
    function: Box<dyn FnOnce(Leased<B>) + Send>,
) {
    if pool.is_inherited() {
        return function(Err(PoolError::Closed));
    }
    go_on(Request::new(pool, Want::Any, patience, place), None, function);
}

/// One more attempt for a function that is to be called.
fn go_on<B: Backend>(
    mut request: Request<B>,
    broken: Option<PooledConnection<B>>,
    function: Box<dyn FnOnce(Leased<B>) + Send>,
) {
    let pool = Arc::clone(&request.pool);
    let (patience, place) = (request.patience, request.place);
    // Whoever is called needs the request again, and only one of the two places gets the function.
    let shelf = Arc::new(std::sync::Mutex::new(Some(function)));
    let later = Arc::clone(&shelf);
    let asked = *request.asked.get_or_insert_with(|| pool.now());
    let callback = move |given: Given<B>| {
        let function = later.lock().ok().and_then(|mut shelf| shelf.take());
        let Some(function) = function else { return };
        let request = Request { pool, want: Want::Any, patience, place, asked: Some(asked) };
        match request.receive(given) {
            Ok(Ok(lease)) => call(function, Ok(lease)),
            Ok(Err(bad)) => go_on(request, Some(bad), Box::new(|result| call(function, result))),
            Err(error) => call(function, Err(error)),
        }
    };
    let mut wake = Wake::Callback(Box::new(callback));
    let result = match request.attempt(broken, &mut wake) {
        Ok(Attempt::Wait(_)) => return,
        Ok(Attempt::Leased(lease)) => Ok(lease),
        Err(error) => Err(error),
    };
    let function = shelf.lock().ok().and_then(|mut shelf| shelf.take());
    if let Some(function) = function {
        function(result);
    }
}

/// Calls a function of the application from a thread that is not its own.
fn call<B: Backend>(function: Box<dyn FnOnce(Leased<B>) + Send>, result: Leased<B>) {
    tell("a function that was given a connection", catch_unwind(AssertUnwindSafe(|| function(result))));
}

/// The future of a lease: see [`Pool::acquire_async`](super::Pool::acquire_async).
///
/// It may be dropped at any time: then the place in line is given up, and what had been granted goes to the next.
///
/// ```
/// # use socketpool::{Backend, Acquire, PooledConnection, PoolError};
/// async fn first<B: Backend>(lease: Acquire<B>) -> Result<PooledConnection<B>, PoolError<B::Error>> {
///     lease.await
/// }
/// ```
#[must_use = "a future does nothing unless it is awaited"]
pub struct Acquire<B: Backend> {
    request: Request<B>,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    NotAsked,
    InLine(WaiterId),
    Done,
}

impl<B: Backend> Acquire<B> {
    pub(super) fn new(
        pool: &Arc<Shared<B>>,
        want: Want,
        patience: Option<Duration>,
        place: &'static Location<'static>,
    ) -> Self {
        Self { request: Request::new(pool, want, patience, place), standing: Standing::NotAsked }
    }

    /// Whether something has become of the waiter; if not, `context` is who is woken from now on.
    fn look(&self, waiter: WaiterId, context: &Context<'_>) -> Option<Given<B>> {
        let pool = &self.request.pool;
        let mut inner = pool.lock();
        if let Some(given) = Shared::outcome(&mut inner, waiter) {
            let old = std::mem::replace(inner.wake(waiter), Wake::Nobody);
            drop(inner);
            drop(old);
            return Some(given);
        }
        if matches!(inner.wake(waiter), Wake::Waker(waker) if waker.will_wake(context.waker())) {
            return None;
        }
        drop(inner);
        // Wakers are the executor's code, so they are cloned and dropped outside of the lock.
        let waker = Wake::Waker(context.waker().clone());
        let mut inner = pool.lock();
        let given = Shared::outcome(&mut inner, waiter);
        let waker = if given.is_some() { Wake::Nobody } else { waker };
        let old = std::mem::replace(inner.wake(waiter), waker);
        drop(inner);
        drop(old);
        given
    }
}

impl<B: Backend> Future for Acquire<B> {
    type Output = Leased<B>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Leased<B>> {
        let this = &mut *self;
        if this.request.pool.is_inherited() {
            this.standing = Standing::Done;
            return Poll::Ready(Err(PoolError::Closed));
        }
        let mut broken = None;
        loop {
            match this.standing {
                Standing::NotAsked => {
                    if broken.is_none()
                        && this.request.want == Want::Any
                        && let Some(Ok(lease)) = take_idle(&this.request.pool, this.request.place)
                    {
                        this.standing = Standing::Done;
                        return Poll::Ready(Ok(lease));
                    }
                    let mut wake = Wake::Waker(context.waker().clone());
                    let attempt = this.request.attempt(broken.take(), &mut wake);
                    this.standing = Standing::Done;
                    match attempt {
                        Ok(Attempt::Leased(lease)) => return Poll::Ready(Ok(lease)),
                        Err(error) => return Poll::Ready(Err(error)),
                        Ok(Attempt::Wait(waiter)) => this.standing = Standing::InLine(waiter),
                    }
                }
                Standing::InLine(waiter) => {
                    let Some(given) = this.look(waiter, context) else { return Poll::Pending };
                    this.standing = Standing::Done;
                    match this.request.receive(given) {
                        Ok(Ok(lease)) => return Poll::Ready(Ok(lease)),
                        Err(error) => return Poll::Ready(Err(error)),
                        Ok(Err(bad)) => {
                            broken = Some(bad);
                            this.standing = Standing::NotAsked;
                        }
                    }
                }
                Standing::Done => panic!("polled after it was done"),
            }
        }
    }
}

impl<B: Backend> Drop for Acquire<B> {
    fn drop(&mut self) {
        let Standing::InLine(waiter) = self.standing else { return };
        let pool = &self.request.pool;
        if pool.is_inherited() {
            return;
        }
        let mut inner = pool.lock();
        inner.core.cancel(waiter, pool.now());
        let wake = std::mem::replace(inner.wake(waiter), Wake::Nobody);
        pool.leave(inner);
        drop(wake);
    }
}

impl<B: Backend> fmt::Debug for Acquire<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").field("standing", &self.standing).finish_non_exhaustive()
    }
}

/// No wait is longer than this without looking.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
