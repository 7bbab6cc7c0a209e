//! How many instructions a pair of acquire and release takes, by callgrind: our pool through both of its doors, and its
//! core alone, beside a stack below a lock and the usual pool for threads; and how many when somebody always waits, so
//! that each lease goes from hand to hand. Other peers are timed in `benches/peers`, program `pools`.
//!
//! What is counted are the functions of `counted`, and what they call; a name ends with how many pairs a count is of.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::ops::{Deref, DerefMut};
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use gungraun::prelude::*;
use gungraun::{Callgrind, EntryPoint, LibraryBenchmarkConfig};
use socketpool::{AcquireOwned, LeasePairs, Manager, Pool, PoolConfig, PooledConnection, Timeouts};

/// What is counted.
mod counted {
    use super::*;

    #[inline(never)]
    pub(super) fn mutex_vec(stack: &Stack) {
        for _ in 0..PAIRS {
            *black_box(stack.acquire()) += 1;
        }
    }

    #[inline(never)]
    pub(super) fn r2d2(pool: &r2d2::Pool<NoOp>) {
        for _ in 0..PAIRS {
            *black_box(pool.get().expect("one is idle")) += 1;
        }
    }

    #[inline(never)]
    pub(super) fn core(core: &mut LeasePairs) {
        for _ in 0..PAIRS {
            assert!(black_box(core.pair()));
        }
    }

    #[inline(never)]
    pub(super) fn blocking(pool: &Pool<NoOp>) {
        for _ in 0..PAIRS {
            *black_box(pool.acquire().expect("one is idle")) += 1;
        }
    }

    /// One poll is enough, since one is idle.
    #[inline(never)]
    pub(super) fn asynchronous(pool: &Pool<NoOp>) {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..PAIRS {
            let Poll::Ready(lease) = pin!(pool.acquire_async()).poll(&mut context) else {
                panic!("one is idle")
            };
            *black_box(lease.expect("one is idle")) += 1;
        }
    }

    /// Whoever has the connection gives it to the first in line and stands behind the last.
    #[inline(never)]
    pub(super) fn handed_on(queue: Queue) -> Queue {
        let Queue { pool, mut held, mut waiting } = queue;
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..PAIRS {
            drop(held);
            let mut first = waiting.pop_front().expect("some wait");
            let Poll::Ready(lease) = first.as_mut().poll(&mut context) else { panic!("it was given one") };
            held = lease.expect("it was given one");
            *black_box(&mut *held) += 1;
            first.set(pool.acquire_async().into_owned());
            assert!(first.as_mut().poll(&mut context).is_pending());
            waiting.push_back(first);
        }
        Queue { pool, held, waiting }
    }
}

/// Who waits in line behind the one who has the only connection.
struct Queue {
    pool: Pool<NoOp>,
    held: PooledConnection<NoOp>,
    waiting: VecDeque<Pin<Box<AcquireOwned<NoOp>>>>,
}

/// A stack below a lock.
struct Stack(Mutex<Vec<u64>>);

/// Goes back when it is dropped.
struct Taken<'a> {
    resource: u64,
    home: &'a Stack,
}

/// A manager for all of them.
#[derive(Debug)]
struct NoOp;

impl Stack {
    fn acquire(&self) -> Taken<'_> {
        let resource = self.0.lock().expect("nobody panics below it").pop().expect("one is idle");
        Taken { resource, home: self }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.home.0.lock().expect("nobody panics below it").push(self.resource);
    }
}

impl Deref for Taken<'_> {
    type Target = u64;

    fn deref(&self) -> &u64 {
        &self.resource
    }
}

impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut u64 {
        &mut self.resource
    }
}

impl r2d2::ManageConnection for NoOp {
    type Connection = u64;
    type Error = Infallible;

    fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn is_valid(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

fn stack(size: usize) -> Stack {
    Stack(Mutex::new(vec![0; size]))
}

/// Its constructor returns when all connections are made.
fn r2d2_pool(size: u32) -> r2d2::Pool<NoOp> {
    let builder = r2d2::Pool::builder().max_size(size).test_on_check_out(false);
    builder.build(NoOp).expect("connecting cannot fail")
}

#[library_benchmark(setup = stack)]
#[bench::of_4_x1000(4)]
fn lease_mutex_vec(stack: Stack) -> Stack {
    counted::mutex_vec(&stack);
    stack
}

#[library_benchmark(setup = r2d2_pool)]
#[bench::of_4_x1000(4)]
fn lease_r2d2(pool: r2d2::Pool<NoOp>) -> r2d2::Pool<NoOp> {
    counted::r2d2(&pool);
    pool
}

library_benchmark_group!(
    name = peers;
    benchmarks = lease_mutex_vec, lease_r2d2
);

impl Manager for NoOp {
    type Connection = u64;
    type Error = Infallible;

    fn connect(&self, _: &Timeouts) -> Result<u64, Infallible> {
        Ok(0)
    }
}

/// All connections are made when it is handed over.
fn pool(size: u32) -> Pool<NoOp> {
    let config = PoolConfig { max_size: size, ..Default::default() };
    let pool = Pool::builder(NoOp).config(config).build().expect("limits of a bench are valid");
    drop((0..size).map(|_| pool.acquire().expect("there is room")).collect::<Vec<_>>());
    pool
}

fn core(_: u32) -> LeasePairs {
    LeasePairs::new()
}

#[library_benchmark(setup = core)]
#[bench::of_4_x1000(4)]
fn lease_core(mut core: LeasePairs) -> LeasePairs {
    counted::core(&mut core);
    core
}

#[library_benchmark(setup = pool)]
#[bench::of_4_x1000(4)]
fn lease_blocking(pool: Pool<NoOp>) -> Pool<NoOp> {
    counted::blocking(&pool);
    pool
}

#[library_benchmark(setup = pool)]
#[bench::of_4_x1000(4)]
fn lease_async(pool: Pool<NoOp>) -> Pool<NoOp> {
    counted::asynchronous(&pool);
    pool
}

/// So many wait.
fn queue(len: usize) -> Queue {
    let pool = pool(1);
    let held = pool.acquire().expect("one is idle");
    let mut context = Context::from_waker(Waker::noop());
    let wait = |_| {
        let mut future = Box::pin(pool.acquire_async().into_owned());
        assert!(future.as_mut().poll(&mut context).is_pending());
        future
    };
    let waiting = (0..len).map(wait).collect();
    Queue { pool, held, waiting }
}

#[library_benchmark(setup = queue)]
#[bench::to_4_x1000(4)]
fn lease_handed_on(queue: Queue) -> Queue {
    counted::handed_on(queue)
}

library_benchmark_group!(
    name = own;
    benchmarks = lease_core, lease_blocking, lease_async, lease_handed_on
);

main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::default().entry_point(EntryPoint::Custom("leases::counted::*".to_owned())));
    library_benchmark_groups = peers, own
);

const PAIRS: usize = 1_000;
