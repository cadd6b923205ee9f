//! The road of one build: images resolved, graph made and solved, result exported.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use rbuild_cache::{Digest, Layer, Snapshot, Store, Visit};
use rbuild_solver::op::Source;
use rbuild_solver::{Events, Mode, Solver, StepId, What};
use tokio::sync::Semaphore;

use super::prepare::Prepared;
use super::steps::{begin, plan};
use super::{Build, Built, ContextReference};
use crate::context::Folder;
use crate::dockerfile::{self, Diagnostic, Spanned};
use crate::error::{Error, Result, StepError};
use crate::export::{self, Exporter, Finished, Output};
use crate::image::ImageConfig;
use crate::layout;
use crate::lower::{self, CONTEXT, Epoch, Lowered, NamedContext, Request, Wanted};
use crate::remote::Remotes;
use crate::report::Report;
use crate::share::{CachePlace, Exports, Found, Solved, chunks, imported, inline};
use crate::source::{self, ResolvedImage};
use crate::space::Cap;
use crate::worker::caches;
use crate::worker::fetch::blocking;
use crate::worker::{Base, LocalWorker, World, image_key};

/// A build under way.
pub(super) struct Run {
    pub(super) build: Build,
    pub(super) store: Store,
    pub(super) events: Events,
    pub(super) remotes: Remotes,
    pub(super) prepared: Prepared,
    pub(super) names: Vec<String>,
    /// Whether any step had to run.
    pub(super) ran: Arc<AtomicBool>,
    /// How much the store may take.
    pub(super) cap: Option<Arc<Cap>>,
    /// Nothing that this build uses is removed meanwhile.
    pub(super) _visit: Visit,
}

impl Run {
    /// The report of this build, as far as it is known before.
    pub(super) fn report(&self) -> Report {
        Report {
            dockerfile: self.file_name(),
            target: self.build.request.target.clone(),
            platform: self.build.request.platform.to_string(),
            ended: 0,
            image: None,
            bases: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// The name by which the Dockerfile of this build is told from others.
    fn file_name(&self) -> String {
        let path = self.prepared.path.as_deref();
        path.unwrap_or(self.prepared.folder.path()).display().to_string()
    }

    /// Goes the whole road.
    pub(super) async fn finish(self) -> Result<Built> {
        let request = self.request().await?;
        let (resolved, found) = futures::join!(self.resolve(&request), self.import());
        let resolved = resolved?;
        let lowered = lower::lower(&self.prepared.tree, &request, &known(&resolved))
            .map_err(|error| self.wrong(error))?;
        for warning in &lowered.warnings {
            let text = warning.to_string();
            self.events.emit(self.prepared.definition, What::Warning { text });
        }
        self.lint(&lowered)?;
        let solved = self.solve(&lowered, &resolved, found).await?;
        let sweep = self.sweep();
        let built = self.export(lowered.config, solved, request.epoch).await;
        // Nobody waits for the sweep of a build that failed; it is done by the next one.
        if let Some(sweep) = sweep {
            let _ = sweep.await;
        }
        built.map(|built| Built { warnings: lowered.warnings, ..built })
    }

    /// Ends a build whose Dockerfile should have no warnings.
    pub(super) fn lint(&self, lowered: &Lowered) -> Result<()> {
        if !lowered.strict || lowered.warnings.is_empty() {
            return Ok(());
        }
        let file = self.prepared.file.clone();
        Err(Error::Lint { file, warnings: lowered.warnings.clone() })
    }

    /// Removes what killed processes left in the store, unless this build changed nothing there.
    fn sweep(&self) -> Option<tokio::task::JoinHandle<()>> {
        let store = self.store.clone();
        self.ran.load(Ordering::Relaxed).then(|| {
            tokio::task::spawn_blocking(move || {
                if let Err(error) = store.sweep() {
                    tracing::warn!(%error, "cannot remove what is left of other builds");
                }
            })
        })
    }

    pub(super) fn wrong(&self, error: Diagnostic) -> Error {
        Error::Dockerfile { file: self.prepared.file.clone(), errors: vec![error] }
    }

    pub(super) async fn request(&self) -> Result<Request> {
        let mut request = self.build.request.clone();
        request.name = self.file_name();
        for (name, context) in &self.build.contexts {
            let named = match context {
                ContextReference::Files(_) => NamedContext::Folder,
                ContextReference::Image(name) => NamedContext::Image(name.clone()),
                ContextReference::Layout(place) => {
                    NamedContext::Image(format!("{}{place}", layout::SCHEME))
                }
            };
            request.contexts.insert(name.clone(), named);
        }
        request.check = self.build.check_argument()?;
        let ignore = self.prepared.folder.ignore();
        request.ignore = ignore.map(|(name, rules)| (name.to_owned(), rules.clone()));
        self.date(&mut request).await?;
        Ok(request)
    }

    /// Finds out which time whatever the build makes has, and puts it in place of what was asked.
    async fn date(&self, request: &mut Request) -> Result<()> {
        let epoch =
            lower::epoch(&self.prepared.tree, request).map_err(|error| self.wrong(error))?;
        request.epoch = match epoch {
            None => return Ok(()),
            Some(Epoch::Seconds(seconds)) => Some(seconds),
            Some(Epoch::Context(name)) => match self.build.contexts.get(&name) {
                Some(ContextReference::Files(source)) => {
                    self.remotes.locate(source, false).await?.time
                }
                Some(_) => None,
                None => self.prepared.time,
            },
            Some(Epoch::Source(Source::Http(file))) => self.remotes.file(&file).await?.time,
            Some(Epoch::Source(Source::Git(wanted))) => self.remotes.checkout(&wanted).await?.time,
            Some(Epoch::Source(_)) => None,
        };
        if request.arguments.remove(lower::EPOCH).is_some()
            && let Some(seconds) = request.epoch
        {
            request.arguments.insert(lower::EPOCH.to_owned(), seconds.to_string());
        }
        Ok(())
    }

    /// Resolves the images that are wanted, until their triggers want no more.
    pub(super) async fn resolve(
        &self,
        request: &Request,
    ) -> Result<BTreeMap<Wanted, ResolvedImage>> {
        let mut resolved: BTreeMap<Wanted, ResolvedImage> = BTreeMap::new();
        loop {
            let known = resolved.iter().map(|(key, image)| (key.clone(), image.config.clone()));
            let wanted = lower::wanted_images(&self.prepared.tree, request, &known.collect())
                .map_err(|error| self.wrong(error))?;
            let missing: Vec<Spanned<Wanted>> =
                wanted.into_iter().filter(|wanted| !resolved.contains_key(&wanted.value)).collect();
            if missing.is_empty() {
                return Ok(resolved);
            }
            let images = missing.iter().map(async |wanted| {
                let image = self.resolve_one(&wanted.value).await;
                image.map_err(|error| self.unresolved(wanted, error))
            });
            let images = futures::future::try_join_all(images).await?;
            for image in &images {
                self.store.uses_layers(&image.entry.layers);
            }
            resolved.extend(missing.into_iter().map(|wanted| wanted.value).zip(images));
        }
    }

    async fn resolve_one(&self, wanted: &Wanted) -> Result<ResolvedImage> {
        let layout = self.layout(&wanted.reference);
        let reference = match layout {
            Some(_) => wanted.reference.clone(),
            None => source::parse(&wanted.reference)?.to_string(),
        };
        let name = format!("[internal] load metadata for {reference}");
        let step = begin(&self.events, name);
        let platform = crate::platform::parse(&wanted.platform)
            .map_err(Error::registry("read the platform"))?;
        let (store, registries) = (&self.store, &self.build.registries);
        let image = if let Some(place) = layout.map(str::to_owned) {
            let store = store.clone();
            let found = blocking(move || layout::resolve(&store, &place, &platform)).await;
            found.map(|image| (image, None))
        } else {
            let name = &wanted.reference;
            source::resolve(store, registries, name, &platform, self.build.lookup).await
        };
        match image {
            Ok((image, told)) => {
                if let Some(text) = told {
                    self.events.emit(step, What::Warning { text });
                }
                self.events.emit(step, What::Finished);
                Ok(image)
            }
            Err(error) => {
                self.events.emit(step, What::Failed { error: error.to_string() });
                Err(error)
            }
        }
    }

    /// Says where the file asks for an image that cannot be had, and which stage may be meant.
    fn unresolved(&self, wanted: &Spanned<Wanted>, error: Error) -> Error {
        if let Error::Reference { .. } = error {
            return self.wrong(Diagnostic::error(wanted.span, error.to_string()));
        }
        let stages = self.prepared.tree.stages.iter();
        let names = stages.filter_map(|stage| stage.from.value.name.as_deref());
        let near = dockerfile::suggest(&wanted.value.reference.to_lowercase(), names);
        let hint = near.or_else(|| error.hint());
        let source = Box::new(StepError::Image { error: Arc::new(error), hint });
        Error::Step { file: self.prepared.file.clone(), span: Some(wanted.span), source }
    }

    /// The place of an image in a layout, if the caller has named that place: a Dockerfile alone
    /// leads to no file of the machine.
    fn layout<'a>(&self, reference: &'a str) -> Option<&'a str> {
        let place = reference.strip_prefix(layout::SCHEME)?;
        let is_it = |context: &ContextReference| matches!(context, ContextReference::Layout(known) if known == place);
        self.build.contexts.values().any(is_it).then_some(place)
    }

    async fn solve(
        &self,
        lowered: &Lowered,
        resolved: &BTreeMap<Wanted, ResolvedImage>,
        found: Vec<Found>,
    ) -> Result<Solved> {
        let folders = self.folders(lowered).await?;
        self.forget_caches(lowered).await?;
        let (mut world, bases) = self.world(lowered, resolved, folders);
        let fresh = caches::fresh(&lowered.graph);
        world.mounts = chunks(&found);
        world.mounts.retain(|name, _| !fresh.iter().any(|id| name.starts_with(id)));
        let world = Arc::new(world);
        let worker = Arc::new(LocalWorker(world.clone()));
        let layers: HashMap<Digest, Layer> = resolved.values().flat_map(layers_of).collect();
        // What was found elsewhere of any step is to be known here from now on.
        let lists = !self.exports().is_empty() || !found.is_empty();
        let store = self.store.clone().importing(imported(found, &layers));
        let solver = Solver::new(store, worker);
        let (graph, target) = (&lowered.graph, lowered.target);
        let solved = if lists {
            solver.solve_and_list(graph, target, Mode::Build, &self.events).await
        } else {
            let outputs = solver.solve(graph, target, Mode::Build, &self.events).await;
            outputs.map(|outputs| (outputs, Vec::new()))
        };
        for step in bases {
            world.end_base(step);
        }
        let (outputs, used) = solved.map_err(|error| self.failed(lowered, error))?;
        let bases = resolved.values().flat_map(|image| image.entry.layers.iter().cloned());
        let (snapshot, bases) = (outputs[0].clone(), bases.collect());
        Ok(Solved { snapshot, used, bases, graph: lowered.graph.clone() })
    }

    /// Takes away the caches of the steps that are to run as if for the first time.
    async fn forget_caches(&self, lowered: &Lowered) -> Result<()> {
        let (store, graph) = (self.store.clone(), lowered.graph.clone());
        blocking(move || {
            caches::forget(&store, &graph).map_err(Error::store("take the caches away"))
        })
        .await
    }

    /// Everything that the steps of this build may use.
    fn world(
        &self,
        lowered: &Lowered,
        resolved: &BTreeMap<Wanted, ResolvedImage>,
        folders: HashMap<String, Arc<Folder>>,
    ) -> (World, Vec<StepId>) {
        let mut images = HashMap::new();
        let mut steps = Vec::new();
        for (wanted, name) in &lowered.images {
            let Some(image) = resolved.get(wanted) else {
                continue;
            };
            let step = plan(&self.events, name.clone());
            steps.push(step);
            let key = image_key(&image.reference, &wanted.platform);
            images.insert(key, Base { snapshot: image.snapshot(), step });
        }
        let world = World {
            store: self.store.clone(),
            registries: self.build.registries.clone(),
            folders,
            remotes: self.remotes.clone(),
            images,
            secrets: self.build.secrets.clone(),
            agents: self.build.agents.clone(),
            devices: self.build.devices.clone(),
            jobs: Arc::new(Semaphore::new(self.build.jobs)),
            events: self.events.clone(),
            fetched: Mutex::default(),
            mounts: HashMap::new(),
            wanted: self.build.outputs.clone(),
            ran: self.ran.clone(),
            cap: self.cap.clone(),
        };
        (world, steps)
    }

    async fn folders(&self, lowered: &Lowered) -> Result<HashMap<String, Arc<Folder>>> {
        let mut folders = HashMap::new();
        for (name, patterns) in &lowered.folders {
            let (source, path) = match self.build.contexts.get(name) {
                Some(ContextReference::Files(source)) => {
                    (source, self.remotes.locate(source, false).await?.path)
                }
                _ => (&self.build.context, self.prepared.folder.path().to_owned()),
            };
            let mut folder = Folder::open(name, &path, &self.store)?;
            if source.is_local() {
                let beside = self.prepared.path.as_deref().filter(|_| name == CONTEXT);
                folder.load_ignore(beside)?;
            }
            folder.used_paths(patterns.iter().cloned());
            folders.insert(name.clone(), Arc::new(folder));
        }
        Ok(folders)
    }

    /// Finds the place in the Dockerfile of what the solver could not do.
    fn failed(&self, lowered: &Lowered, error: rbuild_solver::Error) -> Error {
        let rbuild_solver::Error::Step { description, place, source } = &error else {
            return Error::Solve(Box::new(error));
        };
        let source = match source.downcast_ref::<StepError>() {
            Some(step) => step.clone(),
            None => StepError::Other(format!("{description}: {source}")),
        };
        let span = lowered.spans.get(place).copied();
        Error::Step { file: self.prepared.file.clone(), span, source: Box::new(source) }
    }

    async fn export(
        self,
        mut config: ImageConfig,
        solved: Solved,
        epoch: Option<i64>,
    ) -> Result<Built> {
        let step = begin(&self.events, "exporting to image".to_owned());
        let layers = layers(&self.store, &solved.snapshot).await?;
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
        config.date(&layers.iter().map(|layer| layer.created).collect::<Vec<_>>());
        if let Some(epoch) = epoch.and_then(|seconds| Timestamp::from_second(seconds).ok()) {
            config.date_back(epoch);
        }
        let exports = self.exports();
        if exports.iter().any(|cache| cache.place == CachePlace::Inline) {
            config.inline_cache = Some(inline(&self.store, &solved)?);
        }
        let config_bytes = config.to_json();
        let part = "exporting layers".to_owned();
        self.events.emit(step, What::Progress { part, current: 0, total: None, done: true });
        let image = Finished {
            id: export::manifest::digest(&config_bytes),
            config_bytes,
            config,
            snapshot: solved.snapshot.clone(),
            names: self.names,
            size: layers.iter().map(|layer| layer.size).sum(),
        };
        let exporter = Exporter {
            store: self.store,
            registries: self.build.registries,
            events: self.events.clone(),
            step,
        };
        let outputs = match self.build.outputs.as_slice() {
            [] => vec![Output::Store],
            outputs => outputs.to_vec(),
        };
        let mut manifest = None;
        for output in &outputs {
            manifest = export::export(&exporter, &image, output).await?.or(manifest);
        }
        self.events.emit(step, What::Finished);
        let Exporter { store, registries, .. } = &exporter;
        let pushed = if outputs.contains(&Output::Push) { &*image.names } else { &[] };
        let caches = Exports { store, registries, events: &self.events, solved: &solved, pushed };
        caches.all(&exports).await?;
        Ok(Built {
            id: image.id,
            manifest,
            names: image.names,
            config: image.config,
            warnings: Vec::new(),
            dockerfile: self.prepared.file,
            layers: image.snapshot.layers,
            store: exporter.store,
            registries: exporter.registries,
        })
    }
}

/// The images as the lowering knows them.
pub(super) fn known(
    resolved: &BTreeMap<Wanted, ResolvedImage>,
) -> BTreeMap<Wanted, lower::ResolvedImage> {
    let image = |image: &ResolvedImage| lower::ResolvedImage {
        reference: image.reference.clone(),
        config: image.config.clone(),
    };
    resolved.iter().map(|(wanted, resolved)| (wanted.clone(), image(resolved))).collect()
}

/// The layers of an image by their diff ids.
fn layers_of(image: &ResolvedImage) -> impl Iterator<Item = (Digest, Layer)> {
    image.config.rootfs.diff_ids.iter().copied().zip(image.entry.layers.iter().cloned())
}

/// What the config of an image says of one layer.
struct LayerFacts {
    diff_id: Digest,
    created: Option<Timestamp>,
    size: u64,
}

/// Waits for the digests of the layers that are still being made.
async fn layers(store: &Store, snapshot: &Snapshot) -> Result<Vec<LayerFacts>> {
    let (store, layers) = (store.clone(), snapshot.layers.clone());
    let facts = move |layer: &Layer| {
        let diff_id = store.diff_id(layer).map_err(Error::store("digest a layer"))?;
        let record = store.record(layer).map_err(Error::store("read the record of a layer"))?;
        let seconds = match layer {
            Layer::Pulled { blob, .. } => blob.created,
            _ => record.map(|record| record.created),
        };
        let created = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        let size = store.layer_size(layer).map_err(Error::store("measure a layer"))?;
        let pulled = match layer {
            Layer::Pulled { blob, .. } => blob.size,
            _ => 0,
        };
        Ok(LayerFacts { diff_id, created, size: size.unwrap_or(pulled) })
    };
    crate::worker::fetch::blocking(move || layers.iter().map(facts).collect()).await
}
