//! How many instructions a pair of acquire and release takes when nobody waits, by callgrind: our pool through both of
//! its doors beside a stack below a lock and the usual pool for threads. Other peers, and what happens when many wait,
//! are timed in `benches/peers`, program `pools`.
//!
//! What is counted are the functions of `counted`, and what they call; a name ends with how many pairs a count is of.

use std::convert::Infallible;
use std::hint::black_box;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use gungraun::prelude::*;
use gungraun::{Callgrind, EntryPoint, LibraryBenchmarkConfig};

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

    #[cfg(ours)]
    #[inline(never)]
    pub(super) fn blocking(pool: &Pool<NoOp>) {
        for _ in 0..PAIRS {
            *black_box(pool.acquire().expect("one is idle")) += 1;
        }
    }

    /// One poll is enough, since one is idle.
    #[cfg(ours)]
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

/// Our own pool; compiled with `RUSTFLAGS='--cfg ours'` until the library has it. A third row belongs here: the core
/// behind `&mut`, without lock or waker.
#[cfg(ours)]
mod ours {
    use super::{Infallible, NoOp};
    pub(super) use socketpool::Pool;
    use socketpool::{Manager, PoolConfig};
    pub(super) use std::future::Future;
    pub(super) use std::pin::pin;
    pub(super) use std::task::{Context, Poll, Waker};

    impl Manager for NoOp {
        type Connection = u64;
        type Error = Infallible;

        fn connect(&self) -> Result<u64, Infallible> {
            Ok(0)
        }

        fn validate(&self, _: &mut u64) -> Result<(), Infallible> {
            Ok(())
        }

        fn is_broken(&self, _: &mut u64) -> bool {
            false
        }
    }

    /// All connections are made when it is handed over.
    pub(super) fn pool(size: u32) -> Pool<NoOp> {
        let config = PoolConfig { max_size: size, ..Default::default() };
        let pool = Pool::builder(NoOp).config(config).build().expect("limits of a bench are valid");
        drop((0..size).map(|_| pool.acquire().expect("there is room")).collect::<Vec<_>>());
        pool
    }
}
#[cfg(ours)]
use ours::{Context, Future, Poll, Pool, Waker, pin};

#[cfg(ours)]
#[library_benchmark(setup = ours::pool)]
#[bench::of_4_x1000(4)]
fn lease_blocking(pool: Pool<NoOp>) -> Pool<NoOp> {
    counted::blocking(&pool);
    pool
}

#[cfg(ours)]
#[library_benchmark(setup = ours::pool)]
#[bench::of_4_x1000(4)]
fn lease_async(pool: Pool<NoOp>) -> Pool<NoOp> {
    counted::asynchronous(&pool);
    pool
}

#[cfg(ours)]
library_benchmark_group!(
    name = own;
    benchmarks = lease_blocking, lease_async
);

#[cfg(not(ours))]
main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::default().entry_point(EntryPoint::Custom("leases::counted::*".to_owned())));
    library_benchmark_groups = peers
);
#[cfg(ours)]
main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::default().entry_point(EntryPoint::Custom("leases::counted::*".to_owned())));
    library_benchmark_groups = peers, own
);

const PAIRS: usize = 1_000;
