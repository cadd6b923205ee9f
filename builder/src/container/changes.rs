//! Where the changes that a container made to its files are.

use std::path::PathBuf;

use rbuild_cache::{Layer, Store};

use super::error::{Error, Result};
use super::names;

/// The folder with what a container changed, in the form of overlayfs, and the layers below it.
pub(crate) fn changes(store: &Store, name: &str) -> Result<(PathBuf, Vec<Layer>)> {
    let folder = names::find(store, name)?;
    let record = folder.record()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
    Ok((folder.files(), record.layers))
}
