//! Ranges of IPv6 addresses. A container has the same number in it as in the network's IPv4 range,
//! so that one choice of an address is a choice of both.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::container::error::Error;
use crate::container::parse::invalid;

/// The longest prefix that leaves room for a gateway and a container.
const LONGEST_PREFIX: u8 = 126;

/// The IPv6 addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet6 {
    first: Ipv6Addr,
    prefix: u8,
}

impl Subnet6 {
    /// The subnet that an address is in, by how many of its bits are the network's.
    pub fn of(address: Ipv6Addr, prefix: u8) -> Self {
        Self { first: Ipv6Addr::from_bits(address.to_bits() & mask(prefix)), prefix }
    }

    /// A subnet of those that everybody may use at home, made of what is random.
    pub(crate) fn at_home(random: [u8; 5]) -> Self {
        let mut address = [0; 16];
        address[0] = 0xfd;
        address[1..6].copy_from_slice(&random);
        Self { first: address.into(), prefix: 64 }
    }

    /// The first of its addresses, which is the network's own.
    pub fn first(&self) -> Ipv6Addr {
        self.first
    }

    /// How many bits its addresses share.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The address after the network's own: the usual gateway.
    pub fn gateway(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.first.to_bits() + 1)
    }

    /// Whether an address is in it.
    pub fn has(&self, address: Ipv6Addr) -> bool {
        Self::of(address, self.prefix) == *self
    }

    /// Whether a device can have this address: it is inside, and not the first.
    pub fn has_host(&self, address: Ipv6Addr) -> bool {
        self.has(address) && address != self.first
    }

    /// Whether some address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let shared = self.prefix.min(other.prefix);
        Self::of(self.first, shared) == Self::of(other.first, shared)
    }

    /// The address of a number; none when there are not so many.
    pub(crate) fn host(&self, number: u32) -> Option<Ipv6Addr> {
        let address = Ipv6Addr::from_bits(self.first.to_bits() | u128::from(number));
        (u128::from(number) <= !mask(self.prefix)).then_some(address)
    }
}

fn mask(prefix: u8) -> u128 {
    !u128::MAX.checked_shr(u32::from(prefix)).unwrap_or_default()
}

/// Writes it as `fd00::/64`.
impl fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl FromStr for Subnet6 {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason| invalid("subnet", text, reason);
        let (address, prefix) =
            text.split_once('/').ok_or_else(|| wrong("expected ADDRESS/BITS"))?;
        let address: Ipv6Addr = address.parse().map_err(|_| wrong("not an IPv6 address"))?;
        let prefix = prefix.parse().map_err(|_| wrong("not a number of bits"))?;
        if !(1..=LONGEST_PREFIX).contains(&prefix) {
            return Err(wrong("it has no room for containers"));
        }
        let subnet = Self::of(address, prefix);
        if subnet.first != address {
            return Err(wrong("it does not begin with the network's own address"));
        }
        if address.is_multicast() || address.is_unicast_link_local() || address.is_loopback() {
            return Err(wrong("its addresses mean something else"));
        }
        Ok(subnet)
    }
}

impl TryFrom<String> for Subnet6 {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Subnet6> for String {
    fn from(subnet: Subnet6) -> Self {
        subnet.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet6 {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_are_read_and_written() {
        let home = subnet("fd00:1::/64");
        assert_eq!(home.to_string(), "fd00:1::/64");
        assert_eq!(home.gateway().to_string(), "fd00:1::1");
        assert!(home.has_host("fd00:1::ffff:1".parse().unwrap()));
        for outside in ["fd00:1::", "fd00:1:0:1::2", "fd00::2"] {
            assert!(!home.has_host(outside.parse().unwrap()), "{outside}");
        }
        assert_eq!(subnet(&Subnet6::at_home([1, 2, 3, 4, 5]).to_string()).prefix(), 64);
        for wrong in
            ["", "fd00::", "fd00::1/64", "10.0.0.0/8", "fd00::/127", "fe80::/64", "ff00::/8"]
        {
            assert!(wrong.parse::<Subnet6>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_is_an_address_as_long_as_there_is_room() {
        let small = subnet("fd00::10:0/120");
        assert_eq!(small.host(255).unwrap().to_string(), "fd00::10:ff");
        assert_eq!(small.host(256), None);
        assert!(subnet("fd00::/64").host(u32::MAX).is_some());
    }

    #[test]
    fn subnets_overlap_where_one_is_in_the_other() {
        assert!(subnet("fd00::/16").overlaps(&subnet("fd00:5::/64")));
        assert!(!subnet("fd00:4::/64").overlaps(&subnet("fd00:5::/64")));
    }
}
