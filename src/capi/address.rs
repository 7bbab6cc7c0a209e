//! Which addresses a host and a port are, for a socket of this family.

use std::ffi::c_int;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};

use socket2::Domain;

use super::status::Failure;

/// The port of an argument.
pub(super) fn port(port: c_int) -> Result<u16, Failure> {
    u16::try_from(port)
        .map_err(|_| Failure::argument("port", format_args!("is {port}, must be from 0 to 65535")))
}

/// Every address of the machine: where a server binds that does not say where.
pub(super) fn wildcard(port: u16, domain: Domain) -> Result<Vec<SocketAddr>, Failure> {
    fitting([SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)], domain)
}

/// The addresses of `host`, which is an address or a name. A name may have to be asked for, and that takes time.
pub(super) fn resolve(host: &str, port: u16, domain: Domain) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return fitting([SocketAddr::new(address, port)], domain);
    }
    let found = (host, port).to_socket_addrs().map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(libc::EHOSTUNREACH);
        Failure::argument("host", format_args!("is {host:?}: {error}")).with_errno(errno)
    })?;
    fitting(found, domain)
}

/// Those of the addresses that a socket of this family can use, as it must say them.
fn fitting(
    addresses: impl IntoIterator<Item = SocketAddr>,
    domain: Domain,
) -> Result<Vec<SocketAddr>, Failure> {
    let as_said = |address| match (address, domain) {
        (SocketAddr::V4(v4), Domain::IPV6) => {
            let ip = match v4.ip().is_unspecified() {
                true => Ipv6Addr::UNSPECIFIED,
                false => v4.ip().to_ipv6_mapped(),
            };
            Some(SocketAddrV6::new(ip, v4.port(), 0, 0).into())
        }
        (SocketAddr::V6(v6), Domain::IPV4) => {
            v6.ip().to_ipv4_mapped().map(|ip| SocketAddr::new(ip.into(), v6.port()))
        }
        (SocketAddr::V4(_), Domain::IPV4) | (SocketAddr::V6(_), Domain::IPV6) => Some(address),
        _ => None,
    };
    let fitting: Vec<_> = addresses.into_iter().filter_map(as_said).collect();
    if fitting.is_empty() {
        let what = "has no address of the socket's family";
        return Err(Failure::argument("host", what).with_errno(libc::EAFNOSUPPORT));
    }
    Ok(fitting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(host: &str, domain: Domain) -> Option<String> {
        resolve(host, 80, domain).ok().map(|found| found[0].to_string())
    }

    #[test]
    fn an_address_is_said_as_the_family_says_it() {
        assert_eq!(said("192.0.2.1", Domain::IPV4).unwrap(), "192.0.2.1:80");
        assert_eq!(said("192.0.2.1", Domain::IPV6).unwrap(), "[::ffff:192.0.2.1]:80");
        assert_eq!(said("::ffff:192.0.2.1", Domain::IPV4).unwrap(), "192.0.2.1:80");
        assert_eq!(said("2001:db8::1", Domain::IPV6).unwrap(), "[2001:db8::1]:80");
        assert_eq!(said("2001:db8::1", Domain::IPV4), None);
        assert_eq!(said("192.0.2.1", Domain::UNIX), None);
        assert_eq!(said("0.0.0.0", Domain::IPV6).unwrap(), "[::]:80");
        assert_eq!(wildcard(80, Domain::IPV6).unwrap()[0].to_string(), "[::]:80");
    }
}
