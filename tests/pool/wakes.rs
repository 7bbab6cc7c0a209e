//! Who is woken, how often, and that nobody is woken in somebody else's place.

use std::sync::{Arc, Mutex, mpsc};
use std::task::{Wake, Waker};
use std::thread;

use socketpool::{PoolConfig, PoolError};

use crate::fake::{PATIENCE, until};
use crate::scene::{Scene, quiet, secs};
use crate::waiters::{Bell, ByHand, Kind, Waiter};

#[test]
fn polling_again_with_the_same_waker_clones_none() {
    let scene = Scene::new(quiet(1));
    let held = scene.acquire();
    let mut waiter = scene.in_line();
    let clones = Arc::strong_count(&waiter.bell);
    for _ in 0..10 {
        assert!(waiter.poll().is_none());
    }
    assert_eq!(Arc::strong_count(&waiter.bell), clones);
    scene.release(held);
    assert_eq!(waiter.rung(), 1, "woken once");
    assert!(waiter.get().is_ok());
}

#[test]
fn the_waker_of_the_last_poll_is_woken_and_no_other() {
    let scene = Scene::new(quiet(1));
    let held = scene.acquire();
    let mut waiter = scene.in_line();
    let other = Arc::new(Bell::default());
    assert!(waiter.poll_with(&Waker::from(Arc::clone(&other))).is_none());
    assert_eq!(Arc::strong_count(&waiter.bell), 1, "the first waker has been dropped");
    scene.release(held);
    assert_eq!((waiter.rung(), other.rung()), (0, 1));
    assert!(waiter.get().is_ok());
}

#[test]
fn a_waker_is_let_go_with_its_future() {
    let scene = Scene::new(quiet(1));
    let held = scene.acquire();
    let mut waiter = scene.in_line();
    let bell = Arc::clone(&waiter.bell);
    drop(std::mem::replace(&mut waiter, ByHand::new(scene.pool.acquire_async().into_owned())));
    assert_eq!(Arc::strong_count(&bell), 1);
    scene.release(held);
    assert_eq!(bell.rung(), 0);
}

#[test]
fn a_waker_may_use_the_pool_when_it_is_cloned_woken_and_dropped() {
    struct Nosy(Mutex<Option<ByHand<crate::fake::Fake>>>, socketpool::Pool<crate::fake::Fake>);
    impl Wake for Nosy {
        fn wake(self: Arc<Self>) {
            let _ = self.1.stats();
        }
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            // As a task does that is dropped with the last of its wakers, and its future with it.
            drop(self.0.lock().unwrap().take());
        }
    }
    let scene = Scene::new(quiet(1));
    let held = scene.acquire();
    let mut waiter = ByHand::new(scene.pool.acquire_async().into_owned());
    let inner = scene.in_line();
    let waker = Waker::from(Arc::new(Nosy(Mutex::new(Some(inner)), scene.pool.clone())));
    assert!(waiter.poll_with(&waker).is_none());
    drop(waker);
    scene.release(held);
    scene.check();
    drop(waiter);
    assert_eq!(scene.idle(), 1);
}

#[test]
fn the_last_waker_of_a_task_may_be_dropped_when_it_gives_up_before_it_was_woken() {
    struct Owner(#[allow(dead_code, reason = "it is there to be dropped")] Mutex<crate::scene::Lease>);
    impl Wake for Owner {
        fn wake(self: Arc<Self>) {}
    }
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(secs(5)), ..quiet(2) });
    let (held, other) = (scene.acquire(), scene.acquire());
    // The fifth to be woken has a waker that owns a lease.
    let waiters: Vec<_> = (0..4).map(|_| scene.in_line()).collect();
    let mut fifth = ByHand::new(scene.pool.acquire_async().into_owned());
    let waker = Waker::from(Arc::new(Owner(Mutex::new(other))));
    assert!(fifth.poll_with(&waker).is_none());
    drop(waker);
    let (fifth, pool) = (Mutex::new(Some(fifth)), scene.pool.clone());
    waiters[0].bell.hook(move || {
        drop(fifth.lock().unwrap().take());
        // Takes the place of the one who has gone, and with it that of his waker.
        pool.acquire_with(drop);
    });
    scene.pass(secs(5));
    scene.pass(secs(5));
    drop(held);
    scene.tick();
    assert_eq!(scene.idle(), 2, "the lease that the waker had is back");
}

#[test]
fn who_takes_the_place_of_one_who_was_not_woken_yet_is_not_told_his_outcome() {
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(secs(5)), ..quiet(1) });
    let held = scene.acquire();
    let mut waiters: Vec<_> = (0..4).map(|_| scene.in_line()).collect();
    let fifth = Mutex::new(Some(scene.in_line()));
    let (give, take) = mpsc::channel();
    let pool = scene.pool.clone();
    // Four are woken at a time. The first of them does what another thread might do just then: the fifth, whose time is over
    // and who was not told yet, gives up, and a newcomer gets its place.
    waiters[0].bell.hook(move || {
        drop(fifth.lock().unwrap().take());
        pool.acquire_with(move |got| give.send(got).unwrap());
    });
    scene.pass(secs(5));
    for waiter in &mut waiters {
        assert!(matches!(waiter.get(), Err(PoolError::Timeout { .. })));
    }
    assert!(take.try_recv().is_err(), "the newcomer waits: his time is not over");
    scene.release(held);
    scene.tick();
    assert!(take.try_recv().expect("the newcomer was called").is_ok());
    assert_eq!(scene.idle(), 1);
}

#[test]
fn a_thread_that_takes_such_a_place_is_woken_too() {
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(secs(5)), ..quiet(1) });
    let held = scene.acquire();
    let waiters: Vec<_> = (0..4).map(|_| scene.in_line()).collect();
    let fifth = Mutex::new(Some(scene.in_line()));
    let (give, take) = mpsc::channel();
    let pool = scene.pool.clone();
    waiters[0].bell.hook(move || {
        drop(fifth.lock().unwrap().take());
        let of = pool.clone();
        thread::spawn(move || give.send(of.acquire_timeout(PATIENCE * 10).map(drop)).unwrap());
        until("the thread stands in line", || crate::waiters::waiting(&pool) == 1);
    });
    scene.pass(secs(5));
    scene.release(held);
    assert!(take.recv_timeout(PATIENCE).expect("the thread was woken").is_ok());
}

#[test]
fn a_waker_that_panics_keeps_nobody_else_from_being_woken() {
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(secs(5)), ..quiet(1) });
    let held = scene.acquire();
    let mut waiters: Vec<_> = (0..6).map(|_| scene.in_line()).collect();
    waiters[1].bell.hook(|| panic!("this executor is broken"));
    scene.pass(secs(5));
    let rung: Vec<usize> = waiters.iter().map(ByHand::rung).collect();
    assert_eq!(rung, [1; 6]);
    for waiter in &mut waiters {
        assert!(matches!(waiter.get(), Err(PoolError::Timeout { .. })));
    }
    scene.release(held);
}

#[test]
fn of_all_kinds_in_one_line_each_is_served_in_its_turn() {
    let world = crate::fake::World::default();
    let pool = socketpool::Pool::builder(world.manager()).config(quiet(1)).build().unwrap();
    let mut held = Some(pool.acquire().unwrap());
    let kinds = [Kind::Callback, Kind::Thread, Kind::Future, Kind::Thread, Kind::Callback, Kind::Future];
    let line: Vec<_> = kinds.iter().map(|kind| Waiter::enter(&pool, *kind)).collect();
    for (turn, waiter) in line.iter().enumerate() {
        drop(held.take());
        held = Some(waiter.get().unwrap());
        assert!(line[turn + 1..].iter().all(|later| later.peek().is_none()), "turn {turn}");
    }
    drop((held, pool));
    world.assert_all_closed();
}

#[test]
fn who_leaves_while_something_is_on_its_way_to_him_has_had_nothing() {
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(secs(5)), ..quiet(1) });
    let held = scene.acquire();
    let waiters: Vec<_> = (0..5).map(|_| scene.in_line()).collect();
    let last = ByHand::in_line(scene.pool.acquire_timeout_async(secs(60)).into_owned());
    let bell = Arc::clone(&last.bell);
    let last = Mutex::new(Some(last));
    // Four are woken at a time. The first gives back what goes to the last in line then, and before he is given it the fifth
    // is told that his time is over, and has the last one leave.
    waiters[0].bell.hook(move || drop(held));
    waiters[4].bell.hook(move || drop(last.lock().unwrap().take()));
    scene.pass(secs(5));
    assert_eq!(Arc::strong_count(&bell), 1, "he has left");
    let stats = scene.check();
    assert_eq!((stats.idle_connections, stats.active_connections, stats.pending_requests), (1, 0, 0));
    assert_eq!((stats.total_acquisitions, stats.total_releases, stats.timeouts), (2, 2, 5));
    scene.pass(secs(3));
    let lease = scene.acquire();
    assert_eq!((lease.idle_before(), lease.held_total()), (secs(3), secs(5)));
    assert_eq!(lease.use_count(), 3, "the grant that nobody took counts");
}

#[test]
fn a_waker_that_is_left_with_an_outcome_on_its_way_is_not_dropped_under_the_lock() {
    struct Nosy(socketpool::Pool<crate::fake::Fake>);
    impl Wake for Nosy {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            let _ = self.0.stats();
        }
    }
    let scene = Scene::new(PoolConfig { acquire_timeout: Some(secs(5)), ..quiet(1) });
    let held = scene.acquire();
    let mut first = scene.in_line();
    let mut second = ByHand::new(scene.pool.acquire_async().into_owned());
    let waker = Waker::from(Arc::new(Nosy(scene.pool.clone())));
    assert!(second.poll_with(&waker).is_none());
    drop(waker);
    let second = Mutex::new(Some(second));
    // Both are told for one visit to the lock; the second leaves when the first is woken.
    first.bell.hook(move || drop(second.lock().unwrap().take()));
    let (pool, hand) = (scene.pool.clone(), scene.hand.clone());
    let (give, take) = mpsc::channel();
    thread::spawn(move || {
        hand.advance(secs(5));
        pool.tick();
        give.send(()).unwrap();
    });
    if take.recv_timeout(secs(5)).is_err() {
        std::mem::forget((held, first, scene));
        panic!("the pool is locked for ever");
    }
    assert!(first.get().is_err());
    scene.release(held);
    assert_eq!(scene.idle(), 1);
}

#[test]
fn a_waker_that_takes_its_time_keeps_nobody_else_past_his_deadline() {
    let config = PoolConfig { acquire_timeout: Some(secs(60)), ..quiet(1) };
    let world = crate::fake::World::default();
    let pool = socketpool::Pool::builder(world.manager()).config(config).build().unwrap();
    let held = pool.acquire().unwrap();
    let first = ByHand::in_line(pool.acquire_async().into_owned());
    let of = pool.clone();
    let (give, take) = mpsc::channel();
    thread::spawn(move || {
        let begun = std::time::Instant::now();
        let got = of.acquire_timeout(crate::scene::ms(500)).map(drop);
        give.send((begun.elapsed(), got.is_err())).unwrap();
    });
    until("both stand in line", || crate::waiters::waiting(&pool) == 2);
    let (end, ended) = mpsc::channel::<()>();
    first.bell.hook(move || {
        let _ = ended.recv_timeout(secs(4));
    });
    let of = pool.clone();
    let closing = thread::spawn(move || of.close());
    let (took, failed) = take.recv_timeout(PATIENCE).expect("it ends");
    let _ = end.send(());
    closing.join().unwrap();
    assert!(failed && took < secs(2), "{took:?}");
    drop((held, first));
}

#[test]
fn what_is_on_its_way_to_the_last_in_line_is_not_kept_up_by_a_waker() {
    let (world, (clock, hand)) = (crate::fake::World::default(), socketpool::Clock::manual());
    let config = PoolConfig { acquire_timeout: Some(secs(5)), ..quiet(1) };
    let pool = socketpool::Pool::builder(world.manager()).config(config).clock(clock).build().unwrap();
    let held = pool.acquire().unwrap();
    let line: Vec<_> = (0..5).map(|_| ByHand::in_line(pool.acquire_async().into_owned())).collect();
    let of = pool.clone();
    let (give, take) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let got = of.acquire_timeout(PATIENCE * 10);
        give.send(got.is_ok()).unwrap();
    });
    until("all stand in line", || crate::waiters::waiting(&pool) == 6);
    // Four are woken at a time. The first gives back what goes to the thread, and then the fifth takes its time.
    line[0].bell.hook(move || drop(held));
    let (end, ended) = mpsc::channel::<()>();
    line[4].bell.hook(move || {
        let _ = ended.recv_timeout(PATIENCE);
    });
    let of = pool.clone();
    let ticking = thread::spawn(move || {
        hand.advance(secs(5));
        of.tick();
    });
    let got = take.recv_timeout(secs(2));
    let _ = end.send(());
    ticking.join().unwrap();
    waiter.join().unwrap();
    assert_eq!(got, Ok(true));
    assert_eq!(pool.stats().idle_connections, 1);
    drop(line);
}

#[test]
fn who_waits_again_after_a_broken_one_ends_at_his_deadline_though_nobody_else_tells_him() {
    let world = crate::fake::World::default();
    let pool = socketpool::Pool::builder(world.manager()).config(quiet(1)).build().unwrap();
    let held = pool.acquire().unwrap();
    let blocking = ByHand::in_line(pool.acquire_timeout_async(crate::scene::ms(300)).into_owned());
    let of = pool.clone();
    let (give, take) = mpsc::channel();
    thread::spawn(move || {
        let begun = std::time::Instant::now();
        let is_err = of.acquire_timeout(crate::scene::ms(1_500)).is_err();
        give.send((begun.elapsed(), is_err)).unwrap();
    });
    until("both stand in line", || crate::waiters::waiting(&pool) == 2);
    // The thread that keeps deadlines is kept up from now on.
    let (end, ended) = mpsc::channel::<()>();
    blocking.bell.hook(move || {
        let _ = ended.recv_timeout(secs(10));
    });
    until("it was woken", || blocking.rung() == 1);
    thread::sleep(crate::scene::ms(900));
    // What the thread is given does not work, and another one cannot be had.
    world.set(crate::fake::Call::Connect, crate::fake::Does::Hang);
    held.break_down_later();
    drop(held);
    let (took, failed) = take.recv_timeout(PATIENCE).unwrap();
    let _ = end.send(());
    world.set(crate::fake::Call::Connect, crate::fake::Does::Work);
    assert!(failed && took < secs(2), "{took:?}");
    drop(blocking);
}
