//! `/dev`: a small file system with the standard nodes and links, and what the caller adds.
//!
//! A container may make device nodes, as Docker's may; here they do not work. The standard ones do
//! because each is a mount of its own, over a `/dev` on which devices do not work either.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, Dev, FileType, Gid, Mode, OFlags, Uid, accessat, chownat, fchmod, fchown,
    makedev, mkdirat, mknodat, openat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, move_mount};

use crate::container::{Device, DeviceNumber, Mount};
use crate::error::{Doing, Error, Result};
use crate::mounts::{clone_mount, new_mount};
use crate::path::open_in_root;
use crate::sys;
use crate::userns;
use crate::wire::{Node, Sandbox};

const STANDARD: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    CORE,
];
/// Only where the kernel has it.
const CORE: (&str, &str) = ("core", "/proc/kcore");
/// What of the host's `/dev` is never a device for a container.
const NOT_DEVICES: [&str; 8] =
    ["pts", "shm", "fd", "mqueue", "console", ".udev", ".lxc", ".lxd-mounts"];
const DEPTH_LIMIT: usize = 8;
const TEMPORARY: &str = ".new";

/// The file system for `/dev`, with standard nodes and links, mounted nowhere yet.
pub(crate) fn new_dev(proc: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    let dev = new_mount("tmpfs", &[("mode", "755"), ("size", "65536k")], attributes)?;
    for (name, major, minor) in STANDARD {
        make(dev.as_fd(), name, FileType::CharacterDevice, makedev(major, minor), 0o666)?;
    }
    for (name, goal) in links(proc) {
        symlinkat(goal, &dev, name)?;
    }
    Ok(dev)
}

/// Puts the standard nodes and links, and the caller's nodes, into a `/dev` that is mounted or part
/// of the root, and lets only these work.
pub(crate) fn furnish(dev: BorrowedFd<'_>, proc: BorrowedFd<'_>, sandbox: &Sandbox) -> Result<()> {
    let there = |made| match made {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    };
    let path = open_in_root(dev, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
    let path = path.doing(|| "open /dev")?;
    let made_here = if sandbox.user { [].as_slice() } else { &STANDARD };
    for &(name, major, minor) in made_here {
        let made =
            make(path.as_fd(), name, FileType::CharacterDevice, makedev(major, minor), 0o666);
        there(made).doing(|| format!("make /dev/{name}"))?;
    }
    for (name, goal) in links(proc) {
        there(symlinkat(goal, &path, name)).doing(|| format!("make /dev/{name}"))?;
    }
    if sandbox.user {
        // The host's own are mounted, as a user namespace makes none.
        return Ok(());
    }
    make_nodes(path.as_fd(), sandbox)
}

/// The links for a container with this process file system.
fn links(proc: BorrowedFd<'_>) -> impl Iterator<Item = (&'static str, &'static str)> {
    let has_core = accessat(proc, "kcore", Access::EXISTS, AtFlags::empty()).is_ok();
    LINKS.into_iter().filter(move |link| has_core || *link != CORE)
}

fn make(
    dev: BorrowedFd<'_>,
    path: &str,
    kind: FileType,
    device: Dev,
    mode: u32,
) -> Result<(), Errno> {
    // The mode is exact: the helper has no umask.
    let mode = Mode::from_raw_mode(mode);
    if userns::is_initial() {
        return mknodat(dev, path, kind, mode, device);
    }
    // A user namespace makes no devices: this is where the host's one is mounted later.
    mknodat(dev, path, FileType::RegularFile, mode, 0)
}

/// Adds the caller's nodes to the mounted `/dev`, and lets only these and the standard ones work.
pub(crate) fn make_nodes(dev: BorrowedFd<'_>, sandbox: &Sandbox) -> Result<()> {
    for node in &sandbox.devices {
        make_node(dev, node).doing(|| format!("make device /dev/{}", node.path))?;
    }
    if sandbox.all_devices && userns::is_initial() {
        return Ok(());
    }
    let added = sandbox.devices.iter().map(|node| &*node.path);
    let paths: Vec<_> = STANDARD.iter().map(|(name, ..)| *name).chain(added).collect();
    let fenced = || -> Result<(), Errno> {
        let open = |path| {
            if userns::is_initial() {
                open_in_root(dev, path, OFlags::PATH, Mode::empty())
            } else {
                userns::open_kept(&format!("/dev/{path}"))
            }
        };
        let nodes: Result<Vec<_>, Errno> =
            paths.iter().map(|path| clone_mount(open(path)?, false)).collect();
        if !sandbox.all_devices {
            sys::set_mount_attributes(dev, libc::MOUNT_ATTR_NODEV, false)?;
        }
        for (path, node) in paths.iter().zip(nodes?) {
            move_mount(node, "", dev, *path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        }
        Ok(())
    };
    fenced().doing(|| "fence the devices off")
}

fn make_node(dev: BorrowedFd<'_>, node: &Node) -> Result<(), Errno> {
    for (end, _) in node.path.match_indices('/') {
        match mkdirat(dev, &node.path[..end], Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => {}
            made => made?,
        }
    }
    let kind = match node {
        Node { fifo: true, .. } => FileType::Fifo,
        Node { block: true, .. } => FileType::BlockDevice,
        Node { .. } => FileType::CharacterDevice,
    };
    match make(dev, &node.path, kind, node.device, node.mode) {
        // A standard one, which the caller need not have named.
        Err(Errno::EXIST) => return Ok(()),
        made => made?,
    }
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    chownat(dev, &*node.path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// The working null device of a mounted `/dev` that nobody else has had a hand in.
pub(crate) fn null(dev: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let null =
        openat(dev, "null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let is_null = rustix::fs::fstat(&null)?.st_rdev == makedev(1, 3);
    if is_null { Ok(null) } else { Err(Errno::NODEV) }
}

/// A file with these bytes on the mounted `/dev`'s memory, to be mounted somewhere and then
/// forgotten: the kernel mounts no file without a name.
pub(crate) fn file_of_bytes(
    dev: BorrowedFd<'_>,
    bytes: &[u8],
    mode: u32,
    (uid, gid): (u32, u32),
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(dev, TEMPORARY, flags, Mode::from_raw_mode(0o600))?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?;
    clone_mount(&file, false)
}

/// Takes the name away that [`file_of_bytes`] needed until the file was mounted.
pub(crate) fn forget_file(dev: BorrowedFd<'_>) -> Result<(), Errno> {
    unlinkat(dev, TEMPORARY, AtFlags::empty())
}

/// The devices that every container has.
pub(crate) fn standard() -> impl Iterator<Item = Device> {
    STANDARD.iter().map(|(name, ..)| Device::new(format!("/dev/{name}")))
}

/// The mount of the host's node of a device, for a container that has no privilege to make one.
pub(crate) fn shown(device: &Device) -> Mount {
    let mut mount = Mount::bind(&device.host, device.path.clone());
    mount.flags.devices = true;
    mount
}

/// What the host knows of a device that the container shall have.
pub(crate) fn node_of(device: &Device) -> Result<Node> {
    let path = device.path.strip_prefix("/dev/").unwrap_or_default();
    if path.is_empty() || path.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Err(Error::Invalid(format!("device {:?} is not below /dev", device.path)));
    }
    let path = path.to_owned();
    let own = match device.number {
        None if device.fifo => {
            Node { path, block: false, fifo: true, device: 0, mode: 0o666, uid: 0, gid: 0 }
        }
        Some(number) => Node {
            path,
            block: number.block,
            fifo: false,
            device: makedev(number.major, number.minor),
            mode: 0o666,
            uid: 0,
            gid: 0,
        },
        None => host_node(&device.host, path)?,
    };
    Ok(Node {
        mode: device.mode.map_or(own.mode, |mode| mode & 0o7777),
        uid: device.uid.unwrap_or(own.uid),
        gid: device.gid.unwrap_or(own.gid),
        ..own
    })
}

impl Device {
    /// The device with all that its node has: what is not given is as on the host.
    ///
    /// # Errors
    /// A path that is not below `/dev`, and a device that is not there.
    pub fn resolved(&self) -> Result<Self> {
        Ok(Self { host: self.host.clone(), ..Self::of(&node_of(self)?) })
    }

    /// All devices of the host, at their own paths.
    pub fn all_of_host() -> Vec<Self> {
        host_nodes().iter().map(Self::of).collect()
    }

    fn of(node: &Node) -> Self {
        let path = format!("/dev/{}", node.path);
        let (major, minor) = (rustix::fs::major(node.device), rustix::fs::minor(node.device));
        Self {
            host: PathBuf::from(&path),
            path,
            number: (!node.fifo).then_some(DeviceNumber { block: node.block, major, minor }),
            fifo: node.fifo,
            mode: Some(node.mode),
            uid: Some(node.uid),
            gid: Some(node.gid),
        }
    }
}

/// A node like one of the host's.
fn host_node(host: &Path, path: String) -> Result<Node> {
    let metadata = std::fs::metadata(host).doing(|| format!("find device {}", host.display()))?;
    let block = metadata.file_type().is_block_device();
    if !block && !metadata.file_type().is_char_device() {
        return Err(Error::Invalid(format!("{} is not a device", host.display())));
    }
    Ok(Node {
        path,
        block,
        fifo: false,
        device: metadata.rdev(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

/// All devices of the host.
pub(crate) fn host_nodes() -> Vec<Node> {
    let mut nodes = Vec::new();
    collect(Path::new("/dev"), 0, &mut nodes);
    nodes
}

fn collect(directory: &Path, depth: usize, nodes: &mut Vec<Node>) {
    // A device that comes or goes while this looks is not missed.
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let (Ok(kind), path) = (entry.file_type(), entry.path()) else {
            continue;
        };
        if NOT_DEVICES.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if kind.is_dir() && depth < DEPTH_LIMIT {
            collect(&path, depth + 1, nodes);
        } else if (kind.is_char_device() || kind.is_block_device())
            && let Some(text) = path.to_str()
            && let Ok(node) = node_of(&Device::new(text))
        {
            nodes.push(node);
        }
    }
}
