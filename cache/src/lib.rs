//! Everything that rbuild keeps on disk: blobs, layers, image names, and the index of results.
//!
//! The files are the truth; the index is a hint made from them and may be deleted at any time.
//! Everything is written beside its place and renamed into it, so that a process killed at any
//! moment leaves either the whole thing or nothing that is ever looked at again.

mod adopt;
pub mod blobs;
mod choice;
pub mod claims;
pub mod collect;
pub mod copy;
mod earlier;
pub mod error;
mod file_lists;
mod folder;
pub mod hash;
mod hashed;
pub mod id;
pub mod images;
mod imported;
mod index;
pub mod item;
pub mod layers;
pub mod lock;
mod mount;
pub mod pack;
pub mod partial;
mod portable;
pub mod privilege;
#[cfg(test)]
mod processes;
mod recent;
mod records;
mod remove;
mod results;
mod row;
#[cfg(test)]
mod sample;
mod settle;
pub mod snapshot;
pub mod store;
pub mod tree;
mod unpack;
pub mod usage;
pub mod verify;
pub mod visit;
mod weight;

pub use blobs::{BlobReader, BlobWriter};
pub use claims::{Claim, Others, User};
pub use collect::{Collected, Wish};
pub use earlier::Earlier;
pub use error::{Error, Result};
pub use file_lists::ListedFile;
pub use hashed::Hashed;
pub use id::{ContentId, Digest, Key, LayerId};
pub use images::{ImageEntry, PlatformEntry};
pub use imported::Imported;
pub use item::Item;
pub use layers::StagedLayer;
pub use lock::Lock;
pub use partial::{Partial, PartialReader};
pub use portable::{Packer, PartRow, Portable, PortableLayer, PortableMount};
pub use settle::Lost;
pub use snapshot::{Blob, Layer, Outputs, Part, Record, Snapshot};
pub use store::Store;
pub use unpack::unpack_into;
pub use usage::{Entry, Usage};
pub use verify::{Finding, Thing, Verified};
pub use visit::Visit;
