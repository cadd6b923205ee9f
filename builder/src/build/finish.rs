//! The end of a build: configs with the digests of the layers, outputs, caches.

use jiff::Timestamp;
use rbuild_cache::{Digest, Layer, Snapshot, Store};
use rbuild_solver::What;

use super::Built;
use super::run::Run;
use super::steps::begin;
use crate::error::{Error, Result};
use crate::export::{self, Exporter, Finished, Output};
use crate::image::ImageConfig;
use crate::share::{CachePlace, Exports, Solved, inline};

impl Run {
    /// Makes the image of what was solved, and sends it where it is wanted.
    pub(super) async fn export(
        self,
        mut config: ImageConfig,
        solved: Solved,
        epoch: Option<i64>,
    ) -> Result<Built> {
        let step = begin(&self.events, "exporting to image".to_owned());
        let layers = layers(&self.store, &solved.snapshot).await?;
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
        config.date(&layers.iter().map(|layer| layer.created).collect::<Vec<_>>());
        if let Some(epoch) = epoch.and_then(|seconds| Timestamp::from_second(seconds).ok()) {
            config.date_back(epoch);
        }
        let exports = self.exports();
        if exports.iter().any(|cache| cache.place == CachePlace::Inline) {
            config.inline_cache = Some(inline(&self.store, &solved)?);
        }
        let config_bytes = config.to_json();
        let part = "exporting layers".to_owned();
        self.events.emit(step, What::Progress { part, current: 0, total: None, done: true });
        let image = Finished {
            id: export::manifest::digest(&config_bytes),
            config_bytes,
            config,
            snapshot: solved.snapshot.clone(),
            names: self.names,
            size: layers.iter().map(|layer| layer.size).sum(),
        };
        let exporter = Exporter {
            store: self.store,
            registries: self.build.registries,
            events: self.events.clone(),
            step,
        };
        let outputs = match self.build.outputs.as_slice() {
            [] => vec![Output::Store],
            outputs => outputs.to_vec(),
        };
        let mut manifest = None;
        for output in &outputs {
            manifest = export::export(&exporter, &image, output).await?.or(manifest);
        }
        self.events.emit(step, What::Finished);
        let Exporter { store, registries, .. } = &exporter;
        let pushed = if outputs.contains(&Output::Push) { &*image.names } else { &[] };
        let caches = Exports { store, registries, events: &self.events, solved: &solved, pushed };
        caches.all(&exports).await?;
        Ok(Built {
            id: image.id,
            manifest,
            names: image.names,
            config: image.config,
            warnings: Vec::new(),
            dockerfile: self.prepared.file,
            layers: image.snapshot.layers,
            store: exporter.store,
            registries: exporter.registries,
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
        let pulled = match layer {
            Layer::Pulled { blob, .. } => blob.size,
            _ => 0,
        };
        Ok(LayerFacts { diff_id, created, size: size.unwrap_or(pulled) })
    };
    crate::worker::fetch::blocking(move || layers.iter().map(facts).collect()).await
}
