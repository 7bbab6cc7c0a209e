//! The function of the program's that is called with every connection that ends.

use std::ffi::{c_int, c_void};

use super::connection::sp_connection;
use super::handles;
use super::shared::{Name, code};
use super::telling::Then;
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

/// One call of the program's function.
#[derive(Clone, Copy)]
pub(super) struct Telling {
    pub(super) call: CloseCallback,
    pub(super) connection: *mut sp_connection,
    pub(super) userdata: *mut c_void,
    pub(super) reason: c_int,
    pub(super) argument: *mut c_void,
    pub(super) then: Then,
}

impl Telling {
    /// After which the name goes.
    pub(super) fn new(Callback { call, argument }: Callback, name: Name, reason: Reason) -> Self {
        Self {
            call,
            connection: std::ptr::without_provenance_mut(name.get() as usize),
            userdata: handles::userdata(name.get()).unwrap_or(std::ptr::null_mut()),
            reason: code(reason),
            argument,
            then: Then::Free,
        }
    }
}
