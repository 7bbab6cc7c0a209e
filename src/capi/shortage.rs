//! What becomes of a listener whose newcomers cannot be accepted for want of descriptors or memory (DECISIONS 5): the polls
//! that watch it leave it alone for a moment, and the pool that it feeds makes room.

use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::common::Common;
use super::handles::{self, Kind};
use super::{poll, shared};
use crate::clock::Nanos;
use crate::drain::State;
use crate::net::sys;
use crate::server::exhaustion::{Advice, Exhaustion};

/// Listeners at which accepts have failed, by their handles, and what there is to be had.
pub(super) static FAILING: Common<Mutex<Option<HashMap<u64, Exhaustion>>>> = Common::<Mutex<_>>::new(None);
/// Whether there is one: nobody else has to ask.
static ANY: AtomicBool = AtomicBool::new(false);

/// What the next accept would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prospect {
    /// Nothing speaks against it.
    Good,
    /// Nobody waits.
    Nobody,
    /// It would fail again.
    Bad,
    /// The pool is full, and whoever comes waits.
    Full,
}

/// Lock order: a pool, this, the list of all polls.
fn failing() -> MutexGuard<'static, Option<HashMap<u64, Exhaustion>>> {
    FAILING.lock()
}

fn known(listener: u64) -> Option<Exhaustion> {
    failing().as_ref()?.get(&listener).copied()
}

fn now() -> Nanos {
    Nanos::new(sys::monotonic_nanos())
}

/// Whether to accept at `listener`, for which somebody may have to go first. What is told of the pool that comes back must be
/// told before that: only then is his descriptor free.
pub(super) fn before_accept(listener: u64, fd: RawFd) -> (Prospect, Option<u64>) {
    if !ANY.load(Ordering::Acquire) {
        return (Prospect::Good, None);
    }
    let now = now();
    match known(listener).map_or(Advice::Try, |state| state.advice(now)) {
        Advice::Try => (Prospect::Good, None),
        Advice::Wait(until) => (wait(fd, until), None),
        Advice::MakeRoom(probe_at) => {
            // SAFETY: the caller holds the listener, so its descriptor is open.
            let waits = sys::is_readable(unsafe { BorrowedFd::borrow_raw(fd) });
            if !waits {
                return (Prospect::Nobody, None);
            }
            let pool = handles::fed_by(listener);
            match pool.map_or(Err(probe_at), make_room) {
                Ok(()) => (Prospect::Good, pool),
                Err(until) => (wait(fd, until.min(probe_at)), pool),
            }
        }
    }
}

/// Leaves a listener alone until then. A loop of another kind tries, and sees for itself.
fn wait(fd: RawFd, until: Nanos) -> Prospect {
    if poll::mute_reading(fd, Some(until.as_millis() + 1)) { Prospect::Bad } else { Prospect::Good }
}

/// An accept at `listener` has failed.
pub(super) fn accept_failed(listener: u64, fd: RawFd, error: &io::Error) {
    if !is_want(error) {
        return;
    }
    // SAFETY: the caller holds the listener, so its descriptor is open.
    if !sys::is_readable(unsafe { BorrowedFd::borrow_raw(fd) }) {
        // It fails before it looks whether anybody is there.
        return;
    }
    let now = now();
    let mut failing = failing();
    let state = failing.get_or_insert_default().entry(listener).or_insert(Exhaustion::Enough);
    state.failed(now);
    ANY.store(true, Ordering::Release);
    if let Advice::Wait(until) = state.advice(now) {
        wait(fd, until);
    }
}

/// Whether it says that there are no descriptors or no memory.
fn is_want(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// An accept at `listener` has succeeded.
pub(super) fn accepted(listener: u64) {
    note(listener, Exhaustion::accepted);
}

/// An accept at `listener` has found nobody.
pub(super) fn found_nobody(listener: u64) {
    note(listener, Exhaustion::found_nobody);
}

/// Somebody else decides from now on when `listener` is looked at.
pub(super) fn forget(listener: u64) {
    note(listener, |state| *state = Exhaustion::Enough);
}

fn note(listener: u64, what: fn(&mut Exhaustion)) {
    if !ANY.load(Ordering::Acquire) {
        return;
    }
    let mut failing = failing();
    let failing = failing.get_or_insert_default();
    if let Some(state) = failing.get_mut(&listener) {
        what(state);
        if *state == Exhaustion::Enough {
            failing.remove(&listener);
        }
    }
    ANY.store(!failing.is_empty(), Ordering::Release);
}

/// A descriptor has come free: listeners that were left alone are looked at again.
#[inline]
pub(super) fn descriptor_is_free() {
    if ANY.load(Ordering::Acquire) {
        look_again();
    }
}

#[cold]
fn look_again() {
    let now = now();
    let mut failing = failing();
    let failing = failing.get_or_insert_default();
    failing.retain(|listener, state| {
        let Ok(held) = handles::hold_socket(*listener, Kind::Socket) else { return false };
        state.closed(now);
        poll::unmute_reading(held.fd);
        true
    });
    ANY.store(!failing.is_empty(), Ordering::Release);
}

/// Somebody goes for the newcomer, as when the pool is full; or else when to look again.
fn make_room(pool: u64) -> Result<(), Nanos> {
    let pool = std::ptr::without_provenance_mut(pool as usize);
    let goes = shared::with(pool, |inner| {
        // Nobody goes for one for whom there is no place.
        let has_place = inner.pool.state() == State::Active && inner.no_place_until().is_none();
        Ok(if has_place && inner.make_room() { Ok(()) } else { Err(inner.pool.look_again_at()) })
    });
    goes.unwrap_or(Err(Nanos::MAX))
}
