//! Everything that rbuild keeps on disk: blobs, layers, image names, and the index of results.

pub mod id;
pub mod snapshot;

pub use id::{ContentId, Digest, Key, LayerId};
pub use snapshot::{Blob, Layer, Outputs, Part, Record, Snapshot};
