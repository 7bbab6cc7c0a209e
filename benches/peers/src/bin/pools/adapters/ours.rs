//! Our own pool, through both doors.

use super::NoOp;
use crate::roster::{Async, Blocking};
use socketpool::{Manager, Pool, PoolConfig, PooledConnection, Timeouts};
use std::convert::Infallible;

pub struct Ours(Pool<NoOp>);

impl Blocking for Ours {
    type Guard = PooledConnection<NoOp>;

    fn build(size: usize) -> Self {
        open(size)
    }

    fn acquire(&'static self) -> Self::Guard {
        self.0.acquire().expect("a turn comes within the pool's limit")
    }
}

impl Async for Ours {
    type Guard = PooledConnection<NoOp>;

    async fn build(size: usize) -> Self {
        open(size)
    }

    async fn acquire(&'static self) -> Self::Guard {
        self.0.acquire_async().await.expect("a turn comes within the pool's limit")
    }
}

impl Manager for NoOp {
    type Connection = u64;
    type Error = Infallible;

    fn connect(&self, _: &Timeouts) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn validate(&self, _: &mut u64, _: &Timeouts) -> Result<(), Infallible> {
        Ok(())
    }

    fn is_broken(&self, _: &mut u64) -> bool {
        false
    }
}

fn open(size: usize) -> Ours {
    // All features at their defaults, but for patience: nobody gives up in a bench.
    let max_size = size.try_into().expect("benches are small");
    let config = PoolConfig { max_size, acquire_timeout: None, ..Default::default() };
    Ours(Pool::builder(NoOp).config(config).build().expect("limits of a bench are valid"))
}
