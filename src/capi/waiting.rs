//! What becomes of newcomers for whom a full pool has no place (DECISIONS 3): they wait in the backlog until somebody can
//! go. A program that accepts first and adds then would turn them away, and honest ones with them. So once a pool has
//! refused one for being full, the listener is left alone while there is no place, in the polls that watch it.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::common::Common;
use super::handles::{self, Kind};
use super::{poll, shared};
use crate::clock::Nanos;
use crate::net::sys;

/// Listeners of which a pool has refused somebody for being full, by their handles.
pub(super) static LISTENERS: Common<Mutex<Option<HashMap<u64, Newcomers>>>> = Common::<Mutex<_>>::new(None);
/// Whether there is one: nobody else has to ask.
static ANY: AtomicBool = AtomicBool::new(false);

/// What newcomers at a listener do while there is no place for them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Newcomers {
    /// They wait for one in that pool; `held`: this goes on; `pause_ms`: for how long it did at most the last time, 0 if there
    /// was a place.
    Wait { pool: u64, held: bool, pause_ms: u64 },
    /// They come, since another pool may have a place.
    Come,
}

/// Lock order: a pool, this, the list of all polls.
fn listeners() -> MutexGuard<'static, Option<HashMap<u64, Newcomers>>> {
    LISTENERS.lock()
}

/// A pool is full, and has refused somebody who was accepted at `listener`.
pub(super) fn refused(listener: u64, pool: u64) {
    let mut all = listeners();
    let all = all.get_or_insert_default();
    match all.get(&listener) {
        Some(Newcomers::Come) => {}
        Some(Newcomers::Wait { pool: other, .. }) if *other == pool => {}
        Some(Newcomers::Wait { pool: other, .. }) if handles::is_pool(*other) => {
            all.insert(listener, Newcomers::Come);
        }
        _ => {
            all.retain(|listener, _| handles::hold_socket(*listener, Kind::Socket).is_ok());
            all.insert(listener, Newcomers::Wait { pool, held: false, pause_ms: 0 });
        }
    }
    ANY.store(true, Ordering::Release);
}

/// Several pools get what `listener` accepts: where one is full, another may not be.
pub(super) fn feeds_several(listener: u64) {
    listeners().get_or_insert_default().insert(listener, Newcomers::Come);
    ANY.store(true, Ordering::Release);
}

/// Somebody else decides from now on when `listener` is looked at.
pub(super) fn forget(listener: u64) {
    if ANY.load(Ordering::Acquire) {
        listeners().get_or_insert_default().remove(&listener);
    }
}

/// Whether newcomers at `listener` are to go on waiting, and the pool that was asked: what there is to tell of it must be
/// told.
pub(super) fn hold_back(listener: u64, fd: RawFd) -> (bool, Option<u64>) {
    if !ANY.load(Ordering::Acquire) {
        return (false, None);
    }
    let known = listeners().as_ref().and_then(|all| all.get(&listener).copied());
    let Some(Newcomers::Wait { pool, .. }) = known else { return (false, None) };
    let held = shared::with_due(std::ptr::without_provenance_mut(pool as usize), |inner| {
        let until = inner.no_place_until();
        let mut all = listeners();
        let known = all.as_mut().and_then(|all| all.get_mut(&listener));
        let Some(Newcomers::Wait { held, pause_ms, .. }) = known else { return Ok(false) };
        let Some(until) = until else {
            *pause_ms = 0;
            return Ok(false);
        };
        // In the middle of its events the program has not read yet who may go as soon as it has.
        *pause_ms = (*pause_ms * 2).clamp(FIRST_PAUSE_MS, LAST_PAUSE_MS);
        let now_ms = Nanos::new(sys::monotonic_nanos()).as_millis();
        // A loop of another kind would find it readable again and again.
        *held = poll::mute_reading(fd, Some((until.as_millis() + 1).min(now_ms + *pause_ms)));
        Ok(*held)
    });
    (held.unwrap_or(false), Some(pool))
}

/// A connection of a pool has ended: whoever waits for a place there may come.
#[inline]
pub(super) fn a_place_is_free(pool: u64) {
    if ANY.load(Ordering::Acquire) {
        let_come(pool);
    }
}

#[cold]
fn let_come(pool: u64) {
    for (listener, newcomers) in listeners().iter_mut().flatten() {
        if let Newcomers::Wait { pool: full, held: held @ true, .. } = newcomers
            && *full == pool
        {
            *held = false;
            if let Ok(socket) = handles::hold_socket(*listener, Kind::Socket) {
                poll::unmute_reading(socket.fd);
            }
        }
    }
}

const FIRST_PAUSE_MS: u64 = 10;
const LAST_PAUSE_MS: u64 = 1_000;
