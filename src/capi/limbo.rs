//! Connections whose pool was freed while their end was being told: their names answer until the program's function returns.
//! One that has jumped away never does, so they wait here for their time to be over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::handles::{self, Kind};
use crate::clock::Nanos;

static WAITING: Mutex<Vec<(Nanos, u64)>> = Mutex::new(Vec::new());
static ANY: AtomicBool = AtomicBool::new(false);

/// Puts a connection here whose time is over at `until`.
pub(super) fn put(until: Nanos, connection: u64) {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner).push((until, connection));
    ANY.store(true, Ordering::Release);
}

/// Ends a connection whose pool is gone, if it has not ended yet.
pub(super) fn end(connection: u64) {
    if let Ok(_held) = handles::hold_socket(connection, Kind::Connection) {
        // As long as it is held its descriptor, if it is not the pool's, is nobody else's.
        super::poll::forget(connection);
        let _ = handles::free_socket(connection, Kind::Connection);
    }
}

/// Closes those whose time is over. Whichever pool does what is due calls this.
pub(super) fn sweep(now: impl FnOnce() -> Nanos) {
    if !ANY.load(Ordering::Acquire) {
        return;
    }
    let now = now();
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.retain(|(until, connection)| {
        let waits = *until > now;
        if !waits {
            // Its function may have returned long ago.
            end(*connection);
        }
        waits
    });
    ANY.store(!waiting.is_empty(), Ordering::Release);
}
