//! Reaching files below an open directory, a few descriptors at a time.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, flistxattr, openat2};
use rustix::io::Errno;

use crate::tree::Xattr;

/// How often a look-up is tried again that another process disturbed by renaming a directory.
const TRIES: usize = 64;

/// Opens what lies at `path` below `root`; the empty path is `root` itself.
pub(crate) fn open(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    for _ in 0..TRIES {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other.map_err(Into::into),
        }
    }
    Err(Errno::AGAIN.into())
}

/// The rule for paths whose every component is known to be no link: nothing is followed.
pub(crate) fn no_links() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS
}

/// Splits a relative path into its parent, which may be empty, and its last component.
pub(crate) fn split(path: &Path) -> (&Path, &OsStr) {
    let mut bytes = path.as_os_str().as_bytes();
    // Joining a path and an empty one leaves a slash at the end.
    while let [rest @ .., b'/'] = bytes {
        bytes = rest;
    }
    let (parent, name) = match memchr::memrchr(b'/', bytes) {
        Some(slash) => (&bytes[..slash], &bytes[slash + 1..]),
        None => (&bytes[..0], bytes),
    };
    let name = if name.is_empty() { b"." } else { name };
    (Path::new(OsStr::from_bytes(parent)), OsStr::from_bytes(name))
}

/// Opens the parents of paths, and keeps the last one open: neighbours mostly share it.
#[derive(Debug)]
pub(crate) struct Parents<'a> {
    root: BorrowedFd<'a>,
    resolve: ResolveFlags,
    last: Option<(Box<Path>, OwnedFd)>,
}

impl<'a> Parents<'a> {
    /// Parents below `root`, found by the rule `resolve`.
    pub(crate) fn new(root: BorrowedFd<'a>, resolve: ResolveFlags) -> Self {
        Self { root, resolve, last: None }
    }

    /// The open parent of `path`, and the name of `path` in it.
    pub(crate) fn of<'p>(&mut self, path: &'p Path) -> io::Result<(BorrowedFd<'_>, &'p OsStr)> {
        let (parent, name) = split(path);
        if parent.as_os_str().is_empty() {
            return Ok((self.root, name));
        }
        // Bytes are compared, since comparing the components of a path is ten times slower.
        let known =
            self.last.as_ref().is_some_and(|(path, _)| path.as_os_str() == parent.as_os_str());
        if !known {
            let fd = open(self.root, parent, OFlags::PATH | OFlags::DIRECTORY, self.resolve)?;
            self.last = Some((parent.into(), fd));
        }
        let (_, fd) = self.last.as_ref().expect("it was opened above or earlier");
        Ok((fd.as_fd(), name))
    }
}

/// The extended attributes of an open file whose names `keep` accepts, sorted by name.
pub(crate) fn xattrs(fd: BorrowedFd<'_>, keep: fn(&[u8]) -> bool) -> io::Result<Box<[Xattr]>> {
    let mut buffer = [0; 512];
    let names = match flistxattr(fd, &mut buffer) {
        Ok(length) => read_names(&buffer[..length], keep),
        Err(Errno::OPNOTSUPP) => return Ok(Box::default()),
        Err(Errno::RANGE) => {
            let mut buffer = vec![0; 1 << 16];
            let length = flistxattr(fd, &mut buffer[..])?;
            read_names(&buffer[..length], keep)
        }
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        if let Some(value) = xattr(fd, &name)? {
            found.push(Xattr { name, value });
        }
    }
    found.sort_unstable();
    Ok(found.into())
}

fn read_names(list: &[u8], keep: fn(&[u8]) -> bool) -> Vec<Box<OsStr>> {
    let names = list.split(|&byte| byte == 0).filter(|name| !name.is_empty() && keep(name));
    names.map(|name| OsStr::from_bytes(name).into()).collect()
}

/// The value of one attribute, or nothing when it was removed meanwhile.
fn xattr(fd: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<Box<[u8]>>> {
    let mut value = vec![0; 256];
    loop {
        match rustix::fs::fgetxattr(fd, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value.into()));
            }
            // The kernel allows 64 KiB at most.
            Err(Errno::RANGE) if value.len() < 1 << 16 => value.resize(1 << 16, 0),
            Err(Errno::NODATA) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}
