//! Crates whose acquire blocks, or does not wait at all.

use super::NoOp;
use crate::roster::Blocking;
use pingora_pool::{ConnectionMeta, ConnectionPool};
use std::convert::Infallible;
use std::ops::{Deref, DerefMut};
use std::thread;

#[derive(Debug)]
pub struct R2d2(r2d2::Pool<NoOp>);

impl Blocking for R2d2 {
    type Guard = r2d2::PooledConnection<NoOp>;

    fn build(size: usize) -> Self {
        let builder = r2d2::Pool::builder().max_size(size as u32).test_on_check_out(false);
        Self(builder.build(NoOp).expect("connecting cannot fail"))
    }

    fn acquire(&'static self) -> Self::Guard {
        self.0.get().expect("a turn comes within 30 seconds")
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

/// It bounds what is idle, not what is out, and has no line: we put all resources in first and yield while it is empty.
/// Nobody watches the idle ones, as its users do for sockets.
pub struct Pingora(ConnectionPool<(i32, u64)>);

/// Its own guard, since the pool has none.
pub struct Kept {
    id: i32,
    resource: u64,
    home: &'static Pingora,
}

impl Blocking for Pingora {
    type Guard = Kept;

    fn build(size: usize) -> Self {
        let pool = Self(ConnectionPool::new(size));
        for id in 0..size as i32 {
            pool.put(id, 0);
        }
        pool
    }

    fn acquire(&'static self) -> Kept {
        loop {
            if let Some((id, resource)) = self.0.get(&KEY) {
                return Kept { id, resource, home: self };
            }
            thread::yield_now();
        }
    }
}

impl Pingora {
    fn put(&self, id: i32, resource: u64) {
        self.0.put(&ConnectionMeta::new(KEY, id), (id, resource));
    }
}

impl Deref for Kept {
    type Target = u64;

    fn deref(&self) -> &u64 {
        &self.resource
    }
}

impl DerefMut for Kept {
    fn deref_mut(&mut self) -> &mut u64 {
        &mut self.resource
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.home.put(self.id, self.resource);
    }
}

/// All resources are connections to one destination.
const KEY: u64 = 1;
