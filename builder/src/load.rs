//! Images from archives: those of `docker save`, and OCI image layouts.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use rbuild_cache::{Blob, Digest, ImageEntry, Layer, PlatformEntry, StagedLayer, Store};
use serde::Deserialize;
use serde_json::Value;

use crate::archive;
use crate::error::{Error, Result};
use crate::image::ImageConfig;
use crate::images;
use crate::layout;
use crate::platform::{self, Platform};
use crate::source;
use crate::worker::fetch::plain;
use crate::worker::select;

/// The largest document of an archive, in bytes.
const MAX_DOCUMENT: u64 = 8 << 20;

/// An image of `manifest.json`, as `docker save` writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The images of all platforms that have one name.
#[derive(Debug)]
struct Named {
    names: Vec<String>,
    platforms: Vec<Saved>,
    /// Whether there is an index of them.
    is_index: bool,
}

/// Loads every image of an archive, and names it as the archive says; gives the names, or the id
/// of an image without one.
///
/// # Errors
/// What is no archive of images, is damaged, or cannot be kept.
pub(crate) fn load(store: &Store, archive: impl Read + Send) -> Result<Vec<String>> {
    let opened = Archive::open(store, archive)?;
    let mut loaded = Vec::new();
    for image in &opened.images()? {
        loaded.extend(opened.keep(image)?);
    }
    Ok(loaded)
}

/// An archive, unpacked where the hostile paths and links of it can do no harm.
struct Archive<'a> {
    store: &'a Store,
    // Dropped, its files go.
    _staged: StagedLayer,
    root: File,
}

impl<'a> Archive<'a> {
    fn open(store: &'a Store, from: impl Read + Send) -> Result<Self> {
        let staged = store.stage().map_err(Error::store("unpack the archive"))?;
        let root = File::open(staged.files())
            .map_err(|source| Error::Read { path: staged.files().to_owned(), source })?;
        // It may be compressed, which its first bytes tell.
        let tar = archive::stream(from)
            .map_err(|source| Error::Read { path: PathBuf::from("the archive"), source })?;
        rbuild_cache::unpack_into(root.as_fd(), tar, Some((0, 0)))
            .map_err(Error::store("unpack the archive"))?;
        Ok(Self { store, root, _staged: staged })
    }

    /// Opens a file of the archive; `None` when it is not there.
    fn file(&self, name: &str) -> Result<Option<File>> {
        let failed = |source| Error::Read { path: PathBuf::from(name), source };
        match select::open_file(self.root.as_fd(), Path::new(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn needed(&self, name: &str) -> Result<File> {
        self.file(name)?.ok_or_else(|| Error::Malformed {
            what: "the archive".to_owned(),
            reason: format!("`{name}` is missing"),
        })
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.needed(name)?
            .take(MAX_DOCUMENT)
            .read_to_end(&mut bytes)
            .map_err(|source| Error::Read { path: PathBuf::from(name), source })?;
        Ok(bytes)
    }

    fn document<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<Option<T>> {
        if self.file(name)?.is_none() {
            return Ok(None);
        }
        let document = serde_json::from_slice(&self.bytes(name)?);
        document.map(Some).map_err(Error::malformed(format!("`{name}` of the archive")))
    }

    /// The images of the archive. Of platforms that share a name `manifest.json` tells nothing, so
    /// where there are such the layout counts.
    fn images(&self) -> Result<Vec<Named>> {
        let saved = self.document::<Vec<Saved>>("manifest.json")?;
        let layout = self.layout()?;
        match (saved, layout) {
            (_, Some(layout)) if layout.iter().any(|named| named.is_index) => Ok(layout),
            (Some(saved), _) => Ok(saved
                .into_iter()
                .map(|mut image| Named {
                    names: image.repo_tags.take().unwrap_or_default(),
                    platforms: vec![image],
                    is_index: false,
                })
                .collect()),
            (None, Some(layout)) => Ok(layout),
            (None, None) => Err(Error::Malformed {
                what: "the archive".to_owned(),
                reason: "it has neither `manifest.json` nor `index.json`".to_owned(),
            }),
        }
    }

    /// The images of an OCI image layout, if the archive is one.
    fn layout(&self) -> Result<Option<Vec<Named>>> {
        let Some(index) = self.document::<ImageIndex>("index.json")? else {
            return Ok(None);
        };
        let mut all: Vec<Named> = Vec::new();
        let mut places = HashMap::new();
        for descriptor in index.manifests() {
            let annotation = |key: &str| descriptor.annotations().as_ref()?.get(key).cloned();
            let name = annotation(layout::WHOLE_NAME).or_else(|| annotation(layout::NAME));
            let digest = descriptor.digest().to_string();
            // One image may be there under several names.
            if let Some(&place) = places.get(&digest) {
                let known: &mut Named = &mut all[place];
                known.names.extend(name);
                continue;
            }
            let (platforms, is_index) = self.platforms(descriptor)?;
            if !platforms.is_empty() {
                places.insert(digest, all.len());
                all.push(Named { names: name.into_iter().collect(), platforms, is_index });
            }
        }
        Ok(Some(all))
    }

    /// The images that a manifest, or an index of manifests, stands for, and whether it is an
    /// index. What is beside images in an index, such as attestations, is left out.
    fn platforms(&self, descriptor: &Descriptor) -> Result<(Vec<Saved>, bool)> {
        let path = blob_path(descriptor.digest());
        let Some(document) = self.document::<Value>(&path)? else {
            return Ok((Vec::new(), false));
        };
        let malformed = || Error::malformed(format!("`{path}` of the archive"));
        if document.get("manifests").is_none() {
            let manifest = serde_json::from_value(document).map_err(malformed())?;
            return Ok((vec![saved(&manifest)], false));
        }
        let index: ImageIndex = serde_json::from_value(document).map_err(malformed())?;
        let mut images = Vec::new();
        for inner in index.manifests() {
            let is_beside =
                inner.platform().as_ref().is_some_and(|it| it.os().to_string() == "unknown");
            if is_beside {
                continue;
            }
            let manifest = self.document::<ImageManifest>(&blob_path(inner.digest()))?;
            images.extend(manifest.as_ref().map(saved));
        }
        Ok((images, true))
    }

    /// Puts the images of one name into the store.
    fn keep(&self, named: &Named) -> Result<Vec<String>> {
        let platforms = named.platforms.iter().map(|saved| self.keep_one(saved));
        let platforms = platforms.collect::<Result<Vec<_>>>()?;
        let parsed: Vec<_> =
            platforms.iter().filter_map(|one| one.platform.parse::<Platform>().ok()).collect();
        let main = if parsed.len() == platforms.len() { platform::main_of(&parsed) } else { 0 };
        let now = jiff::Timestamp::now().as_second();
        let Some(entry) = ImageEntry::of_platforms(platforms, main, now) else {
            return Ok(Vec::new());
        };
        for name in &named.names {
            images::set_name(self.store, &source::parse(name)?.to_string(), &entry)?;
        }
        if named.names.is_empty() {
            images::keep_unnamed(self.store, &entry)?;
            return Ok(vec![entry.config.to_string()]);
        }
        Ok(named.names.clone())
    }

    /// Puts the image of one platform into the store.
    fn keep_one(&self, saved: &Saved) -> Result<PlatformEntry> {
        let config_bytes = self.bytes(&saved.config)?;
        let config: ImageConfig = serde_json::from_slice(&config_bytes)
            .map_err(Error::malformed(format!("`{}` of the archive", saved.config)))?;
        if config.rootfs.diff_ids.len() != saved.layers.len() {
            return Err(Error::Malformed {
                what: "the archive".to_owned(),
                reason: format!("`{}` has other layers than its image", saved.config),
            });
        }
        let layers = saved.layers.iter().zip(&config.rootfs.diff_ids);
        let layers =
            layers.map(|(path, diff_id)| self.layer(path, *diff_id)).collect::<Result<Vec<_>>>()?;
        let written = self.store.write_blob(&config_bytes);
        Ok(PlatformEntry {
            platform: config.platform().to_string(),
            manifest: None,
            config: written.map_err(Error::store("keep the image config"))?,
            layers,
            size: 0,
        })
    }

    /// Keeps the file of a layer as a blob, and unpacks it: only then is its diff id proved.
    fn layer(&self, path: &str, diff_id: Digest) -> Result<Layer> {
        let failed = || Error::store(format!("keep the layer `{path}`"));
        let unread = |source| Error::Read { path: PathBuf::from(path), source };
        let mut file = self.needed(path)?;
        let mut magic = [0; 4];
        let length = {
            use std::os::unix::fs::FileExt;
            file.read_at(&mut magic, 0).map_err(unread)?
        };
        let media_type = match &magic[..length] {
            [0x1f, 0x8b, ..] => "application/vnd.oci.image.layer.v1.tar+gzip",
            [0x28, 0xb5, 0x2f, 0xfd] => "application/vnd.oci.image.layer.v1.tar+zstd",
            _ => "application/vnd.oci.image.layer.v1.tar",
        };
        let mut writer = self.store.blob_writer(None).map_err(failed())?;
        io::copy(&mut file, &mut writer).and_then(|_| writer.flush()).map_err(unread)?;
        let (digest, size) = writer.finish().map_err(failed())?;
        let blob =
            Blob { digest, size, media_type: media_type.to_owned(), from: None, created: None };
        let kept = self.store.open_blob(&digest).map_err(failed())?;
        let tar = plain(kept, media_type).map_err(unread)?;
        self.store.unpack(diff_id, tar).map_err(failed())?;
        Ok(Layer::Pulled { diff_id, blob })
    }
}

/// The image of a manifest, as `docker save` would describe it.
fn saved(manifest: &ImageManifest) -> Saved {
    Saved {
        config: blob_path(manifest.config().digest()),
        repo_tags: None,
        layers: manifest.layers().iter().map(|layer| blob_path(layer.digest())).collect(),
    }
}

fn blob_path(digest: &impl ToString) -> String {
    format!("blobs/{}", digest.to_string().replacen(':', "/", 1))
}
