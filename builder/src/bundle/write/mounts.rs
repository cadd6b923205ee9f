//! What a container mounts, in the words of `mount(8)`.

use rbuild_runtime::{Container, Mount, MountSource, Namespace, Propagation};
use serde_json::{Value, json};

use super::super::error::{Error, Result};

/// `MOUNT_ATTR_*` that have a word here.
const ATTRIBUTES: [(u64, &str); 4] =
    [(0x10, "noatime"), (0x20, "strictatime"), (0x80, "nodiratime"), (0x20_0000, "nosymfollow")];
/// Those of the host that are shown in place of own ones where the IPC namespace is the host's.
const SHARED: [&str; 2] = ["/dev/shm", "/dev/mqueue"];
/// Where file systems of the kernel's are mounted in every container.
const STANDARD: [&str; 3] = ["/proc", "/dev", "/sys"];

/// Whether a place is one of those that are mounted in every container, or below one.
pub(crate) fn is_standard(target: &str) -> bool {
    STANDARD.iter().any(|place| {
        let rest = target.strip_prefix(place);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The standard file systems, and after them the container's own, the outer of two first.
pub(super) fn mounts(container: &Container, group_tree: bool) -> Result<Vec<Value>> {
    let mut mounts = standard(container, group_tree);
    let mut own: Vec<&Mount> = container.mounts.iter().collect();
    own.sort_by_key(|mount| mount.target.split('/').filter(|name| !name.is_empty()).count());
    for mount in own {
        // What an own one hides need not be there; some runtimes would mount it in vain.
        mounts.retain(|known| known["destination"] != mount.target.as_str());
        mounts.push(described(mount, container.all_devices)?);
    }
    Ok(mounts)
}

fn standard(container: &Container, group_tree: bool) -> Vec<Value> {
    let shm = format!("size={}", container.shm_size);
    let rw = if container.writable_sys { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", rw]),
    ];
    if group_tree {
        let options = ["nosuid", "noexec", "nodev", rw];
        mounts.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &options));
    }
    if matches!(container.ipc, Namespace::Host) {
        let binds = SHARED.iter().filter(|path| std::path::Path::new(path).is_dir());
        mounts.extend(binds.map(|path| mount(path, "bind", path, &["rbind", "rprivate"])));
    } else {
        let options = ["nosuid", "noexec", "nodev", "mode=1777", &shm];
        mounts.push(mount("/dev/shm", "tmpfs", "shm", &options));
        mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    }
    mounts
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

fn described(mount: &Mount, all_devices: bool) -> Result<Value> {
    if mount.subpath.is_some() {
        return Err(Error::Unsupported("a path in what is mounted".into()));
    }
    let mut options = words(mount, all_devices)?;
    let (kind, source) = match &mount.source {
        MountSource::Path(path) => {
            options.insert(0, if mount.recursive { "rbind" } else { "bind" }.to_owned());
            let is_deep = mount.recursive && !mount.flags.writable_below;
            options.extend((mount.read_only && is_deep).then(|| "rro".to_owned()));
            let text = path.to_str().ok_or_else(|| {
                Error::Unsupported(format!("the path {} that is no text", path.display()))
            })?;
            ("bind", text)
        }
        MountSource::New { kind, options: own } => {
            options.extend(own.iter().filter(|(key, _)| key != "source").map(|(key, value)| {
                value.as_ref().map_or_else(|| key.clone(), |value| format!("{key}={value}"))
            }));
            let source = own.iter().find(|(key, _)| key == "source");
            (kind.as_str(), source.and_then(|(_, value)| value.as_deref()).unwrap_or(kind))
        }
        MountSource::Tmpfs { size, mode, uid, gid } => {
            options.push(format!("mode={mode:o}"));
            options.extend(size.map(|bytes| format!("size={bytes}")));
            let owner =
                [("uid", uid), ("gid", gid)].into_iter().filter(|(_, number)| **number != 0);
            options.extend(owner.map(|(name, number)| format!("{name}={number}")));
            ("tmpfs", "tmpfs")
        }
        MountSource::Fd(_) | MountSource::Bytes { .. } => {
            let what = format!("what is mounted on {} has no path", mount.target);
            return Err(Error::Config(what));
        }
    };
    Ok(json!({
        "destination": mount.target, "type": kind, "source": source, "options": options,
    }))
}

fn words(mount: &Mount, all_devices: bool) -> Result<Vec<String>> {
    let mut words = vec![match mount.flags.propagation {
        None | Some(Propagation::Private) => "rprivate",
        Some(Propagation::Shared) => "rshared",
        Some(Propagation::Slave) => "rslave",
        Some(Propagation::Unbindable) => "runbindable",
    }];
    let switches = [
        (mount.read_only, "ro"),
        (!mount.suid, "nosuid"),
        (!mount.exec, "noexec"),
        (!all_devices && !mount.flags.devices, "nodev"),
        (mount.flags.copy_up, "tmpcopyup"),
    ];
    words.extend(switches.iter().filter(|(is_on, _)| *is_on).map(|(_, word)| *word));
    let mut left = mount.flags.attributes;
    for (bit, word) in ATTRIBUTES {
        if left & bit != 0 {
            words.push(word);
            left &= !bit;
        }
    }
    if left != 0 {
        return Err(Error::Unsupported(format!("the mount attributes {left:#x}")));
    }
    Ok(words.into_iter().map(str::to_owned).collect())
}
