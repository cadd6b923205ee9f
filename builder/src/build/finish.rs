//! The end of a build: configs with the digests of the layers, outputs, caches.

use jiff::Timestamp;
use rbuild_cache::{Digest, Layer, Snapshot, Store};
use rbuild_solver::What;

use super::Built;
use super::attest::{Lineage, Story};
use super::run::Run;
use super::steps::begin;
use crate::error::{Error, Result};
use crate::export::{self, Exporter, Finished, Output, OutputKind};
use crate::lower::Target;
use crate::platform;
use crate::share::{CachePlace, Exports, Solved, inline};

/// The argument that makes an index of one platform too, as docker's builder does.
const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

impl Run {
    /// Makes the images of what was solved, and sends them where they are wanted.
    pub(super) async fn export(
        self,
        targets: Vec<Target>,
        solved: Solved,
        story: &Story,
    ) -> Result<Built> {
        let step = begin(&self.events, "exporting to image".to_owned());
        let exports = self.exports();
        let inlines = exports.iter().any(|cache| cache.place == CachePlace::Inline);
        let roots: Vec<_> = targets.iter().map(|target| target.root).collect();
        let mut images = Vec::with_capacity(targets.len());
        for (index, target) in targets.into_iter().enumerate() {
            let cache = inlines.then(|| inline(&self.store, &solved.only(index))).transpose()?;
            let image = self.image(target, &solved.snapshots[index], cache).await?;
            let is_base = |layer: &&Layer| solved.bases.contains(*layer);
            let base = image.layers.iter().take_while(is_base).count();
            images.push(Finished { base, ..image });
        }
        let part = "exporting layers".to_owned();
        self.events.emit(step, What::Progress { part, current: 0, total: None, done: true });
        let mut outputs = match self.build.outputs.as_slice() {
            [] => vec![OutputKind::Store.into()],
            outputs => outputs.to_vec(),
        };
        let wants_index = self.build.is_on(MULTI_PLATFORM);
        for output in &mut outputs {
            output.packing.index |= wants_index;
        }
        let made = Lineage { graph: &solved.graph, roots: &roots, story };
        let provenance = self.attest(&mut images, &made, &outputs).await?;
        let exporter = Exporter {
            store: self.store,
            registries: self.build.registries,
            events: self.events.clone(),
            step,
        };
        let (mut exported, mut names) = (None, self.names.clone());
        for output in &outputs {
            names = output.all_names(&names)?;
            exported = export::export(&exporter, &images, &self.names, output).await?.or(exported);
        }
        self.events.emit(step, What::Finished);
        let Exporter { store, registries, .. } = &exporter;
        let pushed = if outputs.iter().any(Output::is_push) { &*self.names } else { &[] };
        let caches = Exports { store, registries, events: &self.events, solved: &solved, pushed };
        caches.all(&exports).await?;
        let main = platform::main_of(images.iter().map(|image| &image.platform));
        Ok(Built {
            id: exported.as_ref().map_or(images[main].id, |exported| exported.ids[main]),
            manifest: exported.map(|exported| exported.root),
            names,
            config: images[main].config.clone(),
            platforms: images.iter().map(|image| image.platform.clone()).collect(),
            warnings: Vec::new(),
            dockerfile: self.prepared.file,
            provenance,
            images,
            store: exporter.store,
            registries: exporter.registries,
        })
    }

    /// The image of one platform, with the cache that it brings along.
    async fn image(
        &self,
        target: Target,
        snapshot: &Snapshot,
        cache: Option<serde_json::Value>,
    ) -> Result<Finished> {
        let layers = layers(&self.store, snapshot).await?;
        let mut config = target.config;
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
        config.date(&layers.iter().map(|layer| layer.created).collect::<Vec<_>>());
        let epoch = target.epoch.and_then(|seconds| Timestamp::from_second(seconds).ok());
        if let Some(epoch) = epoch {
            config.date_back(epoch);
        }
        config.inline_cache = cache;
        let config_bytes = config.to_json();
        Ok(Finished {
            size: layers.iter().map(|layer| layer.size).sum(),
            epoch: target.epoch,
            ..Finished::new(config, config_bytes, snapshot.layers.clone())
        })
    }
}

/// What the config of an image says of one layer.
struct LayerFacts {
    diff_id: Digest,
    created: Option<Timestamp>,
    size: u64,
}

/// Waits for the digests of the layers that are still being made.
async fn layers(store: &Store, snapshot: &Snapshot) -> Result<Vec<LayerFacts>> {
    let (store, layers) = (store.clone(), snapshot.layers.clone());
    let facts = move |layer: &Layer| {
        let diff_id = store.diff_id(layer).map_err(Error::store("digest a layer"))?;
        let record = store.record(layer).map_err(Error::store("read the record of a layer"))?;
        let seconds = match layer {
            Layer::Pulled { blob, .. } => blob.created,
            _ => record.map(|record| record.created),
        };
        let created = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        let size = store.layer_size(layer).map_err(Error::store("measure a layer"))?;
        Ok(LayerFacts { diff_id, created, size: size.unwrap_or_else(|| layer.compressed_size()) })
    };
    crate::worker::fetch::blocking(move || layers.iter().map(facts).collect()).await
}
