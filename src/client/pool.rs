//! The pool as the application holds it, and the ways to get a lease of it. How it is made is in `builder`, how it is steered
//! in `steering`.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::acquire::{self, Leased};
use super::backend::Backend;
use super::builder::PoolBuilder;
use super::future::Acquire;
use super::guard::PooledConnection;
use super::retry::RetryConfig;
use super::retrying::{self, AcquireRetry};
use super::shared::Shared;
use crate::lease::Want;

/// A bounded pool of connections, for threads, futures and callbacks, which stand in one line: first come, first
/// served.
///
/// Handles are cheap to clone; when the last one is dropped the pool is [closed](Self::close). The pool is lazy: it connects
/// when somebody asks, unless it is [warmed](Self::warm). Connects belong to the pool: a caller who gives up leaves
/// his to whoever is next.
///
/// ```
/// use socketpool::{Manager, Pool, PoolConfig, Timeouts};
/// use std::{io, net::{TcpListener, TcpStream}};
///
/// struct Upstream(std::net::SocketAddr);
///
/// impl Manager for Upstream {
///     type Connection = TcpStream;
///     type Error = io::Error;
///
///     fn connect(&self, _: &Timeouts) -> io::Result<TcpStream> {
///         TcpStream::connect(self.0)
///     }
/// }
///
/// let server = TcpListener::bind("127.0.0.1:0")?;
/// let pool = Pool::builder(Upstream(server.local_addr()?))
///     .config(PoolConfig { max_size: 4, ..PoolConfig::default() })
///     .build()?;
/// let connection = pool.acquire()?;
/// assert_eq!(pool.stats().active_connections, 1);
/// drop(connection);
/// assert_eq!(pool.stats().idle_connections, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pool<B: Backend> {
    handle: Arc<Handle<B>>,
}

/// All handles of a pool; leases and waiters do not count.
struct Handle<B: Backend> {
    shared: Arc<Shared<B>>,
}

impl<B: Backend> Pool<B> {
    /// A pool with the default [`PoolConfig`](crate::PoolConfig).
    ///
    /// # Panics
    ///
    /// In the 256th fork of a fork, and when the system refuses the [one thread](PoolBuilder::build) that pools need.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// assert_eq!(pool.stats().total_connections, 0, "it is lazy");
    /// assert_eq!(*pool.acquire()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(backend: B) -> Self {
        Self::builder(backend).build().expect("the default config holds")
    }

    /// A pool with settings.
    ///
    /// The type's own example does this.
    ///
    /// ```
    /// # use socketpool::{Backend, ConfigError, Pool, PoolConfig};
    /// fn small<B: Backend>(manager: B) -> Result<Pool<B>, ConfigError> {
    ///     Pool::builder(manager).config(PoolConfig { max_size: 2, ..PoolConfig::default() }).build()
    /// }
    /// ```
    pub fn builder(backend: B) -> PoolBuilder<B> {
        PoolBuilder::new(backend)
    }

    /// A connection: an idle one, or whatever comes first while this thread stands in line, for at most
    /// `acquire_timeout`.
    ///
    /// # Errors
    ///
    /// * [`PoolError::Timeout`](crate::PoolError::Timeout): all were in use until the deadline.
    /// * [`PoolError::Connect`](crate::PoolError::Connect): there was room until the deadline and every connect failed.
    /// * [`PoolError::Exhausted`](crate::PoolError::Exhausted): `acquire_timeout` is zero, or `max_waiters` stand in line.
    /// * [`PoolError::Unavailable`](crate::PoolError::Unavailable): the breaker is open.
    /// * [`PoolError::Closed`](crate::PoolError::Closed): the pool drains or was closed, or was made by a parent of this process.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// let (one, other) = (pool.acquire()?, pool.acquire()?);
    /// assert_eq!(*one + *other, 14);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    #[inline]
    pub fn acquire(&self) -> Leased<B> {
        acquire::acquire(self.shared(), Want::Any, None, Location::caller())
    }

    /// The same, with a patience of its own: zero does not wait, [`Duration::MAX`] waits for ever.
    ///
    /// # Errors
    ///
    /// As of [`acquire`](Self::acquire).
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolConfig, PoolError, Timeouts};
    /// # use std::time::Duration;
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::builder(Numbers).config(PoolConfig { max_size: 1, ..PoolConfig::default() }).build()?;
    /// let held = pool.acquire()?;
    /// let error = pool.acquire_timeout(Duration::ZERO).unwrap_err();
    /// assert!(matches!(error, PoolError::Exhausted { in_use: 1, max: 1, waiters: 0 }));
    /// let error = pool.acquire_timeout(Duration::from_millis(5)).unwrap_err();
    /// assert!(matches!(error, PoolError::Timeout { .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn acquire_timeout(&self, patience: Duration) -> Leased<B> {
        acquire::acquire(self.shared(), Want::Any, Some(patience), Location::caller())
    }

    /// An idle connection, if there is one that looks as if it worked. Never waits: with room for one more it has that
    /// made in the background, for the next call.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolConfig, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::builder(Numbers).config(PoolConfig { max_size: 1, ..PoolConfig::default() }).build()?;
    /// let held = pool.acquire()?;
    /// assert!(pool.try_acquire().is_none());
    /// held.release();
    /// assert!(pool.try_acquire().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "a connection that nobody holds goes back at once"]
    #[track_caller]
    pub fn try_acquire(&self) -> Option<PooledConnection<B>> {
        self.acquire_timeout(Duration::ZERO).ok()
    }

    /// A connection that has served nobody yet. It is waited for in the same line; at the limit an idle one is closed for
    /// it.
    ///
    /// # Errors
    ///
    /// As of [`acquire`](Self::acquire).
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// drop(pool.acquire()?);
    /// assert_eq!(pool.acquire_new()?.use_count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn acquire_new(&self) -> Leased<B> {
        acquire::acquire(self.shared(), Want::New, None, Location::caller())
    }

    /// A future of a connection, for any executor; [`into_owned`](Acquire::into_owned) makes one that borrows nothing. It stands in line from its first poll on, and gives its place up when it
    /// is dropped.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// assert_eq!(*runtime.block_on(pool.acquire_async())?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    #[inline]
    pub fn acquire_async(&self) -> Acquire<'_, B> {
        Acquire::new(self.shared(), Want::Any, None, Location::caller())
    }

    /// The same, with a patience of its own: zero does not wait, [`Duration::MAX`] waits for ever.
    ///
    /// ```
    /// # use socketpool::{Acquire, Backend, Pool};
    /// # use std::time::Duration;
    /// fn patient<B: Backend>(pool: &Pool<B>) -> Acquire<'_, B> {
    ///     pool.acquire_timeout_async(Duration::MAX)
    /// }
    /// ```
    #[track_caller]
    pub fn acquire_timeout_async(&self, patience: Duration) -> Acquire<'_, B> {
        Acquire::new(self.shared(), Want::Any, Some(patience), Location::caller())
    }

    /// The same as [`acquire_new`](Self::acquire_new), as a future.
    ///
    /// ```
    /// # use socketpool::{Acquire, Backend, Pool};
    /// fn unused<B: Backend>(pool: &Pool<B>) -> Acquire<'_, B> {
    ///     pool.acquire_new_async()
    /// }
    /// ```
    #[track_caller]
    pub fn acquire_new_async(&self) -> Acquire<'_, B> {
        Acquire::new(self.shared(), Want::New, None, Location::caller())
    }

    /// Has `function` called once, with a connection or with the reason why there is none: in this thread before this
    /// returns if that is known at once, else by a connector thread, or by [`tick`](Self::tick) of a pool that is driven by
    /// hand. It must not block: others wait for that thread. A handle that it owns keeps the pool open until it was called.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// let (give, take) = std::sync::mpsc::channel();
    /// pool.acquire_with(move |lease| give.send(lease.map(|number| *number).ok()).unwrap());
    /// assert_eq!(take.recv()?, Some(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn acquire_with(&self, function: impl FnOnce(Leased<B>) + Send + 'static) {
        let patience = self.config().acquire_timeout;
        acquire::acquire_with(self.shared(), patience, Location::caller(), Box::new(function));
    }

    /// A connection, asked for again and again as `retry` says: for a server that may not be there yet. This thread waits
    /// between the attempts, at least until an open breaker lets one through.
    ///
    /// As long as the program is [starting](PoolBuilder::starting) there is no limit but the pool's end.
    ///
    /// # Errors
    ///
    /// * [`PoolError::RetriesExhausted`](crate::PoolError::RetriesExhausted) with the last error, when the time for it is over.
    /// * [`PoolError::Closed`](crate::PoolError::Closed) at once, also when the pool is closed meanwhile.
    /// * [`PoolError::Config`](crate::PoolError::Config) for settings that cannot hold.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, RetryConfig, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// assert_eq!(*pool.acquire_retry(&RetryConfig::for_production())?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn acquire_retry(&self, retry: &RetryConfig) -> Leased<B> {
        retrying::acquire(self.shared(), retry, Location::caller())
    }

    /// The same as a future, for any executor and for none: the pool itself knows when a pause is over, and wakes the
    /// task. With a pool that is [driven by hand](PoolBuilder::driven_by_hand), [`tick`](Self::tick) does.
    ///
    /// # Errors
    ///
    /// As of [`acquire_retry`](Self::acquire_retry).
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, RetryConfig, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// let runtime = tokio::runtime::Builder::new_current_thread().build()?; // without its timers
    /// assert_eq!(*runtime.block_on(pool.acquire_retry_async(&RetryConfig::for_production()))?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn acquire_retry_async(&self, retry: &RetryConfig) -> AcquireRetry<B> {
        AcquireRetry::new(self.shared(), retry, Location::caller())
    }

    pub(super) fn of(shared: Arc<Shared<B>>) -> Self {
        Self { handle: Arc::new(Handle { shared }) }
    }

    #[inline]
    pub(super) fn shared(&self) -> &Arc<Shared<B>> {
        &self.handle.shared
    }
}

impl<B: Backend> Drop for Handle<B> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<B: Backend> Clone for Pool<B> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle) }
    }
}

impl<B: Backend> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
