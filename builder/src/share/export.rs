//! Writing caches: the layers first, the document that speaks of them last.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::join_all;
use futures::stream::{StreamExt, TryStreamExt};
use rbuild_cache::{
    Blob, Digest, Layer, Packer, Portable, PortableLayer, PortableMount, Snapshot, Store,
};
use rbuild_solver::{Events, Graph, StepId, Used, What};

use super::early::{Early, Sending};
use super::place::{Place, Sender};
use super::{CacheMode, CacheTo, mounts, within};
use crate::build::steps::begin;
use crate::error::{Error, Result, with_causes};
use crate::export::compress;
use crate::export::manifest::digest;
use crate::registries::Registries;
use crate::worker::fetch::{self, blocking};

/// How many chunks of a cache mount are sent at the same time.
const AT_ONCE: usize = 8;

/// What became of a build.
#[derive(Debug, Clone)]
pub(crate) struct Solved {
    /// The files of the images, one for each platform.
    pub(crate) snapshots: Vec<Snapshot>,
    /// What is known of its steps, where somebody wants to know.
    pub(crate) used: Vec<Used>,
    /// The layers of the images that it stands on.
    pub(crate) bases: HashSet<Layer>,
    /// Its steps.
    pub(crate) graph: Graph,
    /// What is on its way to its caches already.
    pub(crate) early: Option<Arc<Early>>,
}

impl Solved {
    /// The same of one image.
    pub(crate) fn only(&self, index: usize) -> Self {
        Self { snapshots: vec![self.snapshots[index].clone()], ..self.clone() }
    }

    /// The steps that go into a cache.
    fn shared(&self, mode: CacheMode) -> impl Iterator<Item = &Used> {
        let in_result =
            |layer: &Layer| self.snapshots.iter().any(|image| image.layers.contains(layer));
        let is_shared = move |used: &&Used| {
            let mut layers = used.outputs.iter().flat_map(|output| output.layers.iter());
            mode == CacheMode::Max || layers.all(in_result)
        };
        self.used.iter().filter(is_shared)
    }

    /// The layers of the steps that go into a cache, without those of the images beneath.
    fn layers(&self, mode: CacheMode) -> Vec<Layer> {
        let mut seen = HashSet::new();
        let outputs = self.shared(mode).flat_map(|used| used.outputs.iter());
        let layers = outputs.flat_map(|output| output.layers.iter());
        let layers = layers.filter(|layer| !self.bases.contains(layer) && seen.insert(*layer));
        layers.cloned().collect()
    }

    /// The document, with these names for the layers; the others are called by their diff ids.
    fn document(
        &self,
        store: &Store,
        mode: CacheMode,
        mut names: HashMap<Layer, PortableLayer>,
        mounts: Vec<PortableMount>,
    ) -> Result<Portable> {
        for layer in &self.bases {
            let name = PortableLayer { blob: None, created: None, ..name(store, layer, None)? };
            names.insert(layer.clone(), name);
        }
        let mut packer = Packer::default();
        for mount in mounts {
            packer.add_mount(mount);
        }
        for used in self.shared(mode) {
            packer.add(used.keys.clone(), &used.outputs, &names);
            used.parts.iter().for_each(|row| packer.add_part(*row));
        }
        Ok(packer.finish())
    }
}

/// What a layer is called in a document.
fn name(store: &Store, layer: &Layer, blob: Option<Digest>) -> Result<PortableLayer> {
    let failed = || Error::store("describe a layer of the cache");
    let created = match layer {
        Layer::Pulled { blob, .. } => blob.created,
        _ => store.record(layer).map_err(failed())?.map(|record| record.created),
    };
    Ok(PortableLayer { diff_id: store.diff_id(layer).map_err(failed())?, blob, created })
}

/// The document that an image brings along. It is the same however the image was built.
pub(crate) fn inline(store: &Store, solved: &Solved) -> Result<serde_json::Value> {
    let layers = solved.layers(CacheMode::Min);
    let names = layers.into_iter().map(|layer| Ok((layer.clone(), name(store, &layer, None)?)));
    let names = names.collect::<Result<_>>()?;
    let document = solved.document(store, CacheMode::Min, names, Vec::new())?;
    Ok(serde_json::to_value(document).expect("a document of texts and numbers is always json"))
}

/// What writing caches needs.
#[derive(Debug)]
pub(crate) struct Exports<'a> {
    pub(crate) store: &'a Store,
    pub(crate) registries: &'a Registries,
    pub(crate) events: &'a Events,
    pub(crate) solved: &'a Solved,
    /// Under which names the image was pushed.
    pub(crate) pushed: &'a [String],
}

impl Exports<'_> {
    /// Writes caches, all at once; those in images are written with the images.
    pub(crate) async fn all(&self, caches: &[CacheTo]) -> Result<()> {
        let exports = caches.iter().map(|cache| self.shown(cache));
        join_all(exports).await.into_iter().collect()
    }

    /// Writes one cache as a step that is shown.
    async fn shown(&self, cache: &CacheTo) -> Result<()> {
        let Some(place) = Place::of(&cache.place)? else { return Ok(()) };
        let begun = self.solved.early.as_ref().and_then(|early| early.take(cache));
        let (step, sent) =
            begun.unwrap_or_else(|| (begin(self.events, place.title()), HashMap::new()));
        let longest = place.timeout();
        let error = match within(longest, self.export(cache, place, step, sent)).await {
            Ok(()) => {
                self.events.emit(step, What::Finished);
                return Ok(());
            }
            Err(error) => error,
        };
        self.events.emit(step, What::Failed { error: with_causes(&error) });
        if cache.ignore_error { Ok(()) } else { Err(error) }
    }

    async fn export(
        &self,
        cache: &CacheTo,
        place: Place,
        step: StepId,
        mut early: HashMap<Layer, Sending>,
    ) -> Result<()> {
        let Self { store, registries, events, .. } = *self;
        let sender = Sender { store, registries, events, step };
        let layers = self.solved.layers(cache.mode);
        let sent = layers.iter().map(|layer| {
            let early = early.remove(layer);
            self.layer(cache, &place, sender, layer, early)
        });
        let sent: Vec<Option<Blob>> = join_all(sent).await.into_iter().collect::<Result<_>>()?;
        let (mut names, mut blobs) = (HashMap::new(), Vec::new());
        for (layer, blob) in layers.into_iter().zip(sent) {
            let Some(blob) = blob else { continue };
            names.insert(layer.clone(), name(store, &layer, Some(blob.digest))?);
            blobs.push(blob);
        }
        let mut mounts = Vec::new();
        for folder in mounts::wanted(store, &self.solved.graph, &cache.mounts) {
            let chunks = self.mount(&place, sender, &folder).await?;
            let digests = chunks.iter().map(|chunk| chunk.digest).collect();
            mounts.push(PortableMount { name: folder.name, chunks: digests });
            blobs.extend(chunks);
        }
        let document = self.solved.document(store, cache.mode, names, mounts)?;
        if document.is_empty() {
            self.tell(step, "nothing to export".to_owned());
            return Ok(());
        }
        // Two steps may have made the same files.
        let mut seen = HashSet::new();
        blobs.retain(|blob: &Blob| seen.insert(blob.digest));
        let document = document.to_json();
        self.tell(step, format!("writing config {}", digest(&document)));
        let manifest = place.end(sender, document, blobs).await?;
        self.tell(step, format!("writing cache image manifest {manifest}"));
        Ok(())
    }

    /// Sees to it that a cache mount is where the cache will be: the chunks that are not there yet.
    async fn mount(
        &self,
        place: &Place,
        sender: Sender<'_>,
        folder: &mounts::Folder,
    ) -> Result<Vec<Blob>> {
        self.tell(sender.step, format!("preparing cache mount {}", folder.id));
        let (store, folder) = (self.store.clone(), folder.clone());
        let chunks = blocking(move || mounts::chunks(&store, &folder)).await?;
        let sent = futures::stream::iter(chunks).map(|chunk| place.send(sender, chunk));
        sent.buffered(AT_ONCE).try_collect().await
    }

    /// Sees to it that a layer, which may be on its way, is where the cache will be. One that was imported, and is gone from
    /// where it was since, is left out.
    async fn layer(
        &self,
        cache: &CacheTo,
        place: &Place,
        sender: Sender<'_>,
        layer: &Layer,
        early: Option<Sending>,
    ) -> Result<Option<Blob>> {
        if let Some(early) = early
            && let Some(blob) = early.end().await
        {
            return Ok(Some(blob));
        }
        let Layer::Pulled { blob, .. } = layer else {
            let blob = compress::made(self.store, layer, cache.compression).await?;
            let blob = Blob { from: place.beside(self.pushed), ..blob };
            return place.send(sender, blob).await.map(Some);
        };
        match self.pulled(cache, place, sender, blob).await {
            Err(error) if error.is_loss() => {
                let text = format!("a layer is left out: {}", with_causes(&error));
                sender.events.emit(sender.step, What::Warning { text });
                Ok(None)
            }
            sent => sent.map(Some),
        }
    }

    /// Sends a layer that another machine has compressed.
    async fn pulled(
        &self,
        cache: &CacheTo,
        place: &Place,
        sender: Sender<'_>,
        blob: &Blob,
    ) -> Result<Blob> {
        let Sender { store, registries, events, step } = sender;
        if !cache.force_compression {
            return place.send(sender, blob.clone()).await;
        }
        fetch::blob(store, registries, blob, events, Some(step)).await?;
        place.send(sender, compress::again(store, blob, cache.compression).await?).await
    }

    fn tell(&self, step: StepId, part: String) {
        self.events.emit(step, What::Progress { part, current: 0, total: None, done: true });
    }
}
