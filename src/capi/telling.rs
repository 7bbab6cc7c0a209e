//! The ends of connections, told to the program: without any lock, and in which order whoever is called calls what.

use std::ffi::{c_int, c_void};

use super::connection::sp_connection;
use super::handles::{self, Kind};
use super::pool::sp_pool;
use super::shared::{self, Inner, Name, Shared};
use super::status::{self, Failure, attempt, concluded};
use super::{limbo, nesting};
use crate::reason::Reason;

/// What is called with every connection that ends: which, what hangs on it, why, and what was given with the function.
/// NULL: nothing is called.
pub type SocketPool_CloseCallback =
    Option<unsafe extern "C-unwind" fn(*mut sp_connection, *mut c_void, c_int, *mut c_void)>;

/// That function.
pub(super) type CloseCallback =
    unsafe extern "C-unwind" fn(*mut sp_connection, *mut c_void, c_int, *mut c_void);

/// A function of the program's, with what it gave to be called with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Callback {
    pub(super) call: CloseCallback,
    pub(super) argument: *mut c_void,
}

// SAFETY: the argument is not looked at here; what the program makes of it in which thread is its own business.
unsafe impl Send for Callback {}

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

/// Tells the ends that a call has brought about, and answers it.
pub(super) fn tell_and_answer<T>(
    function: &str,
    otherwise: T,
    answered: Result<T, Failure>,
    ends: Ends,
) -> T {
    let answer = concluded(function, otherwise, answered);
    if let Ends::Of(pool) = ends {
        tell(pool);
    }
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
            if let Ok(mut inner) = pinned.lock() {
                inner.telling.retain(|other| other.get() != name);
            }
            if then == Then::Free {
                let _ = handles::free_socket(name, Kind::Connection);
            }
        }
        // It was freed meanwhile, and there is nobody else to whom the connection belongs.
        Err(_) => limbo::end(name),
    }
}

/// One call of the program's function.
#[derive(Clone, Copy)]
struct Telling {
    call: CloseCallback,
    connection: *mut sp_connection,
    userdata: *mut c_void,
    reason: c_int,
    argument: *mut c_void,
    then: Then,
}

fn next_to_tell(pool: u64) -> Option<Telling> {
    let pinned = handles::pin::<Shared>(pool).ok()?;
    let mut inner = pinned.lock().ok()?;
    loop {
        let End { name, reason, then } = inner.untold.pop_front()?;
        let Some(reason) = reason else {
            shared::end_name(name);
            continue;
        };
        let Some(Callback { call, argument }) = inner.close_callback else {
            if then == Then::Free {
                shared::end_name(name);
            }
            continue;
        };
        inner.telling.push(name);
        if then == Then::Free {
            // If the function never returns, its time is over soon all the same.
            inner.part_with(name);
        }
        return Some(Telling {
            call,
            connection: std::ptr::without_provenance_mut(name.get() as usize),
            userdata: handles::userdata(name.get()).unwrap_or(std::ptr::null_mut()),
            reason: shared::code(reason),
            argument,
            then,
        });
    }
}
