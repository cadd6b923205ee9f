//! From what a container is, to what the runtime is told to run.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rbuild_cache::Store;
use rbuild_runtime::{
    Capabilities, Container, DOCKER_SYSCTLS, Device as Node, Namespace, Process, Seccomp, userns,
};

use super::environment::environment;
use super::error::{Error, Result};
use super::folder::{Folder, Record};
use super::gpu;
use super::health;
use super::host_files;
use super::names;
use super::network::{self, Attached};
use super::options::{Device, Network, RunOptions, Share};
use super::parse::invalid;
use super::volumes::{self, InUse};

/// How deep folders of devices are looked into.
const DEEPEST_DEVICES: usize = 4;
/// What the kernel takes for a host name, in bytes.
const LONGEST_HOSTNAME: usize = 64;

/// Refuses what cannot be honoured, before anything is made.
pub(crate) fn check(options: &RunOptions) -> Result<()> {
    let unsupported =
        |option: &str, reason| Err(Error::Unsupported { option: option.to_owned(), reason });
    options.resources.check()?;
    options.health.as_ref().map_or(Ok(()), health::check)?;
    if options.remove && options.restart != super::Restart::No {
        return unsupported(
            "--rm with --restart",
            "a container cannot be removed and started again",
        );
    }
    if options.init && options.runtime.is_some() {
        return unsupported(
            "--init with another runtime",
            "the small init is part of rbuild's own",
        );
    }
    if let Some(device) = options.devices.iter().find(|device| !(device.read && device.write)) {
        let option = format!("--device {} without rw", device.host.display());
        return unsupported(&option, "a device is shown with all access or not at all");
    }
    network::check(&options.publish, &options.expose)?;
    check_names(options)?;
    if let Network::Container(name) = &options.network {
        let option = format!("--network container:{name}");
        let is_its_own = options.ip.is_some()
            || options.mac_address.is_some()
            || !options.network_aliases.is_empty()
            || !options.publish.is_empty()
            || options.publish_all;
        if is_its_own {
            let reason = "the network is another container's, with its addresses and ports";
            return unsupported(&format!("{option} with addresses or ports"), reason);
        }
    }
    for connection in options.connections() {
        network::check_connection(&connection.network, &connection)?;
    }
    capabilities(options).and(security(options)).map(drop)
}

/// Refuses host names and name servers that are none.
fn check_names(options: &RunOptions) -> Result<()> {
    if let Some(name) = &options.hostname {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.len() > LONGEST_HOSTNAME || !name.bytes().all(is_inner) {
            let reason = "expected at most 64 letters, digits, `.`, `-` and `_`";
            return Err(invalid("hostname", name, reason));
        }
        if !name.is_empty() && options.uts == Share::Host {
            return Err(invalid("hostname", name, "`--uts host` has the host's own"));
        }
    }
    match options.dns.iter().find(|server| server.parse::<IpAddr>().is_err()) {
        Some(other) => Err(invalid("dns", other, "not an address")),
        None => Ok(()),
    }
}

/// The container as the runtime knows it, and what holds its volumes.
pub(crate) fn container(
    store: &Store,
    folder: &Folder,
    record: &Record,
    network: &Attached,
) -> Result<(Container, Vec<InUse>)> {
    let options = &record.options;
    let root =
        store.writable_at(&record.layers, &folder.files(), &folder.work(), !options.remove)?;
    let mut container = Container::new(root);
    container.process = process(folder, record)?;
    container.hostname = (options.uts == Share::Private).then(|| hostname(folder, options));
    container.domainname = options.domainname.clone().filter(|_| options.uts == Share::Private);
    share(store, options, network, &mut container)?;
    let security = security(options)?;
    if options.privileged {
        container.make_privileged();
    }
    if security.unmasked {
        container.masked_paths.clear();
        container.read_only_paths.clear();
    }
    container.devices = devices(&options.devices)?;
    container.shm_size = options.shm_size.unwrap_or(container.shm_size);
    container.read_only_root = options.read_only;
    container.init = options.init && options.pid == Share::Private;
    container.mounts = host_files::mounts(store, folder, record, network.endpoints())?;
    let (mounts, in_use) = volumes::mounts(store, record)?;
    container.mounts.extend(mounts);
    gpu::apply(folder, record, &mut container)?;
    Ok((container, in_use))
}

/// The first process; what is put into the container later is within the same walls.
pub(crate) fn process(folder: &Folder, record: &Record) -> Result<Process> {
    let (options, config) = (&record.options, &record.config);
    let mut process = Process::default();
    process.argv = argv(record)?;
    process.env = environment(record, &hostname(folder, options));
    let workdir = options.workdir.as_ref().unwrap_or(&config.working_dir);
    process.cwd.clone_from(workdir);
    if process.cwd.is_empty() {
        "/".clone_into(&mut process.cwd);
    }
    let user = options.user.as_ref().unwrap_or(&config.user);
    process.user.clone_from(user);
    process.groups.clone_from(&options.group_add);
    process.capabilities = capabilities(options)?;
    let security = security(options)?;
    if security.unconfined {
        process.seccomp = Seccomp::None;
    }
    process.no_new_privileges = security.no_new_privileges;
    process.limits.clone_from(&options.ulimits);
    process.oom_score = options.oom_score_adj.or(Some(0));
    Ok(process)
}

/// What runs: the entry point and its arguments.
pub(crate) fn argv(record: &Record) -> Result<Vec<String>> {
    let (options, config) = (&record.options, &record.config);
    let entrypoint = options.entrypoint.as_ref().unwrap_or(&config.entrypoint);
    let arguments = match (&options.entrypoint, options.command.as_slice()) {
        (None, []) => config.cmd.as_slice(),
        (_, command) => command,
    };
    let argv: Vec<_> = entrypoint.iter().chain(arguments).cloned().collect();
    if argv.is_empty() { Err(Error::NoCommand) } else { Ok(argv) }
}

/// The host name that the container sees.
pub(crate) fn hostname(folder: &Folder, options: &RunOptions) -> String {
    options.hostname.clone().unwrap_or_else(|| match options.network {
        Network::Host => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        _ => folder.short().to_owned(),
    })
}

fn share(
    store: &Store,
    options: &RunOptions,
    network: &Attached,
    container: &mut Container,
) -> Result<()> {
    container.ipc = namespace(store, &options.ipc, "ipc")?;
    container.pid = namespace(store, &options.pid, "pid")?;
    container.uts = namespace(store, &options.uts, "uts")?;
    container.cgroup = namespace(store, &options.cgroup_namespace, "cgroup")?;
    container.network = network.namespace()?;
    container.sysctls.clone_from(&options.sysctls);
    if matches!(network, Attached::Alone | Attached::Joined(_) | Attached::Passed(_)) {
        let theirs = |name: &str| options.sysctls.iter().any(|(other, _)| other == name);
        let ours = DOCKER_SYSCTLS.iter().filter(|(name, _)| !theirs(name));
        container.sysctls.extend(ours.map(|&(name, value)| (name.into(), possible(name, value))));
    }
    Ok(())
}

/// The value of a setting, for as many groups as there are.
fn possible(name: &str, value: &str) -> String {
    match name {
        "net.ipv4.ping_group_range" if !userns::is_initial() => {
            format!("0 {}", userns::users().saturating_sub(1))
        }
        _ => value.to_owned(),
    }
}

pub(crate) fn namespace(store: &Store, share: &Share, kind: &str) -> Result<Namespace> {
    Ok(match share {
        Share::Private => Namespace::Private,
        Share::Host => Namespace::Host,
        Share::Container(name) => {
            let theirs = namespace_of(store, name, kind)?;
            // An ordinary user may be in the host's namespace, and not join it.
            if is_own(&theirs, kind)? { Namespace::Host } else { Namespace::Join(theirs) }
        }
    })
}

fn is_own(namespace: &OwnedFd, kind: &str) -> Result<bool> {
    let path = format!("/proc/self/ns/{kind}");
    let own = rustix::fs::stat(&path).map_err(Error::file("examine", &path))?;
    let theirs = rustix::fs::fstat(namespace).map_err(Error::file("examine", &path))?;
    Ok((own.st_dev, own.st_ino) == (theirs.st_dev, theirs.st_ino))
}

fn namespace_of(store: &Store, name: &str, kind: &str) -> Result<OwnedFd> {
    let other = names::find(store, name)?;
    let state = other.state()?;
    if state.pid == 0 {
        return Err(Error::NotRunning(name.to_owned()));
    }
    let path = format!("/proc/{}/ns/{kind}", state.pid);
    File::open(&path).map(OwnedFd::from).map_err(Error::file("open", path))
}

/// What the process may do. `ALL` is first given or taken, then the single ones.
fn capabilities(options: &RunOptions) -> Result<Capabilities> {
    let read = |option: &'static str, names: &[String]| -> Result<_> {
        let mut set = Capabilities::none();
        for name in names {
            let one = name.parse().map_err(|error: rbuild_runtime::UnknownCapability| {
                let (value, reason) = (name.clone(), error.to_string());
                Error::Invalid { option, value, reason }
            })?;
            set = set.with(one);
        }
        Ok(set)
    };
    let all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("all"));
    let (add, drop) = (read("cap-add", &options.cap_add)?, read("cap-drop", &options.cap_drop)?);
    Ok(match (options.privileged, all(&options.cap_add), all(&options.cap_drop)) {
        (true, ..) => Capabilities::all(),
        (_, true, true) => Capabilities::none(),
        (_, true, false) => Capabilities::all().without(drop),
        (_, false, true) => add,
        (_, false, false) => Capabilities::docker_default().with(add).without(drop),
    })
}

#[derive(Default)]
struct Security {
    unconfined: bool,
    no_new_privileges: bool,
    unmasked: bool,
}

fn security(options: &RunOptions) -> Result<Security> {
    let mut security = Security::default();
    for option in &options.security_opt {
        match option.split_once(['=', ':']).unwrap_or((option, "")) {
            ("seccomp", "unconfined") => security.unconfined = true,
            ("seccomp", "builtin" | "default") => security.unconfined = false,
            ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
            ("no-new-privileges", "false") => security.no_new_privileges = false,
            ("systempaths", "unconfined") => security.unmasked = true,
            ("apparmor", "unconfined" | "docker-default") | ("label", _) => {}
            _ => {
                let option = format!("--security-opt {option}");
                let reason = "only seccomp=unconfined, seccomp=builtin, \
                    no-new-privileges, systempaths=unconfined, apparmor=unconfined, \
                    apparmor=docker-default and label= are known";
                return Err(Error::Unsupported { option, reason });
            }
        }
    }
    Ok(security)
}

/// The device nodes; a folder stands for the devices in it.
fn devices(devices: &[Device]) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for device in devices {
        add_devices(device, DEEPEST_DEVICES, &mut nodes)?;
    }
    Ok(nodes)
}

fn add_devices(device: &Device, depth: usize, nodes: &mut Vec<Node>) -> Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let metadata = std::fs::metadata(&device.host).map_err(Error::file("find", &device.host))?;
    let kind = metadata.file_type();
    if kind.is_block_device() || kind.is_char_device() {
        nodes.push(Node { host: device.host.clone(), ..Node::new(&device.path) });
    } else if kind.is_dir() && depth > 0 {
        let entries = std::fs::read_dir(&device.host);
        for entry in entries.map_err(Error::file("read", &device.host))? {
            let name = entry.map_err(Error::file("read", &device.host))?.file_name();
            let path = format!("{}/{}", device.path, name.to_string_lossy());
            let inner = Device { host: device.host.join(&name), path, ..device.clone() };
            let is_device = std::fs::symlink_metadata(&inner.host).is_ok_and(|metadata| {
                let kind = metadata.file_type();
                kind.is_dir() || kind.is_block_device() || kind.is_char_device()
            });
            if is_device {
                add_devices(&inner, depth - 1, nodes)?;
            }
        }
    } else {
        return Err(Error::Invalid {
            option: "device",
            value: device.host.display().to_string(),
            reason: "it is not a device".to_owned(),
        });
    }
    Ok(())
}
