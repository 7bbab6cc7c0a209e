//! What a pool tells a C program.

use std::ffi::{c_int, c_void};
use std::ptr;

use super::connection::sp_connection;

/// A connection has come: hang your own data on it.
pub const SP_EVENT_OPENED: c_int = 1;
/// Bytes may have come: receive them.
pub const SP_EVENT_READABLE: c_int = 2;
/// Output that waited has gone down to its low mark.
pub const SP_EVENT_WRITABLE: c_int = 3;
/// The peer has sent its last byte. Without an answer owed to it, the connection ends after this.
pub const SP_EVENT_READ_CLOSED: c_int = 4;
/// A connection has ended. Its handle answers until the next `sp_pool_next_event`, or until the
/// close callback that is told of it returns if that is later, then never again. Of those that the program itself
/// takes out (`SocketPool_remove`, `Socket_free`), and of those that a freed pool had, only the close callback is told.
pub const SP_EVENT_CLOSED: c_int = 5;
/// A drain is over: nobody is left and nobody will come.
pub const SP_EVENT_DRAINED: c_int = 6;

/// One event. Fields that mean nothing for its type are NULL or 0.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct sp_event {
    /// One of `SP_EVENT_…`.
    pub kind: c_int,
    /// Why a connection has ended, as `sp_reason_name` tells in a word.
    pub reason: c_int,
    /// Which connection.
    pub connection: *mut sp_connection,
    /// What the program has hung on it.
    pub userdata: *mut c_void,
}

impl sp_event {
    pub(super) const fn none() -> Self {
        Self { kind: 0, reason: 0, connection: ptr::null_mut(), userdata: ptr::null_mut() }
    }
}
