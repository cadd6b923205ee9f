//! What a container sees of file systems: the standard ones, the caller's, and what is hidden.
//!
//! Every place to mount on is resolved once, inside the root, to a descriptor; mounting is done by
//! descriptor, so that a link which the image or another container plants leads nowhere.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, mkdirat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    open_tree, unmount,
};

use crate::copy_up::copy_up;
use crate::devices;
use crate::error::{Doing, Error, Result};
use crate::path::{Kind, Targets, open_in_root};
use crate::sys;
use crate::wire::{MountOrder, Sandbox, SourceOrder};

/// The flags of a file system of the kernel's: nothing in it is a program or a device.
const KERNELS: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// A new file system, mounted nowhere yet.
pub(crate) fn new_mount(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&context, *key, *value)?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// The same, with options that may have no value.
fn new_mount_with(kind: &str, options: &[(String, Option<String>)]) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(&context, key, value)?,
            None => fsconfig_set_flag(&context, key)?,
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// A copy of what an open file or directory shows, mounted nowhere yet.
pub(crate) fn clone_mount(of: impl AsFd, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(of, "", flags)
}

/// Mounts a detached mount on an open file or directory.
pub(crate) fn attach(mount: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// Makes a detached mount, whose descriptor this is, the root of this process, and takes the old
/// root with everything below it away.
pub(crate) fn pivot(root: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

/// A file system that is being put together in a container's root.
pub(crate) struct Mounts<'a> {
    pub(crate) root: BorrowedFd<'a>,
    pub(crate) targets: Targets<'a>,
    /// The container's process file system.
    pub(crate) proc: OwnedFd,
    /// The container's `/dev`, once it is there.
    dev: Option<OwnedFd>,
    /// The container's own terminals, if it has any.
    terminals: Option<OwnedFd>,
}

impl<'a> Mounts<'a> {
    /// Mounts the standard file systems in `root`, which must be mounted in this namespace.
    pub(crate) fn standard(root: BorrowedFd<'a>, sandbox: &Sandbox) -> Result<Self> {
        let mut targets = Targets::new(root).doing(|| "look at the root")?;
        let proc = new_mount("proc", &[], KERNELS).doing(|| "make a proc file system")?;
        place(&mut targets, &proc, "/proc")?;
        let dev = devices::new_dev().doing(|| "make a file system for devices")?;
        place(&mut targets, &dev, "/dev")?;
        devices::make_nodes(dev.as_fd(), sandbox)?;
        let terminals = below_dev(&dev, "pts", "devpts", &PTS, KERNELS_WITH_DEVICES)?;
        below_dev(&dev, "mqueue", "mqueue", &[], KERNELS)?;
        let size = sandbox.shm_size.to_string();
        below_dev(&dev, "shm", "tmpfs", &[("mode", "1777"), ("size", &size)], KERNELS)?;
        let mut attributes = KERNELS;
        attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, !sandbox.writable_sys);
        let sys = new_mount("sysfs", &[], attributes).doing(|| "make a sys file system")?;
        place(&mut targets, &sys, "/sys")?;
        if sandbox.cgroup_tree {
            let tree = new_mount("cgroup2", &[], attributes).doing(|| "make a cgroup tree")?;
            place(&mut targets, &tree, "/sys/fs/cgroup")?;
        }
        Ok(Self { root, targets, proc, dev: Some(dev), terminals: Some(terminals) })
    }

    /// Mounts nothing; all that there is to be comes by [`add`](Self::add).
    pub(crate) fn bare(root: BorrowedFd<'a>) -> Result<Self> {
        let targets = Targets::new(root).doing(|| "look at the root")?;
        let proc = new_mount("proc", &[], KERNELS).doing(|| "make a proc file system")?;
        Ok(Self { root, targets, proc, dev: None, terminals: None })
    }

    /// Puts the standard devices, and those of the order, into the `/dev` that the mounts or the
    /// root have. One that the host has as well is left as it is.
    pub(crate) fn furnish_dev(&mut self, sandbox: &Sandbox) -> Result<()> {
        let doing = || "find /dev";
        let dev = self.targets.open("/dev", Kind::Directory).doing(doing)?;
        let hosts = sandbox.mounts.iter().any(|mount| {
            mount.target.trim_end_matches('/') == "/dev"
                && matches!(mount.source, SourceOrder::Mount(_))
        });
        if !hosts {
            devices::furnish(dev.as_fd(), sandbox)?;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        self.terminals = open_in_root(self.root, "/dev/pts", flags, Mode::empty()).ok();
        self.dev = Some(dev);
        Ok(())
    }

    fn dev(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.dev.as_ref().map(AsFd::as_fd).ok_or(Errno::NODEV)
    }

    /// The container's own terminals.
    pub(crate) fn terminals(&self) -> Result<BorrowedFd<'_>> {
        let missing = || Error::Invalid("a terminal takes a devpts on /dev/pts".into());
        self.terminals.as_ref().map(AsFd::as_fd).ok_or_else(missing)
    }

    /// Mounts what the caller wants; `detached` gives the mounts that came with the order.
    pub(crate) fn add(
        &mut self,
        order: &MountOrder,
        detached: impl Fn(usize) -> Result<OwnedFd>,
    ) -> Result<()> {
        let doing = || format!("mount on {:?}", order.target);
        let (mount, kind) = match &order.source {
            SourceOrder::Mount(slot) => {
                let mount = detached(*slot)?;
                let kind = kind_of(&mount).doing(doing)?;
                (mount, kind)
            }
            SourceOrder::New { kind, options } => {
                (new_mount_with(kind, options).doing(doing)?, Kind::Directory)
            }
            SourceOrder::Bytes { bytes, mode, uid, gid } => {
                let owner = (*uid, *gid);
                let dev = self.dev().doing(doing)?;
                let file = devices::file_of_bytes(dev, bytes, *mode, owner);
                (file.doing(doing)?, Kind::File)
            }
        };
        sys::change_mount(&mount, order.attributes, order.propagation, order.recursive)
            .doing(doing)?;
        let target = self.targets.open(&order.target, kind).doing(doing)?;
        if order.copy_up {
            copy_up(&target, &mount).doing(|| format!("copy {:?} up", order.target))?;
        }
        if is_proc(&target).doing(doing)? {
            let reason = format!("{:?} is in the process file system", order.target);
            return Err(Error::Invalid(reason));
        }
        attach(mount, target).doing(doing)?;
        if matches!(order.source, SourceOrder::Bytes { .. }) {
            self.dev().and_then(devices::forget_file).doing(doing)?;
        }
        Ok(())
    }

    /// Shows the terminal's container end at `/dev/console`.
    pub(crate) fn add_console(&mut self, terminal: &OwnedFd) -> Result<(), Errno> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let target =
            match rustix::fs::openat(self.dev()?, "console", flags | OFlags::NOFOLLOW, mode) {
                Err(Errno::EXIST) => {
                    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    rustix::fs::openat(self.dev()?, "console", flags, Mode::empty())
                }
                opened => opened,
            }?;
        attach(clone_mount(terminal, false)?, target)
    }

    /// Makes paths read-only; those that are not there are left out.
    pub(crate) fn make_read_only(&self, paths: &[String]) -> Result<()> {
        for path in paths {
            let doing = || format!("make {path:?} read-only");
            if let Some(target) = self.existing(path).doing(doing)? {
                // What is mounted there already needs no copy.
                match sys::change_mount(&target, libc::MOUNT_ATTR_RDONLY, 0, true) {
                    Err(Errno::INVAL) => {}
                    done => {
                        done.doing(doing)?;
                        continue;
                    }
                }
                let copy = clone_mount(&target, true).doing(doing)?;
                sys::set_mount_attributes(&copy, libc::MOUNT_ATTR_RDONLY, true).doing(doing)?;
                attach(copy, target).doing(doing)?;
            }
        }
        Ok(())
    }

    /// Hides paths behind an empty file or directory; those that are not there are left out.
    pub(crate) fn mask(&self, paths: &[String]) -> Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        let null = self.dev().and_then(devices::null).doing(|| "find the null device")?;
        let mut empty: Option<OwnedFd> = None;
        for path in paths {
            let doing = || format!("mask {path:?}");
            let Some(target) = self.existing(path).doing(doing)? else {
                continue;
            };
            if kind_of(&target).doing(doing)? == Kind::File {
                attach(clone_mount(&null, false).doing(doing)?, target).doing(doing)?;
            } else if let Some(mounted) = &empty {
                attach(clone_mount(mounted, false).doing(doing)?, target).doing(doing)?;
            } else {
                let attributes = KERNELS | MountAttrFlags::MOUNT_ATTR_RDONLY;
                let options = [("mode", "555"), ("nr_inodes", "1")];
                let mount = new_mount("tmpfs", &options, attributes).doing(doing)?;
                attach(&mount, target).doing(doing)?;
                empty = Some(mount);
            }
        }
        Ok(())
    }

    /// The path, if it is there. One below `/proc` must be in a process file system: an image that
    /// has a link there must not lead a mask astray.
    fn existing(&self, path: &str) -> Result<Option<OwnedFd>, Errno> {
        let target = match open_in_root(self.root, path, OFlags::PATH, Mode::empty()) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error),
        };
        if path.starts_with("/proc/") && !is_proc(&target)? {
            return Err(Errno::XDEV);
        }
        Ok(Some(target))
    }
}

const PTS: [(&str, &str); 3] = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
const KERNELS_WITH_DEVICES: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

fn place(targets: &mut Targets<'_>, mount: &OwnedFd, path: &str) -> Result<()> {
    let target = targets.open(path, Kind::Directory).doing(|| format!("find {path}"))?;
    attach(mount, target).doing(|| format!("mount {path}"))
}

fn below_dev(
    dev: &OwnedFd,
    name: &str,
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd> {
    let mounted = || -> Result<OwnedFd, Errno> {
        mkdirat(dev, name, Mode::from_raw_mode(0o755))?;
        let mount = new_mount(kind, options, attributes)?;
        move_mount(&mount, "", dev, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        Ok(mount)
    };
    mounted().doing(|| format!("mount /dev/{name}"))
}

fn is_proc(target: &OwnedFd) -> Result<bool, Errno> {
    Ok(fstatfs(target)?.f_type == PROC_SUPER_MAGIC)
}

pub(crate) fn kind_of(target: &OwnedFd) -> Result<Kind, Errno> {
    let mode = rustix::fs::fstat(target)?.st_mode;
    let is_directory = rustix::fs::FileType::from_raw_mode(mode).is_dir();
    Ok(if is_directory { Kind::Directory } else { Kind::File })
}
