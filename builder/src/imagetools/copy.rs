//! Manifests, and the blobs they name, from one repository to another.

use std::collections::{HashMap, HashSet};
use std::io;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt, TryStreamExt};
use rbuild_registry::{Client, Manifest, Pushed, Reference};
use serde_json::Value;

use super::{described, fetch, listed, read};
use crate::error::{Error, Result};

/// How deep indexes in indexes are followed.
const DEEPEST: usize = 4;
/// Blobs that are copied at the same time.
const AT_ONCE: usize = 8;

/// What is to be copied, each thing once.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// Blobs by their digests: the size, and where they are.
    blobs: HashMap<String, (u64, Reference)>,
    /// Manifests, each after those that it names.
    manifests: Vec<Manifest>,
    seen: HashSet<String>,
}

impl Copies {
    /// Adds a manifest and all that it names, unless it is in the repository of `to` already.
    pub(super) fn add<'a>(
        &'a mut self,
        client: &'a Client,
        from: &'a Reference,
        to: &'a Reference,
        digest: &'a str,
        depth: usize,
    ) -> BoxFuture<'a, Result<()>> {
        async move {
            let is_there = from.registry() == to.registry() && from.repository() == to.repository();
            if is_there || !self.seen.insert(digest.to_owned()) {
                return Ok(());
            }
            let source = from.with_digest(digest);
            let source = source.map_err(Error::registry(format!("copy {digest} of `{from}`")))?;
            let manifest = fetch(client, &source).await?;
            let document = read(&source, &manifest.bytes)?;
            if manifest.is_index() {
                if depth == DEEPEST {
                    let reason = "its indexes are too deep".to_owned();
                    return Err(Error::Malformed { what: format!("`{source}`"), reason });
                }
                for part in listed(&document) {
                    let (digest, _) = described(&source, part)?;
                    self.add(client, from, to, &digest, depth + 1).await?;
                }
            } else {
                let layers = document["layers"].as_array().map_or(&[][..], Vec::as_slice);
                let blobs = [&document["config"]].into_iter().chain(layers);
                for blob in blobs.filter(|blob| !is_elsewhere(blob)) {
                    let (digest, size) = described(&source, blob)?;
                    self.blobs.entry(digest).or_insert_with(|| (size, source.clone()));
                }
            }
            self.manifests.push(manifest);
            Ok(())
        }
        .boxed()
    }

    /// Copies all of it. Within one registry blobs are taken over there; between two they pass
    /// through here, and are kept nowhere.
    pub(super) async fn copy(
        &self,
        client: &Client,
        to: &Reference,
        tell: &(dyn Fn(String) + Sync),
    ) -> Result<()> {
        let blobs = self
            .blobs
            .iter()
            .map(|(digest, (size, from))| blob(client, from, to, (digest, *size), tell));
        stream::iter(blobs).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        for Manifest { bytes, media_type, digest } in &self.manifests {
            let failed = || Error::registry(format!("copy {digest} to `{to}`"));
            let place = to.with_digest(digest).map_err(failed())?;
            let pushed = client.push_manifest(&place, media_type, bytes.clone()).await;
            pushed.map_err(failed())?;
            tell(format!("copying {digest}"));
        }
        Ok(())
    }
}

/// Whether a layer is no registry's to keep, but is fetched from an address of its own.
fn is_elsewhere(descriptor: &Value) -> bool {
    descriptor["urls"].as_array().is_some_and(|urls| !urls.is_empty())
}

async fn blob(
    client: &Client,
    from: &Reference,
    to: &Reference,
    (digest, size): (&str, u64),
    tell: &(dyn Fn(String) + Sync),
) -> Result<()> {
    let mount = (from.registry() == to.registry()).then(|| from.repository());
    let body = |start| {
        let stream = client.blob(from, digest, size, start);
        stream.map_err(io::Error::other).boxed()
    };
    let pushed = client.push_blob(to, digest, size, mount, body).await;
    let pushed = pushed.map_err(Error::registry(format!("copy {digest} to `{to}`")))?;
    if pushed != Pushed::Existed {
        tell(digest.to_owned());
    }
    Ok(())
}
