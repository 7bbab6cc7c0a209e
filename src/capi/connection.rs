//! A connection of a C program's pool: its bytes, what hangs on it, and its end.

use std::ffi::{c_char, c_int, c_void};

use super::call::Call;
use super::handed;
use super::handles::{self, Bad, Kind};
use super::shared::Name;
use super::status::{Failure, SP_OK, call, found, store};
use crate::id::ConnId;
use crate::net::Os;
use crate::server::{Connection, Sent};

/// A connection. A pointer to it is a name, not an address.
#[derive(Debug)]
pub struct sp_connection;

#[cold]
fn bad(reason: Bad) -> Failure {
    Failure::handle("connection", Kind::Connection, reason)
}

/// Runs a call on a connection that the pool drives, alone with its pool.
#[inline(always)] // It is all that a function of C's is.
fn on_connection<T>(
    connection: *mut sp_connection,
    run: impl FnOnce(&mut Connection<'_, Name, Os>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let member = handles::member(connection.addr() as u64).map_err(bad)?;
    let mut inner = Call::with(member).map_err(|why| why.told(bad))?;
    // Its id is good in this pool for ever or never again, so what was read before the lock was taken will do.
    let id = ConnId::from_u64(member.id);
    let answer = match id.and_then(|id| inner.pool.get(id)) {
        Some(mut connection) => run(&mut connection),
        None => Err(bad(Bad::Stale)),
    };
    inner.leave();
    answer
}

/// The same, for a function that answers a status.
#[inline(always)]
fn with_connection(
    function: &str,
    connection: *mut sp_connection,
    run: impl FnOnce(&mut Connection<'_, Name, Os>) -> Result<c_int, Failure>,
) -> c_int {
    call(function, || on_connection(connection, run))
}

/// Receives what has arrived and stores how many bytes came, for `function`.
///
/// # Safety
/// `count` is NULL or may be written through.
#[inline(never)] // Two functions of C's are this.
pub(super) unsafe fn receive(function: &str, connection: *mut sp_connection, count: *mut usize) -> c_int {
    with_connection(function, connection, |connection| {
        let received = connection.receive();
        if !count.is_null() {
            // SAFETY: not NULL, so the caller promises the rest.
            unsafe { count.write(received) };
        }
        Ok(SP_OK)
    })
}

/// Stores where the input is, and how long, for `function`.
///
/// # Safety
/// `data` and `length` are NULL or may be written through.
#[inline(never)]
pub(super) unsafe fn input(
    function: &str,
    connection: *mut sp_connection,
    data: *mut *const c_void,
    length: *mut usize,
) -> c_int {
    with_connection(function, connection, |connection| {
        let input = connection.show_input();
        // SAFETY: as the caller promises of both.
        unsafe {
            store("data", data, input.as_ptr().cast::<c_void>())?;
            store("length", length, input.len())?;
        }
        Ok(SP_OK)
    })
}

/// Uses up bytes of the input, for `function`.
#[inline(never)]
pub(super) fn consume(function: &str, connection: *mut sp_connection, length: usize) -> c_int {
    with_connection(function, connection, |connection| {
        let there = connection.input_len();
        if length > there {
            let what = format_args!("is {length}, must be at most the {there} bytes that are there");
            return Err(Failure::argument("length", what));
        }
        connection.consume(length);
        Ok(SP_OK)
    })
}

/// Sends bytes, for `function`.
///
/// # Safety
/// So many of them may be read, unless `data` is NULL.
#[inline(never)]
pub(super) unsafe fn send(
    function: &str,
    connection: *mut sp_connection,
    data: *const c_void,
    length: usize,
) -> c_int {
    with_connection(function, connection, |connection| {
        // SAFETY: the caller promises the same.
        let bytes = unsafe { handed::bytes("data", data, length) }?;
        Ok(match connection.send(bytes) {
            Sent::Now => SP_SENT_NOW,
            Sent::Queued => SP_SENT_QUEUED,
            Sent::Refused => {
                connection.await_room();
                SP_SENT_REFUSED
            }
        })
    })
}

/// Receives what has arrived and stores how many bytes came: 0 if none, which is no error. They wait behind those of before:
/// see `sp_connection_input`. `count` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sp_connection_receive(connection: *mut sp_connection, count: *mut usize) -> c_int {
    // SAFETY: the caller promises the same.
    unsafe { receive("sp_connection_receive", connection, count) }
}

/// Stores where the bytes are that have been received and not consumed, in one piece, and how many. They stay there until
/// the next call with this connection, or the next `sp_pool_next_event` or `sp_pool_turn` of its pool, in whichever thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sp_connection_input(
    connection: *mut sp_connection,
    data: *mut *const c_void,
    length: *mut usize,
) -> c_int {
    // SAFETY: the caller promises the same.
    unsafe { input("sp_connection_input", connection, data, length) }
}

/// Says that so many bytes from the front of the input are used up. More than there are is an error, and uses up none.
#[unsafe(no_mangle)]
pub extern "C" fn sp_connection_consume(connection: *mut sp_connection, length: usize) -> c_int {
    consume("sp_connection_consume", connection, length)
}

/// The kernel has taken it all.
pub const SP_SENT_NOW: c_int = 0;
/// Some of it waits in the pool until the peer takes it.
pub const SP_SENT_QUEUED: c_int = 1;
/// Nothing of it will be sent: so much waits already that it does not fit, or the connection has ended. Nothing more is
/// received then before `SP_EVENT_WRITABLE` tells that there is room.
pub const SP_SENT_REFUSED: c_int = 2;

/// Sends bytes and returns what became of them, one of `SP_SENT_…`.
///
/// They answer a message of which some was consumed before, or is before the next `sp_pool_next_event` or `sp_pool_turn`. To
/// input that stays, what is sent is no answer: the connection stays busy, and a drain waits for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sp_connection_send(
    connection: *mut sp_connection,
    data: *const c_void,
    length: usize,
) -> c_int {
    // SAFETY: the caller promises the same.
    unsafe { send("sp_connection_send", connection, data, length) }
}

/// Ends a connection now. Output that waits is dropped. `SP_EVENT_CLOSED` follows.
#[unsafe(no_mangle)]
pub extern "C" fn sp_connection_close(connection: *mut sp_connection) -> c_int {
    with_connection("sp_connection_close", connection, |connection| {
        connection.close();
        Ok(SP_OK)
    })
}

/// Reads nothing more of a connection and ends it as soon as what waits has been sent.
#[unsafe(no_mangle)]
pub extern "C" fn sp_connection_close_when_done(connection: *mut sp_connection) -> c_int {
    with_connection("sp_connection_close_when_done", connection, |connection| {
        connection.close_when_done();
        Ok(SP_OK)
    })
}

/// Hangs something of the program's on a connection.
#[unsafe(no_mangle)]
pub extern "C" fn sp_connection_set_userdata(connection: *mut sp_connection, userdata: *mut c_void) -> c_int {
    call("sp_connection_set_userdata", || {
        let member = handles::member(connection.addr() as u64).map_err(bad)?;
        let _alone = Call::with(member).map_err(|why| why.told(bad))?;
        handles::set_userdata(connection.addr() as u64, userdata).map_err(bad)?;
        Ok(SP_OK)
    })
}

/// What hangs on a connection; NULL if nothing does, or for a bad handle. Takes no lock.
#[unsafe(no_mangle)]
pub extern "C" fn sp_connection_userdata(connection: *mut sp_connection) -> *mut c_void {
    let userdata = handles::userdata(connection.addr() as u64);
    found("sp_connection_userdata", std::ptr::null_mut(), userdata, Kind::Connection)
}

/// The descriptor of a connection, which stays the pool's; -1 for a bad handle. Takes no lock.
#[unsafe(no_mangle)]
pub extern "C" fn sp_connection_fd(connection: *mut sp_connection) -> c_int {
    found("sp_connection_fd", -1, handles::descriptor(connection.addr() as u64), Kind::Connection)
}

/// Stores who is on the other side, as text that ends with NUL, such as `192.0.2.1:40000`, or `unix`. `size` is the room
/// that is there for it, of which 64 bytes are always enough; less than it takes is an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sp_connection_peer(
    connection: *mut sp_connection,
    text: *mut c_char,
    size: usize,
) -> c_int {
    with_connection("sp_connection_peer", connection, |connection| {
        let peer = connection.peer().to_string();
        if text.is_null() {
            return Err(Failure::argument("text", "is NULL"));
        }
        if size <= peer.len() {
            let what = format_args!("is {size}, must be at least {}", peer.len() + 1);
            return Err(Failure::argument("size", what));
        }
        // SAFETY: not NULL, the caller promises room for `size` bytes, and the text with its NUL is no longer.
        unsafe {
            text.copy_from_nonoverlapping(peer.as_ptr().cast::<c_char>(), peer.len());
            text.add(peer.len()).write(0);
        }
        Ok(SP_OK)
    })
}
