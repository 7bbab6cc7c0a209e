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
        let pinned = handles::pin::<Shared>(pool).map_err(NoCall::NoPool)?;
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
            false => guard.release(),
        }
    }
}

#[inline(never)]
fn leave_among_threads(guard: Guard<'static, Inner>) {
    let pool = guard.own_name;
    guard.release();
    // SAFETY: `among_threads` has pinned it.
    if let Some(pinned) = unsafe { handles::pinned_before::<Shared>(pool) } {
        pinned.hurry();
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
