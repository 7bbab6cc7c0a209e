//! A pool steered and asked how it stands: warming, resizing, the way out, numbers. Who gets a lease is in `pool`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::backend::Backend;
use super::config::PoolConfig;
use super::error::PoolError;
use super::health::Health;
use super::inner::Inner;
use super::pool::Pool;
use super::settling::Settling;
use super::shared::{Drive, Shared};
use super::stats::PoolStats;
use crate::breaker::BreakerState;
use crate::clock::Nanos;
use crate::drain::State;
use crate::error::ConfigError;
use crate::lease::Waits;

impl<B: Backend> Pool<B> {
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
        let before = shared.begin_warming()?;
        let over = shared.wait_until(Nanos::MAX, |inner| inner.over.after_warm(before));
        shared.end_warming(over)
    }

    /// The same as a future, for an executor whose thread must not wait: least of all if it is the one that connects. It
    /// begins when it is polled first, and what has begun goes on when it is dropped.
    ///
    /// # Errors
    ///
    /// As of [`warm`](Self::warm).
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
    /// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// runtime.block_on(pool.warm_async())?;
    /// assert_eq!(pool.stats().idle_connections, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn warm_async(&self) -> impl Future<Output = Result<(), PoolError<B::Error>>> + Send + use<B> {
        let shared = Arc::clone(self.shared());
        async move {
            let before = shared.begin_warming()?;
            let is_over = move |inner: &mut Inner<B>| inner.over.after_warm(before);
            let over = Settling::new(Arc::clone(&shared), Nanos::MAX, is_over).await;
            shared.end_warming(over)
        }
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
        let Some(before) = shared.begin_checking() else { return 0 };
        shared.wait_until(Nanos::MAX, |inner| inner.over.after_check(before)).unwrap_or(0)
    }

    /// The same as a future, which begins when it is polled first: see [`warm_async`](Self::warm_async).
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
    /// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// assert_eq!(runtime.block_on(pool.check_health_async()), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check_health_async(&self) -> impl Future<Output = u32> + Send + use<B> {
        let shared = Arc::clone(self.shared());
        async move {
            let Some(before) = shared.begin_checking() else { return 0 };
            let is_over = move |inner: &mut Inner<B>| inner.over.after_check(before);
            Settling::new(shared, Nanos::MAX, is_over).await.unwrap_or(0)
        }
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
        shared.end_drain(shared.begin_drain(deadline))
    }

    /// The same as a future, which begins when it is polled first. When it is dropped the drain goes on, and what is
    /// left at its `deadline` is given up.
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
    /// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// assert_eq!(runtime.block_on(pool.drain_async(Duration::from_secs(1))), State::Drained);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain_async(&self, deadline: Duration) -> impl Future<Output = State> + Send + use<B> {
        let shared = Arc::clone(self.shared());
        async move {
            let deadline = shared.begin_drain(deadline);
            shared.end_drain_async(deadline).await
        }
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
        self.shared().close();
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
        self.shared().state()
    }

    /// For a pool that is [driven by hand](crate::PoolBuilder::driven_by_hand): connects, validates, closes and calls back in
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
        let next = shared.lock().next_deadline();
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
}

impl<B: Backend> Shared<B> {
    /// What [`Pool::stats`] says, and all waits that are in it.
    pub(super) fn stats_and_waits(self: &Arc<Self>) -> (PoolStats, Waits) {
        if self.is_inherited() {
            return (PoolStats::default(), Waits::default());
        }
        let mut inner = self.visit();
        inner.catch_up(self.now());
        let stats = inner.stats(self.key);
        let waits = inner.core.counts(self.key).map(|(_, waits)| waits.clone()).unwrap_or_default();
        self.leave(inner);
        (stats, waits)
    }

    /// See [`Pool::state`].
    pub(super) fn state(&self) -> State {
        if self.is_inherited() { State::Drained } else { self.lock().core.drain_state().state() }
    }

    /// See [`Pool::close`].
    pub(super) fn close(self: &Arc<Self>) {
        if self.is_inherited() {
            return self.forget_idle();
        }
        let now = self.now();
        let mut inner = self.visit();
        inner.core.close_all(now);
        self.leave(inner);
        self.tell_all();
        if let Drive::Hand = self.driver() {
            self.do_jobs();
        }
    }
}
