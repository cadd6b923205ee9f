//! Caches in stores of objects: a blob under its digest, a manifest under a name.

use std::ops::Range;

use bytes::Bytes;
use futures::stream::StreamExt;
use oci_spec::image::ImageManifest;
use rbuild_cache::{Blob, Digest};
use rbuild_registry::{Body, CONFIG_LIMIT, Client, MANIFEST_LIMIT};
use rbuild_solver::What;

use super::artifact::{self, Found};
use super::place::Sender;
use super::{ActionsCache, S3Cache};
use crate::error::{Error, Result};
use crate::export::manifest::digest;
use crate::export::push;
use crate::registries::{Registries, place_in, place_in_actions};
use crate::worker::fetch;

/// A store of objects, and where in it the cache is.
#[derive(Debug, Clone)]
pub(super) enum Objects {
    Bucket(Box<S3Cache>),
    Actions(Box<ActionsCache>),
}

/// What is put into a store of objects.
struct Object<'a> {
    key: String,
    digest: Digest,
    size: u64,
    /// Gives a part of the bytes.
    body: &'a (dyn Fn(Range<u64>) -> Body + Send + Sync),
}

impl Objects {
    /// What it is called, for people.
    fn name(&self) -> String {
        match self {
            Self::Bucket(cache) => format!("the bucket {}", cache.bucket.address),
            Self::Actions(cache) => format!("the cache service {}", cache.service.url),
        }
    }

    /// Where the blobs are that its manifests name.
    fn place(&self) -> String {
        match self {
            Self::Bucket(cache) => {
                let S3Cache { bucket, prefix, blobs_prefix, .. } = &**cache;
                place_in(bucket, &format!("{prefix}{blobs_prefix}"))
            }
            Self::Actions(cache) => place_in_actions(&cache.service),
        }
    }

    fn key(&self, blob: &Digest) -> String {
        match self {
            Self::Bucket(cache) => cache.blob(blob),
            Self::Actions(_) => ActionsCache::blob(blob),
        }
    }

    /// Reads the cache.
    pub(super) async fn read(&self, registries: &Registries) -> Result<Found> {
        let (client, what) = (registries.client(), format!("the cache in {}", self.name()));
        let Some(manifest) = self.manifest(client, &what).await? else {
            let names = match self {
                Self::Bucket(cache) => cache.names.join("` or `"),
                Self::Actions(cache) => cache.scope.clone(),
            };
            return Err(Error::Malformed { what, reason: format!("it has no `{names}`") });
        };
        let manifest: ImageManifest =
            serde_json::from_slice(&manifest).map_err(Error::malformed(&*what))?;
        let config = crate::layout::parse(manifest.config().digest().as_ref())?;
        let key = self.key(&config);
        let document = match self {
            Self::Bucket(cache) => client.object(&cache.bucket, &key, CONFIG_LIMIT).await,
            Self::Actions(cache) => client.entry(&cache.service, &key, CONFIG_LIMIT).await,
        };
        let document = document.map_err(Error::registry(format!("read {what}")))?;
        let document = document.unwrap_or_default();
        if digest(&document) != config {
            return Err(Error::wrong_digest(what, &config));
        }
        artifact::read(&what, &manifest, &document, &self.place())
    }

    /// The manifest, if there is one.
    async fn manifest(&self, client: &Client, what: &str) -> Result<Option<Bytes>> {
        let failed = || Error::registry(format!("read {what}"));
        match self {
            Self::Bucket(cache) => {
                for name in &cache.names {
                    let key = cache.manifest(name);
                    let found = client.object(&cache.bucket, &key, MANIFEST_LIMIT).await;
                    if let Some(found) = found.map_err(failed())? {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
            Self::Actions(cache) => {
                let prefix = cache.manifests();
                client.entry(&cache.service, &prefix, MANIFEST_LIMIT).await.map_err(failed())
            }
        }
    }

    /// Puts a blob into the store unless it is there.
    pub(super) async fn send(&self, sender: Sender<'_>, blob: Blob) -> Result<Blob> {
        let Sender { store, registries, events, step } = sender;
        let (client, key) = (registries.client(), self.key(&blob.digest));
        let there = match self {
            Self::Bucket(cache) => client.has_object(&cache.bucket, &key).await,
            Self::Actions(cache) => client.has_entry(&cache.service, &key).await,
        };
        if there.map_err(Error::registry(format!("put `{key}` into {}", self.name())))? {
            return Ok(blob);
        }
        fetch::blob(store, registries, &blob, events, Some(step)).await?;
        let part = blob.digest.to_string();
        let tell = |current, done| {
            let (part, total) = (part.clone(), Some(blob.size));
            events.emit(step, What::Progress { part, current, total, done });
        };
        tell(0, false);
        let body = |part| push::file_part(store.clone(), blob.digest, part);
        let (digest, size) = (blob.digest, blob.size);
        self.put(client, Object { key, digest, size, body: &body }).await?;
        tell(blob.size, true);
        Ok(blob)
    }

    /// Ends the cache with its document.
    pub(super) async fn end(
        &self,
        sender: Sender<'_>,
        document: Vec<u8>,
        manifest: Vec<u8>,
    ) -> Result<()> {
        let keys = match self {
            Self::Bucket(cache) => cache.names.iter().map(|name| cache.manifest(name)).collect(),
            Self::Actions(cache) => vec![cache.new_manifest(&digest(&manifest))],
        };
        let mut objects = vec![(self.key(&digest(&document)), Bytes::from(document))];
        let manifest = Bytes::from(manifest);
        objects.extend(keys.into_iter().map(|key| (key, manifest.clone())));
        for (key, bytes) in objects {
            let (digest, size) = (digest(&bytes), bytes.len() as u64);
            let body = |part: Range<u64>| in_memory(part_of(&bytes, &part));
            let object = Object { key, digest, size, body: &body };
            self.put(sender.registries.client(), object).await?;
        }
        Ok(())
    }

    async fn put(&self, client: &Client, object: Object<'_>) -> Result<()> {
        let Object { key, digest, size, body } = object;
        let put = match self {
            Self::Bucket(cache) => {
                let whole = || body(0..size);
                client.put_object(&cache.bucket, &key, &digest.to_string(), size, whole).await
            }
            // One that is there is the same: its key says so.
            Self::Actions(cache) => client.put_entry(&cache.service, &key, size, body).await,
        };
        put.map_err(Error::registry(format!("put `{key}` into {}", self.name())))
    }
}

fn part_of(bytes: &Bytes, part: &Range<u64>) -> Bytes {
    let at = |byte: u64| usize::try_from(byte).map_or(bytes.len(), |byte| byte.min(bytes.len()));
    bytes.slice(at(part.start)..at(part.end))
}

/// Bytes as what is sent.
pub(super) fn in_memory(bytes: Bytes) -> Body {
    futures::stream::once(async move { Ok(bytes) }).boxed()
}
