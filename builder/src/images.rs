//! The images of the store, and the verbs on them.

mod change;
mod commit;
mod import;
mod transfer;

use std::collections::{BTreeMap, HashSet};

use rbuild_cache::images::UNNAMED;
use rbuild_cache::{Digest, ImageEntry, Layer, Store};
use rbuild_registry::Reference;

use crate::error::{Error, Result};
pub use crate::export::push::{PushedImage, PushedLayer};
use crate::image::ImageConfig;
use crate::journal::{self, Entry, Kind};
use crate::platform::Platform;
use crate::settle::Stay;
use crate::source;

pub use commit::{Commit, commit};
pub use import::{Import, import, import_url};
pub(crate) use transfer::fetch_layers;
pub use transfer::{Pulled, load, obtain, pull, push, save};

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

    /// The image for a platform that somebody asks for; this one where nobody does.
    ///
    /// # Errors
    /// An image that is for other platforms only.
    pub fn only(self, store: &Store, platform: Option<&Platform>) -> Result<Self> {
        let Some(platform) = platform else { return Ok(self) };
        let names = self.names.clone();
        let found = self.for_platform(store, platform)?;
        if found.entry.platforms.is_empty() && found.config.platform() == *platform {
            return Ok(found);
        }
        let reference = names.into_iter().next().unwrap_or_else(|| found.entry.config.to_string());
        Err(no_platform(reference, platform, &found))
    }
}

/// Says which platforms there are in place of the one that is wanted.
fn no_platform(reference: String, platform: &Platform, found: &Found) -> Error {
    let all = found.entry.platforms.iter().map(|one| one.platform.clone());
    let all: Vec<_> = all.collect();
    let own = || found.config.platform().to_string();
    let available = if all.is_empty() { own() } else { all.join(", ") };
    Error::NoPlatform { reference, platform: platform.to_string(), available }
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
    set_name(store, &reference.to_string(), &found.entry)?;
    note(store, "tag", &found.entry.config, &reference.familiar());
    Ok(())
}

/// Writes down what has happened to an image that has, or had, a name.
pub(crate) fn note(store: &Store, action: &str, id: &Digest, name: &str) {
    let entry = Entry::new(Kind::Image, action, id.to_string()).with("name", name);
    journal::note(store, &[entry]);
}

/// Names an image; the image that loses the name is kept under its id. Returns whether another
/// one, or none, had the name.
pub(crate) fn set_name(store: &Store, name: &str, entry: &ImageEntry) -> Result<bool> {
    let failed = || Error::store(format!("name the image `{name}`"));
    let old = store.image(name).map_err(failed())?;
    let is_new = old.as_ref().is_none_or(|old| old.config != entry.config);
    // Before it loses its name: what has none for a moment might be removed.
    if let Some(old) = old.filter(|old| old.config != entry.config)
        && store.is_whole(&old)
        && !has_other_name(store, &old.config, name)?
    {
        store.tag(&unnamed(&old.config), &old).map_err(failed())?;
    }
    store.tag(name, entry).map_err(failed())?;
    store.untag(&unnamed(&entry.config)).map_err(failed())?;
    Ok(is_new)
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
        note(store, "untag", &id, &familiar);
        removed.push(Removed::Untagged(familiar));
    }
    if is_last {
        store.untag(&unnamed(&id)).map_err(failed())?;
        journal::note(store, &[Entry::new(Kind::Image, "delete", id.to_string())]);
        removed.push(Removed::Deleted(id));
    }
    Ok(removed)
}

/// Says that this process uses the store: nothing of what it uses is removed meanwhile.
fn enter(store: &Store) -> Result<Stay> {
    Stay::begin(store).map_err(Error::store("say that the store is in use"))
}
