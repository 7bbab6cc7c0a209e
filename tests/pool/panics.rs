//! Code of the application that panics ends the connection it was about, and no thread and no pool.

use std::error::Error;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::{Arc, OnceLock, mpsc};

use socketpool::{Async, BoxFuture, BreakerConfig, Executor, Manager, Pool, PoolConfig, Timeouts};

use crate::closing::threaded;
use crate::fake::{Call, Does, PATIENCE, World, until};
use crate::scene::{Scene, ms, quiet, secs};
use crate::waiters::{Kind, Waiter};

/// More than there are threads to lose.
const OFTEN: usize = 20;

#[test]
fn a_look_that_panics_is_a_look_at_something_broken() {
    let scene = Scene::new(quiet(2));
    let (one, other) = (scene.acquire(), scene.acquire());
    scene.release(other);
    scene.world.set_looks(Does::Panic);
    scene.release(one);
    assert!(scene.pool.try_acquire().is_none());
    scene.tick();
    scene.world.set_looks(Does::Work);
    scene.tick();
    assert_eq!(scene.acquire().number, 3);
}

#[test]
fn nobody_is_given_what_looks_broken() {
    let scene = Scene::new(quiet(3));
    drop(scene.acquire_all(3));
    scene.world.set_looks(Does::Fail);
    assert!(scene.pool.try_acquire().is_none());
    scene.tick();
    assert!(scene.world.count(Call::Close) >= 3);
}

#[test]
fn a_connect_that_panics_keeps_no_thread_from_its_work() {
    let breaker =
        BreakerConfig { failures: 1_000, first_delay: ms(1), max_delay: ms(1), ..BreakerConfig::default() };
    let (world, pool) = threaded(PoolConfig { breaker: Some(breaker), ..quiet(1) });
    world.script([Does::Panic; OFTEN]);
    assert_eq!(pool.acquire().unwrap().number, 1);
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn a_validation_that_panics_has_failed() {
    let scene = Scene::new(PoolConfig { validate_after: Some(ms(500)), ..quiet(1) });
    scene.release(scene.acquire());
    scene.pass(secs(1));
    scene.world.set(Call::Validate, Does::Panic);
    assert_eq!(scene.acquire().number, 2);
}

#[test]
fn a_close_that_panics_has_closed() {
    let (world, pool) = threaded(quiet(1));
    world.set(Call::Close, Does::Panic);
    for _ in 0..OFTEN {
        pool.acquire().unwrap().discard();
    }
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn a_function_that_panics_gives_its_connection_back_broken() {
    let (world, pool) = threaded(quiet(1));
    for _ in 0..OFTEN {
        let held = pool.acquire().unwrap();
        pool.acquire_with(|got| {
            let _lease = got.unwrap();
            resume_unwind(Box::new("a function of the application"));
        });
        let next = Waiter::enter(&pool, Kind::Thread);
        drop(held);
        drop(next.get().unwrap());
    }
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn a_function_that_panics_when_it_is_called_after_a_broken_connection_ends_no_thread() {
    let (world, pool) = threaded(quiet(2));
    for _ in 0..OFTEN {
        let (held, other) = (pool.acquire().unwrap(), pool.acquire().unwrap());
        let (give, take) = mpsc::channel();
        pool.acquire_with(move |got| {
            give.send(got.is_ok()).unwrap();
            resume_unwind(Box::new("a function of the application"));
        });
        // What is granted is found broken by the connector thread, which then asks again.
        held.break_down_later();
        drop((held, other));
        assert!(take.recv_timeout(PATIENCE).expect("it was called"));
    }
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn an_error_that_panics_when_it_is_shown_or_uses_the_pool_harms_nobody() {
    type Slot = Arc<OnceLock<Pool<Vicious>>>;
    struct Vicious(World, Slot);
    struct Unspeakable(Slot);
    impl fmt::Debug for Unspeakable {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Unspeakable")
        }
    }
    impl fmt::Display for Unspeakable {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            // Would wait for ever if the pool were locked.
            let _ = self.0.get().map(Pool::stats);
            resume_unwind(Box::new("it cannot be said"));
        }
    }
    impl Error for Unspeakable {}
    impl Manager for Vicious {
        type Connection = crate::fake::Resource;
        type Error = Unspeakable;
        fn connect(&self, within: &Timeouts) -> Result<Self::Connection, Unspeakable> {
            self.0.manager().connect(within).map_err(|_| Unspeakable(Arc::clone(&self.1)))
        }
        fn close(&self, resource: Self::Connection) {
            self.0.manager().close(resource);
        }
    }
    crate::leaks::keep_logs();
    let breaker =
        BreakerConfig { failures: 1_000, first_delay: ms(1), max_delay: ms(1), ..BreakerConfig::default() };
    let config = PoolConfig { breaker: Some(breaker), acquire_timeout: Some(PATIENCE), ..quiet(1) };
    let world = World::default();
    let slot = Slot::default();
    let pool = Pool::builder(Vicious(world.clone(), Arc::clone(&slot))).config(config).build().unwrap();
    slot.set(pool.clone()).unwrap();
    world.script([Does::Fail; OFTEN]);
    assert_eq!(pool.acquire().unwrap().number, 1);
    pool.close();
    world.assert_all_closed();
}

#[test]
fn an_executor_that_panics_or_drops_what_it_is_given_has_failed_to_connect() {
    struct Broken(bool);
    impl Executor for Broken {
        fn spawn(&self, task: BoxFuture<'static, ()>) {
            drop(task);
            if self.0 {
                resume_unwind(Box::new("no runtime"));
            }
        }
    }
    for panics in [false, true] {
        let world = World::default();
        let config = PoolConfig { acquire_timeout: Some(ms(50)), ..quiet(1) };
        let pool =
            Pool::builder(Async::on(world.async_manager(), Broken(panics))).config(config).build().unwrap();
        for _ in 0..OFTEN {
            assert!(pool.acquire().is_err());
        }
        until("nothing is being made", || pool.stats().total_connections == 0);
    }
}
