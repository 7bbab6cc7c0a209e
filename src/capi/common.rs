//! What the whole process shares under a lock. A thread may hold it just when another one forks, and in the child there is
//! nobody who would let go of it: it begins anew there.

use std::cell::UnsafeCell;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::lock::Lock;
use super::{driven, limbo, orphans, poll, shortage, waiting};

/// A lock that is written anew in a forked child.
#[derive(Debug)]
pub(super) struct Common<L>(UnsafeCell<L>);

// SAFETY: it is as the lock is, but for `begin_anew`, which runs when there is one thread only.
unsafe impl<L: Sync> Sync for Common<L> {}

impl<L> Common<L> {
    #[inline]
    fn get(&self) -> &L {
        // SAFETY: it is written only while nobody uses it.
        unsafe { &*self.0.get() }
    }

    /// What it held stays where it is, for it may be half way to something else.
    ///
    /// # Safety
    /// For the one thread of a process that has just been forked off, which is not using it itself.
    unsafe fn begin_anew(&self, lock: L) {
        // SAFETY: by the caller nobody has a reference to it that is used again.
        unsafe { self.0.get().write(lock) };
    }
}

impl<T> Common<Mutex<T>> {
    pub(super) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(Mutex::new(value)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.get().lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What nobody was using is good: names of the parent in it are refused where they are used.
    ///
    /// # Safety
    /// As [`begin_anew`](Self::begin_anew).
    pub(super) unsafe fn in_child(&self, value: T) {
        if matches!(self.get().try_lock(), Err(TryLockError::WouldBlock)) {
            // SAFETY: as the caller says.
            unsafe { self.begin_anew(Mutex::new(value)) };
        }
    }
}

impl<T> Common<Lock<T>> {
    pub(super) const fn short(value: T) -> Self {
        Self(UnsafeCell::new(Lock::unbreakable(value)))
    }

    #[inline]
    pub(super) fn lock(&self) -> Result<super::lock::Guard<'_, T>, super::lock::NoLock> {
        self.get().lock()
    }

    /// # Safety
    /// As [`begin_anew`](Self::begin_anew).
    pub(super) unsafe fn in_child(&self, value: T) {
        // SAFETY: as the caller says.
        unsafe { self.begin_anew(Lock::unbreakable(value)) };
    }
}

/// Whatever is shared outside of the table of handles begins anew, where it has to. Neither waits nor allocates.
///
/// # Safety
/// For the one thread of a process that has just been forked off.
pub(super) unsafe fn in_child() {
    // SAFETY: as the caller says; no function of the program is called while one of these is locked, so whoever forks
    // holds none.
    unsafe {
        driven::POOLS.in_child(Vec::new());
        limbo::WAITING.in_child(Vec::new());
        orphans::ALL.in_child(Vec::new());
        poll::POLLS.in_child(Vec::new());
        shortage::FAILING.in_child(None);
        waiting::LISTENERS.in_child(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_held_begins_anew() {
        static HELD: Common<Mutex<Vec<u8>>> = Common::<Mutex<_>>::new(Vec::new());
        static LEFT: Common<Mutex<Vec<u8>>> = Common::<Mutex<_>>::new(Vec::new());
        HELD.lock().push(1);
        LEFT.lock().push(1);
        // Whoever has this guard is not in the child.
        std::mem::forget(HELD.lock());
        // SAFETY: nobody else knows of them.
        unsafe {
            HELD.in_child(vec![7]);
            LEFT.in_child(vec![7]);
        }
        assert_eq!((HELD.lock().as_slice(), LEFT.lock().as_slice()), ([7].as_slice(), [1].as_slice()));
    }
}
