//! What a folder of caches can do without: caches of ours that its index names no more, and the
//! blobs that only they name. Whatever else lies there is none of our business.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rbuild_cache::Digest;
use rbuild_registry::MANIFEST_LIMIT;
use serde_json::Value;

use super::artifact::ARTIFACT;

/// How long a cache stays after another one took its tag: whoever has read of it may still read it.
pub(super) const KEPT: Duration = Duration::from_hours(7 * 24);
/// How many indexes lead to a manifest at most.
const DEEPEST: usize = 4;

/// Notes that a cache has just been replaced.
pub(super) fn replaced(folder: &Path, manifest: &Digest) -> io::Result<()> {
    File::options().write(true).open(path(folder, manifest))?.set_modified(SystemTime::now())
}

/// Removes what was replaced longer ago than `kept`. Nothing goes where something that the index
/// names cannot be understood.
pub(super) fn remove(folder: &Path, kept: Duration) -> io::Result<()> {
    let mut named = HashSet::new();
    let index = fs::read(folder.join("index.json"))?;
    if !names(folder, &index, DEEPEST, &mut named)? {
        return Ok(());
    }
    let mut outdated = Vec::new();
    for entry in fs::read_dir(folder.join("blobs/sha256"))? {
        let entry = entry?;
        let digest =
            entry.file_name().to_str().and_then(|hex| format!("sha256:{hex}").parse().ok());
        let Some(digest) = digest.filter(|digest| !named.contains(digest)) else { continue };
        let Some(manifest) = manifest_of_ours(&entry.path())? else { continue };
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age < kept {
            named.insert(digest);
            names(folder, &manifest, 0, &mut named)?;
        } else {
            outdated.push((digest, manifest));
        }
    }
    for (digest, manifest) in outdated {
        let mut own = HashSet::new();
        names(folder, &manifest, 0, &mut own)?;
        // The manifest goes last: by it the others are found where this is interrupted.
        for blob in own.difference(&named).chain([&digest]) {
            match fs::remove_file(path(folder, blob)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn path(folder: &Path, blob: &Digest) -> PathBuf {
    folder.join("blobs/sha256").join(blob.hex())
}

/// Adds what an index or manifest names, and what that names; tells whether all was understood.
fn names(
    folder: &Path,
    document: &[u8],
    deeper: usize,
    all: &mut HashSet<Digest>,
) -> io::Result<bool> {
    let Ok(document) = serde_json::from_slice::<Value>(document) else { return Ok(false) };
    let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
    let blobs = list("layers").into_iter().chain([document["config"].clone()]);
    all.extend(blobs.filter_map(|blob| blob["digest"].as_str()?.parse::<Digest>().ok()));
    for manifest in list("manifests") {
        let digest = manifest["digest"].as_str().and_then(|digest| digest.parse().ok());
        let (Some(digest), true) = (digest, deeper > 0) else { return Ok(false) };
        all.insert(digest);
        let bytes = match small(&path(folder, &digest)) {
            Ok(bytes) => bytes,
            // An index may name what is elsewhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if !names(folder, &bytes, deeper - 1, all)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The bytes of a file if it is the manifest of a cache of ours.
fn manifest_of_ours(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let bytes = small(path)?;
    let is_ours = bytes.first() == Some(&b'{')
        && serde_json::from_slice::<Value>(&bytes)
            .is_ok_and(|manifest| manifest["artifactType"] == ARTIFACT);
    Ok(is_ours.then_some(bytes))
}

/// The bytes of a file, nothing of one that is too long for a manifest.
fn small(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    if file.metadata()?.len() <= MANIFEST_LIMIT {
        file.take(MANIFEST_LIMIT).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
