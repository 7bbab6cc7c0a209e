//! What the driver counts for a crowd. Does not judge it and does not print it.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The clients' view of one crowd, as it grows.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    /// From the last byte of a line leaving to the last byte of its reply.
    pub(crate) reply: Latency,
    /// From the attempt to connect to the last byte of the first reply.
    pub(crate) first_reply: Latency,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Connections that stood.
    pub(crate) connected: u64,
    /// Attempts to connect that came to nothing.
    pub(crate) unconnected: u64,
    /// Requests begun, answered in full, and failed by [`Failure`].
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) failed: [u64; Failure::COUNT],
    /// Connections that the server ended, and that the client itself left.
    pub(crate) cut: u64,
    pub(crate) left: u64,
    /// Connections open now.
    pub(crate) open: u64,
}

/// The same as plain numbers, to be told to another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    pub(crate) reply: Quantiles,
    pub(crate) first_reply: Quantiles,
}

impl Counts {
    pub(crate) fn failures(&self) -> u64 {
        self.failed.iter().sum()
    }
}

impl Outcome {
    pub(crate) fn of(tally: &Tally) -> Self {
        let Tally { counts, reply, first_reply } = tally;
        Self { counts: *counts, reply: reply.quantiles(), first_reply: first_reply.quantiles() }
    }

    /// Every number, always in this order.
    pub(crate) fn numbers(&mut self) -> impl Iterator<Item = &mut u64> {
        let Counts { connected, unconnected, asked, answered, failed, cut, left, open } = &mut self.counts;
        let counts = [connected, unconnected, asked, answered, cut, left, open];
        let latencies = [&mut self.reply, &mut self.first_reply];
        counts.into_iter().chain(failed).chain(latencies.into_iter().flat_map(Quantiles::numbers))
    }
}

/// What a server must not do to an honest client. See `main.rs` for what counts while it drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The connection was refused, or the attempt failed.
    Connect,
    /// The connection did not stand within a second.
    SlowConnect,
    /// A byte of the reply differed, or one came that nobody had asked for.
    WrongByte,
    /// The reply was not whole in time.
    NoReply,
    /// The connection ended while a reply was due.
    Cut,
}

impl Failure {
    pub(crate) const ALL: [Self; 5] =
        [Self::Connect, Self::SlowConnect, Self::WrongByte, Self::NoReply, Self::Cut];
    pub(crate) const COUNT: usize = Self::ALL.len();

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect_failed",
            Self::SlowConnect => "connect_slow",
            Self::WrongByte => "wrong_byte",
            Self::NoReply => "no_reply",
            Self::Cut => "cut_in_request",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Every duration that was recorded, to three digits.
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn record(&mut self, elapsed: Duration) {
        self.0.saturating_record(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Quantiles {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max(),
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MINUTE_US, 3).expect("the bounds are right"))
    }
}

/// The five figures of a latency that are shown; all 0 when nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quantiles {
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
}

impl Quantiles {
    fn numbers(&mut self) -> [&mut u64; 5] {
        let Self { p50_us, p90_us, p99_us, p999_us, max_us } = self;
        [p50_us, p90_us, p99_us, p999_us, max_us]
    }
}

const MINUTE_US: u64 = 60_000_000;
