//! Raw system calls that no crate of ours wraps: one of the two places in this crate that may say `unsafe`.
//! Each function makes one call and says what it relies on.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Whether `fd` has something to read or to accept, without waiting.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `entry` is one valid pollfd for the length of the call, and the count says one.
    let ready = unsafe { libc::poll(&raw mut entry, 1, 0) };
    ready > 0
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

/// The machine's monotonic clock, in nanoseconds since it started.
pub(crate) fn monotonic_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that the call may write to. The call cannot fail: the clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_listener_is_readable_when_somebody_waits() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!is_readable(listener.as_fd()));
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(is_readable(listener.as_fd()));
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
