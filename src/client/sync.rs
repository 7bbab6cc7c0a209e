//! The atomics, locks and parking of the machine, or in tests those with which every order of events is tried (`--cfg loom`).

#[cfg(all(test, loom))]
pub(super) use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    sync::{Condvar, Mutex, MutexGuard},
};

#[cfg(not(all(test, loom)))]
pub(super) use plain::UnsafeCell;
#[cfg(not(all(test, loom)))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(all(test, loom)))]
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(all(test, loom)))]
pub(super) use std::{thread, thread_local};

#[cfg(not(all(test, loom)))]
mod plain {
    /// The standard cell with loom's way to look into it.
    #[derive(Debug)]
    pub(in super::super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(in super::super) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(in super::super) fn with_mut<R>(&self, look: impl FnOnce(*mut T) -> R) -> R {
            look(self.0.get())
        }
    }
}

/// What each thread has of its own. Those of loom are made when they are used.
#[cfg(all(test, loom))]
macro_rules! made_later {
    ($($(#[$about:meta])* static $name:ident: $kind:ty = const { $value:expr };)*) => {
        loom::thread_local! { $($(#[$about])* static $name: $kind = $value;)* }
    };
}
#[cfg(all(test, loom))]
pub(super) use made_later as thread_local;

/// Parking. That of loom cannot be used: its `unpark` also goes to those who wait for a lock.
#[cfg(all(test, loom))]
pub(super) mod thread {
    use std::sync::Arc;
    use std::task::Wake;
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex};

    #[derive(Clone)]
    pub(in super::super) struct Thread(pub(in super::super) Arc<Seat>);

    pub(in super::super) struct Seat {
        called: Mutex<bool>,
        changed: Condvar,
    }

    loom::thread_local! {
        static SEAT: Thread = Thread(Arc::new(Seat { called: Mutex::new(false), changed: Condvar::new() }));
    }

    pub(in super::super) fn current() -> Thread {
        SEAT.with(Thread::clone)
    }

    pub(in super::super) fn yield_now() {
        loom::thread::yield_now();
    }

    pub(in super::super) fn park() {
        let Thread(seat) = current();
        let mut called = seat.called.lock().unwrap();
        while !*called {
            called = seat.changed.wait(called).unwrap();
        }
        *called = false;
    }

    /// Time does not pass by itself, so that whoever is not called never goes on.
    pub(in super::super) fn park_timeout(_: Duration) {
        park();
    }

    impl Thread {
        pub(in super::super) fn unpark(&self) {
            *self.0.called.lock().unwrap() = true;
            self.0.changed.notify_one();
        }
    }

    impl Wake for Seat {
        fn wake(self: Arc<Self>) {
            Thread(self).unpark();
        }
    }
}
