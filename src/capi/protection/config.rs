//! The settings of a protection as C has them, and what they are in Rust. What they do is `admission`'s business.

use std::ffi::{c_int, c_uint};
use std::mem::{offset_of, size_of};
use std::time::Duration;

use crate::admission::SynProtection;
use crate::capi::status::Failure;
use crate::error::Error;

/// Every setting of a protection. Begin with `SocketSYNProtect_config_defaults`. A value out of its bounds is refused, never
/// corrected.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct SocketSYNProtect_Config {
    /// In which attempts are counted, in milliseconds: 1 to 3,600,000, default 10,000.
    pub window_duration_ms: c_int,
    /// More than this of one address in a window, those left out that made good, block it: 1 to 10,000, default 50.
    pub max_attempts_per_window: c_int,
    /// Of all addresses together: 1 to 1,000,000, default 1,000. Beyond it everybody is blocked, which is held against
    /// nobody.
    pub max_global_per_second: c_int,
    /// Must be 0: how many successes make up for a failure is what the rewards and penalties below say.
    pub min_success_ratio: f32,
    /// For how long a pool does not read from a throttled newcomer, in milliseconds: 0 to 3,600,000, default 100.
    pub throttle_delay_ms: c_int,
    /// How long a block lasts, in milliseconds: from 1, default 60,000. Who floods on is blocked anew at its end.
    pub block_duration_ms: c_int,
    /// For how long a pool does not read from a challenged newcomer, in seconds: up to 3,600, not below the throttle
    /// delay, default 5.
    pub challenge_defer_sec: c_int,
    /// Scores below this are throttled: 0 to 1, default 0.7.
    pub score_throttle: f32,
    /// Scores below this are challenged: at most `score_throttle`, default 0.4.
    pub score_challenge: f32,
    /// Scores below this are blocked: at most `score_challenge`, default 0.2.
    pub score_block: f32,
    /// What a score gains each second, despite the name: 0 to 1,000, default 0.01.
    pub score_decay_per_sec: f32,
    /// What an attempt costs: up to 1. Below 0, as by default: 0.6 / `max_attempts_per_window`, with which score and count
    /// block at about the same attempt.
    pub score_penalty_attempt: f32,
    /// What a failure costs: 0 to 1, default 0.05.
    pub score_penalty_failure: f32,
    /// What a success earns, besides what its attempt has cost: 0 to 1, default 0.05.
    pub score_reward_success: f32,
    /// Addresses that are remembered: 1 to 16,777,216, default 100,000.
    pub max_tracked_ips: usize,
    /// Entries of the whitelist: up to 1,000,000, default 1,000. Those that are in it stay.
    pub max_whitelist: usize,
    /// Entries of the blacklist: up to 1,000,000, default 10,000. Those that are in it stay.
    pub max_blacklist: usize,
    /// Not looked at: the table is always seeded at random, so that nobody can choose addresses that collide.
    pub hash_seed: c_uint,
}

impl SocketSYNProtect_Config {
    pub(super) const DEFAULTS: Self = Self {
        window_duration_ms: 10_000,
        max_attempts_per_window: 50,
        max_global_per_second: 1_000,
        min_success_ratio: 0.0,
        throttle_delay_ms: 100,
        block_duration_ms: 60_000,
        challenge_defer_sec: 5,
        score_throttle: 0.7,
        score_challenge: 0.4,
        score_block: 0.2,
        score_decay_per_sec: 0.01,
        score_penalty_attempt: -1.0,
        score_penalty_failure: 0.05,
        score_reward_success: 0.05,
        max_tracked_ips: 100_000,
        max_whitelist: 1_000,
        max_blacklist: 10_000,
        hash_seed: 0,
    };

    /// The settings that the library has of its own, if they are good, lists apart.
    pub(super) fn settings(&self) -> Result<SynProtection, Failure> {
        if self.min_success_ratio != 0.0 {
            let what = format_args!(
                "is {}, must be 0: the rewards and penalties say how many successes make up for a failure",
                self.min_success_ratio
            );
            return Err(Failure::argument("min_success_ratio", what));
        }
        within("max_whitelist", self.max_whitelist, MOST_LISTED)?;
        within("max_blacklist", self.max_blacklist, MOST_LISTED)?;
        within("max_tracked_ips", self.max_tracked_ips, MOST_TRACKED)?;
        let millis = |field, value| positive(field, value).map(|n| Duration::from_millis(n.into()));
        let seconds = |field, value| positive(field, value).map(|n| Duration::from_secs(n.into()));
        let settings = SynProtection::default()
            .window(millis("window_duration_ms", self.window_duration_ms)?)
            .max_attempts(positive("max_attempts_per_window", self.max_attempts_per_window)?)
            .max_global_per_second(positive("max_global_per_second", self.max_global_per_second)?)
            .throttle_delay(millis("throttle_delay_ms", self.throttle_delay_ms)?)
            .challenge_delay(seconds("challenge_defer_sec", self.challenge_defer_sec)?)
            .block(millis("block_duration_ms", self.block_duration_ms)?)
            .throttle_below(self.score_throttle)
            .challenge_below(self.score_challenge)
            .block_below(self.score_block)
            .recovery_per_second(self.score_decay_per_sec)
            .failure_penalty(self.score_penalty_failure)
            .success_reward(self.score_reward_success)
            .max_tracked(self.max_tracked_ips as u32);
        let settings = match self.score_penalty_attempt {
            penalty if penalty < 0.0 => settings,
            penalty => settings.attempt_penalty(penalty),
        };
        settings.validate().map_err(as_c_has_it)?;
        Ok(settings)
    }
}

/// A bad value under the name that its field has in C.
pub(super) fn as_c_has_it(error: Error) -> Failure {
    let Error::Config { field, value, bound } = &error else { return error.into() };
    let name = NAMES.iter().find(|(ours, _)| field.strip_prefix("syn_protection.") == Some(ours));
    Failure::argument(name.map_or(*field, |(_, name)| name), format_args!("is {value}, must be {bound}"))
}

fn positive(field: &str, value: c_int) -> Result<u32, Failure> {
    u32::try_from(value)
        .map_err(|_| Failure::argument(field, format_args!("is {value}, must not be below 0")))
}

fn within(field: &str, value: usize, most: usize) -> Result<(), Failure> {
    if value <= most {
        return Ok(());
    }
    Err(Failure::argument(field, format_args!("is {value}, must be at most {most}")))
}

const MOST_LISTED: usize = 1_000_000;
const MOST_TRACKED: usize = 1 << 24;

/// Settings by the library's names and by those of the fields.
const NAMES: &[(&str, &str)] = &[
    ("window", "window_duration_ms"),
    ("max_attempts", "max_attempts_per_window"),
    ("max_global_per_second", "max_global_per_second"),
    ("throttle_delay", "throttle_delay_ms"),
    ("challenge_delay", "challenge_defer_sec"),
    ("block", "block_duration_ms"),
    ("throttle_below", "score_throttle"),
    ("challenge_below", "score_challenge"),
    ("block_below", "score_block"),
    ("recovery_per_second", "score_decay_per_sec"),
    ("attempt_penalty", "score_penalty_attempt"),
    ("failure_penalty", "score_penalty_failure"),
    ("success_reward", "score_reward_success"),
    ("max_tracked", "max_tracked_ips"),
];

// What the legacy library has on the same machine.
const _: () = assert!(size_of::<SocketSYNProtect_Config>() == 88);
const _: () = assert!(offset_of!(SocketSYNProtect_Config, score_throttle) == 28);
const _: () = assert!(offset_of!(SocketSYNProtect_Config, max_tracked_ips) == 56);
const _: () = assert!(offset_of!(SocketSYNProtect_Config, hash_seed) == 80);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_library() {
        assert_eq!(SocketSYNProtect_Config::DEFAULTS.settings().unwrap(), SynProtection::default());
    }
}
