//! Pools that are told apart by what they are for: reading, writing, administering. Decides nothing, it only knows
//! which is which.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::acquire::Leased;
use super::backend::Backend;
use super::error::PoolError;
use super::pool::Pool;
use super::stats::{PoolStats, WaitTimes};
use crate::drain::State;
use crate::error::ConfigError;
use crate::lease::Waits;

/// Several pools under the values of an enum, such as one for reading and one for writing.
///
/// All have the same type of manager; what makes them differ is in the manager and in their settings. Pools of
/// different types belong in a struct with a field for each. A clone is one of the same pools.
///
/// ```
/// # use socketpool::{Manager, Pool, PoolConfig, PoolSet, Timeouts};
/// #[derive(Clone, Copy, Debug, PartialEq, Eq)]
/// enum For {
///     Reading,
///     Writing,
/// }
///
/// struct Database(For);
///
/// impl Manager for Database {
///     type Connection = String;
///     type Error = std::convert::Infallible;
///
///     fn connect(&self, _: &Timeouts) -> Result<String, Self::Error> {
///         Ok(format!("{:?}", self.0))
///     }
/// }
///
/// let writers = PoolConfig { max_size: 2, ..PoolConfig::default() };
/// let pools = PoolSet::new([
///     (For::Reading, Pool::new(Database(For::Reading))),
///     (For::Writing, Pool::builder(Database(For::Writing)).config(writers).build()?),
/// ])?;
/// assert_eq!(*pools.acquire(For::Writing)?, "Writing");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PoolSet<K, B: Backend>(Vec<(K, Pool<B>)>);

impl<K: PartialEq + fmt::Debug, B: Backend> PoolSet<K, B> {
    /// These pools, in this order.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolSet, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let twice = PoolSet::new(["read", "read"].map(|key| (key, Pool::new(Numbers))));
    /// assert_eq!(twice.unwrap_err().to_string(), r#"key is "read", must be given once"#);
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a key that is given twice.
    pub fn new(pools: impl IntoIterator<Item = (K, Pool<B>)>) -> Result<Self, ConfigError> {
        let mut set = Self(Vec::new());
        for (key, pool) in pools {
            if set.pool(&key).is_some() {
                return Err(ConfigError::new("key", format_args!("{key:?}"), "given once"));
            }
            set.0.push((key, pool));
        }
        Ok(set)
    }

    /// A connection of the pool under `key`, as [`Pool::acquire`] gives it.
    ///
    /// # Errors
    ///
    /// Those of [`Pool::acquire`]; [`PoolError::Config`] when nothing is under `key`.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolSet, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pools = PoolSet::new([("read", Pool::new(Numbers)), ("write", Pool::new(Numbers))])?;
    /// assert_eq!(*pools.acquire("read")?, 7);
    /// let error = pools.acquire("admin").unwrap_err();
    /// assert_eq!(error.to_string(), r#"key is "admin", must be one of "read", "write""#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn acquire(&self, key: K) -> Leased<B> {
        match self.pool(&key) {
            Some(pool) => pool.acquire(),
            None => Err(PoolError::Config(self.unknown(&key))),
        }
    }

    /// The same as a future: see [`Pool::acquire_async`].
    ///
    /// # Errors
    ///
    /// As of [`acquire`](Self::acquire).
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolSet, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pools = PoolSet::new([("read", Pool::new(Numbers)), ("write", Pool::new(Numbers))])?;
    /// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// assert_eq!(*runtime.block_on(pools.acquire_async("read"))?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn acquire_async(&self, key: K) -> impl Future<Output = Leased<B>> {
        let acquire = match self.pool(&key) {
            Some(pool) => Ok(pool.acquire_async()),
            None => Err(PoolError::Config(self.unknown(&key))),
        };
        async move {
            match acquire {
                Ok(acquire) => acquire.await,
                Err(error) => Err(error),
            }
        }
    }

    /// The pool under `key`; `None` when nothing is.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolSet, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pools = PoolSet::new([("read", Pool::new(Numbers))])?;
    /// assert!(pools.pool(&"read").is_some_and(|pool| pool.try_acquire().is_none()), "nothing is idle");
    /// assert!(pools.pool(&"write").is_none());
    /// # Ok::<(), socketpool::ConfigError>(())
    /// ```
    #[must_use]
    pub fn pool(&self, key: &K) -> Option<&Pool<B>> {
        self.0.iter().find(|(other, _)| other == key).map(|(_, pool)| pool)
    }

    #[cold]
    fn unknown(&self, key: &K) -> ConfigError {
        let keys: Vec<String> = self.0.iter().map(|(key, _)| format!("{key:?}")).collect();
        ConfigError::new("key", format_args!("{key:?}"), format!("one of {}", keys.join(", ")))
    }
}

impl<K, B: Backend> PoolSet<K, B> {
    /// Every pool with its key, in the order in which they were given.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolSet, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pools = PoolSet::new([("read", Pool::new(Numbers)), ("write", Pool::new(Numbers))])?;
    /// for (key, pool) in pools.iter() {
    ///     println!("{key}: {}", pool.stats());
    /// }
    /// # assert_eq!(pools.iter().count(), 2);
    /// # Ok::<(), socketpool::ConfigError>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&K, &Pool<B>)> {
        self.0.iter().map(|(key, pool)| (key, pool))
    }

    /// How all of them stand together: every number is the sum, and waits are those of all. For one of them ask
    /// [`pool`](Self::pool).
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolSet, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pools = PoolSet::new([("read", Pool::new(Numbers)), ("write", Pool::new(Numbers))])?;
    /// let held = (pools.pool(&"read").unwrap().acquire()?, pools.pool(&"write").unwrap().acquire()?);
    /// assert_eq!(pools.stats().active_connections, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let mut all = Waits::default();
        let sum = self.iter().fold(PoolStats::default(), |sum, (_, pool)| {
            let (stats, waits) = pool.shared().stats_and_waits();
            all.add(&waits);
            sum.and(stats, WaitTimes::default())
        });
        PoolStats { waits: WaitTimes::of(&all), ..sum }
    }

    /// How far they are on their way out: as far as the one that is least far.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolSet, State, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pools = PoolSet::new([("read", Pool::new(Numbers)), ("write", Pool::new(Numbers))])?;
    /// pools.pool(&"read").unwrap().close();
    /// assert_eq!(pools.state(), State::Active);
    /// # Ok::<(), socketpool::ConfigError>(())
    /// ```
    #[must_use]
    pub fn state(&self) -> State {
        least_far(self.iter().map(|(_, pool)| pool.state()))
    }

    /// [Drains](Pool::drain) all of them at the same time: none takes newcomers from now on, and all have until the same
    /// `deadline`. What it returns is [`state`](Self::state) then.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolError, PoolSet, State, Timeouts};
    /// # use std::time::Duration;
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pools = PoolSet::new([("read", Pool::new(Numbers)), ("write", Pool::new(Numbers))])?;
    /// drop(pools.acquire("read")?);
    /// assert_eq!(pools.drain(Duration::from_secs(1)), State::Drained);
    /// assert!(matches!(pools.acquire("write"), Err(PoolError::Closed)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain(&self, deadline: Duration) -> State {
        let shared = self.iter().map(|(_, pool)| pool.shared());
        let begun: Vec<_> = shared.map(|pool| (pool, pool.begin_drain(deadline))).collect();
        least_far(begun.into_iter().map(|(pool, deadline)| pool.end_drain(deadline)))
    }

    /// The same as a future: see [`Pool::drain_async`].
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolSet, State, Timeouts};
    /// # use std::time::Duration;
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pools = PoolSet::new([("read", Pool::new(Numbers)), ("write", Pool::new(Numbers))])?;
    /// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// assert_eq!(runtime.block_on(pools.drain_async(Duration::from_secs(1))), State::Drained);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain_async(&self, deadline: Duration) -> impl Future<Output = State> + Send + use<K, B> {
        let pools: Vec<_> = self.iter().map(|(_, pool)| Arc::clone(pool.shared())).collect();
        async move {
            let begun: Vec<_> = pools.iter().map(|pool| pool.begin_drain(deadline)).collect();
            let mut states = Vec::with_capacity(pools.len());
            for (pool, deadline) in pools.into_iter().zip(begun) {
                states.push(pool.end_drain_async(deadline).await);
            }
            least_far(states.into_iter())
        }
    }

    /// [Closes](Pool::close) all of them.
    ///
    /// ```
    /// # use socketpool::{Manager, Pool, PoolError, PoolSet, Timeouts};
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     fn connect(&self, _: &Timeouts) -> Result<u64, Self::Error> { Ok(7) }
    /// # }
    /// let pools = PoolSet::new([("read", Pool::new(Numbers)), ("write", Pool::new(Numbers))])?;
    /// pools.close();
    /// assert!(matches!(pools.acquire("write"), Err(PoolError::Closed)));
    /// # Ok::<(), socketpool::ConfigError>(())
    /// ```
    pub fn close(&self) {
        self.iter().for_each(|(_, pool)| pool.close());
    }
}

/// Where nothing is, nothing is left to be closed.
fn least_far(states: impl Iterator<Item = State>) -> State {
    states.fold(State::Drained, |least, state| match (least, state) {
        (State::Active, _) | (_, State::Active) => State::Active,
        (State::Draining, _) | (_, State::Draining) => State::Draining,
        (State::Drained, State::Drained) => State::Drained,
    })
}

impl<K: Clone, B: Backend> Clone for PoolSet<K, B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: fmt::Debug, B: Backend> fmt::Debug for PoolSet<K, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};
    use std::thread;

    use super::*;
    use crate::client::{Manager, PoolConfig, Timeouts};
    use crate::clock::{Clock, Hand};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum For {
        Reading,
        Writing,
        Administering,
    }

    /// Its connections know what they are for.
    struct Database(For);

    impl Manager for Database {
        type Connection = For;
        type Error = std::convert::Infallible;

        fn connect(&self, _: &Timeouts) -> Result<For, Self::Error> {
            Ok(self.0)
        }
    }

    fn set(keys: &[For]) -> Result<PoolSet<For, Database>, ConfigError> {
        PoolSet::new(keys.iter().map(|&key| (key, Pool::new(Database(key)))))
    }

    #[test]
    fn each_key_has_the_connections_of_its_own_pool() {
        let pools = set(&[For::Reading, For::Writing]).unwrap();
        assert_eq!(*pools.acquire(For::Reading).unwrap(), For::Reading);
        assert_eq!(*pools.acquire(For::Writing).unwrap(), For::Writing);
        let _held = pools.acquire(For::Writing).unwrap();
        let active = pools.iter().map(|(&key, pool)| (key, pool.stats().active_connections));
        assert_eq!(active.collect::<Vec<_>>(), [(For::Reading, 0), (For::Writing, 1)]);
    }

    #[test]
    fn a_key_without_a_pool_is_an_error_that_names_the_others() {
        let pools = set(&[For::Reading, For::Writing]).unwrap();
        assert!(pools.pool(&For::Administering).is_none());
        let error = pools.acquire(For::Administering).unwrap_err();
        assert_eq!(error.to_string(), "key is Administering, must be one of Reading, Writing");
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        let error = set(&[For::Reading, For::Writing, For::Reading]).unwrap_err();
        assert_eq!(error.to_string(), "key is Reading, must be given once");
    }

    #[test]
    fn a_clone_is_one_of_the_same_pools_and_closing_closes_all() {
        let pools = set(&[For::Reading, For::Writing]).unwrap();
        let clone = pools.clone();
        assert!(format!("{clone:?}").starts_with("{Reading: Pool"));
        clone.close();
        for key in [For::Reading, For::Writing] {
            assert!(matches!(pools.acquire(key), Err(PoolError::Closed)));
        }
    }

    /// One connection each, on a clock that is turned by hand.
    fn by_hand() -> (PoolSet<For, Database>, Hand) {
        let (clock, hand) = Clock::manual();
        let config = PoolConfig { max_size: 1, ..PoolConfig::default() };
        let pool = |key| {
            let builder = Pool::builder(Database(key)).config(config.clone()).clock(clock.clone());
            (key, builder.driven_by_hand().build().unwrap())
        };
        (PoolSet::new([For::Reading, For::Writing].map(pool)).unwrap(), hand)
    }

    fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_lease_may_be_awaited_and_an_unknown_key_is_known_at_once() {
        fn crosses<T: Send>(future: T) -> T {
            future
        }
        let (pools, _) = by_hand();
        let mut lease = Box::pin(crosses(pools.acquire_async(For::Writing)));
        assert!(poll(&mut lease).is_pending());
        pools.pool(&For::Writing).unwrap().tick();
        assert!(matches!(poll(&mut lease), Poll::Ready(Ok(lease)) if *lease == For::Writing));
        let Poll::Ready(Err(error)) = poll(&mut Box::pin(pools.acquire_async(For::Administering))) else {
            panic!("nobody is asked")
        };
        assert_eq!(error.to_string(), "key is Administering, must be one of Reading, Writing");
    }

    #[test]
    fn the_numbers_of_all_are_sums_and_their_waits_are_told_together() {
        let (pools, hand) = by_hand();
        for (key, wait) in [(For::Reading, 10), (For::Writing, 1_000)] {
            let held = pools.acquire(key).unwrap();
            let mut next = Box::pin(pools.acquire_async(key));
            assert!(poll(&mut next).is_pending());
            hand.advance(Duration::from_millis(wait));
            drop(held);
            assert!(matches!(poll(&mut next), Poll::Ready(Ok(_))));
        }
        let stats = pools.stats();
        assert_eq!(stats.broken_identity(), None);
        assert_eq!((stats.total_acquisitions, stats.pool_misses, stats.idle_connections), (4, 2, 2));
        assert_eq!(stats.total_wait, Duration::from_millis(1_010));
        let longest = pools.pool(&For::Writing).unwrap().stats().waits.max;
        assert_eq!(
            (stats.waits.count, stats.waits.max),
            (4, longest),
            "the first of each waited for its connect"
        );
        assert_eq!(
            stats.waits.buckets,
            [2, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
            "10 ms are no more than 10 ms"
        );
        assert!(stats.waits.p50 < Duration::from_millis(11), "{:?}", stats.waits);
        let none: [(For, Pool<Database>); 0] = [];
        let none = PoolSet::new(none).unwrap();
        assert_eq!((none.stats(), none.state()), (PoolStats::default(), State::Drained));
    }

    #[test]
    fn all_are_drained_at_the_same_time_and_the_deadline_is_one() {
        let pools = set(&[For::Reading, For::Writing]).unwrap();
        let held = pools.acquire(For::Reading).unwrap();
        drop(pools.acquire(For::Writing).unwrap());
        let drained = thread::spawn({
            let pools = pools.clone();
            move || pools.drain(Duration::from_secs(60))
        });
        // The second does not wait for the first, which is held.
        while pools.pool(&For::Writing).unwrap().state() != State::Drained {
            thread::yield_now();
        }
        assert_eq!(pools.state(), State::Draining);
        assert!(matches!(pools.acquire(For::Reading), Err(PoolError::Closed)));
        drop(held);
        assert_eq!((drained.join().unwrap(), pools.state()), (State::Drained, State::Drained));
    }

    #[test]
    fn what_is_held_beyond_the_deadline_leaves_them_draining() {
        let pools = set(&[For::Reading, For::Writing]).unwrap();
        let held = pools.acquire(For::Writing).unwrap();
        assert_eq!(pools.drain(Duration::ZERO), State::Draining);
        drop(held);
        while pools.state() != State::Drained {
            thread::yield_now();
        }
    }

    #[test]
    fn they_are_as_far_as_the_one_that_is_least_far() {
        use State::{Active, Drained, Draining};
        let of = |states: &[State]| least_far(states.iter().copied());
        assert_eq!(
            [of(&[]), of(&[Drained, Drained]), of(&[Drained, Draining])],
            [Drained, Drained, Draining]
        );
        assert_eq!(
            [of(&[Draining, Active]), of(&[Active, Drained]), of(&[Draining, Drained])],
            [Active, Active, Draining]
        );
    }
}
