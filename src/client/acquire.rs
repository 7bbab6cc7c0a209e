//! How a lease is got: by a thread that waits, by a future, by a function that is called. All three stand in the one line
//! of the core; they differ in how they are woken.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::backend::{Backend, tell};
use super::error::PoolError;
use super::guard::PooledConnection;
use super::inner::{Given, Got, Lent, Wake};
use super::shared::{Drive, Shared};
use super::sync::thread;
use crate::clock::Nanos;
use crate::lease::{Claim, Failure, Patience, Refusal, WaiterId, Want};

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
        pool: Arc<Shared<B>>,
        want: Want,
        patience: Option<Duration>,
        place: &'static Location<'static>,
    ) -> Self {
        Self { pool, want, patience, place, asked: None }
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
                (lease, Looks::Well) => return Ok(lease),
                (bad, Looks::Broken) => broken = Some(bad),
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
            let lent = match got {
                Ok(Got::Lease(lent)) => lent,
                Ok(Got::Wait(waiter)) => return Ok(Attempt::Wait(waiter)),
                Err(refusal) => return Err(self.refused(refusal)),
            };
            match lease(Arc::clone(&self.pool), lent, self.place) {
                (lease, Looks::Well) => return Ok(Attempt::Leased(lease)),
                (bad, Looks::Broken) => broken = Some(bad),
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
        let mut inner = pool.visit();
        let result = match broken.and_then(PooledConnection::into_lent) {
            Some(lent) => {
                let slot = lent.slot;
                inner.store(lent);
                inner.core.acquire_again(slot, claim, asked, now)
            }
            None => inner.core.acquire(pool.key, claim, now),
        };
        let got = inner.settle(result, wake);
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
            if let Some(given) = inner.outcome(waiter) {
                return given;
            }
            let now = self.pool.now();
            let mut due = self.deadline();
            if let Drive::Hand = self.pool.driver() {
                due = due.min(inner.core.next_deadline());
            }
            if due <= now {
                // Fails this one, unless he has been given something.
                inner.tick(now);
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

    /// What one who waited was given, and how it looks.
    fn receive(&self, given: Given<B>) -> Result<(PooledConnection<B>, Looks), PoolError<B::Error>> {
        match given {
            Ok(lent) => Ok(lease(Arc::clone(&self.pool), lent, self.place)),
            Err(failure) => Err(self.failed(failure)),
        }
    }

    /// Leaves the line; what had been granted goes to the next.
    #[cold]
    #[inline(never)]
    fn give_up(&self, waiter: WaiterId) {
        if self.pool.is_inherited() {
            return;
        }
        let mut inner = self.pool.visit();
        inner.core.cancel(waiter, self.pool.now());
        let wake = std::mem::replace(inner.wake(waiter), Wake::Nobody);
        self.pool.leave(inner);
        drop(wake);
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

/// Makes a lease of what was lent and looks at it: whether it works is the second half of the answer.
#[inline(always)]
fn lease<B: Backend>(
    pool: Arc<Shared<B>>,
    lent: Lent<B::Connection>,
    place: &'static Location<'static>,
) -> (PooledConnection<B>, Looks) {
    let slot = lent.slot;
    let mut lease = PooledConnection::new(pool, lent);
    if lease.looks_broken() {
        return (lease, Looks::Broken);
    }
    if lease.pool().config.leak_threshold.is_some() {
        lease.pool().note_place(slot, place);
    }
    (lease, Looks::Well)
}

/// How a connection looks that was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    Well,
    Broken,
}

/// What is idle and works, without waiting. One that does not work is closed.
#[inline(always)]
fn take_idle<B: Backend>(
    pool: &Arc<Shared<B>>,
    want: Want,
    place: &'static Location<'static>,
) -> Option<PooledConnection<B>> {
    if want == Want::New {
        return None;
    }
    let lent = pool.take_idle()?;
    match lease(Arc::clone(pool), lent, place) {
        (lease, Looks::Well) => Some(lease),
        (bad, Looks::Broken) => {
            // Nobody waited when this one was idle, so nobody is passed by asking again.
            bad.discard();
            None
        }
    }
}

/// Asks for a lease in this thread, with the pool's patience unless there is another.
#[inline(always)]
pub(super) fn acquire<B: Backend>(
    pool: &Arc<Shared<B>>,
    want: Want,
    patience: Option<Duration>,
    place: &'static Location<'static>,
) -> Leased<B> {
    if pool.is_inherited() {
        return Err(PoolError::Closed);
    }
    if log::log_enabled!(log::Level::Debug) {
        return acquire_and_log(pool, want, patience, place);
    }
    match take_idle(pool, want, place) {
        Some(lease) => Ok(lease),
        None => acquire_slowly(pool, want, patience, place),
    }
}

/// The same, with what there was before and what came of it in the log.
#[cold]
#[inline(never)]
fn acquire_and_log<B: Backend>(
    pool: &Arc<Shared<B>>,
    want: Want,
    patience: Option<Duration>,
    place: &'static Location<'static>,
) -> Leased<B> {
    let begun = log_before(pool);
    let result = match take_idle(pool, want, place) {
        Some(lease) => Ok(lease),
        None => acquire_slowly(pool, want, patience, place),
    };
    log_after(pool, begun, &result);
    result
}

/// Says in the log how the pool stands when somebody asks, and when that is.
fn log_before<B: Backend>(pool: &Arc<Shared<B>>) -> Nanos {
    let stats = pool.stats();
    let (available, in_use) = (stats.idle_connections, stats.active_connections);
    log::debug!("Acquiring connection: available={available} in_use={in_use}");
    pool.now()
}

fn log_after<B: Backend>(pool: &Arc<Shared<B>>, begun: Nanos, result: &Leased<B>) {
    let (success, duration) = (result.is_ok(), pool.now().since(begun));
    log::debug!("Connection acquire complete: success={success} duration={duration:?}");
}

#[cold]
#[inline(never)]
fn acquire_slowly<B: Backend>(
    pool: &Arc<Shared<B>>,
    want: Want,
    patience: Option<Duration>,
    place: &'static Location<'static>,
) -> Leased<B> {
    let patience = patience.or(pool.config.acquire_timeout);
    Request::new(Arc::clone(pool), want, patience, place).wait()
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
    go_on(Request::new(Arc::clone(pool), Want::Any, patience, place), None, function);
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
            Ok((lease, Looks::Well)) => call(function, Ok(lease)),
            Ok((bad, Looks::Broken)) => {
                go_on(request, Some(bad), Box::new(|result| call(function, result)));
            }
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
/// async fn first<B: Backend>(lease: Acquire<'_, B>) -> Result<PooledConnection<B>, PoolError<B::Error>> {
///     lease.await
/// }
/// ```
#[must_use = "a future does nothing unless it is awaited"]
pub struct Acquire<'a, B: Backend> {
    pool: Whose<'a, B>,
    standing: Standing<B>,
    want: Want,
    /// The pool's own if there is none.
    patience: Option<Duration>,
    place: &'static Location<'static>,
}

/// The pool that is asked.
enum Whose<'a, B: Backend> {
    Lent(&'a Arc<Shared<B>>),
    Own(Arc<Shared<B>>),
}

impl<B: Backend> Whose<'_, B> {
    #[inline(always)]
    fn get(&self) -> &Arc<Shared<B>> {
        match self {
            Self::Lent(pool) => pool,
            Self::Own(pool) => pool,
        }
    }
}

enum Standing<B: Backend> {
    NotAsked,
    InLine(Request<B>, WaiterId),
    Done,
}

impl<'a, B: Backend> Acquire<'a, B> {
    #[inline]
    pub(super) fn new(
        pool: &'a Arc<Shared<B>>,
        want: Want,
        patience: Option<Duration>,
        place: &'static Location<'static>,
    ) -> Self {
        Self { pool: Whose::Lent(pool), standing: Standing::NotAsked, want, patience, place }
    }

    /// The same future with a share in the pool in place of the borrow: for a task or a struct that outlives the handle
    /// it came from. It keeps its place in line. It does not keep the pool open: when the last handle is dropped it
    /// ends with [`PoolError::Closed`].
    ///
    /// ```
    /// # use socketpool::{Acquire, Backend, Pool};
    /// fn apart<B: Backend>(pool: &Pool<B>) -> Acquire<'static, B> {
    ///     pool.acquire_async().into_owned()
    /// }
    /// ```
    pub fn into_owned(mut self) -> Acquire<'static, B> {
        let pool = Whose::Own(Arc::clone(self.pool.get()));
        let standing = std::mem::replace(&mut self.standing, Standing::Done);
        Acquire { pool, standing, want: self.want, patience: self.patience, place: self.place }
    }

    #[inline(always)]
    fn poll_quietly(&mut self, context: &Context<'_>) -> Poll<Leased<B>> {
        match std::mem::replace(&mut self.standing, Standing::Done) {
            Standing::Done => panic!("polled after it was done"),
            _ if self.pool.get().is_inherited() => return Poll::Ready(Err(PoolError::Closed)),
            Standing::InLine(request, waiter) => return self.look(request, waiter, context),
            Standing::NotAsked => {}
        }
        if let Some(lease) = take_idle(self.pool.get(), self.want, self.place) {
            return Poll::Ready(Ok(lease));
        }
        let pool = Arc::clone(self.pool.get());
        let patience = self.patience.or(pool.config.acquire_timeout);
        let request = Request { pool, want: self.want, patience, place: self.place, asked: None };
        self.stand_in_line(request, None, context)
    }

    /// Polls, with the beginning and the end in the log.
    #[cold]
    #[inline(never)]
    fn poll_and_log(&mut self, context: &Context<'_>) -> Poll<Leased<B>> {
        let begun = match &self.standing {
            Standing::NotAsked if !self.pool.get().is_inherited() => log_before(self.pool.get()),
            Standing::InLine(request, _) => request.asked.unwrap_or_default(),
            Standing::NotAsked | Standing::Done => return self.poll_quietly(context),
        };
        let poll = self.poll_quietly(context);
        if let Poll::Ready(result) = &poll {
            log_after(self.pool.get(), begun, result);
        }
        poll
    }

    /// Asks for a place in line, if need be again with what did not work.
    #[cold]
    #[inline(never)]
    fn stand_in_line(
        &mut self,
        mut request: Request<B>,
        broken: Option<PooledConnection<B>>,
        context: &Context<'_>,
    ) -> Poll<Leased<B>> {
        let mut wake = Wake::Waker(context.waker().clone());
        match request.attempt(broken, &mut wake) {
            Ok(Attempt::Leased(lease)) => Poll::Ready(Ok(lease)),
            Err(error) => Poll::Ready(Err(error)),
            Ok(Attempt::Wait(waiter)) => {
                self.standing = Standing::InLine(request, waiter);
                Poll::Pending
            }
        }
    }

    /// Sees what has become of one who stands in line.
    #[inline(never)]
    fn look(&mut self, request: Request<B>, waiter: WaiterId, context: &Context<'_>) -> Poll<Leased<B>> {
        let Some(given) = request.outcome_or_wait(waiter, context) else {
            self.standing = Standing::InLine(request, waiter);
            return Poll::Pending;
        };
        match request.receive(given) {
            Ok((lease, Looks::Well)) => Poll::Ready(Ok(lease)),
            Ok((bad, Looks::Broken)) => self.stand_in_line(request, Some(bad), context),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<B: Backend> Request<B> {
    /// What has become of a waiter; if nothing yet, `context` is who is woken from now on.
    fn outcome_or_wait(&self, waiter: WaiterId, context: &Context<'_>) -> Option<Given<B>> {
        let mut inner = self.pool.lock();
        if let Some(given) = inner.outcome(waiter) {
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
        let mut inner = self.pool.lock();
        let given = inner.outcome(waiter);
        let waker = if given.is_some() { Wake::Nobody } else { waker };
        let old = std::mem::replace(inner.wake(waiter), waker);
        drop(inner);
        drop(old);
        given
    }
}

impl<B: Backend> Future for Acquire<'_, B> {
    type Output = Leased<B>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Leased<B>> {
        if log::log_enabled!(log::Level::Debug) {
            return self.poll_and_log(context);
        }
        self.poll_quietly(context)
    }
}

impl<B: Backend> Drop for Acquire<'_, B> {
    #[inline]
    fn drop(&mut self) {
        if let Standing::InLine(request, waiter) = &self.standing {
            request.give_up(*waiter);
        }
    }
}

impl<B: Backend> fmt::Debug for Acquire<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = match self.standing {
            Standing::NotAsked => "not asked",
            Standing::InLine(..) => "in line",
            Standing::Done => "done",
        };
        f.debug_struct("Acquire").field("standing", &standing).finish_non_exhaustive()
    }
}

/// No wait is longer than this without looking.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
