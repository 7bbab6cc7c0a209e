//! Managers that work by futures: on an executor of the application, or on connector threads.

use socketpool::{Async, BoxFuture, BreakerConfig, Executor, Pool, PoolConfig, PoolError, State};

use crate::fake::{Call, Does, FakeAsync, PATIENCE, World, until};
use crate::scene::{ms, quiet};
use crate::waiters::{KINDS, Waiter};

/// Futures run on a runtime of tokio's.
pub(crate) struct Tokio(pub(crate) tokio::runtime::Handle);

impl Executor for Tokio {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

/// One pool on connector threads, one on an executor.
fn both(config: &PoolConfig, runtime: &tokio::runtime::Runtime) -> Vec<(World, Pool<Async<FakeAsync>>)> {
    let config = PoolConfig { acquire_timeout: Some(PATIENCE), ..config.clone() };
    let (one, other) = (World::default(), World::default());
    let backends = [
        Async::on_threads(one.async_manager()),
        Async::on(other.async_manager(), Tokio(runtime.handle().clone())),
    ];
    let pools = backends.map(|backend| Pool::builder(backend).config(config.clone()).build().unwrap());
    [one, other].into_iter().zip(pools).collect()
}

#[test]
fn they_serve_everybody() {
    let runtime = runtime();
    for (world, pool) in both(&quiet(2), &runtime) {
        for kind in KINDS {
            drop(Waiter::ask(&pool, kind).get().unwrap());
        }
        pool.acquire().unwrap().discard();
        assert_eq!(pool.check_health(), 0);
        drop(pool);
        world.assert_all_closed();
    }
}

#[test]
fn failures_and_panics_are_failures_to_connect() {
    let runtime = runtime();
    let breaker =
        BreakerConfig { failures: 1_000, first_delay: ms(1), max_delay: ms(1), ..BreakerConfig::default() };
    for (world, pool) in both(&PoolConfig { breaker: Some(breaker), ..quiet(1) }, &runtime) {
        world.script([Does::Panic, Does::Fail].repeat(10));
        assert_eq!(pool.acquire().unwrap().number, 1);
        world.set(Call::Connect, Does::Panic);
        pool.acquire().unwrap().discard();
        let error = loop {
            match pool.acquire_timeout(ms(50)) {
                Err(PoolError::Connect(error)) => break error,
                // None had failed yet.
                Err(PoolError::Timeout { .. }) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(error.to_string(), "connect: panicked: Connect panics as it was told");
        drop(pool);
        world.assert_all_closed();
    }
}

#[test]
fn a_validation_that_fails_or_panics_is_counted() {
    let runtime = runtime();
    for does in [Does::Fail, Does::Panic] {
        for (world, pool) in both(&quiet(3), &runtime) {
            let leases: Vec<_> = (0..3).map(|_| pool.acquire().unwrap()).collect();
            drop(leases);
            world.set(Call::Validate, does);
            assert_eq!(pool.check_health(), 3);
            drop(pool);
            world.assert_all_closed();
        }
    }
}

#[test]
fn a_close_that_hangs_or_panics_delays_only_itself() {
    let runtime = runtime();
    for (world, pool) in both(&quiet(3), &runtime) {
        world.set(Call::Close, Does::Hang);
        pool.acquire().unwrap().discard();
        until("it hangs", || world.hanging() == 1);
        drop(pool.acquire().unwrap());
        assert_eq!(pool.drain(ms(5)), State::Draining);
        world.set(Call::Close, Does::Panic);
        until("it is drained", || pool.state() == State::Drained);
        world.assert_all_closed();
    }
}

#[test]
fn a_connect_that_hangs_is_given_up_and_closed_when_it_comes() {
    let runtime = runtime();
    for (world, pool) in both(&PoolConfig { connect_timeout: Some(ms(20)), ..quiet(2) }, &runtime) {
        world.script([Does::Hang]);
        let lease = pool.acquire().unwrap();
        assert_eq!(lease.number, 1, "of the second connect");
        until("the first hangs still", || world.hanging() == 1);
        world.set(Call::Connect, Does::Work);
        until("it came too late", || world.count(Call::Close) == 1);
        drop((lease, pool));
        world.assert_all_closed();
    }
}

#[test]
fn a_runtime_that_is_shut_down_takes_no_connection_along() {
    let runtime = runtime();
    let (world, pool) = both(&quiet(1), &runtime).pop().unwrap();
    world.set(Call::Connect, Does::Hang);
    let waiter = Waiter::ask(&pool, crate::waiters::Kind::Thread);
    until("it hangs", || world.hanging() == 1);
    drop(runtime);
    // What is tried again fails as well, and that is known at once.
    assert!(matches!(waiter.get(), Err(PoolError::Unavailable { .. } | PoolError::Connect(_))));
    until("nothing is being made", || pool.stats().total_connections == 0);
    assert_eq!(pool.drain(PATIENCE), State::Drained);
}
