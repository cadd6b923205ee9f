//! Caches in buckets of object stores.

use oci_spec::image::ImageManifest;
use rbuild_cache::Digest;
use rbuild_registry::{Bucket, CONFIG_LIMIT, MANIFEST_LIMIT};

use super::artifact::{self, Found};
use crate::error::{Error, Result};
use crate::registries::{Registries, place_in};

/// A cache in a bucket of an object store that speaks Amazon's S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Cache {
    /// The bucket.
    pub bucket: Bucket,
    /// What the keys of all objects begin with.
    pub prefix: String,
    /// What follows in the keys of blobs.
    pub blobs_prefix: String,
    /// What follows in the keys of manifests.
    pub manifests_prefix: String,
    /// The names of the cache: each is written, and the first that is there is read.
    pub names: Vec<String>,
}

impl S3Cache {
    /// The key of a blob.
    pub(super) fn blob(&self, digest: &Digest) -> String {
        format!("{}{}{digest}", self.prefix, self.blobs_prefix)
    }

    /// The key of a manifest.
    pub(super) fn manifest(&self, name: &str) -> String {
        format!("{}{}{name}", self.prefix, self.manifests_prefix)
    }

    /// Reads the cache.
    pub(super) async fn read(&self, registries: &Registries) -> Result<Found> {
        let Self { bucket, prefix, blobs_prefix, .. } = self;
        let what = format!("the cache in the bucket {}", bucket.address);
        let (client, failed) = (registries.client(), || Error::registry(format!("read {what}")));
        let from = place_in(bucket, &format!("{prefix}{blobs_prefix}"));
        for name in &self.names {
            let manifest = client.object(bucket, &self.manifest(name), MANIFEST_LIMIT).await;
            let Some(manifest) = manifest.map_err(failed())? else { continue };
            let manifest: ImageManifest =
                serde_json::from_slice(&manifest).map_err(Error::malformed(&*what))?;
            let digest = crate::layout::parse(manifest.config().digest().as_ref())?;
            let document = client.object(bucket, &self.blob(&digest), CONFIG_LIMIT).await;
            let document = document.map_err(failed())?.unwrap_or_default();
            if crate::export::manifest::digest(&document) != digest {
                return Err(Error::wrong_digest(what, &digest));
            }
            return artifact::read(&what, &manifest, &document, &from);
        }
        let reason = format!("it has no `{}`", self.names.join("` or `"));
        Err(Error::Malformed { what, reason })
    }
}
