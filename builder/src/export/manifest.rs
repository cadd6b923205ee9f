//! The documents of images as OCI and Docker write them (OCI image specification, "Image Manifest"
//! and "Image Index"), each from plain data.

use std::collections::BTreeMap;

use rbuild_cache::{Blob, Digest};
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::platform::Platform;

/// The media type of a manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an index.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of a config.
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The media type of a layer that is compressed with gzip.
pub(crate) const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The media type of a layer that is compressed with zstd.
pub(crate) const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The media type of a layer that is not compressed.
pub(crate) const LAYER_PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
/// The media type of an attestation.
pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";

/// What Docker calls what OCI has a name for.
const DOCKER: [(&str, &str); 6] = [
    (MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"),
    (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"),
    (CONFIG, "application/vnd.docker.container.image.v1+json"),
    (LAYER_GZIP, "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    (LAYER_ZSTD, "application/vnd.docker.image.rootfs.diff.tar.zstd"),
    (LAYER_PLAIN, "application/vnd.docker.image.rootfs.diff.tar"),
];

/// Annotations, sorted by their names.
pub(crate) type Annotations = BTreeMap<String, String>;

/// What another document says about a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// The number of its bytes.
    pub size: u64,
    /// What else is said of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The platform that it is for, where it is an image.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "platform")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Describes bytes in memory.
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, digest(bytes), bytes.len() as u64)
    }

    fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let media_type = media_type.to_owned();
        Self { media_type, digest, size, annotations: BTreeMap::new(), platform: None }
    }

    /// Describes a layer by OCI's media type or, where `docker` is set, by Docker's.
    pub(crate) fn layer(blob: &Blob, docker: bool) -> Self {
        Self::new(named(oci_layer(&blob.media_type), docker), blob.digest, blob.size)
    }

    /// Whether registries take it for a manifest, and not for a blob.
    pub(crate) fn is_manifest(&self) -> bool {
        [MANIFEST, INDEX].iter().any(|oci| [*oci, named(oci, true)].contains(&&*self.media_type))
    }
}

#[expect(clippy::ref_option, reason = "serde gives fields so")]
fn platform<S: Serializer>(platform: &Option<Platform>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut fields = BTreeMap::new();
    if let Some(platform) = platform {
        fields.insert("architecture", platform.architecture());
        fields.insert("os", platform.os());
        fields.extend(platform.variant().map(|variant| ("variant", variant)));
    }
    fields.serialize(serializer)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: &'a Descriptor,
    layers: &'a [Descriptor],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a Annotations,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: &'a [Descriptor],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a Annotations,
}

/// Writes a manifest.
pub(crate) fn manifest(
    config: &Descriptor,
    layers: &[Descriptor],
    annotations: &Annotations,
    docker: bool,
) -> Vec<u8> {
    let media_type = named(MANIFEST, docker);
    let manifest = Manifest { schema_version: 2, media_type, config, layers, annotations };
    serde_json::to_vec(&manifest).expect("a manifest has string keys only")
}

/// Writes an index.
pub(crate) fn index(manifests: &[Descriptor], annotations: &Annotations, docker: bool) -> Vec<u8> {
    let media_type = named(INDEX, docker);
    let index = Index { schema_version: 2, media_type, manifests, annotations };
    serde_json::to_vec(&index).expect("an index has string keys only")
}

/// The digest of bytes in memory.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// OCI's name for a layer's media type; Docker's are translated.
pub(crate) fn oci_layer(media_type: &str) -> &str {
    DOCKER.iter().find(|(_, docker)| *docker == media_type).map_or(media_type, |(oci, _)| oci)
}

/// What Docker calls a media type of OCI's, where that is asked for.
pub(crate) fn named(oci: &str, docker: bool) -> &str {
    let found = DOCKER.iter().find(|(name, _)| docker && *name == oci);
    found.map_or(oci, |(_, docker)| docker)
}
