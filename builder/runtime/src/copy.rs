//! Copying files and folders with modes, owners, times and every kind of file. Everything is done by
//! what was opened, so that neither side can lead a copy astray while it is made.

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
pub struct How {
    /// Who owns the copies; none keeps the owners.
    pub owner: Option<(u32, u32)>,
    /// Whether files take the place of those that are there, and folders join theirs.
    pub replace: bool,
    /// What becomes of devices.
    pub devices: Devices,
}

/// What becomes of devices that are to be copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Devices {
    /// They are copied.
    #[default]
    Copied,
    /// They are left out, and so are fifos and sockets.
    LeftOut,
    /// They are an error: what a container makes must not work outside of it.
    Refused,
}

/// Copies what is in a folder, and the owner, the mode and the times of the folder itself.
///
/// # Errors
/// What cannot be read or written, folders that are nested too deeply, and devices that are refused.
pub fn copy_folder(from: BorrowedFd<'_>, to: BorrowedFd<'_>, how: How) -> io::Result<()> {
    copy_inside(from, to, how, DEEPEST)?;
    finish(to, &fstat(from)?, how)
}

/// Copies what is in a folder, and leaves the folder itself as it is.
pub(crate) fn copy_contents(from: BorrowedFd<'_>, to: BorrowedFd<'_>, how: How) -> io::Result<()> {
    copy_inside(from, to, how, DEEPEST)
}

/// Copies an open file, folder or link into a folder, by a name.
///
/// # Errors
/// As for [`copy_folder`].
pub fn copy_as(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, how: How) -> io::Result<()> {
    copy_node(Node { node: from, place: None }, to, name, how, DEEPEST)
}

/// Opens what a descriptor without access stands for.
///
/// # Errors
/// What may not be opened so.
pub fn reopen(fd: BorrowedFd<'_>, flags: OFlags) -> io::Result<OwnedFd> {
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
        copy_node(Node { node: node.as_fd(), place: Some((from, name)) }, to, name, how, depth)?;
    }
    Ok(())
}

/// Something that is copied, open without access, and where it was found.
#[derive(Clone, Copy)]
struct Node<'a> {
    node: BorrowedFd<'a>,
    place: Option<(BorrowedFd<'a>, &'a CStr)>,
}

impl Node<'_> {
    /// Opens it to be read: where it was found, since a process of a container may have no `/proc`
    /// to find its own descriptors in.
    fn open(self, flags: OFlags) -> io::Result<OwnedFd> {
        let Some((folder, name)) = self.place else {
            return reopen(self.node, flags);
        };
        let opened = open(folder, name, flags | OFlags::NONBLOCK)?;
        let (found, stat) = (fstat(&opened)?, fstat(self.node)?);
        if (found.st_dev, found.st_ino) == (stat.st_dev, stat.st_ino) {
            Ok(opened)
        } else {
            Err(io::Error::other("something else was put into its place while it was copied"))
        }
    }
}

fn copy_node(
    from: Node<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    how: How,
    depth: usize,
) -> io::Result<()> {
    let stat = fstat(from.node)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Directory {
        match mkdirat(to, name, Mode::RWXU) {
            Err(Errno::EXIST) if how.replace => {}
            made => made?,
        }
        let source = from.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
        let copy = open(to, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
        copy_inside(source.as_fd(), copy.as_fd(), how, depth - 1)?;
        return finish(copy.as_fd(), &stat, how);
    }
    let is_file = matches!(kind, FileType::RegularFile | FileType::Symlink);
    if !is_file && how.devices == Devices::LeftOut {
        return Ok(());
    }
    if how.replace {
        make_way(to, name)?;
    }
    match kind {
        FileType::RegularFile => {
            let mut source = File::from(from.open(OFlags::RDONLY)?);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let mut copy = File::from(open(to, name, flags)?);
            io::copy(&mut source, &mut copy)?;
            // By what was opened: a container that runs may put a link in its place meanwhile.
            finish(copy.as_fd(), &stat, how)
        }
        FileType::Symlink => {
            symlinkat(readlinkat(from.node, c"", Vec::new())?, to, name)?;
            let (user, group) = owner(&stat, how);
            chownat(to, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(utimensat(to, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)?)
        }
        FileType::CharacterDevice | FileType::BlockDevice if how.devices == Devices::Refused => {
            Err(io::Error::other("a device of a container is not copied out of it"))
        }
        _ => copy_special(to, name, kind, &stat, how),
    }
}

/// Makes a device, a fifo or a socket.
fn copy_special(
    to: BorrowedFd<'_>,
    name: &CStr,
    kind: FileType,
    stat: &Stat,
    how: How,
) -> io::Result<()> {
    mknodat(to, name, kind, Mode::empty(), stat.st_rdev)?;
    let made = open(to, name, OFlags::PATH)?;
    let found = fstat(&made)?;
    if FileType::from_raw_mode(found.st_mode) != kind || found.st_rdev != stat.st_rdev {
        return Err(io::Error::other("something else was put into the place of the copy"));
    }
    let (user, group) = owner(stat, how);
    chownat(&made, c"", Some(user), Some(group), AtFlags::EMPTY_PATH)?;
    let path = format!("/proc/self/fd/{}", made.as_raw_fd());
    chmodat(CWD, &*path, mode(stat, how), AtFlags::empty())?;
    Ok(utimensat(CWD, &*path, &times(stat), AtFlags::empty())?)
}

/// Gives an open copy the owner, the mode and the times that it is to have.
fn finish(copy: BorrowedFd<'_>, stat: &Stat, how: How) -> io::Result<()> {
    let (user, group) = owner(stat, how);
    fchown(copy, Some(user), Some(group))?;
    fchmod(copy, mode(stat, how))?;
    Ok(futimens(copy, &times(stat))?)
}

/// The mode of a copy. What runs as its owner does not become what runs as another.
fn mode(stat: &Stat, how: How) -> Mode {
    let mode = Mode::from_raw_mode(stat.st_mode);
    let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let (user, group) = owner(stat, how);
    let stays = (user.as_raw(), group.as_raw()) == (stat.st_uid, stat.st_gid);
    if stays || is_folder { mode } else { mode - (Mode::SUID | Mode::SGID) }
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
    fn nothing_gains_power_by_being_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        for (name, owner) in [("own", 7), ("other", 9)] {
            fs::write(from.join(name), "").unwrap();
            std::os::unix::fs::chown(from.join(name), Some(owner), Some(owner)).unwrap();
            fs::set_permissions(from.join(name), fs::Permissions::from_mode(0o6755)).unwrap();
        }
        let how = How { owner: Some((7, 7)), replace: true, devices: Devices::Refused };
        copy_folder(folder_of(&from).as_fd(), folder_of(&to).as_fd(), how).unwrap();
        let mode = |name: &str| fs::metadata(to.join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("own"), mode("other")), (0o6755, 0o755));
        let device = from.join("null");
        let access = Mode::from_raw_mode(0o600);
        let null = rustix::fs::makedev(1, 3);
        mknodat(CWD, &device, FileType::CharacterDevice, access, null).unwrap();
        let refused = copy_folder(folder_of(&from).as_fd(), folder_of(&to).as_fd(), how);
        assert!(refused.unwrap_err().to_string().contains("a device of a container"));
        let kept = How { devices: Devices::Copied, ..how };
        copy_folder(folder_of(&from).as_fd(), folder_of(&to).as_fd(), kept).unwrap();
        let copy = fs::metadata(to.join("null")).unwrap();
        assert_eq!((copy.rdev(), copy.mode() & 0o7777, copy.uid()), (null, 0o600, 7));
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
            let how = How { owner: Some((7, 8)), replace, devices: Devices::Copied };
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
