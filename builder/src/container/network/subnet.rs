//! Ranges of addresses, and choosing one of IPv4 that nobody uses.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::container::error::Error;
use crate::container::parse::invalid;

/// Addresses of one version of IP, as numbers.
pub trait Address: Copy + Eq + fmt::Display + FromStr {
    /// How many bits an address has.
    const BITS: u8;
    /// What is said of a text that is none.
    const NONE: &str;

    /// The bits of the address, the last one lowest.
    fn bits(self) -> u128;

    /// The address with these bits, of which only the lowest [`BITS`](Self::BITS) count.
    fn from_low_bits(bits: u128) -> Self;

    /// Whether it means something else than a device of a network.
    fn is_special(self) -> bool;
}

impl Address for Ipv4Addr {
    const BITS: u8 = 32;
    const NONE: &str = "only IPv4 is known";

    fn bits(self) -> u128 {
        self.to_bits().into()
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the lowest bits count")]
    fn from_low_bits(bits: u128) -> Self {
        Self::from_bits(bits as u32)
    }

    fn is_special(self) -> bool {
        false
    }
}

impl Address for Ipv6Addr {
    const BITS: u8 = 128;
    const NONE: &str = "not an IPv6 address";

    fn bits(self) -> u128 {
        self.to_bits()
    }

    fn from_low_bits(bits: u128) -> Self {
        Self::from_bits(bits)
    }

    fn is_special(self) -> bool {
        self.is_multicast() || self.is_unicast_link_local() || self.is_loopback()
    }
}

/// The addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String", bound = "A: Address")]
pub struct Subnet<A = Ipv4Addr> {
    first: A,
    prefix: u8,
}

impl<A: Address> Subnet<A> {
    /// The longest prefix that leaves room for a gateway and a container.
    const LONGEST_PREFIX: u8 = A::BITS - 2;

    /// The subnet that an address is in, by how many of its bits are the network's.
    pub fn of(address: A, prefix: u8) -> Self {
        Self { first: A::from_low_bits(address.bits() & !Self::rest(prefix)), prefix }
    }

    /// The first of its addresses, which is the network's own.
    pub fn first(&self) -> A {
        self.first
    }

    /// How many bits its addresses share.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The address after the network's own: the usual gateway.
    pub fn gateway(&self) -> A {
        A::from_low_bits(self.first.bits() + 1)
    }

    /// Whether an address is in it.
    pub fn has(&self, address: A) -> bool {
        Self::of(address, self.prefix) == *self
    }

    /// Whether some address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let shared = self.prefix.min(other.prefix);
        Self::of(self.first, shared) == Self::of(other.first, shared)
    }

    /// The last of its addresses, as a number.
    pub(super) fn last(&self) -> u128 {
        self.first.bits() | Self::rest(self.prefix)
    }

    /// The bits that are not the network's.
    fn rest(prefix: u8) -> u128 {
        let all = u128::MAX >> (128 - u32::from(A::BITS));
        all.checked_shr(prefix.into()).unwrap_or_default()
    }
}

impl Subnet {
    /// Whether a device can have this address: it is inside, and neither the first nor the last.
    pub fn has_host(&self, address: Ipv4Addr) -> bool {
        self.has(address) && address != self.first && address.bits() != self.last()
    }

    /// The addresses that devices can have, in order.
    pub fn hosts(&self) -> impl Iterator<Item = Ipv4Addr> {
        (self.first.bits() + 1..self.last()).map(Ipv4Addr::from_low_bits)
    }
}

/// Writes it as `172.17.0.0/16`.
impl<A: Address> fmt::Display for Subnet<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl<A: Address> FromStr for Subnet<A> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason| invalid("subnet", text, reason);
        let (address, prefix) =
            text.split_once('/').ok_or_else(|| wrong("expected ADDRESS/BITS"))?;
        let address: A = address.parse().map_err(|_| wrong(A::NONE))?;
        let prefix = prefix.parse().map_err(|_| wrong("not a number of bits"))?;
        if !(1..=Self::LONGEST_PREFIX).contains(&prefix) {
            return Err(wrong("it has no room for containers"));
        }
        let subnet = Self::of(address, prefix);
        if subnet.first != address {
            return Err(wrong("it does not begin with the network's own address"));
        }
        if address.is_special() {
            return Err(wrong("its addresses mean something else"));
        }
        Ok(subnet)
    }
}

impl<A: Address> TryFrom<String> for Subnet<A> {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl<A: Address> From<Subnet<A>> for String {
    fn from(subnet: Subnet<A>) -> Self {
        subnet.to_string()
    }
}

/// The first of docker's usual subnets that overlaps none of those taken.
pub(crate) fn choose(taken: &[Subnet]) -> Option<Subnet> {
    let large = (17..32).map(|second| Subnet::of(Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..16).map(|part| Subnet::of(Ipv4Addr::new(192, 168, part << 4, 0), 20));
    let is_free = |subnet: &Subnet| !taken.iter().any(|other| subnet.overlaps(other));
    large.chain(small).find(is_free)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_are_read_and_written() {
        let four = subnet("10.1.2.0/30");
        assert_eq!(four.to_string(), "10.1.2.0/30");
        let hosts: Vec<_> = four.hosts().map(|host| host.to_string()).collect();
        assert_eq!(hosts, ["10.1.2.1", "10.1.2.2"]);
        assert_eq!(four.gateway().to_string(), "10.1.2.1");
        assert!(four.has_host([10, 1, 2, 2].into()));
        for outside in [[10, 1, 2, 0], [10, 1, 2, 3], [10, 1, 2, 4]] {
            assert!(!four.has_host(outside.into()), "{outside:?}");
        }
        for wrong in ["", "10.0.0.0", "10.0.0.1/8", "fd00::/64", "10.0.0.0/31", "10.0.0.0/0", "a/8"]
        {
            assert!(wrong.parse::<Subnet>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_choice_avoids_what_is_taken() {
        assert_eq!(choose(&[]).unwrap(), subnet("172.17.0.0/16"));
        let taken = ["172.17.5.0/24", "172.18.0.0/15", "10.0.0.0/8"].map(subnet);
        assert_eq!(choose(&taken).unwrap(), subnet("172.20.0.0/16"));
        let half = [subnet("172.16.0.0/12"), subnet("192.168.0.0/19")];
        assert_eq!(choose(&half).unwrap(), subnet("192.168.32.0/20"));
        assert_eq!(choose(&[half[0], subnet("192.168.0.0/16")]), None);
        let host = Subnet::of([172, 17, 0, 2].into(), 32);
        assert_eq!(choose(&[host]).unwrap(), subnet("172.18.0.0/16"));
    }
}
