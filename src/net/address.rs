//! Where a pool listens, as text and as a value. Resolves names only when asked to listen on one.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use crate::error::Error;

/// An address to listen on: `HOST:PORT`, `[V6]:PORT` or `unix:PATH`.
///
/// A host name is looked up once, when it is parsed, and stands for its first address.
///
/// ```
/// use socketpool::Address;
///
/// let address: Address = "127.0.0.1:7000".parse()?;
/// assert_eq!(address.to_string(), "127.0.0.1:7000");
/// assert_eq!(address.port(), Some(7000));
/// assert!("7000".parse::<Address>().is_err());
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// An internet address and port; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl Address {
    /// The port; `None` for a unix socket.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// let address = pool.listen("127.0.0.1:0")?;
    /// assert_ne!(address.port(), Some(0), "the one that the kernel chose");
    /// assert_eq!("unix:/run/pool.sock".parse::<Address>()?.port(), None);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(addr) => Some(addr.port()),
            Self::Unix(_) => None,
        }
    }

    /// The internet address; `None` for a unix socket.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// let address = pool.listen("127.0.0.1:0")?;
    /// let client = std::net::TcpStream::connect(address.tcp().unwrap()).unwrap();
    /// assert_eq!("unix:/run/pool.sock".parse::<Address>()?.tcp(), None);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) => Some(*addr),
            Self::Unix(_) => None,
        }
    }
}

impl std::str::FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.contains('\0') {
                return Err(Error::config("address", format!("{text:?}"), "unix: and a path"));
            }
            return Ok(Self::Unix(path.into()));
        }
        let bad = |error: io::Error| {
            Error::config("address", format!("{text:?} ({error})"), "HOST:PORT, [V6]:PORT or unix:PATH")
        };
        let mut addresses = text.to_socket_addrs().map_err(bad)?;
        addresses.next().map(Self::Tcp).ok_or_else(|| bad(io::Error::other("the name has no address")))
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How to listen. The default suits nearly everybody.
///
/// ```
/// use socketpool::{Families, ListenOptions, SocketPool};
///
/// let mut pool = SocketPool::<()>::builder().build()?;
/// let v6_only = ListenOptions::default().backlog(512).families(Families::V6Only);
/// # if std::net::TcpListener::bind("[::1]:0").is_ok() {
/// pool.listen_with("[::1]:0", v6_only)?;
/// # }
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ListenOptions {
    pub(super) backlog: u32,
    pub(super) families: Families,
    pub(super) sharing: PortSharing,
}

impl ListenOptions {
    /// How many connections may wait to be accepted; 1,024 unless said otherwise. The kernel cuts it to
    /// `net.core.somaxconn`; the pool says so in its log when it does. From 1 to 65,535.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// pool.listen_with("127.0.0.1:0", ListenOptions::default().backlog(64))?;
    /// let error = pool.listen_with("127.0.0.1:0", ListenOptions::default().backlog(0)).unwrap_err();
    /// assert_eq!(error.to_string(), "backlog is 0, must be from 1 to 65535");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Which peers an IPv6 socket takes; [`Families::Both`] unless said otherwise.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # if std::net::TcpListener::bind("[::]:0").is_ok() {
    /// // The same port for both, by two sockets: a dual-stack one would take it for IPv4 too.
    /// let v6 = pool.listen_with("[::]:0", ListenOptions::default().families(Families::V6Only))?;
    /// let v4 = pool.listen(&format!("0.0.0.0:{}", v6.port().unwrap()));
    /// # let _ = v4; // another process may have it
    /// # }
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn families(mut self, families: Families) -> Self {
        self.families = families;
        self
    }

    /// Whether other sockets may listen on the same port; [`PortSharing::Exclusive`] unless said otherwise.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let shared = ListenOptions::default().sharing(PortSharing::ReusePort);
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// let mut of_another_thread = SocketPool::<()>::builder().build()?;
    /// let address = pool.listen_with("127.0.0.1:0", shared.clone())?.to_string();
    /// of_another_thread.listen_with(&address, shared)?;
    /// assert!(pool.listen(&address).is_err(), "who does not ask for it does not get it");
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn sharing(mut self, sharing: PortSharing) -> Self {
        self.sharing = sharing;
        self
    }
}

impl ListenOptions {
    pub(crate) const fn asked_backlog(&self) -> u32 {
        self.backlog
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: 1024, families: Families::Both, sharing: PortSharing::Exclusive }
    }
}

/// Which peers a socket on an IPv6 address takes. Without effect on IPv4 and unix sockets.
///
/// ```
/// use socketpool::{Families, ListenOptions};
///
/// // Two sockets for one port, each with a backlog of its own:
/// let v6 = ListenOptions::default().families(Families::V6Only);
/// let v4 = ListenOptions::default();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// IPv6, and on `[::]` IPv4 too (dual stack); an IPv4 peer counts as the IPv4 address it is.
    Both,
    /// IPv6 only.
    V6Only,
}

/// Whether several sockets may listen on one port.
///
/// ```
/// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
/// let options = ListenOptions::default().sharing(PortSharing::ReusePort);
/// let mut pools = Vec::new();
/// let mut address = "127.0.0.1:0".to_owned();
/// for _ in 0..2 { // one for each thread
///     let mut pool = SocketPool::<()>::builder().build()?;
///     address = pool.listen_with(&address, options.clone())?.to_string();
///     pools.push(pool);
/// }
/// # Ok::<(), socketpool::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortSharing {
    /// This socket alone.
    Exclusive,
    /// Every socket that asks for it (SO_REUSEPORT): the kernel spreads newcomers over one pool for each thread.
    ReusePort,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_address_is_read_and_written_alike() {
        for text in ["127.0.0.1:80", "[::1]:8080", "[::]:0", "unix:/tmp/pool.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_named_in_the_error() {
        for text in ["", "80", "127.0.0.1", "127.0.0.1:99999", "unix:", "unix:a\0b"] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.starts_with("address is ") && error.contains("must be"), "{text:?}: {error}");
        }
    }
}
