//! Layers that other machines made must be there when an image of them is written or pushed, and
//! not only when a step mounts them.

use futures::future::try_join_all;
use rbuild_cache::{Blob, Layer, Outputs};
use rbuild_solver::Error;

use super::{LocalWorker, World, fetch};
use crate::export::Output;
use crate::source;

impl LocalWorker {
    /// Fetches what the outputs of the build need, and looks for what they can do without.
    pub(super) async fn have(&self, outputs: &Outputs) -> Result<(), Error> {
        let World { store, wanted, .. } = &*self.0;
        let is_written = wanted.iter().any(Output::is_written);
        if !is_written && !wanted.iter().any(Output::is_push) {
            return Ok(());
        }
        let layers = outputs.iter().flat_map(|output| output.layers.iter());
        let elsewhere = layers.filter_map(|layer| match layer {
            Layer::Pulled { blob, .. } if !store.has_blob(&blob.digest) => Some((layer, blob)),
            _ => None,
        });
        // An image beneath that cannot be had fails the build where it is written.
        let elsewhere = elsewhere.filter(|(layer, _)| self.0.step_of(layer).is_none());
        let having = elsewhere.map(|(layer, blob)| self.have_one(layer, blob, is_written));
        try_join_all(having).await.map(drop)
    }

    async fn have_one(&self, layer: &Layer, blob: &Blob, is_written: bool) -> Result<(), Error> {
        let World { store, registries, events, .. } = &*self.0;
        if !is_written && self.0.is_in_registry(blob).await {
            return Ok(());
        }
        let fetched = fetch::blob(store, registries, blob, events, None).await;
        fetched.map_err(|error| self.0.lost(layer, error))
    }
}

impl World {
    /// Whether the registry that is to have a blob has it.
    async fn is_in_registry(&self, blob: &Blob) -> bool {
        let Some(reference) = blob.from.as_deref().and_then(|from| source::parse(from).ok()) else {
            return false;
        };
        let there = self.registries.client().has_blob(&reference, &blob.digest.to_string()).await;
        there.unwrap_or(false)
    }
}
