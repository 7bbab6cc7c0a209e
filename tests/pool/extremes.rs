//! Settings at the ends of what they may be, in every combination that chance brings: whatever is due ends, and what is true
//! of a pool's numbers stays true.

use std::time::Duration;

use socketpool::{AdaptiveConfig, BreakerConfig, PoolConfig, PoolError};

use crate::fake::{Call, Does};
use crate::scene::{Scene, ms, secs};
use crate::turmoil::Dice;

/// So many calls of `tick` without time passing find the end of what is due.
const ENOUGH_TICKS: u32 = 100;

fn extreme(dice: &mut Dice) -> PoolConfig {
    let span = |dice: &mut Dice| {
        dice.pick(&[
            None,
            Some(Duration::ZERO),
            Some(Duration::from_nanos(1)),
            Some(secs(1)),
            Some(Duration::MAX),
        ])
    };
    let max_size = dice.pick(&[1, 2, 3, (1 << 24) - 1]);
    let adaptive = AdaptiveConfig {
        interval: dice.pick(&[Duration::from_nanos(1), secs(1), Duration::MAX]),
        min_acquisitions: dice.pick(&[0, u32::MAX]),
        wait_high: dice.pick(&[Duration::ZERO, Duration::MAX]),
        grow: dice.pick(&[1.000_001, 1e300]),
        idle_high: dice.pick(&[0.0, 1.0]),
        shrink: dice.pick(&[1e-300, 0.999_999]),
        ceiling: dice.pick(&[None, Some(max_size), Some((1 << 24) - 1)]),
    };
    let breaker = BreakerConfig {
        failures: dice.pick(&[1, u32::MAX]),
        open_for: dice.pick(&[Duration::from_nanos(1), Duration::MAX]),
        probes: dice.pick(&[1, 3]),
        first_delay: dice.pick(&[Duration::from_nanos(1), Duration::MAX]),
        max_delay: dice.pick(&[Duration::from_nanos(1), Duration::MAX]),
        jitter: dice.pick(&[0.0, 0.5, 1.0]),
    };
    PoolConfig {
        max_size,
        min_size: max_size.min(dice.pick(&[0, 3, 3])),
        min_idle: max_size.min(dice.pick(&[0, 3])),
        idle_timeout: span(dice),
        max_lifetime: dice.pick(&[None, Some(ms(1)), Some(Duration::MAX)]),
        lifetime_jitter: dice.pick(&[0.0, 0.5]),
        max_uses: dice.pick(&[None, Some(1), Some(u64::MAX)]),
        acquire_timeout: dice.pick(&[Some(Duration::ZERO), Some(ms(1))]),
        connect_timeout: span(dice),
        validate_after: span(dice),
        health_check_interval: span(dice),
        max_waiters: dice.pick(&[0, 1, (1 << 24) - 1]),
        warmup_batch: dice.pick(&[1, u32::MAX]),
        warmup_delay: dice.pick(&[Duration::ZERO, Duration::MAX]),
        leak_threshold: span(dice),
        op_timeout: span(dice),
        adaptive: dice.pick(&[None, Some(adaptive)]),
        breaker: dice.pick(&[None, Some(breaker)]),
    }
}

#[test]
fn nothing_is_due_for_ever_whatever_the_settings() {
    let mut held = 0;
    for seed in 0..400 {
        let dice = &mut Dice::new(seed);
        let config = extreme(dice);
        if config.validate().is_err() {
            continue;
        }
        held += 1;

        live(&Scene::new(config), dice);
    }
    assert!(held > 50, "{held} settings held");
}

fn live(scene: &Scene, dice: &mut Dice) {
    let mut waiters = Vec::new();
    let mut leases = Vec::new();
    for _ in 0..20 {
        match dice.roll(8) {
            0 => leases.extend(scene.pool.try_acquire()),
            1 => waiters.push(crate::waiters::ByHand::new(scene.pool.acquire_async().into_owned())),
            2 => drop(leases.pop()),
            3 => scene.world.set(Call::Connect, dice.pick(&[Does::Work, Does::Fail])),
            4 => scene.world.set(Call::Validate, dice.pick(&[Does::Work, Does::Fail])),
            5 => scene.pool.warm_gradually(),
            6 => drop(scene.pool.resize(dice.pick(&[1, 3, 5]))),
            _ => scene.hand.advance(dice.pick(&[Duration::from_nanos(1), secs(1), secs(1 << 29)])),
        }
        waiters.retain_mut(|waiter| match waiter.poll() {
            Some(got) => {
                leases.extend(got);
                false
            }
            None => true,
        });
        settle(scene);
    }
    scene.pool.close();
    for mut waiter in waiters {
        let got = waiter.get();
        assert!(!matches!(got, Err(PoolError::Config(_) | PoolError::RetriesExhausted { .. })));
    }
    drop(leases);
    settle(scene);
    scene.world.assert_all_closed();
}

/// Ticks until nothing is due.
fn settle(scene: &Scene) {
    for _ in 0..ENOUGH_TICKS {
        if scene.tick().is_none_or(|next| next > Duration::ZERO) {
            return;
        }
    }
    panic!("something is due for ever: {:?} {:?}", scene.pool.config(), scene.pool.stats());
}
