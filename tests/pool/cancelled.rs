//! Futures that are dropped: wherever that happens, the place in line or what was granted goes to the next.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::thread;

use socketpool::{Pool, PoolConfig, PooledConnection};

use crate::closing::threaded;
use crate::fake::{Call, Does, Fake, PATIENCE, World, until};
use crate::scene::{Scene, assert_identities, ms, quiet, secs};
use crate::waiters::{ByHand, Kind, Waiter};

/// Where a future is when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    NotPolled,
    InLine,
    /// Granted, and not polled since.
    Granted,
    /// Granted what turned out to be broken: it stands in line again.
    AfterBroken,
    /// Its connect is on its way.
    Connecting,
    /// A connection is being validated for it.
    Validating,
    /// Its time was over, and it was not polled since.
    TimedOut,
    /// The pool was closed, and it was not polled since.
    Closed,
}

const POINTS: [Point; 8] = [
    Point::NotPolled,
    Point::InLine,
    Point::Granted,
    Point::AfterBroken,
    Point::Connecting,
    Point::Validating,
    Point::TimedOut,
    Point::Closed,
];

/// A future at that point, and what else must be kept for it to stay there.
fn bring_to(scene: &Scene, point: Point) -> (ByHand<Fake>, Option<PooledConnection<Fake>>) {
    match point {
        Point::NotPolled => (ByHand::new(scene.pool.acquire_async().into_owned()), None),
        Point::InLine => {
            let held = scene.acquire();
            (scene.in_line(), Some(held))
        }
        Point::Granted => {
            let held = scene.acquire();
            let waiter = scene.in_line();
            scene.release(held);
            assert_eq!(waiter.rung(), 1);
            (waiter, None)
        }
        Point::AfterBroken => {
            let held = scene.acquire();
            let mut waiter = scene.in_line();
            held.break_down_later();
            scene.release(held);
            assert!(waiter.poll().is_none(), "it was broken");
            (waiter, None)
        }
        Point::Connecting => (scene.in_line(), None),
        Point::Validating => {
            scene.release(scene.acquire());
            scene.hand.advance(secs(1));
            (scene.in_line(), None)
        }
        Point::TimedOut => {
            let held = scene.acquire();
            let waiter = scene.in_line();
            scene.pass(secs(5));
            assert_eq!(waiter.rung(), 1);
            (waiter, Some(held))
        }
        Point::Closed => {
            let held = scene.acquire();
            let waiter = scene.in_line();
            scene.pool.close();
            (waiter, Some(held))
        }
    }
}

fn one() -> Scene {
    Scene::new(PoolConfig { validate_after: Some(ms(500)), acquire_timeout: Some(secs(5)), ..quiet(1) })
}

#[test]
fn wherever_it_is_dropped_nothing_is_lost() {
    for point in POINTS {
        let scene = one();
        let (waiter, held) = bring_to(&scene, point);
        drop(waiter);
        scene.check();
        drop(held);
        scene.tick();
        scene.tick();
        scene.assert_nothing_lost(point);
    }
}

#[test]
fn wherever_it_is_dropped_the_next_in_line_is_served() {
    for point in POINTS {
        if point == Point::Closed {
            continue;
        }
        let scene = one();
        let (waiter, held) = bring_to(&scene, point);
        let mut next = ByHand::new(scene.pool.acquire_timeout_async(secs(60)).into_owned());
        let mut first = next.poll();
        drop(waiter);
        drop(held);
        scene.tick();
        scene.tick();
        first = first.or_else(|| next.poll());
        assert!(first.unwrap_or_else(|| panic!("stranded behind one that was {point:?}")).is_ok());
        assert_eq!(scene.idle(), 1);
    }
}

#[test]
fn wherever_it_is_it_outlives_the_pool() {
    for point in POINTS {
        let scene = one();
        let (waiter, held) = bring_to(&scene, point);
        let Scene { pool, world, .. } = scene;
        drop(pool);
        drop(waiter);
        drop(held);
        world.assert_all_closed();
    }
}

#[test]
fn one_that_is_dropped_in_a_thread_without_a_runtime_passes_its_connection_on() {
    let (world, pool) = threaded(quiet(1));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let held = pool.acquire().unwrap();
    let mut future = Box::pin(pool.acquire_async().into_owned());
    runtime.block_on(std::future::poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending());
        Poll::Ready(())
    }));
    let next = Waiter::enter(&pool, Kind::Thread);
    drop(held);
    drop(runtime);
    thread::spawn(move || drop(future)).join().unwrap();
    drop(next.get().unwrap());
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn a_lease_may_be_dropped_in_a_thread_without_a_runtime() {
    let (world, pool) = threaded(quiet(1));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let lease = runtime.block_on(pool.acquire_async()).unwrap();
    drop(runtime);
    thread::spawn(move || drop(lease)).join().unwrap();
    assert_eq!(pool.stats().idle_connections, 1);
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn a_connect_outlives_him_for_whom_it_was_begun() {
    let (world, pool) = threaded(quiet(1));
    world.set(Call::Connect, Does::Hang);
    let waiter = ByHand::in_line(pool.acquire_async().into_owned());
    until("it connects", || world.hanging() == 1);
    drop(waiter);
    world.set(Call::Connect, Does::Work);
    until("it came", || pool.stats().idle_connections == 1);
    assert_eq!(pool.acquire().unwrap().number, 1);
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn at_random_on_one_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    cancel_at_random(&runtime);
}

#[test]
fn at_random_on_two_threads() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    cancel_at_random(&runtime);
}

const TASKS: u64 = 16;
const TURNS: u32 = 5_000;

fn cancel_at_random(runtime: &tokio::runtime::Runtime) {
    let (world, pool) = threaded(quiet(3));
    let served: u64 = runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(turns(pool.clone(), task + 1))).collect();
        let mut served = 0;
        for task in tasks {
            served += tokio::time::timeout(PATIENCE, task).await.expect("nobody is stranded").unwrap();
        }
        served
    });
    assert_all_back(pool, &world, served);
}

/// Asks again and again, and often gives up at a random point.
async fn turns(pool: Pool<Fake>, seed: u64) -> u64 {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut served = 0;
    for _ in 0..TURNS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut acquire = pin!(pool.acquire_async());
        // None is a patience without end.
        let polls = [None, Some(0), Some(1), Some(1), Some(2)][random as usize % 5];
        let mut left = polls;
        let got = std::future::poll_fn(|context| {
            if left == Some(0) {
                return Poll::Ready(None);
            }
            left = left.map(|left| left - 1);
            match acquire.as_mut().poll(context) {
                Poll::Ready(got) => Poll::Ready(Some(got)),
                Poll::Pending if left == Some(0) => Poll::Ready(None),
                Poll::Pending => {
                    if left.is_some() {
                        context.waker().wake_by_ref();
                    }
                    Poll::Pending
                }
            }
        })
        .await;
        if let Some(got) = got {
            let mut lease = got.expect("the pool is open");
            lease.ops += 1;
            served += 1;
            if random & 0x30 == 0 {
                tokio::task::yield_now().await;
            }
            if random & 0xfc0 == 0 {
                lease.discard();
            }
        }
    }
    served
}

fn assert_all_back(pool: Pool<Fake>, world: &World, served: u64) {
    until("all are back", || pool.stats().active_connections == 0);
    assert_identities(&pool.stats());
    let leases: Vec<_> = (0..3).map(|_| pool.acquire().unwrap()).collect();
    assert!(pool.try_acquire().is_none(), "there are three");
    drop(leases);
    drop(pool);
    world.assert_all_closed();
    assert_eq!(world.ops(), served);
}
