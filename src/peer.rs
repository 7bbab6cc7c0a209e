//! Who is on the other side of a connection: an address in its one true form, or a unix socket without any.
//! Decides nothing; which addresses count as one is `admission`'s to say.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// The other side of a connection: an IP address with a port, or a unix socket, which has no address.
///
/// An IPv4-mapped IPv6 address (`::ffff:192.0.2.7`, what a dual-stack listener shows) *is* the IPv4 address: it compares,
/// hashes and prints as one. The IPv6 flow label is not kept.
///
/// ```
/// use socketpool::Peer;
/// use std::net::SocketAddr;
///
/// let plain = Peer::from("192.0.2.7:4711".parse::<SocketAddr>()?);
/// let mapped = Peer::from("[::ffff:192.0.2.7]:4711".parse::<SocketAddr>()?);
/// assert_eq!(plain, mapped);
/// assert_eq!(mapped.to_string(), "192.0.2.7:4711");
/// assert_eq!(Peer::UNIX.addr(), None);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer {
    /// IPv6 bytes; IPv4 in its mapped form; zeros for a unix socket.
    ip: [u8; 16],
    scope: u32,
    port: u16,
    kind: Kind,
}

impl Peer {
    /// The other side of a unix socket: no address, no port.
    pub const UNIX: Self = Self { ip: [0; 16], scope: 0, port: 0, kind: Kind::Unix };

    /// From an IPv4 address, as a number.
    #[inline]
    pub(crate) const fn v4(ip: u32, port: u16) -> Self {
        let mapped = (MAPPED << 32) | ip as u128;
        Self { ip: mapped.to_be_bytes(), scope: 0, port, kind: Kind::V4 }
    }

    /// From an IPv6 address, as a number, which may be a mapped IPv4 one.
    #[inline]
    pub(crate) const fn v6(ip: u128, port: u16, scope: u32) -> Self {
        // As numbers they are compared and moved whole; byte by byte this would cost half of an accept.
        if ip >> 32 == MAPPED {
            return Self::v4(ip as u32, port);
        }
        Self { ip: ip.to_be_bytes(), scope, port, kind: Kind::V6 }
    }

    /// The IP address; `None` for a unix socket.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let peer = Peer::from("[::ffff:192.0.2.7]:4711".parse::<SocketAddr>().unwrap());
    /// assert_eq!(peer.ip(), Some("192.0.2.7".parse().unwrap()), "a mapped address is the IPv4 address");
    /// assert_eq!(Peer::UNIX.ip(), None);
    /// ```
    #[must_use]
    #[inline]
    pub fn ip(&self) -> Option<IpAddr> {
        match self.kind {
            Kind::Unix => None,
            Kind::V4 => Some(IpAddr::from([self.ip[12], self.ip[13], self.ip[14], self.ip[15]])),
            Kind::V6 => Some(IpAddr::from(self.ip)),
        }
    }

    /// The IP address and port, with the scope of a link-local IPv6 address; `None` for a unix socket.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// let peer = Peer::from("[2001:db8::7]:4711".parse::<SocketAddr>().unwrap());
    /// assert_eq!(peer.addr().map(|addr| addr.port()), Some(4711));
    /// assert_eq!(Peer::UNIX.addr(), None);
    /// ```
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        match self.ip()? {
            IpAddr::V4(ip) => Some(SocketAddr::from((ip, self.port))),
            IpAddr::V6(ip) => Some(SocketAddr::V6(SocketAddrV6::new(ip, self.port, 0, self.scope))),
        }
    }

    /// The address as a number, IPv4 in its mapped form, and whether it is IPv4; `None` for a unix socket.
    #[inline]
    pub(crate) fn bits(&self) -> Option<(u128, bool)> {
        match self.kind {
            Kind::Unix => None,
            kind => Some((u128::from_be_bytes(self.ip), kind == Kind::V4)),
        }
    }

    /// The whole of it in numbers, for where only those can be kept.
    #[cfg(feature = "capi")]
    pub(crate) const fn to_words(self) -> [u64; 3] {
        let ip = u128::from_be_bytes(self.ip);
        let rest = (self.scope as u64) << 32 | (self.port as u64) << 16 | self.kind as u64;
        [(ip >> 64) as u64, ip as u64, rest]
    }

    /// The other way.
    #[cfg(feature = "capi")]
    pub(crate) const fn from_words([high, low, rest]: [u64; 3]) -> Self {
        let ip = (high as u128) << 64 | low as u128;
        let (scope, port) = ((rest >> 32) as u32, (rest >> 16) as u16);
        match rest as u16 {
            UNIX => Self::UNIX,
            _ => Self::v6(ip, port, scope),
        }
    }

    /// Whether this is a unix socket.
    ///
    /// ```
    /// # use {socketpool::{net::*, *}, std::{io::prelude::*, net::SocketAddr, os::unix::net::UnixStream, time::Duration}};
    /// # let mut pool = SocketPool::<()>::builder().build()?;
    /// # let (ours, mut client) = UnixStream::pair().unwrap();
    /// # client.set_nonblocking(true).unwrap();
    /// # let id = pool.add(ours).unwrap();
    /// assert!(pool.conn(id).peer().is_unix(), "one end of a socket pair");
    /// assert!(!Peer::from("127.0.0.1:80".parse::<SocketAddr>().unwrap()).is_unix());
    /// # Ok::<(), socketpool::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn is_unix(&self) -> bool {
        self.kind == Kind::Unix
    }
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(v4) => Self::v4(v4.ip().to_bits(), v4.port()),
            SocketAddr::V6(v6) => Self::v6(v6.ip().to_bits(), v6.port(), v6.scope_id()),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr() {
            Some(addr) => fmt::Display::fmt(&addr, f),
            None => f.pad("unix"),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Unix,
    V4,
    V6,
}

#[cfg(feature = "capi")]
const UNIX: u16 = Kind::Unix as u16;

/// What an IPv4-mapped address begins with, as a number: `::ffff:0:0/96`.
const MAPPED: u128 = 0xffff;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn peer(text: &str) -> Peer {
        Peer::from(text.parse::<SocketAddr>().unwrap())
    }

    #[test]
    fn a_mapped_address_is_the_v4_address() {
        let mapped = peer("[::ffff:10.9.0.1]:80");
        assert_eq!(mapped, peer("10.9.0.1:80"));
        assert_eq!(mapped.ip(), Some("10.9.0.1".parse().unwrap()));
        assert_eq!(mapped.addr(), Some("10.9.0.1:80".parse().unwrap()));
        assert_eq!(mapped.bits(), Some((0xffff_0a09_0001, true)));
        assert_eq!(HashSet::from([mapped, peer("10.9.0.1:80")]).len(), 1);
    }

    #[test]
    fn a_peer_prints_as_people_write_it() {
        for text in ["1.2.3.4:5", "[2001:db8::1]:5", "0.0.0.0:0", "[::1]:65535"] {
            assert_eq!(peer(text).to_string(), text);
            assert_eq!(format!("{:?}", peer(text)), text);
        }
        assert_eq!(Peer::UNIX.to_string(), "unix");
        assert_eq!(format!("{:>6}|{:<16}|", Peer::UNIX, peer("1.2.3.4:5")), "  unix|1.2.3.4:5       |");
    }

    #[test]
    fn the_scope_of_a_link_local_address_is_kept() {
        let addr = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, 3));
        assert_eq!(Peer::from(addr).addr(), Some(addr));
    }

    #[test]
    fn a_unix_socket_has_no_address() {
        assert!(Peer::UNIX.is_unix());
        assert_eq!((Peer::UNIX.ip(), Peer::UNIX.addr(), Peer::UNIX.bits()), (None, None, None));
        assert_ne!(Peer::UNIX, peer("[::]:0"));
    }

    #[test]
    fn a_peer_is_small() {
        assert!(size_of::<Peer>() <= 24);
    }
}
