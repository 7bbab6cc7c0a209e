//! Connects that fail: pauses between them, the breaker that gives a server a rest, and what those are told who wait.

use std::time::Duration;

use socketpool::{BreakerConfig, ErrorCounts, Health, Pool, PoolConfig, PoolError, PooledConnection};

use crate::fake::{Call, Does, PATIENCE, World, until};
use crate::scene::{Scene, ms, quiet, secs};

/// Pauses are exact.
fn exact(max_size: u32) -> PoolConfig {
    let breaker = BreakerConfig { jitter: 0.0, ..BreakerConfig::default() };
    PoolConfig { breaker: Some(breaker), acquire_timeout: Some(secs(3600)), ..quiet(max_size) }
}

#[test]
fn pauses_double_from_failure_to_failure() {
    let breaker = BreakerConfig { failures: 100, jitter: 0.0, ..BreakerConfig::default() };
    let scene = Scene::new(PoolConfig { breaker: Some(breaker), ..exact(1) });
    scene.world.set(Call::Connect, Does::Fail);
    let waiter = scene.in_line();
    scene.tick();
    let pauses = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000];
    for (tried, pause) in (1..).zip(pauses) {
        assert_eq!(scene.world.count(Call::Connect), tried, "before a pause of {pause} ms");
        assert_eq!(scene.tick(), Some(ms(pause)));
        scene.pass(ms(pause) - Duration::from_nanos(1));
        assert_eq!(scene.world.count(Call::Connect), tried, "in a pause of {pause} ms");
        scene.pass(Duration::from_nanos(1));
    }
    assert_eq!(scene.world.count(Call::Connect), pauses.len() + 1);
    assert_eq!(waiter.rung(), 0, "the waiter has kept his place");
}

#[test]
fn a_connect_that_succeeds_serves_him_who_has_waited_through_the_failures() {
    let scene = Scene::new(exact(1));
    scene.world.script([Does::Fail, Does::Panic, Does::Fail]);
    let mut waiter = scene.in_line();
    for pause in [0, 100, 200, 400] {
        scene.pass(ms(pause));
    }
    assert_eq!(waiter.rung(), 1);
    assert_eq!(waiter.get().unwrap().number, 1);
}

#[test]
fn five_failures_open_the_breaker_and_everybody_is_told_until_when() {
    let scene = Scene::new(exact(1));
    scene.world.set(Call::Connect, Does::Fail);
    let mut waiters = [scene.in_line(), scene.in_line()];
    for pause in [0, 100, 200, 400, 800] {
        scene.pass(ms(pause));
    }
    assert_eq!(scene.world.count(Call::Connect), 5);
    for waiter in &mut waiters {
        let Err(PoolError::Unavailable { until, last }) = waiter.get() else { panic!("not unavailable") };
        assert_eq!(until, secs(30));
        assert!(last.is_some());
    }
    scene.pass(secs(10));
    let Err(PoolError::Unavailable { until, .. }) = scene.pool.acquire() else { panic!("not unavailable") };
    assert_eq!(until, secs(20));
    assert_eq!(scene.world.count(Call::Connect), 5, "nothing is tried meanwhile");
    let Health::Unhealthy { since, .. } = scene.pool.health() else { panic!("it looks healthy") };
    assert_eq!(since, secs(11) + ms(500));
}

#[test]
fn three_probes_are_tried_one_at_a_time_before_it_opens_again() {
    let scene = Scene::new(exact(4));
    scene.world.set(Call::Connect, Does::Fail);
    let waiter = scene.in_line();
    for pause in [0, 100, 200, 400, 800] {
        scene.pass(ms(pause));
    }
    drop(waiter);
    scene.pass(secs(30));
    assert_eq!(scene.world.count(Call::Connect), 5, "nobody wants a probe");
    let mut waiters = [scene.in_line(), scene.in_line(), scene.in_line()];
    scene.tick();
    assert_eq!(scene.world.count(Call::Connect), 8);
    for waiter in &mut waiters {
        let Err(PoolError::Unavailable { until, .. }) = waiter.get() else { panic!("not unavailable") };
        assert_eq!(until, secs(30));
    }
}

#[test]
fn a_probe_that_succeeds_closes_it_for_all() {
    let scene = Scene::new(exact(4));
    scene.world.script([Does::Fail; 6]);
    let waiter = scene.in_line();
    for pause in [0, 100, 200, 400, 800] {
        scene.pass(ms(pause));
    }
    drop(waiter);
    scene.pass(secs(30));
    let mut waiters = [scene.in_line(), scene.in_line(), scene.in_line()];
    scene.tick();
    assert_eq!(scene.world.count(Call::Connect), 9, "a probe that fails, one that succeeds, two more");
    let leases: Vec<_> = waiters.iter_mut().map(|waiter| waiter.get().unwrap()).collect();
    assert_eq!(leases.len(), 3);
    assert!(matches!(scene.pool.health(), Health::Healthy));
}

#[test]
fn what_is_idle_stays_usable_while_it_is_open() {
    let scene = Scene::new(exact(2));
    let held = scene.acquire();
    scene.world.set(Call::Connect, Does::Fail);
    let waiter = scene.in_line();
    for pause in [0, 100, 200, 400, 800] {
        scene.pass(ms(pause));
    }
    drop(waiter);
    scene.release(held);
    assert_eq!(scene.acquire().number, 1);
}

#[test]
fn who_waits_while_all_are_in_use_is_told_that_it_took_too_long() {
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(secs(5)), ..quiet(1) });
    let held = scene.acquire();
    let mut waiter = scene.in_line();
    scene.pass(secs(5) - Duration::from_nanos(1));
    assert!(waiter.poll().is_none());
    scene.pass(Duration::from_nanos(1));
    assert_eq!(waiter.rung(), 1);
    let Err(PoolError::Timeout { waited }) = waiter.get() else { panic!("no timeout") };
    assert_eq!(waited, secs(5));
    scene.release(held);
    assert_eq!(scene.idle(), 1);
}

#[test]
fn who_waits_while_nothing_can_be_made_is_told_why() {
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(ms(250)), ..exact(1) });
    scene.world.set(Call::Connect, Does::Fail);
    let mut waiter = scene.in_line();
    scene.tick();
    scene.pass(ms(250));
    let Err(PoolError::Connect(error)) = waiter.get() else { panic!("no connect error") };
    assert_eq!(error.to_string(), "connect: as it was told");
}

#[test]
fn a_panic_is_an_error_like_another() {
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(ms(50)), ..exact(1) });
    scene.world.set(Call::Connect, Does::Panic);
    let mut waiter = scene.in_line();
    scene.tick();
    scene.pass(ms(50));
    let Err(PoolError::Connect(error)) = waiter.get() else { panic!("no connect error") };
    assert_eq!(error.to_string(), "connect: panicked: Connect panics as it was told");
}

#[test]
fn he_whose_time_is_over_in_the_moment_of_a_release_gets_the_connection() {
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(secs(5)), ..quiet(1) });
    let held = scene.acquire();
    let mut waiter = scene.in_line();
    scene.hand.advance(secs(5));
    scene.release(held);
    scene.tick();
    assert!(waiter.get().is_ok(), "a grant wins");
}

#[test]
fn of_many_who_wait_each_is_told_at_his_own_time() {
    let scene = Scene::new(quiet(1));
    let held = scene.acquire();
    let mut waiters: Vec<_> = (1..=10)
        .map(|seconds| {
            let patience = secs(11 - seconds);
            crate::waiters::ByHand::in_line(scene.pool.acquire_timeout_async(patience).into_owned())
        })
        .collect();
    for _ in 0..10 {
        scene.pass(secs(1));
        let mut last = waiters.pop().unwrap();
        assert!(matches!(last.get(), Err(PoolError::Timeout { .. })));
        assert!(waiters.iter_mut().all(|waiter| waiter.poll().is_none()));
    }
    scene.release(held);
}

#[test]
fn too_many_in_line_are_refused() {
    let scene = Scene::new(PoolConfig { max_waiters: 2, ..quiet(1) });
    let held = scene.acquire();
    let _first = scene.in_line();
    let second = scene.in_line();
    let error = scene.pool.acquire().unwrap_err();
    assert!(matches!(error, PoolError::Exhausted { in_use: 1, max: 1, waiters: 2 }), "{error}");
    drop(second);
    let _third = scene.in_line();
    scene.release(held);
}

#[test]
fn closes_that_hang_leave_threads_for_connects() {
    let world = World::default();
    // No close is ever found to hang: what is left for connects does not depend on that.
    let config = PoolConfig { connect_timeout: None, ..patient(8) };
    let pool = Pool::builder(world.manager()).config(config).build().unwrap();
    let leases: Vec<_> = (0..4).map(|_| pool.acquire().unwrap()).collect();
    world.set(Call::Close, Does::Hang);
    leases.into_iter().for_each(PooledConnection::discard);
    until("some are being closed", || world.hanging() > 0);
    let leases: Vec<_> = (0..4).map(|_| pool.acquire().unwrap()).collect();
    world.set(Call::Close, Does::Work);
    drop((leases, pool));
    world.assert_all_closed();
}

#[test]
fn closes_that_hang_for_too_long_do_not_keep_others_from_being_closed() {
    let world = World::default();
    let config = PoolConfig { connect_timeout: Some(ms(20)), ..patient(16) };
    let pool = Pool::builder(world.manager()).config(config).build().unwrap();
    let leases: Vec<_> = (0..12).map(|_| pool.acquire().unwrap()).collect();
    world.set(Call::Close, Does::Hang);
    leases.into_iter().for_each(PooledConnection::discard);
    until("all are being closed", || world.hanging() == 12);
    let leases: Vec<_> = (0..4).map(|_| pool.acquire().unwrap()).collect();
    assert_eq!(pool.stats().connection_errors, ErrorCounts::default(), "what ends is no failure");
    world.set(Call::Close, Does::Work);
    drop((leases, pool));
    world.assert_all_closed();
}

#[test]
fn what_was_late_and_then_fails_is_counted_once() {
    let world = World::default();
    let config = PoolConfig { connect_timeout: Some(ms(20)), breaker: None, ..patient(1) };
    let pool = Pool::builder(world.manager()).config(config).build().unwrap();
    world.script([Does::Hang]);
    let waiter = crate::waiters::ByHand::in_line(pool.acquire_async().into_owned());
    until("it is late", || pool.stats().connection_errors.timeout == 1);
    world.set(Call::Connect, Does::Fail);
    let mut stats = pool.stats();
    until("it is back, and nothing is tried", || {
        stats = pool.stats();
        stats.connections_destroyed > 0 && stats.total_connections == 0
    });
    let errors = stats.connection_errors;
    assert_eq!(errors.timeout + errors.connect, stats.connections_destroyed, "each has failed once");
    drop((waiter, pool));
    world.assert_all_closed();
}

/// With threads, and nobody's time is over.
fn patient(max_size: u32) -> PoolConfig {
    PoolConfig { acquire_timeout: Some(PATIENCE), ..quiet(max_size) }
}
