//! stand-in
use crate::error::ConfigError;
use std::{fmt, sync::Arc, time::Duration};
#[derive(Debug)]
#[non_exhaustive]
pub enum PoolError<E> {
    Exhausted { in_use: u32, max: u32, waiters: u32 },
    Timeout { waited: Duration },
    Closed,
    Connect(ConnectError<E>),
    Unavailable { until: Duration, last: Option<ConnectError<E>> },
    RetriesExhausted { attempts: u32, elapsed: Duration, last: Box<PoolError<E>> },
    Config(ConfigError),
}
#[derive(Debug)]
pub enum ConnectError<E> {
    Failed(Arc<E>),
    Panicked(Arc<str>),
    TimedOut(Duration),
}
impl<E> Clone for ConnectError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(e) => Self::Failed(e.clone()),
            Self::Panicked(m) => Self::Panicked(m.clone()),
            Self::TimedOut(d) => Self::TimedOut(*d),
        }
    }
}
impl<E> ConnectError<E> {
    pub(super) fn failed(e: E) -> Self {
        Self::Failed(Arc::new(e))
    }
    pub(super) fn panicked(m: String) -> Self {
        Self::Panicked(m.into())
    }
}
impl<E: fmt::Display> fmt::Display for ConnectError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(e) => e.fmt(f),
            Self::Panicked(m) => m.fmt(f),
            Self::TimedOut(d) => write!(f, "{d:?}"),
        }
    }
}
impl<E: fmt::Display> fmt::Display for PoolError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("x")
    }
}
impl<E: fmt::Debug + fmt::Display> std::error::Error for PoolError<E> {}
