//! Where a cache is written: blob by blob, then the document that speaks of them.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use rbuild_cache::{Blob, Digest, Store};
use rbuild_registry::{Reference, in_memory};
use rbuild_solver::{Events, StepId};

use super::objects::Objects;
use super::{CachePlace, artifact, layout, outdated};
use crate::error::{Error, Result};
use crate::export::manifest::{MANIFEST, digest};
use crate::export::push;
use crate::registries::Registries;
use crate::source;
use crate::worker::fetch::{self, blocking};

/// A place outside of the image.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Registry(Reference),
    Folder { folder: PathBuf, tag: String, reset: bool },
    Objects(Objects),
}

/// What sending needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender<'a> {
    pub(super) store: &'a Store,
    pub(super) registries: &'a Registries,
    pub(super) events: &'a Events,
    pub(super) step: StepId,
}

impl Place {
    /// The place of a cache; there is none for that in an image.
    pub(super) fn of(place: &CachePlace) -> Result<Option<Self>> {
        Ok(Some(match place {
            CachePlace::Inline => return Ok(None),
            CachePlace::Registry(name) => Self::Registry(source::parse(name)?),
            CachePlace::Local { folder, tag, reset } => {
                Self::Folder { folder: folder.clone(), tag: tag.clone(), reset: *reset }
            }
            CachePlace::S3(cache) => Self::Objects(Objects::Bucket(cache.clone())),
            CachePlace::Actions(cache) => Self::Objects(Objects::Actions(cache.clone())),
        }))
    }

    /// What exporting there is called.
    pub(super) fn title(&self) -> String {
        let kind = match self {
            Self::Registry(_) => "registry",
            Self::Folder { .. } => "client directory",
            Self::Objects(Objects::Bucket(_)) => "Amazon S3",
            Self::Objects(Objects::Actions(_)) => "GitHub Actions Cache",
        };
        format!("exporting cache to {kind}")
    }

    /// The one of these names of images whose layers can be taken over there.
    pub(super) fn beside(&self, images: &[String]) -> Option<String> {
        let Self::Registry(reference) = self else { return None };
        let is_near = |name: &&String| {
            source::parse(name).is_ok_and(|image| image.registry() == reference.registry())
        };
        images.iter().find(is_near).cloned()
    }

    /// Whether it is in the same repository as one of these images.
    pub(super) fn is_one_of(&self, images: &[String]) -> bool {
        let Self::Registry(reference) = self else { return false };
        images.iter().any(|name| {
            source::parse(name).is_ok_and(|image| {
                let place = (image.registry(), image.repository());
                place == (reference.registry(), reference.repository())
            })
        })
    }

    /// How long all of it may take.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Objects(Objects::Actions(cache)) => Some(cache.timeout),
            _ => None,
        }
    }

    /// Sees to it that a blob is there, or in the store where the cache is a folder. It is fetched
    /// only if it must be.
    pub(super) async fn send(&self, sender: Sender<'_>, blob: Blob) -> Result<Blob> {
        let Sender { store, registries, events, step } = sender;
        match self {
            Self::Registry(reference) => {
                let pushed = push::blob(store, registries, reference, blob, events, step).await;
                pushed.map(|(blob, _)| blob)
            }
            Self::Folder { .. } => {
                fetch::blob(store, registries, &blob, events, Some(step)).await?;
                Ok(blob)
            }
            Self::Objects(objects) => objects.send(sender, blob).await,
        }
    }

    /// Ends the cache with its document; gives the digest of the manifest.
    pub(super) async fn end(
        self,
        sender: Sender<'_>,
        document: Vec<u8>,
        blobs: Vec<Blob>,
    ) -> Result<Digest> {
        let manifest = artifact::manifest(&document, &blobs);
        let digest = digest(&manifest);
        match self {
            Self::Registry(reference) => push_all(sender, &reference, document, manifest).await?,
            Self::Folder { folder, tag, reset } => {
                let store = sender.store.clone();
                let kept = if reset { Duration::ZERO } else { outdated::KEPT };
                blocking(move || layout::write(&store, &folder, (&tag, kept), &document, &blobs))
                    .await?;
            }
            Self::Objects(objects) => objects.end(sender, document, manifest).await?,
        }
        Ok(digest)
    }
}

/// Pushes the document and its manifest, after the layers.
async fn push_all(
    sender: Sender<'_>,
    reference: &Reference,
    document: Vec<u8>,
    manifest: Vec<u8>,
) -> Result<()> {
    let failed = || Error::registry(format!("push the cache `{reference}`"));
    let client = sender.registries.client();
    let (name, size) = (digest(&document).to_string(), document.len() as u64);
    let document = Bytes::from(document);
    client
        .push_blob(reference, &name, size, None, |from| in_memory(&document, from))
        .await
        .map_err(failed())?;
    client.push_manifest(reference, MANIFEST, manifest.into()).await.map_err(failed())?;
    Ok(())
}
