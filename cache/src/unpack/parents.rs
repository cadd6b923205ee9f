//! The folders that entries go into: opened below the root, made where they are missing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::metadata::{Failure, cannot, is_whiteout, make_opaque, status};
use super::place::follow;

/// How many links to folders that do not exist are followed for one entry.
const MOST_LINKS: u32 = 40;
const DOING: &str = "open the folder";

/// Folders below the root of a layer, of which the last one is kept open: neighbours share it.
#[derive(Debug)]
pub(super) struct Parents<'a> {
    root: BorrowedFd<'a>,
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl<'a> Parents<'a> {
    pub(super) fn new(root: BorrowedFd<'a>) -> Self {
        Self { root, last: None }
    }

    /// Opens the folder at `path`, which is made when it is missing.
    pub(super) fn open(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, Failure> {
        if path.is_empty() {
            return Ok(self.root);
        }
        if self.last.as_ref().is_none_or(|(known, _)| known != path) {
            let folder = match open_below(self.root, path, OFlags::empty()) {
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    self.make(path, MOST_LINKS)?;
                    open_below(self.root, path, OFlags::empty())
                }
                folder => folder,
            };
            self.last = Some((path.to_vec(), folder.map_err(cannot(DOING))?));
        }
        Ok(self.last.as_ref().map_or(self.root, |(_, folder)| folder.as_fd()))
    }

    /// Opens the folder at `path`, which must exist.
    pub(super) fn open_existing(&self, path: &[u8]) -> Result<OwnedFd, Failure> {
        let path = if path.is_empty() { b"." } else { path };
        open_below(self.root, path, OFlags::empty()).map_err(cannot(DOING))
    }

    /// Opens the folder at `path`, unless something else is there by now.
    pub(super) fn reopen(&self, path: &[u8]) -> Result<Option<OwnedFd>, Failure> {
        match open_below(self.root, path, OFlags::NOFOLLOW) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(cannot(DOING)(error)),
        }
    }

    /// Keeps a folder open, whose entries are likely to come next.
    pub(super) fn keep(&mut self, path: Vec<u8>, folder: OwnedFd) {
        self.last = Some((path, folder));
    }

    /// Closes the folder that is open, which may have been removed.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// Makes the folders of a path that are missing, also where a link points at nothing.
    fn make(&self, path: &[u8], links: u32) -> Result<(), Failure> {
        let doing = "make the folders above";
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let ends = slashes.map(|(at, _)| at).chain([path.len()]);
        let mut above = self.open_existing(b"")?;
        let mut start = 0;
        for end in ends {
            let name = &path[start..end];
            match make_folder(above.as_fd(), name) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(cannot(doing)(error)),
            }
            let folder = match open_below(self.root, &path[..end], OFlags::empty()) {
                Err(Errno::NOTDIR) => replace_whiteout(above.as_fd(), name).map(Ok)?,
                Err(Errno::NOENT) if links > 0 => {
                    let target = rustix::fs::readlinkat(&above, name, Vec::new());
                    let target = target.map_err(cannot(doing))?;
                    self.make(&follow(&path[..start], target.as_bytes()), links - 1)?;
                    open_below(self.root, &path[..end], OFlags::empty())
                }
                folder => folder,
            };
            above = folder.map_err(cannot(doing))?;
            start = end + 1;
        }
        Ok(())
    }
}

fn make_folder(above: BorrowedFd, name: &[u8]) -> Result<(), Errno> {
    rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o755))
}

/// Makes a folder where this layer has said that what was there before is gone.
fn replace_whiteout(above: BorrowedFd, name: &[u8]) -> Result<OwnedFd, Failure> {
    if !status(above, name).is_ok_and(|status| is_whiteout(&status)) {
        return Err(cannot("make the folders above")(Errno::NOTDIR));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::unlinkat(above, name, AtFlags::empty())
        .and_then(|()| make_folder(above, name))
        .and_then(|()| rustix::fs::openat(above, name, flags, Mode::empty()))
        .map_err(cannot("make the folders above"))?;
    make_opaque(folder.as_fd())?;
    Ok(folder)
}

/// Opens a folder below the root: links are followed, but never out of it.
fn open_below(root: BorrowedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // A rename somewhere on the machine made the kernel unsure.
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}
