//! A new file system that begins with what a container has in its place.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid, chownat, fchmod, fchown, mkdirat, openat,
    readlinkat, statat, symlinkat,
};
use rustix::io::Errno;

/// How deep folders are copied.
const DEEPEST: usize = 64;

/// Copies folders, files and links from one folder to another, with their modes and owners.
pub(crate) fn copy_up(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    copy(from.as_fd(), to.as_fd(), 0)
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    let from =
        openat(from, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&from)?;
    let folder =
        openat(to, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    if depth > 0 {
        own(&folder, &stat)?;
    }
    for entry in Dir::read_from(&from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                mkdirat(&folder, name, Mode::from_raw_mode(0o700))?;
                let flags = flags | OFlags::DIRECTORY | OFlags::RDONLY;
                let below = openat(&from, name, flags, Mode::empty())?;
                let made = openat(&folder, name, flags, Mode::empty())?;
                copy(below.as_fd(), made.as_fd(), depth + 1)?;
            }
            FileType::RegularFile => {
                let source = openat(&from, name, flags | OFlags::RDONLY, Mode::empty())?;
                let flags = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let made = openat(&folder, name, flags, Mode::from_raw_mode(0o600))?;
                let copied = std::io::copy(
                    &mut std::fs::File::from(source),
                    &mut std::fs::File::from(made.try_clone().map_err(|error| of_io(&error))?),
                );
                copied.map_err(|error| of_io(&error))?;
                own(&made, &stat)?;
            }
            FileType::Symlink => {
                symlinkat(readlinkat(&from, name, Vec::new())?, &folder, name)?;
                let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
                chownat(&folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            // Devices, sockets and fifos of an image are nothing to begin with.
            _ => {}
        }
    }
    Ok(())
}

fn own(file: &OwnedFd, stat: &rustix::fs::Stat) -> Result<(), Errno> {
    fchown(file, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(file, Mode::from_raw_mode(stat.st_mode & 0o7777))
}

fn of_io(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
