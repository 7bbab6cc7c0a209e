//! Crates whose acquire is a future.

use super::NoOp;
use crate::roster::Async;
use deadpool::managed::{Metrics, RecycleResult};
use std::convert::Infallible;
use std::time::Duration;

#[derive(Debug)]
pub struct Bb8(bb8::Pool<NoOp>);

impl Async for Bb8 {
    type Guard = bb8::PooledConnection<'static, NoOp>;

    async fn build(size: usize) -> Self {
        let builder = bb8::Pool::builder().max_size(size as u32).test_on_check_out(false);
        Self(builder.build(NoOp).await.expect("connecting cannot fail"))
    }

    async fn acquire(&'static self) -> Self::Guard {
        self.0.get().await.expect("a turn comes within 30 seconds")
    }
}

impl bb8::ManageConnection for NoOp {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn is_valid(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

#[derive(Debug)]
pub struct Deadpool(deadpool::managed::Pool<NoOp>);

impl Async for Deadpool {
    type Guard = deadpool::managed::Object<NoOp>;

    async fn build(size: usize) -> Self {
        let builder = deadpool::managed::Pool::builder(NoOp).max_size(size);
        Self(builder.build().expect("it asks for no timeout"))
    }

    async fn acquire(&'static self) -> Self::Guard {
        self.0.get().await.expect("creating cannot fail")
    }
}

/// The same with a limit to the wait, which the others have from the start.
#[derive(Debug)]
pub struct DeadpoolTimeout(deadpool::managed::Pool<NoOp>);

impl Async for DeadpoolTimeout {
    type Guard = deadpool::managed::Object<NoOp>;

    async fn build(size: usize) -> Self {
        let builder = deadpool::managed::Pool::builder(NoOp)
            .max_size(size)
            .wait_timeout(Some(WAIT))
            .runtime(deadpool::Runtime::Tokio1);
        Self(builder.build().expect("there is a runtime for the timeout"))
    }

    async fn acquire(&'static self) -> Self::Guard {
        self.0.get().await.expect("a turn comes within 30 seconds")
    }
}

impl deadpool::managed::Manager for NoOp {
    type Type = u64;
    type Error = Infallible;

    async fn create(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn recycle(&self, _: &mut u64, _: &Metrics) -> RecycleResult<Infallible> {
        Ok(())
    }
}

pub struct Mobc(mobc::Pool<NoOp>);

impl Async for Mobc {
    type Guard = mobc::Connection<NoOp>;

    async fn build(size: usize) -> Self {
        // It keeps two idle unless told.
        let builder = mobc::Pool::builder().max_open(size as u64).max_idle(size as u64);
        Self(builder.test_on_check_out(false).build(NoOp))
    }

    async fn acquire(&'static self) -> Self::Guard {
        self.0.get().await.expect("a turn comes within 30 seconds")
    }
}

#[mobc::async_trait]
impl mobc::Manager for NoOp {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn check(&self, resource: u64) -> Result<u64, Infallible> {
        Ok(resource)
    }
}

/// It checks on each checkout, there is no option.
#[derive(Debug)]
pub struct FastPool(fast_pool::Pool<NoOp>);

impl Async for FastPool {
    type Guard = fast_pool::ConnectionGuard<NoOp>;

    async fn build(size: usize) -> Self {
        let pool = fast_pool::Pool::new(NoOp);
        pool.set_max_open(size as u64);
        Self(pool)
    }

    async fn acquire(&'static self) -> Self::Guard {
        self.0.get().await.expect("a turn comes within 30 seconds")
    }
}

impl fast_pool::Manager for NoOp {
    type Connection = u64;
    type Error = String;

    async fn connect(&self) -> Result<u64, String> {
        Ok(0)
    }

    async fn check(&self, _: &mut u64) -> Result<(), String> {
        Ok(())
    }
}

/// What the others have.
const WAIT: Duration = Duration::from_secs(30);
