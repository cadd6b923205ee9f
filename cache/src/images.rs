//! The names of images: one small file for each.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::Digest;
use crate::remove::list;
use crate::snapshot::Layer;
use crate::store::{Store, read_json, to_json};

/// An image that has a name in this store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageEntry {
    /// The digest of its manifest in a registry; none while it was never there.
    pub manifest: Option<Digest>,
    /// The digest of its configuration, which is the image's id.
    pub config: Digest,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// The size of the image in bytes, as its maker counts it.
    pub size: u64,
    /// When the image got this name here, in seconds since 1970.
    pub created: i64,
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

    fn write_image(&self, folder: &'static str, name: &str, image: &ImageEntry) -> Result<()> {
        self.folder(folder)?;
        let named = Named { name: name.to_owned(), image: image.clone() };
        self.replace(&self.image_path(folder, name), &to_json("image name", &named)?, true)
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

    /// Names an image, such as `docker.io/library/x:latest`; the name moves if it is taken.
    pub fn tag(&self, name: &str, image: &ImageEntry) -> Result<()> {
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
        ImageEntry { manifest: Some(digest), config: digest, layers, size: 7, created: -1 }
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
