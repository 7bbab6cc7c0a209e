//! The names of the guide: what they take and answer is the guide's, what they do is the pool's.

mod connection;
mod health;
mod pool;
mod turning;
mod walk;

pub use connection::*;
pub use health::*;
pub use pool::*;
pub use turning::*;
pub use walk::*;

use std::ffi::c_int;
use std::time::Duration;

use super::status::Failure;

/// A span of milliseconds in which 0 stands for "off".
fn millis_or_off(field: &str, millis: i64) -> Result<Option<Duration>, Failure> {
    match u64::try_from(millis) {
        Ok(0) => Ok(None),
        Ok(millis) => Ok(Some(Duration::from_millis(millis))),
        Err(_) => Err(Failure::argument(field, format_args!("is {millis}, must be at least 0"))),
    }
}

/// What C takes for a count.
fn count(n: usize) -> c_int {
    c_int::try_from(n).unwrap_or(c_int::MAX)
}
