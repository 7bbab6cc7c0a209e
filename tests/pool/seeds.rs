//! What four older designs of such pools promised of theirs, as their tests and samples say it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socketpool::{Pool, PoolConfig, PoolError, State};

use crate::fake::{PATIENCE, World};
use crate::scene::{Scene, assert_identities, ms, quiet, secs};

#[test]
fn five_of_five_are_given_and_the_sixth_still_waits_after_100_ms() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let world = World::default();
    let config = PoolConfig { min_size: 2, max_size: 5, ..PoolConfig::default() };
    let pool = Pool::builder(world.manager()).config(config).build().unwrap();
    runtime.block_on(async {
        let mut leases = Vec::new();
        for _ in 0..5 {
            leases.push(pool.acquire_async().await.unwrap());
        }
        let sixth = tokio::time::timeout(ms(100), pool.acquire_async()).await;
        assert!(sixth.is_err(), "it waits");
        leases.pop();
        leases.push(pool.acquire_async().await.unwrap());
    });
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn a_hundred_tasks_of_ten_turns_all_finish() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let world = World::default();
    let pool = Pool::builder(world.manager())
        .config(PoolConfig { acquire_timeout: Some(PATIENCE), ..PoolConfig::default() });
    let pool = pool.build().unwrap();
    let waited: Duration = runtime.block_on(async {
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    let mut waited = Duration::ZERO;
                    for _ in 0..10 {
                        let begun = tokio::time::Instant::now();
                        let mut lease = pool.acquire_async().await.unwrap();
                        waited += begun.elapsed();
                        lease.ops += 1;
                        tokio::time::sleep(ms(10)).await;
                    }
                    waited
                })
            })
            .collect();
        let mut waited = Duration::ZERO;
        for task in tasks {
            waited += task.await.unwrap();
        }
        waited
    });
    // The seed's bound, which ten times as slow a machine would still keep.
    assert!(waited / 1_000 < secs(1), "mean wait of {:?}", waited / 1_000);
    assert_eq!(pool.stats().active_connections, 0);
    assert_identities(&pool.stats());
    drop(pool);
    world.assert_all_closed();
    assert_eq!(world.ops(), 1_000);
}

#[test]
fn a_config_that_cannot_hold_makes_no_pool() {
    let wrong = [
        PoolConfig { max_size: 0, ..PoolConfig::default() },
        PoolConfig { min_size: 11, max_size: 10, ..PoolConfig::default() },
    ];
    for config in wrong {
        let world = World::default();
        assert!(Pool::builder(world.manager()).config(config).build().is_err());
    }
    let world = World::default();
    let config = PoolConfig { min_size: 2, max_size: 10, ..PoolConfig::default() };
    assert!(Pool::builder(world.manager()).config(config).build().is_ok());
}

#[test]
fn a_pool_begins_with_nothing_and_ends_with_nothing() {
    let world = World::default();
    let pool = Pool::builder(world.manager()).build().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.total_connections, stats.idle_connections, stats.active_connections), (0, 0, 0));
    drop(pool.acquire().unwrap());
    drop(pool);
    world.assert_all_closed();
    assert_eq!(world.live(), 0);
}

#[test]
fn numbers_follow_what_happens() {
    let scene = Scene::new(quiet(3));
    let steps = |scene: &Scene| {
        let stats = scene.check();
        (stats.total_connections, stats.idle_connections, stats.active_connections)
    };
    assert_eq!(steps(&scene), (0, 0, 0));
    let (one, other) = (scene.acquire(), scene.acquire());
    assert_eq!(steps(&scene), (2, 0, 2));
    scene.release(one);
    assert_eq!(steps(&scene), (2, 1, 1));
    other.discard();
    scene.tick();
    assert_eq!(steps(&scene), (1, 1, 0));
}

#[test]
fn a_connection_goes_from_idle_to_used_and_back_and_counts_its_uses() {
    let scene = Scene::new(quiet(1));
    for uses in 1..=5 {
        let lease = scene.acquire();
        assert_eq!((lease.use_count(), scene.idle()), (uses, 0));
        scene.release(lease);
        assert_eq!(scene.idle(), 1);
    }
    let mut lease = scene.acquire();
    lease.invalidate();
    scene.release(lease);
    scene.tick();
    assert_eq!(scene.acquire().use_count(), 1, "another one");
}

#[test]
fn the_states_differ_and_have_names() {
    let names = [State::Active, State::Draining, State::Drained].map(State::as_str);
    assert_eq!(names, ["active", "draining", "drained"]);
}

#[test]
fn the_numbers_in_one_line() {
    let scene = Scene::new(quiet(3));
    let _held = scene.acquire();
    let line = scene.pool.stats().to_string();
    assert!(line.starts_with("PoolMetrics{ total=1, idle=0, active=1, "), "{line}");
    for name in ["invalid=", "waiting=", "acquires=", "timeouts="] {
        assert!(line.contains(name), "{line} without {name}");
    }
}

#[test]
fn a_hundred_threads_on_twenty_connections_all_get_one() {
    let world = World::default();
    let config =
        PoolConfig { min_size: 5, max_size: 20, acquire_timeout: Some(PATIENCE), ..PoolConfig::default() };
    let pool = Arc::new(Pool::builder(world.manager()).config(config).build().unwrap());
    let threads: Vec<_> = (0..100)
        .map(|_| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.acquire().map(|mut lease| lease.ops += 1))
        })
        .collect();
    let got = threads.into_iter().filter(|_| true).map(|thread| thread.join().unwrap().is_ok());
    assert_eq!(got.filter(|got| *got).count(), 100);
    assert!(pool.stats().total_connections <= 20);
    assert_identities(&pool.stats());
    drop(pool);
    world.assert_all_closed();
    assert_eq!(world.ops(), 100);
}

#[test]
fn of_two_a_third_is_not_to_be_had_until_one_is_given_back() {
    let world = World::default();
    let config = PoolConfig { max_size: 2, acquire_timeout: Some(secs(1)), ..PoolConfig::default() };
    let pool = Pool::builder(world.manager()).config(config).build().unwrap();
    let (one, _other) = (pool.acquire().unwrap(), pool.acquire().unwrap());
    assert!(pool.try_acquire().is_none());
    assert!(matches!(pool.acquire_timeout(ms(1)), Err(PoolError::Timeout { .. })));
    drop(one);
    assert!(pool.try_acquire().is_some());
}
