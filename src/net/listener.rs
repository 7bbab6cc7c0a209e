//! A listening socket of the operating system: bound, with the backlog that was asked for, and accepted from.
//! What an accept error means is said here; what to do about it is decided in `server`.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::address::{Address, Families, ListenOptions, PortSharing};
use super::path::BoundPath;
use super::stream::OsStream;
use super::{Listener, machine, sys};
use crate::error::Error;
use crate::peer::Peer;

/// A listening, non-blocking socket. Dropping it closes it and removes the path of a unix socket it made, unless another
/// process has the socket as well.
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
    socket: Socket,
    address: Address,
    backlog: u32,
    /// Held for what its drop does, which comes after the socket's: fields are dropped in this order.
    _path: Option<BoundPath>,
}

impl OsListener {
    pub(super) fn bind(address: &Address, options: &ListenOptions) -> Result<Self, Error> {
        options.validate()?;
        let listen = || {
            let (socket, path) = match address {
                Address::Tcp(addr) => (bind_tcp(*addr, options)?, None),
                Address::Unix(path) => {
                    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                    let path = BoundPath::bind(&socket, path, options.mode)?;
                    (socket, Some(path))
                }
                Address::Abstract(name) => (bind_abstract(name)?, None),
            };
            let mut listener =
                Self { socket, address: address.clone(), backlog: options.backlog, _path: path };
            listener.socket.listen(options.backlog.cast_signed())?;
            // Port 0 has become a real one.
            listener.address = address_of(&listener.socket)?;
            listener.look()?;
            Ok(listener)
        };
        listen().map_err(|error| Error::io(format!("listen on {address}"), error))
    }

    /// Takes over a socket that listens already, as a service manager or an older process hands one on. Its backlog and
    /// the permissions of its path stay what they are, and its path stays when it is closed.
    ///
    /// It is made non-blocking, and TCP_NODELAY is set on it so that those who are accepted inherit it. Both belong to
    /// the socket and not to the descriptor: another process that accepts from the same socket then finds it
    /// non-blocking too. It must be so, for with two who accept, whoever comes second would block until the next
    /// newcomer, and his whole loop with him.
    ///
    /// # Errors
    /// When the descriptor is no listening stream socket of the internet or unix families. It is closed then, and
    /// nothing about the socket has been changed.
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
            let is_known = matches!(socket.domain()?, Domain::IPV4 | Domain::IPV6 | Domain::UNIX);
            if !socket.is_listener()? || socket.r#type()? != Type::STREAM || !is_known {
                return Err(io::Error::new(ErrorKind::InvalidInput, "not a listening stream socket"));
            }
            socket.set_cloexec(true)?;
            let address = address_of(&socket)?;
            if address.tcp().is_some() {
                socket.set_tcp_nodelay(true)?;
            }
            let mut listener = Self { socket, address, backlog: u32::MAX, _path: None };
            listener.look()?;
            Ok(listener)
        };
        adopt().map_err(|error| Error::io("adopt a listener", error))
    }

    /// Finds out what backlog the kernel has given a socket that listens, and makes it non-blocking.
    fn look(&mut self) -> io::Result<()> {
        let told = match self.address {
            Address::Tcp(_) => sys::backlog_of_tcp(self.as_fd()).ok().filter(|backlog| *backlog > 0),
            // Of these the kernel does not tell.
            Address::Unix(_) | Address::Abstract(_) => None,
        };
        self.backlog = told.unwrap_or_else(|| self.backlog.min(machine::longest_backlog()));
        self.socket.set_nonblocking(true)
    }
}

impl Listener for OsListener {
    type Stream = OsStream;

    #[inline]
    fn accept(&self) -> io::Result<(OsStream, Peer)> {
        sys::accept(self.as_fd()).map(|(stream, peer)| (OsStream::accepted(stream), peer))
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
        self.socket.as_fd()
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

fn bind_abstract(name: &OsStr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let name: Vec<u8> = [b"\0", name.as_bytes()].concat();
    socket.bind(&SockAddr::unix(OsStr::from_bytes(&name))?)?;
    Ok(socket)
}

fn address_of(socket: &Socket) -> io::Result<Address> {
    let local = socket.local_addr()?;
    Ok(match (local.as_socket(), local.as_abstract_namespace()) {
        (Some(addr), _) => Address::Tcp(addr),
        (None, Some(name)) => Address::Abstract(OsString::from(OsStr::from_bytes(name))),
        (None, None) => Address::Unix(local.as_pathname().map(PathBuf::from).unwrap_or_default()),
    })
}

#[cfg(test)]
impl OsListener {
    /// Closes as a crash does, and gives back what would have removed the path.
    pub(super) fn abandon_path(self) -> Option<BoundPath> {
        self._path
    }
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
    fn options_out_of_bounds_open_no_socket() {
        let address = "127.0.0.1:0".parse().unwrap();
        let error = OsListener::bind(&address, &ListenOptions::default().backlog(0)).unwrap_err();
        assert_eq!(error.to_string(), "backlog is 0, must be from 1 to 65535");
    }

    #[test]
    fn the_backlog_is_what_the_kernel_has_given() {
        let options = ListenOptions::default().backlog(7);
        let bound = OsListener::bind(&"127.0.0.1:0".parse().unwrap(), &options).unwrap();
        assert_eq!(bound.backlog(), 7);
        assert_eq!(OsListener::adopt(bound.socket).unwrap().backlog(), 7, "and not what it might have been");
    }

    #[test]
    fn an_address_in_use_is_an_error_that_names_it() {
        let first = bind("127.0.0.1:0").unwrap();
        let error = bind(&first.address().to_string()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("listen on {}: ", first.address())), "{error}");
    }

    #[test]
    fn only_a_listening_stream_socket_is_adopted() {
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listening.local_addr().unwrap();
        let path = std::env::temp_dir().join(format!("socketpool-seqpacket-{}.sock", std::process::id()));
        let packets = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        packets.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        packets.listen(8).unwrap();
        let others: [OwnedFd; 5] = [
            std::net::TcpStream::connect(addr).unwrap().into(),
            std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            Socket::new(Domain::IPV4, Type::STREAM, None).unwrap().into(),
            std::fs::File::open("/dev/null").unwrap().into(),
            packets.into(),
        ];
        for other in others {
            let error = OsListener::adopt(other).unwrap_err().to_string();
            assert!(error.starts_with("adopt a listener: "), "{error}");
        }
        std::fs::remove_file(path).unwrap();
        assert_eq!(OsListener::adopt(listening).unwrap().address().tcp(), Some(addr));
    }

    #[test]
    fn what_is_not_adopted_is_closed() {
        let links = || {
            let entries = std::fs::read_dir("/proc/self/fd").unwrap();
            entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).collect::<Vec<_>>()
        };
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        assert!(links().contains(&link));
        OsListener::adopt(socket).unwrap_err();
        assert!(!links().contains(&link), "{link:?} is still open");
    }

    #[test]
    fn a_listener_that_blocks_is_taken_over_without_blocking() {
        let blocking = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let other = blocking.try_clone().unwrap();
        let adopted = OsListener::adopt(blocking).unwrap();
        assert_eq!(adopted.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(other.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "for whoever shares it too");
    }

    /// With Nagle's algorithm a small answer behind another waits for the peer's delayed acknowledgement.
    #[test]
    fn whoever_is_accepted_sends_without_delay_whoever_made_the_listener() {
        let made = bind("127.0.0.1:0").unwrap();
        let adopted = OsListener::adopt(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        for listener in [made, adopted] {
            let _client = std::net::TcpStream::connect(listener.address().tcp().unwrap()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            assert!(Socket::from(OwnedFd::from(stream)).tcp_nodelay().unwrap());
        }
    }

    #[test]
    fn an_abstract_name_is_listened_on_and_leaves_nothing_behind() {
        let text = format!("unix:@socketpool-{}", std::process::id());
        let listener = bind(&text).unwrap();
        assert_eq!(listener.address().to_string(), text);
        let name = SockAddr::unix(text.replace("unix:@", "\0")).unwrap();
        Socket::new(Domain::UNIX, Type::STREAM, None).unwrap().connect(&name).unwrap();
        assert_eq!(listener.accept().unwrap().1, Peer::UNIX);
        assert!(bind(&text).is_err(), "somebody listens there");
        let adopted = OsListener::adopt(listener.socket).unwrap();
        assert_eq!(adopted.address().to_string(), text);
        drop(adopted);
        bind(&text).expect("it is free again");
    }

    #[test]
    fn two_pools_share_a_port_only_if_both_want_to() {
        let shared = ListenOptions::default().sharing(PortSharing::ReusePort);
        let first = OsListener::bind(&"127.0.0.1:0".parse().unwrap(), &shared).unwrap();
        let _second = OsListener::bind(first.address(), &shared).expect("both want to");
        assert!(bind(&first.address().to_string()).is_err(), "this one does not");
    }

    #[test]
    fn every_errno_of_accept_has_its_meaning() {
        let table = [
            (libc::EAGAIN, AcceptFailure::Empty),
            (libc::EINTR, AcceptFailure::Aborted),
            (libc::ECONNABORTED, AcceptFailure::Aborted),
            (libc::EPROTO, AcceptFailure::Aborted),
            (libc::EPERM, AcceptFailure::Aborted),
            (libc::ETIMEDOUT, AcceptFailure::Aborted),
            (libc::EHOSTUNREACH, AcceptFailure::Aborted),
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
