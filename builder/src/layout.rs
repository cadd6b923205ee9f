//! Images in OCI layouts on disk, which a build takes for images of a registry.
//!
//! What belongs to an image is copied into the store, verified, and unpacked from there when a
//! step needs it.

mod writer;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use rbuild_cache::{Blob, Digest, ImageEntry, Layer, StagedLayer, Store};
use rbuild_registry::{CONFIG_LIMIT, MANIFEST_LIMIT, select};
use serde_json::Value;

use crate::archive;
use crate::error::{Error, Result};
use crate::export::manifest::digest;
use crate::image::ImageConfig;
use crate::platform::Platform;
use crate::source::{self, ResolvedImage};
use crate::worker::select as paths;

pub(crate) use writer::{WHOLE_NAME, Writer};

/// How the name of an image in a layout begins.
pub(crate) const SCHEME: &str = "oci-layout://";
/// How many indexes lead to an image at most.
const DEEPEST: usize = 4;
/// The annotation with the name of an image in a layout.
pub(crate) const NAME: &str = "org.opencontainers.image.ref.name";

/// The place of an image: `PATH[:TAG][@DIGEST]`.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    path: &'a Path,
    tag: Option<&'a str>,
    digest: Option<Digest>,
}

impl<'a> Place<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(self::parse(digest)?)),
            None => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        Ok(Self { path: Path::new(path), tag: tag.filter(|tag| !tag.is_empty()), digest })
    }
}

/// A layout, in a folder or unpacked from an archive.
pub(crate) struct Layout {
    name: String,
    folder: PathBuf,
    root: File,
    _unpacked: Option<StagedLayer>,
}

/// Finds the image at `PATH[:TAG][@DIGEST]` that is for a platform, and takes it into the store.
///
/// # Errors
/// What is no layout, has no such image, or is damaged.
pub(crate) fn resolve(store: &Store, place: &str, platform: &Platform) -> Result<ResolvedImage> {
    let Place { path, tag, digest } = Place::parse(place)?;
    let layout = Layout::open(store, path)?;
    let first = match digest {
        Some(digest) => digest,
        None => layout.named(tag, platform)?,
    };
    let (digest, manifest) = layout.manifest(first, platform)?;
    layout.keep(store, digest, &manifest)
}

impl Layout {
    /// Opens a folder, or an archive.
    pub(crate) fn open(store: &Store, path: &Path) -> Result<Self> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let name = format!("{SCHEME}{}", path.display());
        let root = File::open(path).map_err(failed)?;
        if root.metadata().map_err(failed)?.is_dir() {
            return Ok(Self { name, folder: path.to_owned(), root, _unpacked: None });
        }
        let staged = store.stage().map_err(Error::store("unpack a layout"))?;
        let tar = archive::stream(root).map_err(failed)?;
        let folder = staged.files().to_owned();
        let root = File::open(&folder).map_err(failed)?;
        rbuild_cache::unpack_into(root.as_fd(), tar, Some((0, 0)))
            .map_err(Error::store(format!("unpack `{}`", path.display())))?;
        Ok(Self { name, folder, root, _unpacked: Some(staged) })
    }

    /// Opens a file of the layout; no link leads out of it.
    fn file(&self, path: &str) -> Result<File> {
        let failed = |source| Error::Read { path: self.folder.join(path), source };
        paths::open_file(self.root.as_fd(), Path::new(path)).map_err(failed)
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.file(path)?.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|source| Error::Read { path: self.folder.join(path), source })?;
        if bytes.len() as u64 > limit {
            return Err(self.malformed(format!("`{path}` has more than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Reads a small blob, which must be what its name says.
    pub(crate) fn blob(&self, wanted: &Digest, limit: u64) -> Result<Vec<u8>> {
        let bytes = self.read(&blob_path(wanted), limit)?;
        if digest(&bytes) != *wanted {
            return Err(Error::wrong_digest(format!("a blob of {}", self.name), wanted));
        }
        Ok(bytes)
    }

    fn malformed(&self, reason: String) -> Error {
        Error::Malformed { what: self.name.clone(), reason }
    }

    fn json<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(Error::malformed(self.name.clone()))
    }

    /// The manifest or index of a tag; without one, `latest` or the only image that there is.
    pub(crate) fn named(&self, tag: Option<&str>, platform: &Platform) -> Result<Digest> {
        let index: ImageIndex = self.json(&self.read("index.json", MANIFEST_LIMIT)?)?;
        let wanted = tag.unwrap_or("latest");
        let all = index.manifests().as_slice();
        let found = all.iter().find(|one| name(one).is_some_and(|name| is_tag(name, wanted)));
        let anonymous = all.iter().all(|one| name(one).is_none());
        let found = match (found, all) {
            (Some(found), _) => Some(found),
            (None, [only]) if tag.is_none() || anonymous => Some(only),
            (None, _) if anonymous => select(&index, platform),
            (None, _) => None,
        };
        let found = found.ok_or_else(|| {
            let names: Vec<_> = all.iter().filter_map(name).map(String::as_str).collect();
            self.malformed(format!("it has no image `{wanted}`; it has {}", names.join(", ")))
        })?;
        parse(found.digest().as_ref())
    }

    /// The manifest of an image, through the indexes that lead to it.
    fn manifest(&self, mut at: Digest, platform: &Platform) -> Result<(Digest, Vec<u8>)> {
        for _ in 0..DEEPEST {
            let bytes = self.blob(&at, MANIFEST_LIMIT)?;
            let document: Value = self.json(&bytes)?;
            if document.get("manifests").is_none() {
                return Ok((at, bytes));
            }
            let index: ImageIndex = self.json(&bytes)?;
            let chosen = select(&index, platform).ok_or_else(|| Error::NoPlatform {
                reference: self.name.clone(),
                platform: platform.to_string(),
                available: available(&index),
            })?;
            at = parse(chosen.digest().as_ref())?;
        }
        Err(self.malformed("its indexes are too deep".to_owned()))
    }

    /// Copies what belongs to an image into the store.
    fn keep(&self, store: &Store, manifest: Digest, bytes: &[u8]) -> Result<ResolvedImage> {
        let reference = format!("{}@{manifest}", self.name);
        let image: ImageManifest = self.json(bytes)?;
        let config_digest = parse(image.config().digest().as_ref())?;
        let config_bytes = self.blob(&config_digest, CONFIG_LIMIT)?;
        let config: ImageConfig = self.json(&config_bytes)?;
        let mut layers = source::layers(&reference, &image, &config)?;
        let keep = |bytes: &[u8]| {
            store.write_blob(bytes).map_err(Error::store(format!("keep what {reference} is")))
        };
        keep(bytes)?;
        keep(&config_bytes)?;
        let mut size = 0;
        for layer in &mut layers {
            if let Layer::Pulled { blob, .. } = layer {
                // No registry is known to have it.
                blob.from = None;
                size += blob.size;
                self.keep_blob(store, blob)?;
            }
        }
        let created = jiff::Timestamp::now().as_second();
        let entry = ImageEntry {
            manifest: Some(manifest),
            config: config_digest,
            size,
            layers,
            created,
            platforms: Vec::new(),
        };
        Ok(ResolvedImage { reference, entry, config })
    }

    /// Copies the compressed bytes of a layer into the store.
    fn keep_blob(&self, store: &Store, blob: &Blob) -> Result<()> {
        if store.has_blob(&blob.digest) {
            return Ok(());
        }
        let doing = || Error::store(format!("keep the layer {}", blob.digest));
        let path = blob_path(&blob.digest);
        let mut from = self.file(&path)?.take(blob.size + 1);
        let mut writer = store.blob_writer(Some((blob.digest, blob.size))).map_err(doing())?;
        io::copy(&mut from, &mut writer)
            .map_err(|source| Error::Read { path: self.folder.join(&path), source })?;
        writer.finish().map(drop).map_err(doing())
    }
}

/// Copies the compressed bytes of a layer from the layout in a folder into the store.
pub(crate) fn keep_blob(store: &Store, folder: &str, blob: &Blob) -> Result<()> {
    Layout::open(store, Path::new(folder))?.keep_blob(store, blob)
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}", digest.to_string().replacen(':', "/", 1))
}

pub(crate) fn parse(digest: &str) -> Result<Digest> {
    digest.parse().map_err(|error: rbuild_cache::id::InvalidId| Error::Malformed {
        what: format!("`{digest}`"),
        reason: error.to_string(),
    })
}

fn name(descriptor: &Descriptor) -> Option<&String> {
    descriptor.annotations().as_ref()?.get(NAME)
}

/// Whether the name that an image has in a layout, a tag or a whole reference, has this tag.
fn is_tag(name: &str, tag: &str) -> bool {
    name == tag || name.rsplit_once(':').is_some_and(|(_, last)| last == tag)
}

fn available(index: &ImageIndex) -> String {
    let platforms = index.manifests().iter().filter_map(|one| one.platform().as_ref());
    let names = platforms.map(|platform| format!("{}/{}", platform.os(), platform.architecture()));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_tags_and_digests() {
        let hex = "a".repeat(64);
        let place = |text: &str| {
            let Place { path, tag, digest } = Place::parse(text).unwrap();
            (path.to_str().unwrap().to_owned(), tag.map(str::to_owned), digest.is_some())
        };
        let tag = |tag: &str| Some(tag.to_owned());
        assert_eq!(place("../a"), ("../a".into(), None, false));
        assert_eq!(place("/a/b:1.2"), ("/a/b".into(), tag("1.2"), false));
        assert_eq!(place("/a:b/c"), ("/a:b/c".into(), None, false));
        assert_eq!(place(&format!("/a:x@sha256:{hex}")), ("/a".into(), tag("x"), true));
        assert!(Place::parse("/a@sha256:1").is_err());
    }

    #[test]
    fn names_in_a_layout_are_tags_or_references() {
        assert!(is_tag("latest", "latest") && is_tag("host:5000/a:1", "1"));
        assert!(!is_tag("a:10", "1") && !is_tag("a", "1"));
    }
}
