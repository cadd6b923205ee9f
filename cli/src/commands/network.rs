//! `network ...` and `port`: where containers are reached and what they reach.

use std::net::{IpAddr, Ipv4Addr};

use rbuild::container;
use rbuild::container::network::{self, Connection, NetworkListed, NetworkOptions, Port};
use serde_json::{Value, json};

use super::images::{has_label, until};
use super::{DONE, Outcome, Session, confirm, each, filters, print};
use crate::args::{
    ConnectArgs, DisconnectArgs, NetworkCreateArgs, NetworkInspectArgs, NetworkLsArgs,
    NetworkRmArgs, Networks, Pair, PortArgs, PruneUnusedArgs,
};
use crate::failure::Failure;
use crate::format::Format;
use crate::table::{short_id, time};

const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";

pub(super) fn run(verb: &Networks, session: &Session) -> Outcome {
    match verb {
        Networks::Create(args) => create(args, session),
        Networks::Ls(args) => list(args, session),
        Networks::Inspect(args) => inspect(args, session),
        Networks::Rm(args) => remove(args, session),
        Networks::Prune(args) => prune(args, session),
        Networks::Connect(args) => connect(args, session),
        Networks::Disconnect(args) => disconnect(args, session),
    }
}

fn create(args: &NetworkCreateArgs, session: &Session) -> Outcome {
    if let Some(flag) = args.foreign.refused() {
        return Err(Failure::unsupported(flag));
    }
    if args.driver != "bridge" {
        let message =
            format!("the driver `{}` is not supported: networks are bridges", args.driver);
        let hint = "`host` and `none` are there without being made: `rbuild run --network host`";
        return Err(Failure::usage(message).hint(hint));
    }
    let labels =
        args.label.iter().map(|pair| (pair.name.clone(), pair.value.clone().unwrap_or_default()));
    let options = NetworkOptions {
        range: args.ip_range.as_deref().map(str::parse).transpose()?,
        reserved: args.aux_address.iter().map(reserved).collect::<Result<_, _>>()?,
        ipv6: args.ipv6,
        internal: args.internal,
        labels: labels.collect(),
        ..NetworkOptions::default()
    };
    let options = addresses(args, options)?;
    let options = args.opt.iter().try_fold(options, driver)?;
    let id = network::create(&session.store()?, &args.name, &options)?;
    print(&format!("{id}\n"))?;
    Ok(DONE)
}

/// The subnets and gateways of both kinds, of which there is one each.
fn addresses(args: &NetworkCreateArgs, options: NetworkOptions) -> Result<NetworkOptions, Failure> {
    let twice = |what: &str| Failure::usage(format!("a network has one {what} of a kind"));
    let mut options = options;
    for text in &args.subnet {
        let is_second = if text.contains(':') {
            options.subnet6.replace(text.parse()?).is_some()
        } else {
            options.subnet.replace(text.parse()?).is_some()
        };
        if is_second {
            return Err(twice("`--subnet`"));
        }
    }
    for gateway in &args.gateway {
        let (is_second, has_subnet) = match *gateway {
            IpAddr::V4(it) => (options.gateway.replace(it).is_some(), options.subnet.is_some()),
            IpAddr::V6(it) => (options.gateway6.replace(it).is_some(), options.subnet6.is_some()),
        };
        if is_second {
            return Err(twice("`--gateway`"));
        }
        if !has_subnet {
            let message = format!("`--gateway {gateway}` is an address of a missing `--subnet`");
            return Err(Failure::usage(message));
        }
    }
    if (options.range.is_some() || !options.reserved.is_empty()) && options.subnet.is_none() {
        let message = "`--ip-range` and `--aux-address` are of `--subnet`, which is missing";
        return Err(Failure::usage(message));
    }
    Ok(options)
}

fn reserved(pair: &Pair) -> Result<(String, Ipv4Addr), Failure> {
    let address = pair.value.as_deref().and_then(|value| value.parse().ok());
    let wrong = || Failure::usage(format!("`--aux-address {}` has no IPv4 address", pair.name));
    address.map(|address| (pair.name.clone(), address)).ok_or_else(wrong)
}

/// What docker's driver of bridges is told by `--opt`. What changes nothing here is let pass.
fn driver(options: NetworkOptions, pair: &Pair) -> Result<NetworkOptions, Failure> {
    let value = pair.value.clone().unwrap_or_default();
    let wrong = || Failure::usage(format!("`--opt {}={value}` is not supported", pair.name));
    match pair.name.strip_prefix("com.docker.network.").ok_or_else(wrong)? {
        "bridge.name" => Ok(NetworkOptions { device: Some(value), ..options }),
        "driver.mtu" => {
            let mtu = value.parse().ok().filter(|mtu| (68..=65535).contains(mtu));
            Ok(NetworkOptions { mtu: Some(mtu.ok_or_else(wrong)?), ..options })
        }
        "bridge.enable_icc" | "bridge.enable_ip_masquerade" if value == "true" => Ok(options),
        _ => Err(wrong()),
    }
}

fn list(args: &NetworkLsArgs, session: &Session) -> Outcome {
    let mut listed = network::list(&session.store()?)?;
    for (key, value) in filters(&args.filter)? {
        filter(&mut listed, key, value)?;
    }
    let id = |one: &NetworkListed| {
        if args.no_trunc { one.id.clone() } else { short_id(&one.id).to_owned() }
    };
    if args.quiet && args.format.is_none() {
        print(&listed.iter().map(|one| id(one) + "\n").collect::<String>())?;
        return Ok(DONE);
    }
    let rows: Vec<_> = listed.iter().map(|one| row(one, &id(one))).collect();
    let format = args.format.as_deref().filter(|format| *format != "table").unwrap_or(TABLE);
    print(&Format::parse(format)?.rows(&titles(), &rows)?)?;
    Ok(DONE)
}

fn filter(listed: &mut Vec<NetworkListed>, key: &str, value: &str) -> Result<(), Failure> {
    let is_builtin = |one: &NetworkListed| ["bridge", "host", "none"].contains(&one.name.as_str());
    match key {
        "id" => listed.retain(|one| one.id.starts_with(value)),
        "name" => listed.retain(|one| one.name.contains(value)),
        "driver" => listed.retain(|one| one.driver == value),
        "scope" => listed.retain(|_| value == "local"),
        "label" => listed.retain(|one| has_label(&one.labels, value)),
        "dangling" => {
            // Those in which nobody is; docker's own are never told so.
            listed.retain(|one| !is_builtin(one) && one.in_use != (value == "true"));
        }
        "type" => listed.retain(|one| is_builtin(one) == (value == "builtin")),
        _ => return Err(Failure::usage(format!("there is no filter `{key}`"))),
    }
    Ok(())
}

fn row(one: &NetworkListed, id: &str) -> Value {
    let labels: Vec<_> = one.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "CreatedAt": time(one.created.as_second()),
        "Driver": one.driver,
        "ID": id,
        "IPv4": "true",
        "IPv6": one.ipv6.to_string(),
        "Internal": one.internal.to_string(),
        "Label": one.labels,
        "Labels": labels.join(","),
        "Name": one.name,
        "Scope": "local",
    })
}

fn titles() -> Value {
    json!({
        "CreatedAt": "CREATED AT", "Driver": "DRIVER", "ID": "NETWORK ID", "IPv4": "IPV4",
        "IPv6": "IPV6", "Internal": "INTERNAL", "Label": "LABEL", "Labels": "LABELS",
        "Name": "NAME", "Scope": "SCOPE",
    })
}

fn inspect(args: &NetworkInspectArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let format = args.format.as_deref().map(Format::parse).transpose()?;
    let mut found = Vec::new();
    let code = each(&args.networks, |name| {
        found.push(network::inspect(&store, name)?);
        Ok(String::new())
    })?;
    match format {
        Some(format) => {
            for value in &found {
                print(&format.one(value)?)?;
            }
        }
        None => print(&format!("{:#}\n", Value::from(found)))?,
    }
    Ok(code)
}

fn remove(args: &NetworkRmArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    each(&args.networks, |name| match network::remove(&store, name) {
        Err(container::Error::NoNetwork(_)) if args.force => Ok(String::new()),
        // To make it is not what who removes it wants.
        Err(error @ container::Error::NoNetwork(_)) => Err(Failure::failed(error.to_string())),
        removed => Ok(removed.map(|name| name + "\n")?),
    })
}

fn prune(args: &PruneUnusedArgs, session: &Session) -> Outcome {
    let (mut labels, mut before) = (Vec::new(), i64::MAX);
    for (key, value) in filters(&args.filter)? {
        match key {
            "label" => labels.push((value, true)),
            "label!" => labels.push((value, false)),
            "until" => before = before.min(until(value)?),
            _ => return Err(Failure::usage(format!("there is no filter `{key}`"))),
        }
    }
    let question = "This removes all networks in which no container runs. Go on?";
    if !args.force && !confirm(question) {
        return Ok(DONE);
    }
    let removed = network::prune(&session.store()?, |one| {
        let fits = |(label, has): &(&str, bool)| has_label(&one.labels, label) == *has;
        labels.iter().all(fits) && one.created.as_second() < before
    })?;
    if !removed.is_empty() {
        print(&format!("Deleted Networks:\n{}\n\n", removed.join("\n")))?;
    }
    Ok(DONE)
}

fn connect(args: &ConnectArgs, session: &Session) -> Outcome {
    let connection = Connection {
        network: args.network.clone(),
        aliases: args.alias.clone(),
        address: args.ip,
        address6: args.ip6,
        mac: None,
    };
    network::connect(&session.store()?, &args.container, &connection)?;
    Ok(DONE)
}

fn disconnect(args: &DisconnectArgs, session: &Session) -> Outcome {
    network::disconnect(&session.store()?, &args.container, &args.network, args.force)?;
    Ok(DONE)
}

/// `port`: what stands for the ports of a container.
pub(super) fn port(args: &PortArgs, session: &Session) -> Outcome {
    let published = network::published(&session.store()?, &args.container)?;
    let Some(text) = &args.port else {
        for one in &published {
            print(&format!("{} -> {}\n", one.port(), one.host))?;
        }
        return Ok(DONE);
    };
    let port: Port = text.parse()?;
    let mut is_there = false;
    for one in published.iter().filter(|one| one.port() == port) {
        is_there = true;
        print(&format!("{}\n", one.host))?;
    }
    if is_there {
        return Ok(DONE);
    }
    let message = format!("no public port '{port}' published for {}", args.container);
    Err(Failure::failed(message))
}
