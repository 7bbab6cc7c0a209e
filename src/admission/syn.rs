//! The flood score of one address: pure arithmetic on its twenty bytes. Attempts lower it, proven connections raise it,
//! time heals it. Which addresses there are, and what is done about a verdict, is left to the table and the gate.
//!
//! The algorithm is that of the legacy pool's SYN protection, except that a block is armed again when the flood goes on after it
//! has expired, that windows begin at the same time for all addresses, and that a proof takes back the attempt that led to it:
//! what is counted and paid for are the attempts that nobody has stood up for.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::{Nanos, span_nanos};

use super::protection::SynProtection;

/// What a score says at a moment to somebody who only looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) score: f32,
    /// Attempts in this window and in the one before, those left out that were taken back.
    pub(crate) current: u16,
    pub(crate) previous: u16,
    /// When this window began.
    pub(crate) began: Nanos,
    /// [`Nanos::ZERO`] if it is not blocked.
    pub(crate) blocked_until: Nanos,
}

/// What an address has done lately. The score is between 0 (hostile) and 1 (trusted).
///
/// Invariant: `current` counts attempts in the window in which `seen` lies, `previous` those in the one before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    score: f32,
    /// When the score was last brought up to date.
    seen: u32,
    /// Until when every attempt is refused; in the past if none is.
    blocked_until: u32,
    /// The upper sixteen bits of these times, which are milliseconds: 48 bits are 8,900 years, and a clock has 584.
    seen_high: u16,
    blocked_until_high: u16,
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

/// The window in which an attempt was counted. No two windows of a gate have the same number, until 2^32 have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window(NonZeroU32);

/// [`SynProtection`] in the units that the arithmetic needs, and the window that it is now.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// In milliseconds.
    window: u64,
    block: u64,
    max_attempts: u64,
    attempt_penalty: f32,
    failure_penalty: f32,
    success_reward: f32,
    recovery_a_milli: f32,
    throttle_below: f32,
    challenge_below: f32,
    block_below: f32,
    /// When the window began that it is now. Invariant: a multiple of the length of a window.
    began: u64,
    this: Window,
}

impl Score {
    /// An address that was never seen before `now`.
    #[inline]
    pub(super) fn new(now: Nanos) -> Self {
        let now = now.as_millis();
        Self {
            score: START,
            seen: now as u32,
            blocked_until: 0,
            seen_high: (now >> 32) as u16,
            blocked_until_high: 0,
            current: 0,
            previous: 0,
        }
    }

    /// Counts an attempt and judges it.
    #[inline]
    pub(super) fn attempt(&mut self, rules: &mut Rules, now: Nanos) -> Verdict {
        let now = self.recover(rules, now);
        self.current = self.current.saturating_add(1);
        self.lower(rules.attempt_penalty);
        if self.blocked_until() > now {
            return Verdict::Block;
        }
        // The usual case. No threshold is above this one.
        let is_good = self.score >= rules.throttle_below;
        if is_good && u64::from(self.current) + u64::from(self.previous) <= rules.max_attempts {
            return Verdict::Allow;
        }
        self.judge(rules, now)
    }

    /// What is said of an attempt that was counted and is not refused by a block.
    fn judge(&mut self, rules: &Rules, now: u64) -> Verdict {
        if self.has_too_many(rules, now) || self.score < rules.block_below {
            self.block_until(now + rules.block);
            Verdict::Block
        } else if self.score < rules.challenge_below {
            Verdict::Challenge
        } else if self.score < rules.throttle_below {
            Verdict::Throttle
        } else {
            Verdict::Allow
        }
    }

    /// An attempt came to nothing through no fault of its own.
    pub(super) fn take_back(&mut self, rules: &mut Rules, attempt: Window, now: Nanos) {
        self.recover(rules, now);
        let count = match attempt {
            this if this == rules.this => &mut self.current,
            last if last.after(1) == rules.this => &mut self.previous,
            // It is not counted any more.
            _ => return,
        };
        if *count > 0 {
            *count -= 1;
            self.score = (self.score + rules.attempt_penalty).min(1.0);
        }
    }

    /// The connection that this attempt led to proved itself. A score that is good again lifts the block.
    pub(super) fn success(&mut self, rules: &mut Rules, attempt: Window, now: Nanos) {
        self.take_back(rules, attempt, now);
        self.reward(rules);
    }

    /// A connection proved itself, and nobody knows which attempt led to it: it is taken to be the latest that still counts.
    pub(super) fn success_of_latest(&mut self, rules: &mut Rules, now: Nanos) {
        self.recover(rules, now);
        let attempt = if self.current > 0 { rules.this } else { rules.this.before() };
        self.success(rules, attempt, now);
    }

    /// A connection proved itself whose attempt has been taken back before.
    pub(super) fn success_again(&mut self, rules: &mut Rules, now: Nanos) {
        self.recover(rules, now);
        self.reward(rules);
    }

    fn reward(&mut self, rules: &Rules) {
        self.score = (self.score + rules.success_reward).min(1.0);
        if self.score >= rules.throttle_below {
            self.block_until(0);
        }
    }

    /// A connection of the address ended without having proved itself.
    pub(super) fn failure(&mut self, rules: &mut Rules, now: Nanos) {
        let now = self.recover(rules, now);
        self.lower(rules.failure_penalty);
        if self.score < rules.block_below && self.blocked_until() <= now {
            self.block_until(now + rules.block);
        }
    }

    /// Whether every attempt is refused at `now`.
    #[inline]
    pub(super) fn is_blocked(&self, now: Nanos) -> bool {
        self.blocked_until() > now.as_millis()
    }

    /// What it says at `now`.
    pub(super) fn reading(&self, rules: &mut Rules, now: Nanos) -> Reading {
        let mut score = *self;
        let now = score.recover(rules, now);
        let blocked = score.blocked_until();
        Reading {
            score: score.score,
            current: score.current,
            previous: score.previous,
            began: Nanos::from_millis(rules.began),
            blocked_until: Nanos::from_millis(if blocked > now { blocked } else { 0 }),
        }
    }

    #[inline]
    fn blocked_until(&self) -> u64 {
        u64::from(self.blocked_until_high) << 32 | u64::from(self.blocked_until)
    }

    #[inline]
    fn block_until(&mut self, until: u64) {
        self.blocked_until = until as u32;
        self.blocked_until_high = (until >> 32) as u16;
    }

    #[inline]
    fn lower(&mut self, penalty: f32) {
        self.score = (self.score - penalty).max(0.0);
    }

    /// Brings the score and the counts up to `now`, and returns it in milliseconds.
    #[inline]
    fn recover(&mut self, rules: &mut Rules, now: Nanos) -> u64 {
        let now = now.as_millis();
        let seen = u64::from(self.seen_high) << 32 | u64::from(self.seen);
        rules.turn_to(now);
        if now > seen {
            // The way over a signed number is one instruction, and milliseconds fit.
            let elapsed = (now - seen).cast_signed() as f32;
            self.score = (self.score + elapsed * rules.recovery_a_milli).min(1.0);
            if seen < rules.began {
                self.turn_window(rules, seen);
            }
            self.seen = now as u32;
            self.seen_high = (now >> 32) as u16;
        }
        now
    }

    /// The window in which it was seen is over: it is the previous one now, or is forgotten when a whole one has passed since.
    fn turn_window(&mut self, rules: &Rules, seen: u64) {
        let is_last = seen + rules.window >= rules.began;
        self.previous = if is_last { self.current } else { 0 };
        self.current = 0;
    }

    /// Whether more attempts than allowed lie in the window that ends now: all of the current one, and of the previous one the
    /// part that still lies in it, rounded down. `current + previous * left / window > most`, without the division.
    #[inline]
    fn has_too_many(&self, rules: &Rules, now: u64) -> bool {
        let left = rules.window.saturating_sub(now.saturating_sub(rules.began));
        match rules.max_attempts.checked_sub(u64::from(self.current)) {
            Some(spare) => u64::from(self.previous) * left >= (spare + 1) * rules.window,
            None => true,
        }
    }
}

impl Window {
    pub(super) const FIRST: Self = Self(NonZeroU32::MIN);

    /// The window that is `count` numbers behind this one.
    fn after(self, count: u32) -> Self {
        Self(NonZeroU32::new(self.0.get().wrapping_add(count)).unwrap_or(NonZeroU32::MIN))
    }

    /// The one that comes before this one.
    fn before(self) -> Self {
        Self(NonZeroU32::new(self.0.get() - 1).unwrap_or(NonZeroU32::MAX))
    }
}

impl Rules {
    /// The rules that follow on others, whose last window this was; windows of the two have nothing to do with each other.
    pub(super) fn new(protection: &SynProtection, last: Window) -> Self {
        Self {
            window: millis(protection.window),
            block: millis(protection.block),
            max_attempts: u64::from(protection.max_attempts),
            attempt_penalty: protection.penalty(),
            failure_penalty: protection.failure_penalty,
            success_reward: protection.success_reward,
            recovery_a_milli: protection.recovery_per_second / 1e3,
            throttle_below: protection.throttle_below,
            challenge_below: protection.challenge_below,
            block_below: protection.block_below,
            began: 0,
            this: last.after(2),
        }
    }

    /// The window in which an attempt is counted that is made now.
    #[inline]
    pub(super) fn this_window(&self) -> Window {
        self.this
    }

    #[inline]
    fn turn_to(&mut self, now: u64) {
        if now.saturating_sub(self.began) >= self.window {
            self.turn(now);
        }
    }

    /// A new window begins. A number is left out when the one before it was not the last one.
    #[cold]
    fn turn(&mut self, now: u64) {
        let began = now - now % self.window;
        self.this = self.this.after(if began - self.began == self.window { 1 } else { 2 });
        self.began = began;
    }
}

/// Rounded up.
fn millis(span: Duration) -> u64 {
    span_nanos(span).div_ceil(1_000_000)
}

/// What an unknown address starts with: a little below trusted.
const START: f32 = 0.8;

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(protection: SynProtection) -> Rules {
        protection.validate().unwrap();
        Rules::new(&protection, Window::FIRST)
    }

    fn verdicts(score: &mut Score, rules: &mut Rules, times: impl Iterator<Item = u64>) -> Vec<Verdict> {
        times.map(|ms| score.attempt(rules, Nanos::from_millis(ms))).collect()
    }

    fn count(verdicts: &[Verdict], wanted: Verdict) -> usize {
        verdicts.iter().filter(|verdict| **verdict == wanted).count()
    }

    /// A connection proves itself in the window of its attempt.
    fn prove(score: &mut Score, rules: &mut Rules, now: Nanos) {
        rules.turn_to(now.as_millis());
        score.success(rules, rules.this_window(), now);
    }

    /// A connection proves itself that knocked at `attempt`, in this window or in the last one.
    fn prove_attempt(score: &mut Score, rules: &mut Rules, attempt: Nanos, now: Nanos) {
        rules.turn_to(now.as_millis());
        let is_last = attempt.as_millis() < rules.began;
        let this = rules.this_window().0.get();
        let window = NonZeroU32::new(if is_last { this - 1 } else { this }).unwrap();
        score.success(rules, Window(window), now);
    }

    #[test]
    fn a_score_takes_twenty_bytes() {
        assert_eq!((size_of::<Score>(), size_of::<Option<Window>>()), (20, 4));
    }

    #[test]
    fn the_legacy_penalty_gives_the_legacy_verdicts() {
        // Measured on the legacy pool: 100 checks in a row give 5 allow, 15 throttle, 10 challenge, 70 block, +-1 for rounding.
        let mut rules = rules(SynProtection::default().attempt_penalty(0.02));
        let seen = verdicts(&mut Score::new(Nanos::ZERO), &mut rules, std::iter::repeat_n(0, 100));
        let is_near = |verdict, legacy: usize| count(&seen, verdict).abs_diff(legacy) <= 1;
        assert!(is_near(Verdict::Allow, 5) && is_near(Verdict::Throttle, 15), "{seen:?}");
        assert!(is_near(Verdict::Challenge, 10) && is_near(Verdict::Block, 70), "{seen:?}");
    }

    #[test]
    fn as_many_attempts_as_allowed_pass_before_the_block() {
        for max_attempts in [1, 2, 10, 50, 1_000, 10_000] {
            let mut rules = rules(SynProtection::default().max_attempts(max_attempts));
            let seen = verdicts(&mut Score::new(Nanos::ZERO), &mut rules, std::iter::repeat_n(0, 20_000));
            let passed = seen.iter().position(|verdict| *verdict == Verdict::Block).unwrap();
            assert!(passed.abs_diff(max_attempts as usize) <= 2, "{passed} of {max_attempts}");
            assert!(seen[passed..].iter().all(|verdict| *verdict == Verdict::Block));
        }
    }

    #[test]
    fn a_block_expires_and_is_armed_again_when_the_flood_goes_on() {
        let mut rules = rules(SynProtection::default().block(Duration::from_secs(60)));
        let mut score = Score::new(Nanos::ZERO);
        // Ten minutes of a hundred attempts a second: the legacy pool lets one in a hundred through after the first minute.
        let seen = verdicts(&mut score, &mut rules, (0..60_000).map(|n| n * 10));
        assert!(60_000 - count(&seen, Verdict::Block) <= 60, "{}", count(&seen, Verdict::Block));
        assert!(score.is_blocked(Nanos::from_millis(600_000)));
        // The flood ends; so does the block, and the score is good again.
        let later = Nanos::from_millis(800_000);
        assert!(!score.is_blocked(later));
        assert_eq!(score.attempt(&mut rules, later), Verdict::Allow);
        // A second flood is blocked as the first was.
        let seen = verdicts(&mut score, &mut rules, std::iter::repeat_n(800_000, 200));
        assert!(count(&seen, Verdict::Block) > 100);
        assert!(
            score.is_blocked(Nanos::from_millis(859_999)) && !score.is_blocked(Nanos::from_millis(860_000))
        );
    }

    #[test]
    fn success_lifts_a_block_and_failure_brings_one() {
        let mut rules = rules(SynProtection::default());
        let (mut score, now) = (Score::new(Nanos::ZERO), Nanos::ZERO);
        for _ in 0..13 {
            score.failure(&mut rules, now);
        }
        assert!(score.is_blocked(now));
        for _ in 0..11 {
            prove(&mut score, &mut rules, now);
        }
        assert!(!score.is_blocked(now));
        assert_eq!(score.attempt(&mut rules, now), Verdict::Throttle);
    }

    #[test]
    fn an_honest_client_is_never_even_delayed() {
        let mut rules = rules(SynProtection::default());
        let mut score = Score::new(Nanos::ZERO);
        for n in 0..10_000 {
            let now = Nanos::from_millis(n * 250);
            assert_eq!(score.attempt(&mut rules, now), Verdict::Allow, "connection {n}");
            prove(&mut score, &mut rules, now);
        }
    }

    #[test]
    fn who_proves_each_connection_may_connect_as_often_as_it_likes() {
        for max_attempts in [25, 50, 1_000] {
            for reward in [0.0, 0.05] {
                let protection = SynProtection::default().max_attempts(max_attempts).success_reward(reward);
                let mut rules = rules(protection.recovery_per_second(0.0));
                let mut score = Score::new(Nanos::ZERO);
                for n in 0..100_000 {
                    // A thousand a second, and each proves itself 3 ms later.
                    let now = Nanos::from_millis(n);
                    if n >= 3 {
                        prove_attempt(&mut score, &mut rules, Nanos::from_millis(n - 3), now);
                    }
                    let verdict = score.attempt(&mut rules, now);
                    assert_eq!(verdict, Verdict::Allow, "connection {n} of {max_attempts} at most");
                }
                assert!(u64::from(score.current + score.previous) <= 3);
            }
        }
    }

    #[test]
    fn a_proof_takes_back_its_own_attempt_and_no_other() {
        let mut rules = rules(SynProtection::default().attempt_penalty(0.0).max_attempts(50));
        let mut score = Score::new(Nanos::ZERO);
        let at = |seconds: u64| Nanos::from_millis(seconds * 1_000);
        verdicts(&mut score, &mut rules, std::iter::repeat_n(1_000, 3));
        let first = rules.this_window();
        verdicts(&mut score, &mut rules, std::iter::repeat_n(11_000, 4));
        let second = rules.this_window();
        score.success(&mut rules, first, at(12));
        assert_eq!((score.previous, score.current), (2, 4), "of the window before");
        score.success(&mut rules, second, at(13));
        assert_eq!((score.previous, score.current), (2, 3), "of this one");
        score.success(&mut rules, first, at(21));
        assert_eq!((score.previous, score.current), (3, 0), "of one that is over: nothing to take back");
        verdicts(&mut score, &mut rules, std::iter::once(45_000));
        score.success(&mut rules, second, at(45));
        assert_eq!((score.previous, score.current), (0, 1), "after a window in which nothing happened");
        let mut others = Rules::new(&SynProtection::default(), rules.this_window());
        score.success(&mut others, rules.this_window(), at(46));
        assert_eq!(score.current, 1, "of a window under other rules");
    }

    #[test]
    fn the_previous_window_counts_for_the_part_that_still_lies_in_the_window() {
        let harmless = SynProtection::default().attempt_penalty(0.0).max_attempts(50);
        let mut rules = rules(harmless.window(Duration::from_secs(10)));
        let mut score = Score::new(Nanos::ZERO);
        let seen = verdicts(&mut score, &mut rules, std::iter::repeat_n(9_000, 50));
        assert_eq!(count(&seen, Verdict::Block), 0);
        // Two fifths into the next window 30 of the 50 still count.
        let seen = verdicts(&mut score, &mut rules, std::iter::repeat_n(14_000, 30));
        assert_eq!(count(&seen, Verdict::Block), 10);
    }

    #[test]
    fn a_clock_that_stands_still_or_is_at_its_end_does_no_harm() {
        let mut rules = rules(SynProtection::default());
        for now in [Nanos::ZERO, Nanos::MAX] {
            let mut score = Score::new(Nanos::MAX);
            for _ in 0..70_000 {
                score.attempt(&mut rules, now);
                score.failure(&mut rules, now);
            }
            prove(&mut score, &mut rules, Nanos::ZERO);
        }
    }
}
