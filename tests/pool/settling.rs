//! What takes its time, waited for by futures: a warm-up, a round of checks, a drain.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use socketpool::{Async, BreakerConfig, Pool, PoolConfig, PoolError, PoolSet, State};

use crate::asynchronous::Tokio;
use crate::fake::{Call, Does, Fake, PATIENCE, World, until};
use crate::scene::{Scene, quiet, secs};
use crate::waiters::Bell;

/// A future that is polled by hand.
struct Task<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    bell: Arc<Bell>,
}

impl<T> Task<T> {
    /// One that has been polled once and has to wait.
    #[track_caller]
    fn begun(future: impl Future<Output = T> + Send + 'static) -> Self {
        let mut task = Self { future: Box::pin(future), bell: Arc::default() };
        assert!(task.poll().is_pending(), "it takes its time");
        task
    }

    fn poll(&mut self) -> Poll<T> {
        let waker = Waker::from(Arc::clone(&self.bell));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// What has come of it, which it was woken for.
    #[track_caller]
    fn get(&mut self) -> T {
        assert!(self.bell.rung() > 0, "it was woken");
        match self.poll() {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("it is not over"),
        }
    }
}

fn executor() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

#[test]
fn the_thread_that_waits_may_be_the_one_that_connects_and_closes() {
    let runtime = executor();
    let world = World::default();
    let backend = Async::on(world.async_manager(), Tokio(runtime.handle().clone()));
    let pool = Pool::builder(backend).config(PoolConfig { min_size: 3, ..quiet(3) }).build().unwrap();
    runtime.block_on(async {
        pool.warm_async().await.unwrap();
        assert_eq!((pool.stats().idle_connections, world.live()), (3, 3));
        world.set(Call::Validate, Does::Fail);
        assert_eq!(pool.check_health_async().await, 3);
        world.set(Call::Validate, Does::Work);
        drop(pool.acquire_async().await.unwrap());
        assert_eq!(pool.drain_async(PATIENCE).await, State::Drained);
    });
    world.assert_all_closed();
}

#[test]
fn a_warm_up_tells_what_could_not_be_made() {
    let scene = Scene::new(PoolConfig { min_size: 2, ..quiet(2) });
    scene.world.script([Does::Fail]);
    let mut warming = Task::begun(scene.pool.warm_async());
    scene.tick();
    assert!(matches!(warming.get(), Err(PoolError::Connect(_))));
    drop(warming);
    scene.pool.close();
    let mut late = Task { future: Box::pin(scene.pool.warm_async()), bell: Arc::default() };
    assert!(matches!(late.poll(), Poll::Ready(Err(PoolError::Closed))));
}

#[test]
fn nothing_begins_before_the_first_poll_and_nothing_ends_with_the_future() {
    let scene = Scene::new(PoolConfig { min_size: 2, ..quiet(2) });
    drop((scene.pool.warm_async(), scene.pool.check_health_async(), scene.pool.drain_async(PATIENCE)));
    scene.tick();
    assert_eq!((scene.made(), scene.pool.state()), (0, State::Active));
    drop(Task::begun(scene.pool.warm_async()));
    scene.tick();
    assert_eq!(scene.made(), 2);
    let held = scene.acquire();
    drop(Task::begun(scene.pool.drain_async(secs(5))));
    assert_eq!(scene.pool.state(), State::Draining);
    let mut waiting = Task::begun(scene.pool.drain_async(secs(5)));
    scene.release(held);
    scene.tick();
    assert_eq!(waiting.get(), State::Drained);
}

#[test]
fn a_drain_ends_at_its_deadline_and_not_before() {
    let scene = Scene::new(quiet(2));
    let held = scene.acquire();
    let mut drain = Task::begun(scene.pool.drain_async(secs(5)));
    scene.pass(secs(4));
    assert!(drain.bell.rung() == 0 && drain.poll().is_pending());
    scene.pass(secs(1));
    assert_eq!(drain.get(), State::Draining, "somebody still holds one");
    scene.release(held);
    scene.tick();
    assert_eq!(scene.pool.state(), State::Drained);
}

#[test]
fn all_who_wait_are_told_also_who_moved_to_another_task() {
    let scene = Scene::new(quiet(1));
    let held = scene.acquire();
    let mut drains: Vec<_> = (0..9).map(|_| Task::begun(scene.pool.drain_async(secs(5)))).collect();
    drains.remove(4);
    let old = std::mem::take(&mut drains[0].bell);
    assert!(drains[0].poll().is_pending());
    assert_eq!(Arc::strong_count(&old), 1, "its first waker was let go");
    scene.release(held);
    scene.tick();
    assert!(drains.iter_mut().all(|drain| drain.get() == State::Drained));
    assert_eq!(old.rung(), 0);
}

#[test]
fn a_waker_may_use_the_pool() {
    let scene = Scene::new(quiet(1));
    let held = scene.acquire();
    let mut drain = Task::begun(scene.pool.drain_async(secs(5)));
    let pool = scene.pool.clone();
    drain.bell.hook(move || assert_eq!(pool.stats().total_connections, 0));
    scene.release(held);
    scene.tick();
    assert_eq!(drain.get(), State::Drained);
}

#[test]
fn threads_of_the_process_wake_them_too() {
    let (world, runtime) = (World::default(), executor());
    let pool = Pool::builder(world.manager()).config(quiet(1)).build().unwrap();
    let held = pool.acquire().unwrap();
    let drain = thread::spawn({
        let drain = pool.drain_async(PATIENCE);
        move || runtime.block_on(drain)
    });
    until("it drains", || pool.state() == State::Draining);
    drop(held);
    assert_eq!(drain.join().unwrap(), State::Drained);
    // The deadline is the pool's own: no timer of the executor's is needed.
    let pool = Pool::builder(world.manager()).config(quiet(1)).build().unwrap();
    let held = pool.acquire().unwrap();
    assert_eq!(executor().block_on(pool.drain_async(crate::scene::ms(20))), State::Draining);
    drop((held, pool));
    world.assert_all_closed();
}

#[test]
fn a_set_is_drained_while_it_is_used() {
    let (world, runtime) = (World::default(), executor());
    let pool = || Pool::builder(world.manager()).config(quiet(2)).build().unwrap();
    let pools: PoolSet<_, Fake> = PoolSet::new([("read", pool()), ("write", pool())]).unwrap();
    let users: Vec<_> = (0..4)
        .map(|user| {
            let pools = pools.clone();
            thread::spawn(move || {
                let mut served = 0_u32;
                loop {
                    match pools.acquire(["read", "write"][user % 2]) {
                        Ok(lease) => drop(lease),
                        Err(PoolError::Closed) => return served,
                        Err(error) => panic!("{error}"),
                    }
                    served += 1;
                }
            })
        })
        .collect();
    until("both are used", || pools.iter().all(|(_, pool)| pool.stats().total_acquisitions > 100));
    assert_eq!(runtime.block_on(pools.drain_async(PATIENCE)), State::Drained);
    let served: u32 = users.into_iter().map(|user| user.join().unwrap()).sum();
    assert_eq!(u64::from(served), pools.stats().total_releases);
    drop(pools);
    world.assert_all_closed();
}

#[test]
fn who_waits_for_the_end_is_told_also_when_it_comes_with_that_of_many_others() {
    let breaker = BreakerConfig { failures: 1, ..BreakerConfig::default() };
    for others in 0..9 {
        let scene = Scene::new(PoolConfig { min_size: 1, breaker: Some(breaker), ..quiet(1) });
        let mut warming = Task::begun(scene.pool.warm_async());
        let mut line: Vec<_> = (0..others).map(|_| scene.in_line()).collect();
        // That the one connect fails ends the warm-up, and then the breaker turns all away who stand in line.
        scene.world.script([Does::Fail]);
        scene.tick();
        assert!(line.iter_mut().all(|waiter| waiter.get().is_err()));
        assert_eq!(warming.bell.rung(), 1, "behind {others}");
        assert!(matches!(warming.get(), Err(PoolError::Connect(_))));
    }
}
