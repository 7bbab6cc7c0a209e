//! What the application brings: how a connection is made, checked and closed, by calls that block or by futures.
//! Does not say when; the pool does.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Makes, checks and closes connections by calls that may block.
///
/// [`connect`](Self::connect), [`validate`](Self::validate) and [`close`](Self::close) run on connector threads, never in
/// the thread that acquires or gives back, and never while the pool is locked. [`is_broken`](Self::is_broken) runs in the
/// thread of the lease and must not block. A panic in any of them ends the connection it was about, not the pool.
///
/// ```
/// use socketpool::{Manager, Pool, Timeouts};
/// use std::{io, net::TcpStream};
///
/// struct Upstream(std::net::SocketAddr);
///
/// impl Manager for Upstream {
///     type Connection = TcpStream;
///     type Error = io::Error;
///
///     fn connect(&self, within: &Timeouts) -> io::Result<TcpStream> {
///         match within.connect {
///             Some(limit) => TcpStream::connect_timeout(&self.0, limit),
///             None => TcpStream::connect(self.0),
///         }
///     }
/// }
///
/// let server = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let pool = Pool::new(Upstream(server.local_addr()?));
/// assert_eq!(pool.acquire()?.peer_addr()?, server.local_addr()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Manager: Send + Sync + 'static {
    /// What is pooled.
    type Connection: Send + 'static;
    /// What may go wrong.
    type Error: Error + Send + Sync + 'static;

    /// Makes a connection. Should give up by itself within the limit it is told: one that does not is waited for by
    /// nobody, but keeps its place in the pool until it comes back.
    fn connect(&self, within: &Timeouts) -> Result<Self::Connection, Self::Error>;

    /// Sees whether an idle connection still works, by asking the other side. Passes unless it is written.
    fn validate(&self, connection: &mut Self::Connection, within: &Timeouts) -> Result<(), Self::Error> {
        let _ = (connection, within);
        Ok(())
    }

    /// Whether the connection is known not to work, without asking anybody: looked at when it is handed out and
    /// when it is given back. By default none is.
    fn is_broken(&self, connection: &mut Self::Connection) -> bool {
        let _ = connection;
        false
    }

    /// Ends a connection. By default it is dropped.
    fn close(&self, connection: Self::Connection) {
        drop(connection);
    }
}

/// Makes, checks and closes connections by futures. [`Async`] makes a pool of it.
///
/// ```
/// use socketpool::{Async, AsyncManager, BoxFuture, Pool, Timeouts};
/// use std::convert::Infallible;
///
/// struct Counter;
///
/// impl AsyncManager for Counter {
///     type Connection = u64;
///     type Error = Infallible;
///
///     fn connect<'a>(&'a self, _: &'a Timeouts) -> BoxFuture<'a, Result<u64, Infallible>> {
///         Box::pin(async { Ok(7) })
///     }
/// }
///
/// let pool = Pool::new(Async::on_threads(Counter));
/// assert_eq!(*pool.acquire()?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait AsyncManager: Send + Sync + 'static {
    /// What is pooled.
    type Connection: Send + 'static;
    /// What may go wrong.
    type Error: Error + Send + Sync + 'static;

    /// Makes a connection: see [`Manager::connect`].
    fn connect<'a>(&'a self, within: &'a Timeouts) -> BoxFuture<'a, Result<Self::Connection, Self::Error>>;

    /// Sees whether an idle connection still works: see [`Manager::validate`].
    fn validate<'a>(
        &'a self,
        connection: &'a mut Self::Connection,
        within: &'a Timeouts,
    ) -> BoxFuture<'a, Result<(), Self::Error>> {
        let _ = (connection, within);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Whether the connection is known not to work: see [`Manager::is_broken`].
    fn is_broken(&self, connection: &mut Self::Connection) -> bool {
        let _ = connection;
        false
    }

    /// Ends a connection: see [`Manager::close`].
    fn close<'a>(&'a self, connection: Self::Connection) -> BoxFuture<'a, ()> {
        drop(connection);
        Box::pin(std::future::ready(()))
    }
}

/// A future on the heap that may go to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How long a manager may take. `None` is as long as it likes.
///
/// ```
/// use socketpool::{PoolConfig, Timeouts};
/// use std::time::Duration;
///
/// let config = PoolConfig { op_timeout: Some(Duration::from_secs(30)), ..PoolConfig::default() };
/// assert_eq!(Timeouts::from(&config).operation, Some(Duration::from_secs(30)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connect or a validation. The pool counts one that takes longer as failed.
    pub connect: Option<Duration>,
    /// For what the application does with a connection; the pool only hands it on.
    pub operation: Option<Duration>,
}

/// Runs the futures of an [`AsyncManager`].
///
/// ```
/// use socketpool::{BoxFuture, Executor};
///
/// /// One thread for each.
/// struct Threads;
///
/// impl Executor for Threads {
///     fn spawn(&self, task: BoxFuture<'static, ()>) {
///         std::thread::spawn(move || drop(task)); // a real one would run it
///     }
/// }
/// ```
pub trait Executor: Send + Sync + 'static {
    /// Begins to run a future and returns. Called from a connector thread.
    fn spawn(&self, task: BoxFuture<'static, ()>);
}

/// An [`AsyncManager`] and where its futures run.
///
/// ```
/// # use socketpool::{Async, AsyncManager, BoxFuture, Executor, Pool, Timeouts};
/// # struct Counter;
/// # impl AsyncManager for Counter {
/// #     type Connection = u64;
/// #     type Error = std::convert::Infallible;
/// #     fn connect<'a>(&'a self, _: &'a Timeouts) -> BoxFuture<'a, Result<u64, std::convert::Infallible>> {
/// #         Box::pin(async { Ok(7) })
/// #     }
/// # }
/// struct Tokio(tokio::runtime::Handle);
///
/// impl Executor for Tokio {
///     fn spawn(&self, task: BoxFuture<'static, ()>) {
///         self.0.spawn(task);
///     }
/// }
///
/// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
/// let pool = Pool::new(Async::on(Counter, Tokio(runtime.handle().clone())));
/// assert_eq!(*runtime.block_on(pool.acquire_async())?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Async<M> {
    pub(super) manager: Arc<M>,
    pub(super) executor: Option<Arc<dyn Executor>>,
}

impl<M: AsyncManager> Async<M> {
    /// The futures run on `executor`.
    ///
    /// The type's own example does this.
    ///
    /// ```
    /// # use socketpool::{Async, AsyncManager, Executor};
    /// fn pooled<M: AsyncManager, E: Executor>(manager: M, executor: E) -> Async<M> {
    ///     Async::on(manager, executor)
    /// }
    /// ```
    #[must_use]
    pub fn on(manager: M, executor: impl Executor) -> Self {
        Self { manager: Arc::new(manager), executor: Some(Arc::new(executor)) }
    }

    /// The futures run on the connector threads, one at a time on each: for those that need no runtime.
    ///
    /// The example of [`AsyncManager`] does this.
    ///
    /// ```
    /// # use socketpool::{Async, AsyncManager};
    /// fn pooled<M: AsyncManager>(manager: M) -> Async<M> {
    ///     Async::on_threads(manager)
    /// }
    /// ```
    #[must_use]
    pub fn on_threads(manager: M) -> Self {
        Self { manager: Arc::new(manager), executor: None }
    }
}

impl<M> std::fmt::Debug for Async<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let runs_on = if self.executor.is_some() { "executor" } else { "connector threads" };
        f.debug_struct("Async").field("runs_on", &runs_on).finish_non_exhaustive()
    }
}
