//! Removing folders, however deep, and what dead processes have left.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layers::{LAYERS, STAGED, WORK};
use crate::lock::LOCKS;
use crate::partial::PARTIAL;
use crate::store::{Store, TEMPORARY, random_name};

/// How deep folders are removed where they are; those further down are first moved up. It bounds
/// the number of open folders, since a container can nest them without any bound.
const DEEPEST: usize = 100;

/// How long a blob of which only parts have come is kept for whoever asks for it again.
pub(crate) const PARTIAL_LIFE: Duration = Duration::from_hours(24);

impl Store {
    /// Removes what processes that died have left, such as unfinished layers and blobs, and what
    /// those that live have left for later: locks that nobody holds, and work folders.
    ///
    /// What belongs to a process that lives is locked, and stays. Returns how much was removed.
    pub fn sweep(&self) -> Result<usize> {
        let mut removed = 0;
        let mut sweep = |path: &Path| {
            let dead = remove_dead(path).map_err(Error::file("remove", path))?;
            removed += usize::from(dead);
            Ok::<_, Error>(())
        };
        for layer in list(&self.root().join(LAYERS))? {
            let is_staged = layer
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(STAGED.as_bytes()));
            let dead = if is_staged { layer } else { layer.join(WORK) };
            sweep(&dead)?;
        }
        for folder in [TEMPORARY, LOCKS] {
            list(&self.root().join(folder))?.iter().try_for_each(|path| sweep(path))?;
        }
        let partial = list(&self.root().join(PARTIAL))?;
        partial.iter().filter(|path| is_old(path)).try_for_each(|path| sweep(path))?;
        Ok(removed)
    }

    /// Takes a folder of the store out of it.
    ///
    /// Its files go at once, or by the next sweep where someone has the folder locked.
    pub fn discard(&self, path: &Path) -> Result<()> {
        let aside = self.folder(TEMPORARY)?.join(random_name()?);
        match fs::rename(path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(Error::file("move away", path))?,
        }
        remove_dead(&aside).map_err(Error::file("remove", &aside)).map(drop)
    }
}

/// Whether nothing has been added to a part of a blob for long.
fn is_old(path: &Path) -> bool {
    let changed = fs::metadata(path).and_then(|file| file.modified());
    let limit = SystemTime::now().checked_sub(PARTIAL_LIFE);
    changed.is_ok_and(|changed| limit.is_some_and(|limit| changed < limit))
}

/// What is in a folder, which need not exist.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file("list", folder))?,
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>();
    paths.map_err(Error::file("list", folder))
}

/// Removes a file or folder unless it is locked; tells whether it did.
fn remove_dead(path: &Path) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        // Its owner was faster.
        Err(Errno::NOENT) => return Ok(false),
        file => file?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(false),
        locked => locked?,
    }
    match remove_whatever(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// Removes a file, a link or a folder with all that is in it.
pub(crate) fn remove_whatever(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        return remove_tree(path);
    }
    fs::remove_file(path)
}

/// Removes a folder and all that is in it; links are removed, never followed.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let top = open_folder(CWD, path)?;
    while empty(top.as_fd(), top.as_fd(), 0)? {}
    Ok(rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

/// Removes what is in `folder`; tells whether some of it was moved into `top` instead.
fn empty(top: BorrowedFd, folder: BorrowedFd, depth: usize) -> io::Result<bool> {
    let mut moved = false;
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
                // Not every file system tells what an entry is.
                Err(Errno::ISDIR) => {}
                removed => {
                    removed?;
                    continue;
                }
            }
        }
        if depth == DEEPEST {
            let aside = random_name().map_err(io::Error::other)?;
            rustix::fs::renameat(folder, name, top, aside)?;
            moved = true;
            continue;
        }
        moved |= empty(top, open_folder(folder, name)?.as_fd(), depth + 1)?;
        rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?;
    }
    Ok(moved)
}

fn open_folder(parent: BorrowedFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        fs::create_dir(&top).unwrap();
        let mut folder = open_folder(CWD, &*top).unwrap();
        for _ in 0..3000 {
            for name in ["branch", "folder"] {
                rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)).unwrap();
            }
            rustix::fs::symlinkat("/", &folder, "link").unwrap();
            folder = open_folder(folder.as_fd(), "folder").unwrap();
        }
        drop(folder);
        remove_tree(&top).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn a_sweep_spares_what_is_alive() {
        let store = Store::temporary().unwrap();
        let staged = store.stage().unwrap();
        let lock = store.lock("held").unwrap();
        let mut writer = store.blob_writer(None).unwrap();
        std::io::Write::write_all(&mut writer, b"x").unwrap();
        let kept = store.stage().unwrap().commit(None).unwrap();
        let dead = store.root().join(LAYERS).join(format!("{STAGED}dead"));
        fs::create_dir_all(dead.join("files/deep")).unwrap();
        fs::write(store.root().join(TEMPORARY).join("dead"), "x").unwrap();
        fs::write(store.root().join(LOCKS).join("dead"), "1").unwrap();
        // One more is the work folder of the committed layer.
        assert_eq!(store.sweep().unwrap(), 4);
        assert_eq!(store.sweep().unwrap(), 0);
        assert!(!dead.exists());
        assert!(store.layer_path(&kept).is_some());
        assert!(staged.commit(None).is_ok() && writer.finish().is_ok());
        assert!(lock.is_some() && store.lock("held").unwrap().is_none());
    }

    #[test]
    fn what_is_discarded_stays_while_it_is_in_use() {
        let store = Store::temporary().unwrap();
        let folder = store.root().join("folder");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), "x").unwrap();
        let user = fs::File::open(&folder).unwrap();
        flock(&user, FlockOperation::LockShared).unwrap();
        store.discard(&folder).unwrap();
        store.discard(&folder).unwrap();
        assert!(!folder.exists());
        let file = rustix::fs::openat(&user, "file", OFlags::RDONLY, Mode::empty());
        assert!(file.is_ok() && store.sweep().unwrap() == 0);
        drop(user);
        assert_eq!(store.sweep().unwrap(), 1);
    }
}
