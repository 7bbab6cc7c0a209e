//! A call that uses a pool: no other one does meanwhile, and nobody frees it.

use std::mem::{ManuallyDrop, forget};
use std::ops::{Deref, DerefMut};

use super::alone;
use super::handles::{self, Bad, Member};
use super::lock::{Guard, NoLock};
use super::shared::{Inner, Shared};
use super::status::Failure;

/// The use of a pool, whose lock it has. In a process with several threads it has it pinned as well. In one with a single thread
/// the lock is enough, since whoever frees a pool has that before.
#[derive(Debug)]
pub(super) struct Call(ManuallyDrop<Guard<'static, Inner>>);

impl Call {
    /// On the pool with this handle.
    #[inline(always)] // All calls begin with it.
    pub(super) fn on(pool: u64) -> Result<Self, NoCall> {
        if !alone::is_alone() {
            return Self::among_threads(pool);
        }
        // SAFETY: its name answers, and nobody else is there who could end it.
        unsafe { Self::alone(handles::object(pool)) }
    }

    /// On the pool of a connection.
    #[inline(always)]
    pub(super) fn with(member: Member) -> Result<Self, NoCall> {
        if !alone::is_alone() {
            return Self::among_threads(member.owner);
        }
        // SAFETY: as above.
        unsafe { Self::alone(handles::owner_of(member)) }
    }

    /// # Safety
    /// The pool is there, and this is the one thread of the process.
    #[inline(always)]
    unsafe fn alone(shared: Result<*const Shared, Bad>) -> Result<Self, NoCall> {
        let shared = shared.map_err(NoCall::NoPool)?;
        // SAFETY: it is there, and stays until it is let go of: a function of the program's that runs meanwhile, as its logger,
        // cannot free it without the lock, and neither can threads that it makes.
        let guard = unsafe { &*shared }.lock_alone().map_err(NoCall::NoLock)?;
        Ok(Self(ManuallyDrop::new(guard)))
    }

    /// Not inlined, for it would make every call larger.
    #[inline(never)]
    fn among_threads(pool: u64) -> Result<Self, NoCall> {
        let pinned = handles::pin_among_threads::<Shared>(pool).map_err(NoCall::NoPool)?;
        let shared: *const Shared = &raw const *pinned;
        // SAFETY: it is pinned for longer than the guard is there.
        let guard = unsafe { &*shared }.lock_among_threads().map_err(NoCall::NoLock)?;
        forget(pinned);
        Ok(Self(ManuallyDrop::new(guard)))
    }

    /// Lets go of it at the end of a call, and has those hurry who sleep by what was due before. No panic of that call passes
    /// here. A thread that is alone keeps nobody waiting: one that it has made meanwhile has looked at nothing yet.
    #[inline(always)]
    pub(super) fn leave(self) {
        let mut call = ManuallyDrop::new(self);
        // SAFETY: it is not used any more.
        let guard = unsafe { ManuallyDrop::take(&mut call.0) };
        match guard.is_in_turn() {
            true => leave_among_threads(guard),
            false => guard.release_alone(),
        }
    }
}

#[inline(never)]
fn leave_among_threads(guard: Guard<'static, Inner>) {
    let pool = guard.own_name;
    guard.release_in_turn();
    // SAFETY: `among_threads` has pinned it.
    if let Some(pinned) = unsafe { handles::pinned_before::<Shared>(pool) } {
        pinned.hurry();
        pinned.let_go_among_threads();
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let (pool, is_pinned) = (self.own_name, self.0.is_in_turn());
        // SAFETY: it is not used any more.
        unsafe { ManuallyDrop::drop(&mut self.0) };
        if is_pinned {
            // SAFETY: `among_threads` has pinned it.
            drop(unsafe { handles::pinned_before::<Shared>(pool) });
        }
    }
}

impl Deref for Call {
    type Target = Inner;

    #[inline]
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl DerefMut for Call {
    #[inline]
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.0
    }
}

/// Why a pool cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoCall {
    NoPool(Bad),
    NoLock(NoLock),
}

impl NoCall {
    /// What the program is told; `bad` says whose handle it is.
    #[cold]
    pub(super) fn told(self, bad: fn(Bad) -> Failure) -> Failure {
        match self {
            Self::NoPool(reason) => bad(reason),
            Self::NoLock(NoLock::Broken) => {
                Failure::state("the pool has failed before and does nothing any more")
            }
            Self::NoLock(NoLock::Own) => Failure::busy("a call is in this pool already"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::ptr::null_mut;
    use std::thread;

    use super::super::guide::{SocketPool_free, SocketPool_new};
    use super::*;

    #[test]
    fn whoever_frees_a_pool_waits_for_the_call_that_uses_it() {
        let pool = SocketPool_new(null_mut(), 8, 4096).addr();
        let call = Call::on(pool as u64).unwrap();
        thread::scope(|scope| {
            let frees = scope.spawn(move || {
                let mut pool = std::ptr::without_provenance_mut(pool);
                // SAFETY: it points at a local.
                unsafe { SocketPool_free(&raw mut pool) };
            });
            thread::yield_now();
            assert_eq!(call.pool.len(), 0, "it is there");
            call.leave();
            frees.join().unwrap();
        });
        assert_eq!(Call::on(pool as u64).err(), Some(NoCall::NoPool(Bad::Stale)));
    }

    #[test]
    fn a_pool_is_of_no_use_after_a_panic_in_a_call_with_it() {
        let pool = SocketPool_new(null_mut(), 8, 4096).addr() as u64;
        let left = catch_unwind(AssertUnwindSafe(|| {
            let _call = Call::on(pool).unwrap();
            panic!("half way");
        }));
        assert!(left.is_err());
        assert_eq!(Call::on(pool).err(), Some(NoCall::NoLock(NoLock::Broken)));
        assert!(handles::free::<Shared>(pool).is_ok(), "it has its name");
    }

    #[test]
    fn a_thread_that_is_alone_has_a_pool_once_and_finds_it_gone_when_it_is() {
        let mut pool = SocketPool_new(null_mut(), 8, 4096);
        let name = pool.addr() as u64;
        // SAFETY: nobody else knows of it.
        let alone = || unsafe { Call::alone(handles::object(name)) };
        let call = alone().unwrap();
        assert_eq!(alone().err(), Some(NoCall::NoLock(NoLock::Own)));
        drop(call);
        alone().unwrap().leave();
        // SAFETY: it points at a local.
        unsafe { SocketPool_free(&raw mut pool) };
        assert_eq!(alone().err(), Some(NoCall::NoPool(Bad::Stale)));
    }
}
