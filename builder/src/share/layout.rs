//! Caches in OCI image layouts on disk.

use std::path::Path;
use std::time::Duration;

use oci_spec::image::ImageManifest;
use rbuild_cache::{Blob, Digest, Store};
use rbuild_registry::{CONFIG_LIMIT, MANIFEST_LIMIT};
use serde_json::json;

use super::artifact::{self, Found};
use super::outdated;
use crate::error::{Error, Result};
use crate::export::manifest::{MANIFEST, digest};
use crate::layout::{Layout, NAME, SCHEME, Writer, parse};
use crate::platform::Platform;

/// Reads a cache: the one of a digest, or of a tag.
pub(super) fn read(
    store: &Store,
    folder: &Path,
    tag: Option<&str>,
    digest: Option<Digest>,
    platform: &Platform,
) -> Result<Found> {
    let failed = |source| Error::Read { path: folder.to_owned(), source };
    // Its layers may be wanted by a build that is started elsewhere.
    let folder = std::path::absolute(folder).map_err(failed)?;
    let layout = Layout::open(store, &folder)?;
    let first = match digest {
        Some(digest) => digest,
        None => layout.named(tag, platform)?,
    };
    let bytes = layout.blob(&first, MANIFEST_LIMIT)?;
    let what = format!("the cache in `{}`", folder.display());
    let manifest: ImageManifest =
        serde_json::from_slice(&bytes).map_err(Error::malformed(&*what))?;
    let config = layout.blob(&parse(manifest.config().digest().as_ref())?, CONFIG_LIMIT)?;
    artifact::read(&what, &manifest, &config, &format!("{SCHEME}{}", folder.display()))
}

/// Writes a cache whose blobs are in the store, in place of one of this tag, which is `kept` for so
/// long.
pub(super) fn write(
    store: &Store,
    folder: &Path,
    (tag, kept): (&str, Duration),
    document: &[u8],
    layers: &[Blob],
) -> Result<Digest> {
    let failed = |source| Error::Write { path: folder.to_owned(), source };
    let layout = Writer::open(folder).map_err(failed)?;
    for blob in layers {
        let mut bytes =
            store.open_blob(&blob.digest).map_err(Error::store("read a layer of the cache"))?;
        layout.blob(&blob.digest, blob.size, &mut bytes).map_err(failed)?;
    }
    let manifest = artifact::manifest(document, layers);
    for bytes in [document, &manifest] {
        layout.blob(&digest(bytes), bytes.len() as u64, &mut &*bytes).map_err(failed)?;
    }
    let digest = digest(&manifest);
    let replaced = layout.name(vec![json!({
        "mediaType": MANIFEST,
        "digest": digest,
        "size": manifest.len(),
        "annotations": { NAME: tag },
    })]);
    for manifest in replaced.map_err(failed)? {
        // One that is not there needs no note.
        let _ = outdated::replaced(folder, &manifest);
    }
    outdated::remove(folder, kept).map_err(failed)?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    /// A folder of caches of one layer each.
    struct Shared {
        store: Store,
        folder: tempfile::TempDir,
    }

    impl Shared {
        fn write(&self, (tag, kept): (&str, Duration), layer: &[u8]) -> Digest {
            let digest = self.store.write_blob(layer).unwrap();
            let media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
            let size = layer.len() as u64;
            let blob = Blob { digest, size, media_type, from: None, created: None };
            let document = rbuild_cache::Packer::default().finish().to_json();
            write(&self.store, self.folder.path(), (tag, kept), &document, &[blob]).unwrap()
        }

        /// The sizes of the layers of a cache.
        fn read(&self, tag: Option<&str>, digest: Option<Digest>) -> Result<Vec<u64>> {
            let platform = crate::platform::host();
            let found = read(&self.store, self.folder.path(), tag, digest, &platform)?;
            Ok(found.blobs.values().map(|blob| blob.size).collect())
        }

        fn count(&self, path: &str) -> usize {
            fs::read_dir(self.folder.path().join(path)).unwrap().count()
        }
    }

    fn shared() -> Shared {
        Shared { store: Store::temporary().unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    #[test]
    fn caches_stand_beside_each_other_under_their_tags() {
        let shared = shared();
        let first = shared.write(("latest", outdated::KEPT), b"1");
        shared.write(("other", outdated::KEPT), b"22");
        let second = shared.write(("latest", outdated::KEPT), b"333");
        assert_ne!(first, second);
        assert_eq!(shared.read(None, None).unwrap(), [3]);
        assert_eq!(shared.read(Some("other"), None).unwrap(), [2]);
        assert_eq!(shared.read(None, Some(first)).unwrap(), [1]);
        assert!(shared.read(Some("none"), None).is_err());
        assert_eq!((shared.count(""), shared.count("blobs/sha256")), (3, 7));
    }

    #[test]
    fn what_was_replaced_long_ago_goes_and_what_others_put_there_stays() {
        let shared = shared();
        let first = shared.write(("latest", outdated::KEPT), b"1");
        shared.write(("other", outdated::KEPT), b"22");
        // Written long ago, and replaced just now.
        let path = |digest: &Digest| shared.folder.path().join("blobs/sha256").join(digest.hex());
        let date = |digest: &Digest| {
            let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
            File::options().write(true).open(path(digest)).unwrap().set_modified(long_ago).unwrap();
        };
        date(&first);
        let second = shared.write(("latest", outdated::KEPT), b"22");
        assert_eq!(shared.read(None, Some(first)).unwrap(), [1]);
        let foreign = crate::export::manifest::digest(b"{}");
        fs::write(path(&foreign), "{}").unwrap();
        date(&foreign);
        date(&first);
        shared.write(("third", outdated::KEPT), b"4444");
        assert!(shared.read(None, Some(first)).is_err());
        assert_eq!(shared.read(None, None).unwrap(), [2]);
        assert_eq!(shared.read(None, Some(second)).unwrap(), [2]);
        assert!(path(&foreign).exists());
        // Two layers, the document, two manifests, and the foreign blob.
        assert_eq!(shared.count("blobs/sha256"), 6);
        shared.write(("third", Duration::ZERO), b"55555");
        assert_eq!(shared.count("blobs/sha256"), 6);
        // An index that is not understood names anything.
        fs::write(path(&second), "no json").unwrap();
        shared.write(("third", Duration::ZERO), b"666666");
        assert_eq!(shared.count("blobs/sha256"), 8);
    }
}
