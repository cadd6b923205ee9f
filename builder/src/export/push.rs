//! Pushing an image: its layers at the same time, then its config, then its manifest.

use std::io;

use bytes::Bytes;
use futures::future::try_join_all;
use futures::stream::{StreamExt, TryStreamExt, try_unfold};
use rbuild_cache::{Blob, Digest, Layer, Store};
use rbuild_registry::{Pushed, Reference};
use rbuild_solver::{Events, StepId, What};

use super::{Exporter, Finished, compress, manifest};
use crate::error::{Error, Result};
use crate::registries::Registries;
use crate::source;
use crate::worker::fetch;

/// Bytes of a blob that are read and sent at once.
const CHUNK: usize = 256 << 10;

/// How a layer came to be in the registry.
#[derive(Debug, Clone)]
pub struct PushedLayer {
    /// The digest of its compressed bytes.
    pub digest: Digest,
    /// The number of its compressed bytes.
    pub size: u64,
    /// Whether it was sent, was there, or was taken over from another repository.
    pub how: Pushed,
}

/// What a push did.
#[derive(Debug, Clone)]
pub struct PushedImage {
    /// The digest of the manifest.
    pub digest: Digest,
    /// The size of the manifest in bytes.
    pub size: u64,
    /// The layers, lowest first.
    pub layers: Vec<PushedLayer>,
}

/// Pushes a finished build under all of its names.
pub(super) async fn export(exporter: &Exporter, image: &Finished) -> Result<Digest> {
    let Exporter { store, registries, events, step } = exporter;
    if image.names.is_empty() {
        let message = "a name is needed to push the image: give one with `-t`";
        return Err(Error::Usage(message.to_owned()));
    }
    let mut digest = image.id;
    for name in &image.names {
        let reference = source::parse(name)?;
        let layers = &image.snapshot.layers;
        let pushed =
            push(store, registries, &reference, &image.config_bytes, layers, events, *step).await?;
        digest = pushed.digest;
    }
    Ok(digest)
}

/// Pushes one image under one name.
pub(crate) async fn push(
    store: &Store,
    registries: &Registries,
    reference: &Reference,
    config: &[u8],
    layers: &[Layer],
    events: &Events,
    step: StepId,
) -> Result<PushedImage> {
    let push = |it| layer(store, registries, reference, it, events, step);
    let pushed = try_join_all(layers.iter().map(push)).await?;
    let client = registries.client();
    let failed = || Error::registry(format!("push `{reference}`"));
    let config_bytes = Bytes::copy_from_slice(config);
    let config_digest = manifest::digest(config);
    client
        .push_blob(reference, &config_digest.to_string(), config.len() as u64, None, || {
            let bytes = config_bytes.clone();
            futures::stream::once(async move { Ok(bytes) }).boxed()
        })
        .await
        .map_err(failed())?;
    let blobs: Vec<Blob> = pushed.iter().map(|(blob, _)| blob.clone()).collect();
    let bytes = manifest::manifest(config, &blobs);
    let (digest, size) = (manifest::digest(&bytes), bytes.len() as u64);
    store.write_blob(&bytes).map_err(Error::store("keep the manifest"))?;
    client.push_manifest(reference, manifest::MANIFEST, bytes.into()).await.map_err(failed())?;
    let layers = pushed
        .into_iter()
        .map(|(blob, how)| PushedLayer { digest: blob.digest, size: blob.size, how })
        .collect();
    Ok(PushedImage { digest, size, layers })
}

/// Pushes one layer. One that came from the same registry is taken over there, and fetched only
/// where that cannot be.
pub(crate) async fn layer(
    store: &Store,
    registries: &Registries,
    reference: &Reference,
    layer: &Layer,
    events: &Events,
    step: StepId,
) -> Result<(Blob, Pushed)> {
    let known = match layer {
        Layer::Pulled { blob, .. } => Some(blob.clone()),
        _ => None,
    };
    let blob = match known {
        Some(blob) => blob,
        None => compress::blob(store, registries, layer, events, Some(step)).await?,
    };
    self::blob(store, registries, reference, blob, events, step).await
}

/// Pushes the compressed bytes of a layer, or another blob.
pub(crate) async fn blob(
    store: &Store,
    registries: &Registries,
    reference: &Reference,
    blob: Blob,
    events: &Events,
    step: StepId,
) -> Result<(Blob, Pushed)> {
    let client = registries.client();
    let digest = blob.digest.to_string();
    let failed = || Error::registry(format!("push the layer {digest} to `{reference}`"));
    let origin = blob.from.as_deref().and_then(|from| source::parse(from).ok());
    let origin = origin.filter(|origin| origin.registry() == reference.registry());
    let here = store.has_blob(&blob.digest);
    if !here && origin.is_none() && !client.has_blob(reference, &digest).await.map_err(failed())? {
        fetch::blob(store, registries, &blob, events, Some(step)).await?;
    }
    let from = origin.as_ref().map(Reference::repository);
    let tell = |current, done| {
        let total = Some(blob.size);
        events.emit(step, What::Progress { part: digest.clone(), current, total, done });
    };
    tell(0, false);
    let body = || content(store, registries, &blob, events, step);
    let how = client.push_blob(reference, &digest, blob.size, from, body).await.map_err(failed())?;
    tell(blob.size, true);
    Ok((blob, how))
}

/// The bytes of a blob, which is fetched only when they are asked for.
fn content(
    store: &Store,
    registries: &Registries,
    blob: &Blob,
    events: &Events,
    step: StepId,
) -> rbuild_registry::Body {
    let (store, registries, blob) = (store.clone(), registries.clone(), blob.clone());
    let events = events.clone();
    let stream = async move {
        let fetched = fetch::blob(&store, &registries, &blob, &events, Some(step)).await;
        fetched.map_err(io::Error::other)?;
        Ok::<_, io::Error>(file_stream(store, blob.digest))
    };
    futures::stream::once(stream).try_flatten().boxed()
}

/// The bytes of a blob of the store, read as they are sent.
pub(crate) fn file_stream(store: Store, digest: Digest) -> rbuild_registry::Body {
    let start = (store, digest, 0_u64);
    try_unfold(start, |(store, digest, offset)| async move {
        let read = move || -> io::Result<(Store, Vec<u8>)> {
            use std::os::unix::fs::FileExt;
            let file = store.open_blob(&digest).map_err(io::Error::other)?;
            let mut bytes = vec![0; CHUNK];
            let length = file.read_at(&mut bytes, offset)?;
            bytes.truncate(length);
            Ok((store, bytes))
        };
        let (store, bytes) =
            tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
        if bytes.is_empty() {
            return Ok(None);
        }
        let next = offset + bytes.len() as u64;
        Ok(Some((Bytes::from(bytes), (store, digest, next))))
    })
    .boxed()
}
