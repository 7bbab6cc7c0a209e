//! What can come of an acquire instead of a connection, and what can come of a connect.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::ConfigError;

/// Why there is no connection. `E` is the error of whoever makes the connections.
///
/// A clone costs next to nothing and does not ask `E` to be cloned: one failed connect may be told to many that waited.
///
/// ```
/// use socketpool::{ConnectError, ConnectPhase, ErrorKind, PoolError};
/// use std::io;
///
/// let refused = ConnectError::failed(ConnectPhase::Connect, io::Error::from(io::ErrorKind::ConnectionRefused));
/// let error = PoolError::Connect(refused);
/// assert_eq!(error.to_string(), "no connection could be made: connect: connection refused");
/// assert_eq!(error.kind(), Some(ErrorKind::Connect));
/// assert!(!matches!(error, PoolError::Exhausted { .. } | PoolError::Timeout { .. }), "more connections would not help");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum PoolError<E> {
    /// No connection is idle, and there is no waiting: by an `acquire_timeout` of zero, or as
    /// [`max_waiters`](crate::PoolConfig#structfield.max_waiters) wait already. Come back later, or do with less. With fewer
    /// `in_use` than `max`, one is being made meanwhile.
    Exhausted {
        /// Connections in use.
        in_use: u32,
        /// The most there may be.
        max: u32,
        /// How many acquires wait.
        waiters: u32,
    },
    /// None came free in time.
    Timeout {
        /// How long it was waited.
        waited: Duration,
    },
    /// The pool is closed or being drained: there will never be one.
    Closed,
    /// None was free and a new one could not be made.
    Connect(ConnectError<E>),
    /// None was free, and none is made: connecting has failed so often that it is given a rest.
    Unavailable {
        /// How long yet.
        until: Duration,
        /// What failed last.
        last: Option<ConnectError<E>>,
    },
    /// It was tried again until the time for it was over.
    RetriesExhausted {
        /// How many times in all.
        attempts: u32,
        /// For how long.
        elapsed: Duration,
        /// How the last attempt ended.
        last: Box<Self>,
    },
    /// A setting cannot hold, or a key has no pool. Only an acquire ends so that is given one: by
    /// [`acquire_retry`](crate::Pool::acquire_retry), or of a [`PoolSet`](crate::PoolSet).
    Config(ConfigError),
}

impl<E> PoolError<E> {
    /// What kind of failure it is, as retries are counted; none for [`Config`](Self::Config), which is no failed acquire.
    ///
    /// [`Exhausted`](Self::Exhausted) is a timeout too, of no time at all.
    ///
    /// ```
    /// use socketpool::{ErrorKind, PoolError};
    /// use std::time::Duration;
    ///
    /// let late = PoolError::<std::io::Error>::Timeout { waited: Duration::from_secs(5) };
    /// assert_eq!(late.kind(), Some(ErrorKind::Timeout));
    /// assert_eq!(late.kind().unwrap().as_str(), "timeout");
    /// ```
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Exhausted { .. } | Self::Timeout { .. } => Some(ErrorKind::Timeout),
            Self::Closed => Some(ErrorKind::Closed),
            Self::Connect(error) => Some(error.kind()),
            Self::Unavailable { last, .. } => {
                Some(last.as_ref().map_or(ErrorKind::Connect, ConnectError::kind))
            }
            Self::RetriesExhausted { last, .. } => last.kind(),
            Self::Config(_) => None,
        }
    }
}

impl<E> Clone for PoolError<E> {
    fn clone(&self) -> Self {
        match self {
            &Self::Exhausted { in_use, max, waiters } => Self::Exhausted { in_use, max, waiters },
            &Self::Timeout { waited } => Self::Timeout { waited },
            Self::Closed => Self::Closed,
            Self::Connect(error) => Self::Connect(error.clone()),
            Self::Unavailable { until, last } => Self::Unavailable { until: *until, last: last.clone() },
            Self::RetriesExhausted { attempts, elapsed, last } => {
                Self::RetriesExhausted { attempts: *attempts, elapsed: *elapsed, last: last.clone() }
            }
            Self::Config(error) => Self::Config(error.clone()),
        }
    }
}

impl<E: fmt::Display> fmt::Display for PoolError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted { in_use, max, waiters } => {
                write!(
                    f,
                    "no connection is idle and nobody else may wait: {in_use} of {max} in use, {waiters} waiting"
                )
            }
            Self::Timeout { waited } => {
                write!(f, "no connection came free within {:?}", in_millis(*waited))
            }
            Self::Closed => f.write_str("the pool is closed"),
            Self::Connect(error) => write!(f, "no connection could be made: {error}"),
            Self::Unavailable { until, last: None } => {
                write!(f, "no connection is made for another {:?}", in_millis(*until))
            }
            Self::Unavailable { until, last: Some(error) } => {
                write!(f, "no connection is made for another {:?}: {error}", in_millis(*until))
            }
            Self::RetriesExhausted { attempts, elapsed, last } => {
                let elapsed = in_millis(*elapsed);
                write!(f, "gave up after {attempts} attempts in {elapsed:?}: {last}")
            }
            Self::Config(error) => error.fmt(f),
        }
    }
}

/// For a text: what is less than a millisecond tells nobody anything, unless it is all there is.
pub(super) fn in_millis(span: Duration) -> Duration {
    let whole = Duration::new(span.as_secs(), span.subsec_millis() * 1_000_000);
    if whole.is_zero() { span } else { whole }
}

impl<E: StdError + 'static> StdError for PoolError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            Self::Unavailable { last, .. } => last.as_ref().map(|error| error as _),
            Self::RetriesExhausted { last, .. } => Some(&**last),
            Self::Config(error) => Some(error),
            Self::Exhausted { .. } | Self::Timeout { .. } | Self::Closed => None,
        }
    }
}

impl<E> From<ConnectError<E>> for PoolError<E> {
    fn from(error: ConnectError<E>) -> Self {
        Self::Connect(error)
    }
}

impl<E> From<ConfigError> for PoolError<E> {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Why a connection could not be made. A clone is one of the same error.
///
/// ```
/// use socketpool::{ConnectError, ConnectPhase};
/// use std::time::Duration;
///
/// let slow = ConnectError::<std::io::Error>::timed_out(ConnectPhase::Tls, Duration::from_secs(5));
/// assert_eq!(slow.to_string(), "tls: not done within 5s");
/// assert!(matches!(slow.clone(), ConnectError::TimedOut { phase: ConnectPhase::Tls, .. }));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError<E> {
    /// Whoever makes the connections says so.
    Failed {
        /// How far it had come.
        phase: ConnectPhase,
        /// What they say.
        error: Arc<E>,
    },
    /// The code that makes the connections panicked. The pool goes on.
    Panicked {
        /// How far it had come.
        phase: ConnectPhase,
        /// What the panic said.
        message: Arc<str>,
    },
    /// It took longer than it may.
    TimedOut {
        /// How far it had come.
        phase: ConnectPhase,
        /// How long it may take.
        after: Duration,
    },
    /// It was a future, and its executor dropped it before it was done: when a runtime was shut down, perhaps.
    Dropped {
        /// How far it had come.
        phase: ConnectPhase,
    },
}

impl<E> ConnectError<E> {
    /// An error of whoever makes the connections.
    ///
    /// ```
    /// use socketpool::{ConnectError, ConnectPhase};
    ///
    /// let error = ConnectError::failed(ConnectPhase::Validate, "no such database");
    /// assert_eq!(error.to_string(), "validate: no such database");
    /// ```
    pub fn failed(phase: ConnectPhase, error: E) -> Self {
        Self::Failed { phase, error: Arc::new(error) }
    }

    /// A panic, with what [`catch_unwind`](std::panic::catch_unwind) caught of it.
    ///
    /// ```
    /// use socketpool::{ConnectError, ConnectPhase};
    ///
    /// let caught = std::panic::catch_unwind(|| panic!("no password")).unwrap_err();
    /// let error = ConnectError::<std::io::Error>::panicked(ConnectPhase::Connect, &*caught);
    /// assert_eq!(error.to_string(), "connect: panicked: no password");
    /// ```
    #[must_use]
    pub fn panicked(phase: ConnectPhase, payload: &(dyn Any + Send)) -> Self {
        let literal = payload.downcast_ref::<&str>().copied();
        let message = literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self::Panicked { phase, message: message.unwrap_or("with what is no text").into() }
    }

    /// A connect that was not done `after` so long.
    ///
    /// ```
    /// use socketpool::{ConnectError, ConnectPhase};
    /// use std::time::Duration;
    ///
    /// let error = ConnectError::<std::io::Error>::timed_out(ConnectPhase::Resolve, Duration::from_secs(5));
    /// assert_eq!(error.kind().as_str(), "timeout");
    /// ```
    #[must_use]
    pub const fn timed_out(phase: ConnectPhase, after: Duration) -> Self {
        Self::TimedOut { phase, after }
    }

    /// A future that was dropped before it was done.
    ///
    /// ```
    /// use socketpool::{ConnectError, ConnectPhase};
    ///
    /// let error = ConnectError::<std::io::Error>::dropped(ConnectPhase::Connect);
    /// assert_eq!(error.to_string(), "connect: its future was dropped");
    /// ```
    #[must_use]
    pub const fn dropped(phase: ConnectPhase) -> Self {
        Self::Dropped { phase }
    }

    /// How far it had come.
    ///
    /// ```
    /// use socketpool::{ConnectError, ConnectPhase};
    ///
    /// assert_eq!(ConnectError::failed(ConnectPhase::Tls, "bad certificate").phase(), ConnectPhase::Tls);
    /// ```
    #[must_use]
    pub const fn phase(&self) -> ConnectPhase {
        match self {
            Self::Failed { phase, .. }
            | Self::Panicked { phase, .. }
            | Self::TimedOut { phase, .. }
            | Self::Dropped { phase } => *phase,
        }
    }

    /// What kind of failure it is in the statistics: the phase, or that it took too long.
    ///
    /// ```
    /// use socketpool::{ConnectError, ConnectPhase, ErrorKind};
    ///
    /// assert_eq!(ConnectError::failed(ConnectPhase::Tls, "bad certificate").kind(), ErrorKind::Tls);
    /// ```
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::TimedOut { .. } => ErrorKind::Timeout,
            Self::Failed { phase, .. } | Self::Panicked { phase, .. } | Self::Dropped { phase } => {
                phase.kind()
            }
        }
    }

    /// The error of whoever makes the connections, if it was that.
    ///
    /// ```
    /// use socketpool::{ConnectError, ConnectPhase};
    ///
    /// let error = ConnectError::failed(ConnectPhase::Connect, 111);
    /// assert_eq!(error.error(), Some(&111));
    /// ```
    #[must_use]
    pub fn error(&self) -> Option<&E> {
        match self {
            Self::Failed { error, .. } => Some(error),
            Self::Panicked { .. } | Self::TimedOut { .. } | Self::Dropped { .. } => None,
        }
    }
}

impl<E> Clone for ConnectError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed { phase, error } => Self::Failed { phase: *phase, error: Arc::clone(error) },
            Self::Panicked { phase, message } => {
                Self::Panicked { phase: *phase, message: Arc::clone(message) }
            }
            &Self::TimedOut { phase, after } => Self::TimedOut { phase, after },
            &Self::Dropped { phase } => Self::Dropped { phase },
        }
    }
}

impl<E: fmt::Display> fmt::Display for ConnectError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { phase, error } => write!(f, "{phase}: {error}"),
            Self::Panicked { phase, message } => write!(f, "{phase}: panicked: {message}"),
            Self::TimedOut { phase, after } => write!(f, "{phase}: not done within {after:?}"),
            Self::Dropped { phase } => write!(f, "{phase}: its future was dropped"),
        }
    }
}

impl<E: StdError + 'static> StdError for ConnectError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error().map(|error| error as _)
    }
}

/// How far the making of a connection has come.
///
/// ```
/// assert_eq!(socketpool::ConnectPhase::Resolve.to_string(), "resolve");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectPhase {
    /// Looking up the name.
    Resolve,
    /// Reaching the address; all of it, where whoever makes the connections does not tell.
    Connect,
    /// Shaking hands by TLS.
    Tls,
    /// The first validation.
    Validate,
}

impl ConnectPhase {
    const fn kind(self) -> ErrorKind {
        match self {
            Self::Resolve => ErrorKind::Resolve,
            Self::Connect => ErrorKind::Connect,
            Self::Tls => ErrorKind::Tls,
            Self::Validate => ErrorKind::Validate,
        }
    }
}

impl fmt::Display for ConnectPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.kind().as_str())
    }
}

/// A kind of failure, by which statistics count them.
///
/// ```
/// use socketpool::ErrorKind;
///
/// let words = ErrorKind::ALL.map(ErrorKind::as_str);
/// assert_eq!(words, ["resolve", "connect", "timeout", "tls", "validate", "closed"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A name could not be looked up.
    Resolve,
    /// An address could not be reached.
    Connect,
    /// It took too long: a connect, or the wait for a connection.
    Timeout,
    /// TLS could not be agreed on.
    Tls,
    /// A connection was made and is no good.
    Validate,
    /// The pool is closed.
    Closed,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Resolve, Self::Connect, Self::Timeout, Self::Tls, Self::Validate, Self::Closed];

    /// The kind as a word for logs, metrics and tables, never changed.
    ///
    /// ```
    /// assert_eq!(socketpool::ErrorKind::Tls.as_str(), "tls");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Validate => "validate",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    type Refused = ConnectError<io::Error>;

    fn refused() -> Refused {
        ConnectError::failed(ConnectPhase::Connect, io::Error::from(io::ErrorKind::ConnectionRefused))
    }

    fn every_error() -> [(PoolError<io::Error>, &'static str, Option<ErrorKind>); 8] {
        let last = Box::new(PoolError::Timeout { waited: Duration::from_secs(5) });
        [
            (
                PoolError::Exhausted { in_use: 9, max: 10, waiters: 1_024 },
                "no connection is idle and nobody else may wait: 9 of 10 in use, 1024 waiting",
                Some(ErrorKind::Timeout),
            ),
            (
                PoolError::Timeout { waited: Duration::from_millis(1_500) },
                "no connection came free within 1.5s",
                Some(ErrorKind::Timeout),
            ),
            (PoolError::Closed, "the pool is closed", Some(ErrorKind::Closed)),
            (
                refused().into(),
                "no connection could be made: connect: connection refused",
                Some(ErrorKind::Connect),
            ),
            (
                PoolError::Unavailable { until: Duration::from_secs(12), last: None },
                "no connection is made for another 12s",
                Some(ErrorKind::Connect),
            ),
            (
                PoolError::Unavailable {
                    until: Duration::from_secs(12),
                    last: Some(ConnectError::timed_out(ConnectPhase::Tls, Duration::from_secs(5))),
                },
                "no connection is made for another 12s: tls: not done within 5s",
                Some(ErrorKind::Timeout),
            ),
            (
                PoolError::RetriesExhausted { attempts: 6, elapsed: Duration::from_secs(30), last },
                "gave up after 6 attempts in 30s: no connection came free within 5s",
                Some(ErrorKind::Timeout),
            ),
            (
                ConfigError::new("max_size", 0, "from 1 to 16777215").into(),
                "max_size is 0, must be from 1 to 16777215",
                None,
            ),
        ]
    }

    #[test]
    fn every_error_says_what_and_how_much_and_so_does_its_clone() {
        for (error, text, kind) in every_error() {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.kind(), kind, "{text}");
            let clone = error.clone();
            assert_eq!((clone.to_string(), format!("{clone:?}")), (text.to_owned(), format!("{error:?}")));
        }
    }

    #[test]
    fn the_source_of_an_error_is_the_one_inside() {
        let sources = every_error().map(|(error, ..)| error.source().map(ToString::to_string));
        let expected = [
            None,
            None,
            None,
            Some("connect: connection refused"),
            None,
            Some("tls: not done within 5s"),
            Some("no connection came free within 5s"),
            Some("max_size is 0, must be from 1 to 16777215"),
        ];
        assert_eq!(sources.each_ref().map(Option::as_deref), expected);
        let innermost =
            refused().source().and_then(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind);
        assert_eq!(innermost, Some(io::ErrorKind::ConnectionRefused));
    }

    #[test]
    fn a_clone_needs_no_clone_of_the_error_inside() {
        struct Unique;
        let error = ConnectError::failed(ConnectPhase::Connect, Unique);
        let clone = PoolError::Connect(error.clone()).clone();
        let PoolError::Connect(clone) = clone else { panic!("became something else") };
        assert!(std::ptr::eq(error.error().unwrap(), clone.error().unwrap()));
    }

    #[test]
    fn a_panic_is_told_in_its_own_words() {
        let text =
            |payload: &(dyn Any + Send)| Refused::panicked(ConnectPhase::Validate, payload).to_string();
        assert_eq!(text(&"at hand"), "validate: panicked: at hand");
        assert_eq!(text(&String::from("made up")), "validate: panicked: made up");
        assert_eq!(text(&7), "validate: panicked: with what is no text");
        assert!(Refused::panicked(ConnectPhase::Connect, &7).clone().error().is_none());
    }

    #[test]
    fn a_failure_counts_under_its_phase_and_a_late_one_under_timeout() {
        use ConnectPhase::*;
        let phases = [Resolve, Connect, Tls, Validate];
        let failed = phases.map(|phase| ConnectError::failed(phase, "no").kind().to_string());
        assert_eq!(failed, ["resolve", "connect", "tls", "validate"]);
        for phase in phases {
            let late = Refused::timed_out(phase, Duration::ZERO);
            assert_eq!((late.clone().kind(), late.phase()), (ErrorKind::Timeout, phase));
            let panicked = Refused::panicked(phase, &"no");
            assert_eq!((panicked.kind().to_string(), panicked.phase()), (phase.to_string(), phase));
        }
    }

    #[test]
    fn spans_are_told_in_milliseconds_as_far_as_they_have_any() {
        let nanos = |nanos| format!("{:?}", in_millis(Duration::from_nanos(nanos)));
        assert_eq!(
            [nanos(29_999_977_272), nanos(1_999_999), nanos(999), nanos(0)],
            ["29.999s", "1ms", "999ns", "0ns"]
        );
        let open =
            PoolError::<io::Error>::Unavailable { until: Duration::from_nanos(5_000_000_001), last: None };
        assert_eq!(open.to_string(), "no connection is made for another 5s");
    }

    #[test]
    fn errors_cross_threads_if_what_is_inside_does() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<PoolError<io::Error>>();
    }
}
