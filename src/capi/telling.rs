//! The ends of connections, told to the program: without any lock, and in which order whoever is called calls what.

use super::callback::Telling;
use super::connection::sp_connection;
use super::handles::{self, Kind};
use super::pool::sp_pool;
use super::shared::{self, Inner, Name, Shared};
use super::status::{self, Failure, attempt, concluded};
use super::{limbo, nesting, orphans};
use crate::reason::Reason;

/// The end of a connection, to be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) name: Name,
    /// `None`: it was told before, or is further in front. Now its name goes.
    pub(super) reason: Option<Reason>,
    pub(super) then: Then,
}

/// What becomes of a name when its end has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It goes.
    Free,
    /// It goes with the next event, or when the program removes it.
    Keep,
}

/// Answers a call on a pool, for `function`, and tells what has ended by it.
pub(super) fn answer_and_tell<T>(
    function: &str,
    pool: *mut sp_pool,
    otherwise: T,
    run: impl FnOnce(&mut Inner) -> Result<T, Failure>,
) -> T {
    let mut ends = Ends::None;
    let answered = attempt(|| {
        shared::with(pool, |inner| {
            let answered = run(inner);
            ends = inner.ends_to_tell();
            answered
        })
    });
    tell_and_answer(function, otherwise, answered, ends)
}

/// Whether ends are to be told, of which pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    None,
    Of(u64),
}

/// Tells ends, if there are any, those of pools included that are gone.
#[inline]
pub(super) fn tell_if(ends: Ends) {
    match ends {
        Ends::Of(pool) => tell(pool),
        Ends::None if orphans::are_there() => tell(0),
        Ends::None => {}
    }
}

/// Tells the ends that a call has brought about, and answers it.
#[inline]
pub(super) fn tell_and_answer<T>(
    function: &str,
    otherwise: T,
    answered: Result<T, Failure>,
    ends: Ends,
) -> T {
    let answer = concluded(function, otherwise, answered);
    tell_if(ends);
    answer
}

/// Tells what ends there are to be told. Nothing is locked, held or borrowed while the program's function runs: it may call
/// anything, free the pool, throw, or jump out of it.
///
/// A function that is told of an end and calls the pool is told of the next one in that call, and so on: that goes only so
/// deep, and the rest is left to whoever is further up.
pub(super) fn tell(pool: u64) {
    let here = 0_u8;
    let frame = (&raw const here).addr();
    if nesting::enter(frame) {
        tell_all(pool);
        while let Some(gone) = orphans::of_this_thread() {
            tell_all(gone);
        }
        nesting::leave(frame);
    }
}

/// The same, however deep.
pub(super) fn tell_all(pool: u64) {
    let here = 0_u8;
    let frame = (&raw const here).addr();
    let mut is_first = true;
    while let Some(Telling { call, connection, userdata, reason, argument, then }) = next_to_tell(pool) {
        if is_first {
            status::put_aside(frame);
            is_first = false;
        }
        // SAFETY: the program gave the function for this, and vouches for what it does.
        unsafe { call(connection, userdata, reason, argument) };
        told(pool, connection, then);
    }
    if !is_first {
        status::take_back(frame);
    }
}

/// The program's function has returned.
fn told(pool: u64, connection: *mut sp_connection, then: Then) {
    let name = connection.addr() as u64;
    match handles::pin::<Shared>(pool) {
        Ok(pinned) => {
            let is_told = |name| Some(pinned.lock().ok()?.is_told(name));
            if Name::new(name).and_then(is_told).unwrap_or(then) == Then::Free {
                let _ = handles::free_socket(name, Kind::Connection);
            }
        }
        // It was freed meanwhile, and there is nobody else to whom the connection belongs.
        Err(_) => limbo::leave(name),
    }
}

fn next_to_tell(pool: u64) -> Option<Telling> {
    let Ok(pinned) = handles::pin::<Shared>(pool) else { return orphans::next(pool) };
    let mut inner = pinned.lock().ok()?;
    loop {
        let End { name, reason, then } = inner.untold.pop_front()?;
        let Some(reason) = reason else {
            shared::end_name(name);
            continue;
        };
        let Some(callback) = inner.close_callback else {
            if then == Then::Free {
                shared::end_name(name);
            }
            continue;
        };
        inner.tells(name, then);
        return Some(Telling { then, ..Telling::new(callback, name, reason) });
    }
}
