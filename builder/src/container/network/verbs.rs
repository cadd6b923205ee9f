//! Making, listing and removing networks.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use rbuild_cache::Store;

use super::bridge::{self, Bridge};
use super::definition::{self, Definition};
use super::members;
use super::ports::Published;
use super::subnet::Subnet;
use super::subnet6::Subnet6;
use super::turn::Turn;
use crate::container::error::{Error, Result};
use crate::container::folder::Folder;
use crate::container::names::{self, new_id, random};
use crate::container::parse::{invalid, is_name};
use crate::journal::{self, Entry, Kind};

/// Names that are no network's, or that of one which is always there.
const RESERVED: [&str; 5] = ["bridge", "default", "host", "none", "container"];

/// What a network is to be like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// Its addresses; none is a choice that the host does not use.
    pub subnet: Option<Subnet>,
    /// The address of its bridge; none is the first of the subnet.
    pub gateway: Option<Ipv4Addr>,
    /// Which of its addresses containers get; none is all of them.
    pub range: Option<Subnet>,
    /// Addresses that no container gets, by the names of what has them.
    pub reserved: BTreeMap<String, Ipv4Addr>,
    /// Whether it has IPv6, too.
    pub ipv6: bool,
    /// Its IPv6 addresses; none is a choice of those that everybody may use at home.
    pub subnet6: Option<Subnet6>,
    /// The IPv6 address of its bridge; none is the first of the subnet.
    pub gateway6: Option<Ipv6Addr>,
    /// What its device is called; none is a name made of its id.
    pub device: Option<String>,
    /// The longest packet in bytes; none is that of what leaves the host.
    pub mtu: Option<u32>,
    /// Whether nothing outside is reached from it.
    pub internal: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// One line of `network ls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkListed {
    /// The id: 64 hexadecimal digits.
    pub id: String,
    /// The name.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: &'static str,
    /// Whether it has IPv6, too.
    pub ipv6: bool,
    /// Whether nothing outside is reached from it.
    pub internal: bool,
    /// Whether a container that runs is in it.
    pub in_use: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Makes a network, and returns its id.
pub fn create(store: &Store, name: &str, options: &NetworkOptions) -> Result<String> {
    if !is_name(name) || RESERVED.contains(&name) {
        return Err(invalid(
            "network name",
            name,
            "only [a-zA-Z0-9][a-zA-Z0-9_.-]+ that mean nothing else",
        ));
    }
    let mut turn = Turn::take()?;
    if definition::all(store)?.iter().any(|network| network.name == name) {
        return Err(Error::NetworkTaken(name.to_owned()));
    }
    let network = Definition {
        id: new_id()?,
        name: name.to_owned(),
        created: Timestamp::now(),
        internal: options.internal,
        device: options.device.as_deref().map(device).transpose()?,
        mtu: options.mtu,
        labels: options.labels.clone(),
        ..Definition::default()
    };
    let network = with_ipv4(store, network, options, &mut turn)?;
    let network = with_ipv6(store, network, options, &mut turn)?;
    network.write(store)?;
    if let Err(error) = Bridge::of(store, &network, &mut turn) {
        network.remove(store)?;
        return Err(error);
    }
    note(store, &network, "create");
    Ok(network.id)
}

/// Its addresses, of which the user may have named some.
fn with_ipv4(
    store: &Store,
    network: Definition,
    options: &NetworkOptions,
    turn: &mut Turn,
) -> Result<Definition> {
    let subnet = match options.subnet {
        Some(subnet) => not_in_use(store, subnet, turn)?,
        None => bridge::free_subnet(store, &mut turn.links)?,
    };
    let outside = format!("it is not in the subnet {subnet}");
    if let Some(gateway) = options.gateway.filter(|gateway| !subnet.has_host(*gateway)) {
        return Err(invalid("gateway", &gateway.to_string(), outside));
    }
    let is_within = |range: &Subnet| range.prefix() >= subnet.prefix() && subnet.overlaps(range);
    if let Some(range) = options.range.filter(|range| !is_within(range)) {
        return Err(invalid("ip-range", &range.to_string(), outside));
    }
    if let Some(address) = options.reserved.values().find(|address| !subnet.has_host(**address)) {
        return Err(invalid("aux-address", &address.to_string(), outside));
    }
    Ok(Definition {
        subnet: Some(subnet),
        gateway: options.gateway,
        range: options.range,
        reserved: options.reserved.clone(),
        ..network
    })
}

/// Its IPv6 addresses, if it is to have any.
fn with_ipv6(
    store: &Store,
    network: Definition,
    options: &NetworkOptions,
    turn: &mut Turn,
) -> Result<Definition> {
    if !options.ipv6 && options.subnet6.is_none() {
        return Ok(network);
    }
    let taken = bridge::taken6(store, &mut turn.links)?;
    let subnet = if let Some(subnet) = options.subnet6 {
        subnet
    } else {
        let mut bytes = [0; 5];
        random(&mut bytes)?;
        Subnet6::at_home(bytes)
    };
    if let Some(other) = taken.iter().find(|other| other.overlaps(&subnet)) {
        let reason = format!("the host reaches {other} elsewhere");
        return Err(invalid("subnet", &subnet.to_string(), reason));
    }
    if let Some(gateway) = options.gateway6.filter(|gateway| !subnet.has_host(*gateway)) {
        let reason = format!("it is not in the subnet {subnet}");
        return Err(invalid("gateway", &gateway.to_string(), reason));
    }
    Ok(Definition { subnet6: Some(subnet), gateway6: options.gateway6, ..network })
}

/// A name that a device can have.
fn device(name: &str) -> Result<String> {
    const LONGEST: usize = 15;
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let is_name = !name.is_empty() && name.len() <= LONGEST && name.bytes().all(is_good);
    // Those of our own are taken away by whoever finds them without a note.
    if !is_name || name.starts_with('.') || name.starts_with("rb") {
        return Err(invalid("com.docker.network.bridge.name", name, "not the name of a device"));
    }
    Ok(name.to_owned())
}

fn not_in_use(store: &Store, subnet: Subnet, turn: &mut Turn) -> Result<Subnet> {
    let taken = bridge::taken(store, &mut turn.links)?;
    match taken.iter().find(|other| other.overlaps(&subnet)) {
        Some(other) => Err(invalid(
            "subnet",
            &subnet.to_string(),
            format!("the host reaches {other} elsewhere"),
        )),
        None => Ok(subnet),
    }
}

/// All networks, docker's three included, by name.
pub fn list(store: &Store) -> Result<Vec<NetworkListed>> {
    let mut listed = Vec::new();
    for network in definition::all(store)? {
        listed.push(NetworkListed {
            in_use: !members::members(store, &network)?.is_empty(),
            id: network.id,
            name: network.name,
            driver: "bridge",
            ipv6: network.subnet6.is_some(),
            internal: network.internal,
            created: network.created,
            labels: network.labels,
        });
    }
    listed.extend([("host", "host"), ("none", "null")].map(|(name, driver)| NetworkListed {
        id: blake3::hash(name.as_bytes()).to_hex().to_string(),
        name: name.to_owned(),
        driver,
        ipv6: false,
        internal: false,
        in_use: false,
        created: Timestamp::UNIX_EPOCH,
        labels: BTreeMap::new(),
    }));
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(listed)
}

/// Removes a network in which no container runs, and returns its name.
pub fn remove(store: &Store, name: &str) -> Result<String> {
    let mut turn = Turn::take()?;
    if RESERVED.contains(&name) {
        return Err(invalid("network", name, "it is always there"));
    }
    let network = definition::find(store, name)?;
    if is_in_use(store, &network, &mut turn)? {
        return Err(Error::NetworkInUse(network.name));
    }
    take_down(store, &network, &mut turn)?;
    Ok(network.name)
}

/// Removes every network in which no container runs and of which `wanted` is true, and returns
/// their names.
pub fn prune(store: &Store, wanted: impl Fn(&NetworkListed) -> bool) -> Result<Vec<String>> {
    let mut turn = Turn::take()?;
    let listed = list(store)?;
    let mut removed = Vec::new();
    for network in definition::all(store)?.into_iter().filter(|network| !network.is_default()) {
        let is_wanted = listed.iter().any(|one| one.id == network.id && wanted(one));
        if is_wanted && !is_in_use(store, &network, &mut turn)? {
            take_down(store, &network, &mut turn)?;
            removed.push(network.name);
        }
    }
    Ok(removed)
}

fn take_down(store: &Store, network: &Definition, turn: &mut Turn) -> Result<()> {
    network.remove(store)?;
    bridge::remove(&network.bridge(), &mut turn.links);
    note(store, network, "destroy");
    Ok(())
}

fn note(store: &Store, network: &Definition, action: &str) {
    let entry = Entry::new(Kind::Network, action, &network.id);
    let entry = entry.with("name", &network.name).with("type", "bridge");
    journal::note(store, &[entry]);
}

/// Whether a container that somebody watches is at a port of the bridge. The port of one that has
/// ended stays until the kernel gets round to it.
fn is_in_use(store: &Store, network: &Definition, turn: &mut Turn) -> Result<bool> {
    let Some(bridge) = Bridge::found(network, &mut turn.links).map_err(Error::network)? else {
        return Ok(false);
    };
    for port in turn.links.ports(&bridge.link).map_err(Error::network)? {
        let container = bridge::noted(&port.alias).1.map(|id| Folder::new(store, id));
        if let Some(folder) = container
            && folder.is_held()?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What stands for the ports of a container at the moment, in the order of its ports.
pub fn published(store: &Store, container: &str) -> Result<Vec<Published>> {
    let mut published = names::find(store, container)?.state()?.published;
    published.sort_by_key(|one| (one.port(), one.host));
    Ok(published)
}
