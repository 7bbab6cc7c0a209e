//! A wait: what is done before it, during which nothing is locked, the callbacks of pools, and what is told then.

use std::ffi::c_int;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::driven;
use super::super::handles::{self, Kind, Pinned};
use super::super::status::{Failure, answer};
use super::set::Batch;
use super::{Poll, SOCKET_POLL_TIMEOUT_USE_DEFAULT, SocketEvent_T, WAITERS};
use crate::net::epoll::Epoll;
use crate::net::sys::monotonic_nanos;

/// Waits, does what is due in pools, and answers where the events are and how many; `None` for a failure.
///
/// The program's callbacks run in it: they may jump out of it, or free the poll. So nothing that must be dropped is alive
/// then, and afterwards the poll is looked for again.
pub(super) fn wait(poll: u64, has_place: bool, timeout_ms: c_int) -> Option<(*mut SocketEvent_T, usize)> {
    let until = answer(NAME, None, || deadline(poll, has_place, timeout_ms).map(Some))?;
    loop {
        let rested = answer(NAME, None, || rest(poll, until).map(Some))?;
        let mut pool = 0;
        while let Some(next) = answer(NAME, None, || next_owner(poll, pool)) {
            pool = next;
            driven::tick(&[pool]);
        }
        let told = answer(NAME, None, || tell(poll, rested.wait).map(Some))?;
        // What a pool has done may be what the program waits for.
        if told.n > 0 || told.is_late || rested.is_over || pool != 0 {
            return Some((told.array, told.n));
        }
    }
}

/// Until when a wait lasts, in nanoseconds.
fn deadline(poll: u64, has_place: bool, timeout_ms: c_int) -> Result<u64, Failure> {
    let poll = pin(poll)?;
    if !has_place {
        return Err(Failure::argument("events", "is NULL"));
    }
    let timeout_ms = match timeout_ms {
        SOCKET_POLL_TIMEOUT_USE_DEFAULT => poll.lock().default_timeout_ms,
        timeout_ms => timeout_ms,
    };
    match u64::try_from(timeout_ms) {
        Ok(timeout_ms) => Ok(monotonic_nanos() + timeout_ms * NANOS),
        Err(_) if timeout_ms == -1 => Ok(u64::MAX),
        Err(_) => {
            let bound = format_args!("is {timeout_ms}, must be at least -1, or -2 for the default");
            Err(Failure::argument("timeout_ms", bound))
        }
    }
}

/// A rest that is over.
#[derive(Clone, Copy, Debug)]
struct Rested {
    /// Which wait it was.
    wait: u64,
    /// The program is to hear of it whatever has come: its time has come, or a signal.
    is_over: bool,
}

/// What a wait works with, until this is dropped.
struct Waiting<'a> {
    poll: &'a Poll,
    batch: Option<Batch>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.poll.lock().give_back(batch);
        }
    }
}

/// Counts who waits.
struct Counted;

impl Counted {
    fn new() -> Self {
        WAITERS.fetch_add(1, Ordering::AcqRel);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        WAITERS.fetch_sub(1, Ordering::AcqRel);
    }
}

fn rest(name: u64, until: u64) -> Result<Rested, Failure> {
    let poll = pin(name)?;
    let now = monotonic_nanos();
    let _counted = Counted::new();
    let (mut waiting, epoll, wait, muted_until) = begin(&poll, now)?;
    // From here on whoever brings an earlier deadline rings.
    let mut wake = until.min(muted_until.saturating_mul(NANOS));
    let mut pool = 0;
    while let Some(next) = next_owner(name, pool)? {
        pool = next;
        wake = wake.min(driven::next_deadline(pool));
    }
    poll.lock().sleep_until(wake);
    let timeout_ms = match wake {
        u64::MAX => -1,
        wake => c_int::try_from(wake.saturating_sub(now).div_ceil(NANOS)).unwrap_or(c_int::MAX),
    };
    let batch = waiting.batch.as_mut().expect("it was just taken");
    let is_over = match epoll.wait(&mut batch.found, timeout_ms) {
        Ok(()) => monotonic_nanos() >= until,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
        Err(error) => return Err(Failure::system("cannot wait", &error)),
    };
    Ok(Rested { wait, is_over })
}

fn begin(poll: &Poll, now: u64) -> Result<(Waiting<'_>, Arc<Epoll>, u64, u64), Failure> {
    let mut set = poll.lock();
    let Some((epoll, batch)) = set.begin_wait(now / NANOS) else {
        return Err(Failure::busy("another thread waits in the poll"));
    };
    Ok((Waiting { poll, batch: Some(batch) }, epoll, set.waits(), set.muted_until()))
}

/// The pool after that one, of those whose connections are registered.
fn next_owner(poll: u64, after: u64) -> Result<Option<u64>, Failure> {
    Ok(pin(poll)?.lock().next_owner(after))
}

/// What a wait tells.
#[derive(Clone, Copy, Debug)]
struct Told {
    array: *mut SocketEvent_T,
    n: usize,
    /// Another wait has begun meanwhile, in a callback or in another thread: that one tells.
    is_late: bool,
}

/// Makes the events of a wait.
fn tell(poll: u64, wait: u64) -> Result<Told, Failure> {
    let poll = pin(poll)?;
    let mut waiting = Waiting { poll: &poll, batch: None };
    let mut set = poll.lock();
    waiting.batch = set.take_batch(wait);
    if let Some(batch) = &mut waiting.batch {
        set.tell(batch);
    }
    let (array, n) = set.events();
    drop(set);
    let Some(batch) = &waiting.batch else { return Ok(Told { array, n: 0, is_late: true }) };
    batch.told.iter().for_each(|connection| driven::is_told(*connection));
    Ok(Told { array, n, is_late: false })
}

fn pin(poll: u64) -> Result<Pinned<Poll>, Failure> {
    handles::pin(poll).map_err(|bad| Failure::handle("poll", Kind::Poll, bad))
}

const NAME: &str = "SocketPoll_wait";
/// In a millisecond.
const NANOS: u64 = 1_000_000;
