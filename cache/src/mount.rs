//! Overlay mounts of layers, detached: they vanish when their file descriptor is closed.

use std::borrow::Cow;
use std::fs::DirBuilder;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::error::{Error, Result};
use crate::layers::StagedLayer;
use crate::privilege;
use crate::snapshot::Layer;
use crate::store::Store;

/// The largest number of folders that overlayfs stacks below the writable one.
const MOST_LAYERS: usize = 500;

/// Marks, beside its files, a layer without any whiteout or opaque folder.
pub(crate) const PLAIN: &str = "plain";

/// Marks, beside its files, a layer that hides all layers below it.
pub(crate) const OPAQUE: &str = "opaque";

/// The longest value that the kernel takes for an option, in bytes.
const LONGEST_OPTION: usize = 255;

impl Store {
    /// Shows layers, lowest first, as one tree that can only be read.
    ///
    /// The result is a folder's file descriptor that serves as the start of paths.
    pub fn view(&self, layers: &[Layer]) -> Result<OwnedFd> {
        let mut folders = self.folders(layers)?;
        match folders.as_slice() {
            [] => return open_path(&self.empty()?),
            [only] if only.with_file_name(PLAIN).exists() => return open_path(only),
            // A folder alone would show its whiteouts as devices.
            [_] => folders.push(self.empty()?),
            _ => {}
        }
        Overlay { lower: &folders, upper: None }.mount()
    }

    /// Shows layers, lowest first, as one tree whose changes go into a staged layer.
    ///
    /// The result is the file descriptor of a mount that is attached nowhere. It serves as the
    /// start of paths, and `move_mount` attaches it. The root of the tree keeps the owner and the
    /// mode that it has in the topmost layer.
    pub fn writable(&self, layers: &[Layer], staged: &StagedLayer) -> Result<OwnedFd> {
        self.writable_at(layers, staged.files(), staged.work(), false)
    }

    /// The same with changes that go into a folder of the caller's, `files`.
    ///
    /// `files` and the empty folder `work` are on one file system. Where the changes are to be
    /// `lasting`, programs inside may sync them to the disk and the tree can be shown again with
    /// the same folders; otherwise nothing is synced, and `work` serves once.
    pub fn writable_at(
        &self,
        layers: &[Layer],
        files: &Path,
        work: &Path,
        lasting: bool,
    ) -> Result<OwnedFd> {
        let mut folders = self.folders(layers)?;
        match folders.first() {
            Some(top) => copy_root(top, files)?,
            None => folders.push(self.empty()?),
        }
        Overlay { lower: &folders, upper: Some(Upper { files, work, lasting }) }.mount()
    }

    /// Shows folders that need not be layers, topmost first, as one tree. Changes go into a staged
    /// layer; without one there can be none.
    pub fn stack(&self, folders: &[PathBuf], staged: Option<&StagedLayer>) -> Result<OwnedFd> {
        let upper = staged.map(|staged| Upper {
            files: staged.files(),
            work: staged.work(),
            lasting: false,
        });
        Overlay { lower: folders, upper }.mount()
    }

    /// The folders of the layers, topmost first.
    fn folders(&self, layers: &[Layer]) -> Result<Vec<PathBuf>> {
        if layers.len() > MOST_LAYERS {
            return Err(Error::TooManyLayers { layers: layers.len(), limit: MOST_LAYERS });
        }
        let mut folders = Vec::with_capacity(layers.len());
        for layer in layers.iter().rev() {
            let folder = self.files_of(layer)?;
            let hides_all = folder.with_file_name(OPAQUE).exists();
            folders.push(folder);
            if hides_all {
                // overlayfs does not ask the root of a layer whether it is opaque.
                break;
            }
        }
        Ok(folders)
    }

    /// A folder that is always empty.
    fn empty(&self) -> Result<PathBuf> {
        let path = self.root().join("empty");
        if !path.is_dir() {
            self.folder("")?;
            let made = DirBuilder::new().recursive(true).mode(0o755).create(&path);
            made.map_err(Error::file("make the folder", &path))?;
        }
        Ok(path)
    }
}

fn open_path(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(Error::file("open", path))
}

/// Gives the root of a new layer the owner and the mode of the root below it.
fn copy_root(below: &Path, files: &Path) -> Result<()> {
    let copy = || {
        let (from, to) = (rustix::fs::stat(below)?, rustix::fs::stat(files)?);
        if (from.st_uid, from.st_gid) != (to.st_uid, to.st_gid) {
            let (user, group) = (Uid::from_raw(from.st_uid), Gid::from_raw(from.st_gid));
            rustix::fs::chown(files, Some(user), Some(group))?;
        }
        if from.st_mode != to.st_mode {
            rustix::fs::chmod(files, Mode::from_raw_mode(from.st_mode & 0o7777))?;
        }
        Ok::<_, rustix::io::Errno>(())
    };
    copy().map_err(Error::file("set the mode of", files))
}

struct Overlay<'a> {
    /// Topmost first.
    lower: &'a [PathBuf],
    upper: Option<Upper<'a>>,
}

/// Where the changes to a tree go.
struct Upper<'a> {
    files: &'a Path,
    work: &'a Path,
    lasting: bool,
}

impl Overlay<'_> {
    fn mount(&self) -> Result<OwnedFd> {
        let fail = |doing: &str, source: io::Error, context: Option<BorrowedFd>| Error::Mount {
            layers: self.lower.len(),
            reason: match context.and_then(log) {
                Some(messages) => format!("{doing}: {messages}"),
                None => format!("{doing} (the kernel's log may say why)"),
            },
            source,
        };
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|error| fail("the kernel has no overlayfs for us", error.into(), None))?;
        let fd = context.as_fd();
        let set = self.configure(fd).map_err(|(option, error)| {
            fail(&format!("the option {option} was refused"), error, Some(fd))
        });
        set?;
        fsconfig_create(fd)
            .map_err(|error| fail("the layers were refused", error.into(), Some(fd)))?;
        let attributes = match self.upper {
            Some(_) => MountAttrFlags::empty(),
            None => MountAttrFlags::MOUNT_ATTR_RDONLY,
        };
        fsmount(fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|error| fail("the mount was refused", error.into(), Some(fd)))
    }

    fn configure(&self, context: BorrowedFd) -> Result<(), (String, io::Error)> {
        let set = |option: &str, value: &str| {
            fsconfig_set_string(context, option, value)
                .map_err(|error| (format!("{option}={value}"), error.into()))
        };
        let flag = |option: &str| {
            fsconfig_set_flag(context, option).map_err(|error| (option.to_owned(), error.into()))
        };
        // Layers are packed into tars, which know nothing of these ways to point elsewhere.
        set("metacopy", "off")?;
        set("index", "off")?;
        if privilege::is_full() {
            set("redirect_dir", "nofollow")?;
        } else {
            // Without privilege the notes are in attributes of users, and nothing points elsewhere.
            flag("userxattr")?;
        }
        let folder = |option: &str, path: &Path| {
            let named = nameable(path);
            named
                .and_then(|named| Ok(fsconfig_set_string(context, option, &*named.path)?))
                .map_err(|error| (format!("{option}={}", path.display()), error))
        };
        for path in self.lower {
            folder("lowerdir+", path)?;
        }
        if let Some(upper) = &self.upper {
            folder("upperdir", upper.files)?;
            folder("workdir", upper.work)?;
        }
        if self.upper.as_ref().is_some_and(|upper| !upper.lasting) {
            // Closing the mount would else write the whole file system to the disk.
            flag("volatile")?;
        }
        Ok(())
    }
}

struct Nameable<'a> {
    path: Cow<'a, Path>,
    _open: Option<OwnedFd>,
}

/// A path as the kernel takes it: short, and without the backslash that it reads as an escape.
fn nameable(path: &Path) -> io::Result<Nameable<'_>> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() <= LONGEST_OPTION && !bytes.contains(&b'\\') {
        return Ok(Nameable { path: Cow::Borrowed(path), _open: None });
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&open);
    let path = Cow::Owned(PathBuf::from(format!("/proc/self/fd/{number}")));
    Ok(Nameable { path, _open: Some(open) })
}

/// What the kernel wrote about the mount, one message after the other.
fn log(context: BorrowedFd) -> Option<String> {
    let mut file = std::fs::File::from(context.try_clone_to_owned().ok()?);
    let mut messages = Vec::new();
    let mut buffer = [0; 1024];
    // Each read gives one message, and an error where there is none left.
    while let Ok(length @ 1..) = file.read(&mut buffer) {
        messages.push(String::from_utf8_lossy(&buffer[..length]).trim().to_owned());
    }
    (!messages.is_empty()).then(|| messages.join("; "))
}

#[cfg(test)]
mod tests;
