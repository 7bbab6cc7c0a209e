//! Terms of keys by dice.

use std::time::Duration;

use crate::breaker::BreakerConfig;
use crate::lease::{AdaptiveTerms, Span, Terms};

/// How many bytes decide about the terms: one for the core, thirteen for each of three keys.
pub(super) const DICE: usize = 40;

/// Terms by thirteen dice; zeros are as few as possible.
pub(super) fn terms(dice: &[u8]) -> Terms {
    let ms = |millis: u64| Span::from(Duration::from_millis(millis));
    let sometimes = |die: u8, spans: [u64; 3]| match die % 4 {
        0 => Span::NEVER,
        choice => ms(spans[usize::from(choice) - 1]),
    };
    let max_size = 1 + u32::from(dice[0] % 4);
    Terms {
        max_size,
        min_size: u32::from(dice[1] % 3).min(max_size),
        min_idle: u32::from(dice[1] / 3 % 4 == 3),
        max_waiters: if dice[2] < 128 { 1_024 } else { 1 + u32::from(dice[2] % 5) },
        idle_timeout: sometimes(dice[3], [20, 60, 300]),
        max_lifetime: sometimes(dice[4], [15, 70, 200]),
        lifetime_jitter: 0.0,
        max_uses: if dice[5] < 128 { u64::MAX } else { 1 + u64::from(dice[5] % 4) },
        connect_timeout: if dice[6] < 64 { Span::NEVER } else { ms(u64::from(dice[6] % 32) + 3) },
        validate_after: if dice[7] < 64 { Span::NEVER } else { ms(u64::from(dice[7] % 16)) },
        health_check_interval: sometimes(dice[8], [10, 30, 100]),
        leak_threshold: sometimes(dice[9], [2, 20, 50]),
        adaptive: (dice[10] >= 160).then(|| AdaptiveTerms {
            interval: ms(10 + u64::from(dice[10] % 32)),
            min_acquisitions: u64::from(dice[10] % 4),
            wait_high: ms(2),
            grow: 1.2,
            idle_high: 0.5,
            shrink: 0.8,
            ceiling: 4 * max_size,
        }),
        breaker: BreakerConfig {
            failures: 1 + u32::from(dice[11] % 4),
            open_for: Duration::from_millis(u64::from(dice[12] % 40) + 1),
            probes: 1 + u32::from(dice[11] / 4 % 3),
            first_delay: Duration::from_millis(u64::from(dice[12] % 8)),
            max_delay: Duration::from_millis(20),
            jitter: 0.0,
        },
    }
}
