//! The system calls that std does not offer, behind safe functions.
//!
//! The only file with `unsafe`. It keeps no state and decides nothing: every function is one call and its error.
//! Descriptors come as plain numbers where the bare server needs them so: it must not pay for any bookkeeping.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// An epoll set.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes a flag and no pointer.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: epoll_create1 just returned this descriptor, nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Registers `fd` for `flags`; its events carry `tag`.
    pub fn add(&self, fd: RawFd, flags: u32, tag: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: flags, u64: tag };
        // SAFETY: `event` lives for the call, the kernel copies it.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
        Ok(())
    }

    /// Waits for events; `timeout_ms` -1 waits for ever, 0 not at all. A signal is an empty answer.
    pub fn wait<'a>(&self, events: &'a mut Events, timeout_ms: i32) -> io::Result<&'a [libc::epoll_event]> {
        let room = events.0.len() as i32;
        // SAFETY: the pointer and `room` describe one live, writable slice.
        let n = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.0.as_mut_ptr(), room, timeout_ms) };
        match check(n) {
            Ok(n) => Ok(&events.0[..n as usize]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
            Err(error) => Err(error),
        }
    }
}

/// Room for the events of one wait.
pub struct Events(Vec<libc::epoll_event>);

impl Events {
    pub fn with_capacity(n: usize) -> Self {
        Self(vec![libc::epoll_event { events: 0, u64: 0 }; n])
    }
}

/// A listener on a free loopback port: non-blocking, no Nagle on what it accepts.
pub fn listen(backlog: u32) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    set_option(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, &1_i32)?;
    // std's own backlog is smaller. Calling listen again on a listening socket only changes the length of its queue.
    // SAFETY: takes no pointer.
    check(unsafe { libc::listen(listener.as_raw_fd(), backlog as i32) })?;
    Ok(listener)
}

/// Takes one connection from the backlog, non-blocking, without asking for its address. The caller owns the descriptor.
pub fn accept(listener: RawFd) -> io::Result<RawFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null address pointers mean that no address is written.
    check(unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) })
}

/// Connects from a loopback address of our choice, so that the server sees many peers and no address runs out of ports.
pub fn connect(source: Ipv4Addr, target: SocketAddrV4) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    let fd = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: socket just returned this descriptor, nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // The port is chosen at connect, where all four parts of the pair are known: 28,000 ports for *each* source address.
    set_option(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1_i32)?;
    let source = address(SocketAddrV4::new(source, 0));
    // SAFETY: `source` lives for the call and the length is its own.
    check(unsafe { libc::bind(fd, (&raw const source).cast(), ADDRESS_LEN) })?;
    let target = address(target);
    // SAFETY: as above, for `target`.
    check(unsafe { libc::connect(fd, (&raw const target).cast(), ADDRESS_LEN) })?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, &1_i32)?;
    Ok(socket)
}

/// Makes close send RST, which leaves no TIME_WAIT on either side.
pub fn reset_on_close(fd: RawFd) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 })
}

/// Lets a blocking receive fail after `limit` instead of hanging the bench.
pub fn receive_timeout(fd: RawFd, limit: Duration) -> io::Result<()> {
    let limit = libc::timeval { tv_sec: limit.as_secs() as libc::time_t, tv_usec: 0 };
    set_option(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &limit)
}

pub fn recv(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length describe one live, writable slice.
    count(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
}

/// Takes what has arrived without waiting and without copying it: the generator must be cheaper than the servers it drives.
pub fn discard(fd: RawFd) -> io::Result<usize> {
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: with MSG_TRUNC a TCP socket drops the bytes and writes nothing through the pointer (tcp(7)).
    count(unsafe { libc::recv(fd, std::ptr::null_mut(), DISCARD_AT_ONCE, flags) })
}

pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length describe one live slice.
    count(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) })
}

/// Closes a descriptor that the caller owns and uses no more.
pub fn close(fd: RawFd) {
    // SAFETY: the caller got it from `accept` above and gives it up here.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

/// Ties the calling thread, and every child it starts from now on, to one core.
pub fn pin(core: usize) -> io::Result<()> {
    pin_task(0, core)
}

/// Ties another process, which has one thread, to one core.
pub fn pin_other(pid: u32, core: usize) -> io::Result<()> {
    pin_task(pid as libc::pid_t, core)
}

fn pin_task(task: libc::pid_t, core: usize) -> io::Result<()> {
    // SAFETY: a cpu_set_t is a bit mask, all zero bytes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: CPU_SET checks `core` against the size of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: `set` lives for the call and the size is its own.
    check(unsafe { libc::sched_setaffinity(task, size_of::<libc::cpu_set_t>(), &raw const set) })?;
    Ok(())
}

/// CPU time this process has used.
pub fn own_cpu() -> io::Result<Duration> {
    read_clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time that process `pid` has used: the scheduler's own nanoseconds, brought up to date even while it runs.
pub fn cpu_of(pid: u32) -> io::Result<Duration> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is writable for the call.
    let error = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    read_clock(clock)
}

/// Sends `signal` to a child that has not been waited for yet.
pub fn signal(pid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::kill(pid as libc::pid_t, signal) })?;
    Ok(())
}

fn read_clock(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable for the call.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

fn set_option<T>(fd: RawFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let pointer: *const T = value;
    // SAFETY: pointer and size describe one live value of a C type, the kernel copies it.
    check(unsafe { libc::setsockopt(fd, level, name, pointer.cast(), size_of::<T>() as libc::socklen_t) })?;
    Ok(())
}

fn address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn count(result: isize) -> io::Result<usize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

const ADDRESS_LEN: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

/// More than any socket buffer of the rows holds.
const DISCARD_AT_ONCE: usize = 1 << 20;
