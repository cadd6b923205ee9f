//! One file of a tree: all that is known of it without its data.

use std::ffi::OsStr;
use std::path::Path;

use rustix::fs::{FileType, RawMode, Stat, major, minor};

use crate::hash::Hasher;
use crate::id::ContentId;

/// One file, folder, link or special file of a [`Tree`](super::Tree).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The path from the root of the tree, without a leading `/`; empty for the root itself.
    pub path: Box<Path>,
    /// What it is.
    pub kind: Kind,
    /// The permissions with the set-id and sticky bits, at most `0o7777`.
    pub mode: u32,
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// The number of bytes of a regular file, otherwise 0.
    pub size: u64,
    /// When the data last changed; never part of a digest.
    pub mtime: Time,
    /// The device number of a character or block device, otherwise 0.
    pub rdev: u64,
    /// The device on which it lies; never part of a digest.
    pub dev: u64,
    /// The inode number: nodes with the same `dev` and `ino` are hard links of one file.
    pub ino: u64,
    /// The number of hard links, inside of the tree and outside.
    pub links: u32,
    /// The extended attributes that count, sorted by name.
    pub xattrs: Box<[Xattr]>,
    /// The blake3 of a file's data, or of what a directory holds; otherwise zeros.
    pub(crate) data: [u8; 32],
    /// One past the index of the last node below this one.
    pub(crate) end: u32,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points, exactly as stored.
        target: Box<Path>,
    },
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

/// A point in time, as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970; negative before.
    pub seconds: i64,
    /// Nanoseconds past the second, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// The full name, such as `user.comment`.
    pub name: Box<OsStr>,
    /// The value.
    pub value: Box<[u8]>,
}

impl Node {
    /// The node of what `stat` describes; a link's target and the attributes are still missing.
    pub(crate) fn new(path: Box<Path>, stat: &Stat) -> Self {
        let kind = Kind::new(stat.st_mode);
        let device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        Self {
            path,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: if kind == Kind::File { stat.st_size.cast_unsigned() } else { 0 },
            mtime: Time::modified(stat),
            rdev: if device { stat.st_rdev } else { 0 },
            dev: stat.st_dev,
            ino: stat.st_ino,
            links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            xattrs: Box::default(),
            data: [0; 32],
            end: 0,
            kind,
        }
    }

    /// True for a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// True for a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == Kind::File
    }

    /// True for the character device 0:0, by which an overlay hides what lies below.
    pub fn is_whiteout(&self) -> bool {
        self.kind == Kind::CharDevice && self.rdev == 0
    }

    /// The major and minor number of a device.
    pub fn device(&self) -> (u32, u32) {
        (major(self.rdev), minor(self.rdev))
    }

    /// The name of everything that makes up the node and what lies below it, but for its name
    /// and for times.
    pub fn digest(&self) -> ContentId {
        let mut hasher = Hasher::new("rbuild tree node");
        self.hash(&mut hasher);
        hasher.content()
    }

    /// The name of the node alone: like [`digest`](Self::digest), but for a directory without
    /// what it holds.
    pub fn own_digest(&self) -> ContentId {
        let own =
            if self.is_directory() { Self { data: [0; 32], ..self.clone() } } else { self.clone() };
        own.digest()
    }

    /// Feeds the node without its name: kind, mode, owner, size, target, device, attributes, data.
    pub(crate) fn hash(&self, hasher: &mut Hasher) {
        hasher.u64(self.kind.number());
        for number in [self.mode, self.uid, self.gid] {
            hasher.u64(number.into());
        }
        hasher.u64(self.size);
        hasher.u64(self.rdev);
        if let Kind::Symlink { target } = &self.kind {
            hasher.bytes(target.as_os_str().as_encoded_bytes());
        }
        hasher.u64(self.xattrs.len() as u64);
        for xattr in &self.xattrs {
            hasher.bytes(xattr.name.as_encoded_bytes()).bytes(&xattr.value);
        }
        hasher.id(&self.data);
    }
}

impl Kind {
    fn new(mode: RawMode) -> Self {
        match FileType::from_raw_mode(mode) {
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink { target: Path::new("").into() },
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::RegularFile | FileType::Unknown => Self::File,
        }
    }

    /// A number for hashing, which must never change.
    fn number(&self) -> u64 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
            Self::Symlink { .. } => 3,
            Self::CharDevice => 4,
            Self::BlockDevice => 5,
            Self::Fifo => 6,
            Self::Socket => 7,
        }
    }
}

impl Time {
    /// When the data of the file changed last.
    pub(crate) fn modified(stat: &Stat) -> Self {
        Self::new(stat.st_mtime, stat.st_mtime_nsec)
    }

    /// When anything about the file changed last; no program can set it.
    pub(crate) fn changed(stat: &Stat) -> Self {
        Self::new(stat.st_ctime, stat.st_ctime_nsec)
    }

    fn new(seconds: i64, nanoseconds: impl TryInto<u32>) -> Self {
        Self { seconds, nanoseconds: nanoseconds.try_into().unwrap_or(0) }
    }
}
