//! The bridge of a network: a device of the host and a table of nftables with the same name.
//!
//! What the kernel has is the truth: who has which address is noted on the ports of the bridge,
//! which are gone when a container is, whatever became of the process that watched it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rbuild_cache::Store;
use rbuild_runtime::network::{Family, Link, Links, Table};

use super::definition::{self, Definition};
use super::join::Connection;
use super::members::Endpoint;
use super::rules;
use super::subnet::{self, Subnet};
use super::subnet6::Subnet6;
use super::turn::Turn;
use crate::container::error::{Error, Result};
use crate::container::host_files;
use crate::container::parse::invalid;

/// The longest packet where no route says otherwise, in bytes.
const USUAL_MTU: u32 = 1500;

/// A bridge that works.
#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) link: Link,
    pub(crate) subnet: Subnet,
    pub(crate) gateway: Ipv4Addr,
    /// The same of IPv6, if the network has it.
    pub(crate) ipv6: Option<(Subnet6, Ipv6Addr)>,
}

impl Bridge {
    /// The bridge of a network, made or mended where need be.
    pub(crate) fn of(store: &Store, network: &Definition, turn: &mut Turn) -> Result<Self> {
        let name = network.bridge();
        if let Some(bridge) = Self::found(network, &mut turn.links).map_err(Error::network)? {
            // Who flushes all tables does not know that some are needed.
            for table in rules::of_network(network, &bridge) {
                if !Table::is_there(table.family, &name).map_err(Error::network)? {
                    table.install().map_err(Error::network)?;
                }
            }
            return Ok(bridge);
        }
        let subnet = match network.subnet {
            Some(subnet) => subnet,
            None => free_subnet(store, &mut turn.links)?,
        };
        Self::make(network, subnet, &mut turn.links)
    }

    /// The bridge of a network, if it was made to its end.
    pub(crate) fn found(
        network: &Definition,
        links: &mut Links,
    ) -> rbuild_runtime::Result<Option<Self>> {
        let Some(link) = links.find(&network.bridge())?.filter(|link| link.alias == network.id)
        else {
            return Ok(None);
        };
        let address = links.address(&link)?;
        Ok(address.map(|(gateway, prefix)| {
            let subnet = Subnet::of(gateway, prefix);
            Self { link, subnet, gateway, ipv6: network.range6() }
        }))
    }

    fn make(network: &Definition, subnet: Subnet, links: &mut Links) -> Result<Self> {
        let name = network.bridge();
        // One of ours without a note is what a process left that was killed here. What is called
        // as the user wished may be anybody's.
        let left = links.find(&name).map_err(Error::network)?;
        if left.is_some() && network.device.is_some() {
            return Err(invalid("device", &name, "there is one already"));
        }
        let mut begin = || -> Result<Self> {
            if left.is_none() {
                let mtu = network.mtu.map_or_else(|| outer_mtu(links), Ok);
                links.add_bridge(&name, mtu.map_err(Error::network)?).map_err(Error::network)?;
            }
            let link = links.find(&name).map_err(Error::network)?;
            let link = link.unwrap_or_else(|| unreachable!("it was just made"));
            let gateway = network.gateway.unwrap_or_else(|| subnet.gateway());
            let bridge = Self { link, subnet, gateway, ipv6: network.range6() };
            bridge.prepare(&name)?;
            bridge.begin(network, links).map_err(Error::network)?;
            Ok(bridge)
        };
        let made = begin();
        if made.is_err() {
            remove(&name, links);
        }
        made
    }

    /// What the kernel has to do with packets of the bridge.
    fn prepare(&self, name: &str) -> Result<()> {
        let own = |family: u8, setting| format!("/proc/sys/net/ipv{family}/conf/{name}/{setting}");
        set(&own(4, "route_localnet"), "1")?;
        set("/proc/sys/net/ipv4/ip_forward", "1")?;
        if !fs::exists("/proc/sys/net/ipv6").unwrap_or_default() {
            return Ok(());
        }
        // No container tells the host where the world is, nor speaks to it behind its rules.
        set(&own(6, "accept_ra"), "0")?;
        set(&own(6, "disable_ipv6"), if self.ipv6.is_some() { "0" } else { "1" })?;
        if self.ipv6.is_some() { forward_ipv6() } else { Ok(()) }
    }

    fn begin(&self, network: &Definition, links: &mut Links) -> rbuild_runtime::Result<()> {
        links.add_address(&self.link, self.gateway, self.subnet.prefix())?;
        if let Some((subnet, gateway)) = self.ipv6 {
            links.add_address(&self.link, gateway, subnet.prefix())?;
        }
        links.bring_up(&self.link)?;
        for table in rules::of_network(network, self) {
            table.install()?;
        }
        // The end of it: without this it is made again.
        links.note(&self.link, &network.id)
    }

    /// Takes addresses of the bridge that no container has; those that are wanted, if any are.
    pub(crate) fn free_address(
        &self,
        network: &Definition,
        (id, wanted): (&str, &Connection),
        links: &mut Links,
    ) -> Result<(Ipv4Addr, Option<Ipv6Addr>)> {
        let mut used: BTreeSet<IpAddr> = BTreeSet::new();
        for port in links.ports(&self.link).map_err(Error::network)? {
            let (addresses, whose) = noted(&port.alias);
            // That of the container's last run, which the kernel has not got round to.
            if whose == Some(id) {
                links.remove(&port).map_err(Error::network)?;
            } else {
                used.extend(addresses);
            }
        }
        used.extend(network.reserved.values().map(|address| IpAddr::V4(*address)));
        used.insert(self.gateway.into());
        used.extend(self.ipv6.map(|(_, gateway)| IpAddr::V6(gateway)));
        let wanted6 = self.wanted6(wanted, &used)?;
        let both = |address| {
            let numbered =
                || self.counterpart(address).filter(|one| !used.contains(&(*one).into()));
            match self.ipv6 {
                None => Some((address, None)),
                Some(_) => wanted6.or_else(numbered).map(|found| (address, Some(found))),
            }
        };
        let wrong = |address: Ipv4Addr, reason: String| invalid("ip", &address.to_string(), reason);
        match wanted.address {
            Some(address) if !self.subnet.has_host(address) => {
                Err(wrong(address, format!("it is not in the network's subnet {}", self.subnet)))
            }
            Some(address) if used.contains(&address.into()) => {
                Err(wrong(address, "another container has it".to_owned()))
            }
            Some(address) => both(address)
                .ok_or_else(|| wrong(address, "its number has no free IPv6 address".to_owned())),
            None => {
                let range = network.range.unwrap_or(self.subnet);
                let mut free = range
                    .hosts()
                    .filter(|host| self.subnet.has_host(*host) && !used.contains(&(*host).into()));
                free.find_map(both).ok_or(Error::NoAddress(range))
            }
        }
    }

    fn wanted6(&self, wanted: &Connection, used: &BTreeSet<IpAddr>) -> Result<Option<Ipv6Addr>> {
        let Some(address) = wanted.address6 else {
            return Ok(None);
        };
        let wrong = |reason: &str| Err(invalid("ip6", &address.to_string(), reason));
        match self.ipv6 {
            None => wrong("the network has no IPv6: make one with `network create --ipv6`"),
            Some((subnet, _)) if !subnet.has_host(address) => {
                wrong(&format!("it is not in the network's subnet {subnet}"))
            }
            Some(_) if used.contains(&address.into()) => wrong("another container has it"),
            Some(_) => Ok(Some(address)),
        }
    }

    /// The IPv6 address of the same number.
    fn counterpart(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        self.ipv6?.0.host(u32::from(address) - u32::from(self.subnet.first()))
    }
}

/// What is noted on a port of a bridge: the address at its other end, whose that is, and the
/// address of IPv6.
pub(crate) fn note(endpoint: &Endpoint, id: &str) -> String {
    let address = endpoint.address;
    match endpoint.ipv6 {
        Some(place) => format!("{address} {id} {}", place.address),
        None => format!("{address} {id}"),
    }
}

/// The addresses that are noted, and whose they are.
pub(crate) fn noted(alias: &str) -> (impl Iterator<Item = IpAddr>, Option<&str>) {
    (alias.split(' ').filter_map(|word| word.parse().ok()), alias.split(' ').nth(1))
}

/// Removes a bridge and its table, as far as they are there.
pub(crate) fn remove(name: &str, links: &mut Links) {
    let removed = links.find(name).and_then(|link| match link {
        Some(link) => links.remove(&link),
        None => Ok(()),
    });
    let tables = || [Family::V4, Family::V6].iter().try_for_each(|one| Table::remove(*one, name));
    if let Err(error) = removed.and_then(|()| tables()) {
        tracing::warn!(name, %error, "a bridge could not be removed");
    }
}

/// A subnet that neither the host nor a network of the store uses.
pub(crate) fn free_subnet(store: &Store, links: &mut Links) -> Result<Subnet> {
    subnet::choose(&taken(store, links)?).ok_or(Error::NoSubnet)
}

/// The IPv6 subnets that the host or a network of the store uses.
pub(crate) fn taken6(store: &Store, links: &mut Links) -> Result<Vec<Subnet6>> {
    let routes = links.routes().map_err(Error::network)?.into_iter();
    let mut taken: Vec<_> = routes
        .filter_map(|route| match route.to {
            IpAddr::V6(to) if route.prefix > 0 => Some(Subnet6::of(to, route.prefix)),
            _ => None,
        })
        .collect();
    taken.extend(definition::all(store)?.into_iter().filter_map(|network| network.subnet6));
    Ok(taken)
}

/// The subnets that the host or a network of the store uses.
pub(crate) fn taken(store: &Store, links: &mut Links) -> Result<Vec<Subnet>> {
    let routes = links.routes().map_err(Error::network)?;
    let routes = routes.iter().filter(|route| route.prefix > 0);
    let mut taken: Vec<_> = routes
        .filter_map(|route| match route.to {
            IpAddr::V4(to) => Some(Subnet::of(to, route.prefix)),
            IpAddr::V6(_) => None,
        })
        .collect();
    taken.extend(definition::all(store)?.into_iter().filter_map(|network| network.subnet));
    // A name server is reached by the route to everywhere, unless a bridge stands in its way.
    let servers = host_files::servers().into_iter().filter_map(|server| server.parse().ok());
    taken.extend(servers.map(|server: Ipv4Addr| Subnet::of(server, 32)));
    Ok(taken)
}

/// The longest packet that leaves the host whole.
fn outer_mtu(links: &mut Links) -> rbuild_runtime::Result<u32> {
    let routes = links.routes()?;
    let outside = routes.iter().filter(|route| route.prefix == 0).find_map(|route| route.link);
    let device = outside.map(|link| links.at(link)).transpose()?.flatten();
    Ok(device.map_or(USUAL_MTU, |device| device.mtu))
}

/// Lets the kernel pass IPv6 on. A host that passes packets on learns no routes any more from the
/// routers around it, unless it is told to all the same.
fn forward_ipv6() -> Result<()> {
    const ALL: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
    const FOLDER: &str = "/proc/sys/net/ipv6/conf";
    if fs::read_to_string(ALL).is_ok_and(|value| value.trim() == "1") {
        return Ok(());
    }
    for entry in fs::read_dir(FOLDER).map_err(Error::file("read", FOLDER))? {
        let path = entry.map_err(Error::file("read", FOLDER))?.path().join("accept_ra");
        if fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1") {
            fs::write(&path, "2").map_err(Error::file("write", &path))?;
        }
    }
    set(ALL, "1")
}

/// Gives a setting of the kernel a value.
fn set(path: &str, wanted: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|value| value.trim() == wanted) {
        return Ok(());
    }
    fs::write(path, wanted).map_err(Error::file("write", path))
}
