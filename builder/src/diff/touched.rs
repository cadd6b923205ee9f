//! Which paths a layer may have changed: those that it has, and all below those that it hides.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rbuild_cache::tree::Keep;

/// Folders in folders that are looked into.
pub const MOST_DEEP: usize = 4_096;

/// The attributes by which overlayfs knows a folder that hides what is below it.
const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];
/// What lies beside the files of a layer that hides all layers below it.
const HIDES_ALL: &str = "opaque";

/// What may differ between a tree and the same with more layers.
#[derive(Debug, Default)]
pub(super) struct Paths {
    is_all: bool,
    /// By path, whether all below it may differ too.
    paths: HashMap<PathBuf, bool>,
}

impl Paths {
    /// Every path.
    pub(super) fn all() -> Self {
        Self { is_all: true, ..Self::default() }
    }

    /// The paths that layers, each a folder, have touched.
    pub(super) fn of(folders: impl Iterator<Item = PathBuf>) -> io::Result<Self> {
        let mut touched = Self::default();
        for folder in folders {
            touched.is_all |= folder.with_file_name(HIDES_ALL).exists();
            touched.add(&folder)?;
        }
        Ok(touched)
    }

    fn add(&mut self, root: &Path) -> io::Result<()> {
        let mut left = vec![(root.to_owned(), PathBuf::new(), 0)];
        while let Some((folder, path, depth)) = left.pop() {
            if depth > MOST_DEEP {
                return Err(io::Error::other("the folders are nested too deeply"));
            }
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let path = path.join(entry.file_name());
                let is_folder = entry.file_type()?.is_dir();
                let hides = !is_folder || is_opaque(&entry.path());
                if is_folder {
                    left.push((entry.path(), path.clone(), depth + 1));
                }
                *self.paths.entry(path).or_insert(false) |= hides;
            }
        }
        Ok(())
    }

    /// Whether a path of the merged tree is to be compared; its parents were asked for before it.
    pub(super) fn keep(&self, path: &Path) -> Keep {
        let is_hidden =
            || path.ancestors().skip(1).any(|above| self.paths.get(above) == Some(&true));
        if self.is_all || self.paths.contains_key(path) || is_hidden() {
            Keep::Take
        } else {
            Keep::Skip
        }
    }
}

/// Whether a folder of a layer hides the one below it.
pub(crate) fn is_opaque(folder: &Path) -> bool {
    OPAQUE.iter().any(|name| {
        let mut value = [0; 4];
        rustix::fs::lgetxattr(folder, *name, &mut value)
            .is_ok_and(|length| &value[..length] == b"y")
    })
}
