//! What one writes without a crate: a stack of resources below a lock, and three ways to wait for one.

use crate::roster::{Async, Blocking};
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex};
use std::thread;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Whoever finds it empty yields and looks again.
#[derive(Debug)]
pub struct MutexVec(Mutex<Vec<u64>>);

/// Whoever finds it empty sleeps on a condition variable.
#[derive(Debug)]
pub struct MutexCondvar {
    stack: Mutex<Vec<u64>>,
    returned: Condvar,
}

/// Whoever holds a permit of the semaphore finds one.
#[derive(Debug)]
pub struct SemaphoreVec {
    stack: Mutex<Vec<u64>>,
    permits: Semaphore,
}

/// Somewhere to return a resource to.
pub trait Home: 'static {
    fn put_back(&self, resource: u64);
}

/// A resource that goes home when it is dropped.
#[derive(Debug)]
pub struct Guest<H: Home> {
    resource: u64,
    home: &'static H,
}

/// The permit is a field, so it is given up only after the resource is back.
#[derive(Debug)]
pub struct Permitted {
    guest: Guest<SemaphoreVec>,
    _permit: SemaphorePermit<'static>,
}

impl Blocking for MutexVec {
    type Guard = Guest<Self>;

    fn build(size: usize) -> Self {
        Self(Mutex::new(resources(size)))
    }

    fn acquire(&'static self) -> Guest<Self> {
        loop {
            let resource = self.0.lock().expect(NO_PANIC).pop();
            if let Some(resource) = resource {
                return Guest { resource, home: self };
            }
            thread::yield_now();
        }
    }
}

impl Home for MutexVec {
    fn put_back(&self, resource: u64) {
        self.0.lock().expect(NO_PANIC).push(resource);
    }
}

impl Blocking for MutexCondvar {
    type Guard = Guest<Self>;

    fn build(size: usize) -> Self {
        Self { stack: Mutex::new(resources(size)), returned: Condvar::new() }
    }

    fn acquire(&'static self) -> Guest<Self> {
        let mut stack = self.stack.lock().expect(NO_PANIC);
        loop {
            if let Some(resource) = stack.pop() {
                return Guest { resource, home: self };
            }
            stack = self.returned.wait(stack).expect(NO_PANIC);
        }
    }
}

impl Home for MutexCondvar {
    fn put_back(&self, resource: u64) {
        self.stack.lock().expect(NO_PANIC).push(resource);
        self.returned.notify_one();
    }
}

impl Async for SemaphoreVec {
    type Guard = Permitted;

    async fn build(size: usize) -> Self {
        Self { stack: Mutex::new(resources(size)), permits: Semaphore::new(size) }
    }

    async fn acquire(&'static self) -> Permitted {
        let permit = self.permits.acquire().await.expect("nobody closes it");
        let resource = self.stack.lock().expect(NO_PANIC).pop().expect("there are as many as permits");
        Permitted { guest: Guest { resource, home: self }, _permit: permit }
    }
}

impl Home for SemaphoreVec {
    fn put_back(&self, resource: u64) {
        self.stack.lock().expect(NO_PANIC).push(resource);
    }
}

impl<H: Home> Deref for Guest<H> {
    type Target = u64;

    fn deref(&self) -> &u64 {
        &self.resource
    }
}

impl<H: Home> DerefMut for Guest<H> {
    fn deref_mut(&mut self) -> &mut u64 {
        &mut self.resource
    }
}

impl<H: Home> Drop for Guest<H> {
    fn drop(&mut self) {
        self.home.put_back(self.resource);
    }
}

impl Deref for Permitted {
    type Target = u64;

    fn deref(&self) -> &u64 {
        &self.guest
    }
}

impl DerefMut for Permitted {
    fn deref_mut(&mut self) -> &mut u64 {
        &mut self.guest
    }
}

fn resources(size: usize) -> Vec<u64> {
    vec![0; size]
}

const NO_PANIC: &str = "nobody panics below the lock";
