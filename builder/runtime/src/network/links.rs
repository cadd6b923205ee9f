//! Devices of a network namespace, their addresses and routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::netlink::{CREATE, DUMP, EXCLUSIVE, Message, REPLACE, Socket, attributes, text};
use crate::error::{Doing, Result};

const NEW_LINK: u16 = 16;
const REMOVE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;

/// Attributes of a device, as `IFLA_*` has them.
mod link {
    pub(super) const MAC: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const BRIDGE: u16 = 10;
    pub(super) const KIND_INFO: u16 = 18;
    pub(super) const ALIAS: u16 = 20;
    pub(super) const NAMESPACE: u16 = 28;
    pub(super) const WHAT_IS_LISTED: u16 = 29;
    pub(super) const KIND: u16 = 1;
    pub(super) const KIND_DATA: u16 = 2;
    pub(super) const PORT_KIND: u16 = 4;
    pub(super) const PORT_DATA: u16 = 5;
    pub(super) const PEER: u16 = 1;
    pub(super) const HAIRPIN: u16 = 4;
    /// Lists without counters, which are most of them.
    pub(super) const NO_COUNTERS: u32 = 8;
}

/// A device, or one end of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What whoever made it noted on it; mostly empty.
    pub alias: String,
    /// The longest packet, in bytes.
    pub mtu: u32,
}

/// A pair of devices, of which one is a bridge's and the other a container's.
#[derive(Debug)]
pub struct Pair<'a> {
    /// The name of the end that stays.
    pub outside: &'a str,
    /// What is noted on it.
    pub alias: &'a str,
    /// The bridge that it becomes a port of.
    pub bridge: &'a Link,
    /// The name of the other end.
    pub inside: &'a str,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Where it goes.
    pub namespace: BorrowedFd<'a>,
}

/// Where packets to some addresses go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The first of the addresses.
    pub to: IpAddr,
    /// How many of its bits count; 0 is everywhere.
    pub prefix: u8,
    /// The device that they leave by, if it is one.
    pub link: Option<u32>,
}

/// The devices of the network namespace in which this was opened.
#[derive(Debug)]
pub struct Links(Socket);

impl Links {
    /// Opens the way to the devices of this thread's namespace.
    pub fn open() -> Result<Self> {
        Ok(Self(Socket::open(None).doing(|| "ask for network devices")?))
    }

    /// The device of a name.
    pub fn find(&mut self, name: &str) -> Result<Option<Link>> {
        let message = Message::new(GET_LINK, 0, &link_header(0, false))
            .text(link::NAME, name)
            .with(link::WHAT_IS_LISTED, &link::NO_COUNTERS.to_ne_bytes());
        match self.0.ask(message) {
            Ok(answers) => Ok(answers.first().and_then(|answer| read_link(answer))),
            Err(Errno::NODEV) => Ok(None),
            Err(error) => Err(error).doing(|| format!("look for network device {name}")),
        }
    }

    /// The device of a number.
    pub fn at(&mut self, index: u32) -> Result<Option<Link>> {
        let message = Message::new(GET_LINK, 0, &link_header(index, false));
        let answers = self.0.ask(message).doing(|| "look for a network device")?;
        Ok(answers.first().and_then(|answer| read_link(answer)))
    }

    /// The devices that are ports of a bridge.
    pub fn ports(&mut self, bridge: &Link) -> Result<Vec<Link>> {
        let message = Message::new(GET_LINK, DUMP, &link_header(0, false))
            .with(link::BRIDGE, &bridge.index.to_ne_bytes())
            .with(link::WHAT_IS_LISTED, &link::NO_COUNTERS.to_ne_bytes());
        let answers = self.0.ask(message).doing(|| format!("list ports of {}", bridge.name))?;
        let is_port = |answer: &&Vec<u8>| {
            let bridge = &bridge.index.to_ne_bytes()[..];
            attributes(answer, LINK_HEADER).any(|found| found == (link::BRIDGE, bridge))
        };
        Ok(answers.iter().filter(is_port).filter_map(|answer| read_link(answer)).collect())
    }

    /// Makes a bridge.
    pub fn add_bridge(&mut self, name: &str, mtu: u32) -> Result<()> {
        let make = Message::new(NEW_LINK, CREATE | EXCLUSIVE, &link_header(0, false))
            .text(link::NAME, name)
            .nested(link::KIND_INFO, |info| info.text(link::KIND, "bridge"));
        self.0.act(make).doing(|| format!("make bridge {name}"))?;
        // Only what is set afterwards stays as it is, whatever its ports are like.
        let set = Message::new(NEW_LINK, 0, &link_header(0, false))
            .text(link::NAME, name)
            .with(link::MTU, &mtu.to_ne_bytes());
        self.0.act(set).doing(|| format!("set how long packets of {name} are"))
    }

    /// Makes a pair of devices: a port of a bridge, which works at once, and the end of a container.
    pub fn add_pair(&mut self, pair: &Pair<'_>) -> Result<()> {
        let namespace = pair.namespace.as_raw_fd().cast_unsigned();
        let mtu = pair.bridge.mtu.to_ne_bytes();
        let peer = |peer: Message| {
            peer.text(link::NAME, pair.inside)
                .with(link::MAC, &pair.mac)
                .with(link::MTU, &mtu)
                .with(link::NAMESPACE, &namespace.to_ne_bytes())
        };
        let make = Message::new(NEW_LINK, CREATE | EXCLUSIVE, &link_header(0, false))
            .text(link::NAME, pair.outside)
            .with(link::MTU, &mtu)
            .with(link::BRIDGE, &pair.bridge.index.to_ne_bytes())
            .nested(link::KIND_INFO, |info| {
                info.text(link::KIND, "veth").nested(link::KIND_DATA, |data| {
                    data.nested_after(link::PEER, &link_header(0, false), peer)
                })
            });
        self.0.act(make).doing(|| "make a pair of network devices")?;
        // What a container sends to its own published port comes back by the port it came from.
        let prepare = Message::new(NEW_LINK, 0, &link_header(0, true))
            .text(link::NAME, pair.outside)
            .text(link::ALIAS, pair.alias)
            .nested(link::KIND_INFO, |info| {
                info.text(link::PORT_KIND, "bridge")
                    .nested(link::PORT_DATA, |data| data.with(link::HAIRPIN, &[1]))
            });
        self.0.act(prepare).doing(|| format!("bring {} up", pair.outside))
    }

    /// Notes something on a device.
    pub fn note(&mut self, link: &Link, alias: &str) -> Result<()> {
        let message =
            Message::new(NEW_LINK, 0, &link_header(link.index, false)).text(link::ALIAS, alias);
        self.0.act(message).doing(|| format!("note something on {}", link.name))
    }

    /// Lets a device work.
    pub fn bring_up(&mut self, link: &Link) -> Result<()> {
        let message = Message::new(NEW_LINK, 0, &link_header(link.index, true));
        self.0.act(message).doing(|| format!("bring {} up", link.name))
    }

    /// Removes a device, and the other end with it.
    pub fn remove(&mut self, link: &Link) -> Result<()> {
        let message = Message::new(REMOVE_LINK, 0, &link_header(link.index, false));
        self.0.act(message).doing(|| format!("remove {}", link.name))
    }

    /// Gives a device an address, if it has not got it. It can be used at once: nobody else on the
    /// way is asked whether he has it.
    pub fn add_address(
        &mut self,
        link: &Link,
        address: impl Into<IpAddr>,
        prefix: u8,
    ) -> Result<()> {
        const LOCAL: u16 = 2;
        const ADDRESS: u16 = 1;
        const BROADCAST: u16 = 4;
        const UNDISPUTED: u8 = 2;
        let address = address.into();
        let mut header = [0; ADDRESS_HEADER];
        header[0] = family(address);
        header[1] = prefix;
        header[4..].copy_from_slice(&link.index.to_ne_bytes());
        if address.is_ipv6() {
            header[2] = UNDISPUTED;
        }
        let bytes = octets(address);
        let mut message = Message::new(NEW_ADDRESS, CREATE | REPLACE, &header)
            .with(LOCAL, &bytes)
            .with(ADDRESS, &bytes);
        if let IpAddr::V4(address) = address {
            let hosts = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or_default();
            message = message.with(BROADCAST, &(u32::from(address) | hosts).to_be_bytes());
        }
        self.0.act(message).doing(|| format!("give {} the address {address}", link.name))
    }

    /// The first IPv4 address of a device, and how many of its bits are the network's.
    pub fn address(&mut self, link: &Link) -> Result<Option<(Ipv4Addr, u8)>> {
        const LOCAL: u16 = 2;
        let mut header = [0; ADDRESS_HEADER];
        header[0] = INTERNET;
        let message = Message::new(GET_ADDRESS, DUMP, &header);
        let answers = self.0.ask(message).doing(|| "list addresses")?;
        Ok(answers.iter().find_map(|answer| {
            let is_its = answer.get(4..8)? == link.index.to_ne_bytes();
            let local = attributes(answer, ADDRESS_HEADER).find(|(kind, _)| *kind == LOCAL)?.1;
            let address = Ipv4Addr::from(*local.first_chunk::<4>()?);
            is_its.then_some((address, *answer.get(1)?))
        }))
    }

    /// Sends what goes nowhere else to a gateway.
    pub fn add_default_route(&mut self, gateway: impl Into<IpAddr>) -> Result<()> {
        const GATEWAY: u16 = 5;
        let gateway = gateway.into();
        // The main table, made at boot, everywhere, unicast.
        let header = [family(gateway), 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        let message =
            Message::new(NEW_ROUTE, CREATE | EXCLUSIVE, &header).with(GATEWAY, &octets(gateway));
        self.0.act(message).doing(|| format!("route to {gateway}"))
    }

    /// All routes, those of IPv4 first, the kernel's own for each address included.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in [INTERNET, INTERNET_6] {
            let mut header = [0; ROUTE_HEADER];
            header[0] = family;
            let message = Message::new(GET_ROUTE, DUMP, &header);
            let answers = self.0.ask(message).doing(|| "list routes")?;
            // A kernel without a family lists another one in its place.
            let is_its = |answer: &&Vec<u8>| answer.first() == Some(&family);
            routes.extend(answers.iter().filter(is_its).filter_map(|answer| read_route(answer)));
        }
        Ok(routes)
    }
}

const INTERNET: u8 = 2;
const INTERNET_6: u8 = 10;

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { INTERNET } else { INTERNET_6 }
}

/// The bytes of an address as they are in packets.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}

/// The header of a message on a device; `up` also lets it work.
fn link_header(index: u32, up: bool) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    for place in [8, 12] {
        header[place..place + 4].copy_from_slice(&u32::from(up).to_ne_bytes());
    }
    header
}

fn read_route(answer: &[u8]) -> Option<Route> {
    const TO: u16 = 1;
    const LINK: u16 = 4;
    let everywhere = match *answer.first()? {
        INTERNET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let mut route = Route { to: everywhere, prefix: *answer.get(1)?, link: None };
    for (kind, value) in attributes(answer, ROUTE_HEADER) {
        match (kind, value) {
            (TO, &[a, b, c, d]) => route.to = [a, b, c, d].into(),
            (TO, value) => route.to = value.first_chunk::<16>().map_or(route.to, |to| (*to).into()),
            (LINK, value) => route.link = value.first_chunk().map(|link| u32::from_ne_bytes(*link)),
            _ => {}
        }
    }
    Some(route)
}

fn read_link(answer: &[u8]) -> Option<Link> {
    let index = u32::from_ne_bytes(answer.get(4..8)?.try_into().ok()?);
    let mut link = Link { index, name: String::new(), alias: String::new(), mtu: 1500 };
    for (kind, value) in attributes(answer, LINK_HEADER) {
        match kind {
            link::NAME => link.name = text(value),
            link::ALIAS => link.alias = text(value),
            link::MTU => link.mtu = u32::from_ne_bytes(*value.first_chunk()?),
            _ => {}
        }
    }
    Some(link)
}
