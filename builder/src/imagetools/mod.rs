//! Manifests and indexes as registries have them: looked at, and put together to new indexes,
//! without any layer being fetched that the registry has already.

mod copy;
mod create;
mod inspect;

use rbuild_registry::{Client, Manifest, Reference};
use serde_json::Value;

use crate::error::{Error, Result};

pub use create::{Create, Merged};
pub use inspect::{Details, Inspected, inspect};

/// The annotation of a manifest in an index that is no image, but said of one.
const KIND: &str = "vnd.docker.reference.type";
/// The annotation with the digest of the image that it is said of.
const ABOUT: &str = "vnd.docker.reference.digest";

/// Fetches a manifest or an index.
async fn fetch(client: &Client, reference: &Reference) -> Result<Manifest> {
    let manifest = client.manifest(reference, true).await;
    manifest.map_err(Error::registry(format!("look up `{reference}`")))
}

/// Reads a document of a registry.
fn read(reference: &Reference, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes)
        .map_err(Error::malformed(format!("the manifest of `{reference}`")))
}

/// What an index lists; nothing for a manifest.
fn listed(document: &Value) -> &[Value] {
    document["manifests"].as_array().map_or(&[], Vec::as_slice)
}

/// A text in an object.
fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

/// The digest and the size that a descriptor gives.
fn described(reference: &Reference, descriptor: &Value) -> Result<(String, u64)> {
    let digest = text(descriptor, "digest");
    let size = descriptor["size"].as_u64();
    match (reference.with_digest(digest), size) {
        (Ok(_), Some(size)) => Ok((digest.to_owned(), size)),
        _ => Err(Error::Malformed {
            what: format!("the manifest of `{reference}`"),
            reason: "it has a descriptor without a digest or a size".to_owned(),
        }),
    }
}

/// The platform that a descriptor gives, as people write it.
fn platform(descriptor: &Value) -> Option<String> {
    let platform = &descriptor["platform"];
    let (os, architecture) = (platform["os"].as_str()?, platform["architecture"].as_str()?);
    let variant = platform["variant"].as_str().filter(|variant| !variant.is_empty());
    let variant = variant.map_or_else(String::new, |variant| format!("/{variant}"));
    Some(format!("{os}/{architecture}{variant}"))
}

/// Whether a descriptor is of an image, and not of what is said of one.
fn is_image(descriptor: &Value) -> bool {
    descriptor["annotations"][KIND].is_null()
        && platform(descriptor).as_deref() != Some("unknown/unknown")
}
