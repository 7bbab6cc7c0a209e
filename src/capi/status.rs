//! What a call answers: a status, and for a failure a text and an errno that the calling thread can ask for.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;

use super::handles::{Bad, Kind};
use crate::error::Error;

/// It was done.
pub const SP_OK: c_int = 0;
/// A handle names nothing: it is NULL, stale, of another kind, or was made up.
pub const SP_BAD_HANDLE: c_int = -1;
/// Another argument is out of bounds; the text names it, its value and the bound.
pub const SP_BAD_ARGUMENT: c_int = -2;
/// Another thread is in the way: it turns the pool at this moment.
pub const SP_BUSY: c_int = -3;
/// The operating system refused; see `sp_last_errno`.
pub const SP_SYSTEM: c_int = -4;
/// There is no memory for it.
pub const SP_NO_MEMORY: c_int = -5;
/// It cannot be done in this state.
pub const SP_BAD_STATE: c_int = -6;

/// Why a call failed.
#[derive(Debug)]
pub(super) struct Failure {
    status: c_int,
    errno: c_int,
    text: String,
}

impl Failure {
    pub(super) fn handle(argument: &str, kind: Kind, bad: Bad) -> Self {
        let text = format!("{argument} {}", bad.reason(kind));
        Self { status: SP_BAD_HANDLE, errno: libc::EINVAL, text }
    }

    pub(super) fn argument(argument: &str, what: impl fmt::Display) -> Self {
        Self { status: SP_BAD_ARGUMENT, errno: libc::EINVAL, text: format!("{argument} {what}") }
    }

    pub(super) fn busy(why: &str) -> Self {
        Self { status: SP_BUSY, errno: libc::EBUSY, text: why.to_owned() }
    }

    pub(super) fn state(why: &str) -> Self {
        Self { status: SP_BAD_STATE, errno: libc::EPERM, text: why.to_owned() }
    }

    pub(super) fn memory(what: &str) -> Self {
        Self { status: SP_NO_MEMORY, errno: libc::ENOMEM, text: format!("no memory for {what}") }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let (status, errno) = match &error {
            Error::Config { .. } => (SP_BAD_ARGUMENT, libc::EINVAL),
            Error::Memory { .. } => (SP_NO_MEMORY, libc::ENOMEM),
            Error::State { .. } => (SP_BAD_STATE, libc::EPERM),
            Error::Io { source, .. } => (SP_SYSTEM, source.raw_os_error().unwrap_or(libc::EIO)),
        };
        Self { status, errno, text }
    }
}

thread_local! {
    static LAST: RefCell<Option<(CString, c_int)>> = const { RefCell::new(None) };
}

/// Remembers a failure for the thread and returns its status.
pub(super) fn fail(function: &str, failure: Failure) -> c_int {
    let text = format!("{function}: {}", failure.text).replace('\0', " ");
    let last = CString::new(text).ok().map(|text| (text, failure.errno));
    // A thread that is ending has no last error any more.
    let _ = LAST.try_with(|place| place.replace(last));
    failure.status
}

/// What the last call of this thread that failed says about it: the function, the argument and the reason. Never NULL;
/// empty if none has failed. Valid until the next call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn sp_last_error() -> *const c_char {
    const NONE: &CStr = c"";
    let last = LAST.try_with(|place| place.borrow().as_ref().map(|(text, _)| text.as_ptr()));
    last.ok().flatten().unwrap_or(NONE.as_ptr())
}

/// The errno that belongs to `sp_last_error`; 0 if no call of this thread has failed.
#[unsafe(no_mangle)]
pub extern "C" fn sp_last_errno() -> c_int {
    LAST.try_with(|place| place.borrow().as_ref().map_or(0, |(_, errno)| *errno)).unwrap_or(0)
}
