//! `network ...` and `port`: where containers are reached and what they reach.

use rbuild::container;
use rbuild::container::network::{self, Connection, NetworkListed, NetworkOptions, Port};
use serde_json::{Value, json};

use super::images::has_label;
use super::{DONE, Outcome, Session, confirm, each, filters, print};
use crate::args::{
    ConnectArgs, DisconnectArgs, NetworkCreateArgs, NetworkInspectArgs, NetworkLsArgs,
    NetworkRmArgs, Networks, PortArgs, PruneArgs,
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
    if args.gateway.is_some() && args.subnet.is_none() {
        return Err(Failure::usage("`--gateway` is an address of `--subnet`, which is missing"));
    }
    let labels =
        args.label.iter().map(|pair| (pair.name.clone(), pair.value.clone().unwrap_or_default()));
    let options = NetworkOptions {
        subnet: args.subnet.as_deref().map(str::parse).transpose()?,
        gateway: args.gateway,
        internal: args.internal,
        labels: labels.collect(),
    };
    let id = network::create(&session.store()?, &args.name, &options)?;
    print(&format!("{id}\n"))?;
    Ok(DONE)
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
        "IPv6": "false",
        "Internal": one.internal.to_string(),
        "Labels": labels.join(","),
        "Name": one.name,
        "Scope": "local",
    })
}

fn titles() -> Value {
    json!({
        "CreatedAt": "CREATED AT", "Driver": "DRIVER", "ID": "NETWORK ID", "IPv4": "IPV4",
        "IPv6": "IPV6", "Internal": "INTERNAL", "Labels": "LABELS", "Name": "NAME",
        "Scope": "SCOPE",
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
        removed => Ok(removed.map(|name| name + "\n")?),
    })
}

fn prune(args: &PruneArgs, session: &Session) -> Outcome {
    if args.all {
        return Err(Failure::usage("networks have no `--all`: those without containers go"));
    }
    let filters = filters(&args.filter)?;
    if let Some((key, _)) = filters.iter().find(|(key, _)| !["label", "label!"].contains(key)) {
        return Err(Failure::usage(format!("there is no filter `{key}`")));
    }
    let question = "This removes all networks in which no container runs. Go on?";
    if !args.force && !confirm(question) {
        return Ok(DONE);
    }
    let removed = network::prune(&session.store()?, |one| {
        filters.iter().all(|(key, value)| has_label(&one.labels, value) == (*key == "label"))
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
        mac: None,
    };
    network::connect(&session.store()?, &args.container, &connection)?;
    Ok(DONE)
}

fn disconnect(args: &DisconnectArgs, session: &Session) -> Outcome {
    network::disconnect(&session.store()?, &args.container, &args.network)?;
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
