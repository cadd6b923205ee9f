//! Copying files and folders with modes, times and every kind of file.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chmodat,
    chownat, fchmod, fchown, fstat, futimens, mkdirat, mknodat, openat, readlinkat, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

/// Folders in folders; each level holds two descriptors open.
const DEEPEST: usize = 200;

/// How things are copied.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    /// Who owns the copies; none keeps the owners.
    pub(crate) owner: Option<(u32, u32)>,
    /// Whether files take the place of those that are there, and folders join theirs.
    pub(crate) replace: bool,
}

/// Copies what is in a folder, and the owner and the mode of the folder itself.
pub(crate) fn copy_folder(from: BorrowedFd<'_>, to: BorrowedFd<'_>, how: How) -> io::Result<()> {
    copy_inside(from, to, how, DEEPEST)
}

/// Copies an open file, folder or link into a folder, by a name.
pub(crate) fn copy_as(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    how: How,
) -> io::Result<()> {
    copy_node(from, to, name, how, DEEPEST)
}

/// Opens what a descriptor without access stands for.
pub(crate) fn reopen(fd: BorrowedFd<'_>, flags: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())?)
}

fn copy_inside(from: BorrowedFd<'_>, to: BorrowedFd<'_>, how: How, depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Err(io::Error::other("the folders are nested too deeply"));
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let node = open(from, name, OFlags::PATH)?;
        copy_node(node.as_fd(), to, name, how, depth)?;
    }
    let stat = fstat(from)?;
    let (user, group) = owner(&stat, how);
    fchown(to, Some(user), Some(group))?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    futimens(to, &times(&stat))?;
    Ok(())
}

fn copy_node(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    how: How,
    depth: usize,
) -> io::Result<()> {
    let stat = fstat(from)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Directory {
        match mkdirat(to, name, Mode::RWXU) {
            Err(Errno::EXIST) if how.replace => {}
            made => made?,
        }
        let source = reopen(from, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let copy = open(to, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
        return copy_inside(source.as_fd(), copy.as_fd(), how, depth - 1);
    }
    if how.replace {
        make_way(to, name)?;
    }
    match kind {
        FileType::RegularFile => {
            let mut source = File::from(reopen(from, OFlags::RDONLY)?);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            io::copy(&mut source, &mut File::from(open(to, name, flags)?))?;
        }
        FileType::Symlink => symlinkat(readlinkat(from, c"", Vec::new())?, to, name)?,
        _ => mknodat(to, name, kind, Mode::from_raw_mode(stat.st_mode), stat.st_rdev)?,
    }
    let (user, group) = owner(&stat, how);
    chownat(to, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    if kind != FileType::Symlink {
        chmodat(to, name, Mode::from_raw_mode(stat.st_mode), AtFlags::empty())?;
    }
    utimensat(to, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Removes the file that a copy is to replace; a folder is none.
fn make_way(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            Err(io::Error::from(Errno::ISDIR))
        }
        Ok(_) => Ok(unlinkat(folder, name, AtFlags::empty())?),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn owner(stat: &Stat, how: How) -> (Uid, Gid) {
    let (user, group) = how.owner.unwrap_or((stat.st_uid, stat.st_gid));
    (Uid::from_raw(user), Gid::from_raw(group))
}

fn open(folder: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    openat(folder, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
}

#[expect(clippy::cast_possible_wrap, reason = "nanoseconds are less than a second's")]
fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as i64 },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn folder_of(path: &std::path::Path) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    #[test]
    fn everything_is_copied_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("inner")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("inner/file"), "text").unwrap();
        fs::set_permissions(from.join("inner/file"), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o1777)).unwrap();
        symlink("/etc", from.join("link")).unwrap();
        copy_folder(folder_of(&from).as_fd(), folder_of(&to).as_fd(), How::default()).unwrap();
        assert_eq!(fs::read_to_string(to.join("inner/file")).unwrap(), "text");
        let mode = |path: &str| fs::symlink_metadata(to.join(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode("inner/file"), mode("")), (0o4750, 0o1777));
        assert_eq!(fs::read_link(to.join("link")).unwrap().as_os_str(), "/etc");
        let modified =
            |root: &std::path::Path| fs::metadata(root.join("inner/file")).unwrap().mtime();
        assert_eq!(modified(&from), modified(&to));
    }

    #[test]
    fn what_is_there_stays_or_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for root in [&from, &to] {
            fs::create_dir_all(root.join("inner")).unwrap();
        }
        fs::write(from.join("inner/file"), "new").unwrap();
        symlink("/etc/passwd", to.join("inner/file")).unwrap();
        fs::write(to.join("inner/other"), "stays").unwrap();
        let copy = |replace| {
            let how = How { owner: Some((7, 8)), replace };
            copy_folder(folder_of(&from).as_fd(), folder_of(&to).as_fd(), how)
        };
        assert_eq!(copy(false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        copy(true).unwrap();
        assert_eq!(fs::read_to_string(to.join("inner/file")).unwrap(), "new");
        assert_eq!(fs::read_to_string(to.join("inner/other")).unwrap(), "stays");
        let made = fs::symlink_metadata(to.join("inner/file")).unwrap();
        assert!(made.is_file(), "the link was replaced, not followed");
        assert_eq!((made.uid(), made.gid()), (7, 8));
        fs::remove_file(to.join("inner/file")).unwrap();
        fs::create_dir(to.join("inner/file")).unwrap();
        assert_eq!(copy(true).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }
}
