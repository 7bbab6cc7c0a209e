//! Every limit of a client pool: its name, unit, default and reason, and the one place that checks it.
//! Named sets of values are in `presets`; how an acquire is tried again is in `retry`.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::breaker::BreakerConfig;
use crate::error::ConfigError;

/// The limits of a pool of connections that the program makes itself.
///
/// `None` switches a limit off, and where a zero would mean that nothing ever happens, or happens without end, it is an
/// error. Nothing is clamped: a setting that cannot hold is refused by name.
///
/// ```
/// use socketpool::PoolConfig;
/// use std::time::Duration;
///
/// let config = PoolConfig { max_size: 50, acquire_timeout: Some(Duration::from_secs(1)), ..PoolConfig::default() };
/// assert!(config.validate().is_ok());
/// assert_eq!(config.idle_timeout, Some(Duration::from_secs(300)));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    /// Connections at a time, those that are being made or closed included; 10, from 1 to 16,777,215. More than a
    /// server can work on only queues there instead of here: a database does well with twice its cores, and one for each
    /// disk that seeks. For what a load needs see [`size_for`](Self::size_for). Lowered below what is there, it takes
    /// nothing away from a holder: what comes back is closed.
    pub max_size: u32,
    /// So many connections are kept, whether in use or idle; 0, at most `max_size`. Idle ones are not closed for their
    /// idleness below it, and those that end are replaced. With 0 an unused pool costs its server nothing.
    pub min_size: u32,
    /// So many idle connections are kept in reserve as long as `max_size` allows; 0, at most `max_size`. For a load that
    /// comes in bursts whose first requests must not wait for a connect.
    pub min_idle: u32,
    /// How long a connection may be idle before it is closed; 300 s, longer than zero. Shorter than what servers and the
    /// firewalls before them allow, so that the pool closes first and nobody is handed a dead one.
    pub idle_timeout: Option<Duration>,
    /// How old a connection may become; 30 min, longer than zero. It ends when nobody holds it, and is replaced before if
    /// the minimum needs it. So a changed address or a new server gets its share of the load.
    pub max_lifetime: Option<Duration>,
    /// Lifetimes end up to this share of `max_lifetime` earlier; 0.1, from 0 to 0.5. Connections that were made together
    /// are not all replaced together.
    pub lifetime_jitter: f64,
    /// How many times a connection is handed out before it is replaced; no limit, at least 1. For servers whose sessions
    /// grow with use.
    pub max_uses: Option<u64>,
    /// How long an acquire waits; 5 s. `None` waits for ever. Zero does not wait: a full pool is an error at once.
    pub acquire_timeout: Option<Duration>,
    /// How long making a connection may take, from resolving its name to its first validation; 5 s, longer than zero.
    /// `None` leaves it to the operating system, which takes two minutes and more.
    pub connect_timeout: Option<Duration>,
    /// A connection that has been idle for longer is validated before it is handed out; 500 ms. Within so short a time a
    /// connection that worked still works. Zero validates every one, `None` none: then only the background looks.
    pub validate_after: Option<Duration>,
    /// How often idle connections are validated in the background, and what is missing to the minimum is made; 30 s,
    /// longer than zero. `None`: by hand only.
    pub health_check_interval: Option<Duration>,
    /// How many acquires may wait at a time; 1,024, at most 16,777,215. One more fails at once: those in front would not
    /// be served before it had given up. With 0 nobody waits.
    pub max_waiters: u32,
    /// How many connections a gradual warm-up makes at a time; 5, at least 1. A server that has just started is not
    /// overrun.
    pub warmup_batch: u32,
    /// How long it waits between two batches; 100 ms. Zero: one after the other.
    pub warmup_delay: Duration,
    /// A connection held for longer is reported as a probable leak, once; off, longer than zero. Nothing is taken away.
    pub leak_threshold: Option<Duration>,
    /// How long one operation on a connection may take; no limit, longer than zero. The pool hands it to whoever makes
    /// the connections and does not measure it.
    pub op_timeout: Option<Duration>,
    /// Whether, and how, `max_size` follows the load; it does not.
    pub adaptive: Option<AdaptiveConfig>,
    /// When connecting is given a rest; after 5 failures in a row, for 30 s. `None` tries on and on.
    pub breaker: Option<BreakerConfig>,
}

impl PoolConfig {
    /// Whether a pool can be made by it; if not, which setting cannot hold.
    ///
    /// ```
    /// use socketpool::PoolConfig;
    ///
    /// let none = PoolConfig { max_size: 0, ..PoolConfig::default() };
    /// assert_eq!(none.validate().unwrap_err().to_string(), "max_size is 0, must be from 1 to 16777215");
    /// let crossed = PoolConfig { min_size: 11, ..PoolConfig::default() };
    /// assert_eq!(crossed.validate().unwrap_err().to_string(), "min_size is 11, must be from 0 to 10");
    /// ```
    ///
    /// # Errors
    ///
    /// The first setting, in the order of the fields, that is out of its bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        within("max_size", self.max_size, 1..=MOST)?;
        within("min_size", self.min_size, 0..=self.max_size)?;
        within("min_idle", self.min_idle, 0..=self.max_size)?;
        some_time("idle_timeout", self.idle_timeout)?;
        some_time("max_lifetime", self.max_lifetime)?;
        within("lifetime_jitter", self.lifetime_jitter, 0.0..=0.5)?;
        if self.max_uses == Some(0) {
            return Err(ConfigError::new("max_uses", 0, "at least 1 (use None for no limit)"));
        }
        some_time("connect_timeout", self.connect_timeout)?;
        some_time("health_check_interval", self.health_check_interval)?;
        within("max_waiters", self.max_waiters, 0..=MOST)?;
        if self.warmup_batch == 0 {
            return Err(ConfigError::new("warmup_batch", 0, "at least 1"));
        }
        some_time("leak_threshold", self.leak_threshold)?;
        some_time("op_timeout", self.op_timeout)?;
        self.adaptive.map_or(Ok(()), |adaptive| adaptive.validate(self.max_size))?;
        self.breaker.map_or(Ok(()), |breaker| breaker.validate())
    }

    /// How many connections a load keeps busy: requests a second times the time that one holds its connection (Little's
    /// law), rounded up.
    ///
    /// That is the mean. For a load that varies see [`size_for_with_headroom`](Self::size_for_with_headroom).
    ///
    /// ```
    /// use socketpool::PoolConfig;
    /// use std::time::Duration;
    ///
    /// assert_eq!(PoolConfig::size_for(1_000.0, Duration::from_millis(100)), 100);
    /// assert_eq!(PoolConfig::size_for(1.0, Duration::from_millis(1)), 1, "never none");
    /// ```
    #[must_use]
    pub fn size_for(rate_per_second: f64, latency: Duration) -> u32 {
        Self::size_for_with_headroom(rate_per_second, latency, 1.0)
    }

    /// The same times `headroom`: 1.5 is a good start for a load of which only the mean is known.
    ///
    /// The answer is one that [`max_size`](Self#structfield.max_size) takes, from 1 to 16,777,215, whatever is asked;
    /// rates and headrooms that are negative or no number count as zero. Errors of floating point are not rounded up.
    ///
    /// ```
    /// use socketpool::PoolConfig;
    /// use std::time::Duration;
    ///
    /// let latency = Duration::from_millis(100);
    /// assert_eq!(PoolConfig::size_for_with_headroom(1_000.0, latency, 1.5), 150);
    /// assert_eq!(PoolConfig::size_for_with_headroom(1_000.0, latency, 1.1), 110, "100.0 * 1.1 is a little more");
    /// assert_eq!(PoolConfig::size_for_with_headroom(f64::INFINITY, latency, 1.5), 16_777_215);
    /// ```
    #[must_use]
    pub fn size_for_with_headroom(rate_per_second: f64, latency: Duration, headroom: f64) -> u32 {
        let busy = rate_per_second * latency.as_nanos() as f64 / 1e9 * headroom;
        // A cast saturates, and makes 0 of what is no number.
        ((busy * (1.0 - 1e-9)).ceil() as u32).clamp(1, MOST)
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_size: 10,
            min_size: 0,
            min_idle: 0,
            idle_timeout: Some(Duration::from_secs(300)),
            max_lifetime: Some(Duration::from_secs(1_800)),
            lifetime_jitter: 0.1,
            max_uses: None,
            acquire_timeout: Some(Duration::from_secs(5)),
            connect_timeout: Some(Duration::from_secs(5)),
            validate_after: Some(Duration::from_millis(500)),
            health_check_interval: Some(Duration::from_secs(30)),
            max_waiters: 1_024,
            warmup_batch: 5,
            warmup_delay: Duration::from_millis(100),
            leak_threshold: None,
            op_timeout: None,
            adaptive: None,
            breaker: Some(BreakerConfig::default()),
        }
    }
}

/// How the size of a pool follows its load: by what acquires waited, and how many connections were idle, in each
/// interval.
///
/// `max_size` is where it begins, and `min_size` where it ends when hardly anything is in use: also far below what
/// `max_size` was set to. It comes back by one step an interval, so let `min_size` be what the next peak must find.
///
/// ```
/// use socketpool::{AdaptiveConfig, PoolConfig};
///
/// let config = PoolConfig { adaptive: Some(AdaptiveConfig::default()), ..PoolConfig::default() };
/// assert_eq!(config.adaptive.unwrap().ceiling_for(config.max_size), 40);
/// let lower = AdaptiveConfig { ceiling: Some(5), ..AdaptiveConfig::default() };
/// let error = PoolConfig { adaptive: Some(lower), ..config }.validate().unwrap_err();
/// assert_eq!(error.to_string(), "adaptive.ceiling is 5, must be from 10 to 16777215");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveConfig {
    /// How often it is looked at; 10 s, longer than zero. Long enough that a spike of a second is not answered.
    pub interval: Duration,
    /// With fewer acquisitions in an interval nothing changes; 10. So few say nothing.
    pub min_acquisitions: u32,
    /// When acquires waited longer than this in the mean, the pool grows; 100 ms. Zero: at any wait.
    pub wait_high: Duration,
    /// By this factor, and by one connection at least; 1.2, a number above 1.
    pub grow: f64,
    /// When a greater share of the connections is idle, it shrinks; 0.8, from 0 to 1. With 1 it never does.
    pub idle_high: f64,
    /// By this factor, and by one connection at least, down to `min_size` and to what is in use, but not below one; 0.8, a
    /// number between 0 and 1.
    pub shrink: f64,
    /// It does not grow beyond. `None`: [`4 × max_size`](Self::ceiling_for). At least `max_size`, at most 16,777,215.
    pub ceiling: Option<u32>,
}

impl AdaptiveConfig {
    /// How far a pool of this `max_size` may grow: to the `ceiling`, or without one to 4 × `max_size`, but not beyond
    /// 16,777,215.
    ///
    /// ```
    /// use socketpool::AdaptiveConfig;
    ///
    /// assert_eq!(AdaptiveConfig::default().ceiling_for(10), 40);
    /// assert_eq!(AdaptiveConfig::default().ceiling_for(10_000_000), 16_777_215);
    /// assert_eq!(AdaptiveConfig { ceiling: Some(25), ..AdaptiveConfig::default() }.ceiling_for(10), 25);
    /// ```
    #[must_use]
    pub fn ceiling_for(&self, max_size: u32) -> u32 {
        self.ceiling.unwrap_or_else(|| max_size.saturating_mul(4).min(MOST))
    }

    fn validate(&self, max_size: u32) -> Result<(), ConfigError> {
        some_time("adaptive.interval", Some(self.interval))?;
        if !(self.grow > 1.0 && self.grow.is_finite()) {
            return Err(ConfigError::new("adaptive.grow", self.grow, "a number above 1"));
        }
        within("adaptive.idle_high", self.idle_high, 0.0..=1.0)?;
        if !(self.shrink > 0.0 && self.shrink < 1.0) {
            return Err(ConfigError::new("adaptive.shrink", self.shrink, "a number between 0 and 1"));
        }
        self.ceiling.map_or(Ok(()), |ceiling| within("adaptive.ceiling", ceiling, max_size..=MOST))
    }
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            min_acquisitions: 10,
            wait_high: Duration::from_millis(100),
            grow: 1.2,
            idle_high: 0.8,
            shrink: 0.8,
            ceiling: None,
        }
    }
}

/// What is no number is within nothing.
pub(super) fn within<T>(field: &'static str, value: T, range: RangeInclusive<T>) -> Result<(), ConfigError>
where
    T: PartialOrd + fmt::Display,
{
    if range.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::new(field, value, format!("from {} to {}", range.start(), range.end())))
}

/// A span that may be absent but not empty.
fn some_time(field: &'static str, span: Option<Duration>) -> Result<(), ConfigError> {
    match span {
        Some(Duration::ZERO) => Err(ConfigError::span(field, Duration::ZERO, "longer than 0")),
        _ => Ok(()),
    }
}

/// A connection is named by a slot of 24 bits, and so is a waiter; one name is for none.
const MOST: u32 = (1 << 24) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_the_documented_one() {
        let secs = |seconds| Some(Duration::from_secs(seconds));
        let config = PoolConfig::default();
        assert_eq!((config.max_size, config.min_size, config.min_idle), (10, 0, 0));
        assert_eq!((config.idle_timeout, config.max_lifetime), (secs(300), secs(1_800)));
        assert_eq!((config.lifetime_jitter, config.max_uses), (0.1, None));
        assert_eq!((config.acquire_timeout, config.connect_timeout), (secs(5), secs(5)));
        assert_eq!(config.validate_after, Some(Duration::from_millis(500)));
        assert_eq!((config.health_check_interval, config.max_waiters), (secs(30), 1_024));
        assert_eq!((config.warmup_batch, config.warmup_delay), (5, Duration::from_millis(100)));
        assert_eq!((config.leak_threshold, config.op_timeout, config.adaptive), (None, None, None));
        assert_eq!(config.breaker, Some(BreakerConfig::default()));
        let adaptive = AdaptiveConfig::default();
        assert_eq!((adaptive.interval, adaptive.min_acquisitions), (Duration::from_secs(10), 10));
        assert_eq!((adaptive.wait_high, adaptive.ceiling), (Duration::from_millis(100), None));
        assert_eq!((adaptive.grow, adaptive.idle_high, adaptive.shrink), (1.2, 0.8, 0.8));
    }

    #[test]
    fn what_is_at_its_bound_holds() {
        let least = PoolConfig {
            max_size: 1,
            min_size: 1,
            min_idle: 1,
            idle_timeout: Some(Duration::from_nanos(1)),
            lifetime_jitter: 0.0,
            max_uses: Some(1),
            acquire_timeout: Some(Duration::ZERO),
            validate_after: Some(Duration::ZERO),
            max_waiters: 0,
            warmup_batch: 1,
            warmup_delay: Duration::ZERO,
            adaptive: Some(AdaptiveConfig { ceiling: Some(1), idle_high: 0.0, ..AdaptiveConfig::default() }),
            ..PoolConfig::default()
        };
        let most = PoolConfig {
            max_size: MOST,
            min_size: MOST,
            min_idle: MOST,
            idle_timeout: Some(Duration::MAX),
            lifetime_jitter: 0.5,
            max_uses: Some(u64::MAX),
            acquire_timeout: Some(Duration::MAX),
            max_waiters: MOST,
            warmup_batch: u32::MAX,
            adaptive: Some(AdaptiveConfig {
                ceiling: Some(MOST),
                idle_high: 1.0,
                ..AdaptiveConfig::default()
            }),
            ..PoolConfig::default()
        };
        let off = PoolConfig {
            idle_timeout: None,
            max_lifetime: None,
            acquire_timeout: None,
            connect_timeout: None,
            validate_after: None,
            health_check_interval: None,
            breaker: None,
            ..PoolConfig::default()
        };
        for config in [PoolConfig::default(), least, most, off] {
            assert_eq!(config.validate(), Ok(()), "{config:?}");
        }
    }

    #[test]
    fn every_setting_that_cannot_hold_is_named() {
        let good = PoolConfig::default;
        let zero = Some(Duration::ZERO);
        let wrong = [
            (PoolConfig { max_size: 0, ..good() }, "max_size is 0, must be from 1 to 16777215"),
            (PoolConfig { max_size: 1 << 24, ..good() }, "max_size is 16777216, must be from 1 to 16777215"),
            (PoolConfig { min_size: 11, ..good() }, "min_size is 11, must be from 0 to 10"),
            (PoolConfig { min_idle: 11, ..good() }, "min_idle is 11, must be from 0 to 10"),
            (PoolConfig { idle_timeout: zero, ..good() }, "idle_timeout is 0ns, must be longer than 0"),
            (PoolConfig { max_lifetime: zero, ..good() }, "max_lifetime is 0ns, must be longer than 0"),
            (PoolConfig { lifetime_jitter: 0.6, ..good() }, "lifetime_jitter is 0.6, must be from 0 to 0.5"),
            (
                PoolConfig { lifetime_jitter: f64::NAN, ..good() },
                "lifetime_jitter is NaN, must be from 0 to 0.5",
            ),
            (
                PoolConfig { max_uses: Some(0), ..good() },
                "max_uses is 0, must be at least 1 (use None for no limit)",
            ),
            (PoolConfig { connect_timeout: zero, ..good() }, "connect_timeout is 0ns, must be longer than 0"),
            (
                PoolConfig { health_check_interval: zero, ..good() },
                "health_check_interval is 0ns, must be longer than 0",
            ),
            (
                PoolConfig { max_waiters: u32::MAX, ..good() },
                "max_waiters is 4294967295, must be from 0 to 16777215",
            ),
            (PoolConfig { warmup_batch: 0, ..good() }, "warmup_batch is 0, must be at least 1"),
            (PoolConfig { leak_threshold: zero, ..good() }, "leak_threshold is 0ns, must be longer than 0"),
            (PoolConfig { op_timeout: zero, ..good() }, "op_timeout is 0ns, must be longer than 0"),
        ];
        for (config, text) in wrong {
            assert_eq!(config.validate().unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_in_a_part_is_wrong_in_the_whole() {
        let good = AdaptiveConfig::default();
        let wrong = [
            (
                AdaptiveConfig { interval: Duration::ZERO, ..good },
                "adaptive.interval is 0ns, must be longer than 0",
            ),
            (AdaptiveConfig { grow: 1.0, ..good }, "adaptive.grow is 1, must be a number above 1"),
            (
                AdaptiveConfig { grow: f64::INFINITY, ..good },
                "adaptive.grow is inf, must be a number above 1",
            ),
            (AdaptiveConfig { grow: f64::NAN, ..good }, "adaptive.grow is NaN, must be a number above 1"),
            (AdaptiveConfig { idle_high: 1.1, ..good }, "adaptive.idle_high is 1.1, must be from 0 to 1"),
            (
                AdaptiveConfig { shrink: 1.0, ..good },
                "adaptive.shrink is 1, must be a number between 0 and 1",
            ),
            (
                AdaptiveConfig { shrink: 0.0, ..good },
                "adaptive.shrink is 0, must be a number between 0 and 1",
            ),
            (
                AdaptiveConfig { ceiling: Some(9), ..good },
                "adaptive.ceiling is 9, must be from 10 to 16777215",
            ),
        ];
        for (adaptive, text) in wrong {
            let config = PoolConfig { adaptive: Some(adaptive), ..PoolConfig::default() };
            assert_eq!(config.validate().unwrap_err().to_string(), text);
        }
        let breaker = Some(BreakerConfig { failures: 0, ..BreakerConfig::default() });
        let error = PoolConfig { breaker, ..PoolConfig::default() }.validate().unwrap_err();
        assert_eq!(error.field, "breaker.failures");
    }

    #[test]
    fn without_a_ceiling_a_pool_grows_to_four_times_its_size() {
        let free = AdaptiveConfig::default();
        assert_eq!([1, 10, 10_000_000, MOST].map(|size| free.ceiling_for(size)), [4, 40, MOST, MOST]);
        assert_eq!(AdaptiveConfig { ceiling: Some(25), ..free }.ceiling_for(10), 25);
    }

    #[test]
    fn sizes_follow_littles_law_and_stay_sizes() {
        let size = PoolConfig::size_for_with_headroom;
        let ms = Duration::from_millis;
        assert_eq!(PoolConfig::size_for(1_000.0, ms(100)), 100);
        assert_eq!(PoolConfig::size_for(1_001.0, ms(100)), 101, "rounded up");
        assert_eq!(PoolConfig::size_for(333.0, ms(3)), 1);
        assert_eq!(size(1_000.0, ms(100), 1.5), 150);
        assert_eq!(size(40.0, ms(1_000), 1.5), 60, "forty concurrent requests");
        assert_eq!(size(f64::NAN, ms(100), 1.5), 1);
        assert_eq!(size(-5.0, ms(100), 1.5), 1);
        assert_eq!(size(f64::INFINITY, Duration::ZERO, 1.5), 1, "infinity times nothing is no number");
        assert_eq!(size(f64::INFINITY, ms(1), 1.0), MOST);
        assert_eq!(size(1e300, Duration::MAX, 1e300), MOST);
        for rate in 1..2_000 {
            assert_eq!(PoolConfig::size_for(f64::from(rate), Duration::from_secs(1)), rate);
            assert_eq!(PoolConfig::size_for(f64::from(rate * 10), ms(100)), rate);
        }
    }
}
