//! The images of the store, and the verbs on them: list, find, tag, remove, pull, push.

use std::collections::{BTreeMap, HashSet};

use rbuild_cache::images::UNNAMED;
use rbuild_cache::{Digest, ImageEntry, Layer, Store, Visit};
use rbuild_registry::Reference;
use rbuild_solver::{Events, StepId, What};

use crate::error::{Error, Result};
pub use crate::export::push::{PushedImage, PushedLayer};
use crate::export::{self, Archive, Destination, Exporter, Finished, Format, Packing};
use crate::image::ImageConfig;
use crate::platform::Platform;
use crate::registries::Registries;
use crate::source::{self, ResolvedImage};
use crate::worker::fetch;

/// The shortest beginning of an id that is taken for one.
const SHORTEST_ID: usize = 2;

/// One line of the list of images.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The full name; none for an image that lost its names.
    pub name: Option<String>,
    /// The repository as users know it: `alpine`, `registry.example.com/team/app`.
    pub repository: Option<String>,
    /// The tag.
    pub tag: Option<String>,
    /// The id: the digest of the config.
    pub id: Digest,
    /// The digest of the manifest, where the image was in a registry.
    pub digest: Option<Digest>,
    /// When the image was made, in seconds since 1970.
    pub created: i64,
    /// The size in bytes.
    pub size: u64,
}

/// An image of the store with all that is known of it.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its full names, sorted.
    pub names: Vec<String>,
    /// Its entry.
    pub entry: ImageEntry,
    /// Its config.
    pub config: ImageConfig,
}

/// What removing an image did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name was removed.
    Untagged(String),
    /// The image itself was removed.
    Deleted(Digest),
}

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

/// Lists the images, the newest first.
///
/// # Errors
/// A store that cannot be read.
pub fn list(store: &Store) -> Result<Vec<Listed>> {
    let mut listed = Vec::new();
    for (name, entry) in store.images().map_err(Error::store("list the images"))? {
        // An image that lost its config is listed too, or it could not be removed.
        let created = source::read_config(store, &entry.config)
            .map_or(Some(entry.created), |config| config.created.map(jiff::Timestamp::as_second));
        let reference = source::parse(&name).ok().filter(|_| !is_unnamed(&name));
        listed.push(Listed {
            repository: reference.as_ref().map(repository),
            tag: reference.as_ref().and_then(|name| name.tag().map(str::to_owned)),
            name: reference.map(|_| name),
            id: entry.config,
            digest: entry.manifest,
            created: created.unwrap_or(0),
            size: size(store, &entry),
        });
    }
    listed.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
    Ok(listed)
}

/// A repository as users know it: without Docker Hub's name.
fn repository(reference: &Reference) -> String {
    let familiar = reference.familiar();
    let end = familiar.rfind('/').map_or(0, |slash| slash + 1);
    let name_end = familiar[end..].find([':', '@']).map_or(familiar.len(), |at| end + at);
    familiar[..name_end].to_owned()
}

/// The uncompressed size of an image where its layers are here, else what its maker said.
fn size(store: &Store, entry: &ImageEntry) -> u64 {
    // Platforms may share layers.
    let layers: HashSet<&Layer> = entry.all_layers().collect();
    let sizes: Option<u64> =
        layers.into_iter().map(|layer| store.layer_size(layer).ok().flatten()).sum();
    let said = || entry.platforms.iter().map(|one| one.size).sum::<u64>().max(entry.size);
    sizes.unwrap_or_else(said)
}

/// Finds an image by a name, an id, or the beginning of an id.
///
/// # Errors
/// [`Error::NoImage`], or [`Error::Ambiguous`] for the beginning of several ids.
pub fn find(store: &Store, text: &str) -> Result<Found> {
    let (names, entry) = locate(store, text)?;
    let config = source::read_config(store, &entry.config)?;
    Ok(Found { names, entry, config })
}

/// The names and the entry of an image, of which nothing else need be here.
fn locate(store: &Store, text: &str) -> Result<(Vec<String>, ImageEntry)> {
    let all = store.images().map_err(Error::store("look for the image"))?;
    let full = source::parse(text).ok().map(|reference| reference.to_string());
    let by_name = all.iter().find(|(name, _)| Some(name) == full.as_ref());
    let entry = match by_name {
        Some((_, entry)) => entry.clone(),
        None => by_id(&all, text)?,
    };
    let names = all
        .iter()
        .filter(|(name, other)| other.config == entry.config && !is_unnamed(name))
        .map(|(name, _)| name.clone())
        .collect();
    Ok((names, entry))
}

fn by_id(all: &[(String, ImageEntry)], text: &str) -> Result<ImageEntry> {
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    let is_id = prefix.len() >= SHORTEST_ID && prefix.bytes().all(|b| b.is_ascii_hexdigit());
    let matching: BTreeMap<Digest, &ImageEntry> = all
        .iter()
        .filter(|(_, entry)| is_id && entry.config.hex().starts_with(prefix))
        .map(|(_, entry)| (entry.config, entry))
        .collect();
    let mut matching = matching.into_values();
    match (matching.next(), matching.next()) {
        (Some(entry), None) => Ok(entry.clone()),
        (None, _) => Err(Error::NoImage(text.to_owned())),
        (Some(_), Some(_)) => Err(Error::Ambiguous(text.to_owned())),
    }
}

impl Found {
    /// The image for a platform, where the name stands for several; else this one.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn for_platform(self, store: &Store, platform: &Platform) -> Result<Self> {
        let Some(entry) = of_platform(&self.entry, platform) else {
            return Ok(self);
        };
        let config = source::read_config(store, &entry.config)?;
        Ok(Self { entry, config, ..self })
    }
}

/// The entry of one of several platforms.
pub(crate) fn of_platform(entry: &ImageEntry, platform: &Platform) -> Option<ImageEntry> {
    let wanted = platform.to_string();
    let one = entry.platforms.iter().find(|one| one.platform == wanted)?;
    Some(entry.only(one))
}

/// Gives an image one more name.
///
/// # Errors
/// An image that is not there, or a name that is none.
pub fn tag(store: &Store, image: &str, name: &str) -> Result<()> {
    let _visit = enter(store)?;
    let found = find(store, image)?;
    store.uses_layers(found.entry.all_layers());
    let reference = source::parse(name)?;
    if reference.digest().is_some() {
        return Err(Error::Reference {
            reference: name.to_owned(),
            reason: "a name that is given cannot have a digest".to_owned(),
        });
    }
    set_name(store, &reference.to_string(), &found.entry)
}

/// Names an image; the image that loses the name is kept under its id.
pub(crate) fn set_name(store: &Store, name: &str, entry: &ImageEntry) -> Result<()> {
    let failed = || Error::store(format!("name the image `{name}`"));
    let old = store.image(name).map_err(failed())?;
    // Before it loses its name: what has none for a moment might be removed.
    if let Some(old) = old.filter(|old| old.config != entry.config)
        && !has_other_name(store, &old.config, name)?
    {
        store.tag(&unnamed(&old.config), &old).map_err(failed())?;
    }
    store.tag(name, entry).map_err(failed())?;
    store.untag(&unnamed(&entry.config)).map_err(failed())?;
    Ok(())
}

/// Keeps an image that has no name.
pub(crate) fn keep_unnamed(store: &Store, entry: &ImageEntry) -> Result<()> {
    if has_other_name(store, &entry.config, "")? {
        return Ok(());
    }
    store.tag(&unnamed(&entry.config), entry).map_err(Error::store("keep the image"))
}

/// Whether an image has a name beside this one.
fn has_other_name(store: &Store, id: &Digest, name: &str) -> Result<bool> {
    let all = store.images().map_err(Error::store("list the images"))?;
    let is_it = |other: &str| other != name && !is_unnamed(other);
    Ok(all.iter().any(|(other, entry)| entry.config == *id && is_it(other)))
}

/// The entry under which an image without a name is kept: no reference can be spelt so.
fn unnamed(id: &Digest) -> String {
    format!("{UNNAMED}{id}")
}

fn is_unnamed(name: &str) -> bool {
    name.starts_with(UNNAMED)
}

/// Removes a name of an image, and the image with its last name.
///
/// `users` names the containers that use an image; an image in use is kept unless `force`.
///
/// # Errors
/// [`Error::NoImage`], [`Error::InUse`], or an id with several names without `force`.
pub fn remove(
    store: &Store,
    text: &str,
    force: bool,
    users: &dyn Fn(&Digest) -> Option<String>,
) -> Result<Vec<Removed>> {
    let (all, entry) = locate(store, text)?;
    let id = entry.config;
    let full = source::parse(text).ok().map(|reference| reference.to_string());
    let by_name = full.filter(|full| all.contains(full));
    let names = match &by_name {
        Some(name) => vec![name.clone()],
        None if all.len() > 1 && !force => {
            let image = id.hex()[..12].to_owned();
            let user = format!("several names: {}", all.join(", "));
            return Err(Error::InUse { image, user });
        }
        None => all.clone(),
    };
    let is_last = names.len() == all.len();
    if let Some(user) = users(&id).filter(|_| is_last && !force) {
        return Err(Error::InUse { image: text.to_owned(), user });
    }
    let failed = || Error::store(format!("remove `{text}`"));
    let mut removed = Vec::new();
    for name in names {
        store.untag(&name).map_err(failed())?;
        let familiar = source::parse(&name).map_or(name, |reference| reference.familiar());
        removed.push(Removed::Untagged(familiar));
    }
    if is_last {
        store.untag(&unnamed(&id)).map_err(failed())?;
        removed.push(Removed::Deleted(id));
    }
    Ok(removed)
}

/// Says that this process uses the store: nothing of what it uses is removed meanwhile.
fn enter(store: &Store) -> Result<Visit> {
    store.enter().map_err(Error::store("say that the store is in use"))
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
    events.emit(step, What::Finished);
    let digest = image.entry.manifest.unwrap_or(image.entry.config);
    Ok(Pulled { name, digest, is_new, image })
}

/// Pushes the image that has a name to the registry in it.
///
/// # Errors
/// A name that the store does not have, or a registry that refuses.
pub async fn push(
    store: &Store,
    registries: &Registries,
    text: &str,
    events: &Events,
) -> Result<PushedImage> {
    let _visit = enter(store)?;
    let reference = source::parse(text)?;
    let name = reference.to_string();
    let entry = store.image(&name).map_err(Error::store(format!("look up `{name}`")))?;
    let entry = entry.ok_or_else(|| Error::NoImage(reference.familiar()))?;
    let images = finished(store, &entry)?;
    let step = events.plan(format!("push {name}"), String::new(), Vec::new());
    events.emit(step, What::Started);
    let exporter = exporter(store, registries, events, step);
    let pushed = export::push::push(&exporter, &reference, &images, &Packing::default()).await?;
    let entry = ImageEntry { manifest: Some(pushed.digest), ..entry };
    store.tag(&name, &entry).map_err(Error::store(format!("name the image `{name}`")))?;
    events.emit(step, What::Finished);
    Ok(pushed)
}

/// Loads the images of an archive of `docker save`, or of an OCI image layout; gives their names.
///
/// # Errors
/// What is no archive of images, is damaged, or cannot be kept.
pub fn load(store: &Store, archive: impl std::io::Read) -> Result<Vec<String>> {
    let _visit = enter(store)?;
    crate::load::load(store, archive)
}

/// Writes images as one archive that `docker load`, and [`load`], read.
///
/// # Errors
/// An image that is not there, or a place that cannot be written to.
pub async fn save(
    store: &Store,
    registries: &Registries,
    images: &[String],
    to: &Destination,
    events: &Events,
) -> Result<()> {
    let _visit = enter(store)?;
    let step = events.plan("save images".to_owned(), String::new(), Vec::new());
    let mut all = Vec::with_capacity(images.len());
    for text in images {
        let found = find(store, text)?;
        let full = source::parse(text).ok().map(|reference| reference.to_string());
        let names = match full {
            Some(full) if found.names.contains(&full) => vec![full],
            _ => Vec::new(),
        };
        all.push((finished(store, &found.entry)?, names));
    }
    let archive = Archive { to, tar: true, format: Format::Docker };
    let exporter = exporter(store, registries, events, step);
    export::write_archive(&exporter, all, &Packing::default(), archive).await?;
    Ok(())
}

/// An image of the store, as it goes out, for each of its platforms.
fn finished(store: &Store, entry: &ImageEntry) -> Result<Vec<Finished>> {
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
