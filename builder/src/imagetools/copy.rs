//! Manifests, and the blobs they name, from one repository to another.

use std::io;

use futures::future::{BoxFuture, FutureExt, try_join_all};
use futures::stream::{StreamExt, TryStreamExt};
use rbuild_registry::{Client, Pushed, Reference};
use serde_json::Value;

use super::{described, fetch, listed, read};
use crate::error::{Error, Result};

/// How deep indexes in indexes are followed.
const DEEPEST: usize = 4;

/// Sees to it that a manifest is in the repository of `to`, with all that it names. Within one
/// registry blobs are taken over there; between two they pass through here, and are kept nowhere.
pub(super) fn manifest<'a>(
    client: &'a Client,
    from: &'a Reference,
    to: &'a Reference,
    digest: &'a str,
    depth: usize,
    tell: &'a (dyn Fn(String) + Sync),
) -> BoxFuture<'a, Result<()>> {
    async move {
        if from.registry() == to.registry() && from.repository() == to.repository() {
            return Ok(());
        }
        let failed = || Error::registry(format!("copy {digest} of `{from}` to `{to}`"));
        let source = from.with_digest(digest).map_err(failed())?;
        let document = fetch(client, &source).await?;
        let value = read(&source, &document.bytes)?;
        if document.is_index() {
            if depth == DEEPEST {
                let (what, reason) = (format!("`{source}`"), "its indexes are too deep".to_owned());
                return Err(Error::Malformed { what, reason });
            }
            let digests = listed(&value).iter().map(|part| Ok(described(&source, part)?.0));
            let digests = digests.collect::<Result<Vec<_>>>()?;
            let inner =
                digests.iter().map(|inner| manifest(client, from, to, inner, depth + 1, tell));
            try_join_all(inner).await?;
        } else {
            let layers = value["layers"].as_array().map_or(&[][..], Vec::as_slice);
            let blobs = [&value["config"]].into_iter().chain(layers);
            let blobs = blobs.filter(|blob| !is_elsewhere(blob));
            try_join_all(blobs.map(|one| blob(client, &source, to, one, tell))).await?;
        }
        let place = to.with_digest(digest).map_err(failed())?;
        client
            .push_manifest(&place, &document.media_type, document.bytes)
            .await
            .map_err(failed())?;
        tell(format!("copying {digest}"));
        Ok(())
    }
    .boxed()
}

/// Whether a layer is no registry's to keep, but is fetched from an address of its own.
fn is_elsewhere(descriptor: &Value) -> bool {
    descriptor["urls"].as_array().is_some_and(|urls| !urls.is_empty())
}

async fn blob(
    client: &Client,
    from: &Reference,
    to: &Reference,
    descriptor: &Value,
    tell: &(dyn Fn(String) + Sync),
) -> Result<()> {
    let (digest, size) = described(from, descriptor)?;
    let mount = (from.registry() == to.registry()).then(|| from.repository());
    let body = |at| {
        let stream = client.blob(from, &digest, size, at);
        stream.map_err(io::Error::other).boxed()
    };
    let pushed = client.push_blob(to, &digest, size, mount, body).await;
    let pushed = pushed.map_err(Error::registry(format!("copy {digest} to `{to}`")))?;
    if pushed != Pushed::Existed {
        tell(digest);
    }
    Ok(())
}
