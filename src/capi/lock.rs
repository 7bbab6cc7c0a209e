//! The lock of a pool. While the process has one thread it costs two stores; std's costs two locked instructions.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
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
    /// The place in that of whoever uses it, who alone has access. Kept here, a guard is one pointer.
    turn: UnsafeCell<Option<MutexGuard<'static, ()>>>,
    value: UnsafeCell<T>,
}

const FREE: u8 = 0;
const TAKEN: u8 = 1;
/// A call has panicked while it was using it.
const BROKEN: u8 = 2;
/// Taken by one of several threads, in the order of the queue.
const TAKEN_IN_TURN: u8 = 3;

// SAFETY: `lock` lets one thread at a time have the value, and that one puts its turn there and takes it away.
unsafe impl<T: Send> Sync for Lock<T> {}
// SAFETY: it is moved only while nobody uses it, and then there is no turn in it.
unsafe impl<T: Send> Send for Lock<T> {}

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
        Self {
            state: AtomicU8::new(FREE),
            breaks,
            queue: Mutex::new(()),
            turn: UnsafeCell::new(None),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits until nobody else uses it.
    #[inline]
    pub(super) fn lock(&self) -> Result<Guard<'_, T>, NoLock> {
        if alone::is_alone() { self.lock_alone() } else { self.wait() }
    }

    /// Not inlined, for it would make every caller larger.
    #[inline(never)]
    fn wait(&self) -> Result<Guard<'_, T>, NoLock> {
        self.lock_among_threads()
    }

    /// The same for the one thread of a process.
    #[inline]
    pub(super) fn lock_alone(&self) -> Result<Guard<'_, T>, NoLock> {
        if self.state.load(Ordering::Acquire) != FREE {
            return Err(self.why_not());
        }
        self.state.store(TAKEN, Ordering::Relaxed);
        Ok(Guard { lock: self, stays: PhantomData })
    }

    /// The same for one of several, who is not inlined himself.
    #[inline(always)]
    pub(super) fn lock_among_threads(&self) -> Result<Guard<'_, T>, NoLock> {
        let queue: *const Mutex<()> = &raw const self.queue;
        // SAFETY: whoever has the guard has the lock, which is there as long.
        let turn = unsafe { &*queue }.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever took it when the process had one thread stands in no queue.
        loop {
            match self.state.load(Ordering::Acquire) {
                FREE => break,
                BROKEN => return Err(NoLock::Broken),
                _ => thread::yield_now(),
            }
        }
        self.state.store(TAKEN_IN_TURN, Ordering::Relaxed);
        // SAFETY: it is ours.
        unsafe { *self.turn.get() = Some(turn) };
        Ok(Guard { lock: self, stays: PhantomData })
    }

    #[cold]
    fn why_not(&self) -> NoLock {
        match self.state.load(Ordering::Acquire) {
            BROKEN => NoLock::Broken,
            _ => NoLock::Own,
        }
    }

    /// Whoever uses it does not any more.
    #[inline]
    fn let_go(&self, left: u8) {
        match self.state.load(Ordering::Relaxed) {
            TAKEN_IN_TURN => self.pass_on(left),
            _ => self.state.store(left, Ordering::Release),
        }
    }

    /// Not inlined, as `wait`.
    #[inline(never)]
    fn pass_on(&self, left: u8) {
        self.end_turn(left);
    }

    /// The next one in the queue may use it.
    #[inline(always)]
    fn end_turn(&self, left: u8) {
        // SAFETY: the caller has the lock, until the state says otherwise.
        let turn = unsafe { (*self.turn.get()).take() };
        self.state.store(left, Ordering::Release);
        drop(turn);
    }
}

/// The use of what is locked.
#[derive(Debug)]
pub(super) struct Guard<'a, T> {
    lock: &'a Lock<T>,
    /// The thread that takes a lock lets go of it.
    stays: PhantomData<MutexGuard<'a, ()>>,
}

impl<T> Guard<'_, T> {
    /// Whether it was taken among threads.
    #[inline]
    pub(super) fn is_in_turn(&self) -> bool {
        self.lock.state.load(Ordering::Relaxed) == TAKEN_IN_TURN
    }

    /// Lets go of one that was not. As [`release`](Self::release).
    #[inline]
    pub(super) fn release_alone(self) {
        debug_assert!(!self.is_in_turn(), "its turn would never end");
        ManuallyDrop::new(self).lock.state.store(FREE, Ordering::Release);
    }

    /// Lets go of one that was. As [`release`](Self::release).
    #[inline(always)]
    pub(super) fn release_in_turn(self) {
        ManuallyDrop::new(self).lock.end_turn(FREE);
    }

    /// Lets go of it at the end of a call. No panic of that call passes here, so nobody need ask whether one does.
    #[inline]
    pub(super) fn release(self) {
        ManuallyDrop::new(self).lock.let_go(FREE);
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
        self.lock.let_go(left);
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
        let mut alone = lock.lock_alone().expect("nobody has it");
        thread::scope(|scope| {
            let other = scope.spawn(|| *lock.lock().expect("it comes free"));
            *alone = 7;
            thread::yield_now();
            drop(alone);
            assert_eq!(other.join().expect("it has ended"), 7);
        });
        let alone = lock.lock_alone().expect("nobody has it");
        assert_eq!(lock.lock_alone().err(), Some(NoLock::Own));
        drop(alone);
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
