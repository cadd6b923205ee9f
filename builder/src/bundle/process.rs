//! The process of a bundle, from the words of the specification to those of the runtime.

use rbuild_runtime::{
    Capabilities, CapabilitySets, Limit, Process, Resource, Seccomp, Stdio, WindowSize,
};

use super::error::{Error, Result};
use super::seccomp;
use super::spec;

/// The size of a terminal of which nothing is said.
const USUAL_SIZE: WindowSize = WindowSize { rows: 24, columns: 80 };

/// The process as the runtime knows it.
pub(super) fn process(spec: &spec::Process, filter: Option<&spec::Seccomp>) -> Result<Process> {
    check(spec)?;
    let mut process = Process::default();
    process.argv.clone_from(&spec.args);
    process.env.clone_from(&spec.env);
    process.cwd.clone_from(&spec.cwd);
    process.user = format!("{}:{}", spec.user.uid, spec.user.gid);
    process.groups = spec.user.additional_gids.iter().map(ToString::to_string).collect();
    process.umask = spec.user.umask.unwrap_or(process.umask);
    let sets = spec.capabilities.as_ref().map_or_else(none, sets);
    process.capabilities = sets.bounding;
    process.capability_sets = Some(sets);
    process.seccomp = match filter {
        Some(profile) => Seccomp::Filter(seccomp::filter(profile)?),
        None => Seccomp::None,
    };
    process.no_new_privileges = spec.no_new_privileges;
    process.limits = spec.rlimits.iter().map(limit).collect::<Result<_>>()?;
    process.oom_score = spec.oom_score_adj;
    Ok(process)
}

fn check(spec: &spec::Process) -> Result<()> {
    let unsupported = |what: &str| Err(Error::Unsupported(what.to_owned()));
    if spec.args.is_empty() {
        return Err(Error::Config("process.args must not be empty".into()));
    }
    if !spec.cwd.starts_with('/') {
        return Err(Error::Config(format!("process.cwd {:?} is not absolute", spec.cwd)));
    }
    match spec {
        _ if !matches!(spec.apparmor_profile.as_str(), "" | "unconfined") => {
            unsupported("process.apparmorProfile")
        }
        _ if !spec.selinux_label.is_empty() => unsupported("process.selinuxLabel"),
        _ if spec.scheduler.is_some() => unsupported("process.scheduler"),
        _ if spec.io_priority.is_some() => unsupported("process.ioPriority"),
        _ => Ok(()),
    }
}

/// Refuses capabilities that no kernel has, where the specification of a bundle has them refused.
pub(super) fn check_names(spec: &spec::Process, version: &str) -> Result<()> {
    let Some(sets) = spec.capabilities.as_ref().filter(|_| version.starts_with("1.0.")) else {
        return Ok(());
    };
    let all = [&sets.bounding, &sets.permitted, &sets.effective, &sets.inheritable, &sets.ambient];
    let mut names = all.into_iter().flatten();
    match names.find(|name| name.parse::<Capabilities>().is_err()) {
        Some(name) => Err(Error::Config(format!("unknown capability {name:?}"))),
        None => Ok(()),
    }
}

fn none() -> CapabilitySets {
    let none = Capabilities::none();
    CapabilitySets {
        bounding: none,
        permitted: none,
        effective: none,
        inheritable: none,
        ambient: none,
    }
}

/// Capabilities that no kernel has are left out.
fn sets(spec: &spec::Capabilities) -> CapabilitySets {
    let read = |names: &[String]| {
        let known = names.iter().filter_map(|name| name.parse().ok());
        known.fold(Capabilities::none(), Capabilities::with)
    };
    CapabilitySets {
        bounding: read(&spec.bounding),
        permitted: read(&spec.permitted),
        effective: read(&spec.effective),
        inheritable: read(&spec.inheritable),
        ambient: read(&spec.ambient),
    }
}

fn limit(spec: &spec::Rlimit) -> Result<Limit> {
    let name = spec.kind.strip_prefix("RLIMIT_").map(str::to_ascii_lowercase);
    let resource = name.as_deref().and_then(Resource::named);
    let resource =
        resource.ok_or_else(|| Error::Config(format!("unknown rlimit {:?}", spec.kind)))?;
    let most = |value: u64| Some(value).filter(|value| *value != u64::MAX);
    Ok(Limit { resource, soft: most(spec.soft), hard: most(spec.hard) })
}

/// Its streams: those of this process, or a new terminal.
pub(super) fn stdio(spec: &spec::Process) -> Stdio {
    if !spec.terminal {
        return Stdio::inherit();
    }
    let size = spec.console_size.filter(|size| size.height > 0 && size.width > 0);
    Stdio::Terminal(
        size.map_or(USUAL_SIZE, |size| WindowSize { rows: size.height, columns: size.width }),
    )
}
