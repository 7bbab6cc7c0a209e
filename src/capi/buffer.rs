//! Buffers of a C program: those that it makes itself, and the input and output of its connections.
//!
//! A handle says which of them it names. Every function works on any: see `with_buffer`.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::slice;
use std::sync::{Mutex, MutexGuard};

use libc::{iovec, ssize_t};

use super::arena::{self, Arena_T};
use super::driven::{self, Conn};
use super::handles::{self, Bad, Kind, Object};
use super::status::{Failure, answer, not_yet};
use super::storage::Storage;
use super::{handed, sides};
use crate::server::Side;

/// A buffer. A pointer to it is a name, not an address.
#[derive(Debug)]
pub struct sp_buffer;

/// The name of a buffer.
pub type SocketBuf_T = *mut sp_buffer;

/// What the functions need of a buffer, of whichever kind.
pub(super) trait Bytes {
    /// How many bytes can wait at most.
    fn capacity(&self) -> usize;

    /// How many bytes wait.
    fn len(&self) -> usize;

    /// All bytes that wait, in one piece.
    fn waiting(&mut self) -> &[u8];

    /// All free space, in one piece, to be filled and then committed.
    fn space(&mut self) -> Result<&mut [u8], Failure>;

    /// Makes so many bytes of the space wait; not more than there is room for.
    fn commit(&mut self, count: usize) -> Result<(), Failure>;

    /// Takes as much as fits, and says how much that was.
    fn push(&mut self, bytes: &[u8]) -> Result<usize, Failure>;

    /// Forgets so many bytes from the front; not more than wait.
    fn consume(&mut self, count: usize);

    /// Forgets what waits, and overwrites whatever has been there.
    fn wipe(&mut self);

    /// Lets this many bytes wait, which is more than before. If it fails, nothing has changed.
    fn grow(&mut self, capacity: usize) -> Result<(), Failure>;
}

/// A buffer that belongs to no connection.
#[derive(Debug)]
pub(super) struct Buffer(Mutex<Storage>);

impl Object for Buffer {
    const KIND: Kind = Kind::Buffer;
}

impl Buffer {
    fn lock(&self) -> Result<MutexGuard<'_, Storage>, Failure> {
        self.0.lock().map_err(|_| Failure::state("the buffer has failed before and does nothing any more"))
    }
}

#[cold]
fn bad(reason: Bad) -> Failure {
    Failure::handle("buffer", Kind::Buffer, reason)
}

/// Runs a call on a buffer, alone with it. This is where a handle is told to be one or another kind of buffer.
fn with_buffer<T>(
    function: &str,
    buffer: SocketBuf_T,
    otherwise: T,
    run: impl FnOnce(&mut dyn Bytes) -> Result<T, Failure>,
) -> T {
    answer(function, otherwise, || {
        let handle = buffer.addr() as u64;
        match handles::kind(handle) {
            Some(kind @ (Kind::Input | Kind::Output)) => {
                let connection = handles::view(handle, Kind::Connection);
                let member = handles::member(connection).map_err(bad)?;
                sides::with_side(member, connection, kind, run)
            }
            _ => run(&mut *handles::pin::<Buffer>(handle).map_err(bad)?.lock()?),
        }
    })
}

/// What a buffer of a connection answers at once; `None` if that is gone, or something is wrong.
#[inline(always)]
fn at_once<T>(buffer: SocketBuf_T, ask: impl FnOnce(&mut Conn<'_>, Side) -> T) -> Option<T> {
    let handle = buffer.addr() as u64;
    let side = match handles::kind(handle)? {
        Kind::Input => Side::Input,
        Kind::Output => Side::Output,
        _ => return None,
    };
    driven::ask(handles::view(handle, Kind::Connection), |conn| ask(conn, side))
}

fn waiting(function: &str, buffer: SocketBuf_T) -> usize {
    at_once(buffer, |conn, side| conn.waiting(side))
        .unwrap_or_else(|| with_buffer(function, buffer, 0, |buffer| Ok(buffer.len())))
}

fn room(function: &str, buffer: SocketBuf_T) -> usize {
    at_once(buffer, |conn, side| conn.room(side))
        .unwrap_or_else(|| with_buffer(function, buffer, 0, |buffer| Ok(free(buffer))))
}

/// Frees a buffer that belongs to no connection by its handle.
pub(super) fn free_named(handle: u64) -> Result<(), Failure> {
    handles::free::<Buffer>(handle).map_err(bad)
}

/// Makes a buffer in which up to `capacity` bytes wait (64 to 16,777,216). It lives until it is released or `arena` is
/// disposed of; NULL is the process. NULL if it fails.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_new(arena: Arena_T, capacity: usize) -> SocketBuf_T {
    answer("SocketBuf_new", ptr::null_mut(), || {
        if !(LEAST..=MOST).contains(&capacity) {
            let what = format_args!("is {capacity}, must be from {LEAST} to {MOST}");
            return Err(Failure::argument("capacity", what));
        }
        let storage = Storage::new(capacity).ok_or_else(|| Failure::memory("a buffer"))?;
        let buffer = Box::new(Buffer(Mutex::new(storage)));
        let name = handles::name(buffer).ok_or_else(|| Failure::memory("a handle"))?;
        arena::adopt(arena, name).inspect_err(|_| {
            // Nobody else knows of it.
            let _ = free_named(name);
        })?;
        Ok(ptr::without_provenance_mut(name as usize))
    })
}

/// Frees a buffer and sets the handle to NULL. The buffer of a connection stays the connection's, and only the handle is
/// set. NULL, or a pointer to NULL, is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketBuf_release(buffer: *mut SocketBuf_T) {
    answer("SocketBuf_release", (), || {
        if buffer.is_null() {
            return Ok(());
        }
        // SAFETY: not NULL, and the caller promises that it may be read and written.
        let name = unsafe { buffer.replace(ptr::null_mut()) };
        match handles::kind(name.addr() as u64) {
            Some(Kind::Input | Kind::Output) => {
                let connection = handles::view(name.addr() as u64, Kind::Connection);
                handles::facts(connection, Kind::Connection).map(|_| ()).map_err(bad)
            }
            _ if name.is_null() => Ok(()),
            _ => free_named(name.addr() as u64),
        }
    });
}

/// Copies bytes behind those that wait, and answers how many had room; 0 if it fails. They are not to lie in the buffer
/// itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketBuf_write(buffer: SocketBuf_T, data: *const c_void, length: usize) -> usize {
    with_buffer("SocketBuf_write", buffer, 0, |buffer| {
        // SAFETY: as the caller promises.
        buffer.push(unsafe { handed::bytes("data", data, length) }?)
    })
}

/// Takes up to `length` bytes out, and answers how many; 0 if none wait, or if it fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketBuf_read(buffer: SocketBuf_T, data: *mut c_void, length: usize) -> usize {
    with_buffer("SocketBuf_read", buffer, 0, |buffer| {
        // SAFETY: as the caller promises.
        let count = copy(buffer.waiting(), unsafe { handed::room("data", data, length) }?);
        buffer.consume(count);
        Ok(count)
    })
}

/// As `SocketBuf_read`, but what was read goes on waiting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketBuf_peek(buffer: SocketBuf_T, data: *mut c_void, length: usize) -> usize {
    with_buffer("SocketBuf_peek", buffer, 0, |buffer| {
        // SAFETY: as the caller promises.
        Ok(copy(buffer.waiting(), unsafe { handed::room("data", data, length) }?))
    })
}

/// Forgets so many bytes from the front. 0, or -1: more than wait forgets none.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_consume(buffer: SocketBuf_T, length: usize) -> c_int {
    with_buffer("SocketBuf_consume", buffer, -1, |buffer| {
        within(length, buffer.len(), "wait")?;
        buffer.consume(length);
        Ok(0)
    })
}

/// Makes bytes wait that were written to `SocketBuf_writeptr`. 0, or -1: more than there is room for adds none.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_produce(buffer: SocketBuf_T, length: usize) -> c_int {
    with_buffer("SocketBuf_produce", buffer, -1, |buffer| produce(buffer, length))
}

/// As `SocketBuf_produce`.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_written(buffer: SocketBuf_T, length: usize) -> c_int {
    with_buffer("SocketBuf_written", buffer, -1, |buffer| produce(buffer, length))
}

/// How many bytes wait; 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_readable(buffer: SocketBuf_T) -> usize {
    waiting("SocketBuf_readable", buffer)
}

/// As `SocketBuf_readable`.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_available(buffer: SocketBuf_T) -> usize {
    waiting("SocketBuf_available", buffer)
}

/// How many more bytes have room; 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_writeable(buffer: SocketBuf_T) -> usize {
    room("SocketBuf_writeable", buffer)
}

/// As `SocketBuf_writeable`.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_space(buffer: SocketBuf_T) -> usize {
    room("SocketBuf_space", buffer)
}

/// Whether nothing waits, 1 or 0; 1 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_empty(buffer: SocketBuf_T) -> c_int {
    with_buffer("SocketBuf_empty", buffer, 1, |buffer| Ok((buffer.len() == 0).into()))
}

/// Whether nothing more has room, 1 or 0; 0 for a bad handle.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_full(buffer: SocketBuf_T) -> c_int {
    with_buffer("SocketBuf_full", buffer, 0, |buffer| Ok((free(buffer) == 0).into()))
}

/// Forgets what waits. 0, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_clear(buffer: SocketBuf_T) -> c_int {
    with_buffer("SocketBuf_clear", buffer, -1, |buffer| {
        buffer.consume(buffer.len());
        Ok(0)
    })
}

/// Forgets what waits, and overwrites it with zeros, and what `SocketBuf_writeptr` shows. Memory of bytes that were consumed
/// before is the pool's again if it was a connection's buffer: call this before `SocketBuf_consume`. 0, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_secureclear(buffer: SocketBuf_T) -> c_int {
    with_buffer("SocketBuf_secureclear", buffer, -1, |buffer| {
        buffer.wipe();
        Ok(0)
    })
}

/// Where the bytes are that wait: all of them in one piece, `SocketBuf_readable` of them. NULL if none do, or if it fails.
/// Valid until the next call with the buffer, or the next wait.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_readptr(buffer: SocketBuf_T) -> *const c_void {
    let start = |waiting: &[u8]| if waiting.is_empty() { ptr::null() } else { waiting.as_ptr().cast() };
    at_once(buffer, |conn, side| start(conn.bytes(side))).unwrap_or_else(|| {
        with_buffer("SocketBuf_readptr", buffer, ptr::null(), |buffer| Ok(start(buffer.waiting())))
    })
}

/// Where bytes may be written that are then made to wait by `SocketBuf_produce`: all the free space in one piece,
/// `SocketBuf_writeable` bytes. NULL if there is none, or if it fails. Valid until the next call with the buffer or the next
/// wait; of an input also only until the peer's last byte was received.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_writeptr(buffer: SocketBuf_T) -> *mut c_void {
    with_buffer("SocketBuf_writeptr", buffer, ptr::null_mut(), |buffer| {
        let space = buffer.space()?;
        Ok(if space.is_empty() { ptr::null_mut() } else { space.as_mut_ptr().cast() })
    })
}

/// Makes room for `length` more bytes, in a larger buffer if need be: at least twice as large, and 16 MiB at most. 0, or -1;
/// then nothing has changed.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_reserve(buffer: SocketBuf_T, length: usize) -> c_int {
    with_buffer("SocketBuf_reserve", buffer, -1, |buffer| reserve(buffer, length).map(|()| 0))
}

/// As `SocketBuf_reserve`, but answers 1 if there is room, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_ensure(buffer: SocketBuf_T, length: usize) -> c_int {
    with_buffer("SocketBuf_ensure", buffer, 0, |buffer| reserve(buffer, length).map(|()| 1))
}

/// Brings what waits into one piece, which it always is: there is nothing to do. 0, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn SocketBuf_compact(buffer: SocketBuf_T) -> c_int {
    with_buffer("SocketBuf_compact", buffer, -1, |_| Ok(0))
}

/// How many bytes wait before the first place where these do; 0 for none. -1 if they do not, or if it fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketBuf_find(
    buffer: SocketBuf_T,
    needle: *const c_void,
    length: usize,
) -> ssize_t {
    with_buffer("SocketBuf_find", buffer, -1, |buffer| {
        // SAFETY: as the caller promises.
        let needle = unsafe { handed::bytes("needle", needle, length) }?;
        Ok(find(buffer.waiting(), needle).map_or(-1, usize::cast_signed))
    })
}

/// Takes the next line out as text that ends with NUL, without the newline and a carriage return before it, and answers its
/// length. -1 with the errno EAGAIN if no whole line waits; -1 with ENOBUFS if it does not fit into `size` bytes, and it goes
/// on waiting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketBuf_readline(buffer: SocketBuf_T, line: *mut c_char, size: usize) -> ssize_t {
    with_buffer("SocketBuf_readline", buffer, -1, |buffer| {
        // SAFETY: as the caller promises.
        let into = unsafe { handed::room("line", line.cast(), size) }?;
        let Some(end) = find(buffer.waiting(), b"\n") else {
            not_yet(c"SocketBuf_readline: no whole line waits");
            return Ok(-1);
        };
        let text = &buffer.waiting()[..end];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if size <= text.len() {
            let what = format_args!("is {size}, must be at least {}", text.len() + 1);
            return Err(Failure::argument("size", what).with_errno(libc::ENOBUFS));
        }
        let count = copy(text, into);
        into[count].write(0);
        buffer.consume(end + 1);
        Ok(count.cast_signed())
    })
}

/// Takes bytes out into `count` pieces, one after the other, and answers how many; -1 if it fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketBuf_readv(buffer: SocketBuf_T, pieces: *const iovec, count: c_int) -> ssize_t {
    with_buffer("SocketBuf_readv", buffer, -1, |buffer| {
        // SAFETY: as the caller promises.
        let pieces = unsafe { pieces_of(pieces, count) }?;
        let mut total = 0;
        for piece in pieces {
            // SAFETY: as the caller promises; it is not NULL unless it is empty.
            let into = unsafe { handed::room("piece", piece.iov_base, piece.iov_len) }?;
            let moved = copy(buffer.waiting(), into);
            buffer.consume(moved);
            total += moved;
        }
        Ok(total.cast_signed())
    })
}

/// Copies the bytes of `count` pieces behind those that wait, and answers how many had room; -1 if it fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketBuf_writev(
    buffer: SocketBuf_T,
    pieces: *const iovec,
    count: c_int,
) -> ssize_t {
    with_buffer("SocketBuf_writev", buffer, -1, |buffer| {
        // SAFETY: as the caller promises.
        let pieces = unsafe { pieces_of(pieces, count) }?;
        let mut total = 0;
        for piece in pieces {
            // SAFETY: as the caller promises; it is not NULL unless it is empty.
            total += buffer.push(unsafe { handed::bytes("piece", piece.iov_base, piece.iov_len) }?)?;
        }
        Ok(total.cast_signed())
    })
}

/// The pieces of an argument, all of which are good, so that no call stops half way.
///
/// # Safety
/// `count` of them may be read at `pieces`, unless that is NULL.
unsafe fn pieces_of<'a>(pieces: *const iovec, count: c_int) -> Result<&'a [iovec], Failure> {
    let count = usize::try_from(count)
        .map_err(|_| Failure::argument("count", format_args!("is {count}, must be at least 0")))?;
    if pieces.is_null() && count > 0 {
        return Err(Failure::argument("pieces", "is NULL"));
    }
    let pieces = match count {
        0 => &[][..],
        // SAFETY: not NULL, and the caller promises the rest.
        _ => unsafe { slice::from_raw_parts(pieces, count) },
    };
    for piece in pieces {
        // SAFETY: it only looks whether such a piece can be.
        unsafe { handed::bytes("piece", piece.iov_base, piece.iov_len) }?;
    }
    Ok(pieces)
}

fn free(buffer: &dyn Bytes) -> usize {
    buffer.capacity() - buffer.len()
}

/// Copies what fits, and says how much that was.
fn copy(bytes: &[u8], into: &mut [MaybeUninit<u8>]) -> usize {
    let count = bytes.len().min(into.len());
    for (place, byte) in into.iter_mut().zip(bytes) {
        place.write(*byte);
    }
    count
}

fn within(length: usize, most: usize, what: &str) -> Result<(), Failure> {
    if length > most {
        let what = format_args!("is {length}, must be at most the {most} bytes that {what}");
        return Err(Failure::argument("length", what));
    }
    Ok(())
}

fn produce(buffer: &mut dyn Bytes, length: usize) -> Result<c_int, Failure> {
    within(length, free(buffer), "have room")?;
    buffer.commit(length).map(|()| 0)
}

fn reserve(buffer: &mut dyn Bytes, length: usize) -> Result<(), Failure> {
    if free(buffer) >= length {
        return Ok(());
    }
    let most = MOST.saturating_sub(buffer.len());
    if length > most {
        let what = format_args!("is {length}, must be at most {most}: a buffer has up to {MOST} bytes");
        return Err(Failure::argument("length", what));
    }
    buffer.grow((buffer.len() + length).max(buffer.capacity() * 2).min(MOST))
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    match needle {
        [] => Some(0),
        [byte] => bytes.iter().position(|other| other == byte),
        _ => bytes.windows(needle.len()).position(|window| window == needle),
    }
}

/// The smallest buffer.
const LEAST: usize = 64;
/// The largest.
const MOST: usize = 16 * 1024 * 1024;
