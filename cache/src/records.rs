//! The record that a step leaves beside its layer.

use crate::error::Result;
use crate::layers::RECORD;
use crate::snapshot::{Layer, Record};
use crate::store::{Store, read_json};

impl Store {
    /// The record of the step that made a layer, or `None` for a layer that was pulled.
    pub fn record(&self, layer: &Layer) -> Result<Option<Record>> {
        match layer {
            Layer::Made(id) => read_json(&self.layer_folder(*id).join(RECORD)),
            Layer::Pulled { .. } | Layer::Folder { .. } => Ok(None),
        }
    }
}
