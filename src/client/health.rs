//! Whether a pool's connects succeed.

use std::time::Duration;

use super::error::ConnectError;

/// Whether connections can be made, as far as a pool knows by its last attempt.
///
/// ```
/// # use socketpool::Health;
/// fn is_ready<E>(health: &Health<E>) -> bool {
///     matches!(health, Health::Healthy)
/// }
/// ```
#[derive(Debug)]
pub enum Health<E> {
    /// The last connect succeeded, or none has been tried.
    Healthy,
    /// The last connect failed.
    Unhealthy {
        /// How long ago the first of the failures in a row was.
        since: Duration,
        /// How the last one failed.
        last_error: ConnectError<E>,
    },
}
