//! Filling an empty volume with what the image has at its place.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rbuild_cache::Store;
use rbuild_runtime::copy::{How, copy_folder};
use rbuild_runtime::open_in_root;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::super::error::{Error, Result};
use super::super::folder::Record;
use super::open_folder;
use super::place::Place;

/// There while a volume is filled, so that one that was cut short is told from one that has files
/// of its own.
const FILLING: &str = "filling";

/// Fills a volume that is empty, with owner and mode of the image's folder; the caller has its
/// turn. What a process that was killed has begun is done again from the start.
pub(super) fn fill(
    store: &Store,
    record: &Record,
    target: &str,
    (place, data): (&Place, &Path),
) -> Result<()> {
    let filling = place.folder.join(FILLING);
    let was_cut = filling.exists();
    let is_empty = fs::read_dir(data).map_err(Error::file("read", data))?.next().is_none();
    if !is_empty && !was_cut {
        return Ok(());
    }
    let image = store.view(&record.layers)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let from = match open_in_root(image.as_fd(), target, flags, Mode::empty()) {
        Ok(from) => from,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(error) => return Err(Error::file("open", target)(error)),
    };
    let to = open_folder(data)?;
    let copied = || -> io::Result<()> {
        fs::write(&filling, "")?;
        let how = How { replace: was_cut, ..How::default() };
        copy_folder(from.as_fd(), to.as_fd(), how)?;
        // The mark must not go before the disk has the files: they are the user's from now on.
        rustix::fs::syncfs(&to)?;
        fs::remove_file(&filling)
    };
    copied().map_err(Error::file("copy the image's files to", data))
}
