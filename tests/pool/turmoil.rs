//! Everything at once: threads, futures that go from hand to hand, functions, and those who resize, warm, check, drain and
//! close, while the server works, fails, panics and hangs. Whatever has happened, in the end every connection is closed
//! once, by its manager, and the pool is freed.

use std::future::Future;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::thread;

use socketpool::{
    AdaptiveConfig, Async, Backend, BoxFuture, BreakerConfig, Executor, Pool, PoolBuilder, PoolConfig,
    PooledConnection, RetryConfig,
};

use crate::fake::{Call, Does, Resource, World, until};
use crate::scene::{assert_identities, ms, secs};
use crate::waiters::{ByHand, Got};

const PROGRAMS: u64 = 24;
const THREADS: u64 = 4;
const STEPS: u32 = 60;

/// Numbers that look random, the same for every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }
}

fn config(dice: &mut Dice) -> PoolConfig {
    let max_size = dice.pick(&[1, 2, 3, 8]);
    let min_size = dice.roll(u64::from(max_size) + 1) as u32;
    let some = |dice: &mut Dice| dice.pick(&[None, Some(ms(1)), Some(ms(5))]);
    let adaptive =
        AdaptiveConfig { interval: ms(2), min_acquisitions: 1, wait_high: ms(1), ..Default::default() };
    let breaker = BreakerConfig {
        failures: dice.pick(&[1, 3, u32::MAX]),
        open_for: ms(3),
        first_delay: ms(1),
        max_delay: ms(2),
        ..BreakerConfig::default()
    };
    PoolConfig {
        max_size,
        min_size,
        min_idle: dice.roll(u64::from(max_size) + 1) as u32,
        idle_timeout: some(dice),
        max_lifetime: some(dice),
        max_uses: dice.pick(&[None, Some(1), Some(3)]),
        acquire_timeout: Some(ms(dice.roll(4))),
        connect_timeout: Some(ms(dice.pick(&[2, 10]))),
        validate_after: dice.pick(&[None, Some(ms(0)), Some(ms(1))]),
        health_check_interval: some(dice),
        max_waiters: dice.pick(&[0, 1, 1_024]),
        leak_threshold: some(dice),
        adaptive: dice.pick(&[None, Some(adaptive)]),
        breaker: dice.pick(&[None, Some(breaker)]),
        ..PoolConfig::default()
    }
}

/// What goes from thread to thread.
struct Shared<B: Backend> {
    leases: Vec<PooledConnection<B>>,
    futures: Vec<ByHand<B>>,
}

struct Program<B: Backend> {
    world: World,
    shared: Mutex<Shared<B>>,
    /// A thread that is driven by hand must not hang: it may be the one that would end that.
    does: &'static [Does],
}

impl<B: Backend<Connection = Resource>> Program<B> {
    fn run(builder: PoolBuilder<B>, world: World, does: &'static [Does], seed: u64) {
        let pool = builder.build().expect("a config that holds");
        let shared = Mutex::new(Shared { leases: Vec::new(), futures: Vec::new() });
        let program = Arc::new(Self { world, shared, does });
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (program, pool, dice) =
                    (Arc::clone(&program), pool.clone(), Dice::new(seed << 8 | thread));
                thread::spawn(move || program.go(pool, dice))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no step panics"));
        for call in [Call::Connect, Call::Validate, Call::Close] {
            program.world.set(call, Does::Work);
        }
        // A function that has a handle keeps the pool open until it is called.
        until("nobody waits", || {
            pool.tick();
            pool.stats().pending_requests == 0
        });
        // Half of what is lent comes back to a pool that has no handle any more.
        let mut early = program.take();
        let late = early.leases.split_off(early.leases.len() / 2);
        drop(early);
        assert_identities(&pool.stats());
        drop(pool);
        drop(late);
        until("what functions have kept is closed too", || {
            drop(program.take());
            program.world.live() == 0
        });
        let world = program.world.clone();
        drop(program);
        world.assert_freed();
    }

    fn take(&self) -> Shared<B> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        Shared { leases: std::mem::take(&mut shared.leases), futures: std::mem::take(&mut shared.futures) }
    }

    fn keep(&self, lease: PooledConnection<B>) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).leases.push(lease);
    }

    fn lease(&self, dice: &mut Dice) -> Option<PooledConnection<B>> {
        let leases = &mut self.shared.lock().unwrap_or_else(PoisonError::into_inner).leases;
        (!leases.is_empty()).then(|| leases.swap_remove(dice.roll(leases.len() as u64) as usize))
    }

    fn future(&self, dice: &mut Dice) -> Option<ByHand<B>> {
        let futures = &mut self.shared.lock().unwrap_or_else(PoisonError::into_inner).futures;
        (!futures.is_empty()).then(|| futures.swap_remove(dice.roll(futures.len() as u64) as usize))
    }

    /// Polls a future once, and leaves it or what it came to for anybody.
    fn poll(&self, mut future: ByHand<B>, waker: Option<&Waker>) {
        let bell = Waker::from(Arc::clone(&future.bell));
        match future.poll_with(waker.unwrap_or(&bell)) {
            Some(got) => got.into_iter().for_each(|lease| self.keep(lease)),
            None => self.shared.lock().unwrap_or_else(PoisonError::into_inner).futures.push(future),
        }
    }

    fn begin(&self, future: impl Future<Output = Got<B>> + Send + 'static) {
        self.poll(ByHand::new(future), None);
    }

    fn go(self: Arc<Self>, pool: Pool<B>, mut dice: Dice) {
        let mut pool = pool;
        for _ in 0..STEPS {
            match dice.roll(28) {
                0..=3 => pool.acquire().into_iter().for_each(|lease| self.keep(lease)),
                4 => pool.acquire_new().into_iter().for_each(|lease| self.keep(lease)),
                5 => pool.try_acquire().into_iter().for_each(|lease| self.keep(lease)),
                6..=8 => drop(self.lease(&mut dice)),
                9 => self.lease(&mut dice).into_iter().for_each(PooledConnection::discard),
                10 => self.lease(&mut dice).into_iter().for_each(|lease| lease.break_down()),
                11 => self.lease(&mut dice).into_iter().for_each(|lease| lease.break_down_later()),
                12 => self.begin(pool.acquire_async().into_owned()),
                13 => self.begin(pool.acquire_new_async().into_owned()),
                14 => self.begin(pool.acquire_retry_async(&retry())),
                15 => self.future(&mut dice).into_iter().for_each(|future| self.poll(future, None)),
                16 => self
                    .future(&mut dice)
                    .into_iter()
                    .for_each(|future| self.poll(future, Some(Waker::noop()))),
                17 => drop(self.future(&mut dice)),
                18 => self.call(&pool, dice.roll(3)),
                19 => drop(pool.resize(dice.pick(&[1, 2, 4, 8]))),
                20 => drop(pool.check_health()),
                21 => drop(pool.warm()),
                22 => pool.warm_gradually(),
                23 => drop((pool.stats().to_string(), pool.health(), pool.breaker(), pool.tick())),
                24 => pool = pool.clone(),
                25 => self.lease(&mut dice).into_iter().for_each(|mut lease| {
                    lease.record_op(ms(1));
                    lease.report(socketpool::Went::Ill);
                    assert!(lease.use_count() > 0 && lease.held_total() <= secs(60));
                    self.keep(lease);
                }),
                26 => {
                    let call = dice.pick(&[Call::Connect, Call::Validate, Call::Close]);
                    self.world.set(call, dice.pick(self.does));
                }
                _ if dice.roll(20) == 0 => drop(pool.drain(ms(dice.roll(3)))),
                _ => drop(pool.acquire_retry(&retry())),
            }
        }
    }

    /// A function that keeps its lease, panics, or asks again and ends with the last handle there may be.
    fn call(self: &Arc<Self>, pool: &Pool<B>, what: u64) {
        let (program, handle) = (Arc::clone(self), pool.clone());
        pool.acquire_with(move |got| match what {
            0 => got.into_iter().for_each(|lease| program.keep(lease)),
            1 => drop((handle.try_acquire(), handle)),
            _ if thread::current().name() == Some("socketpool-connect") => {
                resume_unwind(Box::new("a function of the application"));
            }
            _ => drop(got),
        });
    }
}

fn retry() -> RetryConfig {
    let (initial_interval, max_interval) = (ms(1), ms(2));
    RetryConfig { initial_interval, max_interval, max_elapsed_time: Some(ms(6)), ..RetryConfig::default() }
}

const ALL: &[Does] = &[Does::Work, Does::Work, Does::Fail, Does::Panic, Does::Hang];

#[test]
fn threads_leave_nothing_behind() {
    for seed in 0..PROGRAMS {
        let world = World::default();
        let config = config(&mut Dice::new(seed));
        Program::run(Pool::builder(world.manager()).config(config), world, ALL, seed);
    }
}

#[test]
fn whoever_drives_a_pool_by_hand_leaves_nothing_behind() {
    for seed in 0..PROGRAMS {
        let world = World::default();
        let config = config(&mut Dice::new(seed));
        let builder = Pool::builder(world.manager()).config(config).driven_by_hand();
        Program::run(builder, world, &[Does::Work, Does::Fail, Does::Panic], seed);
    }
}

#[test]
fn an_executor_leaves_nothing_behind() {
    struct Tokio(tokio::runtime::Handle);
    impl Executor for Tokio {
        fn spawn(&self, task: BoxFuture<'static, ()>) {
            drop(self.0.spawn(task));
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    for seed in 0..PROGRAMS {
        let world = World::default();
        let config = config(&mut Dice::new(seed));
        let backend = Async::on(world.async_manager(), Tokio(runtime.handle().clone()));
        Program::run(Pool::builder(backend).config(config), world, ALL, seed);
    }
}
