//! A process that is forked while its pools are alive: in the child they are closed at once and touch nothing of the
//! parent's, and a pool that is made there works; the parent goes on.
//!
//! Other threads of the test run may hold locks when it is forked, so a child does nothing that they might have been at, and
//! leaves by `_exit`.
#![allow(unsafe_code)]

#[path = "pool/fake.rs"]
mod fake;
#[path = "pool/waiters.rs"]
mod waiters;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use fake::{Call, Does, Fake, PATIENCE, World, until};
use socketpool::{Health, Pool, PoolConfig, PoolError, State};
use waiters::{ByHand, Kind, Waiter};

/// Does `work` in a forked child and says whether it came to its end there.
#[track_caller]
fn in_child(work: impl FnOnce()) {
    // SAFETY: the child runs only `work`, in which nothing is locked that another thread may have held, but for what the
    // test is about, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no fork");
    if child == 0 {
        let came = catch_unwind(AssertUnwindSafe(work));
        // SAFETY: ends the process without running anything of the parent's.
        unsafe { libc::_exit(i32::from(came.is_err())) };
    }
    let mut status = 0;
    let ended = catch_unwind(AssertUnwindSafe(|| {
        until("the child has ended", || {
            // SAFETY: `status` may be written to.
            unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) == child }
        });
    }));
    if let Err(in_vain) = ended {
        // SAFETY: it is this process's child, which nobody has waited for yet.
        unsafe { libc::kill(child, libc::SIGKILL) };
        std::panic::resume_unwind(in_vain);
    }
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child's status is {status:#x}");
}

fn pool(max_size: u32) -> (World, Pool<Fake>) {
    let world = World::default();
    let config = PoolConfig { max_size, acquire_timeout: Some(PATIENCE), ..PoolConfig::default() };
    (world.clone(), Pool::builder(world.manager()).config(config).build().unwrap())
}

#[test]
fn in_the_child_every_call_says_closed_at_once() {
    let (world, pool) = pool(2);
    let held = pool.acquire().unwrap();
    drop(pool.acquire().unwrap());
    in_child(|| {
        assert!(matches!(pool.acquire(), Err(PoolError::Closed)));
        assert!(matches!(pool.acquire_new(), Err(PoolError::Closed)));
        assert!(matches!(pool.acquire_timeout(Duration::ZERO), Err(PoolError::Closed)));
        assert!(pool.try_acquire().is_none());
        assert!(matches!(ByHand::new(pool.acquire_async().into_owned()).get(), Err(PoolError::Closed)));
        let (give, take) = mpsc::channel();
        pool.acquire_with(move |got| give.send(got.map(drop)).unwrap());
        assert!(matches!(take.try_recv().unwrap(), Err(PoolError::Closed)));
        assert!(matches!(pool.warm(), Err(PoolError::Closed)));
        pool.warm_gradually();
        assert_eq!(pool.check_health(), 0);
        pool.resize(1).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert!(matches!(pool.warm_async().await, Err(PoolError::Closed)));
            assert_eq!(pool.check_health_async().await, 0);
            assert_eq!(pool.drain_async(PATIENCE).await, State::Drained);
        });
        assert_eq!((pool.drain(PATIENCE), pool.state(), pool.tick()), (State::Drained, State::Drained, None));
        assert!(matches!(pool.health(), Health::Healthy));
        assert_eq!(pool.stats().total_connections, 0);
        assert_eq!((held.use_count(), held.stats().ops), (0, 0));
        pool.close();
        drop(pool.clone());
    });
    // The parent has noticed nothing.
    assert_eq!(pool.state(), State::Active);
    drop((pool.acquire().unwrap(), held));
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn what_the_child_drops_is_not_closed_there() {
    // Driven by hand, so that no thread of the parent has a share in it that would keep it in the child.
    let world = World::default();
    let pool = Pool::builder(world.manager()).driven_by_hand().build().unwrap();
    let (held, idle) = (pool.acquire().unwrap(), pool.acquire().unwrap());
    drop(idle);
    let waiter = ByHand::new(pool.acquire_async().into_owned());
    let mut all = Some((held, pool, waiter));
    in_child(|| {
        drop(all.take());
        // Dropping one that was not closed is noted, closing one is counted.
        assert_eq!((world.count(Call::Close), world.live()), (0, 2));
    });
    drop(all);
    world.assert_all_closed();
}

#[test]
fn what_one_who_waits_in_the_child_was_given_is_not_closed_there() {
    for polls in [false, true] {
        let (world, pool) = pool(1);
        let held = pool.acquire().unwrap();
        let mut waiter = Some(ByHand::new(pool.acquire_async().into_owned()));
        assert!(waiter.as_mut().unwrap().poll().is_none());
        drop(held);
        in_child(|| {
            if polls {
                assert!(matches!(waiter.as_mut().unwrap().get(), Err(PoolError::Closed)));
            }
            drop(waiter.take());
            assert_eq!((world.count(Call::Close), world.live()), (0, 1));
        });
        assert!(waiter.unwrap().get().is_ok(), "the parent has noticed nothing");
        drop(pool);
        world.assert_all_closed();
    }
}

#[test]
fn a_new_pool_in_the_child_works_and_so_does_one_in_its_child() {
    fn works() {
        let (world, pool) = pool(2);
        for kind in waiters::KINDS {
            drop(Waiter::ask(&pool, kind).get().unwrap());
        }
        let held = (pool.acquire().unwrap(), pool.acquire().unwrap());
        assert!(matches!(pool.acquire_timeout(Duration::from_millis(5)), Err(PoolError::Timeout { .. })));
        drop((held, pool));
        world.assert_all_closed();
    }
    works();
    in_child(|| {
        works();
        in_child(works);
        works();
    });
    works();
}

#[test]
fn a_fork_while_a_connect_hangs_and_others_wait_leaves_the_parent_as_it_is() {
    let (world, pool) = pool(1);
    world.set(Call::Connect, Does::Hang);
    let waiters: Vec<_> = waiters::KINDS.iter().map(|kind| Waiter::enter(&pool, *kind)).collect();
    until("it connects", || world.hanging() == 1);
    for _ in 0..5 {
        in_child(|| {
            assert!(matches!(pool.acquire(), Err(PoolError::Closed)));
            drop(pool.clone());
        });
    }
    world.set(Call::Connect, Does::Work);
    for waiter in waiters {
        drop(waiter.get().unwrap());
    }
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn forks_among_threads_that_use_the_pool_find_it_closed() {
    let (world, pool) = pool(2);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    pool.acquire().unwrap().ops += 1;
                }
            });
        }
        for _ in 0..50 {
            // The lock may be taken at this moment, and nobody in the child will let it go.
            in_child(|| assert!(matches!(pool.acquire(), Err(PoolError::Closed))));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    drop(Waiter::ask(&pool, Kind::Thread).get().unwrap());
    drop(pool);
    world.assert_all_closed();
}
