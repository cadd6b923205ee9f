//! What a container sees of file systems: the standard ones, the caller's, and what is hidden.
//!
//! Every place to mount on is resolved once, inside the root, to a descriptor; mounting is done by
//! descriptor, so that a link which the image or another container plants leads nowhere.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstatfs, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    open_tree, unmount,
};

use crate::copy::{Devices, How, copy_contents};
use crate::devices;
use crate::error::{Doing, Error, Result};
use crate::path::{Kind, Targets, open_in_root};
use crate::sys;
use crate::userns;
use crate::wire::{MountOrder, NamespaceOrder, Sandbox, SourceOrder};

/// The option that every file system has.
const SOURCE: &str = "source";
/// The flags of a file system of the kernel's: nothing in it is a program or a device.
const KERNELS: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// A new file system, mounted nowhere yet; what it is called in lists of mounts is the option
/// `source`, else its kind.
pub(crate) fn new_mount(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if options.iter().all(|(key, _)| *key != SOURCE) {
        fsconfig_set_string(&context, SOURCE, kind)?;
    }
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

/// A new file system of any kind that the kernel has, mounted nowhere yet. An option without a value
/// is a switch.
///
/// # Errors
/// What the kernel refuses.
pub fn new_file_system(kind: &str, options: &[(String, Option<String>)]) -> Result<OwnedFd> {
    new_mount_with(kind, options).doing(|| format!("make a file system of the kind {kind:?}"))
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
    pivot_from_below(root, 0)
}

/// The same where other mounts lie upon the old root, which are taken away first.
pub(crate) fn pivot_from_below(root: BorrowedFd<'_>, others: usize) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    for _ in 0..=others {
        unmount(".", UnmountFlags::DETACH)?;
    }
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
        let proc = new_proc().doing(|| "make a proc file system")?;
        place(&mut targets, &proc, "/proc")?;
        let dev = devices::new_dev(proc.as_fd()).doing(|| "make a file system for devices")?;
        place(&mut targets, &dev, "/dev")?;
        devices::make_nodes(dev.as_fd(), sandbox)?;
        let terminals = below_dev(&dev, "pts", "devpts", terminal_options(), KERNELS_WITH_DEVICES)?;
        if userns::is_initial() || sandbox.ipc != NamespaceOrder::Host {
            below_dev(&dev, "mqueue", "mqueue", &[], KERNELS)?;
        }
        let size = sandbox.shm_size.to_string();
        let options = [(SOURCE, "shm"), ("mode", "1777"), ("size", &size)];
        below_dev(&dev, "shm", "tmpfs", &options, KERNELS)?;
        let mut attributes = KERNELS;
        attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, !sandbox.writable_sys);
        let sys = match new_mount("sysfs", &[], attributes) {
            // It shows the network, which is not this user's to show: the host's own is.
            Err(Errno::PERM) if !userns::is_initial() => hosts("/sys", attributes),
            made => made,
        };
        let sys = sys.doing(|| "make a sys file system")?;
        place(&mut targets, &sys, "/sys")?;
        if sandbox.cgroup_tree {
            let tree = new_mount("cgroup2", &[(SOURCE, "cgroup")], attributes);
            let tree = tree.doing(|| "make a cgroup tree")?;
            place(&mut targets, &tree, "/sys/fs/cgroup")?;
        }
        Ok(Self { root, targets, proc, dev: Some(dev), terminals: Some(terminals) })
    }

    /// Mounts nothing; all that there is to be comes by [`add`](Self::add).
    pub(crate) fn bare(root: BorrowedFd<'a>) -> Result<Self> {
        let targets = Targets::new(root).doing(|| "look at the root")?;
        let proc = new_proc().doing(|| "make a proc file system")?;
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
            devices::furnish(dev.as_fd(), self.proc.as_fd(), sandbox)?;
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
                let mount = match &order.subpath {
                    None => mount,
                    Some(path) => self.only(&mount, path, order.recursive).doing(|| {
                        format!("open {path:?} in what is mounted on {:?}", order.target)
                    })?,
                };
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
        let was_there = self.is_there(&order.target);
        let target = self.targets.open(&order.target, kind).doing(doing)?;
        if was_there {
            furnish(&mount, &target, order)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
                .doing(|| format!("begin {:?} as it is in the image", order.target))?;
        }
        // The kernel lists mounts in the order of their making, which here is part of the bargain.
        let mount = match &order.source {
            SourceOrder::Mount(_) if self.dev.is_none() => {
                self.remade(&mount, &target, order.recursive).doing(doing)?
            }
            _ => mount,
        };
        sys::change_mount(&mount, order.attributes, order.propagation, order.recursive)
            .doing(doing)?;
        if order.own_attributes & !order.attributes != 0 {
            sys::change_mount(&mount, order.own_attributes, 0, false).doing(doing)?;
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

    /// A part of a detached mount, as a mount. Such a part is copied only of what is mounted
    /// somewhere, so for a moment the whole hides the root.
    fn only(&self, mount: &OwnedFd, path: &str, recursive: bool) -> Result<OwnedFd, Errno> {
        attach(mount, self.root)?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let part = openat2(mount, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
            .and_then(|part| clone_mount(part, recursive));
        rustix::process::fchdir(mount)?;
        unmount(".", UnmountFlags::DETACH)?;
        part
    }

    /// The same detached mount made anew. Only what is mounted somewhere is copied, so for a moment
    /// it is where it shall be.
    fn remade(&self, mount: &OwnedFd, target: &OwnedFd, recursive: bool) -> Result<OwnedFd, Errno> {
        attach(mount, target)?;
        let copy = clone_mount(mount, recursive)?;
        rustix::process::fchdir(&self.proc)?;
        unmount(format!("self/fd/{}", mount.as_raw_fd()), UnmountFlags::DETACH)?;
        Ok(copy)
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

    fn is_there(&self, path: &str) -> bool {
        open_in_root(self.root, path, OFlags::PATH, Mode::empty()).is_ok()
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

/// The options for terminals, whose group need not exist in a user namespace.
fn terminal_options() -> &'static [(&'static str, &'static str)] {
    if userns::is_initial() || userns::has_group(5) { &PTS } else { &PTS[..2] }
}

/// A process file system for this process's namespace of processes.
fn new_proc() -> Result<OwnedFd, Errno> {
    match new_mount("proc", &[], KERNELS) {
        // The processes are the host's, which this user may see by the host's own only.
        Err(Errno::PERM) if !userns::is_initial() => hosts("/proc", KERNELS),
        made => made,
    }
}

/// What the host shows somewhere, with all that is mounted below it.
fn hosts(path: &str, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let copy = clone_mount(userns::open_kept(path)?, true)?;
    sys::set_mount_attributes(&copy, attributes.bits().into(), true)?;
    Ok(copy)
}

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

/// Gives a new file system what it is to have of the directory in its place.
fn furnish(mount: &OwnedFd, target: &OwnedFd, order: &MountOrder) -> std::io::Result<()> {
    if !order.copy_up && !order.mode_of_place {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::openat(target, ".", flags, Mode::empty())?;
    let root = rustix::fs::openat(mount, ".", flags, Mode::empty())?;
    if order.copy_up {
        let how = How { devices: Devices::LeftOut, ..How::default() };
        copy_contents(place.as_fd(), root.as_fd(), how)?;
    }
    if order.mode_of_place {
        let mode = rustix::fs::fstat(&place)?.st_mode & 0o7777;
        rustix::fs::fchmod(&root, Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

/// The process file system in the root of this process.
pub(crate) fn own_proc() -> Result<OwnedFd, Errno> {
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let proc = open_in_root(root.as_fd(), "proc", OFlags::PATH, Mode::empty())?;
    if is_proc(&proc)? { Ok(proc) } else { Err(Errno::XDEV) }
}

fn is_proc(target: &OwnedFd) -> Result<bool, Errno> {
    Ok(fstatfs(target)?.f_type == PROC_SUPER_MAGIC)
}

pub(crate) fn kind_of(target: &OwnedFd) -> Result<Kind, Errno> {
    let mode = rustix::fs::fstat(target)?.st_mode;
    let is_directory = rustix::fs::FileType::from_raw_mode(mode).is_dir();
    Ok(if is_directory { Kind::Directory } else { Kind::File })
}
