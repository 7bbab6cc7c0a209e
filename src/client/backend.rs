//! Either kind of manager as the pool sees it: work that is begun here and ends with a call of what was passed along.
//! Catches panics, so that they end a connection and not a thread of the process.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use log::Level;

use super::error::{ConnectError, ConnectPhase};
use super::manager::{Async, AsyncManager, BoxFuture, Manager, Timeouts};

/// What a [`Pool`](super::Pool) is made of: a [`Manager`], or an [`AsyncManager`] in an [`Async`].
///
/// It cannot be implemented otherwise.
///
/// ```
/// use socketpool::{Backend, Pool};
///
/// fn peak<B: Backend>(pool: &Pool<B>) -> u32 {
///     pool.stats().total_connections
/// }
/// ```
pub trait Backend: Sealed + Send + Sync + 'static {
    /// What is pooled.
    type Connection: Send + 'static;
    /// What may go wrong when one is made or checked.
    type Error: Error + Send + Sync + 'static;

    #[doc(hidden)]
    fn begin_connect(&self, within: Timeouts, done: impl FnOnce(Connected<Self>) + Send + 'static);

    #[doc(hidden)]
    fn begin_validate(
        &self,
        connection: Self::Connection,
        within: Timeouts,
        done: impl FnOnce(Self::Connection, Result<(), ConnectError<Self::Error>>) + Send + 'static,
    );

    #[doc(hidden)]
    fn begin_close(&self, connection: Self::Connection, done: impl FnOnce() + Send + 'static);

    #[doc(hidden)]
    fn looks_broken(&self, connection: &mut Self::Connection) -> bool;

    #[doc(hidden)]
    fn works_in(&self) -> WorksIn;
}

/// Where work goes on after it was begun.
///
/// ```
/// # use socketpool::Backend; // it shows nowhere
/// ```
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorksIn {
    /// It is over when the call that begins it returns.
    ThisThread,
    /// The call returns at once.
    Executor,
}

/// What came of a connect.
pub(super) type Connected<B> = Result<<B as Backend>::Connection, ConnectError<<B as Backend>::Error>>;

#[doc(hidden)]
pub trait Sealed {}

impl<M: Manager> Sealed for M {}
impl<M> Sealed for Async<M> {}

impl<M: Manager> Backend for M {
    type Connection = M::Connection;
    type Error = M::Error;

    fn begin_connect(&self, within: Timeouts, done: impl FnOnce(Connected<Self>) + Send + 'static) {
        let result = catch_unwind(AssertUnwindSafe(|| self.connect(&within)));
        done(settled(ConnectPhase::Connect, result));
    }

    fn begin_validate(
        &self,
        mut connection: Self::Connection,
        within: Timeouts,
        done: impl FnOnce(Self::Connection, Result<(), ConnectError<Self::Error>>) + Send + 'static,
    ) {
        let result = catch_unwind(AssertUnwindSafe(|| self.validate(&mut connection, &within)));
        done(connection, settled(ConnectPhase::Validate, result));
    }

    fn begin_close(&self, connection: Self::Connection, done: impl FnOnce() + Send + 'static) {
        tell("closing a connection", catch_unwind(AssertUnwindSafe(|| self.close(connection))));
        done();
    }

    #[inline]
    fn looks_broken(&self, connection: &mut Self::Connection) -> bool {
        self.is_broken(connection)
    }

    fn works_in(&self) -> WorksIn {
        WorksIn::ThisThread
    }
}

impl<M: AsyncManager> Backend for Async<M> {
    type Connection = M::Connection;
    type Error = M::Error;

    fn begin_connect(&self, within: Timeouts, done: impl FnOnce(Connected<Self>) + Send + 'static) {
        let manager = Arc::clone(&self.manager);
        let mut ending = Ending::new(Err(ConnectError::dropped(ConnectPhase::Connect)), done);
        self.run(Box::pin(async move {
            let result = Caught(Box::pin(async { manager.connect(&within).await })).await;
            *ending.result() = settled(ConnectPhase::Connect, result);
        }));
    }

    fn begin_validate(
        &self,
        connection: Self::Connection,
        within: Timeouts,
        done: impl FnOnce(Self::Connection, Result<(), ConnectError<Self::Error>>) + Send + 'static,
    ) {
        let manager = Arc::clone(&self.manager);
        let dropped = Err(ConnectError::dropped(ConnectPhase::Validate));
        let mut ending = Ending::new((connection, dropped), |(connection, result)| done(connection, result));
        self.run(Box::pin(async move {
            let (connection, result) = ending.result();
            let came = Caught(Box::pin(async { manager.validate(connection, &within).await })).await;
            *result = settled(ConnectPhase::Validate, came);
        }));
    }

    fn begin_close(&self, connection: Self::Connection, done: impl FnOnce() + Send + 'static) {
        let manager = Arc::clone(&self.manager);
        let ending = Ending::new((), |()| done());
        self.run(Box::pin(async move {
            tell("closing a connection", Caught(Box::pin(async { manager.close(connection).await })).await);
            drop(ending);
        }));
    }

    #[inline]
    fn looks_broken(&self, connection: &mut Self::Connection) -> bool {
        self.manager.is_broken(connection)
    }

    fn works_in(&self) -> WorksIn {
        if self.executor.is_some() { WorksIn::Executor } else { WorksIn::ThisThread }
    }
}

impl<M> Async<M> {
    fn run(&self, task: BoxFuture<'static, ()>) {
        match &self.executor {
            Some(executor) => {
                tell("an executor", catch_unwind(AssertUnwindSafe(|| executor.spawn(task))));
            }
            None => block_on(task),
        }
    }
}

/// What a call of the application came to, a panic included.
fn settled<T, E>(phase: ConnectPhase, result: thread::Result<Result<T, E>>) -> Result<T, ConnectError<E>> {
    match result {
        Ok(result) => result.map_err(|error| ConnectError::failed(phase, error)),
        Err(payload) => {
            let error = ConnectError::panicked(phase, &*payload);
            // What was thrown may itself panic when it is dropped, and that would be one panic too many.
            mem::forget(payload);
            Err(error)
        }
    }
}

/// Logs a panic that nobody can be told of, and says whether there was one.
pub(super) fn tell<T>(what: &str, result: thread::Result<T>) -> Option<T> {
    result
        .map_err(|payload| {
            let text = payload.downcast_ref::<&str>().copied();
            let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            let text = text.unwrap_or("with what is no text");
            note(Level::Error, format_args!("{what} panicked: {text}"));
            mem::forget(payload);
        })
        .ok()
}

/// Writes into the log what is no caller's. The logger is the application's and so are the errors that are shown: if they
/// panic, what goes on here goes on all the same.
pub(super) fn note(level: Level, text: fmt::Arguments<'_>) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| log::log!(level, "{text}"))) {
        mem::forget(payload);
    }
}

/// What a future comes to, told when it ends: also when its executor drops it before it is done, or it would be waited
/// for in vain.
struct Ending<T, F: FnOnce(T)>(Option<(T, F)>);

impl<T, F: FnOnce(T)> Ending<T, F> {
    fn new(if_dropped: T, done: F) -> Self {
        Self(Some((if_dropped, done)))
    }

    fn result(&mut self) -> &mut T {
        &mut self.0.as_mut().expect("there until it is dropped").0
    }
}

impl<T, F: FnOnce(T)> Drop for Ending<T, F> {
    fn drop(&mut self) {
        if let Some((result, done)) = self.0.take() {
            done(result);
        }
    }
}

/// A future whose panic is its result.
struct Caught<F>(Pin<Box<F>>);

impl<F: Future> Future for Caught<F> {
    type Output = thread::Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    }
}

/// Runs a future to its end in this thread.
fn block_on<T>(mut task: BoxFuture<'_, T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match task.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
