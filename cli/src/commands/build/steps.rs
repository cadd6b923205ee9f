//! What the steps of a build get: their sandbox, and what of the caller's is lent to them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use rbuild::cdi::Grants;
use rbuild::{Build, Network, SecretSource, SshSource, container};

use crate::args::{Allow, BuildArgs, SecretSource as Typed, SshFlag, Ulimit};
use crate::config;
use crate::failure::Failure;

/// What every RUN gets.
pub(super) fn sandbox(mut build: Build, args: &BuildArgs) -> Result<Build, Failure> {
    match args.network.as_deref() {
        None | Some("default" | "bridge") => {}
        Some("none") => build = build.network(Network::None),
        Some("host") => build = build.network(Network::Host),
        Some(other) => {
            let message = format!("`--network {other}` is not supported in a build");
            return Err(Failure::usage(message).hint("use `default`, `none` or `host`"));
        }
    }
    for host in &args.add_hosts {
        let (name, address) = container::add_host(host)?;
        build = build.add_host(name, address);
    }
    if let Some(size) = args.shm_size {
        build = build.shm_size(size.0);
    }
    for Ulimit { name, soft, hard } in &args.ulimits {
        let limit = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
        build = build.ulimit(name, limit(*soft), limit(*hard));
    }
    Ok(allow(build, args))
}

/// What `--allow` gives leave for.
fn allow(mut build: Build, args: &BuildArgs) -> Build {
    let mut devices = Grants::default();
    for what in &args.allow {
        match what {
            Allow::Insecure => build = build.allow_insecure(true),
            // One is the default here, and the other is for outputs.
            Allow::HostNetwork | Allow::LocalDelete => {}
            Allow::Devices => devices.all(),
            Allow::Device { name, alias: None } => devices.device(name),
            Allow::Device { name, alias: Some(alias) } => devices.alias(alias, name),
        }
    }
    build.allow_devices(devices)
}

/// What the steps that ask for it may use of the caller's.
pub(super) fn lend(build: Build, args: &BuildArgs) -> Result<Build, Failure> {
    agents(secrets(build, args)?, args)
}

fn secrets(mut build: Build, args: &BuildArgs) -> Result<Build, Failure> {
    let value = |name: &str| config::variable(name).map(String::into_bytes);
    for secret in &args.secrets {
        let file = |path: &str| match fs::metadata(path) {
            Ok(_) => Ok(SecretSource::File(path.into())),
            Err(error) => Err(Failure::io(format!("read the secret file `{path}`"))(error)),
        };
        let source = match &secret.source {
            Typed::File(path) => file(path)?,
            Typed::Env(name) => match value(name) {
                Some(value) => SecretSource::Value(value),
                // A step that needs it says so; one that doesn't may run without.
                None => continue,
            },
            Typed::Either(id) => match value(id) {
                Some(value) => SecretSource::Value(value),
                None => file(id)?,
            },
        };
        build = build.secret(&secret.id, source);
    }
    Ok(build)
}

fn agents(mut build: Build, args: &BuildArgs) -> Result<Build, Failure> {
    let mut known = BTreeSet::new();
    for agent in &args.ssh {
        if !known.insert(&agent.id) {
            return Err(Failure::usage(format!("`--ssh {}` is given twice", agent.id)));
        }
        build = build.ssh(&agent.id, agent_source(agent)?);
    }
    Ok(build)
}

/// Tells the socket of an agent from files of keys.
fn agent_source(agent: &SshFlag) -> Result<SshSource, Failure> {
    let is_socket = |path: &PathBuf| match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.file_type().is_socket()),
        Err(error) => {
            Err(Failure::io(format!("find the SSH agent or key `{}`", path.display()))(error))
        }
    };
    let paths = match agent.paths.as_slice() {
        [] => {
            let socket = config::variable("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
            let socket = socket.ok_or_else(|| {
                let id = &agent.id;
                Failure::usage(format!("`--ssh {id}` finds no agent: SSH_AUTH_SOCK is not set"))
                    .hint(format!("start an agent, or name a key: `--ssh {id}=KEYFILE`"))
            })?;
            vec![PathBuf::from(socket)]
        }
        paths => paths.iter().map(PathBuf::from).collect(),
    };
    let sockets: Vec<bool> = paths.iter().map(is_socket).collect::<Result<_, _>>()?;
    match (paths.as_slice(), sockets.contains(&true)) {
        ([socket], true) => Ok(SshSource::Agent(socket.clone())),
        (_, false) => Ok(SshSource::Keys(paths)),
        _ => {
            let message = format!("`--ssh {}` takes one socket, or files of keys", agent.id);
            Err(Failure::usage(message))
        }
    }
}
