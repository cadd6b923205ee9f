//! The bridge of a network: a device of the host and a table of nftables with the same name.
//!
//! What the kernel has is the truth: who has which address is noted on the ports of the bridge,
//! which are gone when a container is, whatever became of the process that watched it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use rbuild_cache::Store;
use rbuild_runtime::network::{Family, Link, Links, Table};

use super::definition::{self, Definition};
use super::rules;
use super::subnet::{self, Subnet};
use super::turn::Turn;
use crate::container::error::{Error, Result};
use crate::container::host_files;

/// The longest packet where no route says otherwise, in bytes.
const USUAL_MTU: u32 = 1500;

/// A bridge that works.
#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) link: Link,
    pub(crate) subnet: Subnet,
    pub(crate) gateway: Ipv4Addr,
}

impl Bridge {
    /// The bridge of a network, made or mended where need be.
    pub(crate) fn of(store: &Store, network: &Definition, turn: &mut Turn) -> Result<Self> {
        let name = network.bridge();
        if let Some(bridge) = Self::found(network, &mut turn.links).map_err(Error::network)? {
            // Who flushes all tables does not know that some are needed.
            if !Table::is_there(Family::V4, &name).map_err(Error::network)? {
                let table = rules::of_network(network, &bridge);
                table.install().map_err(Error::network)?;
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
            Self { link, subnet, gateway }
        }))
    }

    fn make(network: &Definition, subnet: Subnet, links: &mut Links) -> Result<Self> {
        let name = network.bridge();
        let gateway = network.gateway.unwrap_or_else(|| subnet.gateway());
        let mut begin = || -> rbuild_runtime::Result<Self> {
            let mtu = outer_mtu(links)?;
            // One without a note is what a process left that was killed here.
            if links.find(&name)?.is_none() {
                links.add_bridge(&name, mtu)?;
            }
            let link = links.find(&name)?.unwrap_or_else(|| unreachable!("it was just made"));
            links.add_address(&link, gateway, subnet.prefix())?;
            links.bring_up(&link)?;
            let bridge = Self { link, subnet, gateway };
            rules::of_network(network, &bridge).install()?;
            Ok(bridge)
        };
        let begun = begin().map_err(Error::network);
        let made = begun.and_then(|bridge| {
            let own = format!("/proc/sys/net/ipv4/conf/{name}/route_localnet");
            set(&own)?;
            set("/proc/sys/net/ipv4/ip_forward")?;
            links.note(&bridge.link, &network.id).map_err(Error::network)?;
            Ok(bridge)
        });
        if made.is_err() {
            remove(&name, links);
        }
        made
    }

    /// Takes an address of the bridge that no container has; `wanted` if it is given.
    pub(crate) fn free_address(
        &self,
        wanted: Option<Ipv4Addr>,
        links: &mut Links,
    ) -> Result<Ipv4Addr> {
        let ports = links.ports(&self.link).map_err(Error::network)?;
        let mut used: BTreeSet<_> = ports.iter().filter_map(|port| noted(&port.alias)).collect();
        used.insert(self.gateway);
        match wanted {
            Some(address) if !self.subnet.has_host(address) => {
                let reason = format!("it is not in the network's subnet {}", self.subnet);
                Err(Error::Invalid { option: "ip", value: address.to_string(), reason })
            }
            Some(address) if used.contains(&address) => {
                let reason = "another container has it".to_owned();
                Err(Error::Invalid { option: "ip", value: address.to_string(), reason })
            }
            Some(address) => Ok(address),
            None => {
                let free = self.subnet.hosts().find(|host| !used.contains(host));
                free.ok_or(Error::NoAddress(self.subnet))
            }
        }
    }
}

/// What is noted on a port of a bridge: the address at its other end, and whose that is.
pub(crate) fn note(address: Ipv4Addr, id: &str) -> String {
    format!("{address} {id}")
}

fn noted(alias: &str) -> Option<Ipv4Addr> {
    alias.split(' ').next()?.parse().ok()
}

/// Removes a bridge and its table, as far as they are there.
pub(crate) fn remove(name: &str, links: &mut Links) {
    let removed = links.find(name).and_then(|link| match link {
        Some(link) => links.remove(&link),
        None => Ok(()),
    });
    if let Err(error) = removed.and_then(|()| Table::remove(Family::V4, name)) {
        tracing::warn!(name, %error, "a bridge could not be removed");
    }
}

/// A subnet that neither the host nor a network of the store uses.
pub(crate) fn free_subnet(store: &Store, links: &mut Links) -> Result<Subnet> {
    subnet::choose(&taken(store, links)?).ok_or(Error::NoSubnet)
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

/// Turns a setting of the kernel on.
fn set(path: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|value| value.trim() == "1") {
        return Ok(());
    }
    fs::write(path, "1").map_err(Error::file("write", path))
}
