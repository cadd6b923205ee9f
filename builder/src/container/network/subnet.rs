//! Ranges of IPv4 addresses, and choosing one that nobody uses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::container::error::Error;
use crate::container::parse::invalid;

/// The longest prefix that leaves room for a gateway and a container.
const LONGEST_PREFIX: u8 = 30;

/// The addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    first: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The subnet that an address is in, by how many of its bits are the network's.
    pub fn of(address: Ipv4Addr, prefix: u8) -> Self {
        let bits = u32::from(address) & mask(prefix);
        Self { first: Ipv4Addr::from(bits), prefix }
    }

    /// The first of its addresses, which is the network's own.
    pub fn first(&self) -> Ipv4Addr {
        self.first
    }

    /// How many bits its addresses share.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The address after the network's own: the usual gateway.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first) + 1)
    }

    /// Whether an address is in it.
    pub fn has(&self, address: Ipv4Addr) -> bool {
        Self::of(address, self.prefix) == *self
    }

    /// Whether a device can have this address: it is inside, and neither the first nor the last.
    pub fn has_host(&self, address: Ipv4Addr) -> bool {
        let (first, last) = self.ends();
        (first + 1..last).contains(&u32::from(address))
    }

    /// Whether some address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let shared = mask(self.prefix.min(other.prefix));
        u32::from(self.first) & shared == u32::from(other.first) & shared
    }

    /// The addresses that devices can have, in order.
    pub fn hosts(&self) -> impl Iterator<Item = Ipv4Addr> {
        let (first, last) = self.ends();
        (first + 1..last).map(Ipv4Addr::from)
    }

    fn ends(self) -> (u32, u32) {
        let first = u32::from(self.first);
        (first, first | !mask(self.prefix))
    }
}

fn mask(prefix: u8) -> u32 {
    !u32::MAX.checked_shr(u32::from(prefix)).unwrap_or_default()
}

/// Writes it as `172.17.0.0/16`.
impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason| invalid("subnet", text, reason);
        let (address, prefix) =
            text.split_once('/').ok_or_else(|| wrong("expected ADDRESS/BITS"))?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong("only IPv4 is known"))?;
        let prefix = prefix.parse().map_err(|_| wrong("not a number of bits"))?;
        if !(1..=LONGEST_PREFIX).contains(&prefix) {
            return Err(wrong("it has no room for containers"));
        }
        let subnet = Self::of(address, prefix);
        if subnet.first != address {
            return Err(wrong("it does not begin with the network's own address"));
        }
        Ok(subnet)
    }
}

impl TryFrom<String> for Subnet {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
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
