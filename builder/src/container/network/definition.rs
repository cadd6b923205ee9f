//! Networks on disk: `networks/<name>/network.json` of the store says what a network is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use jiff::Timestamp;
use rbuild_cache::Store;
use serde::{Deserialize, Serialize};

use super::subnet::Subnet;
use super::subnet6::Subnet6;
use crate::container::error::{Error, Result};
use crate::container::folder::{read, replace};
use crate::container::names::is_digit;
use crate::container::parse::is_name;

/// The network that containers are in unless they say otherwise.
pub(crate) const DEFAULT: &str = "bridge";
/// The device of the default network, which all stores of a machine share.
const DEFAULT_BRIDGE: &str = "rbuild0";
/// The folder of the store with a folder for each network.
const NETWORKS: &str = "networks";
const FILE: &str = "network.json";

/// What a network is, written once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    /// Its addresses; none is chosen when its bridge is made.
    pub(crate) subnet: Option<Subnet>,
    /// The bridge's own address; none is the first one.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// Which of its addresses containers get; none is all.
    pub(crate) range: Option<Subnet>,
    /// Addresses that no container gets, by what has them.
    #[serde(default)]
    pub(crate) reserved: BTreeMap<String, Ipv4Addr>,
    /// Its IPv6 addresses, if it has any, and the bridge's own; none is the first one.
    pub(crate) subnet6: Option<Subnet6>,
    pub(crate) gateway6: Option<Ipv6Addr>,
    /// Whether nothing outside is reached from it.
    pub(crate) internal: bool,
    /// The device; none is one that is named after the id.
    pub(crate) device: Option<String>,
    /// The longest packet in bytes; none is that of what leaves the host.
    pub(crate) mtu: Option<u32>,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Definition {
    /// The network that is always there, the same for all stores.
    pub(crate) fn default_network() -> Self {
        Self {
            id: blake3::hash(DEFAULT_BRIDGE.as_bytes()).to_hex().to_string(),
            name: DEFAULT.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn is_default(&self) -> bool {
        self.name == DEFAULT
    }

    /// The device, and the table of nftables, of the network.
    pub(crate) fn bridge(&self) -> String {
        let short = self.id.get(..12).unwrap_or(&self.id);
        match &self.device {
            _ if self.is_default() => DEFAULT_BRIDGE.to_owned(),
            Some(device) => device.clone(),
            None => format!("rb-{short}"),
        }
    }

    /// Its IPv6 addresses, and the bridge's own.
    pub(crate) fn range6(&self) -> Option<(Subnet6, Ipv6Addr)> {
        self.subnet6.map(|subnet| (subnet, self.gateway6.unwrap_or_else(|| subnet.gateway())))
    }

    /// Whether an address is one of the network's.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.subnet.is_some_and(|subnet| subnet.has(address)),
            IpAddr::V6(address) => self.subnet6.is_some_and(|subnet| subnet.has(address)),
        }
    }

    /// Writes the network down, which brings it into being.
    pub(crate) fn write(&self, store: &Store) -> Result<()> {
        let folder = folder(store, &self.name);
        fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
        replace(&folder.join(FILE), self)
    }

    /// Removes the network from the disk.
    pub(crate) fn remove(&self, store: &Store) -> Result<()> {
        let folder = folder(store, &self.name);
        // Without this it is no network any more, whatever happens to the rest.
        let file = folder.join(FILE);
        fs::remove_file(&file).map_err(Error::file("remove", &file))?;
        fs::remove_dir_all(&folder).map_err(Error::file("remove", &folder))
    }
}

/// The folder of a network.
pub(crate) fn folder(store: &Store, name: &str) -> PathBuf {
    store.root().join(NETWORKS).join(name)
}

/// The network with a name, an id, or the only id that begins so.
pub(crate) fn find(store: &Store, name: &str) -> Result<Definition> {
    if name == DEFAULT {
        return Ok(Definition::default_network());
    }
    if is_name(name)
        && let Some(found) = read(&folder(store, name).join(FILE))?
    {
        return Ok(found);
    }
    let is_start = !name.is_empty() && name.bytes().all(is_digit);
    let mut found = all(store)?.into_iter().filter(|one| is_start && one.id.starts_with(name));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(Error::NoNetwork(name.to_owned())),
    }
}

/// All networks that have a bridge, by name.
pub(crate) fn all(store: &Store) -> Result<Vec<Definition>> {
    let mut networks = vec![Definition::default_network()];
    let path = store.root().join(NETWORKS);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(networks),
        Err(error) => return Err(Error::file("read", &path)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(Error::file("read", &path))?;
        networks.extend(read::<Definition>(&entry.path().join(FILE))?);
    }
    networks.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(networks)
}
