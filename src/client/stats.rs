//! What a client pool has done and how it stands, as plain numbers, and the forms in which others want to read them.
//! Counts nothing itself.

use std::fmt;
use std::time::Duration;

use crate::client::ErrorKind;
use crate::lease::{WAIT_BOUNDS_MS, Waits};

/// How a pool stands, and what it has done since it was made.
///
/// Taken while nobody changes anything, the numbers agree with each other:
/// see [`broken_identity`](Self::broken_identity). Taken while others acquire and release, none of the counters is ever
/// less than before, and that is all.
///
/// ```
/// use socketpool::PoolStats;
///
/// let mut stats = PoolStats::default();
/// (stats.total_connections, stats.idle_connections, stats.active_connections) = (10, 3, 5);
/// (stats.closing_connections, stats.pending_requests) = (2, 1);
/// (stats.total_acquisitions, stats.timeouts) = (100, 2);
/// assert_eq!(
///     stats.to_string(),
///     "PoolMetrics{ total=10, idle=3, active=5, invalid=2, waiting=1, acquires=100, timeouts=2 }"
/// );
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// The most connections there may be now: `max_size`, or what a resize or the adaptive size has made of it.
    pub max_connections: u32,
    /// Connections now, those included that are being made or closed.
    pub total_connections: u32,
    /// Those that somebody holds.
    pub active_connections: u32,
    /// Those that are ready to be handed out.
    pub idle_connections: u32,
    /// Those that are being made.
    pub connecting_connections: u32,
    /// Those that are being validated.
    pub validating_connections: u32,
    /// Those that are no good any more and are being closed.
    pub closing_connections: u32,
    /// Acquires that wait now.
    pub pending_requests: u32,
    /// Connections that were handed out.
    pub total_acquisitions: u64,
    /// Connections whose holder is done with them, whether they were kept or closed then.
    pub total_releases: u64,
    /// Acquires that ended without a connection because none came free in time.
    pub timeouts: u64,
    /// Acquires that ended without a connection for any other reason: because they might not wait, because connecting
    /// failed or was given a rest, because the pool was closed.
    pub errors: u64,
    /// Connections whose making was begun, those included that came to nothing.
    pub connections_created: u64,
    /// Connections that are gone, those included that came to nothing.
    pub connections_destroyed: u64,
    /// Acquisitions that got a connection which had been handed out before.
    pub pool_hits: u64,
    /// Acquisitions that got one which had not.
    pub pool_misses: u64,
    /// How long all that got a connection have waited for it, together.
    pub total_wait: Duration,
    /// How long those have waited who did have to wait, and got one.
    pub waits: WaitTimes,
    /// Acquires that were tried again, by what had gone wrong.
    pub retries: ErrorCounts,
    /// What went wrong with connections while they were made or validated, by kind, whether anybody waited for them or
    /// not.
    pub connection_errors: ErrorCounts,
}

impl PoolStats {
    /// Acquires that ended without a connection: `timeouts` and `errors`.
    ///
    /// ```
    /// let mut stats = socketpool::PoolStats::default();
    /// (stats.timeouts, stats.errors) = (2, 1);
    /// assert_eq!(stats.failed_acquisitions(), 3);
    /// ```
    #[must_use]
    pub const fn failed_acquisitions(&self) -> u64 {
        self.timeouts.saturating_add(self.errors)
    }

    /// The share of acquisitions that got a connection which had been handed out before; 0 when there was none. Below
    /// 0.8 the pool hardly saves any work: `min_size`, `idle_timeout` or `max_lifetime` is too low.
    ///
    /// ```
    /// let mut stats = socketpool::PoolStats::default();
    /// assert_eq!(stats.hit_rate(), 0.0);
    /// (stats.pool_hits, stats.pool_misses) = (90, 10);
    /// assert_eq!(stats.hit_rate(), 0.9);
    /// assert_eq!(format!("{:.2}%", stats.hit_rate() * 100.0), "90.00%");
    /// ```
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        share(self.pool_hits, self.pool_misses)
    }

    /// The share of the connections that is idle; 0 when there is none. Above 0.8 for long, the pool is too large.
    ///
    /// ```
    /// let mut stats = socketpool::PoolStats::default();
    /// assert_eq!(stats.idle_ratio(), 0.0);
    /// (stats.total_connections, stats.idle_connections) = (10, 9);
    /// assert_eq!(stats.idle_ratio(), 0.9);
    /// ```
    #[must_use]
    pub fn idle_ratio(&self) -> f64 {
        let rest = self.total_connections.saturating_sub(self.idle_connections);
        share(self.idle_connections.into(), rest.into())
    }

    /// How long an acquisition has waited in the mean, those counted that got one at once; zero when there was none.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mut stats = socketpool::PoolStats::default();
    /// assert_eq!(stats.avg_wait(), Duration::ZERO);
    /// (stats.total_acquisitions, stats.total_wait) = (100, Duration::from_secs(2));
    /// assert_eq!(stats.avg_wait(), Duration::from_millis(20));
    /// ```
    #[must_use]
    pub fn avg_wait(&self) -> Duration {
        let mean = self.total_wait.as_nanos().checked_div(self.total_acquisitions.into()).unwrap_or(0);
        Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// The share of acquires that ended without a connection; 0 when none has ended. Above 0.01 something is wrong.
    ///
    /// ```
    /// let mut stats = socketpool::PoolStats::default();
    /// (stats.total_acquisitions, stats.timeouts) = (99, 1);
    /// assert_eq!(stats.failure_rate(), 0.01);
    /// ```
    #[must_use]
    pub fn failure_rate(&self) -> f64 {
        share(self.failed_acquisitions(), self.total_acquisitions)
    }

    /// The first of these that does not hold, as it stands here; none in statistics of a pool at rest.
    ///
    /// * total = active + idle + connecting + validating + closing
    /// * acquisitions - releases = active
    /// * created - destroyed = total
    /// * hits + misses = acquisitions
    ///
    /// ```
    /// let mut stats = socketpool::PoolStats::default();
    /// assert_eq!(stats.broken_identity(), None);
    /// stats.pool_hits = 1;
    /// assert_eq!(stats.broken_identity(), Some("hits + misses = acquisitions"));
    /// ```
    #[must_use]
    pub fn broken_identity(&self) -> Option<&'static str> {
        let live = [
            self.active_connections,
            self.idle_connections,
            self.connecting_connections,
            self.validating_connections,
            self.closing_connections,
        ];
        let difference = |more: u64, less: u64| i128::from(more) - i128::from(less);
        let sum = |one: u64, other: u64| u128::from(one) + u128::from(other);
        let identities = [
            (
                "total = active + idle + connecting + validating + closing",
                live.map(u64::from).iter().sum::<u64>() == u64::from(self.total_connections),
            ),
            (
                "acquisitions - releases = active",
                difference(self.total_acquisitions, self.total_releases) == self.active_connections.into(),
            ),
            (
                "created - destroyed = total",
                difference(self.connections_created, self.connections_destroyed)
                    == self.total_connections.into(),
            ),
            (
                "hits + misses = acquisitions",
                sum(self.pool_hits, self.pool_misses) == self.total_acquisitions.into(),
            ),
        ];
        identities.into_iter().find(|&(_, holds)| !holds).map(|(identity, _)| identity)
    }

    /// One object of JSON, for a page that shows how the pool stands: seven numbers, on one line.
    ///
    /// ```
    /// let stats = socketpool::PoolStats::default();
    /// assert!(stats.to_json().starts_with(r#"{"total_connections":0,"available_connections":0,"#));
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        format!(
            "{{\"total_connections\":{},\"available_connections\":{},\"in_use_connections\":{},\
             \"wait_queue_length\":{},\"avg_wait_time_ms\":{},\"connections_created_total\":{},\
             \"connections_closed_total\":{}}}",
            self.total_connections,
            self.idle_connections,
            self.active_connections,
            self.pending_requests,
            self.avg_wait().as_millis(),
            self.connections_created,
            self.connections_destroyed,
        )
    }

    /// Everything as metrics, in the text format of Prometheus (version 0.0.4), with names that begin with `prefix`;
    /// `db` is the usual one. Waits are a histogram,
    /// and their quantiles since the pool was made are gauges.
    ///
    /// ```
    /// use std::fmt::Write;
    ///
    /// let mut stats = socketpool::PoolStats::default();
    /// stats.idle_connections = 3;
    /// stats.retries.timeout = 1;
    /// let mut page = String::new();
    /// stats.write_metrics(&mut page, "db")?;
    /// assert!(page.contains("# TYPE db_pool_connections_idle gauge\ndb_pool_connections_idle 3\n"));
    /// assert!(page.contains("\ndb_connection_retries_total{reason=\"timeout\"} 1\n"));
    /// assert!(page.ends_with("# EOF\n"));
    /// assert!(stats.write_metrics(&mut page, "1 db").is_err(), "no name begins so");
    /// # Ok::<(), std::fmt::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What `out` says; and before anything is written, that a `prefix` is none: letters of ASCII, digits and `_`, the
    /// first no digit.
    pub fn write_metrics(&self, out: &mut impl fmt::Write, prefix: &str) -> fmt::Result {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !prefix.bytes().all(is_name) || prefix.bytes().next().is_none_or(|first| first.is_ascii_digit()) {
            return Err(fmt::Error);
        }
        for (name, help, value) in self.gauges() {
            writeln!(
                out,
                "# HELP {prefix}_{name} {help}\n# TYPE {prefix}_{name} gauge\n{prefix}_{name} {value}"
            )?;
        }
        for (name, help, value) in self.counters() {
            writeln!(
                out,
                "# HELP {prefix}_{name} {help}\n# TYPE {prefix}_{name} counter\n{prefix}_{name} {value}"
            )?;
        }
        let by_kind = [
            ("connection_retries_total", "Acquires that were tried again.", "reason", &self.retries),
            ("connection_errors_total", "What went wrong with connections.", "type", &self.connection_errors),
        ];
        for (name, help, label, counts) in by_kind {
            writeln!(out, "# HELP {prefix}_{name} {help}\n# TYPE {prefix}_{name} counter")?;
            for kind in ErrorKind::ALL {
                writeln!(out, "{prefix}_{name}{{{label}=\"{kind}\"}} {}", counts.of(kind))?;
            }
        }
        for (name, help, value) in self.quantiles() {
            writeln!(out, "# HELP {prefix}_{name} {help}\n# TYPE {prefix}_{name} gauge")?;
            writeln!(out, "{prefix}_{name} {}", value.as_secs_f64())?;
        }
        self.write_waits(out, prefix)?;
        writeln!(out, "# EOF")
    }

    /// Of two pools together. Whose waits are which cannot be told from their quantiles: these come from elsewhere.
    pub(super) fn and(self, other: Self, waits: WaitTimes) -> Self {
        let count = u32::saturating_add;
        let sum = u64::saturating_add;
        Self {
            max_connections: count(self.max_connections, other.max_connections),
            total_connections: count(self.total_connections, other.total_connections),
            active_connections: count(self.active_connections, other.active_connections),
            idle_connections: count(self.idle_connections, other.idle_connections),
            connecting_connections: count(self.connecting_connections, other.connecting_connections),
            validating_connections: count(self.validating_connections, other.validating_connections),
            closing_connections: count(self.closing_connections, other.closing_connections),
            pending_requests: count(self.pending_requests, other.pending_requests),
            total_acquisitions: sum(self.total_acquisitions, other.total_acquisitions),
            total_releases: sum(self.total_releases, other.total_releases),
            timeouts: sum(self.timeouts, other.timeouts),
            errors: sum(self.errors, other.errors),
            connections_created: sum(self.connections_created, other.connections_created),
            connections_destroyed: sum(self.connections_destroyed, other.connections_destroyed),
            pool_hits: sum(self.pool_hits, other.pool_hits),
            pool_misses: sum(self.pool_misses, other.pool_misses),
            total_wait: self.total_wait.saturating_add(other.total_wait),
            waits,
            retries: self.retries.and(other.retries),
            connection_errors: self.connection_errors.and(other.connection_errors),
        }
    }

    const fn gauges(&self) -> [(&'static str, &'static str, u32); 8] {
        [
            ("pool_connections_max", "The most connections there may be.", self.max_connections),
            ("pool_connections", "Connections, those being made or closed included.", self.total_connections),
            ("pool_connections_active", "Connections that somebody holds.", self.active_connections),
            ("pool_connections_idle", "Connections ready to be handed out.", self.idle_connections),
            ("pool_connections_connecting", "Connections being made.", self.connecting_connections),
            ("pool_connections_validating", "Connections being validated.", self.validating_connections),
            ("pool_connections_closing", "Connections being closed.", self.closing_connections),
            ("pool_connections_waiting", "Acquires that wait for a connection.", self.pending_requests),
        ]
    }

    const fn counters(&self) -> [(&'static str, &'static str, u64); 8] {
        [
            ("pool_acquisitions_total", "Connections handed out.", self.total_acquisitions),
            ("pool_releases_total", "Connections whose holder is done with them.", self.total_releases),
            ("pool_timeouts_total", "Acquires for which none came free in time.", self.timeouts),
            ("pool_errors_total", "Acquires that failed for another reason.", self.errors),
            ("pool_hits_total", "Acquisitions of a connection used before.", self.pool_hits),
            ("pool_misses_total", "Acquisitions of a new connection.", self.pool_misses),
            (
                "pool_connections_created_total",
                "Connections whose making was begun.",
                self.connections_created,
            ),
            ("pool_connections_closed_total", "Connections that are gone.", self.connections_destroyed),
        ]
    }

    fn write_waits(&self, out: &mut impl fmt::Write, prefix: &str) -> fmt::Result {
        let name = "pool_wait_seconds";
        writeln!(out, "# HELP {prefix}_{name} How long those have waited who had to, and got a connection.")?;
        writeln!(out, "# TYPE {prefix}_{name} histogram")?;
        let mut sum = 0_u64;
        for (bound, count) in WaitTimes::BOUNDS.iter().zip(self.waits.buckets) {
            sum = sum.saturating_add(count);
            writeln!(out, "{prefix}_{name}_bucket{{le=\"{}\"}} {sum}", bound.as_secs_f64())?;
        }
        writeln!(out, "{prefix}_{name}_bucket{{le=\"+Inf\"}} {}", self.waits.count)?;
        writeln!(out, "{prefix}_{name}_sum {}", self.total_wait.as_secs_f64())?;
        writeln!(out, "{prefix}_{name}_count {}", self.waits.count)
    }

    const fn quantiles(&self) -> [(&'static str, &'static str, Duration); 3] {
        [
            ("pool_wait_p50_seconds", "Half of those that waited took no longer.", self.waits.p50),
            ("pool_wait_p99_seconds", "99 % of those that waited took no longer.", self.waits.p99),
            ("pool_wait_max_seconds", "The longest wait.", self.waits.max),
        ]
    }
}

impl fmt::Display for PoolStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PoolMetrics{{ total={}, idle={}, active={}, invalid={}, waiting={}, acquires={}, timeouts={} }}",
            self.total_connections,
            self.idle_connections,
            self.active_connections,
            self.closing_connections,
            self.pending_requests,
            self.total_acquisitions,
            self.timeouts,
        )
    }
}

/// How long waits took, of those who did have to wait and got a connection. All is zero when there was none.
///
/// ```
/// let stats = socketpool::PoolStats::default();
/// assert_eq!((stats.waits.count, stats.waits.max), (0, std::time::Duration::ZERO));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitTimes {
    /// Half of them took no longer.
    pub p50: Duration,
    /// 99 % took no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
    /// How many there were.
    pub count: u64,
    /// How many were no longer than each of [`BOUNDS`](Self::BOUNDS), but longer than the one before; the last, longer
    /// than all. These never fall, and those of many pools can be added.
    pub buckets: [u64; 13],
}

impl WaitTimes {
    /// Up to how long the waits are that are counted in each of the `buckets`.
    ///
    /// ```
    /// use socketpool::{PoolStats, WaitTimes};
    ///
    /// let waits = PoolStats::default().waits;
    /// let slow = WaitTimes::BOUNDS.iter().position(|bound| bound.as_millis() == 100).unwrap();
    /// assert_eq!(waits.buckets[slow + 1..].iter().sum::<u64>(), 0, "none has waited for more than 100 ms");
    /// ```
    pub const BOUNDS: [Duration; 12] = {
        let mut bounds = [Duration::ZERO; WAIT_BOUNDS_MS.len()];
        let mut at = 0;
        while at < bounds.len() {
            bounds[at] = Duration::from_millis(WAIT_BOUNDS_MS[at]);
            at += 1;
        }
        bounds
    };

    pub(super) fn of(waits: &Waits) -> Self {
        let micros = |micros: Option<u64>| Duration::from_micros(micros.unwrap_or(0));
        Self {
            p50: micros(waits.at_quantile(0.5)),
            p99: micros(waits.at_quantile(0.99)),
            max: micros(waits.max()),
            count: waits.len(),
            buckets: waits.buckets(),
        }
    }
}

/// A counter for each [`ErrorKind`].
///
/// ```
/// use socketpool::{ErrorCounts, ErrorKind};
///
/// let mut counts = ErrorCounts::default();
/// counts.tls = 3;
/// counts.connect = 1;
/// assert_eq!((counts.of(ErrorKind::Tls), counts.total()), (3, 4));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorCounts {
    /// Names that could not be looked up.
    pub resolve: u64,
    /// Addresses that could not be reached.
    pub connect: u64,
    /// What took too long.
    pub timeout: u64,
    /// Handshakes that failed.
    pub tls: u64,
    /// Connections that were made and were no good.
    pub validate: u64,
    /// What came to a closed pool.
    pub closed: u64,
}

impl ErrorCounts {
    /// How many of one kind.
    ///
    /// ```
    /// use socketpool::{ErrorKind, PoolStats};
    ///
    /// let stats = PoolStats::default();
    /// for kind in ErrorKind::ALL {
    ///     println!("{kind}: {}", stats.connection_errors.of(kind));
    /// }
    /// ```
    #[must_use]
    pub const fn of(&self, kind: ErrorKind) -> u64 {
        match kind {
            ErrorKind::Resolve => self.resolve,
            ErrorKind::Connect => self.connect,
            ErrorKind::Timeout => self.timeout,
            ErrorKind::Tls => self.tls,
            ErrorKind::Validate => self.validate,
            ErrorKind::Closed => self.closed,
        }
    }

    /// How many in all.
    ///
    /// ```
    /// assert_eq!(socketpool::PoolStats::default().retries.total(), 0);
    /// ```
    #[must_use]
    pub fn total(&self) -> u64 {
        ErrorKind::ALL.into_iter().fold(0, |sum, kind| self.of(kind).saturating_add(sum))
    }

    fn and(self, other: Self) -> Self {
        Self {
            resolve: self.resolve.saturating_add(other.resolve),
            connect: self.connect.saturating_add(other.connect),
            timeout: self.timeout.saturating_add(other.timeout),
            tls: self.tls.saturating_add(other.tls),
            validate: self.validate.saturating_add(other.validate),
            closed: self.closed.saturating_add(other.closed),
        }
    }

    /// One more of a kind.
    pub(crate) const fn count(&mut self, kind: ErrorKind) {
        let counter = match kind {
            ErrorKind::Resolve => &mut self.resolve,
            ErrorKind::Connect => &mut self.connect,
            ErrorKind::Timeout => &mut self.timeout,
            ErrorKind::Tls => &mut self.tls,
            ErrorKind::Validate => &mut self.validate,
            ErrorKind::Closed => &mut self.closed,
        };
        *counter = counter.saturating_add(1);
    }
}

/// `part` of itself and `rest`; 0 of nothing.
fn share(part: u64, rest: u64) -> f64 {
    match u128::from(part) + u128::from(rest) {
        0 => 0.0,
        whole => part as f64 / whole as f64,
    }
}

#[cfg(test)]
mod tests;
