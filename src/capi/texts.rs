//! Texts that are lent to a C program for a while: each thread has room for the last few.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char};

thread_local! {
    static TEXTS: RefCell<[[u8; ROOM]; KEPT]> = const { RefCell::new([[0; ROOM]; KEPT]) };
    static NEXT: Cell<usize> = const { Cell::new(0) };
}

/// A copy of `text` that stays until this thread has asked for seven more. What has no room is cut off.
pub(super) fn lend(text: &str) -> *const c_char {
    let bytes = &text.as_bytes()[..text.len().min(ROOM - 1)];
    let place = NEXT.replace((NEXT.get() + 1) % KEPT);
    TEXTS.with_borrow_mut(|texts| {
        texts[place] = [0; ROOM];
        texts[place][..bytes.len()].copy_from_slice(bytes);
        texts[place].as_ptr().cast()
    })
}

/// What stands where there is no address.
pub(super) const UNKNOWN: &CStr = c"(unknown)";

/// One can be read while another is asked for, as in the arguments of one `printf`.
const KEPT: usize = 8;
/// The longest address has 45 bytes; descriptions of errors have up to 50.
const ROOM: usize = 128;
