//! Pools of the connections a program makes itself: their settings, what can go wrong, how a failed acquire is tried
//! again, and what is told of it all.

mod config;
mod error;
mod presets;
#[cfg_attr(not(test), expect(dead_code, reason = "the acquire that tries again is to come"))]
mod retry;
mod stats;

pub use config::{AdaptiveConfig, PoolConfig};
pub use error::{ConnectError, ConnectPhase, ErrorKind, PoolError};
pub use retry::RetryConfig;
pub use stats::{ErrorCounts, PoolStats, WaitTimes};
