//! What lies beside a layer: the record of the step that made it, and notes on it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::layers::RECORD;
use crate::snapshot::{Layer, Record};
use crate::store::{Store, read_json, to_json};

impl Store {
    /// The record of the step that made a layer, or `None` for a layer that was pulled.
    pub fn record(&self, layer: &Layer) -> Result<Option<Record>> {
        match layer {
            Layer::Made(id) => read_json(&self.layer_folder(*id).join(RECORD)),
            Layer::Pulled { .. } | Layer::Folder { .. } => Ok(None),
        }
    }

    /// A note that was left beside a layer that is here; it may be lost with no harm.
    pub fn layer_note<T: DeserializeOwned>(&self, layer: &Layer, name: &str) -> Result<Option<T>> {
        match self.layer_path(layer) {
            Some(files) => read_json(&files.with_file_name(name)),
            None => Ok(None),
        }
    }

    /// Leaves a note beside a layer, in place of an older one of this name.
    pub fn set_layer_note(&self, layer: &Layer, name: &str, note: &impl Serialize) -> Result<()> {
        let files = self.files_of(layer)?;
        self.replace(&files.with_file_name(name), &to_json("note on a layer", note)?, false)
    }

    /// The bytes of a layer's uncompressed tar, where the layer is here and was measured.
    pub fn layer_size(&self, layer: &Layer) -> Result<Option<u64>> {
        self.layer_note(layer, SIZE)
    }
}

/// The note with the size of a layer's tar in bytes.
pub(crate) const SIZE: &str = "size.json";
/// The note with the bytes that a layer takes on the disk.
pub(crate) const WEIGHT: &str = "weight.json";
/// The note with the compressed form of a layer that was made here.
pub(crate) const COMPRESSED: &str = "blob.json";
