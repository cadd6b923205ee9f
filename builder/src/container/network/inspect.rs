//! What docker says about networks, and about a container's place in them, as JSON.

use rbuild_cache::Store;
use serde_json::{Map, Value, json};

use super::bridge::Bridge;
use super::definition::{self, Definition};
use super::members::{self, Endpoint};
use super::ports::{self, Published};
use super::verbs::{NetworkListed, list};
use crate::container::error::{Error, Result};
use crate::container::folder::{Folder, Record};
use crate::container::list::network;
use crate::container::names;
use crate::container::options::Network;
use crate::container::state::State;

/// The object that `docker network inspect` has in its array.
pub fn inspect(store: &Store, name: &str) -> Result<Value> {
    let listed = list(store)?.into_iter();
    if let Some(plain) = listed.filter(|one| one.driver != "bridge").find(|one| one.name == name) {
        return Ok(described(&plain, &json!([]), &Map::new(), &Map::new()));
    }
    let network = definition::find(store, name)?;
    let config = ranges(&network)?;
    let mut names = names::names(store)?;
    let containers = members::members(store, &network)?.into_iter().map(|member| {
        let name = names.remove(&member.id).into_iter().flatten().next().unwrap_or_default();
        let Endpoint { address, subnet, mac, .. } = &member.endpoint;
        let value = json!({
            "Name": name,
            "EndpointID": endpoint_id(&member.id, &network.id),
            "MacAddress": mac,
            "IPv4Address": format!("{address}/{}", subnet.prefix()),
            "IPv6Address": member.endpoint.ipv6.map(|place| {
                format!("{}/{}", place.address, place.subnet.prefix())
            }).unwrap_or_default(),
        });
        (member.id, value)
    });
    let containers = containers.collect();
    let found = list(store)?.into_iter().find(|one| one.id == network.id);
    let found = found.ok_or_else(|| Error::NoNetwork(name.to_owned()))?;
    Ok(described(&found, &config, &containers, &options(&network)))
}

/// The addresses of a network; those of the default one are known once its bridge is there.
fn ranges(network: &Definition) -> Result<Value> {
    let mut known =
        network.subnet.map(|subnet| (subnet, network.gateway.unwrap_or_else(|| subnet.gateway())));
    if known.is_none() {
        let mut links = rbuild_runtime::network::Links::open().map_err(Error::network)?;
        let bridge = Bridge::found(network, &mut links).map_err(Error::network)?;
        known = bridge.map(|bridge| (bridge.subnet, bridge.gateway));
    }
    let mut ranges = Vec::new();
    if let Some((subnet, gateway)) = known {
        let mut range = json!({ "Subnet": subnet, "Gateway": gateway });
        if let Some(part) = network.range {
            range["IPRange"] = json!(part);
        }
        if !network.reserved.is_empty() {
            range["AuxiliaryAddresses"] = json!(network.reserved);
        }
        ranges.push(range);
    }
    if let Some((subnet, gateway)) = network.range6() {
        ranges.push(json!({ "Subnet": subnet, "Gateway": gateway }));
    }
    Ok(ranges.into())
}

/// What was asked for with `--opt`.
fn options(network: &Definition) -> Map<String, Value> {
    let mut options = Map::new();
    if let Some(device) = &network.device {
        options.insert("com.docker.network.bridge.name".to_owned(), json!(device));
    }
    if let Some(mtu) = network.mtu {
        options.insert("com.docker.network.driver.mtu".to_owned(), json!(mtu.to_string()));
    }
    options
}

fn described(
    network: &NetworkListed,
    config: &Value,
    containers: &Map<String, Value>,
    options: &Map<String, Value>,
) -> Value {
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": true,
        "EnableIPv6": network.ipv6,
        "IPAM": { "Driver": "default", "Options": null, "Config": config },
        "Internal": network.internal,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": containers,
        "Options": options,
        "Labels": network.labels,
    })
}

fn endpoint_id(container: &str, network: &str) -> String {
    blake3::hash(format!("{container} {network}").as_bytes()).to_hex().to_string()
}

/// A container's `NetworkSettings`.
pub(crate) fn settings(folder: &Folder, record: &Record, state: &State) -> Result<Value> {
    let mut networks = Map::new();
    for endpoint in &state.endpoints {
        networks.insert(endpoint.network.clone(), place(&folder.id, endpoint));
    }
    match &record.options.network {
        Network::Container(_) => {}
        Network::Host | Network::None => {
            networks.insert(network(&record.options.network), nowhere());
        }
        Network::Bridge | Network::Named(_) => {
            for connection in folder.connections(record)? {
                networks.entry(connection.network).or_insert_with(nowhere);
            }
        }
    }
    // As docker has it, only the default network is also told outside of the list.
    let default = state.endpoints.iter().find(|endpoint| endpoint.network == definition::DEFAULT);
    let mut settings = default.map_or_else(nowhere, |endpoint| place(&folder.id, endpoint));
    settings["Ports"] = bound(record, &state.published);
    settings["Networks"] = networks.into();
    Ok(settings)
}

fn place(container: &str, endpoint: &Endpoint) -> Value {
    json!({
        "Aliases": endpoint.aliases,
        "NetworkID": endpoint.network_id,
        "EndpointID": endpoint_id(container, &endpoint.network_id),
        "Gateway": endpoint.gateway,
        "IPAddress": endpoint.address,
        "IPPrefixLen": endpoint.subnet.prefix(),
        "IPv6Gateway": text(endpoint.ipv6.map(|place| place.gateway)),
        "GlobalIPv6Address": text(endpoint.ipv6.map(|place| place.address)),
        "GlobalIPv6PrefixLen": endpoint.ipv6.map_or(0, |place| place.subnet.prefix()),
        "MacAddress": endpoint.mac,
    })
}

fn nowhere() -> Value {
    json!({
        "Aliases": null, "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "",
        "IPPrefixLen": 0, "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
        "MacAddress": "",
    })
}

fn text(address: Option<std::net::Ipv6Addr>) -> String {
    address.map(|address| address.to_string()).unwrap_or_default()
}

/// The container's ports and what stands for them; null for those that are only exposed.
fn bound(record: &Record, published: &[Published]) -> Value {
    let mut bound = Map::new();
    for port in ports::all_exposed(record) {
        bound.insert(port.to_string(), Value::Null);
    }
    for one in published {
        let host = json!({
            "HostIp": one.host.ip().to_string(), "HostPort": one.host.port().to_string(),
        });
        match bound.get_mut(&one.port().to_string()) {
            Some(Value::Array(several)) => several.push(host),
            _ => drop(bound.insert(one.port().to_string(), json!([host]))),
        }
    }
    bound.into()
}
