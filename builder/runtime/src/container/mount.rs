//! What a container gets of files and devices besides its root.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Something mounted in the container.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own to users")]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
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
}

impl Mount {
    /// A writable, recursive bind of a path of the host.
    pub fn bind(source: impl Into<PathBuf>, target: impl Into<String>) -> Self {
        Self::new(MountSource::Path(source.into()), target)
    }

    /// A mount of any source: writable, recursive, with programs and set-user-id bits.
    pub fn new(source: MountSource, target: impl Into<String>) -> Self {
        let target = target.into();
        Self { source, target, read_only: false, recursive: true, suid: true, exec: true }
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
        Self { host, path, number: None, mode: None, uid: None, gid: None }
    }
}
