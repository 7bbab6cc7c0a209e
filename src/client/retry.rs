//! How long to wait before a failed acquire is tried again, and when to stop trying. Does not wait or ask the time.

use std::time::Duration;

use crate::breaker::Jitter;
use crate::client::config::within;
use crate::error::ConfigError;

/// How an acquire that tries again does it.
///
/// All attempts of one acquire share one budget of time; how long each may wait is the pool's
/// [`acquire_timeout`](crate::PoolConfig#structfield.acquire_timeout). While a program starts up there is no budget: it
/// tries until it is served.
///
/// ```
/// use socketpool::RetryConfig;
/// use std::time::Duration;
///
/// let config = RetryConfig { max_elapsed_time: Some(Duration::from_secs(10)), ..RetryConfig::default() };
/// assert_eq!(config.initial_interval, Duration::from_secs(1));
/// assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryConfig {
    /// How long the first failure waits; 1 s, longer than zero.
    pub initial_interval: Duration,
    /// The longest wait, before `jitter`; 60 s, at least `initial_interval`.
    pub max_interval: Duration,
    /// Each wait is so many times the one before; 2, at least 1.
    pub exponential_base: u32,
    /// No further attempt begins later than this after the first; no limit of its own. Zero: one attempt.
    pub max_elapsed_time: Option<Duration>,
    /// The same for a program that is past its start, whatever `max_elapsed_time` says; 30 s. A caller who waits longer
    /// for an answer has gone. The shorter of the two counts.
    pub operational_limit: Duration,
    /// The share by which a wait is made longer or shorter at random; 0.25, from 0 to 1. Those who failed together do not
    /// come back together.
    pub jitter: f64,
}

impl RetryConfig {
    /// Whether it can hold; if not, which setting cannot.
    ///
    /// ```
    /// use socketpool::RetryConfig;
    ///
    /// let hasty = RetryConfig { jitter: 2.0, ..RetryConfig::default() };
    /// assert_eq!(hasty.validate().unwrap_err().to_string(), "retry.jitter is 2, must be from 0 to 1");
    /// ```
    ///
    /// # Errors
    ///
    /// The first setting, in the order of the fields, that is out of its bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.initial_interval.is_zero() {
            return Err(ConfigError::span("retry.initial_interval", self.initial_interval, "longer than 0"));
        }
        if self.initial_interval > self.max_interval {
            let bound = format!("at least initial_interval, {:?}", self.initial_interval);
            return Err(ConfigError::span("retry.max_interval", self.max_interval, bound));
        }
        if self.exponential_base == 0 {
            return Err(ConfigError::new("retry.exponential_base", 0, "at least 1"));
        }
        within("retry.jitter", self.jitter, 0.0..=1.0)
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(60),
            exponential_base: 2,
            max_elapsed_time: None,
            operational_limit: Duration::from_secs(30),
            jitter: 0.25,
        }
    }
}

/// What to do after an attempt has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait so long, then try again.
    Sleep(Duration),
    /// Tell the caller.
    GiveUp,
}

/// The attempts of one acquire.
#[derive(Clone, Debug)]
pub(crate) struct Retries {
    config: RetryConfig,
    /// How many have failed.
    attempts: u32,
    /// The next wait, without jitter.
    delay: Duration,
    jitter: Jitter,
}

impl Retries {
    /// None yet, by a config that was found good. The seed settles every jitter.
    pub(crate) fn new(config: RetryConfig, seed: u64) -> Self {
        debug_assert!(config.validate().is_ok(), "{config:?} was not validated");
        Self { config, attempts: 0, delay: config.initial_interval, jitter: Jitter::new(seed) }
    }

    /// An attempt has failed `elapsed` after the first began. `until_open` is how long the breaker stays open yet: an
    /// attempt before then would be in vain, so if that is beyond the budget, there is none.
    ///
    /// A back-off that would go beyond the budget is cut short, so that a last attempt begins at its end.
    pub(crate) fn next(&mut self, elapsed: Duration, until_open: Option<Duration>, startup: bool) -> Next {
        self.attempts = self.attempts.saturating_add(1);
        let backed_off = self.jitter.around(self.delay, self.config.jitter);
        self.delay = self.delay.saturating_mul(self.config.exponential_base).min(self.config.max_interval);
        let open_for = until_open.unwrap_or(Duration::ZERO);
        if startup {
            return Next::Sleep(backed_off.max(open_for));
        }
        let left = self.budget().saturating_sub(elapsed);
        if left.is_zero() || open_for > left {
            return Next::GiveUp;
        }
        Next::Sleep(backed_off.max(open_for).min(left))
    }

    /// How many attempts have failed.
    pub(crate) const fn attempts(&self) -> u32 {
        self.attempts
    }

    fn budget(&self) -> Duration {
        let Self { config, .. } = self;
        config.max_elapsed_time.map_or(config.operational_limit, |limit| limit.min(config.operational_limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn steady() -> RetryConfig {
        RetryConfig { jitter: 0.0, ..RetryConfig::default() }
    }

    /// The waits of an acquire whose attempts fail at once, until it gives up or for `most`.
    fn waits(config: RetryConfig, startup: bool, most: usize) -> Vec<u64> {
        let mut retries = Retries::new(config, 1);
        let mut elapsed = Duration::ZERO;
        let mut waits = Vec::new();
        while waits.len() < most
            && let Next::Sleep(wait) = retries.next(elapsed, None, startup)
        {
            elapsed += wait;
            waits.push(wait.as_secs());
        }
        waits
    }

    #[test]
    fn waits_double_until_the_longest_while_the_program_starts() {
        assert_eq!(waits(steady(), true, 9), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        let tripled = RetryConfig { exponential_base: 3, max_interval: secs(10), ..steady() };
        assert_eq!(waits(tripled, true, 4), [1, 3, 9, 10]);
        assert_eq!(waits(RetryConfig { exponential_base: 1, ..steady() }, true, 3), [1, 1, 1]);
        let limited = RetryConfig { max_elapsed_time: Some(secs(3)), ..steady() };
        assert_eq!(waits(limited, true, 5).len(), 5, "no limit counts before the first success");
    }

    #[test]
    fn a_program_that_runs_spends_thirty_seconds_and_gives_up() {
        assert_eq!(waits(steady(), false, 99), [1, 2, 4, 8, 15], "the last attempt begins at the limit");
        let mut retries = Retries::new(steady(), 1);
        assert_eq!(retries.next(secs(29), None, false), Next::Sleep(secs(1)));
        assert_eq!(retries.next(secs(30), None, false), Next::GiveUp);
        assert_eq!(retries.attempts(), 2);
    }

    #[test]
    fn the_shorter_of_both_limits_counts() {
        assert_eq!(waits(RetryConfig { max_elapsed_time: Some(secs(5)), ..steady() }, false, 99), [1, 2, 2]);
        assert_eq!(waits(RetryConfig { max_elapsed_time: Some(secs(90)), ..steady() }, false, 99).len(), 5);
        assert!(
            waits(RetryConfig { max_elapsed_time: Some(Duration::ZERO), ..steady() }, false, 9).is_empty()
        );
    }

    #[test]
    fn an_open_breaker_is_waited_for_if_there_is_time() {
        let mut retries = Retries::new(steady(), 1);
        assert_eq!(
            retries.next(secs(0), Some(secs(20)), false),
            Next::Sleep(secs(20)),
            "longer than the delay"
        );
        assert_eq!(retries.next(secs(20), Some(secs(1)), false), Next::Sleep(secs(2)), "the delay is longer");
        assert_eq!(retries.next(secs(22), Some(secs(8)), false), Next::Sleep(secs(8)), "just in time");
        assert_eq!(retries.next(secs(22), Some(secs(9)), false), Next::GiveUp, "open beyond the limit");
        assert_eq!(retries.next(secs(22), Some(secs(9_000)), true), Next::Sleep(secs(9_000)), "starting up");
    }

    #[test]
    fn every_setting_that_cannot_hold_is_named() {
        let good = RetryConfig::default();
        assert_eq!(good.validate(), Ok(()));
        let wrong = [
            (
                RetryConfig { initial_interval: Duration::ZERO, ..good },
                "retry.initial_interval is 0ns, must be longer than 0",
            ),
            (
                RetryConfig { max_interval: Duration::from_millis(999), ..good },
                "retry.max_interval is 999ms, must be at least initial_interval, 1s",
            ),
            (RetryConfig { exponential_base: 0, ..good }, "retry.exponential_base is 0, must be at least 1"),
            (RetryConfig { jitter: 1.5, ..good }, "retry.jitter is 1.5, must be from 0 to 1"),
            (RetryConfig { jitter: f64::NAN, ..good }, "retry.jitter is NaN, must be from 0 to 1"),
        ];
        for (config, text) in wrong {
            assert_eq!(config.validate().unwrap_err().to_string(), text);
        }
    }

    proptest! {
        #![proptest_config(crate::model_cases())]

        /// Whatever the numbers: no panic, no wait beyond the budget, and an end.
        #[test]
        fn a_program_that_runs_never_waits_beyond_its_budget(
            initial in 1_u64..u64::MAX, factor in 1_u32..u32::MAX, jitter in 0.0..=1.0_f64, seed: u64,
            limit in prop::option::of(0_u64..200), open in prop::option::of(0_u64..200),
        ) {
            let config = RetryConfig {
                initial_interval: Duration::from_nanos(initial),
                max_interval: Duration::MAX,
                exponential_base: factor,
                max_elapsed_time: limit.map(secs),
                jitter,
                ..RetryConfig::default()
            };
            let mut retries = Retries::new(config, seed);
            let budget = config.operational_limit.min(limit.map_or(Duration::MAX, secs));
            let mut elapsed = Duration::ZERO;
            for _ in 0..100 {
                let Next::Sleep(wait) = retries.next(elapsed, open.map(secs), false) else { break };
                prop_assert!(wait >= open.map_or(Duration::ZERO, secs));
                elapsed += wait;
                prop_assert!(elapsed <= budget);
            }
        }
    }
}
