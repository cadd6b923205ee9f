//! Whether a build gives the same image each time: it runs twice, without any cache.

use std::os::fd::AsFd;

use rbuild_cache::tree::{Options, Tree};
use rbuild_cache::{Digest, Layer, Store};

use super::{Aspect, FileChange, config, files};
use crate::build::Build;
use crate::error::{Error, Result};
use crate::export::Finished;
use crate::view;
use crate::worker::fetch::blocking;

/// What differs between two builds of the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The ids that the two builds gave, of each platform.
    pub ids: Vec<(Digest, Digest)>,
    /// The layers that differ, the lowest first.
    pub layers: Vec<LayerDifference>,
    /// What differs between the configs.
    pub config: Vec<Aspect>,
    /// The time after which no file's counts as another, in seconds since 1970: the build's
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: Option<i64>,
}

/// A layer that two builds made differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDifference {
    /// The platform of the image.
    pub platform: String,
    /// The place of the layer in the image, from 1.
    pub number: usize,
    /// The instruction that makes it, as the history of the image has it.
    pub step: String,
    /// What differs in it.
    pub files: Vec<FileChange>,
}

impl Verified {
    /// Whether both builds gave the same.
    pub fn is_same(&self) -> bool {
        self.layers.is_empty() && self.config.is_empty()
    }

    /// Whether they gave the same but for times.
    pub fn is_same_but_for_times(&self) -> bool {
        let files = self.layers.iter().flat_map(|layer| &layer.files);
        let is_time = |aspect: &Aspect| aspect.what == "created" || is_dated(aspect);
        files.into_iter().all(FileChange::is_time_only) && self.config.iter().all(is_time)
    }
}

/// Whether an aspect is a line of a history that differs in its time alone.
fn is_dated(aspect: &Aspect) -> bool {
    let bare = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        text.rsplit_once(" at ").map(|(line, _)| line.to_owned())
    };
    let (was, now) = (bare(&aspect.was), bare(&aspect.now));
    aspect.what.starts_with("history ") && was.is_some() && was == now
}

/// Runs a build twice without any cache, and compares what comes of it. No name is given or moved,
/// and nothing leaves the store.
///
/// # Errors
/// A build that fails, or files that cannot be compared.
pub async fn verify(build: Build, store: &Store) -> Result<Verified> {
    let _visit = store.enter().map_err(Error::store("say that the store is in use"))?;
    let build = build.no_cache(true).aside();
    let mut both = Vec::with_capacity(2);
    for is_second in [false, true] {
        if is_second {
            next_second().await;
        }
        let built = Box::pin(build.clone().run(store)).await?;
        let images = built.images().to_vec();
        for image in &images {
            store.uses_layers(&*image.layers);
        }
        both.push(images);
    }
    let store = store.clone();
    blocking(move || {
        let mut verified = Verified::default();
        for (first, second) in both[0].iter().zip(&both[1]) {
            verified.ids.push((first.id, second.id));
            verified.epoch = first.epoch;
            verified.layers.extend(layers(&store, first, second)?);
            let aspects = config::compare(&first.config, &second.config, true);
            let new = aspects.into_iter().filter(|aspect| !verified.config.contains(aspect));
            let new: Vec<_> = new.collect();
            verified.config.extend(new);
        }
        Ok(verified)
    })
    .await
}

/// Waits until the clock shows another second: the tar of a layer has no finer times, and two quick
/// builds would pass for the same.
async fn next_second() {
    let now = jiff::Timestamp::now().subsec_nanosecond();
    let rest = 1_000_000_000 - u64::try_from(now).unwrap_or(0);
    tokio::time::sleep(std::time::Duration::from_nanos(rest)).await;
}

/// The layers of two images that differ.
fn layers(store: &Store, first: &Finished, second: &Finished) -> Result<Vec<LayerDifference>> {
    let steps = first.config.history.iter().filter(|line| !line.empty_layer);
    let mut steps = steps.map(|line| line.created_by.clone());
    let mut different = Vec::new();
    let digests = |image: &Finished| image.config.rootfs.diff_ids.clone();
    for (place, ids) in digests(first).into_iter().zip(digests(second)).enumerate() {
        let step = steps.next().unwrap_or_default();
        if ids.0 == ids.1 {
            continue;
        }
        let (was, now) = (tree(store, &first.layers[place])?, tree(store, &second.layers[place])?);
        let clamp = first.epoch.unwrap_or(i64::MAX);
        let mut files = files::compare_until(was.nodes(), now.nodes(), Some(clamp));
        let roots = (
            view::open(store, &first.layers[..=place])?,
            view::open(store, &second.layers[..=place])?,
        );
        for file in &mut files {
            file.digest(&roots.0, &roots.1).map_err(super::reading(store))?;
        }
        if !files.is_empty() || first.epoch.is_none() {
            let (platform, number) = (first.platform.to_string(), place + 1);
            different.push(LayerDifference { platform, number, step, files });
        }
    }
    Ok(different)
}

/// The files of one layer.
fn tree(store: &Store, layer: &Layer) -> Result<Tree> {
    let failed = || Error::store("read the files of a layer");
    let path = store.layer_path(layer).ok_or_else(|| Error::Malformed {
        what: "a layer of the build".to_owned(),
        reason: "it is not in the store any more".to_owned(),
    })?;
    let folder = std::fs::File::open(&path).map_err(|source| Error::Read { path, source })?;
    Tree::read(folder.as_fd(), &Options::default()).map_err(failed())
}
