//! A container's own network: a namespace with a device for each network that the container is in,
//! and a loopback device.
//!
//! All of it is held by the container's monitor, and most of it by the kernel on the monitor's
//! behalf: the namespace with its devices and addresses, the host's ports, the table of nftables
//! that redirects them, and the name server's sockets go with the process, however it ends.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rbuild_cache::Store;
use rbuild_runtime::network::{
    Links, OwnedTable, Pair, allow_ipv6, keep_ipv6_off, new_namespace, within,
};
use serde::{Deserialize, Serialize};

use super::bridge::{self, Bridge};
use super::definition::{self, DEFAULT};
use super::dns::{Knowledge, Server, Sockets};
use super::held::{HeldPorts, Reached};
use super::mac::Mac;
use super::members::{self, Endpoint, Place6};
use super::ports::Published;
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
    /// Its IPv6 address; none is that of the same number.
    pub address6: Option<Ipv6Addr>,
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
    redirects: Vec<OwnedTable>,
    names: Option<Server>,
    /// What the container's `/etc/resolv.conf` said at its start.
    resolver: String,
}

impl Joined {
    /// Makes the network of a container.
    pub(crate) fn new(store: &Store, folder: &Folder, record: &Record) -> Result<Self> {
        let connections = folder.connections(record)?;
        let has_names = host_files::has_own_names(&connections, &record.options);
        let furnish = || {
            keep_ipv6_off()?;
            Ok((Links::open()?, has_names.then(Sockets::open)))
        };
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
            redirects: Vec::new(),
            names: None,
            resolver: host_files::resolver(&connections, &record.options),
        };
        for connection in &connections {
            joined.connect(connection)?;
        }
        if let Some(to) = joined.reached() {
            (joined.published, joined.held) = HeldPorts::take(record, to)?;
            joined.redirect()?;
        }
        if let Some(sockets) = sockets {
            joined.serve_names(sockets?)?;
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
        let wish = (self.id.as_str(), connection);
        let (address, address6) = bridge.free_address(&network, wish, &mut turn.links)?;
        let place = |((subnet, gateway), address)| Place6 { address, subnet, gateway };
        let endpoint = Endpoint {
            network: network.name.clone(),
            network_id: network.id.clone(),
            device: format!("eth{}", self.devices),
            address,
            subnet: bridge.subnet,
            gateway: bridge.gateway,
            ipv6: bridge.ipv6.zip(address6).map(place),
            mac: connection.mac.unwrap_or_else(|| Mac::of(address)),
            internal: network.internal,
            aliases: connection.aliases.clone(),
        };
        self.devices += 1;
        members::enter(&self.store, &self.id, &endpoint)?;
        let outside = outside_name()?;
        let plugged = self.plug_in(&endpoint, &outside, &bridge, &mut turn.links);
        if let Err(source) = plugged.and_then(|()| self.furnish(&endpoint)) {
            members::leave(&self.store, &self.id, &network.name);
            // Also one that was made and not plugged in to the end.
            if let Ok(Some(link)) = turn.links.find(&outside) {
                let _ = turn.links.remove(&link);
            }
            return Err(Error::Network { source });
        }
        drop(turn);
        self.endpoints.push(endpoint);
        self.tell_names();
        Ok(())
    }

    /// Gives a container that was without names a name server, once it is where names are. Returns
    /// what its `/etc/resolv.conf` said, and is to say, if that has changed.
    pub(crate) fn gain_names(&mut self, record: &Record) -> Result<Option<(String, String)>> {
        let networks = self.endpoints.iter().map(|endpoint| Connection {
            network: endpoint.network.clone(),
            ..Connection::default()
        });
        let networks: Vec<_> = networks.collect();
        if self.names.is_some() || !host_files::has_own_names(&networks, &record.options) {
            return Ok(None);
        }
        let opened = within(self.namespace(), || Ok(Sockets::open())).map_err(Error::network)?;
        self.serve_names(opened?)?;
        let resolver = host_files::resolver(&networks, &record.options);
        let before = std::mem::replace(&mut self.resolver, resolver.clone());
        Ok(Some((before, resolver)))
    }

    fn serve_names(&mut self, sockets: Sockets) -> Result<()> {
        let (networks, servers) = self.known();
        let knowledge = Knowledge { store: self.store.clone(), networks, servers };
        self.names = Some(Server::start(sockets, knowledge)?);
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
            alias: &bridge::note(endpoint, &self.id),
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
        if let Some(place) = endpoint.ipv6 {
            within(self.namespace(), || allow_ipv6(&endpoint.device))?;
            self.inside.add_address(&link, place.address, place.subnet.prefix())?;
        }
        self.inside.bring_up(&link)?;
        if endpoint.internal {
            return Ok(());
        }
        if self.way_out().is_none() {
            self.inside.add_default_route(endpoint.gateway)?;
        }
        match endpoint.ipv6.filter(|_| self.way_out6().is_none()) {
            Some(place) => self.inside.add_default_route(place.gateway),
            None => Ok(()),
        }
    }

    /// Finds other ways out when the last ones are gone; their routes went with their device.
    fn route(&mut self, gone: &Endpoint) -> rbuild_runtime::Result<()> {
        let number = |device: &str| device.trim_start_matches("eth").parse::<usize>().ok();
        let was_first = |other: &&Endpoint| number(&gone.device) < number(&other.device);
        if gone.internal {
            return Ok(());
        }
        if let Some(gateway) = self.way_out().filter(was_first).map(|next| next.gateway) {
            self.inside.add_default_route(gateway)?;
        }
        let next = self.way_out6().filter(was_first).and_then(|next| next.ipv6);
        match next.filter(|_| gone.ipv6.is_some()) {
            Some(place) => self.inside.add_default_route(place.gateway),
            None => Ok(()),
        }
    }

    /// The network by which the rest of the world is reached.
    fn way_out(&self) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| !endpoint.internal)
    }

    /// The network by which the rest of the world is reached by IPv6.
    fn way_out6(&self) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| !endpoint.internal && endpoint.ipv6.is_some())
    }

    /// Where what comes to published ports goes.
    fn reached(&self) -> Option<Reached> {
        let ipv6 = self.way_out6().and_then(|endpoint| endpoint.ipv6);
        let ipv6 = ipv6.map(|place| place.address);
        self.way_out().map(|endpoint| Reached { address: endpoint.address, ipv6 })
    }

    /// Redirects the published ports to where the container is reached now.
    fn redirect(&mut self) -> Result<()> {
        self.redirects.clear();
        let Some(to) = self.reached() else {
            return Ok(());
        };
        self.held.aim(&mut self.published, to);
        for table in rules::of_ports(&self.id, &self.published) {
            self.redirects.push(table.install_owned().map_err(Error::network)?);
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
