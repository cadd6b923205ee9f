//! Getting the layers of images here: downloaded, verified and unpacked, all at the same time.

use std::fs::File;
use std::io::{BufReader, Read, Write};

use futures::future::try_join_all;
use futures::stream::StreamExt;
use rbuild_cache::{Blob, Digest, Layer, Lock, Store};
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
    download(store, registries, blob, listener).await?;
    let (store, diff_id, blob) = (store.clone(), *diff_id, blob.clone());
    blocking(move || unpack(&store, diff_id, &blob)).await
}

/// Sees to it that the compressed bytes of a layer are in the store.
pub(crate) async fn blob(
    store: &Store,
    registries: &Registries,
    blob: &Blob,
    events: &Events,
    step: Option<StepId>,
) -> Result<()> {
    let _alone = lock(store, format!("blob {}", blob.digest)).await?;
    download(store, registries, blob, Listener { events, step }).await
}

async fn download(
    store: &Store,
    registries: &Registries,
    blob: &Blob,
    listener: Listener<'_>,
) -> Result<()> {
    if store.has_blob(&blob.digest) {
        return Ok(());
    }
    let doing = || format!("fetch the layer {}", blob.digest);
    let Some(from) = &blob.from else {
        return Err(Error::Malformed {
            what: format!("the layer {}", blob.digest),
            reason: "it is not in the store, and no registry is known to have it".to_owned(),
        });
    };
    if let Some(folder) = from.strip_prefix(layout::SCHEME) {
        let (store, folder, blob) = (store.clone(), folder.to_owned(), blob.clone());
        return blocking(move || layout::keep_blob(&store, &folder, &blob)).await;
    }
    let (client, digest) = (registries.client(), blob.digest.to_string());
    let (bucket, service) = (registries.in_bucket(from), registries.in_actions(from));
    let mut stream = match (bucket, service) {
        (Some((bucket, prefix)), _) => {
            client.object_blob(&bucket, &format!("{prefix}{digest}"), &digest, blob.size)
        }
        (_, Some(service)) => {
            client.entry_blob(&service, &ActionsCache::blob(&blob.digest), &digest, blob.size)
        }
        (None, None) => client.blob(&source::parse(from)?, &digest, blob.size, 0),
    };
    let mut writer =
        store.blob_writer(Some((blob.digest, blob.size))).map_err(Error::store(doing()))?;
    let (mut current, mut told) = (0, 0);
    listener.progress(blob, 0, false);
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(Error::registry(doing()))?;
        writer
            .write_all(&bytes)
            .map_err(|source| Error::Write { path: store.root().to_owned(), source })?;
        current += bytes.len() as u64;
        if current - told >= PROGRESS_STEP {
            told = current;
            listener.progress(blob, current, false);
        }
    }
    let what = doing();
    blocking(move || writer.finish().map(drop).map_err(Error::store(what))).await?;
    listener.progress(blob, current, true);
    Ok(())
}

fn unpack(store: &Store, diff_id: Digest, blob: &Blob) -> Result<()> {
    let doing = || format!("unpack the layer {}", blob.digest);
    let file = store.open_blob(&blob.digest).map_err(Error::store(doing()))?;
    let tar = plain(file, &blob.media_type)
        .map_err(|source| Error::Write { path: store.root().to_owned(), source })?;
    store.unpack(diff_id, tar).map(drop).map_err(Error::store(doing()))
}

/// The uncompressed bytes of a layer, by what its first bytes say; the media type is not trusted.
pub(crate) fn plain(file: File, media_type: &str) -> std::io::Result<Box<dyn Read + Send>> {
    use std::os::unix::fs::FileExt;
    let mut magic = [0; 4];
    let known = file.read_at(&mut magic, 0)?;
    let reader = BufReader::with_capacity(256 << 10, file);
    Ok(match &magic[..known] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
        _ => {
            tracing::debug!(media_type, "the layer is not compressed");
            Box::new(reader)
        }
    })
}

/// Waits, on a thread of its own, until no other task or process works on the same thing.
async fn lock(store: &Store, name: String) -> Result<Lock> {
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
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
