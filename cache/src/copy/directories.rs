//! The directories of a copy, and the missing parents of what is copied.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chmodat, chownat, futimens, mkdirat,
    readlinkat, statat,
};
use rustix::io::Errno;

use super::{Copier, Item, Owner, conflict, failed};
use crate::error::Result;
use crate::folder::{self, Parents};
use crate::tree::Xattr;

/// How many dangling links may lead from one to the next, as in the kernel.
const LINKS: u32 = 40;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

impl Copier<'_> {
    /// Makes the directories of a run, and the missing parents of all its items. Returns the
    /// directories whose times are still to be set.
    pub(super) fn directories<'i, 'n>(&self, run: &'i [Item<'n>]) -> Result<Vec<&'i Item<'n>>> {
        let mut parents = Parents::new(self.destination, ResolveFlags::IN_ROOT);
        // The directories that are items and above the one at hand.
        let mut above: Vec<&Path> = Vec::new();
        let mut timed = Vec::new();
        for item in run {
            if parents.of(&item.destination).is_err() {
                let parent = folder::split(&item.destination).0;
                self.make(parent, LINKS).map_err(failed("make the parent of", item))?;
            }
            let (parent, name) =
                parents.of(&item.destination).map_err(failed("open the parent of", item))?;
            if !item.node.is_directory() {
                continue;
            }
            while above.pop_if(|above| !item.destination.starts_with(above)).is_some() {}
            let is_new = match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
                Ok(()) => true,
                Err(Errno::EXIST) => {
                    let is_inner =
                        above.last().is_some_and(|above| Some(*above) == item.destination.parent());
                    self.use_existing(item, parent, name, is_inner)?;
                    false
                }
                Err(error) => return Err(failed("make the directory", item)(error)),
            };
            if is_new || self.options.overwrite_directories {
                self.metadata(item)?;
                timed.push(item);
            }
            above.push(&item.destination);
        }
        Ok(timed)
    }

    /// Sets the times of directories, once nothing is put into them any more.
    pub(super) fn directory_times(&self, items: &[&Item<'_>]) -> Result<()> {
        for item in items.iter().rev() {
            self.open_directory(item)
                .and_then(|fd| Ok(futimens(fd, &self.time(item.node))?))
                .map_err(failed("set the time of", item))?;
        }
        Ok(())
    }

    /// Accepts that a directory is there already, and refuses anything else.
    fn use_existing(
        &self,
        item: &Item<'_>,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        is_inner: bool,
    ) -> Result<()> {
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("read the metadata of", item))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(()),
            FileType::Symlink if !is_inner => match self.make(&item.destination, LINKS) {
                Err(error) if error.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => {
                    Err(conflict(item, "the link to a file"))
                }
                made => made.map_err(failed("make the directory", item)),
            },
            FileType::Symlink => Err(conflict(item, "the link")),
            _ => Err(conflict(item, "the file")),
        }
    }

    /// Sets owner, mode and attributes of a directory.
    fn metadata(&self, item: &Item<'_>) -> Result<()> {
        let failed = || failed("set the owner and mode of", item);
        let fd = self.open_directory(item).map_err(|error| failed()(error))?;
        let (user, group) = self.owner(item.node);
        rustix::fs::fchown(&fd, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
            .and_then(|()| rustix::fs::fchmod(&fd, Mode::from_raw_mode(self.mode(item.node))))
            .map_err(|error| failed()(error.into()))?;
        set_xattrs(fd.as_fd(), &item.node.xattrs);
        Ok(())
    }

    fn open_directory(&self, item: &Item<'_>) -> io::Result<std::os::fd::OwnedFd> {
        folder::open(self.destination, &item.destination, DIRECTORY, ResolveFlags::IN_ROOT)
    }

    /// Makes every missing directory of a path. Where a link in it dangles, its target is made.
    fn make(&self, path: &Path, links: u32) -> io::Result<()> {
        let mut made = PathBuf::new();
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                // Only a link's target has these; the kernel keeps them inside the root.
                Component::ParentDir => OsStr::new(".."),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            };
            let parent = self.directory(&made)?;
            made.push(name);
            match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => self.parent_metadata(parent.as_fd(), name)?,
                Err(Errno::EXIST) => match self.directory(&made) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound && links > 0 => {
                        let target = readlinkat(&parent, name, Vec::new())?;
                        made.pop();
                        let target = made.join(OsStr::from_bytes(target.to_bytes()));
                        self.make(&target, links - 1)?;
                        made.push(name);
                    }
                    other => drop(other?),
                },
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn directory(&self, path: &Path) -> io::Result<std::os::fd::OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        // A link's absolute target is meant from the root.
        let path = path.strip_prefix("/").unwrap_or(path);
        folder::open(self.destination, path, flags, ResolveFlags::IN_ROOT)
    }

    fn parent_metadata(&self, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let (user, group) = match self.options.owner {
            Owner::Set(user, group) => (user, group),
            Owner::Keep => (0, 0),
        };
        let mode = self
            .options
            .mode
            .and_then(super::ModeChange::absolute)
            .map_or(0o755, |mode| mode & 0o777);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        chownat(parent, name, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)), flags)?;
        Ok(chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?)
    }
}

/// Sets attributes where the file system and the kernel let us.
pub(super) fn set_xattrs(fd: BorrowedFd<'_>, xattrs: &[Xattr]) {
    for xattr in xattrs {
        let set =
            rustix::fs::fsetxattr(fd, &*xattr.name, &xattr.value, rustix::fs::XattrFlags::empty());
        if let Err(error) = set {
            tracing::debug!(name = ?xattr.name, %error, "an attribute was not copied");
        }
    }
}
