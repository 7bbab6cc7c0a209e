//! First come, first served.

use std::sync::mpsc;
use std::thread;

use crate::closing::threaded;
use crate::fake::{Call, Does, until};
use crate::scene::{Scene, quiet};
use crate::waiters::{ByHand, Kind, Waiter, waiting};

#[test]
fn threads_are_served_in_the_order_in_which_they_came() {
    let (world, pool) = threaded(quiet(1));
    let held = pool.acquire().unwrap();
    let (give, order) = mpsc::channel();
    let threads: Vec<_> = (0..20)
        .map(|turn| {
            let (of, give) = (pool.clone(), give.clone());
            let thread = thread::spawn(move || {
                let lease = of.acquire().unwrap();
                give.send(turn).unwrap();
                drop(lease);
            });
            until("it stands in line", || waiting(&pool) == turn + 1);
            thread
        })
        .collect();
    drop(held);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(order.try_iter().collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn who_gives_back_and_asks_again_stands_behind_those_in_line() {
    let scene = Scene::new(quiet(1));
    let held = scene.acquire();
    let mut first = scene.in_line();
    scene.release(held);
    let mut second = scene.in_line();
    assert_eq!((first.rung(), second.rung()), (1, 0));
    drop(first.get());
    assert!(second.get().is_ok());
}

#[test]
fn a_newcomer_does_not_overtake_one_for_whom_a_connection_is_being_validated() {
    let scene = Scene::new(socketpool::PoolConfig {
        validate_after: Some(std::time::Duration::from_millis(500)),
        ..quiet(1)
    });
    scene.release(scene.acquire());
    scene.pass(crate::scene::secs(1));
    let mut first = scene.in_line();
    assert!(scene.pool.try_acquire().is_none());
    let mut second = scene.in_line();
    scene.tick();
    assert_eq!((first.rung(), second.rung()), (1, 0));
    drop(first.get());
    assert!(second.get().is_ok());
}

#[test]
fn who_was_given_one_that_does_not_work_stands_before_all_others() {
    let scene = Scene::new(quiet(1));
    let held = scene.acquire();
    let mut first = scene.in_line();
    let mut second = scene.in_line();
    // It looks as if it worked when it is given back, and breaks before the first has looked at it.
    held.break_down_later();
    scene.release(held);
    assert_eq!(first.rung(), 1);
    assert!(first.poll().is_none(), "it was broken, so it is closed and another is made");
    let mut third = scene.in_line();
    scene.tick();
    assert_eq!((first.rung(), second.rung(), third.rung()), (2, 0, 0));
    let lease = first.get().unwrap();
    assert_eq!(lease.number, 2);
    drop(lease);
    drop(second.get());
    assert!(third.get().is_ok());
}

#[test]
fn a_new_one_is_waited_for_in_the_same_line() {
    let scene = Scene::new(quiet(1));
    let held = scene.acquire();
    let mut any = scene.in_line();
    let mut new = ByHand::in_line(scene.pool.acquire_new_async().into_owned());
    let mut last = scene.in_line();
    scene.release(held);
    let lease = any.get().unwrap();
    assert_eq!(lease.number, 1);
    drop(lease);
    scene.tick();
    let lease = new.get().unwrap();
    assert_eq!((lease.number, lease.use_count()), (2, 1), "the old one was closed for it");
    drop(lease);
    assert_eq!(last.get().unwrap().number, 2);
}

#[test]
fn a_connection_serves_who_is_first_and_not_him_for_whom_it_was_made() {
    let (world, pool) = threaded(quiet(2));
    let held = pool.acquire().unwrap();
    world.set(Call::Connect, Does::Hang);
    let first = Waiter::ask(&pool, Kind::Thread);
    until("it connects", || world.hanging() == 1);
    drop(held);
    assert_eq!(first.get().unwrap().number, 1, "what was given back came first");
    world.set(Call::Connect, Does::Work);
    until("the other came too", || pool.stats().idle_connections == 2);
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn where_nobody_may_wait_connections_are_made_for_those_who_come_later() {
    for patience in [None, Some(crate::scene::secs(5))] {
        let config = socketpool::PoolConfig { max_waiters: 0, acquire_timeout: patience, ..quiet(1) };
        let scene = Scene::new(config);
        let error = scene.pool.acquire().unwrap_err();
        assert!(
            matches!(error, socketpool::PoolError::Exhausted { in_use: 0, max: 1, waiters: 0 }),
            "{error}"
        );
        scene.tick();
        let held = scene.acquire();
        assert!(scene.pool.acquire().is_err());
        scene.release(held);
        assert_eq!(scene.acquire().number, 1);
    }
}
