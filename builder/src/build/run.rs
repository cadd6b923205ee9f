//! The road of one build: images resolved, graph made and solved, result exported.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rbuild_cache::{Digest, Layer, Store};
use rbuild_solver::op::Source;
use rbuild_solver::{Events, Mode, Solver, StepId, What};
use tokio::sync::Semaphore;

use super::attest::Story;
use super::prepare::Prepared;
use super::resolve::known;
use super::steps::plan;
use super::{Build, Built, ContextReference};
use crate::context::Folder;
use crate::dockerfile::Diagnostic;
use crate::error::{Error, Result, StepError};
use crate::layout;
use crate::lower::{self, CONTEXT, Epoch, Lowered, NamedContext, Request, Wanted};
use crate::platform::Platform;
use crate::remote::Remotes;
use crate::report::{Recorder, Report, secrets};
use crate::settle::Stay;
use crate::share::{Found, Solved, chunks, imported};
use crate::source::ResolvedImage;
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
    /// What is told of it afterwards.
    pub(super) recorder: Recorder,
    /// How much the store may take.
    pub(super) cap: Option<Arc<Cap>>,
    /// Nothing that this build uses is removed meanwhile.
    pub(super) _stay: Stay,
}

impl Run {
    /// The report of this build, as far as it is known before.
    pub(super) fn report(&self) -> Report {
        Report {
            dockerfile: self.file_name(),
            target: self.build.request.target.clone(),
            platform: self.build.platforms().map(Platform::to_string).collect::<Vec<_>>().join(","),
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
        let story = Story::begin();
        let requests = self.requests().await?;
        let (resolved, found) = futures::join!(self.resolve(&requests), self.import());
        let resolved = resolved?;
        let lowered = self.lower(&requests, &resolved)?;
        for warning in &lowered.warnings {
            let text = warning.to_string();
            self.events.emit(self.prepared.definition, What::Warning { text });
        }
        self.lint(&lowered)?;
        let solved = self.solve(&lowered, &resolved, found).await?;
        let sweep = self.sweep();
        let story = Story { requests, resolved, spans: lowered.spans, ..story };
        let built = self.export(lowered.targets, solved, &story).await;
        // Nobody waits for the sweep of a build that failed; it is done by the next one.
        if let Some(sweep) = sweep {
            let _ = sweep.await;
        }
        built.map(|built| Built { warnings: lowered.warnings, ..built })
    }

    /// One graph for all platforms.
    fn lower(
        &self,
        requests: &[Request],
        resolved: &BTreeMap<Wanted, ResolvedImage>,
    ) -> Result<Lowered> {
        let known = known(resolved);
        let one = |request| lower::lower(&self.prepared.tree, request, &known);
        let all = requests.iter().map(one).collect::<Result<_, _>>();
        let all = all.map_err(|error| self.wrong(error))?;
        Ok(lower::join(all).expect("a build is for at least one platform"))
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

    /// What is asked, for one platform after the other.
    async fn requests(&self) -> Result<Vec<Request>> {
        let mut requests = Vec::new();
        for platform in self.build.platforms() {
            requests.push(self.request_for(platform).await?);
        }
        Ok(requests)
    }

    /// What is asked, for the first of the platforms.
    pub(super) async fn request(&self) -> Result<Request> {
        self.request_for(&self.build.request.platform).await
    }

    async fn request_for(&self, platform: &Platform) -> Result<Request> {
        let mut request = self.build.request.clone();
        request.platform = platform.clone();
        request.several_platforms = !self.build.other_platforms.is_empty();
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

    async fn solve(
        &self,
        lowered: &Lowered,
        resolved: &BTreeMap<Wanted, ResolvedImage>,
        found: Vec<Found>,
    ) -> Result<Solved> {
        let folders = self.folders(lowered).await?;
        self.forget_caches(lowered).await?;
        let (mut world, shown) = self.world(lowered, resolved, folders);
        let bases = resolved.values().flat_map(|image| image.entry.layers.iter().cloned());
        let bases: HashSet<Layer> = bases.collect();
        let fresh = caches::fresh(&lowered.graph);
        world.mounts = chunks(&found);
        world.mounts.retain(|name, _| !fresh.iter().any(|id| name.starts_with(id)));
        let early = self.early(lowered, &bases);
        world.early.clone_from(&early);
        let world = Arc::new(world);
        let worker = Arc::new(LocalWorker(world.clone()));
        let layers: HashMap<Digest, Layer> = resolved.values().flat_map(layers_of).collect();
        // What was found elsewhere of any step is to be known here from now on.
        let has_secrets = secrets::are_mounted(&lowered.graph);
        let lists = !self.exports().is_empty() || !found.is_empty() || has_secrets;
        let store = self.store.clone().importing(imported(found, &layers));
        let solver = Solver::new(store, worker);
        let (graph, events) = (&lowered.graph, &self.events);
        let targets: Vec<_> = lowered.targets.iter().map(|target| target.root).collect();
        let solved = if lists {
            solver.solve_and_list(graph, &targets, Mode::Build, events).await
        } else {
            let results = solver.solve_all(graph, &targets, Mode::Build, events).await;
            results.map(|results| (results, Vec::new()))
        };
        for step in shown {
            world.end_base(step);
        }
        let (results, used) = solved.map_err(|error| self.failed(lowered, error))?;
        if has_secrets {
            let (store, secrets, graph) = (&self.store, &self.build.secrets, &lowered.graph);
            self.recorder.note_secrets(secrets::changed(store, secrets, graph, &used));
        }
        let snapshots = results.iter().map(|outputs| outputs[0].clone()).collect();
        Ok(Solved { snapshots, used, bases, graph: lowered.graph.clone(), early })
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
            early: None,
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
}

/// The layers of an image by their diff ids.
fn layers_of(image: &ResolvedImage) -> impl Iterator<Item = (Digest, Layer)> {
    image.config.rootfs.diff_ids.iter().copied().zip(image.entry.layers.iter().cloned())
}
