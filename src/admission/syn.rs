//! The flood score of one address: pure arithmetic on its thirty-two bytes. Attempts lower it, proven connections raise it,
//! time heals it. Which addresses there are, and what is done about a verdict, is left to the table and the gate.
//!
//! The algorithm is that of the legacy pool's SYN protection, except that a block is armed again when the flood goes on after it
//! has expired, and that the window's edge stays put while connections come in.

use crate::clock::{Nanos, span_nanos};

use super::protection::SynProtection;

/// What an address has done lately. The score is between 0 (hostile) and 1 (trusted).
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    /// When the score was last brought up to date.
    seen: Nanos,
    /// When the window began that `current` counts.
    began: Nanos,
    /// Until when every attempt is refused; in the past if none is.
    blocked_until: Nanos,
    score: f32,
    current: u16,
    previous: u16,
}

/// What the score says to a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    Throttle,
    Challenge,
    Block,
}

/// [`SynProtection`] in the units that the arithmetic needs.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    window: u64,
    max_attempts: u64,
    block: u64,
    attempt_penalty: f32,
    failure_penalty: f32,
    success_reward: f32,
    recovery_a_nano: f32,
    throttle_below: f32,
    challenge_below: f32,
    block_below: f32,
}

impl Score {
    /// An address that was never seen before `now`.
    pub(super) fn new(now: Nanos) -> Self {
        Self { seen: now, began: now, blocked_until: Nanos::ZERO, score: START, current: 0, previous: 0 }
    }

    /// Counts an attempt and judges it.
    #[inline(always)]
    pub(super) fn attempt(&mut self, rules: &Rules, now: Nanos) -> Verdict {
        self.recover(rules, now);
        self.current = self.current.saturating_add(1);
        self.lower(rules.attempt_penalty);
        if self.blocked_until > now {
            return Verdict::Block;
        }
        if self.has_too_many(rules, now) || self.score < rules.block_below {
            self.block(rules, now);
            return Verdict::Block;
        }
        if self.score < rules.challenge_below {
            Verdict::Challenge
        } else if self.score < rules.throttle_below {
            Verdict::Throttle
        } else {
            Verdict::Allow
        }
    }

    /// A connection of the address proved itself. A score that is good again lifts the block.
    pub(super) fn success(&mut self, rules: &Rules, now: Nanos) {
        self.recover(rules, now);
        self.score = (self.score + rules.success_reward).min(1.0);
        if self.score >= rules.throttle_below {
            self.blocked_until = Nanos::ZERO;
        }
    }

    /// A connection of the address ended without having proved itself.
    pub(super) fn failure(&mut self, rules: &Rules, now: Nanos) {
        self.recover(rules, now);
        self.lower(rules.failure_penalty);
        if self.score < rules.block_below && self.blocked_until <= now {
            self.block(rules, now);
        }
    }

    /// Whether every attempt is refused at `now`.
    #[inline]
    pub(super) fn is_blocked(&self, now: Nanos) -> bool {
        self.blocked_until > now
    }

    fn block(&mut self, rules: &Rules, now: Nanos) {
        self.blocked_until = Nanos::new(now.as_nanos().saturating_add(rules.block));
    }

    fn lower(&mut self, penalty: f32) {
        self.score = (self.score - penalty).max(0.0);
    }

    /// Brings the score and the windows up to `now`.
    #[inline]
    fn recover(&mut self, rules: &Rules, now: Nanos) {
        let elapsed = now.as_nanos().saturating_sub(self.seen.as_nanos());
        // The way over a signed number is one instruction, and 292 years are enough.
        let elapsed = elapsed.min(i64::MAX as u64).cast_signed() as f32;
        self.score = (self.score + elapsed * rules.recovery_a_nano).min(1.0);
        self.seen = self.seen.max(now);
        if now.as_nanos().saturating_sub(self.began.as_nanos()) >= rules.window {
            self.turn_window(rules, now);
        }
    }

    /// The window is over: it becomes the previous one, or is forgotten when a whole one has passed since.
    #[cold]
    fn turn_window(&mut self, rules: &Rules, now: Nanos) {
        let next = Nanos::new(self.began.as_nanos() + rules.window);
        if now.as_nanos() - next.as_nanos() < rules.window {
            (self.previous, self.began) = (self.current, next);
        } else {
            (self.previous, self.began) = (0, now);
        }
        self.current = 0;
    }

    /// Whether more attempts than allowed lie in the window that ends now: all of the current one, and of the previous one the
    /// part that still lies in it, rounded down. `current + previous * left / window > most`, without the division.
    #[inline]
    fn has_too_many(&self, rules: &Rules, now: Nanos) -> bool {
        let elapsed = now.as_nanos().saturating_sub(self.began.as_nanos());
        let left = rules.window.saturating_sub(elapsed);
        match rules.max_attempts.checked_sub(u64::from(self.current)) {
            Some(spare) => u64::from(self.previous) * left >= (spare + 1) * rules.window,
            None => true,
        }
    }
}

impl Rules {
    pub(super) fn new(protection: &SynProtection) -> Self {
        Self {
            window: span_nanos(protection.window),
            max_attempts: u64::from(protection.max_attempts),
            block: span_nanos(protection.block),
            attempt_penalty: protection.penalty(),
            failure_penalty: protection.failure_penalty,
            success_reward: protection.success_reward,
            recovery_a_nano: protection.recovery_per_second / 1e9,
            throttle_below: protection.throttle_below,
            challenge_below: protection.challenge_below,
            block_below: protection.block_below,
        }
    }
}

/// What an unknown address starts with: a little below trusted.
const START: f32 = 0.8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn rules(protection: SynProtection) -> Rules {
        protection.validate().unwrap();
        Rules::new(&protection)
    }

    fn verdicts(score: &mut Score, rules: &Rules, times: impl Iterator<Item = u64>) -> Vec<Verdict> {
        times.map(|ms| score.attempt(rules, Nanos::from_millis(ms))).collect()
    }

    fn count(verdicts: &[Verdict], wanted: Verdict) -> usize {
        verdicts.iter().filter(|verdict| **verdict == wanted).count()
    }

    #[test]
    fn a_score_takes_thirty_two_bytes() {
        assert_eq!(size_of::<Score>(), 32);
    }

    #[test]
    fn the_legacy_penalty_gives_the_legacy_verdicts() {
        // Measured on the legacy pool: 100 checks in a row give 5 allow, 15 throttle, 10 challenge, 70 block, +-1 for rounding.
        let rules = rules(SynProtection::default().attempt_penalty(0.02));
        let seen = verdicts(&mut Score::new(Nanos::ZERO), &rules, std::iter::repeat_n(0, 100));
        let is_near = |verdict, legacy: usize| count(&seen, verdict).abs_diff(legacy) <= 1;
        assert!(is_near(Verdict::Allow, 5) && is_near(Verdict::Throttle, 15), "{seen:?}");
        assert!(is_near(Verdict::Challenge, 10) && is_near(Verdict::Block, 70), "{seen:?}");
    }

    #[test]
    fn as_many_attempts_as_allowed_pass_before_the_block() {
        for max_attempts in [1, 2, 10, 50, 1_000, 10_000] {
            let rules = rules(SynProtection::default().max_attempts(max_attempts));
            let seen = verdicts(&mut Score::new(Nanos::ZERO), &rules, std::iter::repeat_n(0, 20_000));
            let passed = seen.iter().position(|verdict| *verdict == Verdict::Block).unwrap();
            assert!(passed.abs_diff(max_attempts as usize) <= 2, "{passed} of {max_attempts}");
            assert!(seen[passed..].iter().all(|verdict| *verdict == Verdict::Block));
        }
    }

    #[test]
    fn a_block_expires_and_is_armed_again_when_the_flood_goes_on() {
        let rules = rules(SynProtection::default().block(Duration::from_secs(60)));
        let mut score = Score::new(Nanos::ZERO);
        // Ten minutes of a hundred attempts a second: the legacy pool lets one in a hundred through after the first minute.
        let seen = verdicts(&mut score, &rules, (0..60_000).map(|n| n * 10));
        assert!(60_000 - count(&seen, Verdict::Block) <= 60, "{}", count(&seen, Verdict::Block));
        assert!(score.is_blocked(Nanos::from_millis(600_000)));
        // The flood ends; so does the block, and the score is good again.
        let later = Nanos::from_millis(800_000);
        assert!(!score.is_blocked(later));
        assert_eq!(score.attempt(&rules, later), Verdict::Allow);
        // A second flood is blocked as the first was.
        let seen = verdicts(&mut score, &rules, std::iter::repeat_n(800_000, 200));
        assert!(count(&seen, Verdict::Block) > 100);
        assert!(
            score.is_blocked(Nanos::from_millis(859_999)) && !score.is_blocked(Nanos::from_millis(860_000))
        );
    }

    #[test]
    fn success_lifts_a_block_and_failure_brings_one() {
        let rules = rules(SynProtection::default());
        let (mut score, now) = (Score::new(Nanos::ZERO), Nanos::ZERO);
        for _ in 0..13 {
            score.failure(&rules, now);
        }
        assert!(score.is_blocked(now));
        for _ in 0..11 {
            score.success(&rules, now);
        }
        assert!(!score.is_blocked(now));
        assert_eq!(score.attempt(&rules, now), Verdict::Throttle);
    }

    #[test]
    fn an_honest_client_is_never_even_delayed() {
        let rules = rules(SynProtection::default());
        let mut score = Score::new(Nanos::ZERO);
        for n in 0..10_000 {
            let now = Nanos::from_millis(n * 250);
            assert_eq!(score.attempt(&rules, now), Verdict::Allow, "connection {n}");
            score.success(&rules, now);
        }
    }

    #[test]
    fn the_previous_window_counts_for_the_part_that_still_lies_in_the_window() {
        let harmless = SynProtection::default().attempt_penalty(0.0).max_attempts(50);
        let rules = rules(harmless.window(Duration::from_secs(10)));
        let mut score = Score::new(Nanos::ZERO);
        let seen = verdicts(&mut score, &rules, std::iter::repeat_n(9_000, 50));
        assert_eq!(count(&seen, Verdict::Block), 0);
        // Two fifths into the next window 30 of the 50 still count.
        let seen = verdicts(&mut score, &rules, std::iter::repeat_n(14_000, 30));
        assert_eq!(count(&seen, Verdict::Block), 10);
    }

    #[test]
    fn a_clock_that_stands_still_or_is_at_its_end_does_no_harm() {
        let rules = rules(SynProtection::default());
        for now in [Nanos::ZERO, Nanos::MAX] {
            let mut score = Score::new(Nanos::MAX);
            for _ in 0..70_000 {
                score.attempt(&rules, now);
                score.failure(&rules, now);
            }
            score.success(&rules, Nanos::ZERO);
        }
    }
}
