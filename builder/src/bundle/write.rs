//! A container of the runtime as a bundle's `config.json`: the way back of `convert.rs`, for other
//! runtimes than this one.

mod mounts;
mod process;

use std::os::fd::AsRawFd;
use std::path::Path;

use rbuild_runtime::cgroup::{DeviceRule, Limits};
use rbuild_runtime::user::User;
use rbuild_runtime::{Container, Device, DeviceNumber, Hook, Namespace, WindowSize};
use serde_json::{Map, Value, json};

use super::error::{Error, Result};
use super::limits::allowed;

pub(crate) use mounts::is_standard;
pub(crate) use process::process;

/// The search path of a hook that is given no variable: without any, some runtimes have hooks
/// inherit those of the container.
const PATH_OF_HOOKS: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a configuration says besides what its container is.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    /// Where the root is.
    pub(crate) root: &'a Path,
    /// Who the first process is.
    pub(crate) user: &'a User,
    /// Its limits.
    pub(crate) limits: &'a Limits,
    /// Its control group.
    pub(crate) group: &'a str,
    /// The size of its terminal, if it has one.
    pub(crate) terminal: Option<WindowSize>,
    /// The process that has the namespaces open which it joins.
    pub(crate) holder: u32,
    /// Whether the machine has one tree of control groups.
    pub(crate) group_tree: bool,
}

/// The configuration. Each device must be resolved, and each mount be of a path or a new file
/// system.
///
/// # Errors
/// What a configuration cannot say.
pub(crate) fn config(container: &Container, around: &Surroundings<'_>) -> Result<Value> {
    let mut linux = json!({
        "namespaces": namespaces(container, around),
        "resources": resources(container, around.limits)?,
        "cgroupsPath": around.group,
        "devices": container.devices.iter().map(device).collect::<Result<Vec<_>>>()?,
        "sysctl": container.sysctls.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "maskedPaths": container.masked_paths,
        "readonlyPaths": container.read_only_paths,
    });
    let (process, seccomp) = process::process(&container.process, around.user, around.terminal)?;
    if let Some(profile) = seccomp {
        linux["seccomp"] = profile;
    }
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": { "path": around.root, "readonly": container.read_only_root },
        "mounts": mounts::mounts(container, around.group_tree)?,
        "linux": linux,
    });
    if !matches!(container.uts, Namespace::Host) {
        let names = [("hostname", &container.hostname), ("domainname", &container.domainname)];
        for (field, name) in names {
            if let Some(name) = name {
                config[field] = json!(name);
            }
        }
    }
    let hooks = hooks(container);
    if !hooks.is_empty() {
        config["hooks"] = Value::Object(hooks);
    }
    match beyond(container) {
        Some(what) => Err(Error::Unsupported(what.to_owned())),
        None => Ok(config),
    }
}

/// What the container is that configurations have no words for.
fn beyond(container: &Container) -> Option<&'static str> {
    match container {
        Container { init: true, .. } => Some("`--init` with another runtime"),
        Container { bare: true, .. } => Some("a container that came from a bundle"),
        _ => None,
    }
}

fn namespaces(container: &Container, around: &Surroundings<'_>) -> Vec<Value> {
    let tree = if around.group_tree { &container.cgroup } else { &Namespace::Host };
    let kinds = [
        ("mount", &container.mount),
        ("network", &container.network),
        ("ipc", &container.ipc),
        ("pid", &container.pid),
        ("uts", &container.uts),
        ("cgroup", tree),
        ("time", &container.time),
    ];
    let described = |(kind, namespace): (&str, &Namespace)| match namespace {
        Namespace::Private => Some(json!({ "type": kind })),
        Namespace::Host => None,
        Namespace::Join(fd) => {
            let path = format!("/proc/{}/fd/{}", around.holder, fd.as_raw_fd());
            Some(json!({ "type": kind, "path": path }))
        }
    };
    kinds.into_iter().filter_map(described).collect()
}

fn device(device: &Device) -> Result<Value> {
    let number = device.number.ok_or_else(|| unresolved(&device.path))?;
    Ok(json!({
        "path": device.path,
        "type": letter(number),
        "major": number.major,
        "minor": number.minor,
        "fileMode": device.mode.unwrap_or(0o666),
        "uid": device.uid.unwrap_or_default(),
        "gid": device.gid.unwrap_or_default(),
    }))
}

fn unresolved(path: &str) -> Error {
    Error::Config(format!("the number of {path} is not known"))
}

fn letter(number: DeviceNumber) -> &'static str {
    if number.block { "b" } else { "c" }
}

fn hooks(container: &Container) -> Map<String, Value> {
    let hooks = &container.hooks;
    let stages = [
        ("prestart", &hooks.before),
        ("createRuntime", &hooks.outside),
        ("createContainer", &hooks.inside),
        ("startContainer", &hooks.start),
    ];
    let some = stages.into_iter().filter(|(_, list)| !list.is_empty());
    some.map(|(stage, list)| (stage.to_owned(), list.iter().map(hook).collect())).collect()
}

fn hook(hook: &Hook) -> Value {
    let env = if hook.env.is_empty() { vec![PATH_OF_HOOKS.to_owned()] } else { hook.env.clone() };
    let mut value = json!({ "path": hook.path, "env": env });
    if !hook.args.is_empty() {
        value["args"] = json!(hook.args);
    }
    if let Some(seconds) = hook.timeout {
        value["timeout"] = json!(seconds);
    }
    value
}

/// The limits that `docker run` has options for, and which devices work.
fn resources(container: &Container, limits: &Limits) -> Result<Value> {
    let mut resources = json!({ "devices": rules(container)? });
    let mut group = |name: &str, fields: &[(&str, Option<Value>)]| {
        let some = fields.iter().filter_map(|(key, value)| Some(((*key).into(), value.clone()?)));
        let some: Map<_, _> = some.collect();
        if !some.is_empty() {
            resources[name] = Value::Object(some);
        }
    };
    group(
        "memory",
        &[
            ("limit", limits.memory.map(Value::from)),
            ("swap", limits.memory_and_swap.map(Value::from)),
            ("reservation", limits.memory_reservation.map(Value::from)),
        ],
    );
    group(
        "cpu",
        &[
            ("shares", limits.cpu_shares.map(Value::from)),
            ("quota", limits.cpu_quota.map(Value::from)),
            ("period", limits.cpu_period.map(Value::from)),
            ("cpus", limits.processors.clone().map(Value::from)),
            ("mems", limits.memory_nodes.clone().map(Value::from)),
        ],
    );
    group("pids", &[("limit", limits.processes.map(Value::from))]);
    group("blockIO", &[("weight", limits.block_weight.map(Value::from))]);
    Ok(resources)
}

/// Nothing but what every container may use, and the container's own.
fn rules(container: &Container) -> Result<Vec<Value>> {
    if container.all_devices {
        return Ok(vec![json!({ "allow": true, "access": "rwm" })]);
    }
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    rules.extend(allowed().iter().map(rule));
    for device in &container.devices {
        let number = device.number.ok_or_else(|| unresolved(&device.path))?;
        rules.push(json!({
            "allow": true,
            "type": letter(number),
            "major": number.major,
            "minor": number.minor,
            "access": "rwm",
        }));
    }
    Ok(rules)
}

fn rule(rule: &DeviceRule) -> Value {
    let access = [(rule.access.read, 'r'), (rule.access.write, 'w'), (rule.access.make, 'm')];
    let access: String = access.iter().filter(|(may, _)| *may).map(|(_, letter)| letter).collect();
    let mut value = json!({ "allow": rule.allow, "access": access });
    if let Some(block) = rule.block {
        value["type"] = json!(if block { "b" } else { "c" });
    }
    for (name, number) in [("major", rule.major), ("minor", rule.minor)] {
        if let Some(number) = number {
            value[name] = json!(number);
        }
    }
    value
}

#[cfg(test)]
mod tests;
