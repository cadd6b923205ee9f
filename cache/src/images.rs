//! The names of images: one small file for each.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::blobs::BLOBS;
use crate::error::{Error, Result};
use crate::id::Digest;
use crate::remove::list;
use crate::snapshot::Layer;
use crate::store::{Store, read_json, sync_folder, to_json};

/// An image that has a name in this store, or those of several platforms that share the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageEntry {
    /// The digest of its manifest in a registry, or of the index of its platforms; none while it
    /// was never there.
    pub manifest: Option<Digest>,
    /// The digest of its configuration, which is the image's id.
    pub config: Digest,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// The size of the image in bytes, as its maker counts it.
    pub size: u64,
    /// When the image got this name here, in seconds since 1970.
    pub created: i64,
    /// The images of all platforms, in the order of their index, where the name stands for several.
    /// What is said above is then true of one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<PlatformEntry>,
}

/// One of the images of several platforms that share a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformEntry {
    /// The platform: `linux/arm64`.
    pub platform: String,
    /// The digest of its manifest in a registry; none while it was never there.
    pub manifest: Option<Digest>,
    /// The digest of its configuration.
    pub config: Digest,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// Its size in bytes, as its maker counts it.
    pub size: u64,
}

impl ImageEntry {
    /// The entry of the images of several platforms, of which one is what the name stands for
    /// where nobody asks for another; without any there is no entry.
    pub fn of_platforms(platforms: Vec<PlatformEntry>, main: usize, created: i64) -> Option<Self> {
        let PlatformEntry { manifest, config, layers, size, .. } = platforms.get(main)?.clone();
        Some(match platforms.as_slice() {
            [_] => Self { manifest, config, layers, size, created, platforms: Vec::new() },
            _ => Self { manifest: None, config, layers, size, created, platforms },
        })
    }

    /// The entry of the image of one of the platforms alone.
    #[must_use]
    pub fn only(&self, one: &PlatformEntry) -> Self {
        let PlatformEntry { manifest, config, layers, size, .. } = one.clone();
        Self { manifest, config, layers, size, created: self.created, platforms: Vec::new() }
    }

    /// The layers of all platforms; one that several have comes more than once.
    pub fn all_layers(&self) -> impl Iterator<Item = &Layer> {
        let others = self.platforms.iter().filter(|one| one.config != self.config);
        self.layers.iter().chain(others.flat_map(|one| &one.layers))
    }

    /// The configurations of all platforms, each once.
    pub fn all_configs(&self) -> impl Iterator<Item = Digest> {
        let others = self.platforms.iter().map(|one| one.config);
        [self.config].into_iter().chain(others.filter(|config| *config != self.config))
    }

    /// The blobs that belong to the image beside those of its layers.
    pub fn documents(&self) -> impl Iterator<Item = Digest> {
        let manifests = self.platforms.iter().filter_map(|one| one.manifest);
        self.all_configs().chain(self.manifest).chain(manifests)
    }
}

/// The file of a name: the name itself is inside, since it may be too long for a file name.
#[derive(Debug, Serialize, Deserialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    image: ImageEntry,
}

/// How the name begins under which an image is kept that has none: no reference can be spelt so.
pub const UNNAMED: &str = "<none>@";

const FOLDER: &str = "images";
const RESOLVED: &str = "resolved";

impl Store {
    fn image_path(&self, folder: &str, name: &str) -> PathBuf {
        let file = format!("{}.json", blake3::hash(name.as_bytes()).to_hex());
        self.root().join(folder).join(file)
    }

    /// Writes what a name stands for, once the disk has the blobs that it stands for.
    fn write_image(&self, folder: &'static str, name: &str, image: &ImageEntry) -> Result<()> {
        let place = self.folder(folder)?;
        sync_folder(&self.folder(BLOBS)?)?;
        let named = Named { name: name.to_owned(), image: image.clone() };
        self.replace(&self.image_path(folder, name), &to_json("image name", &named)?, true)?;
        sync_folder(&place)
    }

    fn read_image(&self, folder: &str, name: &str) -> Result<Option<ImageEntry>> {
        let named: Option<Named> = read_json(&self.image_path(folder, name))?;
        Ok(named.filter(|named| named.name == name).map(|named| named.image))
    }

    /// Remembers what a reference stood for when a registry was last asked.
    ///
    /// Unlike a name it is not listed: the base of a build is no image of the user's.
    pub fn remember_resolved(&self, reference: &str, image: &ImageEntry) -> Result<()> {
        self.write_image(RESOLVED, reference, image)
    }

    /// What a reference stood for when a registry was last asked.
    pub fn resolved(&self, reference: &str) -> Result<Option<ImageEntry>> {
        self.read_image(RESOLVED, reference)
    }

    /// Names an image, such as `docker.io/library/x:latest`; the name moves if it is taken. An image
    /// that has the name already keeps it since then.
    pub fn tag(&self, name: &str, image: &ImageEntry) -> Result<()> {
        let is_same = |known: ImageEntry| ImageEntry { created: image.created, ..known } == *image;
        if self.image(name)?.is_some_and(is_same) {
            return Ok(());
        }
        self.write_image(FOLDER, name, image)
    }

    /// Removes a name, and tells whether there was one.
    pub fn untag(&self, name: &str) -> Result<bool> {
        let path = self.image_path(FOLDER, name);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::file("remove", &path)(error)),
        }
    }

    /// The image of a name.
    pub fn image(&self, name: &str) -> Result<Option<ImageEntry>> {
        self.read_image(FOLDER, name)
    }

    /// All names and their images, sorted by name.
    pub fn images(&self) -> Result<Vec<(String, ImageEntry)>> {
        self.read_images(FOLDER)
    }

    /// All references that registries were asked for, and what they stood for then.
    pub fn all_resolved(&self) -> Result<Vec<(String, ImageEntry)>> {
        self.read_images(RESOLVED)
    }

    fn read_images(&self, folder: &str) -> Result<Vec<(String, ImageEntry)>> {
        let mut images = Vec::new();
        for path in list(&self.root().join(folder))? {
            if let Some(Named { name, image }) = read_json(&path)? {
                images.push((name, image));
            }
        }
        images.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(images)
    }

    /// The files of names that are damaged.
    pub(crate) fn damaged_names(&self) -> Result<Vec<PathBuf>> {
        let mut damaged = Vec::new();
        for folder in [FOLDER, RESOLVED] {
            for path in list(&self.root().join(folder))? {
                let named: Option<Named> = read_json(&path)?;
                let place = named.map(|named| self.image_path(folder, &named.name));
                if place.as_ref() != Some(&path) && path.exists() {
                    damaged.push(path);
                }
            }
        }
        Ok(damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(byte: u8) -> ImageEntry {
        let digest = Digest::from_bytes([byte; 32]);
        let layers = vec![Layer::Made(crate::LayerId::from_bytes([byte; 16]))];
        ImageEntry {
            manifest: Some(digest),
            config: digest,
            layers,
            size: 7,
            created: -1,
            platforms: Vec::new(),
        }
    }

    #[test]
    fn names_are_given_moved_and_taken() {
        let store = Store::temporary().unwrap();
        let long = format!("docker.io/library/{}:latest", "x".repeat(4000));
        assert_eq!(store.image("a").unwrap(), None);
        store.tag("b:../x", &image(1)).unwrap();
        store.tag(&long, &image(2)).unwrap();
        store.tag("b:../x", &image(3)).unwrap();
        assert_eq!(store.image("b:../x").unwrap(), Some(image(3)));
        let all = [("b:../x".to_owned(), image(3)), (long.clone(), image(2))];
        assert_eq!(store.images().unwrap(), all);
        assert!(store.untag(&long).unwrap());
        assert!(!store.untag(&long).unwrap());
        assert_eq!(store.images().unwrap().len(), 1);
        store.remember_resolved("c", &image(4)).unwrap();
        assert_eq!(store.resolved("c").unwrap(), Some(image(4)));
        assert_eq!(store.images().unwrap().len(), 1);
    }

    #[test]
    fn an_image_keeps_its_name_since_it_got_it() {
        let store = Store::temporary().unwrap();
        store.tag("a", &image(1)).unwrap();
        store.tag("a", &ImageEntry { created: 9, ..image(1) }).unwrap();
        assert_eq!(store.image("a").unwrap(), Some(image(1)));
        let other = ImageEntry { created: 9, size: 8, ..image(1) };
        store.tag("a", &other).unwrap();
        assert_eq!(store.image("a").unwrap(), Some(other));
    }

    #[test]
    fn a_name_may_stand_for_several_platforms() {
        let store = Store::temporary().unwrap();
        let platform = |name: &str, byte: u8| {
            let ImageEntry { manifest, config, layers, size, .. } = image(byte);
            PlatformEntry { platform: name.to_owned(), manifest, config, layers, size }
        };
        let all = vec![platform("linux/arm64", 1), platform("linux/amd64", 2)];
        let entry = ImageEntry::of_platforms(all.clone(), 1, -1).unwrap();
        assert_eq!((entry.config, entry.manifest), (image(2).config, None));
        assert_eq!(entry.only(&all[0]), image(1));
        store.tag("a", &entry).unwrap();
        let found = store.image("a").unwrap().unwrap();
        assert_eq!(found, entry);
        let layers: Vec<_> = found.all_layers().cloned().collect();
        assert_eq!(layers, [image(2).layers, image(1).layers].concat());
        let configs: Vec<_> = found.all_configs().collect();
        assert_eq!(configs, [image(2).config, image(1).config]);
        assert_eq!(ImageEntry::of_platforms(vec![all[0].clone()], 0, -1), Some(image(1)));
        assert_eq!(ImageEntry::of_platforms(Vec::new(), 0, -1), None);
    }

    #[test]
    fn a_damaged_name_is_none() {
        let store = Store::temporary().unwrap();
        store.tag("a", &image(1)).unwrap();
        store.tag("b", &image(2)).unwrap();
        fs::copy(store.image_path(FOLDER, "a"), store.image_path(FOLDER, "b")).unwrap();
        assert_eq!(store.image("b").unwrap(), None);
        fs::write(store.image_path(FOLDER, "a"), "{").unwrap();
        assert_eq!(store.image("a").unwrap(), None);
    }
}
