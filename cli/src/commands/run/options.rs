//! The flags of `run` as the library has them.

use std::path::Path;

use rbuild::cdi::DeviceRequest;
use rbuild::container::network::Connection;
use rbuild::container::{self, Mount, Resources, RunOptions};

use super::life::{health, limits, logging};
use super::runtime;
use crate::args::{CreateArgs, Files, Network, Pair, Sandbox, Ulimit, csv};
use crate::commands::signals::{environment, lines, signal};
use crate::commands::volume::known_driver;
use crate::failure::Failure;

/// Everything that was typed, save the image.
pub(super) fn options(args: &CreateArgs, command: &[String]) -> Result<RunOptions, Failure> {
    let options = RunOptions {
        name: args.name.clone(),
        command: command.to_vec(),
        entrypoint: args.entrypoint.as_ref().map(|program| match program.as_str() {
            "" => Vec::new(),
            program => vec![program.to_owned()],
        }),
        env: environment(&args.env_file, &args.env)?,
        workdir: args.workdir.clone(),
        user: args.user.clone(),
        group_add: args.group_add.clone(),
        hostname: args.hostname.clone(),
        domainname: args.domainname.clone(),
        labels: labels(args)?.into_iter().collect(),
        tty: args.tty,
        interactive: args.interactive,
        init: args.init,
        restart: parse(args.restart.as_deref())?,
        stop_signal: args.stop_signal.as_deref().map(signal).transpose()?,
        stop_timeout: args.stop_timeout,
        health: health(&args.health)?,
        log: logging(&args.logging)?,
        mounts: mounts(args)?,
        volumes_from: args.files.volumes_from.clone(),
        read_only: args.files.read_only,
        devices: (args.files.device.iter().filter(|text| !is_described(text)))
            .map(|text| text.parse())
            .collect::<Result<_, _>>()?,
        device_request: device_request(&args.files),
        runtime: runtime::other(args.files.runtime.as_deref())?,
        shm_size: args.files.shm_size.map(|size| size.0),
        ..RunOptions::default()
    };
    sandbox(network(options, &args.network)?, &args.sandbox)
}

fn network(options: RunOptions, typed: &Network) -> Result<RunOptions, Failure> {
    let hosts = typed.add_host.iter().map(|text| container::add_host(text));
    let (network, first, more_networks) = networks(&typed.network)?;
    Ok(RunOptions {
        network,
        network_aliases: [typed.network_alias.clone(), first.aliases].concat(),
        ip: typed.ip.or(first.address),
        ip6: typed.ip6.or(first.address6),
        mac_address: typed.mac_address.as_deref().map(str::parse).transpose()?.or(first.mac),
        more_networks,
        publish: typed.publish.clone(),
        publish_all: typed.publish_all,
        expose: typed.expose.clone(),
        add_hosts: hosts.collect::<Result<_, _>>()?,
        dns: typed.dns.clone(),
        dns_search: typed.dns_search.clone(),
        dns_options: typed.dns_option.clone(),
        ..options
    })
}

fn sandbox(options: RunOptions, typed: &Sandbox) -> Result<RunOptions, Failure> {
    if let Some(mode) = typed.userns.as_deref().filter(|mode| !matches!(*mode, "" | "host")) {
        return Err(Failure::unsupported(&format!("userns {mode}")));
    }
    let limit = |Ulimit { name, soft, hard }: &Ulimit| container::ulimit(name, *soft, *hard);
    Ok(RunOptions {
        privileged: typed.privileged,
        cap_add: typed.cap_add.clone(),
        cap_drop: typed.cap_drop.clone(),
        security_opt: typed.security_opt.clone(),
        ipc: parse(typed.ipc.as_deref())?,
        pid: parse(typed.pid.as_deref())?,
        uts: parse(typed.uts.as_deref())?,
        cgroup_namespace: cgroup_namespace(typed)?,
        sysctls: typed.sysctl.iter().map(pair).collect(),
        ulimits: typed.ulimit.iter().map(limit).collect::<Result<_, _>>()?,
        oom_score_adj: typed.oom_score_adj,
        resources: resources(typed),
        ..options
    })
}

fn resources(typed: &Sandbox) -> Resources {
    Resources {
        // As with docker, -1 is what the machine does anyway.
        memory_swappiness: typed.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        no_memory_kills: typed.oom_kill_disable,
        cgroup_parent: typed.cgroup_parent.clone(),
        ..limits(&typed.limits)
    }
}

/// `private` and `host`, or nothing.
fn cgroup_namespace(typed: &Sandbox) -> Result<container::Share, Failure> {
    match typed.cgroupns.as_deref() {
        None | Some("" | "private") => Ok(container::Share::Private),
        Some("host") => Ok(container::Share::Host),
        Some(other) => Err(Failure::usage(format!("`--cgroupns {other}`: `private` or `host`"))),
    }
}

/// The mode or the first network, what goes with it, and more networks.
fn networks(
    typed: &[String],
) -> Result<(container::Network, Connection, Vec<Connection>), Failure> {
    let mut connections = typed.iter().map(|text| connection(text));
    let first = connections.next().transpose()?.unwrap_or_default();
    let mode: container::Network = first.network.parse()?;
    let more = connections.collect::<Result<Vec<_>, _>>()?;
    let is_own = |network: &container::Network| {
        matches!(network, container::Network::Bridge | container::Network::Named(_))
    };
    for Connection { network, .. } in &more {
        if !is_own(&mode) || !is_own(&network.parse()?) {
            let message = format!("the network `{network}` cannot be one of several");
            return Err(Failure::usage(message));
        }
    }
    Ok((mode, first, more))
}

/// `NAME`, or `name=NAME,alias=A,ip=IP,ip6=IP,mac-address=MAC`.
fn connection(text: &str) -> Result<Connection, Failure> {
    let mut connection = Connection::default();
    if !text.contains('=') {
        text.clone_into(&mut connection.network);
        return Ok(connection);
    }
    let wrong = |why: String| Failure::usage(format!("cannot read `--network {text}`: {why}"));
    for (key, value) in csv(text).map_err(|error| wrong(error.to_string()))? {
        let value = value.unwrap_or_default();
        match key.as_str() {
            "name" => connection.network = value,
            "alias" => connection.aliases.push(value),
            "ip" => {
                let address = value.parse().map_err(|_| wrong(format!("`{value}` is no IPv4")))?;
                connection.address = Some(address);
            }
            "ip6" => {
                let address = value.parse().map_err(|_| wrong(format!("`{value}` is no IPv6")))?;
                connection.address6 = Some(address);
            }
            "mac-address" => connection.mac = Some(value.parse()?),
            _ => return Err(wrong(format!("there is no `{key}`"))),
        }
    }
    if connection.network.is_empty() {
        return Err(wrong("`name` is missing".to_owned()));
    }
    Ok(connection)
}

/// Whether a device is asked for by the name of its description and not by its path.
fn is_described(device: &str) -> bool {
    !device.starts_with('/') && device.contains('=')
}

fn device_request(typed: &Files) -> DeviceRequest {
    DeviceRequest {
        names: typed.device.iter().filter(|text| is_described(text)).cloned().collect(),
        gpus: typed.gpus.clone(),
        by_variables: runtime::is_nvidias(typed.runtime.as_deref()),
        folders: typed.cdi_spec_dir.clone(),
        machine: typed.driver_root.clone(),
    }
}

/// A value in the library's own words; none is the usual one.
fn parse<T>(text: Option<&str>) -> Result<T, Failure>
where
    T: std::str::FromStr<Err = container::Error> + Default,
{
    Ok(text.map(str::parse).transpose()?.unwrap_or_default())
}

fn pair(pair: &Pair) -> (String, String) {
    (pair.name.clone(), pair.value.clone().unwrap_or_default())
}

fn labels(args: &CreateArgs) -> Result<Vec<(String, String)>, Failure> {
    let mut labels = Vec::new();
    for file in &args.label_file {
        for line in lines(file)? {
            let (name, value) = line.split_once('=').unwrap_or((&line, ""));
            labels.push((name.to_owned(), value.to_owned()));
        }
    }
    labels.extend(args.label.iter().map(pair));
    Ok(labels)
}

fn mounts(args: &CreateArgs) -> Result<Vec<Mount>, Failure> {
    let here = std::env::current_dir().map_err(Failure::io("find the working directory"))?;
    let here: &Path = &here;
    known_driver(&args.files.volume_driver)?;
    let mut mounts = Vec::new();
    for text in &args.files.volume {
        mounts.push(Mount::volume(text, here)?);
    }
    for text in &args.files.mount {
        let fields = csv(text)
            .map_err(|error| Failure::usage(format!("cannot read `--mount {text}`: {error}")))?;
        mounts.push(Mount::from_fields(&fields, here)?);
    }
    for text in &args.files.tmpfs {
        mounts.push(Mount::tmpfs(text)?);
    }
    Ok(mounts)
}
