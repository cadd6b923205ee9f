//! Images on their way in and out: from and to registries, and archives.

use rbuild_cache::{Digest, ImageEntry, Layer, Store};
use rbuild_registry::Reference;
use rbuild_solver::{Events, StepId, What};

use super::{Found, enter, find, set_name};
use crate::error::{Error, Result};
use crate::export::push::PushedImage;
use crate::export::{self, Archive, Destination, Exporter, Finished, Format, Packing};
use crate::journal::{self, Entry, Kind};
use crate::platform::Platform;
use crate::registries::Registries;
use crate::source::{self, ResolvedImage};
use crate::worker::fetch;

/// What a pull did.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The full name.
    pub name: String,
    /// The digest of the manifest.
    pub digest: Digest,
    /// Whether the store had another image, or none, under this name.
    pub is_new: bool,
    /// The image.
    pub image: ResolvedImage,
}

/// Finds an image for a container: in the store, else pulled.
///
/// # Errors
/// An image that is nowhere, or whose layers cannot be fetched.
pub async fn obtain(
    store: &Store,
    registries: &Registries,
    text: &str,
    platform: &Platform,
    events: &Events,
) -> Result<Found> {
    let _visit = enter(store)?;
    let found = match find(store, text) {
        Err(Error::NoImage(_)) => {
            pull(store, registries, text, platform, events).await?;
            find(store, text)?
        }
        found => found?,
    };
    let found = found.for_platform(store, platform)?;
    fetch_layers(store, registries, &found.entry.layers, events, None).await?;
    Ok(found)
}

/// Unpacks the layers of an image that are not here yet, after fetching them.
pub(crate) async fn fetch_layers(
    store: &Store,
    registries: &Registries,
    layers: &[Layer],
    events: &Events,
    step: Option<StepId>,
) -> Result<()> {
    let missing: Vec<Layer> =
        layers.iter().filter(|layer| store.layer_path(layer).is_none()).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    fetch::layers(store, registries, &missing, events, step).await
}

/// Pulls an image and names it; its layers are unpacked when this returns.
///
/// # Errors
/// A name that is none, an image that the registry does not have or give.
pub async fn pull(
    store: &Store,
    registries: &Registries,
    text: &str,
    platform: &Platform,
    events: &Events,
) -> Result<Pulled> {
    let _visit = enter(store)?;
    let reference = source::parse(text)?;
    let name = reference.to_string();
    let step = events.plan(format!("pull {name}"), String::new(), Vec::new());
    events.emit(step, What::Started);
    let image = source::fetch(store, registries, &reference, platform).await?;
    fetch_layers(store, registries, &image.entry.layers, events, Some(step)).await?;
    let old = store.image(&name).map_err(Error::store(format!("look up `{name}`")))?;
    let is_new = old.as_ref().is_none_or(|old| old.config != image.entry.config);
    set_name(store, &name, &image.entry)?;
    of_registry(store, "pull", &reference);
    events.emit(step, What::Finished);
    let digest = image.entry.manifest.unwrap_or(image.entry.config);
    Ok(Pulled { name, digest, is_new, image })
}

/// Pushes the image that has a name to the registry in it; of several platforms an index, unless
/// one alone is wanted.
///
/// # Errors
/// A name that the store does not have, or a registry that refuses.
pub async fn push(
    store: &Store,
    registries: &Registries,
    text: &str,
    platform: Option<&Platform>,
    events: &Events,
) -> Result<PushedImage> {
    let _visit = enter(store)?;
    let reference = source::parse(text)?;
    let name = reference.to_string();
    let entry = store.image(&name).map_err(Error::store(format!("look up `{name}`")))?;
    let entry = entry.ok_or_else(|| Error::NoImage(reference.familiar()))?;
    let images = finished(store, &entry, platform)?;
    let is_whole = images.len() == entry.platforms.len().max(1);
    let step = events.plan(format!("push {name}"), String::new(), Vec::new());
    events.emit(step, What::Started);
    let exporter = exporter(store, registries, events, step);
    let pushed = export::push::push(&exporter, &reference, &images, &Packing::default()).await;
    let pushed = pushed.map_err(|error| Error::not_pushed(&reference.familiar(), error))?;
    // Meanwhile the name may have gone to another image, which keeps it.
    let now = store.image(&name).map_err(Error::store(format!("look up `{name}`")))?;
    let is_same = |now: &ImageEntry| {
        (now.config, &now.layers, &now.platforms) == (entry.config, &entry.layers, &entry.platforms)
    };
    if is_whole && now.as_ref().is_some_and(is_same) {
        let entry = ImageEntry { manifest: Some(pushed.digest), ..entry };
        store.tag(&name, &entry).map_err(Error::store(format!("name the image `{name}`")))?;
    }
    of_registry(store, "push", &reference);
    events.emit(step, What::Finished);
    Ok(pushed)
}

/// Writes down what has happened to an image at a registry: as with docker, by its name.
fn of_registry(store: &Store, action: &str, reference: &Reference) {
    let familiar = reference.familiar();
    let name = familiar.rsplit_once(':').map_or(&*familiar, |(name, _)| name);
    journal::note(store, &[Entry::new(Kind::Image, action, &familiar).with("name", name)]);
}

/// Loads the images of an archive of `docker save`, or of an OCI image layout; gives their names.
///
/// # Errors
/// What is no archive of images, is damaged, or cannot be kept.
pub fn load(store: &Store, archive: impl std::io::Read + Send) -> Result<Vec<String>> {
    let _visit = enter(store)?;
    let names = crate::load::load(store, archive)?;
    let loaded = names.iter().map(|name| Entry::new(Kind::Image, "load", name).with("name", name));
    journal::note(store, &loaded.collect::<Vec<_>>());
    Ok(names)
}

/// Writes images as one archive that `docker load`, and [`load`], read: for all of their platforms,
/// unless one alone is wanted.
///
/// # Errors
/// An image that is not there, or a place that cannot be written to.
pub async fn save(
    store: &Store,
    registries: &Registries,
    images: &[String],
    platform: Option<&Platform>,
    to: &Destination,
    events: &Events,
) -> Result<()> {
    let _visit = enter(store)?;
    let step = events.plan("save images".to_owned(), String::new(), Vec::new());
    let mut all = Vec::with_capacity(images.len());
    for text in images {
        for (names, entry) in named(store, text)? {
            all.push((finished(store, &entry, platform)?, names));
        }
    }
    let archive = Archive { to, tar: true, format: Format::Docker };
    let exporter = exporter(store, registries, events, step);
    export::write_archive(&exporter, all, &Packing::default(), archive).await?;
    Ok(())
}

/// The images that a text names, each with the names by which it is saved. A repository without a
/// tag stands for all of its tags, an id for an image without a name.
fn named(store: &Store, text: &str) -> Result<Vec<(Vec<String>, ImageEntry)>> {
    let is_bare =
        !text.contains('@') && !text[text.rfind('/').map_or(0, |at| at + 1)..].contains(':');
    let full = source::parse(text).ok().map(|reference| reference.to_string());
    let repository = full.as_ref().and_then(|full| full.rsplit_once(':')).filter(|_| is_bare);
    if let Some((repository, _)) = repository {
        let all = store.images().map_err(Error::store("list the images"))?;
        let is_tag = |name: &String| {
            let tag = name.strip_prefix(repository).and_then(|rest| rest.strip_prefix(':'));
            tag.is_some_and(|tag| !tag.contains('/'))
        };
        let tags: Vec<_> = all
            .into_iter()
            .filter(|(name, _)| is_tag(name))
            .map(|(name, entry)| (vec![name], entry))
            .collect();
        if !tags.is_empty() {
            return Ok(tags);
        }
    }
    let found = find(store, text)?;
    let names = full.filter(|full| found.names.contains(full)).into_iter().collect();
    Ok(vec![(names, found.entry)])
}

/// An image of the store, as it goes out, for each of its platforms or for one of them.
fn finished(
    store: &Store,
    entry: &ImageEntry,
    platform: Option<&Platform>,
) -> Result<Vec<Finished>> {
    if platform.is_some() {
        let config = source::read_config(store, &entry.config)?;
        let found = Found { names: Vec::new(), entry: entry.clone(), config };
        return finished(store, &found.only(store, platform)?.entry, None);
    }
    let one = |entry: &ImageEntry| {
        let bytes = store
            .read_blob(&entry.config, rbuild_registry::CONFIG_LIMIT)
            .map_err(Error::store("read the image config"))?;
        let config = source::read_config(store, &entry.config)?;
        Ok(Finished::new(config, bytes, entry.layers.clone().into()))
    };
    match entry.platforms.as_slice() {
        [] => Ok(vec![one(entry)?]),
        platforms => platforms.iter().map(|platform| one(&entry.only(platform))).collect(),
    }
}

fn exporter(store: &Store, registries: &Registries, events: &Events, step: StepId) -> Exporter {
    let (store, registries, events) = (store.clone(), registries.clone(), events.clone());
    Exporter { store, registries, events, step }
}
