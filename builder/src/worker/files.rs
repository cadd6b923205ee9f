//! The steps that only make folders, as WORKDIR does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rbuild_cache::{Outputs, StagedLayer, privilege};
use rbuild_solver::Task;
use rbuild_solver::op::FileAction;
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::{World, select};
use crate::error::StepError;

/// The mode of folders that WORKDIR and COPY make.
pub(super) const FOLDER_MODE: u32 = 0o755;

impl World {
    /// Runs the actions of one step on its input.
    pub(super) fn files(&self, task: &Task, actions: &[FileAction]) -> Result<Outputs, StepError> {
        let began = Instant::now();
        let base = &task.inputs[0];
        let staged = self.store.stage().map_err(StepError::store("begin a layer"))?;
        let root = self
            .store
            .writable(&base.layers, &staged)
            .map_err(StepError::store("mount the file system of the step"))?;
        let mut date = None;
        for FileAction::MakeDirectory { path, owner, time } in actions {
            let owner = owner_ids(root.as_fd(), owner)?;
            make_folders(root.as_fd(), Path::new(path), owner, FOLDER_MODE)
                .map_err(StepError::file(format!("make the folder `{path}`")))?;
            date = date.or(*time);
        }
        drop(root);
        date_folders(&staged, date, began)?;
        self.commit(task, base, staged, began)
    }
}

/// Looks a user and group up in a root file system; an empty text is root.
pub(super) fn owner_ids(root: BorrowedFd<'_>, owner: &str) -> Result<(u32, u32), StepError> {
    if owner.is_empty() {
        return Ok((0, 0));
    }
    let (user, group) = ids(root, owner)?;
    if privilege::has_owner(user, group) {
        return Ok((user, group));
    }
    let reason = privilege::no_owner(user, group);
    Err(StepError::User { user: owner.to_owned(), reason })
}

fn ids(root: BorrowedFd<'_>, owner: &str) -> Result<(u32, u32), StepError> {
    // A number alone is the group as well, whatever /etc/passwd says.
    if let Ok(id) = owner.parse::<u32>() {
        return Ok((id, id));
    }
    let user = rbuild_runtime::user::resolve(root, owner)
        .map_err(|error| StepError::User { user: owner.to_owned(), reason: error.to_string() })?;
    Ok((user.uid, user.gid))
}

/// A folder that is there now.
#[derive(Debug)]
pub(super) struct Made {
    /// Its path without links.
    pub(super) real: PathBuf,
    /// Those of it and of the ones above it that were not there, the topmost first.
    pub(super) new: Vec<PathBuf>,
}

/// Makes a folder and those above it that are missing; links on the way are followed in the root.
pub(super) fn make_folders(
    root: BorrowedFd<'_>,
    path: &Path,
    owner: (u32, u32),
    mode: u32,
) -> io::Result<Made> {
    let real = select::resolve_new(root, path)?;
    let mut new = Vec::new();
    let mut folder = PathBuf::new();
    for part in &real {
        folder.push(part);
        match make_folder(root, &folder, owner, mode) {
            Ok(()) => new.push(folder.clone()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    let whole = if real.as_os_str().is_empty() { Path::new(".") } else { &real };
    let stat = rustix::fs::statat(root, whole, AtFlags::SYMLINK_NOFOLLOW)?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Err(Errno::NOTDIR.into());
    }
    Ok(Made { real, new })
}

/// Gives the folders of a new layer a time, once nothing is put into them any more; without one
/// they keep theirs.
///
/// Those that are older than the step were not touched by it, or came with a time of their own.
pub(super) fn date_folders(
    staged: &StagedLayer,
    time: Option<i64>,
    began: Instant,
) -> Result<(), StepError> {
    let Some(time) = time else { return Ok(()) };
    // The clock of file systems is a little late.
    let began = jiff::Timestamp::now().as_second() - began.elapsed().as_secs().cast_signed() - 2;
    let time = Timespec { tv_sec: time, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    let date = || -> io::Result<()> {
        let mut pending = vec![staged.files().to_owned()];
        while let Some(folder) = pending.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    pending.push(entry.path());
                }
            }
            if std::fs::metadata(&folder)?.mtime() >= began {
                rustix::fs::utimensat(CWD, &folder, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        Ok(())
    };
    date().map_err(StepError::file("set the times of folders"))
}

fn make_folder(
    root: BorrowedFd<'_>,
    path: &Path,
    (uid, gid): (u32, u32),
    mode: u32,
) -> io::Result<()> {
    rustix::fs::mkdirat(root, path, Mode::from_raw_mode(mode))?;
    if (uid, gid) != (0, 0) {
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(root, path, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    // The mode must not depend on the caller's umask.
    rustix::fs::chmodat(root, path, Mode::from_raw_mode(mode), AtFlags::empty())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn links_on_the_way_are_followed_in_the_root() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("real")).unwrap();
        std::os::unix::fs::symlink("/real", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("../new/x", folder.path().join("dangling")).unwrap();
        let root = File::open(folder.path()).unwrap();
        let make = |path| make_folders(root.as_fd(), Path::new(path), (0, 0), FOLDER_MODE);
        let made = make("/link/a/b").unwrap();
        assert_eq!(made.real, Path::new("real/a/b"));
        assert_eq!(made.new, [Path::new("real/a"), Path::new("real/a/b")]);
        assert!(folder.path().join("real/a/b").is_dir());
        assert_eq!(make("/dangling/y").unwrap().real, Path::new("new/x/y"));
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(make("/file").is_err());
    }

    #[test]
    fn only_folders_of_the_step_are_dated() {
        let store = rbuild_cache::Store::temporary().unwrap();
        let staged = store.stage().unwrap();
        for name in ["new", "old"] {
            std::fs::create_dir(staged.files().join(name)).unwrap();
        }
        let old = Timespec { tv_sec: 7, tv_nsec: 0 };
        let times = Timestamps { last_access: old, last_modification: old };
        let path = staged.files().join("old");
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
        let times = || {
            let time = |name| std::fs::metadata(staged.files().join(name)).unwrap().mtime();
            [time("new"), time("old")]
        };
        let before = times();
        let began = Instant::now();
        date_folders(&staged, None, began).unwrap();
        assert_eq!(times(), before);
        date_folders(&staged, Some(5), began).unwrap();
        assert_eq!(times(), [5, 7]);
    }
}
