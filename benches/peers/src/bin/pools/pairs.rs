//! So many pairs by one worker of a pool of four: counts allocations itself, and lets another program count system calls.

use crate::allocations;
use crate::roster::{self, Async, Blocking, Runtime};

/// Allocations for a pair.
pub fn of_threads<P: Blocking>(_: Runtime, pairs: u64) -> f64 {
    let pool = roster::stock_threads::<P>(SIZE);
    for _ in 0..WARM_UP {
        *pool.acquire() += 1;
    }
    let before = allocations::count();
    for _ in 0..pairs {
        *pool.acquire() += 1;
    }
    (allocations::count() - before) as f64 / pairs as f64
}

pub fn of_tasks<P: Async>(runtime: Runtime, pairs: u64) -> f64 {
    runtime.start().block_on(async {
        let pool = roster::stock_tasks::<P>(SIZE).await;
        for _ in 0..WARM_UP {
            *pool.acquire().await += 1;
        }
        let before = allocations::count();
        for _ in 0..pairs {
            *pool.acquire().await += 1;
        }
        (allocations::count() - before) as f64 / pairs as f64
    })
}

const SIZE: usize = 4;
const WARM_UP: u64 = 1_000;
