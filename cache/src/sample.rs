//! Folders full of files for tests.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};

/// A temporary folder, and short ways to put things into it. Everything panics that fails.
pub(crate) struct Folder {
    place: tempfile::TempDir,
    fd: File,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().expect("a temporary folder");
        let fd = File::open(place.path()).expect("it is there");
        Self { place, fd }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.place.path().join(path)
    }

    /// Writes a file with the mode 0644, and makes its parents.
    pub(crate) fn file(&self, path: impl AsRef<Path>, data: impl AsRef<[u8]>) -> &Self {
        let path = path.as_ref();
        self.parents(path);
        fs::write(self.path(path), data).expect("it can be written");
        self.mode(path, 0o644)
    }

    /// Makes a directory with the mode 0755, and its parents.
    pub(crate) fn directory(&self, path: impl AsRef<Path>) -> &Self {
        fs::create_dir_all(self.path(&path)).expect("it can be made");
        self.mode(path, 0o755)
    }

    pub(crate) fn symlink(&self, path: impl AsRef<Path>, target: impl AsRef<Path>) -> &Self {
        self.parents(path.as_ref());
        symlink(target, self.path(path)).expect("it can be made");
        self
    }

    pub(crate) fn hard_link(&self, path: impl AsRef<Path>, other: impl AsRef<Path>) -> &Self {
        fs::hard_link(self.path(other), self.path(path)).expect("it can be made");
        self
    }

    pub(crate) fn device(
        &self,
        path: impl AsRef<Path>,
        kind: FileType,
        number: (u32, u32),
    ) -> &Self {
        let device = makedev(number.0, number.1);
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, self.path(path), kind, mode, device).expect("tests run as root");
        self
    }

    pub(crate) fn whiteout(&self, path: impl AsRef<Path>) -> &Self {
        self.parents(path.as_ref());
        self.device(path, FileType::CharacterDevice, (0, 0))
    }

    pub(crate) fn mode(&self, path: impl AsRef<Path>, mode: u32) -> &Self {
        fs::set_permissions(self.path(path), Permissions::from_mode(mode)).expect("it is ours");
        self
    }

    pub(crate) fn owner(&self, path: impl AsRef<Path>, user: u32, group: u32) -> &Self {
        chown(self.path(path), Some(user), Some(group)).expect("tests run as root");
        self
    }

    pub(crate) fn xattr(&self, path: impl AsRef<Path>, name: &str, value: &[u8]) -> &Self {
        let flags = XattrFlags::empty();
        rustix::fs::lsetxattr(self.path(path), name, value, flags).expect("attributes are kept");
        self
    }

    pub(crate) fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> &Self {
        fs::rename(self.path(from), self.path(to)).expect("it is there");
        self
    }

    /// The value of an attribute, if there is one.
    pub(crate) fn get_xattr(&self, path: impl AsRef<Path>, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 1024];
        let length = rustix::fs::lgetxattr(self.path(path), name, &mut value[..]).ok()?;
        value.truncate(length);
        Some(value)
    }

    /// Sets when a file, but no link, was changed last.
    pub(crate) fn mtime(&self, path: impl AsRef<Path>, seconds: u64) -> &Self {
        let file = File::open(self.path(path)).expect("it is there");
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).expect("it is ours");
        self
    }

    pub(crate) fn read(&self, path: impl AsRef<Path>) -> String {
        fs::read_to_string(self.path(path)).expect("it is a text")
    }

    pub(crate) fn metadata(&self, path: impl AsRef<Path>) -> fs::Metadata {
        fs::symlink_metadata(self.path(path)).expect("it is there")
    }

    fn parents(&self, path: &Path) {
        let parents: Vec<&Path> = path.ancestors().skip(1).collect();
        for parent in parents.into_iter().rev() {
            if !self.path(parent).exists() {
                self.directory(parent);
            }
        }
    }
}

/// What a random folder has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thing {
    File { data: Vec<u8>, mode: u32, owner: u32, comment: Option<u8> },
    Directory { mode: u32 },
    Link { target: String },
    Pipe,
}

/// A folder as a value: what is at which path. All parents are there and are directories.
pub(crate) type Things = BTreeMap<PathBuf, Thing>;

/// Random folders with few names, so that two of them are often nearly alike.
pub(crate) fn things() -> impl Strategy<Value = Things> {
    let name = prop_oneof![
        Just("a".to_owned()),
        Just("a-b".to_owned()),
        Just("a.b".to_owned()),
        Just("ä b".to_owned()),
        Just("n".repeat(90)),
    ];
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let mode = prop_oneof![Just(0o644), Just(0o755), Just(0o4755), Just(0o600)];
    let thing = prop_oneof![
        4 => (prop::collection::vec(any::<u8>(), 0..4), mode.clone(), 0_u32..2, any::<Option<bool>>())
            .prop_map(|(data, mode, owner, comment)| Thing::File {
                data, mode, owner: owner * 3_000_000, comment: comment.map(u8::from),
            }),
        2 => mode.prop_map(|mode| Thing::Directory { mode: mode | 0o700 }),
        1 => prop_oneof![Just("a".to_owned()), Just("b".repeat(120))]
            .prop_map(|target| Thing::Link { target }),
        1 => Just(Thing::Pipe),
    ];
    prop::collection::vec((path, thing), 0..12).prop_map(complete)
}

/// Adds missing parents, and drops what lies below a file.
fn complete(list: Vec<(String, Thing)>) -> Things {
    let mut things = Things::new();
    for (path, thing) in list {
        let path = PathBuf::from(path);
        let parents: Vec<&Path> =
            path.ancestors().skip(1).filter(|p| p.parent().is_some()).collect();
        let is_free = |path: &&Path| {
            things.get(*path).is_none_or(|thing| matches!(thing, Thing::Directory { .. }))
        };
        if !things.contains_key(&path) && parents.iter().all(is_free) {
            for parent in parents {
                things.entry(parent.into()).or_insert(Thing::Directory { mode: 0o755 });
            }
            things.insert(path, thing);
        }
    }
    things
}

/// Makes a folder of a value.
pub(crate) fn build(things: &Things) -> Folder {
    let folder = Folder::new();
    for (path, thing) in things {
        match thing {
            Thing::File { data, mode, owner, comment } => {
                folder.file(path, data).owner(path, *owner, 0).mode(path, *mode);
                if let Some(comment) = comment {
                    folder.xattr(path, "user.comment", &[*comment]);
                }
            }
            Thing::Directory { mode } => {
                folder.directory(path).mode(path, *mode);
            }
            Thing::Link { target } => {
                folder.symlink(path, target);
            }
            Thing::Pipe => {
                folder.device(path, FileType::Fifo, (0, 0));
            }
        }
    }
    folder
}

/// Makes something at the end of a chain of directories whose path is longer than the kernel
/// takes at once.
pub(crate) fn too_deep(folder: &Folder) {
    let name = CString::new("d".repeat(200)).expect("no zeros");
    let mut directory = folder.fd.try_clone().expect("descriptors are left").into();
    for _ in 0..25 {
        rustix::fs::mkdirat(&directory, &name, Mode::from_raw_mode(0o755)).expect("it is new");
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        directory =
            rustix::fs::openat(&directory, &name, flags, Mode::empty()).expect("it is there");
    }
}
