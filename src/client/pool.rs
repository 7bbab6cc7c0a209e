//! The pool as the application holds it.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::acquire::{self, Leased};
use super::backend::Backend;
use super::config::PoolConfig;
use super::deadlines::{Process, Ticks};
use super::error::PoolError;
use super::future::Acquire;
use super::guard::PooledConnection;
use super::health::Health;
use super::retry::RetryConfig;
use super::retrying::{self, StageIs};
use super::shared::{Drive, Shared};
use super::stats::PoolStats;
use crate::breaker::BreakerState;
use crate::clock::{Clock, Nanos};
use crate::drain::State;
use crate::error::ConfigError;
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

/// What a pool is made from.
///
/// ```
/// # use socketpool::{Manager, Pool, PoolConfig, Timeouts};
/// # struct Numbers;
/// # impl Manager for Numbers {
/// #     type Connection = u64;
/// #     type Error = std::convert::Infallible;
/// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
/// # }
/// let config = PoolConfig { max_size: 0, ..PoolConfig::default() };
/// let error = Pool::builder(Numbers).config(config).build().unwrap_err();
/// assert_eq!(error.to_string(), "max_size is 0, must be from 1 to 16777215");
/// ```
#[must_use = "nothing happens before `build`"]
pub struct PoolBuilder<B> {
    backend: B,
    config: PoolConfig,
    clock: Option<Clock>,
    driver: Driver,
    stage: StageIs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    Threads,
    Hand,
}

impl<B: Backend> Pool<B> {
    /// A pool with the default [`PoolConfig`].
    ///
    /// # Panics
    ///
    /// In the 256th fork of a fork.
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
        PoolBuilder {
            backend,
            config: PoolConfig::default(),
            clock: None,
            driver: Driver::Threads,
            stage: StageIs::Running,
        }
    }

    /// A connection: an idle one, or whatever comes first while this thread stands in line, for at most
    /// `acquire_timeout`.
    ///
    /// # Errors
    ///
    /// * [`PoolError::Timeout`]: all were in use until the deadline.
    /// * [`PoolError::Connect`]: there was room until the deadline and every connect failed.
    /// * [`PoolError::Exhausted`]: `acquire_timeout` is zero, or `max_waiters` stand in line.
    /// * [`PoolError::Unavailable`]: the breaker is open.
    /// * [`PoolError::Closed`]: the pool drains or was closed, or was made by a parent of this process.
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
    /// returns if that is known at once, else by a connector thread. It must not block: others wait for that thread.
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
    /// * [`PoolError::RetriesExhausted`] with the last error, when the time for it is over.
    /// * [`PoolError::Closed`] at once, also when the pool is closed meanwhile.
    /// * [`PoolError::Config`] for settings that cannot hold.
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

    /// The program has started: from now on [`acquire_retry`](Self::acquire_retry) gives up when its time is over. The
    /// first one that succeeds does this too.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::builder(Numbers).starting().build()?;
    /// pool.set_running();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_running(&self) {
        self.shared().stage.set_running();
    }

    /// Makes connections up to `min_size`, all at once, and returns when each has come to something. At most
    /// `connect_timeout` is waited, and what is made then is kept.
    ///
    /// # Errors
    ///
    /// [`PoolError::Connect`] with the last error if one could not be made; those that could are kept.
    /// [`PoolError::Closed`] as of [`acquire`](Self::acquire).
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolConfig, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::builder(Numbers).config(PoolConfig { min_size: 3, ..PoolConfig::default() }).build()?;
    /// pool.warm()?;
    /// assert_eq!(pool.stats().idle_connections, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn warm(&self) -> Result<(), PoolError<B::Error>> {
        let shared = self.shared();
        self.refuse_if_closed()?;
        let now = shared.now();
        let mut inner = shared.visit();
        let before = inner.over.warms;
        inner.core.warm(shared.key, u32::MAX, 0, now);
        shared.leave(inner);
        let over = shared.wait_until(Nanos::MAX, |inner| (inner.over.warms > before).then_some(inner.over));
        let failed = over.map_or(0, |over| over.not_warmed);
        if failed == 0 {
            return Ok(());
        }
        Err(match shared.lock().last_error.clone() {
            Some(error) => PoolError::Connect(error),
            None => PoolError::Closed,
        })
    }

    /// Begins to make connections up to `min_size`, `warmup_batch` at a time with `warmup_delay` between, and returns.
    /// A connect that fails is logged.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolConfig, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::builder(Numbers).config(PoolConfig { min_size: 3, ..PoolConfig::default() }).build()?;
    /// pool.warm_gradually();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn warm_gradually(&self) {
        let shared = self.shared();
        if shared.is_inherited() {
            return;
        }
        let (batch, gap) = (self.config().warmup_batch, self.config().warmup_delay);
        let now = shared.now();
        let mut inner = shared.visit();
        inner.core.warm(shared.key, batch, crate::clock::span_nanos(gap), now);
        shared.leave(inner);
    }

    /// Has every idle connection validated, and returns how many did not work when all have been. Connections in use are
    /// left alone, and others can be acquired meanwhile.
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
    /// assert_eq!(pool.check_health(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check_health(&self) -> u32 {
        let shared = self.shared();
        if shared.is_inherited() {
            return 0;
        }
        let now = shared.now();
        let mut inner = shared.visit();
        let before = inner.over.checks;
        inner.core.check(shared.key, now);
        shared.leave(inner);
        let over = shared.wait_until(Nanos::MAX, |inner| (inner.over.checks > before).then_some(inner.over));
        over.map_or(0, |over| over.not_working)
    }

    /// Changes how many connections there may be. When there are more, idle ones are closed now, the longest idle
    /// first, and those in use when they come back.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a size that cannot be, or that is below `min_size`. Nothing was changed.
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
    /// pool.resize(1)?;
    /// let held = pool.acquire()?;
    /// assert!(pool.try_acquire().is_none());
    /// assert!(pool.resize(0).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resize(&self, max_size: u32) -> Result<(), ConfigError> {
        PoolConfig { max_size, ..self.config().clone() }.validate()?;
        let shared = self.shared();
        if shared.is_inherited() {
            return Ok(());
        }
        let now = shared.now();
        let mut inner = shared.visit();
        inner.core.resize(shared.key, max_size, now);
        shared.leave(inner);
        Ok(())
    }

    /// Takes no newcomers, serves those who stand in line, closes what is idle and what comes back, and returns when nothing
    /// is left. What is left after `deadline` is given up as [`close`](Self::close) does; as long as somebody still holds
    /// a connection then, [`State::Draining`] is returned.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolError, State, Timeouts};
    /// # use std::time::Duration;
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// drop(pool.acquire()?);
    /// assert_eq!(pool.drain(Duration::from_secs(1)), State::Drained);
    /// assert!(matches!(pool.acquire(), Err(PoolError::Closed)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain(&self, deadline: Duration) -> State {
        let shared = self.shared();
        if shared.is_inherited() {
            return State::Drained;
        }
        let now = shared.now();
        let deadline = now + deadline;
        let mut inner = shared.visit();
        inner.core.begin_drain(deadline, now);
        shared.leave(inner);
        let is_over = |state: State| (state == State::Drained).then_some(state);
        if let Some(state) = shared.wait_until(deadline, |inner| is_over(inner.core.drain_state().state())) {
            return state;
        }
        self.close();
        self.state()
    }

    /// Fails everybody who stands in line with [`PoolError::Closed`], takes no newcomers, and closes what is idle now
    /// and what is in use when it comes back. Does not wait for that.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolError, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// let mut held = pool.acquire()?;
    /// pool.close();
    /// *held += 1; // still ours
    /// assert!(matches!(pool.acquire(), Err(PoolError::Closed)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(&self) {
        self.handle.close();
    }

    /// How far the pool is on its way out.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, State, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// assert_eq!(pool.state(), State::Active);
    /// pool.close();
    /// assert_eq!(pool.state(), State::Drained, "there was nothing to close");
    /// ```
    #[must_use]
    pub fn state(&self) -> State {
        if self.shared().is_inherited() {
            return State::Drained;
        }
        self.shared().lock().core.drain_state().state()
    }

    /// For a pool that is [driven by hand](PoolBuilder::driven_by_hand): connects, validates, closes and calls back in
    /// this thread as far as there is something to do, and says how long it may be until the next call. `None` is for
    /// ever. Does no harm to a pool that drives itself.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::builder(Numbers).driven_by_hand().build()?;
    /// assert!(pool.try_acquire().is_none(), "it is made in the background");
    /// pool.tick();
    /// assert_eq!(pool.try_acquire().map(|number| *number), Some(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tick(&self) -> Option<Duration> {
        let shared = self.shared();
        if shared.is_inherited() {
            return None;
        }
        shared.tick_now();
        if let Drive::Hand = shared.driver() {
            shared.do_jobs();
        }
        let next = shared.lock().core.next_deadline();
        (next != Nanos::MAX).then(|| next.since(shared.now()))
    }

    /// What is going on, and what has happened.
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
    /// drop((pool.acquire()?, pool.acquire()?));
    /// assert_eq!(
    ///     pool.stats().to_string(),
    ///     "PoolMetrics{ total=2, idle=2, active=0, invalid=0, waiting=0, acquires=2, timeouts=0 }",
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        if self.shared().is_inherited() {
            return PoolStats::default();
        }
        self.shared().stats()
    }

    /// Whether connections can be made, as far as is known.
    ///
    /// ```
    /// # use socketpool::{Health, Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pool = Pool::new(Numbers);
    /// assert!(matches!(pool.health(), Health::Healthy));
    /// ```
    #[must_use]
    pub fn health(&self) -> Health<B::Error> {
        let shared = self.shared();
        if shared.is_inherited() {
            return Health::Healthy;
        }
        let inner = shared.lock();
        match (inner.core.failing_since(shared.key), &inner.last_error) {
            (Some(since), Some(last_error)) => {
                Health::Unhealthy { since: shared.now().since(since), last_error: last_error.clone() }
            }
            _ => Health::Healthy,
        }
    }

    /// Whether connects are made, as the breaker sees it; its times are those of the pool's clock. Without a
    /// breaker it is always closed.
    ///
    /// ```
    /// # use socketpool::{BreakerState, Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// assert_eq!(Pool::new(Numbers).breaker(), BreakerState::Closed);
    /// ```
    #[must_use]
    pub fn breaker(&self) -> BreakerState {
        let shared = self.shared();
        if shared.is_inherited() {
            return BreakerState::Closed;
        }
        let now = shared.now();
        shared.lock().core.breaker(shared.key, now).unwrap_or(BreakerState::Closed)
    }

    /// The settings the pool was made with. What [`resize`](Self::resize) and adaptive size changed is in
    /// [`stats`](Self::stats).
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// assert_eq!(Pool::new(Numbers).config().max_size, 10);
    /// ```
    #[must_use]
    #[inline]
    pub fn config(&self) -> &PoolConfig {
        &self.shared().config
    }

    #[inline]
    fn shared(&self) -> &Arc<Shared<B>> {
        &self.handle.shared
    }

    fn refuse_if_closed(&self) -> Result<(), PoolError<B::Error>> {
        match self.state() {
            State::Active => Ok(()),
            State::Draining | State::Drained => Err(PoolError::Closed),
        }
    }
}

impl<B: Backend> PoolBuilder<B> {
    /// All settings; the default is [`PoolConfig::default`].
    ///
    /// The example of [`Pool`] does this.
    ///
    /// ```
    /// # use socketpool::{PoolBuilder, PoolConfig};
    /// fn large<B: socketpool::Backend>(builder: PoolBuilder<B>) -> PoolBuilder<B> {
    ///     builder.config(PoolConfig { max_size: 1_000, ..PoolConfig::default() })
    /// }
    /// ```
    pub fn config(mut self, config: PoolConfig) -> Self {
        self.config = config;
        self
    }

    /// Where the pool gets its time from; the default is the machine's clock. With a clock that is turned by hand the
    /// pool should be [driven by hand](Self::driven_by_hand) too, for threads wait in the machine's time.
    ///
    /// ```
    /// # use socketpool::{Clock, Manager, Pool, PoolConfig, Timeouts};
    /// # use std::time::Duration;
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let (clock, hand) = Clock::manual();
    /// let pool = Pool::builder(Numbers).clock(clock).driven_by_hand().build()?;
    /// drop(pool.acquire()?);
    /// hand.advance(Duration::from_secs(300)); // the idle timeout
    /// pool.tick();
    /// assert_eq!(pool.stats().total_connections, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// No thread works for the pool: who waits for a connection, and who calls [`Pool::tick`], does it himself.
    ///
    /// The example of [`Pool::tick`] does this.
    ///
    /// ```
    /// # use socketpool::PoolBuilder;
    /// fn without_threads<B: socketpool::Backend>(builder: PoolBuilder<B>) -> PoolBuilder<B> {
    ///     builder.driven_by_hand()
    /// }
    /// ```
    pub fn driven_by_hand(mut self) -> Self {
        self.driver = Driver::Hand;
        self
    }

    /// The program is only starting: [`Pool::acquire_retry`] does not give up until it has succeeded once, or
    /// [`Pool::set_running`] was called.
    ///
    /// The example of [`Pool::set_running`] does this.
    ///
    /// ```
    /// # use socketpool::PoolBuilder;
    /// fn patient<B: socketpool::Backend>(builder: PoolBuilder<B>) -> PoolBuilder<B> {
    ///     builder.starting()
    /// }
    /// ```
    pub fn starting(mut self) -> Self {
        self.stage = StageIs::Starting;
        self
    }

    /// Makes the pool. It connects to nothing yet.
    ///
    /// # Errors
    ///
    /// The first setting that cannot hold.
    ///
    /// The type's own example shows one.
    ///
    /// ```
    /// # use socketpool::{ConfigError, Pool, PoolBuilder};
    /// fn finish<B: socketpool::Backend>(builder: PoolBuilder<B>) -> Result<Pool<B>, ConfigError> {
    ///     builder.build()
    /// }
    /// ```
    pub fn build(self) -> Result<Pool<B>, ConfigError> {
        self.config.validate()?;
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
        let shared = match self.driver {
            Driver::Hand => {
                Arc::new(Shared::new(self.backend, self.config, self.clock, Drive::Hand, self.stage, seed))
            }
            Driver::Threads => {
                let process = Process::current().ok_or_else(|| {
                    ConfigError::new(
                        "forks",
                        "256",
                        "fewer forks of forks than 256, or a pool driven by hand",
                    )
                })?;
                Arc::new_cyclic(|weak: &Weak<Shared<B>>| {
                    let name = process.enter(Weak::clone(weak) as Weak<dyn Ticks>);
                    Shared::new(
                        self.backend,
                        self.config,
                        self.clock,
                        Drive::Threads(process, name),
                        self.stage,
                        seed,
                    )
                })
            }
        };
        Ok(Pool { handle: Arc::new(Handle { shared }) })
    }
}

impl<B: Backend> Handle<B> {
    fn close(&self) {
        if self.shared.is_inherited() {
            return self.shared.forget_idle();
        }
        let now = self.shared.now();
        let mut inner = self.shared.visit();
        inner.core.close_all(now);
        self.shared.leave(inner);
        if let Drive::Hand = self.shared.driver() {
            self.shared.do_jobs();
        }
    }
}

impl<B: Backend> Drop for Handle<B> {
    fn drop(&mut self) {
        self.close();
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

impl<B> fmt::Debug for PoolBuilder<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
