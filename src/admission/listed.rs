//! A list of addresses and networks that changes while it is in use: single addresses by hash, so that thousands of them
//! come and go at once, networks in a [`CidrSet`] that is made anew. What being listed means is not said here.

use std::collections::HashMap;

use crate::clock::Nanos;
use crate::error::Error;
use crate::hash::FoldedState;

use super::cidr::{Address, Cidr, CidrSet};

/// A bounded list; each entry stands until a time of its own.
pub(crate) struct Listed {
    /// By their bits, in which no IPv4 address is like an IPv6 one.
    addresses: HashMap<u128, Nanos, FoldedState>,
    networks: Vec<(Cidr, Nanos)>,
    /// Made of `networks`.
    set: CidrSet,
    /// Entries it may have.
    most: usize,
}

impl Listed {
    pub(crate) fn new(most: usize) -> Self {
        Self { addresses: HashMap::default(), networks: Vec::new(), set: CidrSet::default(), most }
    }

    /// Lists a network until then; one that is listed already gets the new time, even when the list is full. `false` if there
    /// is no place, even after those that have expired by `now` are out.
    pub(crate) fn add(&mut self, network: Cidr, until: Nanos, now: Nanos) -> Result<bool, Error> {
        if let Some(listed) = self.until_mut(network) {
            *listed = until;
            if network.only().is_none() {
                self.networks_changed();
            }
            return Ok(true);
        }
        if self.len() >= self.most {
            self.forget_expired(now);
        }
        if self.len() >= self.most {
            return Ok(false);
        }
        let no_memory = |_| Error::Memory { what: "a list of addresses" };
        match network.only() {
            Some(bits) => {
                self.addresses.try_reserve(1).map_err(no_memory)?;
                self.addresses.insert(bits, until);
            }
            None => {
                self.networks.try_reserve(1).map_err(no_memory)?;
                self.networks.push((network, until));
                self.networks_changed();
            }
        }
        Ok(true)
    }

    /// Takes out what was added as this network; `false` if nothing was.
    pub(crate) fn remove(&mut self, network: Cidr) -> bool {
        if let Some(bits) = network.only() {
            return self.addresses.remove(&bits).is_some();
        }
        let Some(place) = self.networks.iter().position(|(listed, _)| *listed == network) else {
            return false;
        };
        self.networks.swap_remove(place);
        self.networks_changed();
        true
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.most);
    }

    /// Takes out what is not listed any more at `now`, and returns how much that was.
    pub(crate) fn forget_expired(&mut self, now: Nanos) -> usize {
        let (before, networks) = (self.len(), self.networks.len());
        self.addresses.retain(|_, until| *until > now);
        self.networks.retain(|(_, until)| *until > now);
        if self.networks.len() < networks {
            self.networks_changed();
        }
        before - self.len()
    }

    /// How many entries it may have from now on. What is in it stays.
    pub(crate) fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    pub(super) fn contains(&self, address: Address, now: Nanos) -> bool {
        let alone =
            !self.addresses.is_empty() && self.addresses.get(&address.bits).is_some_and(|until| *until > now);
        alone || !self.networks.is_empty() && self.set.contains(address, now)
    }

    /// Entries, those that have expired included.
    fn len(&self) -> usize {
        self.addresses.len() + self.networks.len()
    }

    fn until_mut(&mut self, network: Cidr) -> Option<&mut Nanos> {
        match network.only() {
            Some(bits) => self.addresses.get_mut(&bits),
            None => self.networks.iter_mut().find(|(listed, _)| *listed == network).map(|(_, until)| until),
        }
    }

    fn networks_changed(&mut self) {
        self.set = CidrSet::new(self.networks.iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn lists(list: &Listed, ip: &str, now: u64) -> bool {
        list.contains(Address::from(ip.parse::<IpAddr>().unwrap()), Nanos::new(now))
    }

    #[test]
    fn what_was_added_can_be_taken_out_again_however_it_was_written() {
        let mut list = Listed::new(10);
        for network in ["192.0.2.7", "2001:DB8::1", "10.0.0.0/8", "2001:db8:1::/48"] {
            assert!(list.add(cidr(network), Nanos::MAX, Nanos::ZERO).unwrap());
        }
        for ip in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8:0::0:1", "10.9.9.9", "2001:db8:1::7"] {
            assert!(lists(&list, ip, 0), "{ip}");
        }
        assert!(!lists(&list, "192.0.2.8", 0) && !lists(&list, "11.0.0.0", 0));
        for network in ["::ffff:192.0.2.7", "2001:db8::0:1", "::ffff:10.0.0.0/104", "2001:DB8:1::/48"] {
            assert!(list.remove(cidr(network)) && !list.remove(cidr(network)), "{network}");
        }
        assert!(!lists(&list, "10.9.9.9", 0) && list.len() == 0);
    }

    #[test]
    fn a_full_list_takes_a_new_time_and_makes_room_of_what_has_expired() {
        let mut list = Listed::new(2);
        assert!(list.add(cidr("192.0.2.1"), Nanos::new(5), Nanos::ZERO).unwrap());
        assert!(list.add(cidr("10.0.0.0/8"), Nanos::new(5), Nanos::ZERO).unwrap());
        assert!(!list.add(cidr("192.0.2.3"), Nanos::MAX, Nanos::new(4)).unwrap(), "it is full");
        assert!(list.add(cidr("192.0.2.1"), Nanos::new(9), Nanos::new(4)).unwrap(), "it is in it");
        assert!(lists(&list, "192.0.2.1", 8) && lists(&list, "10.0.0.1", 4) && !lists(&list, "10.0.0.1", 5));
        assert!(list.add(cidr("192.0.2.3"), Nanos::MAX, Nanos::new(5)).unwrap(), "the network is out");
        assert_eq!(list.forget_expired(Nanos::new(9)), 1);
        list.clear();
        assert!(!lists(&list, "192.0.2.3", 0));
    }
}
