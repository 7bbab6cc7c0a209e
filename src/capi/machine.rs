//! What a C program asks of the machine, and of the last failure, under the names of the guide.

use std::ffi::{c_char, c_int};
use std::io;

use super::status::{Failure, answer, sp_last_errno, sp_last_error};
use super::texts;
use crate::net::sys;

/// What the last call of this thread that failed says about it: the function, the argument and the reason. Never NULL; empty
/// if none has failed. Valid until the next call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_GetLastError() -> *const c_char {
    sp_last_error()
}

/// The errno that belongs to `Socket_GetLastError`; 0 if no call of this thread has failed.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_geterrno() -> c_int {
    sp_last_errno()
}

/// What an errno means, in words. Never NULL. Valid until the thread has asked for seven more texts.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_safe_strerror(errnum: c_int) -> *const c_char {
    let text = io::Error::from_raw_os_error(errnum).to_string();
    texts::lend(text.rsplit_once(" (os error").map_or(&text, |(words, _)| words))
}

/// The machine's monotonic clock (CLOCK_MONOTONIC), in milliseconds.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_get_monotonic_ms() -> u64 {
    sys::monotonic_nanos() / 1_000_000
}

/// Makes a write to a socket whose peer is gone an error and not the end of the process, for the whole process. What this
/// library sends never raises SIGPIPE, with or without. 0, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_ignore_sigpipe() -> c_int {
    answer("Socket_ignore_sigpipe", -1, || {
        sys::ignore_sigpipe().map_err(|error| Failure::system("signal", &error))?;
        Ok(0)
    })
}
