//! Sockets of a C program: made, bound, connected, accepted, read, written and freed. What is asked of one and set on one is
//! in `socket_facts`; what a socket does that a pool has taken is in `driven`.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;

use libc::ssize_t;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::handles::{self, Bad, HeldSocket, Kind};
use super::shortage::{self, Prospect};
use super::status::{Failure, answer, attempt, not_yet, store};
use super::telling::{self, Ends};
use super::{address, driven, handed, poll, waiting};
use crate::net::sys;

/// A socket. A pointer to it is a name, not an address.
#[derive(Debug)]
pub struct sp_socket;

/// The name of a socket.
pub type Socket_T = *mut sp_socket;

fn bad(reason: Bad) -> Failure {
    Failure::handle("socket", Kind::Socket, reason)
}

fn held(socket: Socket_T) -> Result<HeldSocket, Failure> {
    handles::hold_socket(socket.addr() as u64, Kind::Socket).map_err(bad)
}

/// Runs a call on a socket, which is not closed meanwhile.
pub(super) fn with_socket<T>(
    function: &str,
    socket: Socket_T,
    otherwise: T,
    run: impl FnOnce(SockRef<'_>) -> Result<T, Failure>,
) -> T {
    answer(function, otherwise, || run(SockRef::from(&held(socket)?)))
}

/// The connection that this is the socket of, if a pool has taken it.
pub(super) fn pooled(socket: Socket_T) -> Option<u64> {
    handles::connection_of(socket.addr() as u64)
}

fn name(fd: OwnedFd) -> Result<Socket_T, Failure> {
    let name = handles::name_socket(fd).map_err(|_| Failure::memory("a handle"))?;
    Ok(ptr::without_provenance_mut(name as usize))
}

/// What a system call has refused, as the failure of the call that made it.
pub(super) fn system(call: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::system(call, &error)
}

/// Makes a socket as socket(2) does, blocking and close-on-exec. NULL if that fails.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_new(domain: c_int, r#type: c_int, protocol: c_int) -> Socket_T {
    answer("Socket_new", ptr::null_mut(), || {
        let protocol = Some(Protocol::from(protocol));
        let made = Socket::new(Domain::from(domain), Type::from(r#type), protocol);
        name(made.map_err(system("socket"))?.into())
    })
}

/// Takes the descriptor of a socket over and makes it non-blocking: from now on it is closed with `Socket_free` and not by
/// the program. NULL if it is none; then it stays the program's.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_new_from_fd(fd: c_int) -> Socket_T {
    answer("Socket_new_from_fd", ptr::null_mut(), || {
        if fd < 0 {
            let what = format_args!("is {fd}, must be at least 0");
            return Err(Failure::argument("fd", what).with_errno(libc::EBADF));
        }
        // SAFETY: not -1, and the program says that it is open.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let socket = SockRef::from(&borrowed);
        socket.r#type().map_err(system("the type of fd"))?;
        socket.set_nonblocking(true).map_err(system("making fd non-blocking"))?;
        // SAFETY: it is a socket, and the program gives it away.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        let named = handles::name_socket(owned).map_err(|owned| {
            let _stays_the_programs = owned.into_raw_fd();
            Failure::memory("a handle")
        })?;
        Ok(ptr::without_provenance_mut(named as usize))
    })
}

/// Makes two sockets that are connected with each other, blocking and close-on-exec, of a type such as SOCK_STREAM. 0, or -1
/// with NULL stored in both.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn SocketPair_new(r#type: c_int, first: *mut Socket_T, second: *mut Socket_T) -> c_int {
    answer("SocketPair_new", -1, || {
        if first == second {
            return Err(Failure::argument("second", "is NULL, or where first is"));
        }
        // SAFETY: as the caller promises of both.
        unsafe {
            store("first", first, ptr::null_mut())?;
            store("second", second, ptr::null_mut())?;
        }
        let made = Socket::pair(Domain::UNIX, Type::from(r#type), None).map_err(system("socketpair"))?;
        let one = name(made.0.into())?;
        let other = name(made.1.into()).inspect_err(|_| {
            // Nobody else knows of it.
            let _ = handles::free_socket(one.addr() as u64, Kind::Socket);
        })?;
        // SAFETY: as above.
        unsafe {
            store("first", first, one)?;
            store("second", second, other)?;
        }
        Ok(0)
    })
}

/// Closes a socket and sets the handle to NULL; takes it out of its pool first, if it is in one. A call with it in another
/// thread is finished before the descriptor is closed. NULL, or a pointer to NULL, is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn Socket_free(socket: *mut Socket_T) {
    if socket.is_null() {
        return;
    }
    // SAFETY: not NULL, and the caller promises that it may be read and written.
    let name = unsafe { socket.replace(ptr::null_mut()) };
    let freed = attempt(|| free(name));
    let ends = *freed.as_ref().unwrap_or(&Ends::None);
    telling::tell_and_answer("Socket_free", (), freed.map(|_| ()), ends);
}

/// Frees a socket. What ends by that may be to be told.
fn free(socket: Socket_T) -> Result<Ends, Failure> {
    if socket.is_null() {
        return Ok(Ends::None);
    }
    if pooled(socket).is_none() {
        // Whoever gets its number next is not to be taken for it.
        if let Ok(held) = held(socket) {
            poll::forget_everywhere(held.fd);
        }
        match handles::free_socket(socket.addr() as u64, Kind::Socket) {
            // A pool has taken it in the meantime.
            Err(_) if pooled(socket).is_some() => {}
            freed => return freed.map(|()| Ends::None).map_err(bad),
        }
    }
    let connection = pooled(socket).ok_or_else(|| bad(Bad::Stale))?;
    driven::remove(None, connection)
}

/// Gives a socket its own address. `host` is an address of this machine or a name of one; NULL, "" and "0.0.0.0" are all of
/// them. With port 0 the system chooses one: see `Socket_getlocalport`. 0, or -1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Socket_bind(socket: Socket_T, host: *const c_char, port: c_int) -> c_int {
    with_socket("Socket_bind", socket, -1, |socket| {
        let (port, domain) = (address::port(port)?, socket.domain().map_err(system("the family"))?);
        // SAFETY: as the caller promises.
        let addresses = match unsafe { handed::text("host", host) }?.filter(|host| !host.is_empty()) {
            Some(host) => address::resolve(host, port, domain)?,
            None => address::wildcard(port, domain)?,
        };
        let mut last = Ok(0);
        for address in addresses {
            match socket.bind(&address.into()) {
                Ok(()) => return Ok(0),
                Err(error) => last = Err(Failure::system(format_args!("bind to {address}"), &error)),
            }
        }
        last
    })
}

/// Waits for connections. `backlog` (from 1 on; the system has a bound of its own) is how many may wait for
/// `Socket_accept`. 0, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_listen(socket: Socket_T, backlog: c_int) -> c_int {
    with_socket("Socket_listen", socket, -1, |socket| {
        if backlog < 1 {
            return Err(Failure::argument("backlog", format_args!("is {backlog}, must be at least 1")));
        }
        socket.listen(backlog).map_err(system("listen"))?;
        Ok(0)
    })
}

/// Takes the next connection: a new socket, non-blocking and close-on-exec. NULL with the errno EAGAIN when nobody waits,
/// unless the listening socket is blocking, which waits until somebody comes; NULL with another errno when it fails.
///
/// Where a `SocketPoll` watches the listening socket, and the one pool that gets its connections has refused one for being
/// full, nobody is taken while there is no place in it: whoever comes waits, and is told of when there is one.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn Socket_accept(socket: Socket_T) -> Socket_T {
    let listener = socket.addr() as u64;
    // A handle that is no socket's is told by the call itself.
    let (prospect, pools) =
        attempt(|| held(socket).map(|held| prospect(listener, held))).unwrap_or((Prospect::Good, [None; 2]));
    // Whoever goes for the newcomer has gone once that is told, and nothing is held while it is.
    pools.into_iter().flatten().for_each(telling::tell);
    answer("Socket_accept", ptr::null_mut(), || {
        let held = held(socket)?;
        let none = match prospect {
            Prospect::Full => Some(c"Socket_accept: the pool is full, whoever comes waits"),
            // A blocking one waits until somebody comes.
            Prospect::Nobody if SockRef::from(&held).nonblocking().unwrap_or(true) => Some(NOBODY),
            Prospect::Bad => {
                return Err(Failure::system("accept", &io::Error::from_raw_os_error(libc::EMFILE)));
            }
            Prospect::Good | Prospect::Nobody => None,
        };
        if let Some(why) = none {
            not_yet(why);
            return Ok(ptr::null_mut());
        }
        match sys::accept(held.as_fd()) {
            Ok((stream, peer)) => {
                shortage::accepted(listener);
                let accepted = handles::name_accepted(stream, listener, peer)
                    .map_err(|_| Failure::memory("a handle"))?;
                Ok(ptr::without_provenance_mut(accepted as usize))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                shortage::found_nobody(listener);
                not_yet(NOBODY);
                Ok(ptr::null_mut())
            }
            Err(error) => {
                shortage::accept_failed(listener, held.fd, &error);
                Err(Failure::system("accept", &error))
            }
        }
    })
}

/// What the next accept at a listener would do. What there is to tell of the pools that come back must be told.
fn prospect(listener: u64, held: HeldSocket) -> (Prospect, [Option<u64>; 2]) {
    let (prospect, short) = shortage::before_accept(listener, held.fd);
    let (is_full, full) = waiting::hold_back(listener, held.fd);
    (if is_full { Prospect::Full } else { prospect }, [short, full])
}

const NOBODY: &CStr = c"Socket_accept: nobody waits";

/// Connects a socket with an address or a name, of which each address is tried; asking for a name takes time. 0, or -1: with
/// the errno EINPROGRESS a non-blocking socket has begun to, and is writable when that is decided.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Socket_connect(socket: Socket_T, host: *const c_char, port: c_int) -> c_int {
    with_socket("Socket_connect", socket, -1, |socket| {
        let (port, domain) = (address::port(port)?, socket.domain().map_err(system("the family"))?);
        // SAFETY: as the caller promises.
        let host = unsafe { handed::text("host", host) }?;
        let host = host.ok_or_else(|| Failure::argument("host", "is NULL"))?;
        let mut last = Ok(0);
        for address in address::resolve(host, port, domain)? {
            let Err(error) = socket.connect(&address.into()) else { return Ok(0) };
            let decided = !matches!(
                error.raw_os_error(),
                Some(libc::EINPROGRESS | libc::EALREADY | libc::EINTR | libc::EISCONN)
            );
            last = Err(Failure::system(format_args!("connect to {address}"), &error));
            if !decided {
                break;
            }
        }
        last
    })
}

/// Receives up to `length` bytes and answers how many; `flags` as recv(2) has them. 0 only when the other side has sent its
/// last byte (or an empty datagram). -1 when it fails, with the errno EAGAIN when nothing has arrived, and ENOBUFS when
/// `length` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Socket_recv(
    socket: Socket_T,
    buffer: *mut c_void,
    length: usize,
    flags: c_int,
) -> ssize_t {
    answer("Socket_recv", -1, || {
        if length == 0 {
            let none = held(socket).map(|_| Failure::argument("length", "is 0, must be at least 1"))?;
            return Err(none.with_errno(libc::ENOBUFS));
        }
        // SAFETY: as the caller promises.
        let into = unsafe { handed::room("buffer", buffer, length) }?;
        let received = match pooled(socket) {
            Some(connection) => driven::receive(connection, into, flags)?,
            None => receive(&held(socket)?, into, flags)?,
        };
        if received.is_none() {
            not_yet(c"Socket_recv: nothing has arrived");
        }
        Ok(received.map_or(-1, usize::cast_signed))
    })
}

/// Receives from a socket. `None`: nothing has arrived.
pub(super) fn receive(
    socket: &HeldSocket,
    into: &mut [MaybeUninit<u8>],
    flags: c_int,
) -> Result<Option<usize>, Failure> {
    moved("recv", SockRef::from(socket).recv_with_flags(into, flags))
}

/// Sends what goes through now and answers how many bytes that was, 0 for none; `flags` as send(2) has them. -1 only when it
/// fails. Never raises SIGPIPE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn Socket_send(
    socket: Socket_T,
    data: *const c_void,
    length: usize,
    flags: c_int,
) -> ssize_t {
    answer("Socket_send", -1, || {
        // SAFETY: as the caller promises.
        let bytes = unsafe { handed::bytes("data", data, length) }?;
        let sent = match pooled(socket) {
            Some(connection) => driven::send(connection, bytes, flags)?,
            None => send(&held(socket)?, bytes, flags)?,
        };
        Ok(sent.unwrap_or(0).cast_signed())
    })
}

/// Sends to a socket. `None`: nothing could be sent now.
pub(super) fn send(socket: &HeldSocket, bytes: &[u8], flags: c_int) -> Result<Option<usize>, Failure> {
    moved("send", SockRef::from(socket).send_with_flags(bytes, flags | libc::MSG_NOSIGNAL))
}

pub(super) fn moved(call: &str, moved: io::Result<usize>) -> Result<Option<usize>, Failure> {
    match moved {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(Failure::system(call, &error)),
    }
}

/// Ends one direction or both, as shutdown(2) does: `how` is SHUT_RD, SHUT_WR or SHUT_RDWR. 0, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn Socket_shutdown(socket: Socket_T, how: c_int) -> c_int {
    with_socket("Socket_shutdown", socket, -1, |held| {
        let how = match how {
            libc::SHUT_RD => Shutdown::Read,
            libc::SHUT_WR => Shutdown::Write,
            libc::SHUT_RDWR => Shutdown::Both,
            _ => {
                let what = format_args!("is {how}, must be SHUT_RD, SHUT_WR or SHUT_RDWR");
                return Err(Failure::argument("how", what));
            }
        };
        match pooled(socket) {
            Some(connection) => driven::shut(connection, how)?,
            None => held.shutdown(how).map_err(system("shutdown"))?,
        }
        Ok(0)
    })
}
