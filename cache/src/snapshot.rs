//! A file tree as an ordered chain of layers, which may not be here yet.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{ContentId, Digest, LayerId};

/// A file tree: layers from the lowest to the topmost, and the name of what they hold together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Names the contents; equal ids mean equal contents (times aside).
    pub content: ContentId,
    /// The layers, lowest first. An empty list is the empty tree.
    pub layers: Arc<[Layer]>,
}

/// One layer of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Made on this machine by a step; unpacked in the store.
    Made(LayerId),
    /// Part of an image in a registry or archive; unpacked in the store only once it was needed.
    Pulled {
        /// The sha256 of the uncompressed tar.
        diff_id: Digest,
        /// The compressed bytes.
        blob: Blob,
    },
    /// A folder outside the store, such as the build context; never part of a result.
    Folder {
        /// The name under which the builder knows the folder.
        name: String,
    },
}

impl Layer {
    /// The number of compressed bytes, where there is a compressed form, and 0 elsewhere.
    pub fn compressed_size(&self) -> u64 {
        match self {
            Layer::Pulled { blob, .. } => blob.size,
            Layer::Made(_) | Layer::Folder { .. } => 0,
        }
    }
}

/// The compressed form of a layer, here or elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blob {
    /// The sha256 of the compressed bytes.
    pub digest: Digest,
    /// The number of compressed bytes.
    pub size: u64,
    /// The media type, such as `application/vnd.oci.image.layer.v1.tar+gzip`.
    pub media_type: String,
    /// The reference from which it can be fetched, such as `docker.io/library/alpine:3`.
    pub from: Option<String>,
    /// When the step that made the layer ended, in seconds since 1970, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<i64>,
}

/// What one vertex produced; an edge picks one of them.
pub type Outputs = Arc<[Snapshot]>;

/// What a finished step leaves beside its layer, so that the index can be made again from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The key of the step by definition.
    pub definition: crate::id::Key,
    /// The key of the step by content.
    pub content: crate::id::Key,
    /// The results, the layer beside which this record lies among them.
    pub outputs: Outputs,
    /// The step as a person knows it, such as `RUN apk add curl`.
    pub description: String,
    /// What the content key was made of, by name, to explain a later miss.
    pub parts: Vec<Part>,
    /// How long the step ran, in milliseconds.
    pub cost_ms: u64,
    /// When the step ended, in seconds since 1970.
    pub created: i64,
}

/// One component of a content key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is: `instruction`, `base`, `env PATH`, `file src/main.rs`.
    pub name: String,
    /// Its value, or a digest of it; never a secret.
    pub value: String,
}
