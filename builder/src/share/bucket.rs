//! Caches in buckets of object stores.

use rbuild_cache::Digest;
use rbuild_registry::Bucket;

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
}
