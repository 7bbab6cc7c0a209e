//! The end of a pool: drained, closed or simply dropped, and what becomes of connections that are still lent then.

use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use socketpool::{Pool, PoolConfig, PoolError, State};

use crate::fake::{Call, Does, PATIENCE, World, until};
use crate::scene::{Scene, quiet, secs};
use crate::waiters::{KINDS, Kind, Waiter};

#[test]
fn closing_fails_those_in_line_and_closes_what_is_idle() {
    let scene = Scene::new(quiet(3));
    let mut leases = scene.acquire_all(3);
    let held = leases.pop().unwrap();
    let mut waiters = [scene.in_line(), scene.in_line()];
    scene.pool.close();
    for waiter in &mut waiters {
        assert_eq!(waiter.rung(), 1);
        assert!(matches!(waiter.get(), Err(PoolError::Closed)));
    }
    drop(leases);
    scene.tick();
    assert_eq!((scene.world.live(), scene.pool.state()), (1, State::Draining));
    scene.release(held);
    scene.tick();
    assert_eq!(scene.pool.state(), State::Drained);
    scene.world.assert_all_closed();
    scene.pool.close();
    assert!(matches!(scene.pool.acquire(), Err(PoolError::Closed)));
}

#[test]
fn nothing_is_kept_up_any_more_while_the_last_lease_is_waited_for() {
    let adaptive = Some(socketpool::AdaptiveConfig::default());
    let scene = Scene::new(PoolConfig {
        health_check_interval: Some(secs(30)),
        idle_timeout: Some(secs(300)),
        max_lifetime: Some(secs(1_800)),
        leak_threshold: Some(secs(60)),
        adaptive,
        ..quiet(2)
    });
    let held = scene.acquire();
    scene.pool.close();
    for _ in 0..5 {
        scene.pass(secs(1_000));
    }
    assert_eq!(scene.world.count(Call::Validate), 0);
    scene.release(held);
    scene.tick();
    scene.world.assert_all_closed();
}

#[test]
fn nothing_of_a_pool_that_is_closed_waits() {
    let scene = Scene::new(quiet(2));
    let held = scene.acquire();
    scene.pool.close();
    assert!(matches!(scene.pool.acquire(), Err(PoolError::Closed)));
    assert!(matches!(scene.pool.acquire_new(), Err(PoolError::Closed)));
    assert!(scene.pool.try_acquire().is_none());
    let mut future = crate::waiters::ByHand::new(scene.pool.acquire_async().into_owned());
    assert!(matches!(future.get(), Err(PoolError::Closed)));
    let (give, take) = mpsc::channel();
    scene.pool.acquire_with(move |got| give.send(got).unwrap());
    assert!(matches!(take.try_recv().unwrap(), Err(PoolError::Closed)));
    assert!(matches!(scene.pool.warm(), Err(PoolError::Closed)));
    assert_eq!(scene.pool.check_health(), 0);
    scene.pool.resize(1).unwrap();
    scene.release(held);
    scene.tick();
    assert_eq!(scene.pool.drain(Duration::ZERO), State::Drained);
    assert_eq!(scene.pool.check_health(), 0);
}

#[test]
fn a_connect_that_comes_back_after_the_close_is_closed() {
    let (world, pool) = threaded(quiet(1));
    world.set(Call::Connect, Does::Hang);
    let waiter = Waiter::ask(&pool, Kind::Thread);
    until("it connects", || world.hanging() == 1);
    pool.close();
    assert!(matches!(waiter.get(), Err(PoolError::Closed)));
    world.set(Call::Connect, Does::Work);
    until("it is closed", || world.count(Call::Close) == 1);
    until("the pool knows", || pool.state() == State::Drained);
    world.assert_all_closed();
}

#[test]
fn a_drain_serves_those_in_line_and_takes_no_newcomers() {
    for kind in KINDS {
        let (world, pool) = threaded(quiet(1));
        let held = pool.acquire().unwrap();
        let line = [Waiter::enter(&pool, kind), Waiter::enter(&pool, kind)];
        let of = pool.clone();
        let drain = thread::spawn(move || of.drain(PATIENCE));
        until("it drains", || pool.state() == State::Draining);
        assert!(matches!(pool.acquire(), Err(PoolError::Closed)));
        drop(held);
        for waiter in &line {
            drop(waiter.get().unwrap());
        }
        assert_eq!(drain.join().unwrap(), State::Drained);
        world.assert_all_closed();
    }
}

#[test]
fn at_the_deadline_of_a_drain_those_in_line_fail() {
    for kind in KINDS {
        let (world, pool) = threaded(quiet(1));
        let held = pool.acquire().unwrap();
        let waiter = Waiter::enter(&pool, kind);
        assert_eq!(pool.drain(Duration::from_millis(20)), State::Draining, "one is still held");
        assert!(matches!(waiter.get(), Err(PoolError::Closed)));
        drop(held);
        until("it is drained", || pool.state() == State::Drained);
        world.assert_all_closed();
    }
}

#[test]
fn a_drain_by_hand_ends_at_its_deadline() {
    let scene = Scene::new(quiet(2));
    let (held, idle) = (scene.acquire(), scene.acquire());
    scene.release(idle);
    assert_eq!(scene.pool.drain(Duration::ZERO), State::Draining);
    assert_eq!(scene.world.live(), 1);
    scene.release(held);
    scene.tick();
    assert_eq!(scene.pool.state(), State::Drained);
    scene.world.assert_all_closed();
}

#[test]
fn the_last_handle_closes_without_waiting_and_each_connection_is_closed_once() {
    let (world, pool) = threaded(quiet(4));
    let leases: Vec<_> = (0..4).map(|_| pool.acquire().unwrap()).collect();
    drop(leases);
    world.set(Call::Close, Does::Hang);
    let clone = pool.clone();
    drop(pool);
    assert_eq!(world.hanging(), 0, "there is another handle");
    // Closing hangs, and yet this returns.
    drop(clone);
    until("they are being closed", || world.hanging() > 0);
    assert_eq!(world.live(), 4);
    world.set(Call::Close, Does::Work);
    world.assert_all_closed();
}

#[test]
fn connections_are_closed_by_connector_threads_and_not_where_they_were_given_back() {
    let (world, pool) = threaded(quiet(1));
    pool.acquire().unwrap().discard();
    until("it is closed", || world.count(Call::Close) == 1);
    drop(pool);
    world.assert_all_closed();
    assert!(world.calls().iter().all(|called| called.thread != thread::current().id()));
}

#[test]
fn a_lease_outlives_its_pool() {
    let (world, pool) = threaded(quiet(2));
    let (mut one, other) = (pool.acquire().unwrap(), pool.acquire().unwrap());
    drop(pool);
    drop(other);
    until("the other is closed", || world.live() == 1);
    one.ops += 1;
    assert_eq!((one.use_count(), one.stats().ops), (1, 0));
    drop(one);
    world.assert_all_closed();
    assert_eq!(world.ops(), 1);
}

#[test]
fn a_lease_outlives_its_pool_that_was_driven_by_hand() {
    let Scene { pool, world, .. } = Scene::new(quiet(2));
    let (one, other) = (pool.acquire().unwrap(), pool.acquire().unwrap());
    drop(other);
    drop(pool);
    drop(one);
    world.assert_all_closed();
}

#[test]
fn those_in_line_outlive_the_last_handle_and_are_told() {
    let (world, pool) = threaded(quiet(1));
    let held = pool.acquire().unwrap();
    let waiter = Waiter::enter(&pool, Kind::Callback);
    let future = crate::waiters::ByHand::in_line(pool.acquire_async().into_owned());
    drop(pool);
    assert!(matches!(waiter.get(), Err(PoolError::Closed)));
    let mut future = future;
    assert!(matches!(future.get(), Err(PoolError::Closed)));
    drop(held);
    world.assert_all_closed();
}

#[test]
fn a_warm_up_and_a_round_of_checks_end_with_the_pool() {
    let (world, pool) = threaded(PoolConfig { min_size: 3, connect_timeout: None, ..quiet(3) });
    world.set(Call::Connect, Does::Hang);
    let of = pool.clone();
    let warming = thread::spawn(move || of.warm().is_err());
    until("it warms", || world.hanging() == 3);
    pool.close();
    world.set(Call::Connect, Does::Work);
    warming.join().unwrap();
    drop(pool);
    world.assert_all_closed();

    let (world, pool) = threaded(PoolConfig { connect_timeout: None, ..quiet(6) });
    let leases: Vec<_> = (0..6).map(|_| pool.acquire().unwrap()).collect();
    drop(leases);
    world.set(Call::Validate, Does::Hang);
    let of = pool.clone();
    let checking = thread::spawn(move || of.check_health());
    until("it checks", || world.hanging() == 4);
    pool.close();
    world.set(Call::Validate, Does::Fail);
    assert_eq!(checking.join().unwrap(), 4);
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn any_function_of_the_pool_may_be_called_while_all_of_its_connections_are_held() {
    let (world, pool) = threaded(quiet(2));
    let mut leases = vec![pool.acquire().unwrap(), pool.acquire().unwrap()];
    assert_eq!(pool.stats().active_connections, 2);
    assert!(pool.try_acquire().is_none());
    assert_eq!(pool.check_health(), 0);
    pool.warm().unwrap();
    pool.warm_gradually();
    pool.resize(3).unwrap();
    leases.push(pool.acquire().unwrap());
    pool.resize(1).unwrap();
    let _ = (pool.tick(), pool.health(), pool.state(), pool.config().max_size, format!("{pool:?}"));
    drop(pool.clone());
    pool.close();
    assert_eq!(pool.drain(Duration::from_millis(1)), State::Draining);
    drop(pool);
    drop(leases);
    world.assert_all_closed();
}

pub(crate) fn threaded(config: PoolConfig) -> (World, Pool<crate::fake::Fake>) {
    let world = World::default();
    let config = PoolConfig { acquire_timeout: Some(PATIENCE), connect_timeout: Some(secs(3600)), ..config };
    let pool = Pool::builder(world.manager()).config(config).build().unwrap();
    (world, pool)
}

/// What is idle has a share in its pool: so it is the end of the handles, and not of the shares, that ends a pool.
#[test]
fn a_pool_is_freed_whatever_of_it_ends_last() {
    for kind in [None, Some(Kind::Thread), Some(Kind::Future), Some(Kind::Callback)] {
        let (world, pool) = threaded(quiet(3));
        let leases: Vec<_> = (0..3).map(|_| pool.acquire().unwrap()).collect();
        let waiter = kind.map(|kind| Waiter::enter(&pool, kind));
        drop(leases);
        drop(pool);
        drop(waiter.map(|waiter| waiter.get()));
        world.assert_freed();
    }
    let Scene { pool, world, .. } = Scene::new(quiet(3));
    let (idle, lent) = (pool.acquire().unwrap(), pool.acquire().unwrap());
    drop(idle);
    let asked = pool.acquire_async().into_owned();
    drop(pool);
    drop(asked);
    drop(lent);
    world.assert_freed();
}

#[test]
fn leases_that_end_together_with_their_pool_are_closed_and_freed() {
    for _ in 0..300 {
        let (world, pool) = threaded(quiet(2));
        let leases = [pool.acquire().unwrap(), pool.acquire().unwrap()];
        let start = Barrier::new(3);
        thread::scope(|scope| {
            for lease in leases {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    drop(lease);
                });
            }
            start.wait();
            drop(pool);
        });
        world.assert_freed();
    }
}
