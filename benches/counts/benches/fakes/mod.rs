//! Descriptors that are none, for as many connections through the C interface as no process may have open: numbers from
//! [`FIRST`] on pass for connected TCP sockets, each with a peer of its own, in the calls to libc that a pool makes.
//!
//! The functions below stand in for libc's in the program that has this module. They take its place for every
//! descriptor, so they hand the real ones on to the kernel. Bytes come and go at no cost.

use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

/// Above every number that the kernel gives out here.
const FIRST: c_int = 100_000;

/// The number of the next one that is accepted at a fake listener.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// What a fake one receives at a time.
const REQUEST_BYTES: usize = 64;

/// The descriptor of the fake socket with this number.
pub fn descriptor(number: u32) -> c_int {
    FIRST + number.cast_signed()
}

fn is_fake(fd: c_int) -> bool {
    fd >= FIRST
}

/// Whatever the kernel says of a real descriptor.
fn real(number: c_long, fd: c_int, arguments: [c_long; 5]) -> c_int {
    let [a, b, c, d, e] = arguments;
    // SAFETY: these are the arguments of a call that the pool has made to libc.
    unsafe { libc::syscall(number, fd, a, b, c, d, e) as c_int }
}

#[unsafe(no_mangle)]
extern "C" fn close(fd: c_int) -> c_int {
    if is_fake(fd) { 0 } else { real(libc::SYS_close, fd, [0; 5]) }
}

#[unsafe(no_mangle)]
extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    if is_fake(fd) { 0 } else { real(libc::SYS_shutdown, fd, [how.into(), 0, 0, 0, 0]) }
}

/// The third argument comes in the register that it has in the variadic function.
#[unsafe(no_mangle)]
extern "C" fn fcntl(fd: c_int, command: c_int, argument: c_long) -> c_int {
    if is_fake(fd) {
        return match command {
            libc::F_GETFL => libc::O_NONBLOCK | libc::O_RDWR,
            libc::F_GETFD => libc::FD_CLOEXEC,
            _ => 0,
        };
    }
    real(libc::SYS_fcntl, fd, [command.into(), argument, 0, 0, 0])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut libc::socklen_t,
) -> c_int {
    if is_fake(fd) {
        let answer = match (level, name) {
            (libc::SOL_SOCKET, libc::SO_TYPE) => libc::SOCK_STREAM,
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => libc::AF_INET,
            _ => return -1,
        };
        // SAFETY: both are an int, and whoever asks has room for one.
        unsafe { value.cast::<c_int>().write(answer) };
        return 0;
    }
    let arguments = [level.into(), name.into(), value as c_long, length as c_long, 0];
    real(libc::SYS_getsockopt, fd, arguments)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getpeername(
    fd: c_int,
    address: *mut libc::sockaddr,
    length: *mut libc::socklen_t,
) -> c_int {
    if is_fake(fd) {
        // SAFETY: whoever asks has room for the address of any peer.
        unsafe { tell_peer(fd, address, length) };
        return 0;
    }
    real(libc::SYS_getpeername, fd, [address as c_long, length as c_long, 0, 0, 0])
}

/// Writes whose a fake socket is.
unsafe fn tell_peer(fd: c_int, address: *mut libc::sockaddr, length: *mut libc::socklen_t) {
    let peer = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 4711_u16.to_be(),
        sin_addr: libc::in_addr { s_addr: (0x0a00_0000 + (fd - FIRST).cast_unsigned()).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: the caller says that there is room for it.
    unsafe {
        address.cast::<libc::sockaddr_in>().write(peer);
        length.write(size_of::<libc::sockaddr_in>() as libc::socklen_t);
    }
}

/// Somebody always waits at a fake listener.
#[unsafe(no_mangle)]
unsafe extern "C" fn accept4(
    fd: c_int,
    address: *mut libc::sockaddr,
    length: *mut libc::socklen_t,
    flags: c_int,
) -> c_int {
    if is_fake(fd) {
        let accepted = descriptor(NEXT.fetch_add(1, Ordering::Relaxed));
        // SAFETY: whoever asks has room for the address of any peer.
        unsafe { tell_peer(accepted, address, length) };
        return accepted;
    }
    real(libc::SYS_accept4, fd, [address as c_long, length as c_long, flags.into(), 0, 0])
}

/// The third argument comes in the register that it has in the variadic function.
#[unsafe(no_mangle)]
extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: c_long) -> c_int {
    if is_fake(fd) {
        return 0;
    }
    real(libc::SYS_ioctl, fd, [request.cast_signed(), argument, 0, 0, 0])
}

#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, into: *mut c_void, length: usize, flags: c_int) -> isize {
    if is_fake(fd) {
        let n = length.min(REQUEST_BYTES);
        // SAFETY: there is room for `length`.
        unsafe { into.write_bytes(b'r', n) };
        return n.cast_signed();
    }
    // SAFETY: as the pool has called it.
    unsafe { libc::recvfrom(fd, into, length, flags, std::ptr::null_mut(), std::ptr::null_mut()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, from: *const c_void, length: usize, flags: c_int) -> isize {
    if is_fake(fd) {
        return length.cast_signed();
    }
    // SAFETY: as the pool has called it.
    unsafe { libc::sendto(fd, from, length, flags, std::ptr::null(), 0) }
}

#[unsafe(no_mangle)]
extern "C" fn epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut libc::epoll_event) -> c_int {
    if is_fake(fd) {
        return 0;
    }
    real(libc::SYS_epoll_ctl, epoll, [operation.into(), fd.into(), event as c_long, 0, 0])
}
