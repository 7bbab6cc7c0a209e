//! Our own pool, through both doors.
//!
//! Compiled with `RUSTFLAGS='--cfg ours'`; once the library has `Pool`, the condition goes.

use super::NoOp;
use crate::roster::{Async, Blocking};
use socketpool::{Manager, Pool, PoolConfig, PooledConnection};
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

fn open(size: usize) -> Ours {
    let config = PoolConfig { max_size: size.try_into().expect("benches are small"), ..Default::default() };
    Ours(Pool::builder(NoOp).config(config).build().expect("limits of a bench are valid"))
}
