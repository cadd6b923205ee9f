//! ADD of an archive: told by its content, unpacked into the destination.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rbuild_cache::tree::Node;
use rbuild_solver::op::CopyItem;
use rustix::fs::{Mode, OFlags};

use super::copy::Target;
use super::files::{FOLDER_MODE, make_folders};
use crate::archive;
use crate::error::StepError;

/// Whether a source of an instruction is an archive that it unpacks.
pub(super) fn wanted(item: &CopyItem, root: &OwnedFd, nodes: &[Node]) -> Result<bool, StepError> {
    let CopyItem::Path { unpack: true, .. } = item else {
        return Ok(false);
    };
    let Some(node) = nodes.first().filter(|node| node.is_file()) else {
        return Ok(false);
    };
    let file = open(root, &node.path).map_err(StepError::file("open the source of ADD"))?;
    archive::is_archive(file).map_err(StepError::file("read the source of ADD"))
}

/// Unpacks an archive into the destination of the instruction.
pub(super) fn unpack(root: &OwnedFd, path: &Path, target: &Target<'_>) -> Result<(), StepError> {
    let doing = || format!("unpack `{}`", path.display());
    let file = open(root, path).map_err(StepError::file(doing()))?;
    let tar = archive::open(file).map_err(StepError::file(doing()))?;
    let tar = tar.ok_or_else(|| StepError::Other(format!("`{}` has changed", path.display())))?;
    let folder = target.folder()?;
    let owner = target.owner.unwrap_or((0, 0));
    let real = make_folders(target.root, &folder, owner, FOLDER_MODE)
        .map_err(StepError::file(doing()))?
        .real;
    let real = if real.as_os_str().is_empty() { Path::new(".") } else { &real };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let destination = rustix::fs::openat(target.root, real, flags, Mode::empty())
        .map_err(StepError::file(doing()))?;
    rbuild_cache::unpack_into(destination.as_fd(), tar, target.owner)
        .map_err(StepError::store(doing()))
}

fn open(root: &OwnedFd, path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(root, path, flags, Mode::empty())?.into())
}
