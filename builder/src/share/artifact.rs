//! A cache as an OCI artifact: its manifest, and what is found by one.

use std::collections::HashMap;

use oci_spec::image::{Descriptor, ImageManifest};
use rbuild_cache::{Blob, Digest, Portable};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::export::manifest::{MANIFEST, digest, oci_layer};
use crate::image::{INLINE_CACHE, ImageConfig};
use crate::source;

/// What the manifest of a cache calls itself.
pub(super) const ARTIFACT: &str = "application/vnd.rbuild.cache.v1";
/// The media type of the document.
const CONFIG: &str = "application/vnd.rbuild.cache.config.v1+json";
/// How the names of Docker's and OCI's image configs end.
const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// A document and the layers that lie beside it, by what the document calls them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(super) document: Portable,
    pub(super) blobs: HashMap<Digest, Blob>,
}

/// Writes the manifest of a cache.
pub(super) fn manifest(document: &[u8], layers: &[Blob]) -> Vec<u8> {
    let layer = |blob: &Blob| {
        json!({
            "mediaType": oci_layer(&blob.media_type),
            "digest": blob.digest,
            "size": blob.size,
        })
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": { "mediaType": CONFIG, "digest": digest(document), "size": document.len() },
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    manifest.to_string().into_bytes()
}

/// Reads a cache by its manifest and config: an artifact, or an image that brings one along.
///
/// The layers are fetched `from` the place where the manifest was.
pub(super) fn read(
    what: &str,
    manifest: &ImageManifest,
    config: &[u8],
    from: &str,
) -> Result<Found> {
    let malformed = |reason: String| Error::Malformed { what: what.to_owned(), reason };
    let is_image = is_image(manifest);
    if !is_image && manifest.config().media_type().to_string() != CONFIG {
        let kind = manifest.config().media_type();
        return Err(malformed(format!("it is no cache of rbuild but `{kind}`")));
    }
    let blobs = manifest.layers().iter().map(|layer| blob(layer, from));
    let blobs: Vec<Blob> = blobs.collect::<Result<_, _>>().map_err(&malformed)?;
    if !is_image {
        let document = Portable::from_json(config).map_err(Error::malformed(what))?;
        let blobs = blobs.into_iter().map(|blob| (blob.digest, blob)).collect();
        return Ok(Found { document, blobs });
    }
    let image: ImageConfig = serde_json::from_slice(config).map_err(Error::malformed(what))?;
    let mut fields: Value = serde_json::from_slice(config).map_err(Error::malformed(what))?;
    let Some(document) = fields.get_mut(INLINE_CACHE).map(Value::take) else {
        return Err(malformed("the image brings no cache along".to_owned()));
    };
    let document = serde_json::from_value(document).map_err(Error::malformed(what))?;
    source::layers(what, manifest, &image)?;
    let blobs = image.rootfs.diff_ids.iter().copied().zip(blobs).collect();
    Ok(Found { document, blobs })
}

fn is_image(manifest: &ImageManifest) -> bool {
    let kind = manifest.config().media_type().to_string();
    IMAGE_CONFIGS.contains(&kind.as_str())
}

fn blob(layer: &Descriptor, from: &str) -> Result<Blob, String> {
    let digest = layer.digest().to_string();
    Ok(Blob {
        digest: digest.parse().map_err(|error: rbuild_cache::id::InvalidId| error.to_string())?,
        size: layer.size(),
        media_type: layer.media_type().to_string(),
        from: Some(from.to_owned()),
        created: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Vec<u8> {
        rbuild_cache::Packer::default().finish().to_json()
    }

    fn read_again(manifest: &[u8], config: &[u8]) -> Result<Found> {
        let manifest = serde_json::from_slice(manifest).unwrap();
        read("it", &manifest, config, "host/cache:latest")
    }

    #[test]
    fn a_cache_is_read_as_it_was_written() {
        let blob = Blob {
            digest: Digest::from_bytes([1; 32]),
            size: 7,
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
            from: None,
            created: Some(3),
        };
        let found = read_again(&manifest(&document(), std::slice::from_ref(&blob)), &document());
        let found = found.unwrap();
        let expected =
            Blob { from: Some("host/cache:latest".to_owned()), created: None, ..blob.clone() };
        assert_eq!(found.blobs, HashMap::from([(blob.digest, expected)]));
        assert!(found.document.is_empty());
    }

    #[test]
    fn what_is_no_cache_is_refused() {
        let error =
            |manifest: &[u8], config: &[u8]| read_again(manifest, config).unwrap_err().to_string();
        let good = manifest(&document(), &[]);
        assert!(error(&good, b"{}").contains("missing field"));
        assert!(error(&good, b"garbage").contains("it is not valid"));
        let other = String::from_utf8(good).unwrap().replace(CONFIG, "application/x");
        assert!(error(other.as_bytes(), &document()).contains("no cache of rbuild"));
        let image = other.replace("application/x", IMAGE_CONFIGS[0]);
        let config = ImageConfig::scratch(&crate::platform::host()).to_json();
        assert!(error(image.as_bytes(), &config).contains("brings no cache along"));
    }
}
