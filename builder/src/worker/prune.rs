//! Taking out of a new layer what only looks changed: an overlay copies files and folders up that
//! are opened for writing, or that only serve as the place of a mount.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The deepest folder that is looked at; deeper ones stay as they are.
const MAX_DEPTH: usize = 200;

/// Removes from `upper` every file that equals the one in `below` in kind, owner, mode, size and
/// times, and every folder that equals its own and in which nothing changed.
pub(crate) fn unchanged(upper: BorrowedFd<'_>, below: BorrowedFd<'_>) -> io::Result<()> {
    folder(upper, below, MAX_DEPTH).map(drop)
}

/// Prunes one folder; tells whether it is empty afterwards.
fn folder(upper: BorrowedFd<'_>, below: BorrowedFd<'_>, depth: usize) -> io::Result<bool> {
    let mut empty = true;
    let handle = rustix::fs::openat(upper, ".", FOLDER, Mode::empty())?;
    for entry in Dir::new(handle)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            empty &= remove_if_unchanged(upper, below, name, depth)?;
        }
    }
    Ok(empty)
}

fn remove_if_unchanged(
    upper: BorrowedFd<'_>,
    below: BorrowedFd<'_>,
    name: &OsStr,
    depth: usize,
) -> io::Result<bool> {
    let new = rustix::fs::statat(upper, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let old = match rustix::fs::statat(below, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(old) => old,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if !same_owner_and_kind(&new, &old) {
        return Ok(false);
    }
    if !FileType::from_raw_mode(new.st_mode).is_dir() {
        let same = same_contents(&new, &old) && same_xattrs(upper, below, name);
        if same {
            rustix::fs::unlinkat(upper, name, AtFlags::empty())?;
        }
        return Ok(same);
    }
    if depth == 0 {
        return Ok(false);
    }
    let inner = open(upper, name)?;
    let inner_below = open(below, name)?;
    let opaque = is_opaque(&inner);
    if folder(inner.as_fd(), inner_below.as_fd(), depth - 1)? && !opaque {
        rustix::fs::unlinkat(upper, name, AtFlags::REMOVEDIR)?;
        return Ok(true);
    }
    Ok(false)
}

fn open(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(parent, name, FOLDER, Mode::empty())?)
}

fn same_owner_and_kind(new: &Stat, old: &Stat) -> bool {
    (new.st_mode, new.st_uid, new.st_gid) == (old.st_mode, old.st_uid, old.st_gid)
}

/// A whiteout is the device 0:0, which no file below is.
fn same_contents(new: &Stat, old: &Stat) -> bool {
    let whiteout = FileType::from_raw_mode(new.st_mode).is_char_device() && new.st_rdev == 0;
    let facts = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_rdev);
    !whiteout && facts(new) == facts(old)
}

/// Whether a file has the same capability in both trees; other attributes change with times.
fn same_xattrs(upper: BorrowedFd<'_>, below: BorrowedFd<'_>, name: &OsStr) -> bool {
    capability(upper, name) == capability(below, name)
}

fn capability(folder: BorrowedFd<'_>, name: &OsStr) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::empty()).ok()?;
    let mut value = vec![0; 256];
    let length = rustix::fs::fgetxattr(&file, "security.capability", &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

fn is_opaque(folder: &OwnedFd) -> bool {
    let mut value = [0; 4];
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| rustix::fs::fgetxattr(folder, *name, &mut value[..]).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::path::Path;
    use std::process::Command;

    fn copy(from: &Path, to: &Path) {
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    }

    #[test]
    fn only_what_changed_stays() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("below");
        fs::create_dir_all(below.join("etc/deep")).unwrap();
        fs::create_dir_all(below.join("kept")).unwrap();
        for file in ["etc/same", "etc/deep/same", "kept/same", "kept/mode", "kept/text"] {
            fs::write(below.join(file), file).unwrap();
        }
        let upper = root.path().join("upper");
        copy(&below, &upper);
        fs::write(upper.join("kept/text"), "changed!!").unwrap();
        fs::write(upper.join("kept/new"), "").unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(upper.join("kept/mode"), executable).unwrap();
        fs::create_dir(upper.join("only")).unwrap();
        let (up, down) = (File::open(&upper).unwrap(), File::open(&below).unwrap());
        unchanged(up.as_fd(), down.as_fd()).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(&upper).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["kept", "only"]);
        let mut kept: Vec<_> = fs::read_dir(upper.join("kept"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        kept.sort();
        assert_eq!(kept, ["mode", "new", "text"]);
    }
}
