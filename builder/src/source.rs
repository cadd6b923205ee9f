//! Finding out what the name of an image stands for: in the store, else at its registry.

use std::time::Duration;

use rbuild_cache::hash::Hasher;
use rbuild_cache::{Blob, Digest, ImageEntry, Layer, Part, Snapshot, Store};
use rbuild_registry::{CONFIG_LIMIT, Manifest, Reference};

use crate::error::{Error, Result};
use crate::image::ImageConfig;
use crate::images;
use crate::platform::Platform;
use crate::registries::{Registries, Retry};

/// How the place of a blob begins that is at URLs, which blanks separate.
pub(crate) const URLS: &str = "urls+";

/// An image that is known down to its layers, whose files may be elsewhere still.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The full name, with the digest where a registry gave one.
    pub reference: String,
    /// Its entry in the store.
    pub entry: ImageEntry,
    /// Its config.
    pub config: ImageConfig,
}

impl ResolvedImage {
    /// The image's file tree.
    pub(crate) fn snapshot(&self) -> Snapshot {
        snapshot(&self.config, &self.entry)
    }
}

/// The file tree of an image: its content follows from the diff ids alone.
pub(crate) fn snapshot(config: &ImageConfig, entry: &ImageEntry) -> Snapshot {
    let mut hasher = Hasher::new("image layers");
    for diff_id in &config.rootfs.diff_ids {
        hasher.id(diff_id.as_bytes());
    }
    Snapshot { content: hasher.content(), layers: entry.layers.clone().into() }
}

/// Reads the name of an image, with Docker's defaults for what is left out.
pub(crate) fn parse(text: &str) -> Result<Reference> {
    text.parse().map_err(|error: rbuild_registry::Error| Error::Reference {
        reference: text.to_owned(),
        reason: match error {
            rbuild_registry::Error::Reference { reason, .. } => reason.to_owned(),
            other => other.to_string(),
        },
    })
}

/// When a registry is asked what the name of a base image stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// Always, though the store knows the name.
    Always,
    /// Where nobody was asked for so long. A name that was given here, by a build, `pull` or `load`,
    /// is known for ever, and so is one with a digest.
    After(Duration),
}

impl Default for Lookup {
    /// After an hour.
    fn default() -> Self {
        Self::After(Duration::from_hours(1))
    }
}

/// Finds an image for a platform, and tells what the user should know of it.
///
/// A registry that gives no answer does no harm where an older answer is known.
pub(crate) async fn resolve(
    store: &Store,
    registries: &Registries,
    name: &str,
    platform: &Platform,
    lookup: Lookup,
) -> Result<(ResolvedImage, Option<String>)> {
    let reference = parse(name)?;
    let full = reference.to_string();
    let Lookup::After(time) = lookup else {
        return Ok((fetch(store, registries, &reference, platform).await?, None));
    };
    if let Some(image) = named(store, &full, platform)? {
        return Ok((image, None));
    }
    let Some(memo) = remembered(store, &full, platform)? else {
        return Ok((fetch(store, registries, &reference, platform).await?, None));
    };
    let age = jiff::Timestamp::now().as_second().saturating_sub(memo.entry.created);
    let is_fresh = age < i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    if is_fresh || reference.digest().is_some() {
        return Ok((memo, None));
    }
    let told = if let Some(told) = silence(store, &full) {
        told
    } else {
        // An old answer is better than a long wait.
        let once = registries.clone().retry(Retry { count: 0, ..Retry::default() });
        match fetch(store, &once, &reference, platform).await {
            Ok(image) => return Ok((image, None)),
            Err(Error::Registry { source, .. }) if source.is_unanswered() => {
                note_silence(store, &full, &source)
            }
            Err(error) => return Err(error),
        }
    };
    let since = since(age);
    Ok((memo, Some(format!("using {} as of {since} ago: {told}", reference.familiar()))))
}

/// For how long, in seconds, a registry that gave no answer is not asked for the same again.
const SILENCE: i64 = 60;

/// What is noted of a registry that gave no answer just now.
fn silence(store: &Store, full: &str) -> Option<String> {
    let parts = store.last(&silence_place(full)).ok()??;
    let [since, told] = parts.as_slice() else { return None };
    let age = jiff::Timestamp::now().as_second().checked_sub(since.value.parse().ok()?)?;
    (0..SILENCE).contains(&age).then(|| told.value.clone())
}

/// Notes that a registry gave no answer, so that not every build waits for none; says which it was.
fn note_silence(store: &Store, full: &str, error: &rbuild_registry::Error) -> String {
    let told = match error.status() {
        Some(status) => format!("the registry answered {status}"),
        None => error.to_string(),
    };
    let part = |name: &str, value: String| Part { name: name.to_owned(), value };
    let now = jiff::Timestamp::now().as_second().to_string();
    let parts = [part("since", now), part("told", told.clone())];
    if let Err(error) = store.remember_last(&silence_place(full), &parts) {
        tracing::debug!(%error, "the registry is asked again by the next build");
    }
    told
}

fn silence_place(full: &str) -> String {
    format!("no answer for {full}")
}

/// A span of seconds in its largest unit.
fn since(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// An image that has the name here.
fn named(store: &Store, full: &str, platform: &Platform) -> Result<Option<ResolvedImage>> {
    let entry = store.image(full).map_err(Error::store(format!("look up `{full}`")))?;
    let entry = entry.map(|entry| images::of_platform(&entry, platform).unwrap_or(entry));
    let Some(entry) = entry else { return Ok(None) };
    let comes_again = entry.layers.iter().all(is_elsewhere);
    let image = match resolved(store, full, entry) {
        // Its registry has what is damaged or gone here.
        Err(error) if comes_again && error.is_without_blob() => return Ok(None),
        image => image?,
    };
    Ok(Some(image).filter(|image| image.config.platform() == *platform))
}

/// Whether a layer can be fetched again.
fn is_elsewhere(layer: &Layer) -> bool {
    matches!(layer, Layer::Pulled { blob, .. } if blob.from.is_some())
}

/// What a registry said of the name when it was last asked.
fn remembered(store: &Store, full: &str, platform: &Platform) -> Result<Option<ResolvedImage>> {
    let memo = store.resolved(&key(full, platform));
    let memo = memo.map_err(Error::store(format!("look up `{full}`")))?;
    // It is no more than a memory: a part of it may have been cleared away.
    let memo = memo.filter(|entry| store.has_blob(&entry.config));
    match memo.map(|entry| resolved(store, full, entry)).transpose() {
        Err(error) if error.damaged_blob().is_some() => Ok(None),
        memo => memo,
    }
}

fn resolved(store: &Store, full: &str, entry: ImageEntry) -> Result<ResolvedImage> {
    let config = read_config(store, &entry.config)?;
    Ok(ResolvedImage { reference: shown(full, &entry), entry, config })
}

fn key(full: &str, platform: &Platform) -> String {
    format!("{full} {platform}")
}

fn shown(full: &str, entry: &ImageEntry) -> String {
    match &entry.manifest {
        Some(digest) if !full.contains('@') => format!("{full}@{digest}"),
        _ => full.to_owned(),
    }
}

/// Reads an image config from the store.
pub(crate) fn read_config(store: &Store, digest: &Digest) -> Result<ImageConfig> {
    let bytes = store
        .read_blob(digest, CONFIG_LIMIT)
        .map_err(Error::store(format!("read the image config {digest}")))?;
    serde_json::from_slice(&bytes).map_err(Error::malformed(format!("the image config {digest}")))
}

/// Asks the registry for the manifest and config of an image, and keeps both.
pub(crate) async fn fetch(
    store: &Store,
    registries: &Registries,
    reference: &Reference,
    platform: &Platform,
) -> Result<ResolvedImage> {
    let full = reference.to_string();
    let client = registries.client();
    let manifest = client
        .manifest_for(reference, platform)
        .await
        .map_err(Error::registry(format!("resolve `{full}` for {platform}")))?;
    let image = manifest.image().map_err(Error::malformed(format!("the manifest of `{full}`")))?;
    let descriptor = image.config();
    let config_bytes = match known_config(store, descriptor.digest().as_ref())? {
        Some(bytes) => bytes,
        None => client
            .config(reference, descriptor.digest().as_ref(), descriptor.size())
            .await
            .map_err(Error::registry(format!("fetch the config of `{full}`")))?
            .to_vec(),
    };
    let config: ImageConfig = serde_json::from_slice(&config_bytes)
        .map_err(Error::malformed(format!("the config of `{full}`")))?;
    let layers = layers(&full, &image, &config)?;
    let keep = |bytes: &[u8]| {
        store.write_blob(bytes).map_err(Error::store(format!("keep the manifest of `{full}`")))
    };
    let entry = ImageEntry {
        manifest: Some(keep_manifest(&full, &manifest, keep)?),
        config: keep(&config_bytes)?,
        size: layers.iter().map(Layer::compressed_size).sum(),
        layers,
        created: jiff::Timestamp::now().as_second(),
        platforms: Vec::new(),
    };
    store
        .remember_resolved(&key(&full, platform), &entry)
        .map_err(Error::store(format!("remember `{full}`")))?;
    Ok(ResolvedImage { reference: shown(&full, &entry), entry, config })
}

/// The config with a digest, where the store has it from an earlier pull.
fn known_config(store: &Store, digest: &str) -> Result<Option<Vec<u8>>> {
    let Some(digest) = digest.parse().ok().filter(|digest| store.has_blob(digest)) else {
        return Ok(None);
    };
    let bytes = match store.read_blob(&digest, CONFIG_LIMIT) {
        Err(rbuild_cache::Error::DamagedBlob(_)) => return Ok(None),
        bytes => bytes,
    };
    bytes.map(Some).map_err(Error::store(format!("read the image config {digest}")))
}

fn keep_manifest(
    full: &str,
    manifest: &Manifest,
    keep: impl Fn(&[u8]) -> Result<Digest>,
) -> Result<Digest> {
    let digest = keep(&manifest.bytes)?;
    if digest.to_string() != manifest.digest {
        return Err(Error::wrong_digest(format!("the manifest of `{full}`"), &digest));
    }
    Ok(digest)
}

/// Joins the layers of a manifest with the diff ids of its config.
pub(crate) fn layers(
    full: &str,
    image: &oci_spec::image::ImageManifest,
    config: &ImageConfig,
) -> Result<Vec<Layer>> {
    let malformed =
        |reason: String| Error::Malformed { what: format!("the manifest of `{full}`"), reason };
    if image.layers().len() != config.rootfs.diff_ids.len() {
        let reason = format!(
            "it has {} layers, but the config has {}",
            image.layers().len(),
            config.rootfs.diff_ids.len()
        );
        return Err(malformed(reason));
    }
    let join = |(descriptor, diff_id): (&oci_spec::image::Descriptor, &Digest)| {
        let digest = descriptor.digest().to_string();
        if descriptor.size() > LARGEST_LAYER {
            let reason = format!("it says that a layer has {} bytes", descriptor.size());
            return Err(malformed(reason));
        }
        let blob = Blob {
            digest: digest
                .parse()
                .map_err(|error: rbuild_cache::id::InvalidId| malformed(error.to_string()))?,
            size: descriptor.size(),
            media_type: descriptor.media_type().to_string(),
            from: Some(urls(descriptor).unwrap_or_else(|| full.to_owned())),
            created: None,
        };
        Ok(Layer::Pulled { diff_id: *diff_id, blob })
    };
    image.layers().iter().zip(&config.rootfs.diff_ids).map(join).collect()
}

/// More bytes than any layer has: room is made ready for as many as a manifest says.
const LARGEST_LAYER: u64 = 1 << 40;

/// Where a layer is that registries may not hand out ("foreign" for docker), and from where it says
/// itself that it can be had.
fn urls(descriptor: &oci_spec::image::Descriptor) -> Option<String> {
    let kind = descriptor.media_type().to_string();
    let is_foreign = kind.contains(".foreign.") || kind.contains(".nondistributable.");
    let urls = descriptor.urls().as_ref().filter(|_| is_foreign)?;
    let is_web = |url: &&String| url.starts_with("http://") || url.starts_with("https://");
    let urls: Vec<&str> =
        urls.iter().filter(is_web).map(String::as_str).filter(|url| !url.contains(' ')).collect();
    (!urls.is_empty()).then(|| format!("{URLS}{}", urls.join(" ")))
}
