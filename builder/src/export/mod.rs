//! What becomes of a finished image: named in the store, written as an archive or a folder, or
//! pushed.

mod annotation;
mod archive;
pub(crate) mod compress;
mod content;
mod daemon;
mod files;
pub(crate) mod manifest;
mod output;
pub(crate) mod push;
mod store;
mod stream;

use std::sync::Arc;

use futures::future::try_join_all;
use rbuild_cache::{Digest, Layer, PlatformEntry, Store};
use rbuild_registry::Reference;
use rbuild_solver::{Events, StepId, What};

use crate::attest::Attestation;
use crate::error::{Error, Result};
use crate::image::ImageConfig;
use crate::platform::Platform;
use crate::registries::Registries;

pub use annotation::{Annotated, Annotation};
pub use compress::Compression;
use compress::Outgoing;
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
    /// How many of the layers are those of the image beneath.
    pub(crate) base: usize,
    pub(crate) attestations: Vec<Attestation>,
}

impl Finished {
    /// An image by its config and layers.
    pub(crate) fn new(config: ImageConfig, config_bytes: Vec<u8>, layers: Arc<[Layer]>) -> Self {
        let platform = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
        let id = manifest::digest(&config_bytes);
        let (base, attestations) = (layers.len(), Vec::new());
        Self {
            platform,
            id,
            config,
            config_bytes,
            layers,
            size: 0,
            epoch: None,
            base,
            attestations,
        }
    }

    /// The entry of the image among those of the platforms that share its names.
    pub(crate) fn entry(&self) -> PlatformEntry {
        PlatformEntry {
            platform: self.platform.to_string(),
            manifest: None,
            config: self.id,
            layers: self.layers.to_vec(),
            size: self.size,
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
    /// The ids, which are the digests of the configs, in the order of the platforms.
    pub(crate) ids: Vec<Digest>,
    /// The manifest or index.
    pub(crate) root: Descriptor,
}

impl Exported {
    fn of(content: &Content) -> Self {
        let ids = content.images.iter().map(Packed::id).collect();
        Self { ids, root: content.root.clone() }
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
    if packing.rewrite_timestamp && images.iter().all(|image| image.epoch.is_none()) {
        let text = "`rewrite-timestamp` has no effect without SOURCE_DATE_EPOCH".to_owned();
        exporter.events.emit(exporter.step, What::Warning { text });
    }
    match kind {
        OutputKind::Store => store::export(exporter, images, names).map(|()| None),
        OutputKind::CacheOnly => Ok(None),
        OutputKind::Registry { by_digest } => {
            let to = push::To { names, by_digest: *by_digest };
            match push::export(exporter, images, to, packing).await {
                Err(error @ Error::Registry { .. }) if !*by_digest => {
                    // So that it can be pushed again without being built again.
                    store::export(exporter, images, names)?;
                    Err(Error::not_pushed(&names[0], error))
                }
                pushed => pushed.map(Some),
            }
        }
        OutputKind::Oci { to, tar } => {
            let archive = Archive { to, tar: *tar, format: Format::Oci };
            archive::export(exporter, images, names, packing, archive).await.map(Some)
        }
        OutputKind::Docker { to, tar } => {
            let archive = Archive { to, tar: *tar, format: Format::Docker };
            archive::export(exporter, images, names, packing, archive).await.map(Some)
        }
        OutputKind::Daemon(socket) => {
            daemon::export(exporter, images, names, packing, socket).await.map(Some)
        }
        OutputKind::Local { to, split, delete } => {
            let to = files::To { path: to, split: *split, delete: *delete };
            files::to_folder(exporter, images, to).await.map(|()| None)
        }
        OutputKind::Tar { to, split } => {
            files::to_tar(exporter, images, to, *split).await.map(|()| None)
        }
    }
}

/// The image of one platform with its layers in the form that is asked for. Those that were pulled
/// may still be elsewhere. With `to`, what must be compressed is sent there at the same time.
pub(crate) async fn packed(
    exporter: &Exporter,
    image: &Finished,
    packing: &Packing,
    to: Option<&Reference>,
) -> Result<Packed> {
    let epoch = image.epoch.filter(|_| packing.rewrite_timestamp);
    let one = |(number, layer)| {
        // What others made is not ours to rewrite.
        let newest = epoch.filter(|_| number >= image.base);
        compress::outgoing(exporter, layer, packing, newest, to)
    };
    let layers = try_join_all(image.layers.iter().enumerate().map(one)).await?;
    Ok(Packed {
        platform: image.platform.clone(),
        config: with_diff_ids(&image.config_bytes, &layers)?,
        sent: layers.iter().filter(|one| one.is_sent).map(|one| one.blob.digest).collect(),
        layers: layers.into_iter().map(|layer| layer.blob).collect(),
        attestations: image.attestations.clone(),
    })
}

/// The config of an image whose layers have become others.
fn with_diff_ids(config: &[u8], layers: &[Outgoing]) -> Result<Vec<u8>> {
    if layers.iter().all(|layer| layer.diff_id.is_none()) {
        return Ok(config.to_owned());
    }
    let mut config: serde_json::Value =
        serde_json::from_slice(config).map_err(Error::malformed("the image config"))?;
    for (number, diff_id) in layers.iter().map(|layer| layer.diff_id).enumerate() {
        if let (Some(old), Some(new)) =
            (config.pointer_mut(&format!("/rootfs/diff_ids/{number}")), diff_id)
        {
            *old = new.to_string().into();
        }
    }
    Ok(config.to_string().into_bytes())
}
