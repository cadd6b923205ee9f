//! Manifests of images (OCI image specification, "Image Manifest").

use rbuild_cache::{Blob, Digest};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

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

/// What another document says about a blob.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Writes the manifest of an image with these layers, which are given OCI's media types.
pub(crate) fn manifest(config: &[u8], layers: &[Blob]) -> Vec<u8> {
    let layer = |blob: &Blob| Descriptor {
        media_type: oci_layer(&blob.media_type).to_owned(),
        digest: blob.digest,
        size: blob.size,
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: Descriptor {
            media_type: CONFIG.to_owned(),
            digest: digest(config),
            size: config.len() as u64,
        },
        layers: layers.iter().map(layer).collect(),
    };
    serde_json::to_vec(&manifest).expect("a manifest has string keys only")
}

/// The digest of bytes in memory.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// OCI's name for a layer's media type; Docker's are translated.
pub(crate) fn oci_layer(media_type: &str) -> &str {
    match media_type {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => LAYER_GZIP,
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => LAYER_ZSTD,
        "application/vnd.docker.image.rootfs.diff.tar" => LAYER_PLAIN,
        other => other,
    }
}
