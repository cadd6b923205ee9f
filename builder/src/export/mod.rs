//! What becomes of a finished image: named in the store, written as an archive or a folder, or
//! pushed.

mod archive;
pub(crate) mod compress;
mod files;
pub(crate) mod manifest;
pub(crate) mod push;
mod store;

use std::path::PathBuf;

use rbuild_cache::{Digest, ImageEntry, Snapshot, Store};
use rbuild_solver::{Events, StepId};

use crate::error::Result;
use crate::image::ImageConfig;
use crate::registries::Registries;

pub use compress::Compression;

pub(crate) use archive::{Format, write as write_archive};

/// Where the result of a build goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Into the store, under the names of the build.
    Store,
    /// To the registries of the names of the build.
    Push,
    /// An OCI image layout, as a tar or a folder.
    Oci {
        /// Where to.
        to: Destination,
        /// Whether it is one tar.
        tar: bool,
    },
    /// An archive for `docker load`, which is an OCI image layout as well.
    Docker {
        /// Where to.
        to: Destination,
        /// Whether it is one tar.
        tar: bool,
    },
    /// The files of the image in a folder.
    Local(PathBuf),
    /// The files of the image as a tar.
    Tar(Destination),
    /// Nowhere: only the cache keeps the result.
    CacheOnly,
}

/// Where an archive is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A file or folder.
    Path(PathBuf),
    /// The standard output.
    Stdout,
}

/// A finished image on its way out.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) config: ImageConfig,
    /// The config as it is written.
    pub(crate) config_bytes: Vec<u8>,
    pub(crate) id: Digest,
    pub(crate) snapshot: Snapshot,
    /// The full names, with tags.
    pub(crate) names: Vec<String>,
    /// The uncompressed size of all layers, in bytes.
    pub(crate) size: u64,
}

impl Finished {
    /// The entry of the image in the store.
    pub(crate) fn entry(&self) -> ImageEntry {
        ImageEntry {
            manifest: None,
            config: self.id,
            layers: self.snapshot.layers.to_vec(),
            size: self.size,
            created: jiff::Timestamp::now().as_second(),
            platforms: Vec::new(),
        }
    }
}

/// What exporting needs.
#[derive(Debug, Clone)]
pub(crate) struct Exporter {
    pub(crate) store: Store,
    pub(crate) registries: Registries,
    pub(crate) events: Events,
    pub(crate) step: StepId,
}

/// Sends a finished image to one output; gives the digest of its manifest where one was made.
pub(crate) async fn export(
    exporter: &Exporter,
    image: &Finished,
    output: &Output,
) -> Result<Option<Digest>> {
    match output {
        Output::Store => store::export(exporter, image).map(|()| None),
        Output::CacheOnly => Ok(None),
        Output::Push => push::export(exporter, image).await.map(Some),
        Output::Oci { to, tar } => {
            archive::export(exporter, image, to, *tar, Format::Oci).await.map(Some)
        }
        Output::Docker { to, tar } => {
            archive::export(exporter, image, to, *tar, Format::Docker).await.map(Some)
        }
        Output::Local(folder) => files::to_folder(exporter, image, folder).await.map(|()| None),
        Output::Tar(to) => files::to_tar(exporter, image, to).await.map(|()| None),
    }
}
