//! Paths in a root that the container controls: never out of it, and the missing ones made.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, mkdirat,
    openat, openat2, readlinkat, statat, unlinkat, utimensat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// How many missing directories and dangling links one path may have.
const STEP_LIMIT: usize = 100;
/// How often the kernel is asked again when something was renamed during its walk.
const RACE_LIMIT: usize = 1000;

/// Opens a path, absolute or not, that is resolved in `root` as if it were `/`.
///
/// # Errors
/// What the kernel says of the path; `EAGAIN` only where things are renamed without end.
pub fn open_in_root(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { "." } else { path };
    let mut answer = Err(Errno::AGAIN);
    for _ in 0..RACE_LIMIT {
        answer = openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve);
        if !matches!(answer, Err(Errno::AGAIN)) {
            break;
        }
    }
    answer
}

/// What a path shall be when it has to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    File,
    Directory,
}

/// Something empty that was made in the root only to be mounted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stub {
    /// The directory that it is in, as a path in the root.
    pub(crate) parent: String,
    name: String,
    kind: Kind,
    /// The directory's times of change before and after, in seconds and nanoseconds.
    before: (i64, i64),
    after: (i64, i64),
}

/// Opens a path in a root as a place to mount on, making what is missing.
#[derive(Debug)]
pub(crate) struct Targets<'a> {
    root: BorrowedFd<'a>,
    device: u64,
    /// What was made on the root's own file system, in order.
    pub(crate) stubs: Vec<Stub>,
}

impl<'a> Targets<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>) -> Result<Self, Errno> {
        let device = rustix::fs::fstat(root)?.st_dev;
        Ok(Self { root, device, stubs: Vec::new() })
    }

    /// The place itself, not to be read or written through.
    pub(crate) fn open(&mut self, path: &str, kind: Kind) -> Result<OwnedFd, Errno> {
        self.open_or_make(path, kind, 0)
    }

    fn open_or_make(&mut self, path: &str, kind: Kind, steps: usize) -> Result<OwnedFd, Errno> {
        match open_in_root(self.root, path, OFlags::PATH, Mode::empty()) {
            Err(Errno::NOENT) if steps < STEP_LIMIT => {}
            answer => return answer,
        }
        let (parent, name) = split(path).ok_or(Errno::NOENT)?;
        let directory = self.open_or_make(parent, Kind::Directory, steps + 1)?;
        match self.make(&directory, parent, name, kind) {
            // A link to what is not there: that is made instead, where the link says.
            Err(Errno::EXIST) => {
                let link = readlinkat(&directory, name, Vec::new())?;
                let link = link.into_string().map_err(|_| Errno::ILSEQ)?;
                let goal = if link.starts_with('/') { link } else { format!("{parent}/{link}") };
                self.open_or_make(&goal, kind, steps + 1)
            }
            made => made,
        }
    }

    fn make(
        &mut self,
        directory: &OwnedFd,
        parent: &str,
        name: &str,
        kind: Kind,
    ) -> Result<OwnedFd, Errno> {
        let before = changed(directory)?;
        match kind {
            Kind::Directory => mkdirat(directory, name, Mode::from_raw_mode(0o755))?,
            Kind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                drop(openat(directory, name, flags, Mode::from_raw_mode(0o644))?);
            }
        }
        if rustix::fs::fstat(directory)?.st_dev == self.device {
            let (parent, name) = (parent.to_owned(), name.to_owned());
            let after = changed(directory)?;
            self.stubs.push(Stub { parent, name, kind, before, after });
        }
        openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }
}

/// The path without its last name, and that name.
fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.trim_end_matches('/');
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_name = !matches!(name, "" | "." | "..");
    is_name.then_some((if parent.is_empty() { "/" } else { parent }, name))
}

fn changed(directory: impl AsFd) -> Result<(i64, i64), Errno> {
    let stat = rustix::fs::fstat(directory)?;
    Ok((stat.st_mtime, stat.st_mtime_nsec.cast_signed()))
}

/// Takes stubs away that are still empty, last one first, and gives a directory that nothing else
/// has changed its old time back. What cannot be taken away is left.
pub(crate) fn remove_stubs(root: BorrowedFd<'_>, stubs: &[Stub]) {
    for stub in stubs.iter().rev() {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        if let Ok(directory) = open_in_root(root, &stub.parent, flags, Mode::empty()) {
            // A stub that is not empty any more has become the container's own.
            let _ = remove_stub(&directory, stub);
        }
    }
}

fn remove_stub(directory: &OwnedFd, stub: &Stub) -> Result<(), Errno> {
    let untouched = changed(directory)? == stub.after;
    let current = changed(directory)?;
    match stub.kind {
        Kind::Directory => unlinkat(directory, &*stub.name, AtFlags::REMOVEDIR)?,
        Kind::File => {
            let stat = statat(directory, &*stub.name, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            if !is_file || stat.st_size != 0 {
                return Ok(());
            }
            unlinkat(directory, &*stub.name, AtFlags::empty())?;
        }
    }
    let (seconds, nanoseconds) = if untouched { stub.before } else { current };
    let last_modification = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    utimensat(directory, ".", &Timestamps { last_access, last_modification }, AtFlags::empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_is_empty_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::File::open(folder.path()).unwrap();
        let mut targets = Targets::new(root.as_fd()).unwrap();
        for name in ["/a/file", "/a/kept", "/b/c/d", "/link"] {
            targets.open(name, Kind::File).unwrap();
        }
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a/kept"), "mine").unwrap();
        fs::remove_file(at("link")).unwrap();
        symlink("a/kept", at("link")).unwrap();
        remove_stubs(root.as_fd(), &targets.stubs);
        let left = |name: &str| fs::symlink_metadata(at(name)).is_ok();
        assert!(!left("a/file") && !left("b"), "empty ones are gone");
        assert!(left("a/kept") && left("link"), "what has become the container's own stays");
    }

    #[test]
    fn links_and_steps_have_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::File::open(folder.path()).unwrap();
        let mut targets = Targets::new(root.as_fd()).unwrap();
        symlink("loop", folder.path().join("loop")).unwrap();
        assert!(targets.open("/loop/x", Kind::File).is_err());
        let deep = "/d".repeat(STEP_LIMIT + 1);
        assert!(targets.open(&deep, Kind::Directory).is_err());
        for path in ["/a/..", "/..", "/"] {
            let opened = targets.open(path, Kind::Directory);
            assert_eq!(opened.is_ok(), path != "/a/..", "{path}");
        }
    }
}
