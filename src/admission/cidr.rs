//! Networks as addresses, never as text: one of them ([`Cidr`]), and a list of any length that is searched by halving
//! ([`CidrSet`]). What being in a list means is the gate's to say.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::clock::Nanos;
use crate::peer::Peer;

/// A network, or a single address: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7`.
///
/// Networks are compared as numbers, so every way to write an address is the same network. An IPv4-mapped IPv6 network
/// (`::ffff:10.0.0.0/104`) *is* the IPv4 one (`10.0.0.0/8`). IPv6 networks contain no IPv4 address, not even `::/0`.
///
/// ```
/// use socketpool::Cidr;
///
/// let office: Cidr = "2001:DB8::/32".parse()?;
/// assert!(office.contains("2001:db8:0:0::7".parse().unwrap()));
/// assert_eq!("192.0.2.7".parse::<Cidr>()?.to_string(), "192.0.2.7/32");
/// assert_eq!(
///     "10.1.2.3/8".parse::<Cidr>().unwrap_err().to_string(),
///     "network 10.1.2.3/8 has host bits set, must be 10.0.0.0/8"
/// );
/// # Ok::<(), socketpool::ParseCidrError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The first address, IPv4 in its mapped form. Invariant: no bit beyond the prefix is set.
    first: u128,
    /// Of 128 bits; 96 more than people write for IPv4.
    prefix: u8,
    v4: bool,
}

impl Cidr {
    /// Whether `ip` belongs to this network.
    ///
    /// ```
    /// let all_v4: socketpool::Cidr = "0.0.0.0/0".parse()?;
    /// assert!(all_v4.contains("192.0.2.7".parse().unwrap()));
    /// assert!(all_v4.contains("::ffff:192.0.2.7".parse().unwrap()), "the same address, as IPv6 writes it");
    /// assert!(!all_v4.contains("2001:db8::7".parse().unwrap()));
    /// # Ok::<(), socketpool::ParseCidrError>(())
    /// ```
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = Address::from(ip);
        ip.v4 == self.v4 && ip.bits & mask(self.prefix) == self.first
    }

    /// Reads a network in which bits beyond the prefix may be set: they do not count.
    #[cfg(feature = "capi")]
    pub(crate) fn read_loosely(text: &str) -> Result<Self, ParseCidrError> {
        match text.parse() {
            Err(ParseCidrError { kind: Kind::HostBits(network), .. }) => Ok(network),
            read => read,
        }
    }

    /// The one address that this is a network of, if it is.
    pub(super) fn only(self) -> Option<u128> {
        (self.prefix == 128).then_some(self.first)
    }

    /// The last address of the network.
    const fn last(self) -> u128 {
        self.first | !mask(self.prefix)
    }
}

impl From<IpAddr> for Cidr {
    /// The network of that one address.
    fn from(ip: IpAddr) -> Self {
        let Address { bits, v4 } = Address::from(ip);
        Self { first: bits, prefix: 128, v4 }
    }
}

impl FromStr for Cidr {
    type Err = ParseCidrError;

    /// Reads `address/prefix`; without a prefix it is that one address.
    fn from_str(text: &str) -> Result<Self, ParseCidrError> {
        let error = |kind| ParseCidrError { text: text.into(), kind };
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| error(Kind::Address))?;
        let Address { bits, v4 } = Address::from(ip);
        let bound = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bound,
            // `parse` alone would take a plus sign and leading zeros.
            Some(digits) if digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= bound)
                .ok_or_else(|| error(Kind::Prefix(bound)))?,
            Some(_) => return Err(error(Kind::Prefix(bound))),
        };
        let prefix = prefix + (128 - bound);
        let first = bits & mask(prefix);
        if first != bits {
            // A mapped address under a prefix shorter than /96 ends up here too: it has bits set beyond it.
            return Err(error(Kind::HostBits(Self { first, prefix, v4: v4 && prefix >= V4_PREFIX })));
        }
        Ok(Self { first, prefix, v4 })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = Ipv6Addr::from_bits(self.first);
        match ip.to_ipv4_mapped() {
            Some(v4) if self.v4 => write!(f, "{v4}/{}", self.prefix - V4_PREFIX),
            _ => write!(f, "{ip}/{}", self.prefix),
        }
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no [`Cidr`]; says which part is wrong and what it must be.
///
/// ```
/// let error = "10.0.0.0/33".parse::<socketpool::Cidr>().unwrap_err();
/// assert_eq!(error.to_string(), "network \"10.0.0.0/33\" has a bad prefix, must be from 0 to 32");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseCidrError {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Address,
    Prefix(u8),
    HostBits(Cidr),
}

impl fmt::Display for ParseCidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        match &self.kind {
            Kind::Address => {
                write!(f, "network {text:?} has no IPv4 or IPv6 address, must be address or address/prefix")
            }
            Kind::Prefix(bound) => write!(f, "network {text:?} has a bad prefix, must be from 0 to {bound}"),
            Kind::HostBits(network) => write!(f, "network {text} has host bits set, must be {network}"),
        }
    }
}

impl std::error::Error for ParseCidrError {}

/// An address as a number: IPv4 in its mapped form, so that there is one space for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) bits: u128,
    pub(super) v4: bool,
}

impl From<IpAddr> for Address {
    #[inline]
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self { bits: V4_BITS | u128::from(v4.to_bits()), v4: true },
            IpAddr::V6(v6) => Self { bits: v6.to_bits(), v4: v6.to_bits() >> 32 == V4_BITS >> 32 },
        }
    }
}

impl Address {
    /// The address of a peer that has one.
    #[inline]
    pub(super) fn of(peer: &Peer) -> Option<Self> {
        peer.bits().map(|(bits, v4)| Self { bits, v4 })
    }
}

/// A list of networks, each listed until some time. Finding an address takes the logarithm of the length.
#[derive(Clone, Debug, Default)]
pub(super) struct CidrSet {
    v4: Vec<Step>,
    v6: Vec<Step>,
}

/// From this address on, up to the next step, everything is listed until then (zero: never was).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    first: u128,
    until: Nanos,
}

impl CidrSet {
    /// The list; networks may repeat and lie within each other, and then the longest time counts.
    pub(super) fn new(networks: impl IntoIterator<Item = (Cidr, Nanos)>) -> Self {
        let (mut v4, mut v6): (Vec<_>, Vec<_>) = networks.into_iter().partition(|(network, _)| network.v4);
        Self { v4: steps(&mut v4), v6: steps(&mut v6) }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether the address is listed now.
    pub(super) fn contains(&self, address: Address, now: Nanos) -> bool {
        let steps = if address.v4 { &self.v4 } else { &self.v6 };
        let after = steps.partition_point(|step| step.first <= address.bits);
        after > 0 && steps[after - 1].until > now
    }

    pub(super) fn memory_bytes(&self) -> usize {
        (self.v4.capacity() + self.v6.capacity()) * size_of::<Step>()
    }
}

/// Networks are nested or apart, never overlapping in part: a stack of those that are open at an address is enough.
fn steps(networks: &mut [(Cidr, Nanos)]) -> Vec<Step> {
    networks.sort_unstable_by_key(|(network, _)| (network.first, network.prefix));
    let mut steps = Vec::new();
    let mut open: Vec<(u128, Nanos)> = Vec::new();
    for (network, until) in networks.iter() {
        while open.last().is_some_and(|(last, _)| *last < network.first) {
            close(&mut open, &mut steps);
        }
        let until = open.last().map_or(*until, |(_, outer)| *until.max(outer));
        open.push((network.last(), until));
        step(&mut steps, network.first, until);
    }
    while !open.is_empty() {
        close(&mut open, &mut steps);
    }
    steps.shrink_to_fit();
    steps
}

/// Ends the innermost open network; what is around it goes on behind it.
fn close(open: &mut Vec<(u128, Nanos)>, steps: &mut Vec<Step>) {
    let end = open.pop().and_then(|(last, _)| last.checked_add(1));
    if let Some(behind) = end {
        step(steps, behind, open.last().map_or(Nanos::ZERO, |(_, until)| *until));
    }
}

/// Adds a step, in place of one at the same address.
fn step(steps: &mut Vec<Step>, first: u128, until: Nanos) {
    steps.pop_if(|step| step.first == first);
    if steps.last().is_none_or(|step| step.until != until) {
        steps.push(Step { first, until });
    }
}

/// The upper `prefix` bits.
pub(super) const fn mask(prefix: u8) -> u128 {
    match u128::MAX.checked_shl(128 - prefix as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

/// `::ffff:0:0/96`, where the IPv4 addresses live.
const V4_BITS: u128 = 0xffff_0000_0000;
pub(super) const V4_PREFIX: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_way_to_write_a_network_is_the_same_network() {
        for (one, other) in [
            ("2001:DB8::1", "2001:db8:0:0:0:0:0:1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(cidr(one), cidr(other));
            assert_eq!(cidr(one).to_string().parse(), Ok(cidr(one)));
        }
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        let net = cidr("10.0.0.0/8");
        assert!(net.contains(ip("10.255.0.1")) && net.contains(ip("::ffff:10.0.0.1")));
        assert!(!net.contains(ip("11.0.0.0")) && !net.contains(ip("::10.0.0.1")));
        assert!(cidr("0.0.0.0/0").contains(ip("::ffff:1.2.3.4")));
        assert!(cidr("::/0").contains(ip("2001:db8::1")) && !cidr("::/0").contains(ip("1.2.3.4")));
        assert!(cidr("2001:db8::/32").contains(ip("2001:db8:ffff::")));
    }

    #[test]
    fn a_bad_network_is_told_what_is_wrong_with_it() {
        for (text, said) in [
            ("", "must be address or address/prefix"),
            ("1.2.3", "must be address or address/prefix"),
            ("localhost/8", "must be address or address/prefix"),
            ("10.0.0.0/33", "must be from 0 to 32"),
            ("10.0.0.0/", "must be from 0 to 32"),
            ("10.0.0.0/+8", "must be from 0 to 32"),
            ("10.0.0.0/8/8", "must be from 0 to 32"),
            ("2001:db8::/129", "must be from 0 to 128"),
            ("2001:db8::/256", "must be from 0 to 128"),
            ("2001:db8::1/32", "must be 2001:db8::/32"),
            ("10.0.0.1/31", "must be 10.0.0.0/31"),
            ("::ffff:10.0.0.0/90", "must be ::ffc0:0:0/90"),
        ] {
            let error = text.parse::<Cidr>().unwrap_err().to_string();
            assert!(error.ends_with(said), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_list_ends_where_its_last_address_ends() {
        let all = |texts: &[&str]| CidrSet::new(texts.iter().map(|text| (cidr(text), Nanos::MAX)));
        let list = all(&["::/0", "255.255.255.255", "0.0.0.0/32"]);
        assert!(list.contains(Address::from(ip("ffff:ffff::ffff")), Nanos::ZERO));
        assert!(list.contains(Address::from(ip("255.255.255.255")), Nanos::ZERO));
        assert!(!list.contains(Address::from(ip("255.255.255.254")), Nanos::ZERO));
        assert!(!CidrSet::default().contains(Address::from(ip("::")), Nanos::ZERO));
    }

    /// Few addresses, so that networks meet.
    fn networks() -> impl Strategy<Value = Vec<(Cidr, Nanos)>> {
        let network =
            (any::<u8>(), any::<bool>(), 120..=128_u8, 0..5_u64).prop_map(|(bits, v4, prefix, until)| {
                let base = if v4 { V4_BITS } else { 0x2001_0db8 << 96 };
                let first = (base | u128::from(bits)) & mask(prefix);
                (Cidr { first, prefix, v4 }, Nanos::new(until))
            });
        proptest::collection::vec(network, 0..30)
    }

    proptest! {
        #![proptest_config(super::super::tests::cases())]

        #[test]
        fn a_list_says_what_asking_each_network_says(networks in networks(), bits in any::<u8>(), now in 0..5_u64) {
            let list = CidrSet::new(networks.iter().copied());
            let now = Nanos::new(now);
            for address in [IpAddr::from([0, 0, 0, bits]), Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(bits)).into()] {
                let listed = networks.iter().any(|(network, until)| network.contains(address) && *until > now);
                prop_assert_eq!(list.contains(Address::from(address), now), listed);
            }
        }

        #[test]
        fn no_text_makes_parsing_panic(text in "[0-9a-f:./+ ]{0,40}") {
            if let Ok(network) = text.parse::<Cidr>() {
                prop_assert_eq!(network.to_string().parse(), Ok(network));
            }
        }
    }
}
