//! Getting the layers of images here: downloaded, verified and unpacked, all at the same time.

use std::io::{BufReader, Cursor, Read, Write};

use futures::future::try_join_all;
use futures::stream::StreamExt;
use rbuild_cache::{Blob, Digest, Layer, Lock, Partial, Store};
use rbuild_registry::{BlobStream, Client, FilePart, FileRequest};
use rbuild_solver::{Events, StepId, What};

use crate::error::{Error, Result};
use crate::layout;
use crate::registries::Registries;
use crate::share::ActionsCache;
use crate::source;

/// Bytes after which a download says how far it is.
const PROGRESS_STEP: u64 = 1 << 20;

/// Who is told about a download.
#[derive(Debug, Clone, Copy)]
struct Listener<'a> {
    events: &'a Events,
    step: Option<StepId>,
}

impl Listener<'_> {
    fn progress(&self, blob: &Blob, current: u64, done: bool) {
        if let Some(step) = self.step {
            let part = blob.digest.to_string();
            let total = Some(blob.size);
            self.events.emit(step, What::Progress { part, current, total, done });
        }
    }
}

/// Unpacks every layer that is not here yet, after fetching it where it must be.
pub(crate) async fn layers(
    store: &Store,
    registries: &Registries,
    layers: &[Layer],
    events: &Events,
    step: Option<StepId>,
) -> Result<()> {
    let listener = Listener { events, step };
    let fetch = |layer| unpacked(store, registries, layer, listener);
    try_join_all(layers.iter().map(fetch)).await?;
    Ok(())
}

async fn unpacked(
    store: &Store,
    registries: &Registries,
    layer: &Layer,
    listener: Listener<'_>,
) -> Result<()> {
    let Layer::Pulled { diff_id, blob } = layer else {
        return Ok(());
    };
    let _alone = lock(store, format!("layer {diff_id}")).await?;
    if store.layer_path(layer).is_some() {
        return Ok(());
    }
    let _slot = registries.unpacking().await;
    let got = get(store, registries, blob, Some(*diff_id), listener).await;
    match got {
        // It is set aside by now, and can be fetched once more.
        Err(error) if blob.from.is_some() && error.damaged_blob() == Some(&blob.digest) => {
            tracing::warn!(%error, "a blob is fetched again");
            get(store, registries, blob, Some(*diff_id), listener).await
        }
        got => got,
    }
}

/// Sees to it that the compressed bytes of a layer are in the store.
pub(crate) async fn blob(
    store: &Store,
    registries: &Registries,
    blob: &Blob,
    events: &Events,
    step: Option<StepId>,
) -> Result<()> {
    get(store, registries, blob, None, Listener { events, step }).await
}

/// Sees to it that a blob is here, and unpacked where it is to be. What comes from a registry is
/// unpacked while it comes.
async fn get(
    store: &Store,
    registries: &Registries,
    blob: &Blob,
    diff_id: Option<Digest>,
    listener: Listener<'_>,
) -> Result<()> {
    let _alone = lock(store, format!("blob {}", blob.digest)).await?;
    if !store.has_blob(&blob.digest) {
        let Some(from) = &blob.from else {
            return Err(Error::Malformed {
                what: format!("the layer {}", blob.digest),
                reason: "it is not in the store, and no registry is known to have it".to_owned(),
            });
        };
        let client = registries.client();
        if let Some(folder) = from.strip_prefix(layout::SCHEME) {
            let (store, folder, blob) = (store.clone(), folder.to_owned(), blob.clone());
            blocking(move || layout::keep_blob(&store, &folder, &blob)).await?;
        } else if let Some(urls) = from.strip_prefix(source::URLS) {
            from_urls(store, client, urls, blob).await?;
        } else if let Some(stream) = entire(registries, from, blob) {
            whole(store, stream, blob, listener).await?;
        } else {
            return by_parts(store, client, from, blob, diff_id, listener).await;
        }
    }
    let Some(diff_id) = diff_id else { return Ok(()) };
    let (store, blob) = (store.clone(), blob.clone());
    blocking(move || {
        let file = store.open_blob(&blob.digest).map_err(Error::store(unpacking(&blob)))?;
        unpack(&store, diff_id, &blob, file).map_err(|error| {
            // What is wrong with its contents may come of a blob that is damaged.
            store
                .check_blob(&blob.digest)
                .map_err(Error::store(unpacking(&blob)))
                .err()
                .unwrap_or(error)
        })
    })
    .await
}

/// The bytes of a blob that is in an object store or a service's cache.
fn entire(registries: &Registries, from: &str, blob: &Blob) -> Option<BlobStream> {
    let (client, digest) = (registries.client(), blob.digest.to_string());
    if let Some((bucket, prefix)) = registries.in_bucket(from) {
        let key = format!("{prefix}{digest}");
        return Some(client.object_blob(&bucket, &key, &digest, blob.size));
    }
    let service = registries.in_actions(from)?;
    Some(client.entry_blob(&service, &ActionsCache::blob(&blob.digest), &digest, blob.size))
}

fn fetching(blob: &Blob) -> String {
    format!("fetch the layer {}", blob.digest)
}

fn unpacking(blob: &Blob) -> String {
    format!("unpack the layer {}", blob.digest)
}

/// Fetches a blob from a registry, by parts that stay where they are when it ends early. One that
/// was damaged on its way is fetched once more.
async fn by_parts(
    store: &Store,
    client: &Client,
    from: &str,
    blob: &Blob,
    diff_id: Option<Digest>,
    listener: Listener<'_>,
) -> Result<()> {
    match parts(store, client, from, blob, diff_id, listener).await {
        Err(Error::Store { source, .. }) if is_damaged(&source) => {
            tracing::debug!(digest = %blob.digest, "the blob was damaged on its way");
            parts(store, client, from, blob, diff_id, listener).await
        }
        done => done,
    }
}

fn is_damaged(error: &rbuild_cache::Error) -> bool {
    matches!(error, rbuild_cache::Error::WrongDigest { .. })
}

async fn parts(
    store: &Store,
    client: &Client,
    from: &str,
    blob: &Blob,
    diff_id: Option<Digest>,
    listener: Listener<'_>,
) -> Result<()> {
    let opened = store.clone();
    let (digest, size) = (blob.digest, blob.size);
    let open = move || opened.partial(digest, size).map_err(Error::store("keep parts of a layer"));
    let partial = blocking(open).await?;
    let unpacked = diff_id.map(|diff_id| {
        let (store, blob, reader) = (store.clone(), blob.clone(), partial.reader());
        tokio::task::spawn_blocking(move || unpack(&store, diff_id, &blob, reader))
    });
    let came = receive(&partial, client, from, blob, listener).await;
    if let Err(error) = came {
        drop(partial);
        // It ends with an error of its own, since nothing more comes.
        if let Some(unpacked) = unpacked {
            drop(unpacked.await);
        }
        return Err(error);
    }
    let unpacked = match unpacked {
        Some(unpacked) => joined(unpacked.await),
        None => Ok(()),
    };
    let what = format!("{} from `{from}`", fetching(blob));
    blocking(move || partial.finish().map_err(Error::store(what))).await?;
    listener.progress(blob, blob.size, true);
    unpacked
}

/// Writes what comes of a blob to its place.
async fn receive(
    partial: &Partial,
    client: &Client,
    from: &str,
    blob: &Blob,
    listener: Listener<'_>,
) -> Result<()> {
    let reference = source::parse(from)?;
    let digest = blob.digest.to_string();
    let mut stream = client.blob_parts(&reference, &digest, blob.size, partial.missing());
    let mut told = partial.bytes();
    listener.progress(blob, told, false);
    while let Some(part) = stream.next().await {
        let (at, bytes) = part.map_err(Error::registry(fetching(blob)))?;
        partial.write_at(at, &bytes).map_err(Error::store(fetching(blob)))?;
        let current = partial.bytes();
        if current - told >= PROGRESS_STEP {
            told = current;
            listener.progress(blob, current, false);
        }
    }
    Ok(())
}

/// Fetches a blob whose stream is verified while it passes.
async fn whole(
    store: &Store,
    mut stream: BlobStream,
    blob: &Blob,
    listener: Listener<'_>,
) -> Result<()> {
    let mut writer =
        store.blob_writer(Some((blob.digest, blob.size))).map_err(Error::store(fetching(blob)))?;
    let (mut current, mut told) = (0, 0);
    listener.progress(blob, 0, false);
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(Error::registry(fetching(blob)))?;
        writer
            .write_all(&bytes)
            .map_err(|source| Error::Write { path: store.root().to_owned(), source })?;
        current += bytes.len() as u64;
        if current - told >= PROGRESS_STEP {
            told = current;
            listener.progress(blob, current, false);
        }
    }
    let what = fetching(blob);
    blocking(move || writer.finish().map(drop).map_err(Error::store(what))).await?;
    listener.progress(blob, current, true);
    Ok(())
}

/// Fetches a layer that registries may not have, from the first of its own URLs that gives it.
async fn from_urls(store: &Store, client: &Client, urls: &str, blob: &Blob) -> Result<()> {
    let mut last = None;
    for url in urls.split(' ') {
        match from_url(store, client, url, blob).await {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("a text has at least one word"))
}

async fn from_url(store: &Store, client: &Client, url: &str, blob: &Blob) -> Result<()> {
    let begin = || store.blob_writer(Some((blob.digest, blob.size))).map_err(std::io::Error::other);
    let mut writer = None;
    let request = FileRequest { url: url.to_owned(), ..FileRequest::default() };
    let sink = |part: FilePart<'_>| match (part, &mut writer) {
        (FilePart::Bytes(bytes), Some(writer)) => Write::write_all(writer, bytes),
        // Broken off, it begins again.
        _ => begin().map(|new| writer = Some(new)),
    };
    client.file(&request, sink).await.map_err(Error::registry(fetching(blob)))?;
    let what = fetching(blob);
    let Some(writer) = writer else {
        let reason = "the server says that it has not changed, and it was never here".to_owned();
        return Err(Error::Malformed { what, reason });
    };
    blocking(move || writer.finish().map(drop).map_err(Error::store(what))).await
}

fn unpack(
    store: &Store,
    diff_id: Digest,
    blob: &Blob,
    bytes: impl Read + Send + 'static,
) -> Result<()> {
    let tar = plain(bytes, &blob.media_type)
        .map_err(|source| Error::Write { path: store.root().to_owned(), source })?;
    store.unpack(diff_id, tar).map(drop).map_err(Error::store(unpacking(blob)))
}

/// The uncompressed bytes of a layer, by what its first bytes say; the media type is not trusted.
pub(crate) fn plain(
    mut bytes: impl Read + Send + 'static,
    media_type: &str,
) -> std::io::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::new();
    bytes.by_ref().take(4).read_to_end(&mut magic)?;
    let kind = magic.clone();
    let reader = BufReader::with_capacity(256 << 10, Cursor::new(magic).chain(bytes));
    Ok(match &kind[..] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
        _ => {
            tracing::debug!(media_type, "the layer is not compressed");
            Box::new(reader)
        }
    })
}

/// Waits, on a thread of its own, until no other task or process works on the same thing.
pub(crate) async fn lock(store: &Store, name: String) -> Result<Lock> {
    let store = store.clone();
    blocking(move || {
        store.lock_wait(&name, |_| {}).map_err(Error::store(format!("wait for the {name}")))
    })
    .await
}

/// Runs work that waits for files on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    joined(tokio::task::spawn_blocking(work).await)
}

/// The result of work on another thread; a panic goes on here.
fn joined<T>(done: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    match done {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
