//! A container's own network: a namespace with a device for each network that the container is in,
//! and a loopback device.
//!
//! All of it is held by the container's monitor, and most of it by the kernel on the monitor's
//! behalf: the namespace with its devices and addresses, the host's ports, the table of nftables
//! that redirects them, and the name server's sockets go with the process, however it ends.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rbuild_cache::Store;
use rbuild_runtime::network::{Links, OwnedTable, Pair, new_namespace};
use serde::{Deserialize, Serialize};

use super::bridge::{self, Bridge};
use super::definition::{self, DEFAULT};
use super::dns::{Knowledge, Server, Sockets};
use super::mac::Mac;
use super::members::{self, Endpoint};
use super::ports::{self, HeldPorts, Published};
use super::rules;
use super::turn::Turn;
use crate::container::error::{Error, Result};
use crate::container::folder::{Folder, Record};
use crate::container::host_files;
use crate::container::names::random;

/// That a container is to be in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// The network, by name or id.
    pub network: String,
    /// What the container is called there, besides its name and its short id.
    pub aliases: Vec<String>,
    /// Its address; none is any that is free.
    pub address: Option<Ipv4Addr>,
    /// Its hardware address; none is made of the address.
    pub mac: Option<Mac>,
}

/// A container's network while the container runs.
#[derive(Debug)]
pub(crate) struct Joined {
    store: Store,
    id: String,
    namespace: OwnedFd,
    inside: Links,
    /// The servers that know other names than those of containers.
    servers: Vec<SocketAddr>,
    /// How many devices there have been, so that each has a name of its own.
    devices: usize,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) published: Vec<Published>,
    /// The ports are the container's as long as this lives.
    held: HeldPorts,
    redirects: Option<OwnedTable>,
    names: Option<Server>,
}

impl Joined {
    /// Makes the network of a container.
    pub(crate) fn new(store: &Store, folder: &Folder, record: &Record) -> Result<Self> {
        let connections = folder.connections(record)?;
        let has_names = host_files::has_own_names(&connections, &record.options);
        let furnish = || Ok((Links::open()?, has_names.then(Sockets::open)));
        let (namespace, (inside, sockets)) = new_namespace(furnish).map_err(Error::network)?;
        let mut joined = Self {
            store: store.clone(),
            id: folder.id.clone(),
            namespace,
            inside,
            servers: host_files::upstream(&record.options),
            devices: 0,
            endpoints: Vec::new(),
            published: Vec::new(),
            held: HeldPorts::default(),
            redirects: None,
            names: None,
        };
        for connection in &connections {
            joined.connect(connection)?;
        }
        if let Some(to) = joined.way_out().map(|endpoint| endpoint.address) {
            (joined.published, joined.held) = ports::take(record, to)?;
            joined.redirect()?;
        }
        if let Some(sockets) = sockets {
            let (networks, servers) = joined.known();
            let knowledge = Knowledge { store: store.clone(), networks, servers };
            joined.names = Some(Server::start(sockets?, knowledge)?);
        }
        Ok(joined)
    }

    /// The namespace, for the runtime.
    pub(crate) fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// Puts the container into one more network.
    pub(crate) fn connect(&mut self, connection: &Connection) -> Result<()> {
        // Other processes wait with their containers until this one has its address.
        let mut turn = Turn::take()?;
        let network = definition::find(&self.store, &connection.network)?;
        if self.endpoints.iter().any(|endpoint| endpoint.network_id == network.id) {
            return Err(Error::AlreadyConnected(network.name));
        }
        let bridge = Bridge::of(&self.store, &network, &mut turn)?;
        let address = bridge.free_address(connection.address, &mut turn.links)?;
        let mac = connection.mac.unwrap_or_else(|| Mac::of(address));
        let endpoint = Endpoint {
            network: network.name.clone(),
            network_id: network.id.clone(),
            device: format!("eth{}", self.devices),
            address,
            subnet: bridge.subnet,
            gateway: bridge.gateway,
            mac,
            internal: network.internal,
            aliases: connection.aliases.clone(),
        };
        self.devices += 1;
        members::enter(&self.store, &self.id, &endpoint)?;
        let outside = outside_name()?;
        let plugged = self.plug_in(&endpoint, &outside, &bridge, &mut turn.links);
        drop(turn);
        if let Err(source) = plugged.and_then(|()| self.furnish(&endpoint)) {
            members::leave(&self.store, &self.id, &network.name);
            return Err(Error::Network { source });
        }
        self.endpoints.push(endpoint);
        self.tell_names();
        Ok(())
    }

    /// Takes the container out of a network, by the network's name.
    pub(crate) fn disconnect(&mut self, network: &str) -> Result<()> {
        let found = self.endpoints.iter().position(|endpoint| endpoint.network == network);
        let endpoint =
            self.endpoints.remove(found.ok_or_else(|| Error::NotConnected(network.to_owned()))?);
        members::leave(&self.store, &self.id, network);
        let mut unplug = || {
            if let Some(link) = self.inside.find(&endpoint.device)? {
                self.inside.remove(&link)?;
            }
            Ok(())
        };
        unplug().map_err(Error::network)?;
        self.route(&endpoint).map_err(Error::network)?;
        self.redirect()?;
        self.tell_names();
        Ok(())
    }

    fn plug_in(
        &self,
        endpoint: &Endpoint,
        outside: &str,
        bridge: &Bridge,
        host: &mut Links,
    ) -> rbuild_runtime::Result<()> {
        host.add_pair(&Pair {
            outside,
            alias: &bridge::note(endpoint.address, &self.id),
            bridge: &bridge.link,
            inside: &endpoint.device,
            mac: endpoint.mac.bytes(),
            namespace: self.namespace.as_fd(),
        })
    }

    /// Gives the container's end of a pair its address, and the way out where it is the first.
    fn furnish(&mut self, endpoint: &Endpoint) -> rbuild_runtime::Result<()> {
        let Some(link) = self.inside.find(&endpoint.device)? else {
            return Ok(());
        };
        self.inside.add_address(&link, endpoint.address, endpoint.subnet.prefix())?;
        self.inside.bring_up(&link)?;
        if endpoint.internal || self.way_out().is_some() {
            return Ok(());
        }
        self.inside.add_default_route(endpoint.gateway)
    }

    /// Finds another way out when the last one is gone; its route went with its device.
    fn route(&mut self, gone: &Endpoint) -> rbuild_runtime::Result<()> {
        let number = |device: &str| device.trim_start_matches("eth").parse::<usize>().ok();
        let was_first = |other: &Endpoint| number(&gone.device) < number(&other.device);
        match self.way_out() {
            Some(next) if !gone.internal && was_first(next) => {
                let gateway = next.gateway;
                self.inside.add_default_route(gateway)
            }
            _ => Ok(()),
        }
    }

    /// The network by which the rest of the world is reached.
    fn way_out(&self) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| !endpoint.internal)
    }

    /// Redirects the published ports to where the container is reached now.
    fn redirect(&mut self) -> Result<()> {
        self.redirects = None;
        let Some(to) = self.way_out().map(|endpoint| endpoint.address) else {
            return Ok(());
        };
        for published in &mut self.published {
            published.container.set_ip(to);
        }
        if !self.published.is_empty() {
            let table = rules::of_ports(&self.id, &self.published);
            self.redirects = Some(table.install_owned().map_err(Error::network)?);
        }
        Ok(())
    }

    /// What the name server has to know: networks with names, and servers for the rest.
    fn known(&self) -> (Vec<String>, Vec<SocketAddr>) {
        let networks = self.endpoints.iter().map(|endpoint| endpoint.network.clone());
        let servers = if self.way_out().is_some() { self.servers.clone() } else { Vec::new() };
        (networks.filter(|network| network != DEFAULT).collect(), servers)
    }

    fn tell_names(&self) {
        if let Some(names) = &self.names {
            let (networks, servers) = self.known();
            names.learn(networks, servers);
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        for endpoint in &self.endpoints {
            members::leave(&self.store, &self.id, &endpoint.network);
        }
    }
}

/// A name for the host's end of a pair. That of the last run may not be gone yet.
fn outside_name() -> Result<String> {
    let mut bytes = [0; 5];
    random(&mut bytes)?;
    Ok(bytes.iter().fold("rbe-".to_owned(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    }))
}
