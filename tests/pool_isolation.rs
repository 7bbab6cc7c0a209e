//! A pool whose server hangs is nobody else's trouble: the connector threads of the process are shared, and so these
//! tests have a process of their own and run one after the other.

#[path = "pool/fake.rs"]
mod fake;
#[path = "pool/waiters.rs"]
mod waiters;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fake::{Call, Does, Fake, PATIENCE, World, until};
use socketpool::{BreakerConfig, Pool, PoolConfig, PoolError};
use waiters::{ByHand, Kind, Waiter};

/// As many threads as work at the same time.
const THREADS: u32 = 8;
/// Of them, those that one pool keeps at work.
const OF_ONE: u32 = 4;
/// Those of them that close.
const CLOSES_OF_ONE: u32 = 2;

fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A pool that waits for ever, with a limit for connects.
fn pool(max_size: u32, connect_timeout: Duration) -> (World, Pool<Fake>) {
    let pause = ms(1);
    let breaker =
        BreakerConfig { failures: 100_000, first_delay: pause, max_delay: pause, ..BreakerConfig::default() };
    let config = PoolConfig {
        max_size,
        connect_timeout: Some(connect_timeout),
        acquire_timeout: Some(PATIENCE * 10),
        health_check_interval: None,
        breaker: Some(breaker),
        ..PoolConfig::default()
    };
    let world = World::default();
    let pool = Pool::builder(world.manager()).config(config).build().unwrap();
    (world, pool)
}

/// One whose connects hang, and those who wait for them.
struct Hung {
    world: World,
    pool: Pool<Fake>,
    waiters: Vec<Waiter<Fake>>,
}

impl Hung {
    fn with(waiters: u32, connect_timeout: Duration) -> Self {
        let (world, pool) = pool(waiters, connect_timeout);
        world.set(Call::Connect, Does::Hang);
        let waiters = (0..waiters).map(|_| Waiter::ask(&pool, Kind::Callback)).collect();
        Self { world, pool, waiters }
    }

    #[track_caller]
    fn let_go(self) {
        self.pool.close();
        self.world.set(Call::Connect, Does::Work);
        for waiter in self.waiters {
            drop(waiter.get());
        }
        end(&self.world, self.pool);
    }
}

#[track_caller]
fn end(world: &World, pool: Pool<Fake>) {
    drop(pool);
    world.assert_all_closed();
}

#[test]
fn connects_that_hang_delay_no_timeout_of_another_pool() {
    let _alone = alone();
    let hung = [Hung::with(10, PATIENCE * 10), Hung::with(10, PATIENCE * 10)];
    until("all threads hang", || hung[0].world.hanging() + hung[1].world.hanging() == THREADS);
    let (world, third) = pool(1, PATIENCE);
    // It would hang if it got a thread, but its deadlines are kept: of a thread, and of what nobody waits for in a thread.
    world.set(Call::Connect, Does::Hang);
    assert!(matches!(third.acquire_timeout(ms(20)), Err(PoolError::Timeout { .. })));
    let mut future = ByHand::in_line(third.acquire_timeout_async(ms(20)).into_owned());
    until("the future is woken", || future.rung() == 1);
    assert!(matches!(future.get(), Err(PoolError::Timeout { .. })));
    hung.into_iter().for_each(Hung::let_go);
    world.set(Call::Connect, Does::Work);
    drop(third.acquire().unwrap());
    end(&world, third);
}

#[test]
fn one_pool_whose_connects_hang_leaves_others_half_of_the_threads() {
    let _alone = alone();
    let hung = Hung::with(10, PATIENCE * 10);
    until("it keeps its threads", || hung.world.hanging() == OF_ONE);
    for _ in 0..10 {
        let (world, other) = pool(2, PATIENCE);
        drop((other.acquire().unwrap(), other.acquire().unwrap()));
        end(&world, other);
        assert_eq!(hung.world.hanging(), OF_ONE);
    }
    hung.let_go();
}

#[test]
fn a_connect_that_hangs_does_not_keep_the_one_asked_for_just_after_it() {
    let _alone = alone();
    for _ in 0..50 {
        // A thread that rests is woken for the first; the second may not count on it too.
        let hung = Hung::with(1, PATIENCE * 10);
        let (world, other) = pool(1, PATIENCE);
        drop(other.acquire().unwrap());
        end(&world, other);
        hung.let_go();
    }
}

#[test]
fn a_third_pool_connects_when_the_time_of_two_that_hang_is_over() {
    let _alone = alone();
    let limit = ms(300);
    let hung = [Hung::with(OF_ONE, limit), Hung::with(OF_ONE, limit)];
    until("all threads hang", || hung[0].world.hanging() + hung[1].world.hanging() == THREADS);
    let (world, third) = pool(1, PATIENCE);
    drop(Waiter::ask(&third, Kind::Callback).get().unwrap());
    assert!(hung[0].world.hanging() + hung[1].world.hanging() >= THREADS, "they hang still");
    end(&world, third);
    hung.into_iter().for_each(Hung::let_go);
}

#[test]
fn connects_whose_time_was_over_before_they_had_a_thread_keep_none() {
    let _alone = alone();
    let (world, first) = pool(60, ms(100));
    world.set(Call::Connect, Does::Hang);
    let waiters: Vec<_> = (0..40).map(|_| ByHand::in_line(first.acquire_async().into_owned())).collect();
    drop(waiters);
    until("all were given up but those that hang", || first.stats().total_connections == world.hanging());
    // Were the others begun for nobody, they would keep the pool's threads.
    world.script([Does::Work]);
    drop(first.acquire().unwrap());
    Hung { world, pool: first, waiters: Vec::new() }.let_go();
}

#[test]
fn a_pool_whose_server_comes_back_connects_although_its_first_connects_hang_still() {
    let _alone = alone();
    let (world, first) = pool(30, ms(50));
    world.script([Does::Hang; 12]);
    let waiters: Vec<_> = (0..12).map(|_| Waiter::ask(&first, Kind::Callback)).collect();
    for waiter in &waiters {
        drop(waiter.get().unwrap());
    }
    assert!(world.hanging() >= OF_ONE);
    Hung { world, pool: first, waiters: Vec::new() }.let_go();
}

#[test]
fn validations_that_hang_are_given_up_like_connects() {
    let _alone = alone();
    let (world, first) = pool(12, PATIENCE);
    let leases: Vec<_> = (0..6).map(|_| first.acquire().unwrap()).collect();
    drop(leases);
    end(&world, first);

    let (world, first) = pool(12, ms(200));
    let leases: Vec<_> = (0..6).map(|_| first.acquire().unwrap()).collect();
    drop(leases);
    world.set(Call::Validate, Does::Hang);
    assert_eq!(first.check_health(), 6);
    // Their places are taken until they come back, but the pool goes on.
    until("they hang", || world.hanging() > 0);
    drop(first.acquire().unwrap());
    world.set(Call::Validate, Does::Work);
    end(&world, first);
}

#[test]
fn a_release_does_not_wait_for_a_close() {
    let _alone = alone();
    let (world, first) = pool(OF_ONE * 2, PATIENCE);
    let leases: Vec<_> = (0..OF_ONE * 2).map(|_| first.acquire().unwrap()).collect();
    world.set(Call::Close, Does::Hang);
    // Would never return if a close were waited for.
    leases.into_iter().for_each(socketpool::PooledConnection::discard);
    until("they hang", || world.hanging() == CLOSES_OF_ONE);
    let (other_world, other) = pool(1, PATIENCE);
    drop(other.acquire().unwrap());
    end(&other_world, other);
    world.set(Call::Close, Does::Work);
    end(&world, first);
}

#[test]
fn after_all_of_it_every_pool_is_served_by_a_bounded_number_of_threads() {
    let _alone = alone();
    let pools: Vec<_> = (0..20).map(|_| pool(2, PATIENCE)).collect();
    let ask = |kind| pools.iter().map(move |(_, pool)| Waiter::ask(pool, kind));
    let waiters: Vec<_> = ask(Kind::Callback).chain(ask(Kind::Thread)).collect();
    for waiter in &waiters {
        drop(waiter.get().unwrap());
    }
    drop(waiters);
    if let Ok(tasks) = std::fs::read_dir("/proc/self/task") {
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let connectors = names.filter(|name| name.starts_with("socketpool-conn")).count();
        assert!(connectors <= 64, "{connectors} connector threads");
    }
    for (world, pool) in pools {
        end(&world, pool);
    }
}
