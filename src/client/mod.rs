//! Pools of the connections that a program makes itself: for threads, futures and callbacks. Who gets which connection is
//! decided in the lease core; here are the lock, the threads and the calls of managers.

mod acquire;
mod backend;
mod builder;
mod config;
mod connectors;
mod deadlines;
mod error;
mod facts;
mod future;
mod guard;
mod health;
mod inner;
mod manager;
#[cfg(all(test, loom))]
mod models;
mod pace;
mod pauses;
mod pool;
mod presets;
mod queue;
mod record;
mod retry;
mod retrying;
mod seat;
mod set;
mod settling;
mod shared;
#[allow(unsafe_code, reason = "a stack without a lock")]
mod slots;
mod stats;
mod steering;
mod sync;
mod terms;
mod watch;
mod woken;
mod word;
mod work;

pub use backend::Backend;
pub use builder::PoolBuilder;
pub use config::{AdaptiveConfig, PoolConfig};
pub use error::{ConnectError, ConnectPhase, ErrorKind, PoolError};
pub use future::{Acquire, AcquireOwned};
pub use guard::{ConnectionStats, PooledConnection};
pub use health::Health;
pub use manager::{Async, AsyncManager, BoxFuture, Executor, Manager, Timeouts};
pub use pool::Pool;
pub use retry::RetryConfig;
pub use retrying::AcquireRetry;
pub use set::PoolSet;
pub use stats::{ErrorCounts, PoolStats, WaitTimes};
