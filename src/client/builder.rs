//! What a pool is made from, and its making.

use std::fmt;
use std::sync::{Arc, Weak};

use super::backend::Backend;
use super::config::PoolConfig;
use super::deadlines::{Process, Ticks};
use super::pool::Pool;
use super::retrying::StageIs;
use super::shared::{Drive, Shared};
use crate::clock::Clock;
use crate::error::ConfigError;

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

impl<B> PoolBuilder<B> {
    pub(super) fn new(backend: B) -> Self {
        Self {
            backend,
            config: PoolConfig::default(),
            clock: None,
            driver: Driver::Threads,
            stage: StageIs::Running,
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
    /// The first setting that cannot hold. And a `thread` that is refused by the system: the first pool of a process makes
    /// the one that all of them need, unless they are [driven by hand](Self::driven_by_hand).
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
                let shared = Arc::new_cyclic(|weak: &Weak<Shared<B>>| {
                    let name = process.enter(Weak::clone(weak) as Weak<dyn Ticks>);
                    Shared::new(
                        self.backend,
                        self.config,
                        self.clock,
                        Drive::Threads(process, name),
                        self.stage,
                        seed,
                    )
                });
                process.begin().map_err(|error| {
                    let refused = format_args!("refused ({error})");
                    ConfigError::new("thread", refused, "made once a process, or the pool driven by hand")
                })?;
                shared
            }
        };
        Ok(Pool::of(shared))
    }
}

impl<B> fmt::Debug for PoolBuilder<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
