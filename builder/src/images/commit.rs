//! `commit`: an image of what a container has become.

use jiff::Timestamp;
use rbuild_cache::{Digest, ImageEntry, Store};

use super::change::changed;
use super::{enter, keep_unnamed, set_name};
use crate::container;
use crate::error::{Error, Result};
use crate::image::{History, ImageConfig};
use crate::source;

/// What the image of a container is besides its files.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Its name.
    pub name: Option<String>,
    /// Who made it.
    pub author: String,
    /// The line of its history.
    pub message: String,
    /// Instructions of a Dockerfile that make no layer, such as `CMD sh`.
    pub changes: Vec<String>,
}

/// Makes an image of a container: that of its own image, and one more layer; gives its id.
///
/// # Errors
/// A container that is not there, a change that is none, or a store that cannot be written to.
pub fn commit(store: &Store, container: &str, options: &Commit) -> Result<Digest> {
    let _visit = enter(store)?;
    let name = options.name.as_deref().map(source::parse).transpose()?;
    let state = container::committed(store, container)?;
    let base = source::read_config(store, &state.image)?;
    let platform = base.platform();
    let config = changed(state.config, &options.changes, &platform)?;
    let layer =
        store.copy_layer(&state.files, &state.stubs).map_err(Error::store("copy the changes"))?;
    store.uses_layers(state.layers.iter().chain([&layer]));
    let diff_id = store.diff_id(&layer).map_err(Error::store("digest the layer"))?;
    let now = Timestamp::now();
    let mut image = ImageConfig { config, created: Some(now), ..base };
    image.rootfs.diff_ids.push(diff_id);
    if !options.author.is_empty() {
        image.author = Some(options.author.clone());
    }
    image.history.push(History {
        created: Some(now),
        created_by: state.command.join(" "),
        author: options.author.clone(),
        comment: options.message.clone(),
        ..History::default()
    });
    let id = store.write_blob(&image.to_json()).map_err(Error::store("keep the config"))?;
    let layers: Vec<_> = state.layers.into_iter().chain([layer]).collect();
    let measured = |layer| store.layer_size(layer).ok().flatten().unwrap_or_default();
    let entry = ImageEntry {
        manifest: None,
        config: id,
        size: layers.iter().map(measured).sum(),
        layers,
        created: now.as_second(),
        platforms: Vec::new(),
    };
    match name {
        Some(name) => {
            set_name(store, &name.to_string(), &entry)?;
        }
        None => keep_unnamed(store, &entry)?,
    }
    Ok(id)
}
