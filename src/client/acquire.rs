//! How a lease is got: by a thread that waits, by a future, by a function that is called. All three stand in the one line
//! of the core; they differ in how they are woken.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::backend::{Backend, tell};
use super::error::PoolError;
use super::guard::{PooledConnection, looks_broken};
use super::inner::{Given, Got, Granted, Lent, Wake};
use super::pace::LOOK_FOR;
use super::seat::{Call, Seat, Sitting};
use super::shared::{Drive, Held, Shared};
use super::slots::{Parked, Place};
use super::sync::thread;
use crate::clock::Nanos;
use crate::lease::{Claim, Failure, Patience, Refusal, SlotId, WaiterId, Want};

/// What somebody ends with who asks for a lease.
pub(super) type Leased<B> = Result<PooledConnection<B>, PoolError<<B as Backend>::Error>>;

/// What somebody asks for, from the first question to the last.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) want: Want,
    /// `None` waits for ever.
    pub(super) patience: Option<Duration>,
    pub(super) at: &'static Location<'static>,
    /// When it was asked first, as far as that had to be known.
    pub(super) asked: Option<Nanos>,
}

/// What an attempt came to.
pub(super) enum Attempt<B: Backend> {
    Leased(PooledConnection<B>),
    Wait(WaiterId),
}

/// What one who waited has got.
pub(super) enum Received<B: Backend> {
    Lease(PooledConnection<B>),
    /// He asks again.
    Broken(PooledConnection<B>),
}

impl Request {
    pub(super) const fn new(want: Want, patience: Option<Duration>, at: &'static Location<'static>) -> Self {
        Self { want, patience, at, asked: None }
    }

    /// Waits in this thread.
    fn wait<B: Backend>(mut self, pool: &Arc<Shared<B>>) -> Leased<B> {
        let mut broken = None;
        loop {
            let seat = Seat::new(Call::Thread(thread::current()));
            let waiter = match self.attempt(pool, broken.take(), &mut Wake::Thread(Arc::clone(&seat)))? {
                Attempt::Leased(lease) => return Ok(lease),
                Attempt::Wait(waiter) => waiter,
            };
            let given = InLine { pool, waiter, seat: Some(seat) }.wait(|seat| self.park(pool, waiter, seat));
            match self.receive(pool, given)? {
                Received::Lease(lease) => return Ok(lease),
                Received::Broken(bad) => broken = Some(bad),
            }
        }
    }

    /// Asks once: for what is idle, else for a place in line, in which `wake` stays.
    pub(super) fn attempt<B: Backend>(
        &mut self,
        pool: &Arc<Shared<B>>,
        mut broken: Option<PooledConnection<B>>,
        wake: &mut Wake<B>,
    ) -> Result<Attempt<B>, PoolError<B::Error>> {
        loop {
            let lent = match self.ask(pool, broken.take(), wake) {
                Ok(Got::Lease(lent)) => lent,
                Ok(Got::Wait(waiter)) => return Ok(Attempt::Wait(waiter)),
                Err(refusal) => return Err(refused(pool, refusal)),
            };
            let Lent { slot, connection, right } = lent;
            let held = Parked { connection, home: Arc::clone(pool) };
            match lease(held, slot, right, self.at) {
                (lease, Looks::Well) => return Ok(Attempt::Leased(lease)),
                (bad, Looks::Broken) => broken = Some(bad),
            }
        }
    }

    fn ask<B: Backend>(
        &mut self,
        pool: &Arc<Shared<B>>,
        broken: Option<PooledConnection<B>>,
        wake: &mut Wake<B>,
    ) -> Result<Got<B::Connection>, Refusal> {
        let now = pool.now();
        let asked = *self.asked.get_or_insert(now);
        let patience = match self.patience {
            Some(Duration::ZERO) => Patience::None,
            // Else nobody would ever have a first connection made.
            _ if pool.config.max_waiters == 0 => Patience::None,
            None => Patience::Endless,
            Some(span) => Patience::Until(asked + span),
        };
        let claim = Claim { want: self.want, patience };
        let mut inner = pool.visit();
        let result = match broken.and_then(PooledConnection::into_lent) {
            Some(lent) => {
                let slot = lent.slot;
                inner.store(lent, now);
                inner.core.acquire_again(slot, claim, asked, now)
            }
            None => inner.core.acquire(pool.key, claim, now),
        };
        let got = inner.settle(result, wake);
        pool.leave(inner);
        got
    }

    /// Stands in line until something has become of it.
    fn park<B: Backend>(&self, pool: &Arc<Shared<B>>, waiter: WaiterId, seat: &Seat<B>) -> Given<B> {
        if let Drive::Threads(..) = pool.driver() {
            // Whoever gives him something wakes him, so there is nothing to see before he has slept.
            thread::park_timeout(self.deadline().since(pool.now()).min(LONGEST_WAIT));
        }
        loop {
            if let Drive::Hand = pool.driver() {
                pool.do_jobs();
            }
            let mut now = pool.now();
            let looks_until = now + LOOK_FOR;
            // With nothing there he was called up, and it is soon his turn.
            for _ in 0..LOOKS {
                if let Some(given) = seat.take() {
                    return given;
                }
                if now >= looks_until {
                    break;
                }
                thread::yield_now();
                now = pool.now();
            }
            let mut inner = pool.lock();
            // If he is known no more, somebody is about to give him something and will wake him.
            let mut due = if inner.core.knows(waiter) { self.deadline() } else { Nanos::MAX };
            if let Drive::Hand = pool.driver() {
                due = due.min(inner.next_deadline());
            }
            if due <= now {
                // Fails this one, unless he has been given something.
                inner.tick(now);
                pool.leave(inner);
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

    /// What one who waited was given. A lease gets the share in the pool that came with it, if one did.
    pub(super) fn receive<B: Backend>(
        &self,
        pool: &Arc<Shared<B>>,
        given: Given<B>,
    ) -> Result<Received<B>, PoolError<B::Error>> {
        let Granted { lent, home } = given.map_err(|failure| failed(pool, failure))?;
        let Lent { slot, connection, right } = lent;
        let home = home.unwrap_or_else(|| Arc::clone(pool));
        Ok(match lease(Parked { connection, home }, slot, right, self.at) {
            (lease, Looks::Well) => Received::Lease(lease),
            (bad, Looks::Broken) => Received::Broken(bad),
        })
    }
}

/// A thread that stands in line, and leaves it if it unwinds: by hand it also does what the pool wants done, and errors of
/// the application may panic there.
struct InLine<'a, B: Backend> {
    pool: &'a Arc<Shared<B>>,
    waiter: WaiterId,
    seat: Option<Arc<Seat<B>>>,
}

impl<B: Backend> InLine<'_, B> {
    fn wait(mut self, park: impl FnOnce(&Seat<B>) -> Given<B>) -> Given<B> {
        let given = park(self.seat.as_ref().expect("it stands in line"));
        self.seat = None;
        given
    }
}

impl<B: Backend> Drop for InLine<'_, B> {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take() {
            give_up(self.pool, self.waiter, seat);
        }
    }
}

/// Leaves the line; what had been granted goes to the next.
pub(super) fn give_up<B: Backend>(pool: &Arc<Shared<B>>, waiter: WaiterId, seat: Arc<Seat<B>>) {
    if pool.is_inherited() {
        // It may be locked for ever, and hold what is the parent's.
        std::mem::forget(seat);
        return;
    }
    // What comes from now on goes back to whoever gives it.
    let (granted, call) = match seat.leave() {
        Sitting::Given(given) => (given.ok(), None),
        Sitting::Waits(call) => (None, Some(call)),
        Sitting::Over => (None, None),
    };
    let now = pool.now();
    let mut inner = pool.visit();
    let (mut wake, mut share) = (Wake::Nobody, None);
    if let Some(Granted { lent, home }) = granted {
        share = home;
        inner.give_back_unused(lent, now);
    } else if inner.core.knows(waiter) {
        std::mem::swap(&mut wake, inner.wake(waiter));
        inner.core.cancel(waiter, now);
    }
    pool.leave(inner);
    // At last, for a waker is the executor's code and may panic.
    drop((wake, share, call));
}

fn refused<B: Backend>(pool: &Shared<B>, refusal: Refusal) -> PoolError<B::Error> {
    match refusal {
        Refusal::Exhausted { in_use, max, waiters } => PoolError::Exhausted { in_use, max, waiters },
        Refusal::Unavailable { until } => unavailable(pool, until),
        Refusal::Closed => PoolError::Closed,
    }
}

fn failed<B: Backend>(pool: &Shared<B>, failure: Failure) -> PoolError<B::Error> {
    match failure {
        Failure::Timeout { waited_ns } => PoolError::Timeout { waited: Duration::from_nanos(waited_ns) },
        Failure::Connect { waited_ns } => match pool.lock().last_error.clone() {
            Some(error) => PoolError::Connect(error),
            None => PoolError::Timeout { waited: Duration::from_nanos(waited_ns) },
        },
        Failure::Unavailable { until } => unavailable(pool, until),
        Failure::Closed => PoolError::Closed,
    }
}

fn unavailable<B: Backend>(pool: &Shared<B>, until: Nanos) -> PoolError<B::Error> {
    let last = pool.lock().last_error.clone();
    PoolError::Unavailable { until: until.since(pool.now()), last }
}

/// Makes a lease of what was lent and looks at it: whether it works is the second half of the answer.
#[inline(always)]
fn lease<B: Backend>(
    mut held: Held<B>,
    slot: SlotId,
    right: Option<Place>,
    at: &'static Location<'static>,
) -> (PooledConnection<B>, Looks) {
    let looks = if looks_broken(&mut held) { Looks::Broken } else { Looks::Well };
    if looks == Looks::Well && held.home.config.leak_threshold.is_some() {
        held.home.note_place(slot, at);
    }
    (PooledConnection::new(held, slot, right), looks)
}

/// How a connection looks that was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    Well,
    Broken,
}

/// What is idle and works, without waiting. One that does not work is closed.
#[inline(always)]
pub(super) fn take_idle<B: Backend>(
    pool: &Arc<Shared<B>>,
    want: Want,
    at: &'static Location<'static>,
) -> Option<PooledConnection<B>> {
    if want == Want::New {
        return None;
    }
    let (held, slot, right) = pool.take_idle()?;
    match lease(held, slot, Some(right), at) {
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
    at: &'static Location<'static>,
) -> Leased<B> {
    if pool.is_inherited() {
        return Err(PoolError::Closed);
    }
    if log::log_enabled!(log::Level::Debug) {
        return acquire_and_log(pool, want, patience, at);
    }
    // Taken apart and put together again, so that what is at hand need not lie where that function writes its result.
    let lease = match take_idle(pool, want, at) {
        Some(lease) => lease,
        None => acquire_slowly(pool, want, patience, at)?,
    };
    Ok(lease)
}

/// The same, with what there was before and what came of it in the log.
#[cold]
#[inline(never)]
fn acquire_and_log<B: Backend>(
    pool: &Arc<Shared<B>>,
    want: Want,
    patience: Option<Duration>,
    at: &'static Location<'static>,
) -> Leased<B> {
    let begun = log_before(pool);
    let result = match take_idle(pool, want, at) {
        Some(lease) => Ok(lease),
        None => acquire_slowly(pool, want, patience, at),
    };
    log_after(pool, begun, &result);
    result
}

/// Says in the log how the pool stands when somebody asks, and when that is.
pub(super) fn log_before<B: Backend>(pool: &Arc<Shared<B>>) -> Nanos {
    let stats = pool.stats();
    let (available, in_use) = (stats.idle_connections, stats.active_connections);
    log::debug!("Acquiring connection: available={available} in_use={in_use}");
    pool.now()
}

pub(super) fn log_after<B: Backend>(pool: &Arc<Shared<B>>, begun: Nanos, result: &Leased<B>) {
    let (success, duration) = (result.is_ok(), pool.now().since(begun));
    log::debug!("Connection acquire complete: success={success} duration={duration:?}");
}

#[cold]
#[inline(never)]
fn acquire_slowly<B: Backend>(
    pool: &Arc<Shared<B>>,
    want: Want,
    patience: Option<Duration>,
    at: &'static Location<'static>,
) -> Leased<B> {
    let patience = patience.or(pool.config.acquire_timeout);
    Request::new(want, patience, at).wait(pool)
}

/// Has `function` called with a lease: at once if one is idle, else by a connector thread.
pub(super) fn acquire_with<B: Backend>(
    pool: &Arc<Shared<B>>,
    patience: Option<Duration>,
    at: &'static Location<'static>,
    function: Box<dyn FnOnce(Leased<B>) + Send>,
) {
    if pool.is_inherited() {
        return function(Err(PoolError::Closed));
    }
    go_on(Arc::clone(pool), Request::new(Want::Any, patience, at), None, function);
}

/// One more attempt for a function that is to be called.
fn go_on<B: Backend>(
    pool: Arc<Shared<B>>,
    mut request: Request,
    broken: Option<PooledConnection<B>>,
    function: Box<dyn FnOnce(Leased<B>) + Send>,
) {
    // Only one of the two places gets the function.
    let shelf = Arc::new(std::sync::Mutex::new(Some(function)));
    let later = Arc::clone(&shelf);
    request.asked.get_or_insert_with(|| pool.now());
    let of = Arc::clone(&pool);
    let callback = move |given: Given<B>| {
        let function = later.lock().ok().and_then(|mut shelf| shelf.take());
        let Some(function) = function else { return };
        match request.receive(&of, given) {
            Ok(Received::Lease(lease)) => call(function, Ok(lease)),
            Ok(Received::Broken(bad)) => {
                go_on(of, request, Some(bad), Box::new(|result| call(function, result)));
            }
            Err(error) => call(function, Err(error)),
        }
    };
    let mut wake = Wake::Callback(Box::new(callback));
    let result = match request.attempt(&pool, broken, &mut wake) {
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

/// So often somebody looks who was called up, also if the clock stands still.
const LOOKS: u32 = if cfg!(all(test, loom)) { 1 } else { 40 };
/// No wait is longer than this without looking.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
