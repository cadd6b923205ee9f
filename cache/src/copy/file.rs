//! One file of a copy that is no directory.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, copy_file_range, fchmod, fchown,
    fstat, futimens, linkat, mknodat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::directories::set_xattrs;
use super::{Copied, Copier, Item, Open, conflict, failed};
use crate::error::{Error, Result};
use crate::folder::Parents;
use crate::tree::{Kind, Node, Time};

/// The size of the buffer, up to which reading and writing beats asking the kernel to copy.
const BUFFER: usize = 1 << 17;
/// The most that one call is asked to copy, so that it is not long before a signal is seen.
const AT_ONCE: usize = 1 << 27;

thread_local! {
    static DATA: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

impl Copier<'_> {
    /// Copies one item that is no directory.
    pub(super) fn item(&self, open: &mut Open<'_>, item: &Item<'_>) -> Result<Copied> {
        if Self::link_previous(open, item)? {
            return Ok(Copied { items: 1, linked: 1, bytes: 0 });
        }
        let node = item.node;
        match &node.kind {
            Kind::File => self.file(open, item)?,
            Kind::Symlink { target } => self.symlink(open, item, target)?,
            Kind::CharDevice if node.is_whiteout() => {
                // In a layer it would not be a device, but hide what lies below.
                return Err(failed("make the device", item)(Errno::PERM));
            }
            Kind::CharDevice => self.special(open, item, FileType::CharacterDevice)?,
            Kind::BlockDevice => self.special(open, item, FileType::BlockDevice)?,
            Kind::Fifo => self.special(open, item, FileType::Fifo)?,
            Kind::Socket => self.special(open, item, FileType::RegularFile)?,
            Kind::Directory => {}
        }
        Ok(Copied { items: 1, linked: 0, bytes: node.size })
    }

    /// Gives a file that was copied just now another name.
    pub(super) fn hard_link(
        parents: &mut [Parents<'_>; 2],
        item: &Item<'_>,
        first: &Item<'_>,
    ) -> Result<()> {
        let [there, here] = parents;
        let opening = || failed("open the parent of", item);
        let (from, old) = there.of(&first.destination).map_err(opening())?;
        let (parent, name) = here.of(&item.destination).map_err(opening())?;
        create(parent, name, item, || linkat(from, old, parent, name, AtFlags::empty()))
    }

    /// Gives a file of an earlier layer another name here, if one is known and the file system
    /// can do it.
    fn link_previous(open: &mut Open<'_>, item: &Item<'_>) -> Result<bool> {
        let (Some(path), Some(previous)) = (&item.previous, &mut open.previous) else {
            return Ok(false);
        };
        let Ok((from, old)) = previous.of(path) else {
            return Ok(false);
        };
        let (parent, name) =
            open.destination.of(&item.destination).map_err(failed("open the parent of", item))?;
        let mut is_linked = true;
        create(parent, name, item, || match linkat(from, old, parent, name, AtFlags::empty()) {
            Err(Errno::MLINK | Errno::XDEV | Errno::NOENT | Errno::PERM) => {
                is_linked = false;
                Ok(())
            }
            other => other,
        })?;
        Ok(is_linked)
    }

    fn file(&self, open: &mut Open<'_>, item: &Item<'_>) -> Result<()> {
        let node = item.node;
        let (parent, name) = open.source.of(&item.source).map_err(reading(item))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = openat(parent, name, flags, Mode::empty())
            .map_err(|error| reading(item)(error.into()))?;
        let (parent, name) = destination(open, item)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = self.mode(node);
        // Write access for others comes only with the owner, and set-id bits would be lost now.
        let first = Mode::from_raw_mode(mode & 0o755);
        let copy = create(parent, name, item, || openat(parent, name, flags, first))?;
        let (source, copy) = (File::from(source), File::from(copy));
        let bytes = copy_data(&source, &copy, node.size).map_err(failed("write", item))?;
        let stat = fstat(&source).map_err(|error| reading(item)(error.into()))?;
        if bytes != node.size || !is_unchanged(&stat, node) {
            return Err(Error::Changed { path: item.source.clone() });
        }
        self.own(&copy, item).map_err(failed("set the owner and mode of", item))?;
        set_xattrs(copy.as_fd(), &node.xattrs);
        futimens(&copy, &self.time(node)).map_err(failed("set the time of", item))
    }

    /// Sets owner and mode of a new file, which costs more than to see that they are right.
    fn own(&self, copy: &File, item: &Item<'_>) -> rustix::io::Result<()> {
        let stat = fstat(copy)?;
        let (user, group) = self.owner(item.node);
        let is_foreign = (stat.st_uid, stat.st_gid) != (user, group);
        if is_foreign {
            fchown(copy, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        }
        let mode = self.mode(item.node);
        // A change of the owner clears the set-id bits, which are not in `stat` anyhow.
        if stat.st_mode & 0o7777 != mode {
            fchmod(copy, Mode::from_raw_mode(mode))?;
        }
        Ok(())
    }

    fn symlink(&self, open: &mut Open<'_>, item: &Item<'_>, target: &Path) -> Result<()> {
        let (parent, name) = destination(open, item)?;
        create(parent, name, item, || symlinkat(target, parent, name))?;
        self.finish(parent, name, item)
    }

    /// Makes a device, a pipe, or the empty file that a socket becomes.
    fn special(&self, open: &mut Open<'_>, item: &Item<'_>, kind: FileType) -> Result<()> {
        let (parent, name) = destination(open, item)?;
        let private = Mode::from_raw_mode(0o600);
        create(parent, name, item, || mknodat(parent, name, kind, private, item.node.rdev))?;
        self.finish(parent, name, item)
    }

    /// Sets owner, mode and time of what is not open.
    fn finish(&self, parent: BorrowedFd<'_>, name: &OsStr, item: &Item<'_>) -> Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let (user, group) = self.owner(item.node);
        chownat(parent, name, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)), flags)
            .map_err(failed("set the owner of", item))?;
        if !matches!(item.node.kind, Kind::Symlink { .. }) {
            let mode = Mode::from_raw_mode(self.mode(item.node));
            chmodat(parent, name, mode, AtFlags::empty())
                .map_err(failed("set the mode of", item))?;
        }
        utimensat(parent, name, &self.time(item.node), flags)
            .map_err(failed("set the time of", item))
    }
}

fn destination<'o, 'i>(
    open: &'o mut Open<'_>,
    item: &'i Item<'_>,
) -> Result<(BorrowedFd<'o>, &'i OsStr)> {
    open.destination.of(&item.destination).map_err(failed("open the parent of", item))
}

fn reading(item: &Item<'_>) -> impl FnOnce(io::Error) -> Error {
    Error::file("read", &item.source)
}

/// Makes something new by `make`; what was in its place is removed first, unless a directory.
fn create<T>(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    item: &Item<'_>,
    mut make: impl FnMut() -> rustix::io::Result<T>,
) -> Result<T> {
    match make() {
        Err(Errno::EXIST) => {
            let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed("read the metadata of", item))?;
            if FileType::from_raw_mode(stat.st_mode).is_dir() {
                return Err(conflict(item, "the directory"));
            }
            unlinkat(parent, name, AtFlags::empty()).map_err(failed("replace", item))?;
            make()
        }
        other => other,
    }
    .map_err(failed("create", item))
}

/// True if a file is still as the node says.
fn is_unchanged(stat: &rustix::fs::Stat, node: &Node) -> bool {
    stat.st_size.cast_unsigned() == node.size && Time::modified(stat) == node.mtime
}

/// Copies all data of a file of about `size` bytes, and returns how much there was.
fn copy_data(source: &File, copy: &File, size: u64) -> io::Result<u64> {
    if size > BUFFER as u64
        && let Some(bytes) = copy_in_kernel(source, copy)?
    {
        return Ok(bytes);
    }
    DATA.with_borrow_mut(|buffer| {
        let mut bytes = 0;
        loop {
            let count = match source.read_at(buffer, bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            copy.write_all_at(&buffer[..count], bytes)?;
            bytes += count as u64;
            // A file that grew is found out by its size.
            if count < buffer.len() || bytes > size {
                return Ok(bytes);
            }
        }
    })
}

/// The same without a buffer of ours, if the kernel can do it for these two files.
fn copy_in_kernel(source: &File, copy: &File) -> io::Result<Option<u64>> {
    let mut bytes = 0;
    loop {
        match copy_file_range(source, None, copy, None, AT_ONCE) {
            Ok(0) => return Ok(Some(bytes)),
            Ok(count) => bytes += count as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if bytes == 0 => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
}
