//! Writing to a layout in a folder, beside whatever else it has.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rbuild_cache::Digest;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use super::NAME;
use crate::export::manifest::INDEX;

/// The annotation with the whole name of an image, as containerd has it.
pub(crate) const WHOLE_NAME: &str = "io.containerd.image.name";
const INDEX_FILE: &str = "index.json";

/// A layout that one process alone writes to, as long as this is held.
#[derive(Debug)]
pub(crate) struct Writer {
    folder: PathBuf,
    _alone: File,
}

impl Writer {
    /// Opens a folder, which is made if it is missing, and waits for others that write to it.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder.join("blobs/sha256"))?;
        let alone = File::open(folder)?;
        flock(&alone, FlockOperation::LockExclusive)?;
        Ok(Self { folder: folder.to_owned(), _alone: alone })
    }

    /// Writes a file, unless it is a blob that is there in its size.
    pub(crate) fn put(&self, name: &str, size: u64, from: &mut dyn Read) -> io::Result<()> {
        let path = self.folder.join(name);
        let is_blob = name.starts_with("blobs/");
        if is_blob && fs::metadata(&path).is_ok_and(|there| there.len() == size) {
            return Ok(());
        }
        let aside = path.with_extension(format!("{}.partial", std::process::id()));
        let written = File::create(&aside)
            .and_then(|mut file| {
                io::copy(from, &mut file)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&aside, path));
        if written.is_err() {
            let _ = fs::remove_file(&aside);
        }
        written
    }

    /// Writes a blob, unless it is there in its size.
    pub(crate) fn blob(&self, digest: &Digest, size: u64, from: &mut dyn Read) -> io::Result<()> {
        self.put(&format!("blobs/sha256/{}", digest.hex()), size, from)
    }

    /// Adds descriptors to the index, each in place of those of its name; what else is named there
    /// stays. Gives the digests of those that were replaced.
    pub(crate) fn name(&self, descriptors: Vec<Value>) -> io::Result<Vec<Digest>> {
        let version = json!({ "imageLayoutVersion": "1.0.0" }).to_string();
        self.put("oci-layout", version.len() as u64, &mut version.as_bytes())?;
        let mut index: Value = match fs::read(self.folder.join(INDEX_FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                json!({ "schemaVersion": 2, "mediaType": INDEX })
            }
            Err(error) => return Err(error),
        };
        let there = index["manifests"].as_array().cloned().unwrap_or_default();
        let (replaced, mut named) = there
            .into_iter()
            .partition::<Vec<_>, _>(|one| descriptors.iter().any(|new| is_replaced(one, new)));
        named.extend(descriptors);
        index["manifests"] = named.into();
        let bytes = index.to_string();
        self.put(INDEX_FILE, bytes.len() as u64, &mut bytes.as_bytes())?;
        Ok(replaced.iter().filter_map(|one| one["digest"].as_str()?.parse().ok()).collect())
    }
}

/// Whether a descriptor has the name of a new one. One tag may stand for several images whose whole
/// names differ; what has no name at all replaces its like.
fn is_replaced(old: &Value, new: &Value) -> bool {
    let text = |one: &Value, key: &str| one["annotations"][key].as_str().map(str::to_owned);
    let whole = (text(old, WHOLE_NAME), text(new, WHOLE_NAME));
    let differs = matches!(&whole, (Some(old), Some(new)) if old != new);
    text(old, NAME) == text(new, NAME) && !differs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(digit: char, annotations: &[(&str, &str)]) -> Value {
        let digest = format!("sha256:{}", digit.to_string().repeat(64));
        match annotations {
            [] => json!({ "digest": digest }),
            _ => json!({ "digest": digest, "annotations": annotations.iter()
                .map(|(key, value)| ((*key).to_owned(), json!(value)))
                .collect::<serde_json::Map<_, _>>() }),
        }
    }

    #[test]
    fn names_stay_unless_they_are_given_anew() {
        let folder = tempfile::tempdir().unwrap();
        let add = |descriptors| Writer::open(folder.path()).unwrap().name(descriptors).unwrap();
        let one = |whole| [(NAME, "latest"), (WHOLE_NAME, whole)];
        assert_eq!(add(vec![descriptor('1', &one("a")), descriptor('2', &one("b"))]), []);
        assert_eq!(add(vec![descriptor('3', &[])]), []);
        assert_eq!(add(vec![descriptor('4', &[(NAME, "cache")])]), []);
        let replaced = add(vec![descriptor('5', &one("b")), descriptor('6', &[])]);
        let digests: Vec<_> = replaced.iter().map(|digest| digest.hex()[..1].to_owned()).collect();
        assert_eq!(digests, ["2", "3"]);
        let bytes = fs::read(folder.path().join(INDEX_FILE)).unwrap();
        let index: Value = serde_json::from_slice(&bytes).unwrap();
        let left: Vec<_> = index["manifests"].as_array().unwrap().iter().collect();
        let digits = left.iter().map(|one| &one["digest"].as_str().unwrap()[7..8]);
        assert_eq!(digits.collect::<Vec<_>>(), ["1", "4", "5", "6"]);
        fs::write(folder.path().join(INDEX_FILE), "no json").unwrap();
        assert!(Writer::open(folder.path()).unwrap().name(Vec::new()).is_err());
    }

    #[test]
    fn two_that_write_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for digit in "0123456789abcdef".chars() {
                let path = folder.path();
                scope.spawn(move || {
                    let name = digit.to_string();
                    let writer = Writer::open(path).unwrap();
                    writer.name(vec![descriptor(digit, &[(NAME, &name)])]).unwrap();
                });
            }
        });
        let bytes = fs::read(folder.path().join(INDEX_FILE)).unwrap();
        let index: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 16);
    }
}
