//! Putting a container into networks, and taking it out, whether or not it runs.

use rbuild_cache::Store;
use serde::{Deserialize, Serialize};

use super::{Attached, Connection, DEFAULT};
use super::{definition, resolver};
use crate::container::control;
use crate::container::error::{Error, Result};
use crate::container::folder::{Folder, Record};
use crate::container::message::Act;
use crate::container::names;
use crate::container::options::Network;
use crate::container::parse::invalid;
use crate::container::state::State;

/// A change of the networks that a container is in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Change {
    Connect(Connection),
    /// By the network's name.
    Disconnect(String),
}

/// Puts a container into one more network.
pub fn connect(store: &Store, container: &str, connection: &Connection) -> Result<()> {
    if matches!(&*connection.network, "host" | "none") {
        let network = &*connection.network;
        let reason =
            format!("a container cannot be connected to {network} network once it is made");
        return Err(invalid("network", network, reason));
    }
    let network = definition::find(store, &connection.network)?;
    check(&network.name, connection)?;
    let connection = Connection { network: network.name, ..connection.clone() };
    change(store, container, &Change::Connect(connection))
}

/// Takes a container out of a network. With `force`, one that is not in it, or is not there, is
/// no error.
pub fn disconnect(store: &Store, container: &str, network: &str, force: bool) -> Result<()> {
    let network = definition::find(store, network)?;
    if force && !is_in(store, container, &network.name)? {
        return Ok(());
    }
    change(store, container, &Change::Disconnect(network.name))
}

fn is_in(store: &Store, container: &str, network: &str) -> Result<bool> {
    let folder = match names::find(store, container) {
        Err(Error::NotFound(_)) => return Ok(false),
        found => found?,
    };
    let Some(record) = folder.record()? else {
        return Ok(false);
    };
    Ok(folder.connections(&record)?.iter().any(|one| one.network == network))
}

/// Refuses what only networks of one's own have.
pub(crate) fn check(network: &str, connection: &Connection) -> Result<()> {
    let own_only = "only networks that were made by `network create` have these";
    if network == DEFAULT {
        if let Some(address) = connection.address {
            return Err(invalid("ip", &address.to_string(), own_only));
        }
        if let Some(address) = connection.address6 {
            return Err(invalid("ip6", &address.to_string(), own_only));
        }
        if let Some(alias) = connection.aliases.first() {
            return Err(invalid("network-alias", alias, own_only));
        }
    }
    Ok(())
}

fn change(store: &Store, container: &str, change: &Change) -> Result<()> {
    let folder = names::find(store, container)?;
    let record = folder.record()?.ok_or_else(|| Error::NotFound(container.to_owned()))?;
    if !matches!(record.options.network, Network::Bridge | Network::Named(_)) {
        let reason = "its network is not its own";
        return Err(invalid("container", container, reason));
    }
    match control::connect(&folder) {
        Ok(stream) => control::ask(&folder, stream, &Act::Network(Box::new(change.clone()))),
        Err(Error::NotRunning(_)) => {
            let held = folder.lock()?.ok_or_else(|| Error::Busy(container.to_owned()))?;
            note(&folder, &record, change)?;
            drop(held);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Changes the networks of a container that runs; for its monitor.
pub(crate) fn apply(
    change: &Change,
    attached: &mut Attached,
    (folder, record): (&Folder, &Record),
    state: &mut State,
) -> Result<()> {
    let Attached::Joined(joined) = attached else {
        return Err(Error::NotRunning(folder.short().to_owned()));
    };
    let changed = match change {
        Change::Connect(connection) => joined.connect(connection),
        Change::Disconnect(network) => joined.disconnect(network),
    };
    // What was done in part is part of its state, too.
    state.endpoints.clone_from(&joined.endpoints);
    state.published.clone_from(&joined.published);
    folder.write_state(state)?;
    changed?;
    if let Some((before, after)) = joined.gain_names(record)? {
        resolver::rewrite(state.pid, &before, &after);
    }
    note(folder, record, change)
}

/// Writes down which networks the container is in from now on, also when it is started again.
fn note(folder: &Folder, record: &Record, change: &Change) -> Result<()> {
    let mut connections = folder.connections(record)?;
    match change {
        Change::Connect(connection) => {
            let is_same = |other: &Connection| other.network == connection.network;
            if connections.iter().any(is_same) {
                return Err(Error::AlreadyConnected(connection.network.clone()));
            }
            connections.push(connection.clone());
        }
        Change::Disconnect(network) => {
            let before = connections.len();
            connections.retain(|other| other.network != *network);
            if connections.len() == before {
                return Err(Error::NotConnected(network.clone()));
            }
        }
    }
    folder.write_connections(&connections)
}
