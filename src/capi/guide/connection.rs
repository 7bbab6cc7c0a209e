//! `Connection_…`: what a connection says of itself.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::{null_mut, without_provenance_mut};

use super::super::buffer::SocketBuf_T;
use super::super::connection::{sp_connection_peer, sp_connection_set_userdata};
use super::super::driven;
use super::super::handles::{self, Kind};
use super::super::socket::Socket_T;
use super::super::status::{answer, called_as, found};
use super::pool::Connection_T;

/// Another view of the slot of a connection that is there.
fn view<T>(function: &str, connection: Connection_T, kind: Kind) -> *mut T {
    let handle = connection.addr() as u64;
    let view = handles::check(handle, Kind::Connection)
        .map(|_| without_provenance_mut(handles::view(handle, kind) as usize));
    found(function, null_mut(), view, Kind::Connection)
}

fn userdata(function: &str, connection: Connection_T) -> *mut c_void {
    found(function, null_mut(), handles::userdata(connection.addr() as u64), Kind::Connection)
}

/// The socket of a connection: the one that was added. It stays the pool's. NULL for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn Connection_socket(connection: Connection_T) -> Socket_T {
    view("Connection_socket", connection, Kind::Socket)
}

/// The buffer for what was received. It lives as long as the connection. NULL for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn Connection_inbuf(connection: Connection_T) -> SocketBuf_T {
    view("Connection_inbuf", connection, Kind::Input)
}

/// The buffer for what is to be sent. It lives as long as the connection. NULL for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn Connection_outbuf(connection: Connection_T) -> SocketBuf_T {
    view("Connection_outbuf", connection, Kind::Output)
}

/// The descriptor of a connection, which stays the pool's; -1 for a bad handle. Takes no lock.
#[unsafe(no_mangle)]
pub extern "C" fn Connection_fd(connection: Connection_T) -> c_int {
    found("Connection_fd", -1, handles::descriptor(connection.addr() as u64), Kind::Connection)
}

/// What the program has hung on a connection; NULL if nothing, or for a bad handle. Takes no lock.
#[unsafe(no_mangle)]
pub extern "C" fn Connection_userdata(connection: Connection_T) -> *mut c_void {
    userdata("Connection_userdata", connection)
}

/// Hangs something of the program's on a connection. Returns 0; -1 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn Connection_set_userdata(connection: Connection_T, userdata: *mut c_void) -> c_int {
    called_as("Connection_set_userdata", sp_connection_set_userdata(connection, userdata)).clamp(-1, 0)
}

/// The same as `Connection_userdata`.
#[unsafe(no_mangle)]
pub extern "C" fn Connection_data(connection: Connection_T) -> *mut c_void {
    userdata("Connection_data", connection)
}

/// The same as `Connection_set_userdata`.
#[unsafe(no_mangle)]
pub extern "C" fn Connection_setdata(connection: Connection_T, userdata: *mut c_void) -> c_int {
    called_as("Connection_setdata", sp_connection_set_userdata(connection, userdata)).clamp(-1, 0)
}

/// When a connection was added, in milliseconds as `Socket_get_monotonic_ms` counts them; 0 for a bad handle. Takes no lock.
#[unsafe(no_mangle)]
pub extern "C" fn Connection_created_at(connection: Connection_T) -> u64 {
    found("Connection_created_at", 0, handles::created_ms(connection.addr() as u64), Kind::Connection)
}

/// When bytes last moved on a connection, or it was touched; as `Connection_created_at`. Takes no lock.
#[unsafe(no_mangle)]
pub extern "C" fn Connection_last_active(connection: Connection_T) -> u64 {
    found("Connection_last_active", 0, handles::active_ms(connection.addr() as u64), Kind::Connection)
}

/// 1 while a handle names a connection, the time included between an end that the pool has decided and its removal; else 0,
/// which is no error. Takes no lock.
#[unsafe(no_mangle)]
pub extern "C" fn Connection_isactive(connection: Connection_T) -> c_int {
    c_int::from(handles::check(connection.addr() as u64, Kind::Connection).is_ok())
}

/// Says that a connection is in use, and that the operation is done that was open on it. Returns 0; -1 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn Connection_touch(connection: Connection_T) -> c_int {
    answer("Connection_touch", -1, || {
        driven::with(
            connection.addr() as u64,
            || Ok(0),
            |conn| {
                conn.touch();
                Ok(0)
            },
        )
    })
}

/// Writes who is on the other side, as text that ends with NUL, such as `192.0.2.1:40000`, or `unix`; 64 bytes are always
/// enough. Returns 0; -1 for a bad handle or too little room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Connection_peer(connection: Connection_T, text: *mut c_char, size: usize) -> c_int {
    // SAFETY: the caller promises the same of it.
    let status = unsafe { sp_connection_peer(connection, text, size) };
    called_as("Connection_peer", status).clamp(-1, 0)
}
