//! Whether a pool's connects succeed.

use std::fmt;
use std::time::Duration;

use super::error::{ConnectError, in_millis};

/// Whether connections can be made, as far as a pool knows by its last attempt.
///
/// ```
/// # use socketpool::Health;
/// fn is_ready<E>(health: &Health<E>) -> bool {
///     matches!(health, Health::Healthy)
/// }
/// assert_eq!(Health::<std::io::Error>::Healthy.to_string(), "healthy");
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

impl<E> Clone for Health<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Healthy => Self::Healthy,
            Self::Unhealthy { since, last_error } => {
                Self::Unhealthy { since: *since, last_error: last_error.clone() }
            }
        }
    }
}

impl<E: fmt::Display> fmt::Display for Health<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.pad("healthy"),
            Self::Unhealthy { since, last_error } => {
                write!(f, "unhealthy for {:?}: {last_error}", in_millis(*since))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ConnectPhase;

    #[test]
    fn it_is_one_line_and_a_clone_says_the_same() {
        let last_error = ConnectError::failed(ConnectPhase::Connect, "refused");
        let ill = Health::Unhealthy { since: Duration::from_nanos(31_709_575_172), last_error };
        assert_eq!(ill.clone().to_string(), "unhealthy for 31.709s: connect: refused");
        assert_eq!(format!("{:9}|", Health::<&str>::Healthy.clone()), "healthy  |");
    }
}
