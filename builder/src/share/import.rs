//! Reading caches: the documents alone, no layer.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;
use rbuild_cache::{Blob, Digest, Imported, Layer, PortableLayer, Store};
use rbuild_solver::{Events, What};

pub(crate) use super::artifact::Found;
use super::objects::Objects;
use super::{CacheFrom, artifact, layout, within};
use crate::build::steps::begin;
use crate::error::{Error, Result, with_causes};
use crate::platform::Platform;
use crate::registries::Registries;
use crate::source;
use crate::worker::fetch::blocking;

/// Reads caches, all at once. One that cannot be read is told, and the build goes on without.
pub(crate) async fn import(
    store: &Store,
    registries: &Registries,
    caches: &[CacheFrom],
    platform: &Platform,
    events: &Events,
) -> Vec<Found> {
    let shown = caches.iter().map(|cache| async move {
        let step = begin(events, format!("importing cache manifest from {cache}"));
        match read(store, registries, cache, platform).await {
            Ok(found) => {
                events.emit(step, What::Finished);
                Some(found)
            }
            Err(error) => {
                events.emit(step, What::Failed { error: with_causes(&error) });
                None
            }
        }
    });
    join_all(shown).await.into_iter().flatten().collect()
}

async fn read(
    store: &Store,
    registries: &Registries,
    cache: &CacheFrom,
    platform: &Platform,
) -> Result<Found> {
    match cache {
        CacheFrom::Registry(name) => registry(registries, name, platform).await,
        CacheFrom::S3(cache) => Objects::Bucket(cache.clone()).read(registries).await,
        CacheFrom::Actions(cache) => {
            let objects = Objects::Actions(cache.clone());
            within(Some(cache.timeout), objects.read(registries)).await
        }
        CacheFrom::Local { folder, tag, digest } => {
            let (store, folder) = (store.clone(), folder.clone());
            let (tag, digest, platform) = (tag.clone(), *digest, platform.clone());
            blocking(move || layout::read(&store, &folder, tag.as_deref(), digest, &platform)).await
        }
    }
}

async fn registry(registries: &Registries, name: &str, platform: &Platform) -> Result<Found> {
    let reference = source::parse(name)?;
    let (full, client) = (reference.to_string(), registries.client());
    let manifest = client.manifest_for(&reference, platform).await;
    let manifest = manifest.map_err(Error::registry(format!("find the cache `{full}`")))?;
    let what = format!("the cache `{full}`");
    let image = manifest.image().map_err(Error::malformed(&*what))?;
    let (digest, size) = (image.config().digest().to_string(), image.config().size());
    let config = client.config(&reference, &digest, size).await;
    let config = config.map_err(Error::registry(format!("read the cache `{full}`")))?;
    artifact::read(&what, &image, &config, &full)
}

/// The chunks of the cache mounts that were found, by the names of their folders; the first cache
/// that has one counts.
pub(crate) fn chunks(found: &[Found]) -> HashMap<String, Vec<Blob>> {
    let mut all = HashMap::new();
    for Found { document, blobs } in found {
        for mount in document.mounts() {
            let chunks = mount.chunks.iter().map(|chunk| blobs.get(chunk).cloned());
            if let Some(chunks) = chunks.collect() {
                all.entry(mount.name.clone()).or_insert(chunks);
            }
        }
    }
    all
}

/// What was found, ready to be asked. The layers of `bases`, the images that a build stands on, by
/// their diff ids, are those of the images.
pub(crate) fn imported(found: Vec<Found>, bases: &HashMap<Digest, Layer>) -> Vec<Arc<Imported>> {
    let ready = found.into_iter().map(|Found { document, blobs }| {
        let layer = |name: &PortableLayer| {
            bases.get(&name.diff_id).cloned().or_else(|| {
                let blob = blobs.get(&name.blob.unwrap_or(name.diff_id))?.clone();
                let blob = Blob { created: name.created, ..blob };
                Some(Layer::Pulled { diff_id: name.diff_id, blob })
            })
        };
        Arc::new(Imported::new(document, layer))
    });
    ready.collect()
}
