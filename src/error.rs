//! What can go wrong, said so that the caller knows what to do; what is the caller's comes back inside.

use std::time::Duration;
use std::{fmt, io};

use crate::reason::Refusal;

/// A call that could not do what it was asked to.
///
/// Nothing a peer does ever shows up here: peers are answered with events and counted reasons.
///
/// ```
/// use socketpool::{Error, SocketPool};
/// let error = SocketPool::<()>::builder().max_connections(0).build().unwrap_err();
/// assert!(matches!(error, Error::Config { field: "max_connections", .. }));
/// assert_eq!(error.to_string(), "max_connections is 0, must be from 1 to 16777216");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot hold. Nothing was changed.
    Config {
        /// The name of the setting.
        field: &'static str,
        /// The value that was given.
        value: String,
        /// What it must be.
        bound: String,
    },
    /// The operating system refused; nothing was changed.
    Io {
        /// What was being done, with the name or address it was done to.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The memory that the configured limits need could not be reserved.
    Memory {
        /// What it was for.
        what: &'static str,
    },
    /// The pool is in a state in which this cannot be done.
    State {
        /// What was asked for.
        what: &'static str,
        /// Why it cannot be.
        why: &'static str,
    },
}

impl Error {
    pub(crate) fn config(field: &'static str, value: impl fmt::Display, bound: impl Into<String>) -> Self {
        Self::Config { field, value: value.to_string(), bound: bound.into() }
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { field, value, bound } => write!(f, "{field} is {value}, must be {bound}"),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Memory { what } => write!(f, "not enough memory for {what}"),
            Self::State { what, why } => write!(f, "{what}: {why}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A setting that cannot hold, of those that are checked before there is a pool.
///
/// ```
/// use socketpool::{BreakerConfig, ConfigError};
///
/// let error = BreakerConfig { probes: 0, ..BreakerConfig::default() }.validate().unwrap_err();
/// let ConfigError { field, value, bound } = &error;
/// assert_eq!((*field, &value[..], &bound[..]), ("breaker.probes", "0", "at least 1"));
/// assert_eq!(error.to_string(), "breaker.probes is 0, must be at least 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The name of the setting.
    pub field: &'static str,
    /// The value that was given.
    pub value: String,
    /// What it must be.
    pub bound: String,
}

impl ConfigError {
    pub(crate) fn new(field: &'static str, value: impl fmt::Display, bound: impl Into<String>) -> Self {
        Self { field, value: value.to_string(), bound: bound.into() }
    }

    pub(crate) fn span(field: &'static str, value: Duration, bound: impl Into<String>) -> Self {
        Self { field, value: format!("{value:?}"), bound: bound.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, bound } = self;
        write!(f, "{field} is {value}, must be {bound}")
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for Error {
    fn from(ConfigError { field, value, bound }: ConfigError) -> Self {
        Self::Config { field, value, bound }
    }
}

/// A stream that the pool would not take, handed back with the reason.
///
/// ```
/// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
/// # let mut pool = SocketPool::<()>::builder().build()?;
/// # let (ours, mut client) = UnixStream::pair().unwrap();
/// # client.set_nonblocking(true).unwrap();
/// # let id = pool.add(ours).unwrap();
/// pool.drain(None);
/// let (late, mut client) = UnixStream::pair().unwrap();
/// let refused = pool.add(late).unwrap_err();
/// assert_eq!(refused.to_string(), "stream refused: draining");
/// UnixStream::from(refused.stream).write_all(b"come back later\n").unwrap(); // it is ours again
/// # Ok::<(), socketpool::Error>(())
/// ```
pub struct AddError<S> {
    /// The stream, untouched and open.
    pub stream: S,
    /// Why it was refused.
    pub reason: Refusal,
}

impl<S> fmt::Debug for AddError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<S> fmt::Display for AddError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream refused: {}", self.reason)
    }
}

impl<S> std::error::Error for AddError<S> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_cannot_hold_reads_the_same_in_both_errors() {
        let error = ConfigError::span("open_for", Duration::ZERO, "longer than 0");
        assert_eq!(error.to_string(), "open_for is 0ns, must be longer than 0");
        assert_eq!(Error::from(error.clone()).to_string(), error.to_string());
    }
}
