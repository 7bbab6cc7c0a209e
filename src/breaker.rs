//! Decides when the next connect to a destination may begin: at once, after a back-off, or not before the destination has
//! had a rest. Does not connect, wait, read a clock or allocate; who asks is the core of a client pool.

use std::fmt;
use std::time::Duration;

use crate::clock::{Nanos, span_nanos};
use crate::error::ConfigError;

/// When a client pool stops trying to connect, for how long, and how it tries again.
///
/// Results are those of the phase of connecting: resolving, TCP, TLS, the first validation. Idle connections of a pool
/// whose breaker is open stay usable; only new ones are not made.
///
/// ```
/// use socketpool::BreakerConfig;
/// use std::time::Duration;
///
/// let patient = BreakerConfig { failures: 20, ..BreakerConfig::default() };
/// assert_eq!((patient.open_for, patient.probes), (Duration::from_secs(30), 3));
/// assert!(patient.validate().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerConfig {
    /// So many failures in a row open the breaker. Default 5: fewer and a restart of one server behind a balancer opens
    /// it, more and callers wait for what will not come. At least 1.
    pub failures: u32,
    /// How long nothing is tried once it has opened. Default 30 s: what a server needs to come back, and what the
    /// operational limit of a retry is. Must be longer than zero; beyond 584 years it is for ever.
    pub open_for: Duration,
    /// How many connects, one after the other, are then tried before it opens again. Default 3: a single lost packet is
    /// no verdict. The first that succeeds closes it. At least 1.
    pub probes: u32,
    /// While it is closed: how long after a first failure the next connect waits; each further failure in a row doubles
    /// it. Default 100 ms. Zero: no back-off.
    pub first_delay: Duration,
    /// The longest such wait, before `jitter`. Default 30 s. At least `first_delay`.
    pub max_delay: Duration,
    /// The share by which a wait is made longer or shorter at random, so that the clients of a server that comes back do
    /// not all come at once. Default 0.25. From 0 to 1.
    pub jitter: f64,
}

impl BreakerConfig {
    /// Whether it can hold; if not, which setting cannot.
    ///
    /// ```
    /// use socketpool::BreakerConfig;
    ///
    /// let never = BreakerConfig { failures: 0, ..BreakerConfig::default() };
    /// assert_eq!(never.validate().unwrap_err().to_string(), "breaker.failures is 0, must be at least 1");
    /// ```
    ///
    /// # Errors
    ///
    /// The first setting, in the order of the fields, that is out of its bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.failures == 0 {
            return Err(ConfigError::new("breaker.failures", self.failures, "at least 1"));
        }
        if self.open_for.is_zero() {
            return Err(ConfigError::span("breaker.open_for", self.open_for, "longer than 0"));
        }
        if self.probes == 0 {
            return Err(ConfigError::new("breaker.probes", self.probes, "at least 1"));
        }
        if self.first_delay > self.max_delay {
            let bound = format!("at most max_delay, {:?}", self.max_delay);
            return Err(ConfigError::span("breaker.first_delay", self.first_delay, bound));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(ConfigError::new("breaker.jitter", self.jitter, "from 0 to 1"));
        }
        Ok(())
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            open_for: Duration::from_secs(30),
            probes: 3,
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            jitter: 0.25,
        }
    }
}

/// How a breaker stands.
///
/// ```
/// use socketpool::{BreakerState, Nanos};
///
/// let open = BreakerState::Open { until: Nanos::from_millis(30_000) };
/// assert_eq!(open.to_string(), "open");
/// assert_eq!(BreakerState::HalfOpen.as_str(), "half-open");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Connects are made.
    Closed,
    /// None is made.
    Open {
        /// From then on it is half-open.
        until: Nanos,
    },
    /// One is made, as a probe.
    HalfOpen,
}

impl BreakerState {
    /// The state as a word for logs, metrics and tables, never changed.
    ///
    /// ```
    /// assert_eq!(socketpool::BreakerState::Closed.as_str(), "closed");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How it goes with a connection, as whoever holds it says.
///
/// ```
/// use socketpool::{Backend, PooledConnection, Went};
///
/// fn judge<B: Backend>(connection: &PooledConnection<B>, status: u16) {
///     connection.report(if status < 500 { Went::Well } else { Went::Ill });
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Went {
    /// The other side does what it should.
    Well,
    /// It does not: as if a connect had failed.
    Ill,
}

/// The answer to whether a connect may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// It may.
    Go,
    /// Closed and backing off: not before then.
    NotBefore(Nanos),
    /// Open until then.
    Open(Nanos),
    /// Half-open, and a probe is on its way: its result decides.
    Probing,
}

/// A connect that has begun. Its result is told with it, so that the breaker knows which one came back: those that were
/// on their way when it opened say nothing about what has happened since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a probe whose end is not told is waited for until the breaker is reset"]
pub(crate) struct Attempt(u32);

/// The breaker of one destination.
///
/// ```text
///          failures in a row               open_for has passed
///   Closed ─────────────────▶ Open ────────────────────────────▶ HalfOpen
///     ▲                        ▲                                    │  │
///     │                        └──────── the last probe failed ─────┘  │
///     └───────────────────────────────── a probe succeeded ────────────┘
/// ```
///
/// | state    | begin          | succeeded             | failed                              | time        |
/// |----------|----------------|-----------------------|-------------------------------------|-------------|
/// | Closed   | counts         | failures forgotten    | back-off; at `failures` Open        | –           |
/// | Open     | does not count | –                     | –                                   | HalfOpen    |
/// | HalfOpen | is the probe   | Closed, all forgotten | the next probe; after the last Open | –           |
/// | probing  | does not count | the same, if it is the probe's | the same, if it is the probe's | –       |
///
/// Every other result is of a connect that began before the last change of state, and does nothing. [`reset`](Self::reset)
/// leads from everywhere to Closed. Whoever begins a connect ends it once: by `succeeded`, `failed` (a probe that is
/// unresolved at `connect_timeout` has failed) or `abandoned`.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    phase: Phase,
    /// Of the attempts whose results count. Earlier ones are over.
    era: u32,
    jitter: Jitter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Invariant: `failures < config.failures`.
    Closed { failures: u32, not_before: Nanos },
    /// Half-open once `until` has come and somebody begins.
    Open { until: Nanos },
    /// Invariant: `tried <= config.probes`, and less unless the last one is on its way.
    HalfOpen { tried: u32, probing: bool },
}

impl Breaker {
    /// A closed one, by a config that was found good. The seed settles every jitter.
    pub(crate) fn new(config: BreakerConfig, seed: u64) -> Self {
        debug_assert!(config.validate().is_ok(), "{config:?} was not validated");
        Self { config, phase: Phase::CLOSED, era: 0, jitter: Jitter::new(seed) }
    }

    /// A connect begins: call it only when [`ask`](Self::ask) said [`Ask::Go`]. In half-open it is the probe. One that
    /// was not allowed does no harm, its result does not count.
    pub(crate) fn begin(&mut self, now: Nanos) -> Attempt {
        match self.phase {
            Phase::Closed { .. } => Attempt(self.era),
            Phase::Open { until } if now >= until => self.probe(1),
            Phase::HalfOpen { tried, probing: false } => self.probe(tried + 1),
            Phase::Open { .. } | Phase::HalfOpen { .. } => Attempt(self.era.wrapping_sub(1)),
        }
    }

    /// A connect has succeeded: failures are forgotten.
    pub(crate) fn succeeded(&mut self, attempt: Attempt) {
        if attempt.0 != self.era {
            return;
        }
        match self.phase {
            Phase::Closed { .. } => self.phase = Phase::CLOSED,
            Phase::HalfOpen { probing: true, .. } => self.reset(),
            Phase::Open { .. } | Phase::HalfOpen { .. } => {}
        }
    }

    /// A connect has failed. Whether the breaker has opened by it, for the first time or again.
    pub(crate) fn failed(&mut self, attempt: Attempt, now: Nanos) -> bool {
        if attempt.0 != self.era {
            return false;
        }
        match self.phase {
            Phase::Closed { failures, .. } => self.count_failure(failures + 1, now),
            Phase::HalfOpen { tried, probing: true } if tried >= self.config.probes => self.open(now),
            Phase::HalfOpen { tried, probing: true } => {
                self.phase = Phase::HalfOpen { tried, probing: false };
                false
            }
            Phase::Open { .. } | Phase::HalfOpen { .. } => false,
        }
    }

    /// A connect was given up for a reason that says nothing about the destination: as if it had not begun.
    pub(crate) fn abandoned(&mut self, attempt: Attempt) {
        if let Phase::HalfOpen { tried, probing: true } = self.phase
            && attempt.0 == self.era
        {
            self.phase = Phase::HalfOpen { tried: tried - 1, probing: false };
        }
    }

    /// Whoever holds a connection reports how it went. It counts among the results while the breaker is closed; whether
    /// a destination is back is for probes to say. Whether the breaker has opened by it.
    pub(crate) fn reported(&mut self, went: Went, now: Nanos) -> bool {
        let Phase::Closed { .. } = self.phase else { return false };
        let this = Attempt(self.era);
        match went {
            Went::Well => {
                self.succeeded(this);
                false
            }
            Went::Ill => self.failed(this, now),
        }
    }

    /// Closed, all forgotten, what is on its way included.
    pub(crate) fn reset(&mut self) {
        self.phase = Phase::CLOSED;
        self.era = self.era.wrapping_add(1);
    }

    /// Whether a connect may begin now.
    pub(crate) fn ask(&self, now: Nanos) -> Ask {
        match self.phase {
            Phase::Closed { not_before, .. } if now < not_before => Ask::NotBefore(not_before),
            Phase::Open { until } if now < until => Ask::Open(until),
            Phase::HalfOpen { probing: true, .. } => Ask::Probing,
            Phase::Closed { .. } | Phase::Open { .. } | Phase::HalfOpen { .. } => Ask::Go,
        }
    }

    /// How it stands now.
    pub(crate) fn state(&self, now: Nanos) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { until } if now < until => BreakerState::Open { until },
            Phase::Open { .. } | Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn probe(&mut self, tried: u32) -> Attempt {
        self.phase = Phase::HalfOpen { tried, probing: true };
        self.era = self.era.wrapping_add(1);
        Attempt(self.era)
    }

    fn count_failure(&mut self, failures: u32, now: Nanos) -> bool {
        if failures >= self.config.failures {
            return self.open(now);
        }
        let delay = doubled(self.config.first_delay, failures - 1).min(self.config.max_delay);
        let not_before = now + self.jitter.around(delay, self.config.jitter);
        self.phase = Phase::Closed { failures, not_before };
        false
    }

    fn open(&mut self, now: Nanos) -> bool {
        self.phase = Phase::Open { until: now + self.config.open_for };
        self.era = self.era.wrapping_add(1);
        true
    }
}

impl Phase {
    const CLOSED: Self = Self::Closed { failures: 0, not_before: Nanos::ZERO };
}

/// Makes spans longer or shorter, the same way for the same seed. The numbers are SplitMix64 (Steele, Lea, Flood:
/// "Fast splittable pseudorandom number generators", 2014), for which every seed is as good as any other.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `span`, by up to `share` of it longer or shorter.
    pub(crate) fn around(&mut self, span: Duration, share: f64) -> Duration {
        let nanos = span_nanos(span) as f64;
        // A cast to an integer saturates: nothing is below zero, and what is too far off is never.
        Duration::from_nanos((nanos + nanos * share * (2.0 * self.unit() - 1.0)) as u64)
    }

    /// From 0 up to, but not, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The next number of the row: a seed for another.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// `span` doubled so many times; what is too long is 584 years.
fn doubled(span: Duration, times: u32) -> Duration {
    let factor = 1_u64.checked_shl(times).unwrap_or(u64::MAX);
    Duration::from_nanos(span_nanos(span).saturating_mul(factor))
}

#[cfg(test)]
mod tests;
