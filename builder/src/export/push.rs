//! Pushing an image: its layers at the same time, then its documents, each after what it names.

use std::collections::HashSet;
use std::io::{self, Read};
use std::ops::Range;

use bytes::Bytes;
use futures::future::try_join_all;
use futures::stream::{StreamExt, TryStreamExt, try_unfold};
use rbuild_cache::{Blob, Digest, Part, Store};
use rbuild_registry::{Pushed, Reference, in_memory};
use rbuild_solver::{Events, StepId, What};

use super::content::{Content, Document, Packed};
use super::{Exported, Exporter, Finished, Packing, packed};
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

/// Where a build is pushed to.
#[derive(Debug, Clone, Copy)]
pub(super) struct To<'a> {
    pub(super) names: &'a [String],
    /// Whether the tags are left alone.
    pub(super) by_digest: bool,
}

/// Pushes a finished build under all of its names.
pub(super) async fn export(
    exporter: &Exporter,
    images: &[Finished],
    to: To<'_>,
    packing: &Packing,
) -> Result<Exported> {
    let mut exported = None;
    for name in to.names {
        let reference = source::parse(name)?;
        let (content, _) = layers(exporter, &reference, images, to.names, packing).await?;
        documents(exporter, &reference, &content, to.by_digest).await?;
        exported = Some(Exported::of(&content));
    }
    exported.ok_or_else(|| {
        let message = "a name is needed to push the image: give one with `-t`";
        Error::Usage(message.to_owned())
    })
}

/// Pushes an image of all of its platforms under one name.
pub(crate) async fn push(
    exporter: &Exporter,
    reference: &Reference,
    images: &[Finished],
    packing: &Packing,
) -> Result<PushedImage> {
    let names = [reference.to_string()];
    let (content, layers) = layers(exporter, reference, images, &names, packing).await?;
    documents(exporter, reference, &content, false).await?;
    Ok(PushedImage { digest: content.root.digest, size: content.root.size, layers })
}

/// Pushes the layers, all at the same time and each once though several platforms may have it, from
/// which follows what the image is.
async fn layers(
    exporter: &Exporter,
    reference: &Reference,
    images: &[Finished],
    names: &[String],
    packing: &Packing,
) -> Result<(Content, Vec<PushedLayer>)> {
    let packed = images.iter().map(|image| packed(exporter, image, packing, Some(reference)));
    let packed: Vec<Packed> = try_join_all(packed).await?;
    let mut seen = HashSet::new();
    let sent: HashSet<Digest> = packed.iter().flat_map(|image| image.sent.clone()).collect();
    let layers = packed.iter().flat_map(|image| &image.layers);
    let layers = layers.filter(|blob| seen.insert(blob.digest)).cloned();
    let Exporter { store, registries, events, step } = exporter;
    let push = |it: Blob| {
        let is_sent = sent.contains(&it.digest);
        async move {
            if is_sent {
                return Ok((it, Pushed::Sent));
            }
            self::blob(store, registries, reference, it, events, *step).await
        }
    };
    let pushed = try_join_all(layers.map(push)).await?;
    let layer =
        |(blob, how): (Blob, Pushed)| PushedLayer { digest: blob.digest, size: blob.size, how };
    let pushed = pushed.into_iter().map(layer).collect();
    Ok((Content::new(packed, names, packing.form())?, pushed))
}

/// Pushes the documents of an image, each after those that it names; the last gets the tag, unless
/// it is to be found by its digest.
async fn documents(
    exporter: &Exporter,
    reference: &Reference,
    content: &Content,
    by_digest: bool,
) -> Result<()> {
    let Exporter { store, registries, .. } = exporter;
    let client = registries.client();
    let failed = || Error::registry(format!("push `{reference}`"));
    for Document { descriptor, bytes } in &content.documents {
        let (digest, size) = (descriptor.digest.to_string(), descriptor.size);
        let bytes = Bytes::copy_from_slice(bytes);
        if !descriptor.is_manifest() {
            let body = |from| in_memory(&bytes, from);
            client.push_blob(reference, &digest, size, None, body).await.map_err(failed())?;
            continue;
        }
        store.write_blob(&bytes).map_err(Error::store("keep the manifest"))?;
        let tagged = descriptor.digest == content.root.digest && !by_digest;
        let place = if tagged {
            reference.clone()
        } else {
            reference.with_digest(&digest).map_err(failed())?
        };
        client.push_manifest(&place, &descriptor.media_type, bytes).await.map_err(failed())?;
    }
    Ok(())
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
    let origin = origin.or_else(|| lender(store, reference, &digest));
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
    let body = |from| content(store, registries, &blob, from, events, step);
    let how = client.push_blob(reference, &digest, blob.size, from, body).await.map_err(failed())?;
    tell(blob.size, true);
    note_lender(store, reference, &digest);
    Ok((blob, how))
}

/// A repository of the same registry that has a blob, as far as is remembered.
fn lender(store: &Store, reference: &Reference, digest: &str) -> Option<Reference> {
    let parts = store.last(&lender_place(reference, digest)).ok()??;
    let name = &parts.first()?.value;
    source::parse(&format!("{}/{name}", reference.registry())).ok()
}

/// Remembers that a repository has a blob, which another one can take over from it.
pub(super) fn note_lender(store: &Store, reference: &Reference, digest: &str) {
    let (name, value) = ("repository".to_owned(), reference.repository().to_owned());
    let place = lender_place(reference, digest);
    if let Err(error) = store.remember_last(&place, &[Part { name, value }]) {
        tracing::debug!(%error, "the blob is sent again to other repositories");
    }
}

fn lender_place(reference: &Reference, digest: &str) -> String {
    format!("{digest} at {}", reference.registry())
}

/// The bytes of a blob, which is fetched only when they are asked for.
fn content(
    store: &Store,
    registries: &Registries,
    blob: &Blob,
    from: u64,
    events: &Events,
    step: StepId,
) -> rbuild_registry::Body {
    let (store, registries, blob) = (store.clone(), registries.clone(), blob.clone());
    let events = events.clone();
    let stream = async move {
        let fetched = fetch::blob(&store, &registries, &blob, &events, Some(step)).await;
        fetched.map_err(io::Error::other)?;
        Ok::<_, io::Error>(file_part(store, blob.digest, from..blob.size))
    };
    futures::stream::once(stream).try_flatten().boxed()
}

/// A part of a blob of the store, read as it is sent.
pub(crate) fn file_part(store: Store, digest: Digest, part: Range<u64>) -> rbuild_registry::Body {
    let length = part.end.saturating_sub(part.start);
    let open = move || -> io::Result<Box<dyn Read + Send>> {
        if part.start == 0 {
            return Ok(Box::new(store.open_blob(&digest).map_err(io::Error::other)?));
        }
        let file = store.open_blob_at(&digest, part.start).map_err(io::Error::other)?;
        Ok(Box::new(file))
    };
    try_unfold((Err(open), length), |(reader, left)| async move {
        let read = move || {
            let mut reader = reader.or_else(|open| open())?;
            // At the end once more, since only there a blob turns out to be damaged.
            let wanted = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
            let mut bytes = vec![0; wanted.max(1)];
            let length = reader.read(&mut bytes)?;
            bytes.truncate(length.min(wanted));
            Ok::<_, io::Error>((reader, bytes))
        };
        let (reader, bytes) =
            tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
        let left = left.saturating_sub(bytes.len() as u64);
        Ok((!bytes.is_empty()).then(|| (Bytes::from(bytes), (Ok(reader), left))))
    })
    .boxed()
}
