//! What `core/Except.h` needs of a library: the frame that the next exception of a thread goes to, and the exceptions of the
//! guide. They jump in the program's own code, never over anything here.

use std::cell::Cell;
use std::ffi::c_char;
use std::ptr::null_mut;

/// A kind of exception. Two are the same if `type` is.
#[derive(Debug)]
#[repr(C)]
pub struct Except_T {
    /// Itself.
    pub r#type: *const Except_T,
    /// What it is about.
    pub reason: *const c_char,
}

// SAFETY: it never changes, and its pointers are to what never changes.
unsafe impl Sync for Except_T {}

/// A place that exceptions go to. `core/Except.h` has what is in it.
#[derive(Debug)]
pub struct Except_Frame;

thread_local! {
    static TOP: Cell<*mut Except_Frame> = const { Cell::new(null_mut()) };
}

/// Where the thread keeps the frame that its next exception goes to.
#[unsafe(no_mangle)]
pub extern "C" fn sp_except_top() -> *mut *mut Except_Frame {
    TOP.with(Cell::as_ptr)
}

/// Something of a socket failed.
#[unsafe(no_mangle)]
pub static Socket_Failed: Except_T =
    Except_T { r#type: &raw const Socket_Failed, reason: c"socket operation failed".as_ptr() };
/// The peer has gone.
#[unsafe(no_mangle)]
pub static Socket_Closed: Except_T =
    Except_T { r#type: &raw const Socket_Closed, reason: c"socket closed".as_ptr() };
/// Something of a pool failed.
#[unsafe(no_mangle)]
pub static SocketPool_Failed: Except_T =
    Except_T { r#type: &raw const SocketPool_Failed, reason: c"pool operation failed".as_ptr() };
/// Something of a buffer failed.
#[unsafe(no_mangle)]
pub static SocketBuf_Failed: Except_T =
    Except_T { r#type: &raw const SocketBuf_Failed, reason: c"buffer operation failed".as_ptr() };
/// Something of a poll failed.
#[unsafe(no_mangle)]
pub static SocketPoll_Failed: Except_T =
    Except_T { r#type: &raw const SocketPoll_Failed, reason: c"poll operation failed".as_ptr() };
/// Something of a protection against connection floods failed.
#[unsafe(no_mangle)]
pub static SocketSYNProtect_Failed: Except_T =
    Except_T { r#type: &raw const SocketSYNProtect_Failed, reason: c"flood protection failed".as_ptr() };
/// Something of an arena failed.
#[unsafe(no_mangle)]
pub static Arena_Failed: Except_T =
    Except_T { r#type: &raw const Arena_Failed, reason: c"arena operation failed".as_ptr() };
/// An assertion does not hold.
#[unsafe(no_mangle)]
pub static Assert_Failed: Except_T =
    Except_T { r#type: &raw const Assert_Failed, reason: c"assertion failed".as_ptr() };

const _: () = assert!(size_of::<Except_T>() == 16);
