//! Where one who waits finds what he was given, and what he leaves there for whoever gives it: how to wake him. Behind a
//! lock of its own, so that he need not ask the pool. Whoever has this lock takes no other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use super::backend::{Backend, tell};
use super::inner::Given;
use super::sync::thread::Thread;
use super::sync::{Mutex, MutexGuard};

pub(super) struct Seat<B: Backend>(Mutex<Sitting<B>>);

pub(super) enum Sitting<B: Backend> {
    Waits(Call),
    Given(Given<B>),
    /// He has taken what he was given, or has left.
    Over,
}

/// How somebody is woken.
pub(super) enum Call {
    Thread(Thread),
    Waker(Waker),
}

impl<B: Backend> Seat<B> {
    pub(super) fn new(call: Call) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Sitting::Waits(call))))
    }

    /// Gives him who waits here what he ends with, once; he is to be woken then. If he has left, it comes back.
    pub(super) fn give(&self, given: Given<B>) -> Result<Call, Given<B>> {
        let mut sitting = self.lock();
        if let Sitting::Over = *sitting {
            return Err(given);
        }
        match std::mem::replace(&mut *sitting, Sitting::Given(given)) {
            Sitting::Waits(call) => Ok(call),
            Sitting::Given(_) | Sitting::Over => unreachable!("he was given something before"),
        }
    }

    /// What he was given, once.
    pub(super) fn take(&self) -> Option<Given<B>> {
        Self::take_from(&mut self.lock())
    }

    /// Wakes a thread that waits here before it is given anything, for it soon will be.
    pub(super) fn call_up(&self) {
        let thread = match &*self.lock() {
            Sitting::Waits(Call::Thread(thread)) => Some(thread.clone()),
            Sitting::Waits(Call::Waker(_)) | Sitting::Given(_) | Sitting::Over => None,
        };
        if let Some(thread) = thread {
            thread.unpark();
        }
    }

    /// Says that nobody will look any more. What was there may hold a waker or a connection: it is for the caller to drop.
    pub(super) fn leave(&self) -> Sitting<B> {
        std::mem::replace(&mut *self.lock(), Sitting::Over)
    }

    /// What he was given, once; if it is nothing yet, `context` is who is woken from now on.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<Given<B>> {
        let mut sitting = self.lock();
        if let Some(given) = Self::take_from(&mut sitting) {
            return Poll::Ready(given);
        }
        if matches!(&*sitting, Sitting::Waits(Call::Waker(waker)) if waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        drop(sitting);
        // Wakers are the executor's code, so they are cloned and dropped outside of the lock.
        let call = Call::Waker(context.waker().clone());
        let mut sitting = self.lock();
        let (poll, unneeded) = match Self::take_from(&mut sitting) {
            Some(given) => (Poll::Ready(given), Sitting::Waits(call)),
            None => (Poll::Pending, std::mem::replace(&mut *sitting, Sitting::Waits(call))),
        };
        drop(sitting);
        drop(unneeded);
        poll
    }

    fn take_from(sitting: &mut Sitting<B>) -> Option<Given<B>> {
        if !matches!(sitting, Sitting::Given(_)) {
            return None;
        }
        match std::mem::replace(sitting, Sitting::Over) {
            Sitting::Given(given) => Some(given),
            Sitting::Waits(_) | Sitting::Over => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sitting<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    pub(super) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            // Others are still to be woken, perhaps by a thread that works for all pools.
            Self::Waker(waker) => {
                tell("waking a future", catch_unwind(AssertUnwindSafe(|| waker.wake())));
            }
        }
    }
}
