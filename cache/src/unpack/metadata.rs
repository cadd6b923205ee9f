//! Owners, modes, extended attributes and times of what was unpacked.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::archive::{Entry, Kind, Time};
use crate::privilege;

/// Attributes that mean something to overlayfs are never taken from a tar.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
/// Those that only the machine's root has.
const TRUSTED: &[u8] = b"trusted.";

/// A system call that failed, and what it was to do.
pub(super) type Failure = (&'static str, io::Error);

pub(super) fn cannot<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| (doing, error.into())
}

/// Sets what an entry says of a file or a folder, but not the time of a folder.
pub(super) fn finish(file: BorrowedFd, entry: &Entry) -> Result<(), Failure> {
    let (user, group) = owner(entry);
    // The owner first: a change of it drops setuid and capabilities.
    owned(rustix::fs::fchown(file, user, group), entry)?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(cannot("set the mode"))?;
    for (name, value) in attributes(entry) {
        rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())
            .map_err(cannot("set an extended attribute"))?;
    }
    if entry.kind == Kind::Folder {
        // Every new file in it would change it again.
        return Ok(());
    }
    set_times(file, entry.modified).map_err(cannot("set the time"))
}

/// Sets what an entry says of a link, a device or a fifo, none of which can be opened.
pub(super) fn finish_unopened(
    parent: BorrowedFd,
    name: &[u8],
    entry: &Entry,
) -> Result<(), Failure> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    let (user, group) = owner(entry);
    owned(rustix::fs::chownat(parent, name, user, group, nofollow), entry)?;
    if entry.kind != Kind::Symlink {
        set_mode(parent, name, entry.mode).map_err(cannot("set the mode"))?;
    }
    for (attribute, value) in attributes(entry) {
        rustix::fs::lsetxattr(through_proc(parent, name), attribute, value, XattrFlags::empty())
            .map_err(cannot("set an extended attribute"))?;
    }
    rustix::fs::utimensat(parent, name, &times(entry.modified), nofollow)
        .map_err(cannot("set the time"))
}

/// Judges whether the owner could be set. Where root is the only user, everything is root's.
fn owned(done: Result<(), Errno>, entry: &Entry) -> Result<(), Failure> {
    match done {
        Err(Errno::INVAL) if privilege::is_single() => Ok(()),
        Err(Errno::INVAL) if !privilege::has_owner(entry.user, entry.group) => {
            Err(io::Error::other(privilege::no_owner(entry.user, entry.group)))
        }
        done => done.map_err(io::Error::from),
    }
    .map_err(cannot("set the owner"))
}

/// Sets the mode of what is no link. A container that runs in the folder may have put one there.
fn set_mode(parent: BorrowedFd, name: &[u8], mode: u32) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&node)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    let path = format!("/proc/self/fd/{}", node.as_raw_fd());
    rustix::fs::chmodat(rustix::fs::CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())
}

/// Lets a folder hide all that lower layers have at its place.
pub(super) fn make_opaque(folder: BorrowedFd) -> Result<(), Failure> {
    rustix::fs::fsetxattr(folder, privilege::opaque(), b"y", XattrFlags::empty())
        .map_err(cannot("make the folder opaque"))
}

pub(super) fn set_times(file: BorrowedFd, modified: Time) -> Result<(), Errno> {
    rustix::fs::futimens(file, &times(modified))
}

pub(super) fn status(parent: BorrowedFd, name: &[u8]) -> Result<Stat, Errno> {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
}

pub(super) fn is_folder(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::Directory
}

pub(super) fn is_whiteout(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice && status.st_rdev == 0
}

/// A path to something in an open folder, for calls that take only paths.
pub(super) fn through_proc(parent: BorrowedFd, name: &[u8]) -> PathBuf {
    let folder = format!("/proc/self/fd/{}", parent.as_raw_fd());
    Path::new(&folder).join(std::ffi::OsStr::from_bytes(name))
}

pub(super) fn times((seconds, nanoseconds): Time) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(entry.user)), Some(Gid::from_raw(entry.group)))
}

fn attributes(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let all = entry.attributes.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
    let is_possible = |name: &[u8]| privilege::is_full() || !name.starts_with(TRUSTED);
    let means_something = |name: &[u8]| OVERLAY.iter().any(|prefix| name.starts_with(prefix));
    all.filter(move |(name, _)| !means_something(name) && is_possible(name))
}
