//! Where the changes that a container made to its files are.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rbuild_cache::{Layer, Store};

use super::error::{Error, Result};
use super::names;
use super::stubs::stubs;

/// What a container changed.
pub(crate) struct Changes {
    /// The folder with it, in the form of overlayfs.
    pub(crate) files: PathBuf,
    /// What of that is there only to be mounted on.
    pub(crate) stubs: BTreeSet<PathBuf>,
    /// The layers below it.
    pub(crate) layers: Vec<Layer>,
}

/// Looks for what a container changed.
pub(crate) fn changes(store: &Store, name: &str) -> Result<Changes> {
    let folder = names::find(store, name)?;
    let record = folder.record()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
    let files = folder.files();
    Ok(Changes { stubs: stubs(store, &files, &record)?, files, layers: record.layers })
}
