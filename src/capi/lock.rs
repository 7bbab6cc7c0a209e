//! The lock of a pool. While the process has one thread it costs two stores; std's costs two locked instructions.

use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::alone;

/// Something that one call at a time may use.
#[derive(Debug)]
pub(super) struct Lock<T> {
    state: AtomicU8,
    /// Whether a panic may leave the value in nobody knows which state.
    breaks: bool,
    /// In which order threads come to use it, if there are several.
    queue: Mutex<()>,
    value: UnsafeCell<T>,
}

const FREE: u8 = 0;
const TAKEN: u8 = 1;
/// A call has panicked while it was using it.
const BROKEN: u8 = 2;

// SAFETY: `lock` lets one thread at a time have the value.
unsafe impl<T: Send> Sync for Lock<T> {}

/// Why a lock cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoLock {
    /// A call has panicked while it had it.
    Broken,
    /// This thread has it already.
    Own,
}

impl<T> Lock<T> {
    pub(super) const fn new(value: T) -> Self {
        Self::with(value, true)
    }

    /// One that nothing panics with, so that it may also be taken while a panic passes.
    pub(super) const fn unbreakable(value: T) -> Self {
        Self::with(value, false)
    }

    const fn with(value: T, breaks: bool) -> Self {
        Self { state: AtomicU8::new(FREE), breaks, queue: Mutex::new(()), value: UnsafeCell::new(value) }
    }

    /// Waits until nobody else uses it.
    #[inline]
    pub(super) fn lock(&self) -> Result<Guard<'_, T>, NoLock> {
        let turn = if alone::is_alone() { None } else { Some(self.wait_for_turn()) };
        if self.state.load(Ordering::Acquire) != FREE {
            self.wait_for_whoever_was_alone(turn.is_some())?;
        }
        self.state.store(TAKEN, Ordering::Relaxed);
        Ok(Guard { lock: self, turn })
    }

    fn wait_for_turn(&self) -> MutexGuard<'_, ()> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever took it when the process had one thread stands in no queue.
    #[cold]
    fn wait_for_whoever_was_alone(&self, has_turn: bool) -> Result<(), NoLock> {
        loop {
            match self.state.load(Ordering::Acquire) {
                FREE => return Ok(()),
                BROKEN => return Err(NoLock::Broken),
                _ if !has_turn => return Err(NoLock::Own),
                _ => thread::yield_now(),
            }
        }
    }
}

/// The use of what is locked.
#[derive(Debug)]
pub(super) struct Guard<'a, T> {
    lock: &'a Lock<T>,
    turn: Option<MutexGuard<'a, ()>>,
}

impl<T> Guard<'_, T> {
    /// Lets go of it at the end of a call. No panic of that call passes here, so nobody need ask whether one does.
    #[inline]
    pub(super) fn release(self) {
        let guard = ManuallyDrop::new(self);
        guard.lock.state.store(FREE, Ordering::Release);
        // SAFETY: it is valid, and the guard that it is taken from is never used or dropped.
        drop(unsafe { ptr::read(&raw const guard.turn) });
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: whoever has the guard is the only one to use the value.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let left = if self.lock.breaks && thread::panicking() { BROKEN } else { FREE };
        self.lock.state.store(left, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn one_at_a_time_has_it() {
        let lock = Lock::new(0_u64);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100_000).for_each(|_| *lock.lock().expect("nobody panics") += 1));
            }
        });
        assert_eq!(*lock.lock().expect("nobody has it"), 400_000);
    }

    #[test]
    fn a_second_thread_waits_for_whoever_was_alone() {
        let lock = Lock::new(0);
        let mut alone = Guard { lock: &lock, turn: None };
        lock.state.store(TAKEN, Ordering::Relaxed);
        thread::scope(|scope| {
            let other = scope.spawn(|| *lock.lock().expect("it comes free"));
            *alone = 7;
            thread::yield_now();
            drop(alone);
            assert_eq!(other.join().expect("it has ended"), 7);
        });
        assert_eq!(lock.wait_for_whoever_was_alone(false), Ok(()));
        lock.state.store(TAKEN, Ordering::Relaxed);
        assert_eq!(lock.wait_for_whoever_was_alone(false), Err(NoLock::Own));
    }

    #[test]
    fn whoever_comes_to_the_end_of_a_call_leaves_it_whole_though_a_panic_passes() {
        struct Calls<'a>(&'a Lock<u8>);
        impl Drop for Calls<'_> {
            fn drop(&mut self) {
                let mut guard = self.0.lock().expect("nobody has it");
                *guard += 1;
                guard.release();
            }
        }
        let lock = Lock::new(0);
        let left = catch_unwind(AssertUnwindSafe(|| {
            let _calls = Calls(&lock);
            panic!("outside of the call");
        }));
        assert!(left.is_err());
        assert_eq!(lock.lock().map(|value| *value), Ok(1));
        thread::scope(|scope| {
            let add = || {
                (0..1_000).for_each(|_| {
                    let mut guard = lock.lock().expect("nobody panics with it");
                    *guard = guard.wrapping_add(1);
                    guard.release();
                });
            };
            (0..4).for_each(|_| drop(scope.spawn(add)));
        });
        assert_eq!(lock.lock().map(|value| *value), Ok((4_001 % 256) as u8));
    }

    #[test]
    fn nobody_has_what_a_panic_has_left() {
        let lock = Lock::new(());
        let left = catch_unwind(AssertUnwindSafe(|| {
            let _guard = lock.lock().expect("nobody has it");
            panic!("half way");
        }));
        assert!(left.is_err());
        assert_eq!(lock.lock().err(), Some(NoLock::Broken));
    }

    #[test]
    fn whoever_tidies_up_after_a_panic_leaves_it_whole() {
        struct Tidies<'a>(&'a Lock<u8>);
        impl Drop for Tidies<'_> {
            fn drop(&mut self) {
                *self.0.lock().expect("nobody has it") += 1;
            }
        }
        let lock = Lock::unbreakable(0);
        let left = catch_unwind(AssertUnwindSafe(|| {
            let _tidies = Tidies(&lock);
            panic!("without it");
        }));
        assert!(left.is_err());
        assert_eq!(lock.lock().map(|value| *value), Ok(1));
    }
}
