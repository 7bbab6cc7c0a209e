//! A listening socket of the operating system: bound, with the backlog that was asked for, and accepted from.
//! What an accept error means is said here; what to do about it is decided in `server`.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::address::{Address, Families, ListenOptions, PortSharing};
use super::stream::OsStream;
use super::{Listener, machine, sys};
use crate::error::Error;
use crate::peer::Peer;

/// A listening, non-blocking socket. Dropping it closes it and removes the path of a unix socket it made.
///
/// ```
/// use socketpool::net::{Listener, Net, Os};
///
/// let listener = Os::listen(&(), &"127.0.0.1:0".parse()?, &Default::default())?;
/// assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody has come");
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Debug)]
pub struct OsListener {
    inner: Inner,
    address: Address,
    backlog: u32,
    /// Held for what its drop does.
    _path: Option<BoundPath>,
}

impl OsListener {
    pub(super) fn bind(address: &Address, options: &ListenOptions) -> Result<Self, Error> {
        if !(1..=MAX_BACKLOG).contains(&options.backlog) {
            return Err(Error::config("backlog", options.backlog, format!("from 1 to {MAX_BACKLOG}")));
        }
        let listen = || {
            let (socket, path) = match address {
                Address::Tcp(addr) => (bind_tcp(*addr, options)?, None),
                Address::Unix(path) => bind_unix(path).map(|(socket, path)| (socket, Some(path)))?,
            };
            socket.listen(options.backlog.cast_signed())?;
            Self::over(socket, options.backlog, path)
        };
        listen().map_err(|error| Error::io(format!("listen on {address}"), error))
    }

    /// Takes over a socket that listens already, as a service manager or an older process hands one on. Its backlog
    /// stays what it is.
    ///
    /// # Errors
    /// When the descriptor is no listening stream socket.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let inherited = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let listener = OsListener::adopt(inherited)?;
    /// assert!(listener.address().port().is_some() && !listener.has_waiting());
    ///
    /// let (connected, _other) = UnixStream::pair().unwrap();
    /// assert!(OsListener::adopt(connected).is_err(), "a socket, but it does not listen");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    pub fn adopt(socket: impl Into<OwnedFd>) -> Result<Self, Error> {
        let socket = Socket::from(socket.into());
        let adopt = || {
            if !socket.is_listener()? || socket.r#type()? != Type::STREAM {
                return Err(io::Error::new(ErrorKind::InvalidInput, "not a listening stream socket"));
            }
            socket.set_cloexec(true)?;
            Self::over(socket, MAX_BACKLOG, None)
        };
        adopt().map_err(|error| Error::io("adopt a listener", error))
    }

    fn over(socket: Socket, asked: u32, path: Option<BoundPath>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        let (inner, address) = match local.as_socket() {
            Some(addr) => (
                Inner::Tcp(mio::net::TcpListener::from_std(OwnedFd::from(socket).into())),
                Address::Tcp(addr),
            ),
            None => {
                let path = local.as_pathname().map(PathBuf::from).unwrap_or_default();
                (
                    Inner::Unix(mio::net::UnixListener::from_std(OwnedFd::from(socket).into())),
                    Address::Unix(path),
                )
            }
        };
        Ok(Self { inner, address, backlog: asked.min(machine::longest_backlog()), _path: path })
    }
}

impl Listener for OsListener {
    type Stream = OsStream;

    #[inline]
    fn accept(&self) -> io::Result<(OsStream, Peer)> {
        match &self.inner {
            Inner::Tcp(listener) => {
                listener.accept().map(|(stream, addr)| (OsStream::accepted(stream.into()), Peer::from(addr)))
            }
            Inner::Unix(listener) => {
                listener.accept().map(|(stream, _)| (OsStream::accepted(stream.into()), Peer::UNIX))
            }
        }
    }

    fn has_waiting(&self) -> bool {
        sys::is_readable(self.as_fd())
    }

    fn address(&self) -> &Address {
        &self.address
    }

    fn backlog(&self) -> u32 {
        self.backlog
    }
}

impl AsFd for OsListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.inner {
            Inner::Tcp(listener) => listener.as_fd(),
            Inner::Unix(listener) => listener.as_fd(),
        }
    }
}

impl AsRawFd for OsListener {
    fn as_raw_fd(&self) -> i32 {
        self.as_fd().as_raw_fd()
    }
}

/// What a failed accept means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptFailure {
    /// The backlog is empty.
    Empty,
    /// That one newcomer is gone, or a signal came: go on with the next.
    Aborted,
    /// The process or the machine has no descriptor or no memory to give.
    Exhausted,
    /// The listener itself does not work.
    Broken,
}

/// Sorts what `accept4` says, as accept(2) advises: errors of the network that are already pending on the new socket
/// come out of accept and concern that newcomer alone.
pub(crate) fn classify(error: &io::Error) -> AcceptFailure {
    match error.raw_os_error() {
        Some(code) if code == libc::EAGAIN || code == libc::EWOULDBLOCK => AcceptFailure::Empty,
        Some(
            libc::EINTR
            | libc::ECONNABORTED
            | libc::EPROTO
            | libc::EPERM
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
            | libc::ECONNRESET
            | libc::ETIMEDOUT,
        ) => AcceptFailure::Aborted,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::ENOSR) => {
            AcceptFailure::Exhausted
        }
        Some(_) => AcceptFailure::Broken,
        None if error.kind() == ErrorKind::WouldBlock => AcceptFailure::Empty,
        None => AcceptFailure::Aborted,
    }
}

#[derive(Debug)]
enum Inner {
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener),
}

/// The path of a unix socket that this listener made, and the file it was, so that a successor's is not removed.
#[derive(Debug)]
struct BoundPath {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl BoundPath {
    fn of(path: &Path) -> io::Result<Self> {
        let made = fs::symlink_metadata(path)?;
        Ok(Self { path: path.into(), device: made.dev(), inode: made.ino() })
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|now| (now.dev(), now.ino()) == (self.device, self.inode));
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// More than the kernel can count on older machines; asking for more is a mistake.
const MAX_BACKLOG: u32 = 65_535;

fn bind_tcp(addr: SocketAddr, options: &ListenOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(options.families == Families::V6Only)?;
    }
    // A restarted server must not wait for the TIME_WAIT of its predecessor's connections.
    socket.set_reuse_address(true)?;
    if options.sharing == PortSharing::ReusePort {
        socket.set_reuse_port(true)?;
    }
    // Accepted sockets inherit it, which saves a system call for each. Output leaves in whole pieces here, so Nagle's
    // algorithm has nothing to gather and would only delay.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SockAddr::from(addr))?;
    Ok(socket)
}

/// Binds to `path`. What a dead process left there is removed; what a living one listens on is not.
fn bind_unix(path: &Path) -> io::Result<(Socket, BoundPath)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let address = SockAddr::unix(path)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_stale(path) => {
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        result => result?,
    }
    Ok((socket, BoundPath::of(path)?))
}

fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(address: &str) -> Result<OsListener, Error> {
        OsListener::bind(&address.parse()?, &ListenOptions::default())
    }

    #[test]
    fn port_zero_becomes_a_real_port() {
        let listener = bind("127.0.0.1:0").unwrap();
        assert_ne!(listener.address().port(), Some(0));
    }

    #[test]
    fn a_backlog_out_of_bounds_is_refused_by_name() {
        let address = "127.0.0.1:0".parse().unwrap();
        for backlog in [0, MAX_BACKLOG + 1] {
            let error = OsListener::bind(&address, &ListenOptions::default().backlog(backlog)).unwrap_err();
            assert_eq!(error.to_string(), format!("backlog is {backlog}, must be from 1 to 65535"));
        }
    }

    #[test]
    fn an_address_in_use_is_an_error_that_names_it() {
        let first = bind("127.0.0.1:0").unwrap();
        let error = bind(&first.address().to_string()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("listen on {}: ", first.address())), "{error}");
    }

    #[test]
    fn a_unix_socket_leaves_no_path_behind_and_takes_over_a_dead_one() {
        let path = std::env::temp_dir().join(format!("socketpool-listener-{}.sock", std::process::id()));
        let address = format!("unix:{}", path.display());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dead socket is left behind");
        let listener = bind(&address).expect("a dead socket is taken over");
        assert!(bind(&address).is_err(), "a living one is not");
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let path = std::env::temp_dir().join(format!("socketpool-file-{}", std::process::id()));
        fs::write(&path, "precious").unwrap();
        assert!(bind(&format!("unix:{}", path.display())).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn only_a_listening_socket_is_adopted() {
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listening.local_addr().unwrap();
        let connected = std::net::TcpStream::connect(addr).unwrap();
        assert!(OsListener::adopt(connected).is_err());
        assert_eq!(OsListener::adopt(listening).unwrap().address().tcp(), Some(addr));
    }

    #[test]
    fn every_errno_of_accept_has_its_meaning() {
        let table = [
            (libc::EAGAIN, AcceptFailure::Empty),
            (libc::EINTR, AcceptFailure::Aborted),
            (libc::ECONNABORTED, AcceptFailure::Aborted),
            (libc::EPROTO, AcceptFailure::Aborted),
            (libc::EPERM, AcceptFailure::Aborted),
            (libc::EMFILE, AcceptFailure::Exhausted),
            (libc::ENFILE, AcceptFailure::Exhausted),
            (libc::ENOBUFS, AcceptFailure::Exhausted),
            (libc::ENOMEM, AcceptFailure::Exhausted),
            (libc::EBADF, AcceptFailure::Broken),
            (libc::EINVAL, AcceptFailure::Broken),
        ];
        for (code, meaning) in table {
            assert_eq!(classify(&io::Error::from_raw_os_error(code)), meaning, "errno {code}");
        }
    }
}
