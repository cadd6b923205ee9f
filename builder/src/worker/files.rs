//! The steps that only make folders, as WORKDIR does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rbuild_cache::Outputs;
use rbuild_solver::Task;
use rbuild_solver::op::FileAction;
use rustix::fs::{AtFlags, Gid, Mode, Uid};
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
        for FileAction::MakeDirectory { path, owner } in actions {
            let (uid, gid) = owner_ids(root.as_fd(), owner)?;
            make_folders(root.as_fd(), Path::new(path), uid, gid)
                .map_err(StepError::file(format!("make the folder `{path}`")))?;
        }
        drop(root);
        self.commit(task, base, staged, began)
    }
}

/// Looks a user and group up in a root file system; an empty text is root.
pub(super) fn owner_ids(root: BorrowedFd<'_>, owner: &str) -> Result<(u32, u32), StepError> {
    if owner.is_empty() {
        return Ok((0, 0));
    }
    // A number alone is the group as well, whatever /etc/passwd says.
    if let Ok(id) = owner.parse::<u32>() {
        return Ok((id, id));
    }
    let user = rbuild_runtime::user::resolve(root, owner)
        .map_err(|error| StepError::User { user: owner.to_owned(), reason: error.to_string() })?;
    Ok((user.uid, user.gid))
}

/// Makes a folder and those above it that are missing; links on the way are followed in the root.
pub(super) fn make_folders(
    root: BorrowedFd<'_>,
    path: &Path,
    uid: u32,
    gid: u32,
) -> io::Result<PathBuf> {
    make_folders_as(root, path, (uid, gid), FOLDER_MODE)
}

/// Like [`make_folders`], with another mode.
pub(super) fn make_folders_as(
    root: BorrowedFd<'_>,
    path: &Path,
    owner: (u32, u32),
    mode: u32,
) -> io::Result<PathBuf> {
    let mut real = PathBuf::new();
    for part in path.components() {
        let std::path::Component::Normal(part) = part else {
            continue;
        };
        let next = real.join(part);
        real = match select::resolve(root, &next) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_folder(root, &next, owner, mode)?;
                next
            }
            Err(error) => return Err(error),
        };
    }
    let whole = if real.as_os_str().is_empty() { Path::new(".") } else { &real };
    let stat = rustix::fs::statat(root, whole, AtFlags::SYMLINK_NOFOLLOW)?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Err(Errno::NOTDIR.into());
    }
    Ok(real)
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
        let root = File::open(folder.path()).unwrap();
        let made = make_folders(root.as_fd(), Path::new("/link/a/b"), 0, 0).unwrap();
        assert_eq!(made, Path::new("real/a/b"));
        assert!(folder.path().join("real/a/b").is_dir());
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(make_folders(root.as_fd(), Path::new("/file"), 0, 0).is_err());
    }
}
