//! A bundle's `config.json` as a container of the runtime.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rbuild_runtime::cgroup::Cgroup;
use rbuild_runtime::{
    ClockOffset, Container, Device, DeviceNumber, Hook, IdMap, IdMaps, Mount, MountSource,
    Namespace,
};

use super::error::{Error, Result};
use super::spec::{self, IdMapping, Linux, Spec};
use super::{limits, mounts, process};

/// The clocks that a time namespace has of its own.
const CLOCKS: [&str; 2] = ["monotonic", "boottime"];
/// What personalities are called, by their numbers.
const PERSONALITIES: [(&str, u32); 2] = [("LINUX", 0), ("LINUX32", 8)];

impl Spec {
    /// Reads the configuration of a bundle.
    pub(super) fn of(bundle: &Path) -> Result<Self> {
        let path = bundle.join("config.json");
        let bytes = std::fs::read(&path).map_err(Error::file("read", &path))?;
        let spec: Self =
            serde_json::from_slice(&bytes).map_err(|error| Error::Config(error.to_string()))?;
        let major = spec.oci_version.split('.').next().unwrap_or_default();
        if major != "1" {
            return Err(Error::Config(format!("unknown ociVersion {:?}", spec.oci_version)));
        }
        Ok(spec)
    }

    /// The folder that is the container's root.
    pub(super) fn root_path(&self, bundle: &Path) -> Result<PathBuf> {
        let root = self.root.as_ref().ok_or_else(|| Error::Config("there is no root".into()))?;
        Ok(bundle.join(&root.path))
    }

    /// The container, in a control group of its own.
    pub(super) fn container(&self, bundle: &Path, group: Option<&Cgroup>) -> Result<Container> {
        let nothing = Linux::default();
        let linux = self.linux.as_ref().unwrap_or(&nothing);
        check(linux)?;
        let path = self.root_path(bundle)?;
        let root = File::open(&path).map_err(Error::file("open the root", &path))?;
        let mut container = Container::new(root.into());
        container.bare = true;
        container.read_only_root = self.root.as_ref().is_some_and(|root| root.readonly);
        let spec = self.process.as_ref();
        let spec = spec.ok_or_else(|| Error::Config("there is no process".into()))?;
        process::check_names(spec, &self.oci_version)?;
        container.process = process::process(spec, linux.seccomp.as_ref())?;
        container.process.personality = personality(linux)?;
        namespaces(linux, &mut container)?;
        self.names(&mut container)?;
        let resources = linux.resources.as_ref();
        // Where the control group sees to it, every node may be there.
        container.all_devices =
            group.is_some_and(Cgroup::holds_devices) || resources.is_some_and(limits::allows_all);
        container.devices = linux.devices.iter().map(device).collect::<Result<_>>()?;
        container.masked_paths.clone_from(&linux.masked_paths);
        container.read_only_paths.clone_from(&linux.readonly_paths);
        for mount in &self.mounts {
            let (made, later) = mounts::mounts(mount, (bundle, &path), group)?;
            container.mounts.extend(made);
            container.read_only_paths.extend(later);
        }
        // The nodes that a container may use work on a mount of its own only.
        let is_dev = |mount: &Mount| mount.target.trim_end_matches('/') == "/dev";
        if !container.mounts.iter().any(is_dev) {
            container.mounts.insert(0, dev());
        }
        container.sysctls = linux.sysctl.clone().into_iter().collect();
        container.propagation = mounts::propagation(&linux.rootfs_propagation)?;
        container.cgroups = group.map(Cgroup::procs).transpose()?.unwrap_or_default();
        self.hooks(path, &mut container);
        Ok(container)
    }

    fn names(&self, container: &mut Container) -> Result<()> {
        let name = |name: &String| Some(name.clone()).filter(|name| !name.is_empty());
        (container.hostname, container.domainname) = (name(&self.hostname), name(&self.domainname));
        let named = container.hostname.is_some() || container.domainname.is_some();
        if named && matches!(container.uts, Namespace::Host) {
            return Err(Error::Config("a host name takes a uts namespace".into()));
        }
        Ok(())
    }

    fn hooks(&self, root: PathBuf, container: &mut Container) {
        container.hooks.root = root;
        if let Some(hooks) = &self.hooks {
            container.hooks.before = hooks_of(&hooks.prestart);
            container.hooks.outside = hooks_of(&hooks.create_runtime);
            container.hooks.inside = hooks_of(&hooks.create_container);
            container.hooks.start = hooks_of(&hooks.start_container);
        }
    }
}

fn check(linux: &Linux) -> Result<()> {
    let unsupported = |what: &str| Err(Error::Unsupported(what.to_owned()));
    match linux {
        _ if linux.intel_rdt.is_some() => unsupported("linux.intelRdt"),
        _ if !linux.mount_label.is_empty() => unsupported("linux.mountLabel"),
        _ => Ok(()),
    }
}

fn namespaces(linux: &Linux, container: &mut Container) -> Result<()> {
    let host = || Namespace::Host;
    container.network = host();
    container.ipc = host();
    container.pid = host();
    container.uts = host();
    container.cgroup = host();
    container.mount = host();
    let mut user = host();
    for namespace in &linux.namespaces {
        let path = namespace.path.as_ref().filter(|path| !path.as_os_str().is_empty());
        let made = match path {
            None => Namespace::Private,
            Some(path) => {
                let file = File::open(path).map(OwnedFd::from);
                Namespace::Join(file.map_err(Error::file("open the namespace", path))?)
            }
        };
        let place = match namespace.kind.as_str() {
            "network" => &mut container.network,
            "ipc" => &mut container.ipc,
            "pid" => &mut container.pid,
            "uts" => &mut container.uts,
            "cgroup" => &mut container.cgroup,
            "time" => &mut container.time,
            "mount" => &mut container.mount,
            "user" => &mut user,
            other => return Err(Error::Config(format!("unknown namespace {other:?}"))),
        };
        *place = made;
    }
    users(linux, &user, container)?;
    clocks(linux, container)
}

/// The users of a user namespace, which none but its own can have.
fn users(linux: &Linux, namespace: &Namespace, container: &mut Container) -> Result<()> {
    let (users, groups) = (&linux.uid_mappings, &linux.gid_mappings);
    let maps = |list: &[IdMapping]| {
        let map =
            |one: &IdMapping| IdMap { inside: one.inside, outside: one.outside, count: one.size };
        list.iter().map(map).collect()
    };
    match namespace {
        Namespace::Host if users.is_empty() && groups.is_empty() => Ok(()),
        Namespace::Host => {
            Err(Error::Config("uidMappings and gidMappings take a user namespace".into()))
        }
        Namespace::Join(_) => Err(Error::Unsupported("a user namespace by path".into())),
        Namespace::Private if !matches!(container.mount, Namespace::Private) => {
            Err(Error::Unsupported("a user namespace without mounts of its own".into()))
        }
        Namespace::Private => {
            let has_root = |list: &[IdMapping]| list.iter().any(|one| one.inside == 0);
            if !has_root(users) || !has_root(groups) {
                return Err(Error::Config("a user namespace takes a user and a group 0".into()));
            }
            container.user = Some(IdMaps { users: maps(users), groups: maps(groups) });
            Ok(())
        }
    }
}

fn clocks(linux: &Linux, container: &mut Container) -> Result<()> {
    if !linux.time_offsets.is_empty() && !matches!(container.time, Namespace::Private) {
        return Err(Error::Config("timeOffsets take a time namespace of their own".into()));
    }
    for (clock, offset) in &linux.time_offsets {
        if !CLOCKS.contains(&clock.as_str()) {
            return Err(Error::Config(format!("no clock {clock:?} can differ")));
        }
        let (seconds, nanoseconds) = (offset.secs, offset.nanosecs);
        container.clocks.push(ClockOffset { clock: clock.clone(), seconds, nanoseconds });
    }
    Ok(())
}

fn personality(linux: &Linux) -> Result<Option<u32>> {
    let Some(personality) = &linux.personality else {
        return Ok(None);
    };
    if let Some(flag) = personality.flags.first() {
        return Err(Error::Unsupported(format!("the personality flag {flag:?}")));
    }
    let known = PERSONALITIES.iter().find(|(name, _)| *name == personality.domain);
    let unknown = || Error::Config(format!("unknown personality {:?}", personality.domain));
    known.map(|(_, number)| Some(*number)).ok_or_else(unknown)
}

fn device(spec: &spec::Device) -> Result<Device> {
    let mut device = Device::new(spec.path.clone());
    device.mode = spec.file_mode;
    (device.uid, device.gid) = (spec.uid, spec.gid);
    let block = match spec.kind.as_str() {
        "b" => true,
        "c" | "u" => false,
        "p" => {
            device.fifo = true;
            return Ok(device);
        }
        other => return Err(Error::Unsupported(format!("a device of type {other:?}"))),
    };
    let number = |number: i64| {
        u32::try_from(number)
            .map_err(|_| Error::Config(format!("{number} is no number of a device")))
    };
    let (major, minor) = (number(spec.major)?, number(spec.minor)?);
    device.number = Some(DeviceNumber { block, major, minor });
    Ok(device)
}

fn dev() -> Mount {
    let options = vec![("mode".to_owned(), Some("755".to_owned()))];
    let mut dev = Mount::new(MountSource::New { kind: "tmpfs".to_owned(), options }, "/dev");
    dev.flags.devices = true;
    dev
}

/// Hooks as the runtime knows them.
pub(super) fn hooks_of(hooks: &[spec::Hook]) -> Vec<Hook> {
    let hook = |hook: &spec::Hook| Hook {
        path: hook.path.clone(),
        args: hook.args.clone(),
        env: hook.env.clone(),
        timeout: hook.timeout,
    };
    hooks.iter().map(hook).collect()
}
