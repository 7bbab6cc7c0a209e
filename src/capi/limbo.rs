//! Connections whose pool was freed while their end was being told: their names answer until the program's function returns.
//! One that has jumped away never does, so they wait here for their time to be over.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::common::Common;
use super::handles::{self, Kind};
use crate::clock::Nanos;

pub(super) static WAITING: Common<Mutex<Vec<(Nanos, u64)>>> = Common::<Mutex<_>>::new(Vec::new());
static ANY: AtomicBool = AtomicBool::new(false);

/// Puts a connection here whose time is over at `until`.
pub(super) fn put(until: Nanos, connection: u64) {
    WAITING.lock().push((until, connection));
    ANY.store(true, Ordering::Release);
}

/// The function has returned.
pub(super) fn leave(connection: u64) {
    let mut waiting = WAITING.lock();
    waiting.retain(|(_, other)| *other != connection);
    ANY.store(!waiting.is_empty(), Ordering::Release);
    drop(waiting);
    end(connection);
}

/// Ends a connection whose pool is gone, if it has not ended yet.
fn end(connection: u64) {
    if let Ok(held) = handles::hold_socket(connection, Kind::Connection) {
        // As long as it is held its descriptor is nobody else's.
        super::poll::forget_everywhere(held.fd);
    }
    let _ = handles::free_socket(connection, Kind::Connection);
}

/// Closes those whose time is over. Whichever pool does what is due calls this.
#[inline]
pub(super) fn sweep(now: impl FnOnce() -> Nanos) {
    if ANY.load(Ordering::Acquire) {
        close_before(now());
    }
}

#[cold]
fn close_before(now: Nanos) {
    let mut waiting = WAITING.lock();
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
