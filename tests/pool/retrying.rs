//! Acquires that are tried again, as futures: their pauses are the pool's business, and no runtime's.

use std::thread;
use std::time::Duration;

use socketpool::{BreakerConfig, Clock, ErrorKind, Pool, PoolConfig, PoolError, RetryConfig, State};

use crate::fake::{Call, Does, Fake, PATIENCE, World, until};
use crate::scene::{Lease, Scene, ms, quiet, secs};
use crate::waiters::{ByHand, Waiter, waiting};

/// A second, two, four, and so on, exactly.
fn doubling() -> RetryConfig {
    RetryConfig { jitter: 0.0, ..RetryConfig::default() }
}

/// An attempt waits a second, and a connect is tried at its beginning and a few times more.
fn patient(max_size: u32) -> PoolConfig {
    PoolConfig { acquire_timeout: Some(secs(1)), breaker: None, ..quiet(max_size) }
}

fn retry(scene: &Scene, config: &RetryConfig) -> ByHand<Fake> {
    ByHand::new(scene.pool.acquire_retry_async(config))
}

/// One connection for threads, who never stand in line: what is not there at once is a failure.
fn impatient() -> (World, Pool<Fake>) {
    let world = World::default();
    let config = PoolConfig { acquire_timeout: Some(Duration::ZERO), ..quiet(1) };
    let pool = Pool::builder(world.manager()).config(config).build().unwrap();
    (world, pool)
}

/// One whose first attempt has failed: it pauses for a second.
fn pausing(scene: &Scene) -> ByHand<Fake> {
    let mut waiter = retry(scene, &doubling());
    assert!(waiter.poll().is_none(), "it stands in line");
    scene.tick();
    scene.pass(secs(1));
    assert!(waiter.poll().is_none(), "its attempt is over, and it pauses");
    waiter
}

#[test]
fn between_attempts_it_pauses_until_the_pool_wakes_it() {
    let scene = Scene::new(patient(1));
    scene.world.set(Call::Connect, Does::Fail);
    let mut waiter = pausing(&scene);
    let (rung, connects) = (waiter.rung(), scene.world.count(Call::Connect));
    assert_eq!(scene.pool.stats().retries.of(ErrorKind::Connect), 1);
    scene.world.set(Call::Connect, Does::Work);
    assert_eq!(scene.tick(), Some(secs(1)), "the pool knows when the pause is over");
    scene.pass(ms(999));
    assert_eq!((waiter.rung(), scene.world.count(Call::Connect)), (rung, connects), "nobody asks meanwhile");
    scene.pass(ms(1));
    assert_eq!(waiter.rung(), rung + 1);
    assert!(waiter.poll().is_none(), "it asks again");
    scene.tick();
    assert_eq!(waiter.get().unwrap().use_count(), 1);
    assert_eq!(scene.tick(), None, "and nothing is due any more");
}

#[test]
fn a_lease_that_is_there_needs_no_second_poll() {
    let scene = Scene::new(patient(1));
    scene.release(scene.acquire());
    assert!(retry(&scene, &doubling()).get().is_ok());
    assert_eq!(scene.pool.stats().retries.total(), 0);
}

#[test]
fn a_poll_before_its_time_changes_only_who_is_woken() {
    let scene = Scene::new(patient(1));
    scene.world.set(Call::Connect, Does::Fail);
    let mut waiter = pausing(&scene);
    let rung = waiter.rung();
    let other = ByHand::<Fake>::new(std::future::pending());
    let waker = std::task::Waker::from(std::sync::Arc::clone(&other.bell));
    assert!(waiter.poll_with(&waker).is_none() && waiter.poll_with(&waker).is_none());
    scene.pass(secs(1));
    assert_eq!((waiter.rung(), other.rung()), (rung, 1));
}

#[test]
fn it_gives_up_when_its_time_is_over_and_says_what_failed_last() {
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(Duration::ZERO), ..patient(1) });
    let held = scene.pool.acquire_timeout(secs(1)).unwrap();
    let mut waiter = retry(&scene, &doubling());
    let error = loop {
        match waiter.poll() {
            Some(got) => break got.unwrap_err(),
            None => scene.pass(ms(500)),
        }
    };
    let PoolError::RetriesExhausted { attempts: 6, elapsed, last } = error else { panic!("{error}") };
    assert!(elapsed == secs(30) && matches!(*last, PoolError::Exhausted { in_use: 1, .. }), "{last}");
    drop(held);
}

#[test]
fn a_program_that_starts_has_no_limit_until_it_runs() {
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(Duration::ZERO), ..patient(1) });
    let (clock, hand) = Clock::manual();
    let builder = Pool::builder(scene.world.manager()).config(scene.pool.config().clone());
    let pool = builder.clock(clock).driven_by_hand().starting().build().unwrap();
    scene.world.set(Call::Connect, Does::Fail);
    let mut waiter = ByHand::new(pool.acquire_retry_async(&doubling()));
    for _ in 0..20 {
        assert!(waiter.poll().is_none(), "there is no limit");
        hand.advance(secs(60));
        pool.tick();
    }
    pool.set_running();
    assert!(matches!(waiter.get(), Err(PoolError::RetriesExhausted { attempts: 21, .. })));
    scene.world.set(Call::Connect, Does::Work);
}

#[test]
fn while_the_breaker_is_open_nobody_asks() {
    let breaker = BreakerConfig { failures: 1, open_for: secs(20), jitter: 0.0, ..BreakerConfig::default() };
    let scene = Scene::new(PoolConfig { breaker: Some(breaker), ..patient(1) });
    scene.world.set(Call::Connect, Does::Fail);
    let mut waiter = retry(&scene, &doubling());
    assert!(waiter.poll().is_none());
    scene.tick();
    assert!(waiter.poll().is_none(), "unavailable for 20 s, which is longer than a second");
    scene.world.set(Call::Connect, Does::Work);
    scene.pass(ms(19_999));
    assert!(waiter.poll().is_none());
    assert_eq!(scene.world.count(Call::Connect), 1);
    scene.pass(ms(1));
    assert!(waiter.poll().is_none(), "it asks, and a probe is made for it");
    scene.tick();
    assert!(waiter.get().is_ok());
}

#[test]
fn a_limit_of_60_s_sees_the_default_breaker_through_and_one_of_30_s_ends_when_it_opens() {
    for (limit, is_served) in [(secs(30), false), (secs(60), true)] {
        let scene = Scene::new(quiet(1));
        scene.world.set(Call::Connect, Does::Fail);
        let mut waiter = retry(&scene, &RetryConfig { operational_limit: limit, ..doubling() });
        let mut got = waiter.poll();
        let mut steps = 0;
        while got.is_none() && steps < 100 {
            steps += 1;
            if steps == 8 {
                scene.world.set(Call::Connect, Does::Work);
            }
            scene.pass(ms(500));
            got = waiter.poll();
        }
        match got.expect("an end of it") {
            Ok(_) => assert!(is_served && steps > 60, "after {steps} steps"),
            Err(PoolError::RetriesExhausted { attempts: 1, last, .. }) => {
                assert!(!is_served && steps < 8, "after {steps} steps");
                assert!(matches!(*last, PoolError::Unavailable { last: Some(_), .. }), "{last}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn all_who_pause_are_woken_and_all_are_served() {
    let scene = Scene::new(patient(3));
    scene.world.set(Call::Connect, Does::Fail);
    let mut waiters: Vec<_> = (0..10).map(|_| retry(&scene, &doubling())).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.poll().is_none()));
    scene.pass(secs(1));
    assert!(waiters.iter_mut().all(|waiter| waiter.poll().is_none()));
    let rung: Vec<_> = waiters.iter().map(ByHand::rung).collect();
    scene.world.set(Call::Connect, Does::Work);
    scene.pass(secs(1));
    assert!(waiters.iter().zip(rung).all(|(waiter, before)| waiter.rung() == before + 1));
    assert!(waiters.iter_mut().all(|waiter| waiter.poll().is_none()), "they stand in line, as they came");
    scene.tick();
    for mut waiter in waiters {
        drop(waiter.get().unwrap());
        scene.check();
    }
}

#[test]
fn settings_that_cannot_hold_are_named() {
    let scene = Scene::new(patient(1));
    let mut waiter = retry(&scene, &RetryConfig { exponential_base: 0, ..doubling() });
    let error = waiter.get().unwrap_err();
    assert_eq!(error.to_string(), "retry.exponential_base is 0, must be at least 1");
}

#[test]
fn a_pool_that_is_closed_or_drained_ends_a_pause_at_once() {
    let endings: [fn(&Scene); 2] = [
        |scene| scene.pool.close(),
        |scene| assert_eq!(scene.pool.drain(Duration::ZERO), State::Draining, "one is held"),
    ];
    for end in endings {
        let scene = Scene::new(patient(2));
        let held = scene.acquire();
        scene.world.set(Call::Connect, Does::Fail);
        let mut waiter = pausing(&scene);
        let rung = waiter.rung();
        end(&scene);
        assert_eq!(waiter.rung(), rung + 1);
        assert!(matches!(waiter.get(), Err(PoolError::Closed)));
        let mut late = retry(&scene, &doubling());
        assert!(matches!(late.get(), Err(PoolError::Closed)));
        scene.world.set(Call::Connect, Does::Work);
        drop(held);
        scene.tick();
        assert_eq!(scene.pool.state(), State::Drained);
    }
}

#[test]
fn a_thread_that_pauses_learns_at_once_that_the_pool_is_closed() {
    let (world, pool) = impatient();
    let held = pool.acquire_timeout(PATIENCE).unwrap();
    let endless = RetryConfig { initial_interval: PATIENCE * 4, max_interval: PATIENCE * 4, ..doubling() };
    let long = RetryConfig { operational_limit: PATIENCE * 8, ..endless };
    let thread = thread::spawn({
        let pool = pool.clone();
        move || pool.acquire_retry(&long).map(drop)
    });
    until("it pauses", || pool.stats().retries.total() == 1);
    let begun = std::time::Instant::now();
    pool.close();
    assert!(matches!(thread.join().unwrap(), Err(PoolError::Closed)));
    assert!(begun.elapsed() < PATIENCE, "though somebody still holds one");
    drop(held);
    drop(pool);
    world.assert_all_closed();
}

/// Where the future is when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    NotPolled,
    InLine,
    Granted,
    Connecting,
    Pausing,
    /// Its pause is over, and it was not polled since.
    Woken,
    /// In line for the second time.
    Again,
    Closed,
}

const POINTS: [Point; 8] = [
    Point::NotPolled,
    Point::InLine,
    Point::Granted,
    Point::Connecting,
    Point::Pausing,
    Point::Woken,
    Point::Again,
    Point::Closed,
];

/// A future at that point, and what else must be held for it to stay there.
fn bring_to(scene: &Scene, point: Point) -> (ByHand<Fake>, Option<Lease>) {
    let in_line = || {
        let held = scene.acquire();
        let mut waiter = retry(scene, &doubling());
        assert!(waiter.poll().is_none());
        (waiter, held)
    };
    match point {
        Point::NotPolled => (retry(scene, &doubling()), None),
        Point::InLine => {
            let (waiter, held) = in_line();
            (waiter, Some(held))
        }
        Point::Granted => {
            let (waiter, held) = in_line();
            scene.release(held);
            assert_eq!(waiter.rung(), 1);
            (waiter, None)
        }
        Point::Connecting => {
            let mut waiter = retry(scene, &doubling());
            assert!(waiter.poll().is_none());
            (waiter, None)
        }
        Point::Pausing | Point::Closed => {
            let held = scene.acquire();
            let waiter = pausing(scene);
            if point == Point::Closed {
                scene.pool.close();
            }
            (waiter, Some(held))
        }
        Point::Woken | Point::Again => {
            let held = scene.acquire();
            let mut waiter = pausing(scene);
            let rung = waiter.rung();
            scene.pass(secs(1));
            assert_eq!(waiter.rung(), rung + 1);
            if point == Point::Again {
                assert!(waiter.poll().is_none());
            }
            (waiter, Some(held))
        }
    }
}

#[test]
fn wherever_it_is_dropped_nothing_is_lost_and_nothing_stays_due() {
    for point in POINTS {
        let scene = Scene::new(patient(1));
        let (waiter, held) = bring_to(&scene, point);
        drop(waiter);
        scene.check();
        drop(held);
        scene.tick();
        assert_eq!(scene.tick(), None, "{point:?}");
        scene.assert_nothing_lost(point);
    }
}

#[test]
fn wherever_it_is_dropped_the_next_in_line_is_served() {
    for point in POINTS.into_iter().filter(|point| *point != Point::Closed) {
        let scene = Scene::new(patient(1));
        let (waiter, held) = bring_to(&scene, point);
        let mut next = ByHand::new(scene.pool.acquire_timeout_async(secs(60)).into_owned());
        let first = next.poll();
        drop(waiter);
        drop(held);
        scene.tick();
        let got = first.or_else(|| next.poll());
        assert!(got.unwrap_or_else(|| panic!("stranded behind one that was {point:?}")).is_ok());
    }
}

#[test]
fn wherever_it_is_it_outlives_the_pool() {
    for point in POINTS {
        let scene = Scene::new(patient(1));
        let (waiter, held) = bring_to(&scene, point);
        let Scene { pool, world, .. } = scene;
        drop(pool);
        drop(waiter);
        drop(held);
        world.assert_all_closed();
    }
}

#[test]
fn in_a_runtime_without_timers_the_pool_keeps_the_time() {
    let (world, pool) = impatient();
    world.script([Does::Fail, Does::Fail]);
    let soon = RetryConfig {
        initial_interval: ms(1),
        max_interval: ms(1),
        operational_limit: PATIENCE,
        ..RetryConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let lease = runtime.block_on(runtime.spawn(pool.acquire_retry_async(&soon))).unwrap().unwrap();
    assert_eq!(lease.number, 1);
    let before = pool.stats().retries.total();
    assert!(before >= 1, "nothing was there at once");

    let waiter = Waiter::<Fake>::ask_for(pool.acquire_retry_async(&soon));
    until("it pauses again", || pool.stats().retries.total() > before + 1);
    assert_eq!(waiting(&pool), 0, "who pauses does not stand in line");
    drop(lease);
    assert_eq!(waiter.get().unwrap().number, 1);
    drop(pool);
    world.assert_all_closed();
}
