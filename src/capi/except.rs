//! What the exceptions of `core/Except.h` share between files and compilers: the objects by whose addresses they are told
//! apart, and where each thread keeps its innermost TRY. The jumps themselves are C, in that header.

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::ptr;

/// An exception. Programs make their own: `const Except_T Full = {&Full, "full"};`.
#[derive(Debug)]
#[repr(C)]
pub struct Except_T {
    /// Itself, or the one as which it is to be caught.
    pub r#type: *const Self,
    /// What is printed when nobody catches it.
    pub reason: *const c_char,
}

// SAFETY: it is never written, and neither is what it points at.
unsafe impl Sync for Except_T {}

impl Except_T {
    const fn new(itself: *const Self, reason: &'static CStr) -> Self {
        Self { r#type: itself, reason: reason.as_ptr() }
    }
}

/// Something with a socket has failed.
#[unsafe(no_mangle)]
pub static Socket_Failed: Except_T = Except_T::new(&raw const Socket_Failed, c"socket operation failed");
/// The other side has closed.
#[unsafe(no_mangle)]
pub static Socket_Closed: Except_T = Except_T::new(&raw const Socket_Closed, c"socket closed");
/// Something with a pool has failed.
#[unsafe(no_mangle)]
pub static SocketPool_Failed: Except_T =
    Except_T::new(&raw const SocketPool_Failed, c"socket pool operation failed");
/// Something with a buffer has failed.
#[unsafe(no_mangle)]
pub static SocketBuf_Failed: Except_T =
    Except_T::new(&raw const SocketBuf_Failed, c"socket buffer operation failed");
/// Something with a poll has failed.
#[unsafe(no_mangle)]
pub static SocketPoll_Failed: Except_T =
    Except_T::new(&raw const SocketPoll_Failed, c"socket poll operation failed");
/// Something with the protection against connection floods has failed.
#[unsafe(no_mangle)]
pub static SocketSYNProtect_Failed: Except_T =
    Except_T::new(&raw const SocketSYNProtect_Failed, c"protection against connection floods failed");
/// Something with an arena has failed.
#[unsafe(no_mangle)]
pub static Arena_Failed: Except_T = Except_T::new(&raw const Arena_Failed, c"arena operation failed");
/// An assertion does not hold.
#[unsafe(no_mangle)]
pub static Assert_Failed: Except_T = Except_T::new(&raw const Assert_Failed, c"assertion failed");

/// A TRY that has been entered: see `core/Except.h`.
#[derive(Debug)]
pub struct Except_Frame;

thread_local! {
    static TOP: Cell<*mut Except_Frame> = const { Cell::new(ptr::null_mut()) };
}

/// Where the calling thread keeps its innermost TRY, or NULL if it is in none. For `core/Except.h`.
#[unsafe(no_mangle)]
pub extern "C" fn sp_except_top() -> *mut *mut Except_Frame {
    TOP.with(Cell::as_ptr)
}
