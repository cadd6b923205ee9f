//! Manifests and indexes: fetched within bounds, verified, and the right one chosen.

use bytes::Bytes;
use futures::TryStreamExt;
use oci_spec::image::{ImageIndex, ImageManifest};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::auth::Scopes;
use crate::client::Client;
use crate::digest;
use crate::endpoint::{Call, Endpoint, Payload, Place, header, read};
use crate::error::{Error, Result, Task};
use crate::platform::{Platform, platform_of, select};
use crate::reference::Reference;

/// The longest manifest that is taken, in bytes; registries take no longer ones either.
pub const MANIFEST_LIMIT: u64 = 4 * 1024 * 1024;
/// The longest image config that is taken, in bytes.
pub const CONFIG_LIMIT: u64 = 8 * 1024 * 1024;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A manifest or an index, as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The document, byte for byte.
    pub bytes: Bytes,
    /// What it is, of OCI's or Docker's names.
    pub media_type: String,
    /// The digest of the bytes.
    pub digest: String,
}

/// What a tag points to, without the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The digest of the manifest or index.
    pub digest: String,
    /// What it is, if the registry says so.
    pub media_type: Option<String>,
}

impl Manifest {
    /// Whether it is an index of manifests, not an image.
    pub fn is_index(&self) -> bool {
        matches!(&*self.media_type, OCI_INDEX | DOCKER_LIST)
    }

    /// Reads it as an index.
    pub fn index(&self) -> Result<ImageIndex, serde_json::Error> {
        serde_json::from_slice(&self.bytes)
    }

    /// Reads it as the manifest of an image.
    pub fn image(&self) -> Result<ImageManifest, serde_json::Error> {
        serde_json::from_slice(&self.bytes)
    }
}

impl Client {
    /// Fetches the manifest that a reference names; an index only where `indexes` are taken.
    ///
    /// It is verified against the reference's digest, or the digest that the registry states.
    pub async fn manifest(&self, reference: &Reference, indexes: bool) -> Result<Manifest> {
        self.anywhere(reference, |endpoint| async move {
            let task = endpoint.task("fetch manifest", reference.within_registry());
            let response = ask(&endpoint, Method::GET, reference, indexes, &task).await?;
            receive(&endpoint, response, reference, &task).await
        })
        .await
    }

    /// Fetches the manifest of the image that is for a platform, through an index if there is one.
    pub async fn manifest_for(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Manifest> {
        let manifest = self.manifest(reference, true).await?;
        if !manifest.is_index() {
            return Ok(manifest);
        }
        let task = Task::new("choose image of", reference.within_registry(), reference.registry());
        let index = manifest.index().map_err(|error| unreadable(&task, error))?;
        let Some(chosen) = select(&index, platform) else {
            let offered = index.manifests().iter().filter_map(platform_of).take(50);
            return Err(Error::NoPlatform {
                task: Box::new(task),
                wanted: platform.to_string(),
                offered: offered.map(|platform| platform.to_string()).collect(),
            });
        };
        let image = reference.with_digest(chosen.digest().as_ref())?;
        let manifest = self.manifest(&image, false).await?;
        if manifest.is_index() {
            return Err(Error::malformed(&task, "the index names another index for the platform"));
        }
        Ok(manifest)
    }

    /// Finds out what a tag points to, without fetching it: Docker Hub does not count this as a
    /// pull.
    pub async fn pin(&self, reference: &Reference) -> Result<Pin> {
        let found = self.anywhere(reference, |endpoint| async move {
            let task = endpoint.task("look up manifest", reference.within_registry());
            let response = ask(&endpoint, Method::HEAD, reference, true, &task).await?;
            let digest = header(&response, CONTENT_DIGEST).filter(|text| digest::is_sha256(text));
            let media_type = header(&response, CONTENT_TYPE).map(essence);
            Ok(digest.map(|digest| Pin { digest: digest.to_owned(), media_type }))
        });
        if let Some(pin) = found.await? {
            return Ok(pin);
        }
        let manifest = self.manifest(reference, true).await?;
        Ok(Pin { digest: manifest.digest, media_type: Some(manifest.media_type) })
    }

    /// Fetches an image's config, or another small document, whole and verified. It may have at
    /// most [`CONFIG_LIMIT`] bytes.
    pub async fn config(&self, reference: &Reference, digest: &str, size: u64) -> Result<Bytes> {
        if size > CONFIG_LIMIT {
            let task = Task::new("fetch config of", reference.repository(), reference.registry());
            return Err(Error::too_long(&task, CONFIG_LIMIT));
        }
        let fetch = || self.blob(reference, digest, size, 0).try_collect::<Vec<Bytes>>();
        let parts = match fetch().await {
            // It may have been damaged on its way.
            Err(Error::Corrupt { .. }) => fetch().await?,
            parts => parts?,
        };
        Ok(parts.concat().into())
    }

    /// Writes a manifest or index under the reference's digest or tag; answers its digest. Its
    /// blobs must be there already.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<String> {
        let endpoint = self.upstream(reference.registry());
        let task = endpoint.task("push manifest", reference.within_registry());
        let digest = digest::of(&bytes);
        if let Some(named) = reference.digest() {
            same(named, &digest, &task)?;
        }
        let scopes = Scopes::push(reference.repository());
        let rest = format!("manifests/{}", reference.wanted());
        let payload = Payload::Document(bytes, media_type);
        let (task, rest, scopes, payload) = (&task, &rest, &scopes, &payload);
        let (endpoint, digest) = (&endpoint, &digest);
        self.retrying(|| async move {
            let place = Place::Repository(reference.repository(), rest);
            let mut call = Call::new(Method::PUT, place, scopes, task);
            call.payload = Some(payload.clone());
            let response = endpoint.expect(&call, &[200, 201, 202]).await?;
            let stated = header(&response, CONTENT_DIGEST).filter(|text| digest::is_sha256(text));
            match stated {
                Some(stated) => same(digest, stated, task),
                None if response.status() == 201 => Ok(()),
                None => Err(Error::malformed(task, "the registry does not say that it took it")),
            }
        })
        .await?;
        Ok(digest.clone())
    }
}

async fn ask(
    endpoint: &Endpoint,
    method: Method,
    reference: &Reference,
    indexes: bool,
    task: &Task,
) -> Result<Response> {
    let scopes = Scopes::pull(reference.repository());
    let rest = format!("manifests/{}", reference.wanted());
    let place = Place::Repository(reference.repository(), &rest);
    let mut call = Call::new(method, place, &scopes, task);
    let images = [OCI_MANIFEST, DOCKER_MANIFEST];
    for media_type in images.iter().chain([OCI_INDEX, DOCKER_LIST].iter().filter(|_| indexes)) {
        call.headers.append(ACCEPT, HeaderValue::from_static(media_type));
    }
    endpoint.expect(&call, &[200]).await
}

async fn receive(
    endpoint: &Endpoint,
    response: Response,
    reference: &Reference,
    task: &Task,
) -> Result<Manifest> {
    let stated = header(&response, CONTENT_DIGEST).filter(|text| digest::is_sha256(text));
    let expected = reference.digest().or(stated).map(str::to_owned);
    let said = header(&response, CONTENT_TYPE).map(essence);
    let bytes = read(response, MANIFEST_LIMIT, task, endpoint).await?;
    let digest = digest::of(&bytes);
    if let Some(expected) = expected {
        same(&expected, &digest, task)?;
    }
    let media_type = media_type(said.as_deref(), &bytes, task)?;
    Ok(Manifest { bytes, media_type, digest })
}

/// The media type without its parameters.
fn essence(header: &str) -> String {
    header.split(';').next().unwrap_or(header).trim().to_ascii_lowercase()
}

fn same(expected: &str, got: &str, task: &Task) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    let (expected, got) = (expected.to_owned(), got.to_owned());
    Err(Error::Corrupt { task: Box::new(task.clone()), expected, got })
}

fn unreadable(task: &Task, error: serde_json::Error) -> Error {
    Error::Malformed {
        task: Box::new(task.clone()),
        reason: "the answer is not a manifest".to_owned(),
        source: Some(Box::new(error)),
    }
}

/// What tells the kinds of documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

/// What a document is: as it says itself, for that is under its digest; else as the registry
/// says; else by its shape. One that could be read as both an image and an index is neither.
fn media_type(said: Option<&str>, bytes: &[u8], task: &Task) -> Result<String> {
    let shape: Shape = serde_json::from_slice(bytes).map_err(|error| unreadable(task, error))?;
    if shape.fs_layers.is_some() {
        return Err(Error::malformed(task, "the image has a schema 1 manifest: push it again"));
    }
    let index = shape.manifests.is_some();
    if index == (shape.layers.is_some() || shape.config.is_some()) {
        return Err(Error::malformed(task, "the document is not plainly an image or an index"));
    }
    let kinds = if index { [OCI_INDEX, DOCKER_LIST] } else { [OCI_MANIFEST, DOCKER_MANIFEST] };
    let known = |text: &&str| kinds.contains(text);
    if let Some(own) = shape.media_type.as_deref() {
        let fits = known(&own).then(|| own.to_owned());
        return fits.ok_or_else(|| {
            Error::malformed(task, "the document is not of the media type it names")
        });
    }
    Ok(said.filter(known).unwrap_or(kinds[0]).to_owned())
}

#[cfg(test)]
mod tests;
