//! What becomes of a listener whose newcomers cannot be accepted for want of descriptors or memory (DECISIONS 5): the polls
//! that watch it leave it alone for a moment, and the pool that it feeds makes room.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::handles::{self, Kind};
use super::{poll, shared};
use crate::clock::Nanos;
use crate::net::sys;

/// Listeners at which the last accept has failed, by their handles.
static FAILING: Mutex<Option<HashMap<u64, Failing>>> = Mutex::new(None);
/// Whether there is one: nobody else has to ask.
static ANY: AtomicBool = AtomicBool::new(false);

/// How often accepts have failed in a row, and for how long the listener was left alone the last time.
#[derive(Clone, Copy, Debug, Default)]
struct Failing {
    times: u32,
    pause_ms: u64,
}

fn failing() -> MutexGuard<'static, Option<HashMap<u64, Failing>>> {
    FAILING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An accept at `listener` has failed. What is told of the pool that comes back, if one does, must be told.
pub(super) fn accept_failed(listener: u64, fd: RawFd, error: &io::Error) -> Option<u64> {
    if !matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) {
        return None;
    }
    let before = failing().get_or_insert_default().get(&listener).copied().unwrap_or_default();
    // It may be over in a moment, so the first failure costs nobody anything.
    let pool = handles::fed_by(listener).filter(|_| before.times > 0);
    let made_room = pool.is_some_and(make_room);
    let pause_ms = match before.times == 0 || made_room {
        true => FIRST_PAUSE_MS,
        false => (before.pause_ms * 2).clamp(FIRST_PAUSE_MS, LAST_PAUSE_MS),
    };
    let after = Failing { times: before.times.saturating_add(1), pause_ms };
    failing().get_or_insert_default().insert(listener, after);
    ANY.store(true, Ordering::Release);
    let now_ms = Nanos::new(sys::monotonic_nanos()).as_millis();
    poll::mute_reading(fd, Some(now_ms + pause_ms));
    pool
}

/// An accept at `listener` has succeeded.
pub(super) fn accepted(listener: u64) {
    if ANY.load(Ordering::Acquire) {
        failing().get_or_insert_default().remove(&listener);
    }
}

/// A descriptor has come free: listeners that were left alone are looked at again.
pub(super) fn descriptor_is_free() {
    if !ANY.load(Ordering::Acquire) {
        return;
    }
    let mut failing = failing();
    let failing = failing.get_or_insert_default();
    failing.retain(|listener, state| {
        let Ok(held) = handles::hold_socket(*listener, Kind::Socket) else { return false };
        if state.pause_ms > FIRST_PAUSE_MS {
            state.pause_ms = FIRST_PAUSE_MS;
            poll::unmute_reading(held.fd);
        }
        true
    });
    ANY.store(!failing.is_empty(), Ordering::Release);
}

/// Somebody goes for the newcomer, as when the pool is full. `false` if nobody may.
fn make_room(pool: u64) -> bool {
    let pool = std::ptr::without_provenance_mut(pool as usize);
    shared::with(pool, |inner| Ok(inner.make_room())).unwrap_or(false)
}

const FIRST_PAUSE_MS: u64 = 10;
const LAST_PAUSE_MS: u64 = 1_000;
