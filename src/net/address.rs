//! Where a pool listens, as text and as a value. Resolves a name when its text is parsed, and nothing later.

use std::ffi::OsString;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::path::LONGEST_PATH;
use crate::error::Error;

/// An address to listen on: `HOST:PORT`, `[V6]:PORT`, `unix:PATH` or `unix:@NAME`.
///
/// A host name is looked up once, when it is parsed, and stands for its first address. A link-local IPv6 address has its
/// interface behind it, by name or number: `[fe80::1%eth0]:80`.
///
/// A path has at most 107 bytes, which is the kernel's bound; a relative one starts at the directory of the process, and
/// may be the way out where an absolute one is too long. A name after `@` is in the abstract namespace of Linux: there is
/// no file, nothing is left behind, and everybody in the same network namespace may connect whatever his user. A file
/// whose name begins with `@` is written `unix:./@…`.
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
    /// The name of a unix socket in the abstract namespace, without the zero byte or the `@` that it is written with.
    Abstract(OsString),
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
            Self::Unix(_) | Self::Abstract(_) => None,
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
            Self::Unix(_) | Self::Abstract(_) => None,
        }
    }
}

impl std::str::FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.strip_prefix("unix:") {
            Some(path) => parse_unix(text, path),
            None => parse_tcp(text),
        }
    }
}

fn parse_unix(text: &str, path: &str) -> Result<Address, Error> {
    let (name, bound) = match path.strip_prefix('@') {
        Some(name) => (name, "unix:@ and a name of 1 to 107 bytes"),
        None => (path, "unix: and a path of 1 to 107 bytes"),
    };
    let bad = |why: String| Err(Error::config("address", format!("{text:?}{why}"), bound));
    match name.len() {
        0 => bad(String::new()),
        1..=LONGEST_PATH if name.contains('\0') => bad(" (with a zero byte)".into()),
        1..=LONGEST_PATH if path.starts_with('@') => Ok(Address::Abstract(name.into())),
        1..=LONGEST_PATH => Ok(Address::Unix(path.into())),
        bytes => bad(format!(" ({bytes} bytes)")),
    }
}

fn parse_tcp(text: &str) -> Result<Address, Error> {
    let bad = |why: &str| {
        let bound = "HOST:PORT, [V6]:PORT, unix:PATH or unix:@NAME";
        Err(Error::config("address", format!("{text:?} ({why})"), bound))
    };
    if let Ok(addr) = text.parse() {
        return Ok(Address::Tcp(addr));
    }
    let Some((host, port)) = text.rsplit_once(':') else { return bad("no port") };
    // `parse` alone would take a plus sign.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit()).then_some(port);
    let Some(port) = digits.and_then(|port| port.parse::<u16>().ok()) else {
        return bad("the port is no number from 0 to 65535");
    };
    // In brackets the resolver takes what the standard library does not: a scope that is the name of an interface.
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) if v6.contains(':') => v6,
        Some(_) => return bad("no IPv6 address in brackets"),
        None if host.is_empty() => return bad("no host"),
        // Whether the last group belongs to the address or is the port nobody can say.
        None if host.contains(':') => return bad("an IPv6 address without brackets"),
        None => host,
    };
    match (host, port).to_socket_addrs().map(|mut found| found.next()) {
        Ok(Some(addr)) => Ok(Address::Tcp(addr)),
        Ok(None) => bad("the name has no address"),
        Err(error) => bad(&error.to_string()),
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
            Self::Unix(path) if path.as_os_str().as_bytes().starts_with(b"@") => {
                write!(f, "unix:./{}", path.display())
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{}", name.display()),
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
    pub(super) mode: Option<u32>,
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

    /// The permissions of a unix socket's path, for example `0o660`: to connect takes the permission to write. They hold
    /// before anybody can connect, whatever the umask; unless said otherwise they are what the umask leaves of `0o777`,
    /// with the usual one 0755, so that only the owner connects. From 0 to 0o777; without effect on all other sockets.
    ///
    /// ```
    /// use socketpool::{ListenOptions, SocketPool};
    /// use std::os::unix::fs::PermissionsExt;
    ///
    /// let path = std::env::temp_dir().join(format!("socketpool-mode-{}.sock", std::process::id()));
    /// let mut pool = SocketPool::<()>::builder().build()?;
    /// let options = ListenOptions::default().mode(0o660);
    /// pool.listen_with(&format!("unix:{}", path.display()), options)?;
    /// assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o660);
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    pub const fn mode(mut self, permissions: u32) -> Self {
        self.mode = Some(permissions);
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

    pub(super) fn validate(&self) -> Result<(), Error> {
        if !(1..=MAX_BACKLOG).contains(&self.backlog) {
            return Err(Error::config("backlog", self.backlog, format!("from 1 to {MAX_BACKLOG}")));
        }
        match self.mode {
            Some(mode @ 0o1000..) => Err(Error::config("mode", format!("{mode:#o}"), "from 0 to 0o777")),
            _ => Ok(()),
        }
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { backlog: 1024, families: Families::Both, sharing: PortSharing::Exclusive, mode: None }
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
    /// Every socket that asks for it (SO_REUSEPORT): the kernel spreads newcomers over one pool for each thread, or over
    /// an old process and the new one that replaces it. All of them must belong to one user.
    ///
    /// Each socket has a backlog of its own, and a newcomer belongs to one of them before anybody has accepted him. A
    /// pool that drains takes in those who have connected to its own; whose handshake is under way when its socket
    /// closes is reset, unless `net.ipv4.tcp_migrate_req` is 1 (Linux 5.14), which passes them on to the others.
    ReusePort,
}

/// More than the kernel can count on older machines; asking for more is a mistake.
const MAX_BACKLOG: u32 = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_address_is_read_and_written_alike() {
        let longest = format!("unix:{}", "x".repeat(107));
        for text in [
            "127.0.0.1:80",
            "[::1]:8080",
            "[::]:0",
            "[fe80::1%3]:80",
            "unix:/tmp/pool.sock",
            "unix:@pool",
            &longest,
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let file = Address::Unix("@file".into()).to_string();
        assert_eq!(file.parse::<Address>().unwrap(), Address::Unix("./@file".into()), "not the abstract one");
    }

    #[test]
    fn a_scope_is_the_name_of_an_interface_or_its_number() {
        let addr = SocketAddr::V6(std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, 1));
        for text in ["[fe80::1%1]:80", "[fe80::1%lo]:80"] {
            assert_eq!(text.parse::<Address>().unwrap(), Address::Tcp(addr), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_named_in_the_error() {
        let tcp = "HOST:PORT, [V6]:PORT, unix:PATH or unix:@NAME";
        let path = "unix: and a path of 1 to 107 bytes";
        let name = "unix:@ and a name of 1 to 107 bytes";
        let (long_path, long_name) =
            (format!("unix:{}", "x".repeat(108)), format!("unix:@{}", "x".repeat(108)));
        let table = [
            ("", " (no port)", tcp),
            ("80", " (no port)", tcp),
            ("127.0.0.1", " (no port)", tcp),
            (":80", " (no host)", tcp),
            ("127.0.0.1:", " (the port is no number from 0 to 65535)", tcp),
            ("127.0.0.1:99999", " (the port is no number from 0 to 65535)", tcp),
            ("127.0.0.1:+80", " (the port is no number from 0 to 65535)", tcp),
            ("[::1]", " (the port is no number from 0 to 65535)", tcp),
            ("[127.0.0.1]:80", " (no IPv6 address in brackets)", tcp),
            ("2001:db8:0:0:0:0:0:1:80", " (an IPv6 address without brackets)", tcp),
            ("unix:", "", path),
            ("unix:a\0b", " (with a zero byte)", path),
            (&long_path, " (108 bytes)", path),
            ("unix:@", "", name),
            (&long_name, " (108 bytes)", name),
        ];
        for (text, why, bound) in table {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.to_string(), format!("address is {text:?}{why}, must be {bound}"));
        }
    }

    #[test]
    fn options_out_of_bounds_are_refused_by_name() {
        let options = ListenOptions::default();
        for (bad, said) in [
            (options.clone().backlog(0), "backlog is 0, must be from 1 to 65535"),
            (options.clone().backlog(65_536), "backlog is 65536, must be from 1 to 65535"),
            (options.mode(0o1777), "mode is 0o1777, must be from 0 to 0o777"),
        ] {
            assert_eq!(bad.validate().unwrap_err().to_string(), said);
        }
    }
}
