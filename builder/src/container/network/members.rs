//! Which containers are in a network, and what they are called there.
//!
//! `networks/<name>/members/<id>.json` of the store has a container's place in the network. Its
//! monitor writes it, and takes it away at the end. One that a dead monitor left behind is told by
//! its container, which does not run, and counts for nothing.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use rbuild_cache::Store;
use serde::{Deserialize, Serialize};

use super::definition::{self, Definition};
use super::mac::Mac;
use super::subnet::Subnet;
use super::subnet6::Subnet6;
use crate::container::error::{Error, Result};
use crate::container::folder::{Folder, read, replace};
use crate::container::names;

const MEMBERS: &str = "members";

/// A container's place in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's name.
    pub network: String,
    /// The network's id: 64 hexadecimal digits.
    pub network_id: String,
    /// The device's name in the container, such as `eth0`.
    pub device: String,
    /// The container's address.
    pub address: Ipv4Addr,
    /// The addresses of the network.
    pub subnet: Subnet,
    /// The address of the network's bridge.
    pub gateway: Ipv4Addr,
    /// The same of IPv6, in a network that has it.
    #[serde(default)]
    pub ipv6: Option<Place6>,
    /// The container's hardware address.
    pub mac: Mac,
    /// Whether nothing outside is reached from the network.
    pub internal: bool,
    /// What the container is called in the network, besides its name and its short id.
    pub aliases: Vec<String>,
}

/// A container's place among the IPv6 addresses of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place6 {
    /// The container's address.
    pub address: Ipv6Addr,
    /// The addresses of the network.
    pub subnet: Subnet6,
    /// The address of the network's bridge.
    pub gateway: Ipv6Addr,
}

impl Endpoint {
    /// Whether the container has an address there.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.address == address,
            IpAddr::V6(address) => self.ipv6.is_some_and(|place| place.address == address),
        }
    }
}

/// A container that runs, and its place in a network.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) endpoint: Endpoint,
}

fn file(store: &Store, network: &str, id: &str) -> PathBuf {
    definition::folder(store, network).join(MEMBERS).join(format!("{id}.json"))
}

/// Writes down that a container is in a network.
pub(crate) fn enter(store: &Store, id: &str, endpoint: &Endpoint) -> Result<()> {
    let path = file(store, &endpoint.network, id);
    let folder = definition::folder(store, &endpoint.network).join(MEMBERS);
    fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
    replace(&path, endpoint)
}

/// Writes down that a container is not in a network any more.
pub(crate) fn leave(store: &Store, id: &str, network: &str) {
    // One that is gone with its network is gone; one that cannot be removed counts for nothing.
    let _ = fs::remove_file(file(store, network, id));
}

/// The containers in a network that run.
pub(crate) fn members(store: &Store, network: &Definition) -> Result<Vec<Member>> {
    let path = definition::folder(store, &network.name).join(MEMBERS);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("read", &path)(error)),
    };
    let mut members = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::file("read", &path))?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
        if let Some(id) = id.filter(|id| names::is_id(id))
            && let Some(endpoint) = place(store, network, id)?
        {
            members.push(Member { id: id.to_owned(), endpoint });
        }
    }
    members.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(members)
}

/// The place of a container in a network; none when it does not run or is not in it.
fn place(store: &Store, network: &Definition, id: &str) -> Result<Option<Endpoint>> {
    let endpoint: Option<Endpoint> = read(&file(store, &network.name, id))?;
    let Some(endpoint) = endpoint.filter(|endpoint| endpoint.network_id == network.id) else {
        return Ok(None);
    };
    let state = Folder::new(store, id).state()?;
    Ok(state.status.is_alive().then_some(endpoint))
}

/// The places of the containers of a network that are called so: by name, by an alias, or by the
/// first 12 digits of their id.
pub(crate) fn called(store: &Store, network: &Definition, name: &str) -> Result<Vec<Endpoint>> {
    let own = names::by_name(store, name);
    if let Some(id) = &own
        && let Some(endpoint) = place(store, network, id)?
    {
        return Ok(vec![endpoint]);
    }
    let is_called = |member: &Member| {
        let mut aliases = member.endpoint.aliases.iter();
        member.id.get(..12) == Some(name) || aliases.any(|alias| alias.eq_ignore_ascii_case(name))
    };
    let members = members(store, network)?.into_iter();
    Ok(members.filter(is_called).map(|member| member.endpoint).collect())
}

/// The name of the container of a network that has an address.
pub(crate) fn name_of(
    store: &Store,
    network: &Definition,
    address: IpAddr,
) -> Result<Option<String>> {
    let members = members(store, network)?;
    let found = members.into_iter().find(|member| member.endpoint.has(address));
    let Some(member) = found else {
        return Ok(None);
    };
    let names = names::names(store)?.remove(&member.id);
    Ok(names.into_iter().flatten().next())
}
