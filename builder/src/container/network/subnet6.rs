//! Ranges of IPv6 addresses. A container has the same number in it as in the network's IPv4 range,
//! so that one choice of an address is a choice of both.

use std::net::Ipv6Addr;

use super::subnet::Subnet;

/// The IPv6 addresses that share their first bits.
pub type Subnet6 = Subnet<Ipv6Addr>;

impl Subnet6 {
    /// A subnet of those that everybody may use at home, made of what is random.
    pub(crate) fn at_home(random: [u8; 5]) -> Self {
        let mut address = [0; 16];
        address[0] = 0xfd;
        address[1..6].copy_from_slice(&random);
        Self::of(address.into(), 64)
    }

    /// Whether a device can have this address: it is inside, and not the first.
    pub fn has_host(&self, address: Ipv6Addr) -> bool {
        self.has(address) && address != self.first()
    }

    /// The address of a number; none when there are not so many.
    pub(crate) fn host(&self, number: u32) -> Option<Ipv6Addr> {
        let (first, number) = (self.first().to_bits(), u128::from(number));
        (number <= self.last() - first).then(|| Ipv6Addr::from_bits(first + number))
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
