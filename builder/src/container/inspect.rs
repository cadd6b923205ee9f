//! What docker says about a container, as json.

use rbuild_cache::Store;
use serde_json::{Map, Value, json};

use crate::cdi::Gpus;

use super::error::{Error, Result};
use super::folder::{Folder, Record};
use super::health::healthcheck;
use super::limits::Resources;
use super::list::network;
use super::log::LogConfig;
use super::mounts::{Bind, Mount, Source};
use super::options::{Restart, RunOptions, Share};
use super::state::{State, Status};
use super::{environment, names, sandbox, volumes};

/// How docker writes a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The object that `docker inspect` has in its array.
pub fn inspect(store: &Store, name: &str) -> Result<Value> {
    let folder = names::find(store, name)?;
    let record = folder.record()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
    let state = folder.state()?;
    let name = names::names(store)?.remove(&folder.id).into_iter().flatten().next();
    let argv = sandbox::argv(&record)?;
    let mounts: Vec<_> =
        record.options.mounts.iter().map(|mount| described(store, mount)).collect();
    Ok(json!({
        "Id": folder.id,
        "Created": record.created,
        "Path": argv[0],
        "Args": argv[1..],
        "State": described_state(&state),
        "Image": record.image,
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": folder.log(),
        "Name": format!("/{}", name.unwrap_or_default()),
        "RestartCount": state.restarts,
        "Driver": "overlayfs",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config(&record.options),
        "GraphDriver": {
            "Name": "overlayfs",
            "Data": { "UpperDir": folder.files(), "WorkDir": folder.work() },
        },
        "Mounts": mounts,
        "Config": config(&folder, &record, &argv),
        "NetworkSettings": super::network::settings(&folder, &record, &state)?,
    }))
}

fn described_state(state: &State) -> Value {
    let time =
        |time: Option<jiff::Timestamp>| time.map_or_else(|| NEVER.to_owned(), |t| t.to_string());
    let mut value = json!({
        "Status": state.status,
        "Running": state.status.is_alive(),
        "Paused": state.status == Status::Paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.status == Status::Dead,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": time(state.started),
        "FinishedAt": time(state.finished),
    });
    if let Some(health) = &state.health {
        value["Health"] = json!(health);
    }
    value
}

fn config(folder: &Folder, record: &Record, argv: &[String]) -> Value {
    let (options, image) = (&record.options, &record.config);
    let entrypoint = options.entrypoint.as_ref().unwrap_or(&image.entrypoint);
    let hostname = sandbox::hostname(folder, options);
    let env: Vec<_> = environment::environment(record, &hostname)
        .into_iter()
        .filter(|line| !line.starts_with("HOSTNAME="))
        .collect();
    let mut labels = image.labels.clone();
    labels.extend(options.labels.clone());
    let mut value = json!({
        "Hostname": hostname,
        "Domainname": options.domainname.as_deref().unwrap_or_default(),
        "User": options.user.as_ref().unwrap_or(&image.user),
        "AttachStdin": options.interactive,
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": options.tty,
        "OpenStdin": options.interactive,
        "StdinOnce": options.interactive,
        "Env": env,
        "Cmd": argv.get(entrypoint.len()..).unwrap_or_default(),
        "Image": record.reference,
        "Volumes": if image.volumes.is_empty() { Value::Null } else { set(&image.volumes) },
        "WorkingDir": options.workdir.as_ref().unwrap_or(&image.working_dir),
        "Entrypoint": if entrypoint.is_empty() { Value::Null } else { json!(entrypoint) },
        "OnBuild": null,
        "Labels": labels,
    });
    let stop_signal = options.stop_signal.map(|signal| signal.to_string());
    let stop_signal = stop_signal.unwrap_or_else(|| image.stop_signal.clone());
    if !stop_signal.is_empty() {
        value["StopSignal"] = json!(stop_signal);
    }
    if let Some(timeout) = options.stop_timeout {
        value["StopTimeout"] = json!(timeout);
    }
    if let Some(check) = healthcheck(record) {
        value["Healthcheck"] = json!(check);
    }
    let exposed = super::network::all_exposed(record);
    if !exposed.is_empty() {
        value["ExposedPorts"] = set(&exposed.iter().map(ToString::to_string).collect());
    }
    value
}

fn host_config(options: &RunOptions) -> Value {
    let binds: Vec<_> = options.mounts.iter().filter_map(bind).collect();
    let (policy, most) = match options.restart {
        Restart::No => ("no", 0),
        Restart::OnFailure(most) => ("on-failure", most.unwrap_or_default()),
        Restart::Always => ("always", 0),
        Restart::UnlessStopped => ("unless-stopped", 0),
    };
    let hosts: Vec<_> =
        options.add_hosts.iter().map(|(host, address)| format!("{host}:{address}")).collect();
    let devices: Vec<_> = options
        .devices
        .iter()
        .map(|device| json!({ "PathOnHost": device.host, "PathInContainer": device.path }))
        .collect();
    let sysctls: Map<_, _> =
        options.sysctls.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let mut value = json!({
        "Binds": binds,
        "VolumesFrom": options.volumes_from,
        "NetworkMode": network(&options.network),
        "PortBindings": super::network::wished(&options.publish),
        "RestartPolicy": { "Name": policy, "MaximumRetryCount": most },
        "AutoRemove": options.remove,
        "LogConfig": log_config(options.log),
        "CapAdd": options.cap_add,
        "CapDrop": options.cap_drop,
        "Dns": options.dns,
        "DnsOptions": options.dns_options,
        "DnsSearch": options.dns_search,
        "ExtraHosts": hosts,
        "GroupAdd": options.group_add,
        "IpcMode": shared(&options.ipc, "private"),
        "OomScoreAdj": options.oom_score_adj.unwrap_or_default(),
        "PidMode": shared(&options.pid, ""),
        "Privileged": options.privileged,
        "PublishAllPorts": options.publish_all,
        "ReadonlyRootfs": options.read_only,
        "SecurityOpt": options.security_opt,
        "Sysctls": sysctls,
        "UTSMode": shared(&options.uts, ""),
        "ShmSize": options.shm_size.unwrap_or(64 << 20),
        "Runtime": runtime(options),
        "Init": options.init,
        "Devices": devices,
    });
    value["CgroupnsMode"] = json!(shared(&options.cgroup_namespace, "private"));
    value["UsernsMode"] = json!("");
    for (name, limit) in limits(&options.resources) {
        value[name] = limit;
    }
    let in_memory = tmpfs(&options.mounts);
    if !in_memory.is_empty() {
        value["Tmpfs"] = in_memory.into();
    }
    if let Some(gpus) = &options.device_request.gpus {
        value["DeviceRequests"] = json!([device_request(gpus)]);
    }
    value
}

/// The file systems in memory and their options, by place.
fn tmpfs(mounts: &[Mount]) -> Map<String, Value> {
    let options = |mount: &Mount| match &mount.source {
        Source::Tmpfs(tmpfs) => Some(tmpfs.size.map(|size| format!("size={size}"))),
        _ => None,
    };
    let described = mounts.iter().filter_map(|mount| {
        Some((mount.target.clone(), options(mount)?.unwrap_or_default().into()))
    });
    described.collect()
}

/// `--gpus` as docker has it.
fn device_request(gpus: &Gpus) -> Value {
    let (count, names) = match gpus {
        Gpus::All => (json!(-1), Value::Null),
        Gpus::Count(count) => (json!(count), Value::Null),
        Gpus::Named(names) => (json!(0), json!(names)),
    };
    json!({
        "Driver": "", "Count": count, "DeviceIDs": names, "Capabilities": [["gpu"]],
        "Options": {},
    })
}

/// The limits, by the names that docker has for them.
fn limits(resources: &Resources) -> Vec<(&'static str, Value)> {
    let limits = resources.limits();
    let nano_cpus = resources.cpus.and(limits.cpu_quota).map(|micros| micros * 10_000);
    vec![
        ("Memory", json!(limits.memory.unwrap_or_default())),
        ("MemorySwap", json!(limits.memory_and_swap.unwrap_or_default())),
        ("MemoryReservation", json!(limits.memory_reservation.unwrap_or_default())),
        ("NanoCpus", json!(nano_cpus.unwrap_or_default())),
        ("CpuShares", json!(limits.cpu_shares.unwrap_or_default())),
        ("CpuPeriod", json!(resources.cpu_period.unwrap_or_default())),
        ("CpuQuota", json!(resources.cpu_quota.unwrap_or_default())),
        ("CpusetCpus", json!(limits.processors.unwrap_or_default())),
        ("CpusetMems", json!(limits.memory_nodes.unwrap_or_default())),
        ("PidsLimit", json!(resources.pids_limit)),
        ("BlkioWeight", json!(limits.block_weight.unwrap_or_default())),
        ("CgroupParent", json!(resources.cgroup_parent.as_deref().unwrap_or_default())),
        ("OomKillDisable", json!(resources.no_memory_kills)),
        ("MemorySwappiness", json!(resources.memory_swappiness)),
    ]
}

fn runtime(options: &RunOptions) -> &str {
    match &options.runtime {
        Some(other) => &other.name,
        None if options.device_request.by_variables => "nvidia",
        None => "rbuild",
    }
}

fn log_config(log: LogConfig) -> Value {
    let mut config = Map::new();
    if let Some(size) = log.max_size {
        config.insert("max-size".to_owned(), json!(size.to_string()));
    }
    if log.max_file > 0 {
        config.insert("max-file".to_owned(), json!(log.max_file.to_string()));
    }
    json!({ "Type": log.driver.to_string(), "Config": config })
}

fn shared(share: &Share, private: &str) -> String {
    match share {
        Share::Private => private.to_owned(),
        Share::Host => "host".to_owned(),
        Share::Container(name) => format!("container:{name}"),
    }
}

fn bind(mount: &Mount) -> Option<String> {
    let source = match &mount.source {
        Source::Bind(bind) => bind.path.display().to_string(),
        Source::Volume(volume) => volume.name.clone()?,
        Source::Tmpfs(_) | Source::Image(_) => return None,
    };
    let access = if mount.read_only { ":ro" } else { "" };
    Some(format!("{source}:{}{access}", mount.target))
}

fn described(store: &Store, mount: &Mount) -> Value {
    let mut value = match &mount.source {
        Source::Bind(bind) => json!({ "Type": "bind", "Source": bind.path }),
        Source::Image(image) => json!({ "Type": "image", "Source": image.reference }),
        Source::Volume(volume) => {
            let name = volume.name.as_deref().unwrap_or_default();
            let source = volumes::path(store, name);
            json!({ "Type": "volume", "Name": name, "Source": source, "Driver": "local" })
        }
        Source::Tmpfs(_) => json!({ "Type": "tmpfs", "Source": "" }),
    };
    value["Destination"] = json!(mount.target);
    value["Mode"] = json!(if mount.read_only { "ro" } else { "" });
    value["RW"] = json!(!mount.read_only);
    value["Propagation"] = match &mount.source {
        Source::Bind(Bind { propagation: Some(propagation), .. }) => json!(propagation.to_string()),
        Source::Bind(_) => json!("rprivate"),
        _ => json!(""),
    };
    value
}

/// A set as Docker writes it: an object whose values are empty objects.
fn set(names: &std::collections::BTreeSet<String>) -> Value {
    names.iter().map(|name| (name.clone(), json!({}))).collect::<serde_json::Map<_, _>>().into()
}
