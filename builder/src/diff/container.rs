//! What a container changed of the files of its image, as `docker diff` tells it.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use rbuild_cache::Store;
use rustix::fs::{AtFlags, statat};

use super::{reading, touched};
use crate::container::Changes;
use crate::error::{Error, Result};
use crate::view;

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touched {
    /// The image does not have it.
    Added,
    /// It is another, or what is below it is.
    Changed,
    /// Only the image has it.
    Deleted,
}

/// Lists the paths that a container changed, sorted.
///
/// # Errors
/// A container that is not there, or files that cannot be read.
pub fn container(store: &Store, name: &str) -> Result<Vec<(String, Touched)>> {
    let Changes { files, stubs, layers } = crate::container::changes(store, name)
        .map_err(|error| Error::Container(Box::new(error)))?;
    let image = view::open(store, &layers)?;
    let walk = || {
        let mut all = Vec::new();
        let mut left = vec![(files, PathBuf::new(), 0)];
        while let Some((folder, path, depth)) = left.pop() {
            if depth > touched::MOST_DEEP {
                return Err(io::Error::other("the folders are nested too deeply"));
            }
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let (path, metadata) = (path.join(entry.file_name()), entry.metadata()?);
                if stubs.contains(&path) {
                    continue;
                }
                let kind = metadata.file_type();
                if kind.is_dir() {
                    left.push((entry.path(), path.clone(), depth + 1));
                }
                let was_there = statat(image.as_fd(), &path, AtFlags::SYMLINK_NOFOLLOW).is_ok();
                let is_gone = kind.is_char_device() && metadata.rdev() == 0;
                let what = match (is_gone, was_there) {
                    (true, _) => Touched::Deleted,
                    (false, true) => Touched::Changed,
                    (false, false) => Touched::Added,
                };
                all.push((format!("/{}", path.display()), what));
            }
        }
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(all)
    };
    walk().map_err(reading(store))
}
