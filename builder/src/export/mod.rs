//! What becomes of a finished image: named in the store, written as an archive or a folder, or
//! pushed.

mod annotation;
mod archive;
pub(crate) mod compress;
mod content;
mod files;
pub(crate) mod manifest;
mod output;
pub(crate) mod push;
mod store;

use std::sync::Arc;

use futures::future::try_join_all;
use rbuild_cache::{Digest, ImageEntry, Layer, Store};
use rbuild_solver::{Events, StepId};

use crate::attest::Attestation;
use crate::error::Result;
use crate::image::ImageConfig;
use crate::platform::Platform;
use crate::registries::Registries;

pub use annotation::{Annotated, Annotation};
pub use compress::Compression;
pub use manifest::Descriptor;
pub use output::{Destination, Output, OutputKind, Packing};

pub(crate) use archive::{Archive, Format, write as write_archive};
pub(crate) use content::{Content, Packed};

/// The finished image of one platform, on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) platform: Platform,
    pub(crate) id: Digest,
    pub(crate) config: ImageConfig,
    /// The config as it is written.
    pub(crate) config_bytes: Vec<u8>,
    /// The layers, lowest first.
    pub(crate) layers: Arc<[Layer]>,
    /// The uncompressed size of all layers, in bytes.
    pub(crate) size: u64,
    /// The one time of the build, in seconds since 1970, where it has one.
    pub(crate) epoch: Option<i64>,
    pub(crate) attestations: Vec<Attestation>,
}

impl Finished {
    /// An image by its config and layers.
    pub(crate) fn new(config: ImageConfig, config_bytes: Vec<u8>, layers: Arc<[Layer]>) -> Self {
        let platform = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
        let id = manifest::digest(&config_bytes);
        let (epoch, attestations) = (None, Vec::new());
        Self { platform, id, config, config_bytes, layers, size: 0, epoch, attestations }
    }

    /// The entry of the image in the store.
    pub(crate) fn entry(&self) -> ImageEntry {
        ImageEntry {
            manifest: None,
            config: self.id,
            layers: self.layers.to_vec(),
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

/// What an output has made of an image.
#[derive(Debug, Clone)]
pub(crate) struct Exported {
    /// The id: the digest of the config, of the first platform where there are several.
    pub(crate) id: Digest,
    /// The manifest or index.
    pub(crate) root: Descriptor,
}

impl Exported {
    fn of(content: &Content) -> Self {
        Self { id: content.id(), root: content.root.clone() }
    }
}

/// Sends the finished images of all platforms of a build, in the order that was asked for, to one
/// output, under the names of the build; says what it made of them where that has a digest.
pub(crate) async fn export(
    exporter: &Exporter,
    images: &[Finished],
    names: &[String],
    output: &Output,
) -> Result<Option<Exported>> {
    let Output { kind, packing, .. } = output;
    let names = &*output.all_names(names)?;
    match kind {
        OutputKind::Store => store::export(exporter, images, names).map(|()| None),
        OutputKind::CacheOnly => Ok(None),
        OutputKind::Registry { by_digest } => {
            let to = push::To { names, by_digest: *by_digest };
            push::export(exporter, images, to, packing).await.map(Some)
        }
        OutputKind::Oci { to, tar } => {
            let archive = Archive { to, tar: *tar, format: Format::Oci };
            archive::export(exporter, images, names, packing, archive).await.map(Some)
        }
        OutputKind::Docker { to, tar } => {
            let archive = Archive { to, tar: *tar, format: Format::Docker };
            archive::export(exporter, images, names, packing, archive).await.map(Some)
        }
        OutputKind::Local(folder) => {
            files::to_folder(exporter, images, folder).await.map(|()| None)
        }
        OutputKind::Tar(to) => files::to_tar(exporter, images, to).await.map(|()| None),
    }
}

/// The image of one platform with its layers in the form that is asked for. Those that were pulled
/// may still be elsewhere.
pub(crate) async fn packed(
    exporter: &Exporter,
    image: &Finished,
    packing: &Packing,
) -> Result<Packed> {
    let layers = image.layers.iter().map(|layer| compress::blob(exporter, layer, packing));
    Ok(Packed {
        platform: image.platform.clone(),
        config: image.config_bytes.clone(),
        layers: try_join_all(layers).await?,
        attestations: image.attestations.clone(),
    })
}
