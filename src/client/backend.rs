//! Either kind of manager as the pool sees it: work that is begun here and ends with a call of what was passed along.
//! Catches panics, so that they end a connection and not a thread of the process.

use std::any::Any;
use std::error::Error;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::error::ConnectError;
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
}

/// What came of a connect.
#[doc(hidden)]
pub type Connected<B> = Result<<B as Backend>::Connection, ConnectError<<B as Backend>::Error>>;

#[doc(hidden)]
pub trait Sealed {}

impl<M: Manager> Sealed for M {}
impl<M> Sealed for Async<M> {}

impl<M: Manager> Backend for M {
    type Connection = M::Connection;
    type Error = M::Error;

    fn begin_connect(&self, within: Timeouts, done: impl FnOnce(Connected<Self>) + Send + 'static) {
        done(caught(|| self.connect(&within)));
    }

    fn begin_validate(
        &self,
        mut connection: Self::Connection,
        within: Timeouts,
        done: impl FnOnce(Self::Connection, Result<(), ConnectError<Self::Error>>) + Send + 'static,
    ) {
        let result = caught(|| self.validate(&mut connection, &within));
        done(connection, result);
    }

    fn begin_close(&self, connection: Self::Connection, done: impl FnOnce() + Send + 'static) {
        told(catch_unwind(AssertUnwindSafe(|| self.close(connection))));
        done();
    }

    #[inline]
    fn looks_broken(&self, connection: &mut Self::Connection) -> bool {
        self.is_broken(connection)
    }
}

impl<M: AsyncManager> Backend for Async<M> {
    type Connection = M::Connection;
    type Error = M::Error;

    fn begin_connect(&self, within: Timeouts, done: impl FnOnce(Connected<Self>) + Send + 'static) {
        let manager = Arc::clone(&self.manager);
        self.run(Box::pin(async move {
            let result = Caught(Box::pin(async { manager.connect(&within).await })).await;
            done(
                result
                    .map_err(ConnectError::panicked)
                    .and_then(|result| result.map_err(ConnectError::failed)),
            );
        }));
    }

    fn begin_validate(
        &self,
        mut connection: Self::Connection,
        within: Timeouts,
        done: impl FnOnce(Self::Connection, Result<(), ConnectError<Self::Error>>) + Send + 'static,
    ) {
        let manager = Arc::clone(&self.manager);
        self.run(Box::pin(async move {
            let result = Caught(Box::pin(async { manager.validate(&mut connection, &within).await })).await;
            let result = result
                .map_err(ConnectError::panicked)
                .and_then(|result| result.map_err(ConnectError::failed));
            done(connection, result);
        }));
    }

    fn begin_close(&self, connection: Self::Connection, done: impl FnOnce() + Send + 'static) {
        let manager = Arc::clone(&self.manager);
        self.run(Box::pin(async move {
            if let Err(message) = Caught(Box::pin(async { manager.close(connection).await })).await {
                log::error!("closing a connection panicked: {message}");
            }
            done();
        }));
    }

    #[inline]
    fn looks_broken(&self, connection: &mut Self::Connection) -> bool {
        self.manager.is_broken(connection)
    }
}

impl<M> Async<M> {
    fn run(&self, task: BoxFuture<'static, ()>) {
        match &self.executor {
            Some(executor) => executor.spawn(task),
            None => block_on(task),
        }
    }
}

/// What a call of the application came to, a panic included.
fn caught<T, E>(call: impl FnOnce() -> Result<T, E>) -> Result<T, ConnectError<E>> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(ConnectError::failed),
        Err(payload) => Err(ConnectError::panicked(message(payload))),
    }
}

/// Logs a panic that nobody can be told of.
fn told(result: thread::Result<()>) {
    if let Err(payload) = result {
        log::error!("closing a connection panicked: {}", message(payload));
    }
}

/// What a panic said.
pub(super) fn message(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    // What was thrown may itself panic when it is dropped, and that would be one panic too many.
    std::mem::forget(payload);
    text.unwrap_or_else(|| "something that is not text".to_owned())
}

/// A future whose panic is its result.
struct Caught<F>(Pin<Box<F>>);

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(message(payload))),
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
