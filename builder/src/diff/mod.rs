//! What differs between two images, and between two builds of one Dockerfile.

mod config;
mod container;
mod files;
mod touched;
mod verify;

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rbuild_cache::tree::{Options, Tree};
use rbuild_cache::{Layer, Store};
use rbuild_solver::Events;

use crate::error::{Error, Result};
use crate::images::{self, Found};
use crate::layout;
use crate::platform::{self, Platform};
use crate::registries::Registries;
use crate::view;
use crate::worker::fetch::blocking;

pub use container::{Touched, container};
pub(crate) use files::hex;
pub use files::{Change, FileChange};
pub use touched::MOST_DEEP;
pub(crate) use touched::is_opaque;
pub use verify::{LayerDifference, Verified, verify};

/// One thing that is not the same: what it was, and what it is; none where there is no such thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aspect {
    /// What it is: `mode`, `content`, `env PATH`.
    pub what: String,
    /// In the first image.
    pub was: Option<String>,
    /// In the second image.
    pub now: Option<String>,
}

/// All that differs between two images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// The files, by path.
    pub files: Vec<FileChange>,
    /// The config, field by field.
    pub config: Vec<Aspect>,
}

impl Difference {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.config.is_empty()
    }
}

/// Compares two images, each a name, an id, or `oci-layout://PATH[:TAG]`. Times count only where
/// that is asked for.
///
/// # Errors
/// An image that is not there, or whose layers cannot be had.
pub async fn images(
    store: &Store,
    registries: &Registries,
    (first, second): (&str, &str),
    platform: Option<&Platform>,
    times: bool,
) -> Result<Difference> {
    let _visit = store.enter().map_err(Error::store("say that the store is in use"))?;
    let mut both = Vec::with_capacity(2);
    for text in [first, second] {
        let found = find(store, text, platform).await?;
        store.uses_layers(&found.entry.layers);
        images::fetch_layers(store, registries, &found.entry.layers, &Events::none(), None).await?;
        both.push(found);
    }
    let store = store.clone();
    blocking(move || {
        let [first, second] = [&both[0], &both[1]];
        let files = trees(&store, layers(first), layers(second), times)?;
        Ok(Difference { files, config: config::compare(&first.config, &second.config, times) })
    })
    .await
}

/// The layers of an image with the digests that name their contents.
type Layers<'a> = (&'a [Layer], &'a [rbuild_cache::Digest]);

fn layers(image: &Found) -> Layers<'_> {
    (&image.entry.layers, &image.config.rootfs.diff_ids)
}

async fn find(store: &Store, text: &str, platform: Option<&Platform>) -> Result<Found> {
    let platform = platform.cloned().unwrap_or_else(platform::host);
    let Some(place) = text.strip_prefix(layout::SCHEME) else {
        return images::find(store, text);
    };
    let (store, place) = (store.clone(), place.to_owned());
    let image = blocking(move || layout::resolve(&store, &place, &platform)).await?;
    Ok(Found { names: Vec::new(), entry: image.entry, config: image.config })
}

/// Compares the files of two images. What the layers at the bottom that both have hold is looked
/// at only where a layer above them might have touched it.
fn trees(
    store: &Store,
    (first, first_ids): Layers<'_>,
    (second, second_ids): Layers<'_>,
    times: bool,
) -> Result<Vec<FileChange>> {
    let shared = first_ids.iter().zip(second_ids).take_while(|(a, b)| a == b).count();
    let shared = shared.min(first.len()).min(second.len());
    let above = first[shared..].iter().chain(&second[shared..]);
    let touched = if shared == 0 {
        touched::Paths::all()
    } else {
        let folders = above.filter_map(|layer| store.layer_path(layer));
        touched::Paths::of(folders).map_err(reading(store))?
    };
    let keep = |path: &Path, _| touched.keep(path);
    let options = Options { keep: &keep, ..Options::default() };
    let read = |layers: &[Layer]| {
        let root = view::open(store, layers)?;
        let tree = Tree::read(root.as_fd(), &options)
            .map_err(Error::store("read the files of the image"))?;
        Ok::<_, Error>((root, tree))
    };
    let ((first_root, first), (second_root, second)) = (read(first)?, read(second)?);
    let mut changes = files::compare(first.nodes(), second.nodes(), times);
    for change in &mut changes {
        change.digest(&first_root, &second_root).map_err(reading(store))?;
    }
    Ok(changes)
}

/// Says that files of the store could not be read.
fn reading(store: &Store) -> impl Fn(io::Error) -> Error + use<> {
    let path = store.root().to_owned();
    move |source| Error::Read { path: path.clone(), source }
}

#[cfg(test)]
mod tests;
