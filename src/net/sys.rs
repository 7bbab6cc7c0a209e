//! Raw system calls that no crate of ours wraps: one of the two places in this crate that may say `unsafe`.
//! Each function makes one call and says what it relies on.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed};
use std::io;
use std::mem::{MaybeUninit, offset_of};
#[cfg(feature = "capi")]
use std::os::fd::RawFd;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Received;
use crate::peer::Peer;

/// Takes the next connection from the backlog of `listener`, non-blocking and close-on-exec from birth, and tells whose
/// it is: everybody who has no internet address counts as a unix peer.
#[inline]
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Peer)> {
    let mut address = NO_ADDRESS;
    let mut length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let (place, length) = ((&raw mut address).cast(), &raw mut length);
    // SAFETY: both pointers are valid for the length of the call, and `length` keeps it from writing past `address`:
    // of a longer address it writes the beginning.
    let accepted = unsafe { libc::accept4(listener.as_raw_fd(), place, length, flags) };
    if accepted < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: accept4 returned this descriptor, nobody else owns it.
    let stream = unsafe { OwnedFd::from_raw_fd(accepted) };
    Ok((stream, peer_of(&address)))
}

/// Reads bytes of a message from a socket, and tells whether something came with them for which we give no room, such as
/// descriptors: the kernel has closed those (`scm_recv` in include/net/scm.h).
#[inline]
pub(crate) fn receive_message(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Received> {
    let mut piece = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let mut message = MaybeUninit::<libc::msghdr>::zeroed();
    // SAFETY: it holds numbers and pointers, for all of which zero is a value.
    let message = unsafe { message.assume_init_mut() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    // SAFETY: `message` names one piece, which is `into`, and neither an address nor control data; all of it is valid for
    // the length of the call.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), message, 0) };
    let bytes = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    Ok(Received { bytes, stopped_short: message.msg_flags & libc::MSG_CTRUNC != 0 })
}

/// Reads an address of any family, as far as it fits into an IPv6 one.
#[inline]
fn peer_of(address: &libc::sockaddr_in6) -> Peer {
    let port = u16::from_be(address.sin6_port);
    match i32::from(address.sin6_family) {
        // An IPv4 address stands where an IPv6 one has its flow label.
        libc::AF_INET => Peer::v4(u32::from_be(address.sin6_flowinfo), port),
        libc::AF_INET6 => {
            Peer::v6(u128::from_be_bytes(address.sin6_addr.s6_addr), port, address.sin6_scope_id)
        }
        _ => Peer::UNIX,
    }
}

const NO_ADDRESS: libc::sockaddr_in6 = libc::sockaddr_in6 {
    sin6_family: libc::AF_UNSPEC as libc::sa_family_t,
    sin6_port: 0,
    sin6_flowinfo: 0,
    sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
    sin6_scope_id: 0,
};

// What `peer_of` relies on.
const _: () = {
    assert!(offset_of!(libc::sockaddr_in, sin_family) == offset_of!(libc::sockaddr_in6, sin6_family));
    assert!(offset_of!(libc::sockaddr_in, sin_port) == offset_of!(libc::sockaddr_in6, sin6_port));
    assert!(offset_of!(libc::sockaddr_in, sin_addr) == offset_of!(libc::sockaddr_in6, sin6_flowinfo));
};

/// How many may wait in the backlog of a listening TCP socket, as the kernel counts it.
pub(crate) fn backlog_of_tcp(listener: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let (place, length) = (info.as_mut_ptr().cast(), &raw mut length);
    // SAFETY: both pointers are valid for the length of the call, and `length` keeps it from writing past `info`.
    let result =
        unsafe { libc::getsockopt(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, place, length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it holds numbers only, and those that the call has not written are zero.
    let info = unsafe { info.assume_init() };
    // Of a listener the kernel shows the backlog in the place of this count (`tcp_get_info` in net/ipv4/tcp.c).
    Ok(info.tcpi_sacked)
}

/// Whether `fd` has something to read or to accept, without waiting. If the kernel will not say, it may have: whoever
/// took it for empty would wait for an edge that has passed.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `entry` is one valid pollfd for the length of the call, and the count says one.
    let ready = unsafe { libc::poll(&raw mut entry, 1, 0) };
    ready != 0
}

/// Whether a descriptor ends with the program, so that what the process runs next does not have it.
pub(crate) fn is_close_on_exec(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: this command takes no argument and reads no memory of ours.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(flags & libc::FD_CLOEXEC != 0)
}

/// Makes a descriptor non-blocking in one call, however it was.
#[cfg(feature = "capi")]
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut on: libc::c_int = 1;
    // SAFETY: this request reads an int through the pointer.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONBIO, &raw mut on) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How many descriptors this process may have open (the soft RLIMIT_NOFILE); `None` for no limit.
pub(crate) fn descriptor_limit() -> io::Result<Option<u64>> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit that the call may write to.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur))
}

/// Makes a write to a socket whose peer is gone an error and not the end of this process.
#[cfg(feature = "capi")]
pub(crate) fn ignore_sigpipe() -> io::Result<()> {
    // SAFETY: nothing of ours runs when the signal comes.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    if before == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes an epoll set that ends with the program.
#[cfg(feature = "capi")]
pub(crate) fn epoll_create() -> io::Result<OwnedFd> {
    // SAFETY: the call takes a flag and no memory.
    owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// Changes what an epoll set watches. The descriptor need not be good: the kernel looks.
#[cfg(feature = "capi")]
pub(crate) fn epoll_ctl(
    epoll: BorrowedFd<'_>,
    operation: i32,
    fd: RawFd,
    events: u32,
    token: u64,
) -> io::Result<()> {
    let mut event = libc::epoll_event { events, u64: token };
    // SAFETY: `event` is valid for the length of the call, which only reads it.
    match unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd, &raw mut event) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for events, at most so many milliseconds (-1: for ever), and puts as many as there is room for into `found`.
#[cfg(feature = "capi")]
pub(crate) fn epoll_wait(
    epoll: BorrowedFd<'_>,
    found: &mut Vec<libc::epoll_event>,
    timeout_ms: i32,
) -> io::Result<()> {
    found.clear();
    let room = i32::try_from(found.capacity()).unwrap_or(i32::MAX);
    // SAFETY: the vector has room for so many events.
    let n = unsafe { libc::epoll_wait(epoll.as_raw_fd(), found.as_mut_ptr(), room, timeout_ms) };
    let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has written the first `n` events and no more than there was room for.
    unsafe { found.set_len(n) };
    Ok(())
}

/// Makes a counter whose descriptor is readable while it is not 0.
#[cfg(feature = "capi")]
pub(crate) fn event_counter() -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers and no memory.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

#[cfg(feature = "capi")]
fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a system call has just returned this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The machine's monotonic clock, in nanoseconds since it started.
#[inline]
pub(crate) fn monotonic_nanos() -> u64 {
    clock_nanos(libc::CLOCK_MONOTONIC)
}

/// The same as it was at the kernel's last tick, some milliseconds ago: a quarter of the price, never ahead of it.
#[inline]
pub(crate) fn coarse_nanos() -> u64 {
    clock_nanos(libc::CLOCK_MONOTONIC_COARSE)
}

#[inline]
fn clock_nanos(clock: libc::clockid_t) -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the call may write a timespec there.
    unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) };
    // SAFETY: it has. It cannot fail: both clocks are always there.
    let time = unsafe { time.assume_init() };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// How many forks lie between the process that asked first and this one: what was made under another number belongs to
/// a parent, whose threads are not here.
pub(crate) fn forks() -> u32 {
    static WATCHED: Once = Once::new();
    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    WATCHED.call_once(|| {
        // SAFETY: the handler only adds to a number. Where it cannot be set, nobody notices a fork.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    forks_seen()
}

/// The same for those who know that [`forks`] was called before.
#[inline]
pub(crate) fn forks_seen() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

static FORKS: AtomicU32 = AtomicU32::new(0);

/// So many bytes that are zero; `None` without memory. The system gives that of a large piece page by page, when something is
/// written there.
pub(crate) fn zeroed(length: usize) -> Option<Box<[u8]>> {
    let layout = Layout::array::<u8>(length).ok().filter(|layout| layout.size() > 0)?;
    // SAFETY: the layout is not of size 0.
    let place = unsafe { alloc_zeroed(layout) };
    if place.is_null() {
        return None;
    }
    // SAFETY: the global allocator gave `length` bytes at `place`, which are zero, with the layout of such a slice.
    Some(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(place, length)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn whoever_is_accepted_has_the_address_he_says() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, peer) = accept(listener.as_fd()).unwrap();
            assert_eq!(peer, Peer::from(client.local_addr().unwrap()));
            assert_eq!(TcpStream::from(stream).peer_addr().unwrap(), client.local_addr().unwrap());
        }
    }

    #[test]
    fn a_unix_peer_has_no_address_however_long_its_path_is() {
        let folder = std::env::temp_dir();
        let paths = ["accept-server", "accept-client-with-a-name-longer-than-any-internet-address"]
            .map(|name| folder.join(format!("{name}-{}.sock", std::process::id())));
        let listener = UnixListener::bind(&paths[0]).unwrap();
        let _unnamed = UnixStream::connect(&paths[0]).unwrap();
        let named = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        named.bind(&socket2::SockAddr::unix(&paths[1]).unwrap()).unwrap();
        named.connect(&socket2::SockAddr::unix(&paths[0]).unwrap()).unwrap();
        for _ in 0..2 {
            assert_eq!(accept(listener.as_fd()).unwrap().1, Peer::UNIX);
        }
        paths.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }

    #[test]
    fn an_address_as_the_kernel_writes_it_is_the_peer_it_stands_for() {
        for text in
            ["192.0.2.7:4711", "[2001:db8::1]:443", "[fe80::1%3]:7", "[::ffff:192.0.2.7]:4711", "[::]:0"]
        {
            let addr: SocketAddr = text.parse().unwrap();
            let mut written = NO_ADDRESS;
            written.sin6_port = addr.port().to_be();
            match addr {
                SocketAddr::V4(v4) => {
                    written.sin6_family = libc::AF_INET as libc::sa_family_t;
                    written.sin6_flowinfo = u32::from_ne_bytes(v4.ip().octets());
                }
                SocketAddr::V6(v6) => {
                    written.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                    written.sin6_addr.s6_addr = v6.ip().octets();
                    written.sin6_scope_id = v6.scope_id();
                }
            }
            assert_eq!(peer_of(&written), Peer::from(addr), "{text}");
        }
    }

    #[test]
    fn what_is_accepted_blocks_nobody_and_is_not_inherited() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = accept(listener.as_fd()).unwrap().0;
        let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", stream.as_raw_fd())).unwrap();
        let flags =
            flags.lines().find_map(|line| line.strip_prefix("flags:")).expect("the kernel shows them");
        let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
        let wanted = libc::O_NONBLOCK | libc::O_CLOEXEC;
        assert_eq!(flags & wanted, wanted, "{flags:o}");
        listener.set_nonblocking(true).unwrap();
        let error = accept(listener.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "the backlog is empty");
    }

    #[test]
    fn a_listener_is_readable_when_somebody_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!is_readable(listener.as_fd()));
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(is_readable(listener.as_fd()));
    }

    #[test]
    fn the_coarse_clock_is_late_and_never_ahead() {
        for _ in 0..10_000 {
            let (coarse, precise) = (coarse_nanos(), monotonic_nanos());
            assert!(coarse <= precise && precise - coarse < 1_000_000_000, "{coarse} and {precise}");
        }
    }

    #[test]
    fn memory_is_zero_and_what_cannot_be_had_is_told() {
        assert_eq!(zeroed(1000).as_deref(), Some(&[0; 1000][..]));
        // A compiler that sees that nobody looks at the memory may do without, and call that a success.
        let cannot_be_had = |length| std::hint::black_box(zeroed(length)).is_none();
        assert!(cannot_be_had(0) && cannot_be_had(1 << 62) && cannot_be_had(usize::MAX));
    }

    #[test]
    fn the_clock_goes_on_and_never_back() {
        let first = monotonic_nanos();
        let mut last = first;
        for _ in 0..10_000 {
            let now = monotonic_nanos();
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
        assert!(first > 0 && last > first);
    }

    #[test]
    fn the_descriptor_limit_is_what_the_shell_says() {
        let limit = descriptor_limit().unwrap();
        assert!(limit.is_none_or(|limit| limit >= 3), "{limit:?}");
    }
}
