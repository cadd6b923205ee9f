//! What a container gets of files and devices besides its root.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Something mounted in the container.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own to users")]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
    /// A path in the source that alone is mounted; links on the way lead nowhere else.
    pub subpath: Option<String>,
    /// An absolute path in the container; links on the way are followed inside the root. When
    /// missing it is made, and taken away again afterwards if still empty.
    pub target: String,
    /// Whether it cannot be written to there.
    pub read_only: bool,
    /// Whether the mounts below a bind's source are bound as well.
    pub recursive: bool,
    /// Whether set-user-id bits work in it.
    pub suid: bool,
    /// Whether programs can be run from it.
    pub exec: bool,
    /// What else is to be said of it.
    pub flags: MountFlags,
}

/// What is rarely said of a [`Mount`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own to users")]
pub struct MountFlags {
    /// More `MOUNT_ATTR_*` bits.
    pub attributes: u64,
    /// How it tells of mounts below it, when that is not private.
    pub propagation: Option<Propagation>,
    /// Whether device nodes that are on it work, whatever the container may make.
    pub devices: bool,
    /// Whether a new file system begins with what the container has in its place.
    pub copy_up: bool,
    /// Whether the root of a new file system has the permission bits of the directory in its place,
    /// where there is one.
    pub mode_of_place: bool,
    /// Whether what is mounted below one that is read-only stays as writable as it is.
    pub writable_below: bool,
}

/// How a mount and its copies tell one another of mounts below them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Each tells the others.
    Shared,
    /// It is told by the original and tells nobody.
    Slave,
    /// Nobody tells anybody.
    Private,
    /// The same, and there can be no copies.
    Unbindable,
}

impl Propagation {
    pub(crate) fn bits(self) -> u64 {
        match self {
            Self::Shared => libc::MS_SHARED,
            Self::Slave => libc::MS_SLAVE,
            Self::Private => libc::MS_PRIVATE,
            Self::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

impl Mount {
    /// A writable, recursive bind of a path of the host.
    pub fn bind(source: impl Into<PathBuf>, target: impl Into<String>) -> Self {
        Self::new(MountSource::Path(source.into()), target)
    }

    /// A mount of any source: writable, recursive, with programs and set-user-id bits.
    pub fn new(source: MountSource, target: impl Into<String>) -> Self {
        let target = target.into();
        let flags = MountFlags::default();
        Self {
            source,
            subpath: None,
            target,
            read_only: false,
            recursive: true,
            suid: true,
            exec: true,
            flags,
        }
    }

    /// The same, read-only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }
}

/// Where the contents of a [`Mount`] come from.
#[derive(Debug)]
pub enum MountSource {
    /// An open file or directory, or a detached mount.
    Fd(OwnedFd),
    /// A file or directory of the host; links are followed.
    Path(PathBuf),
    /// A new file with these bytes, kept in memory and gone with the container.
    Bytes {
        /// The contents.
        bytes: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A new file system of any kind that the kernel has.
    New {
        /// The kind, such as `proc`.
        kind: String,
        /// Its options; one without a value is a switch.
        options: Vec<(String, Option<String>)>,
    },
    /// A new, empty tmpfs.
    Tmpfs {
        /// Bytes; none is half of the machine's memory.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: u32,
        /// Owner of its root.
        uid: u32,
        /// Group of its root.
        gid: u32,
    },
}

/// A device node in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where it is on the host.
    pub host: PathBuf,
    /// Where it shall be in the container, below `/dev`: a node of the same kind, number, mode and
    /// owner as the host's, but for what is given here.
    pub path: String,
    /// Its kind and number, where nobody need look at the host's node.
    pub number: Option<DeviceNumber>,
    /// Whether it is no device but a queue of bytes between processes.
    pub fifo: bool,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// What the kernel knows a device by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNumber {
    /// Whether it is a block device and not a character device.
    pub block: bool,
    /// The number of its driver.
    pub major: u32,
    /// Its number with that driver.
    pub minor: u32,
}

impl Device {
    /// A device at its own path.
    pub fn new(path: impl Into<String>) -> Self {
        let path = path.into();
        let host = PathBuf::from(&path);
        Self { host, path, number: None, fifo: false, mode: None, uid: None, gid: None }
    }
}
