//! A build: what to build, and the road from the Dockerfile to the image.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use rbuild_cache::{Digest, Layer, Snapshot, Store};
use rbuild_solver::{Event, Events, Mode, Solver, StepId, What};
use tokio::sync::Semaphore;

use crate::context::{ContextSource, Folder, read_file};
use crate::dockerfile::{self, Diagnostic, Dockerfile};
use crate::error::{Error, Result, Source, StepError};
use crate::export::{self, Exporter, Finished, Output};
use crate::image::ImageConfig;
use crate::lower::{self, CONTEXT, Lowered, NamedContext, Request, Wanted};
use crate::platform::Platform;
use crate::registries::Registries;
use crate::secret::{SecretSource, Secrets};
use crate::source::{self, ResolvedImage};
use crate::worker::{Base, LocalWorker, World, image_key};

/// Steps that run at once where the caller does not say: more than cores, since many wait.
const JOBS: usize = 16;

/// Where the Dockerfile is.
#[derive(Debug, Clone, Default)]
pub enum DockerfileSource {
    /// `Dockerfile`, else `dockerfile`, in the context.
    #[default]
    Default,
    /// A file of this machine.
    Path(PathBuf),
    /// A file of the context.
    Inside(String),
    /// The text itself.
    Text(Vec<u8>),
}

/// What a `--build-context` is.
#[derive(Debug, Clone)]
pub enum ContextReference {
    /// A folder.
    Files(ContextSource),
    /// An image, by its name.
    Image(String),
}

type Listener = Arc<dyn Fn(Event) + Send + Sync>;

/// A build that was described but not run yet.
///
/// ```no_run
/// # async fn build() -> rbuild::Result<()> {
/// let store = rbuild::Store::open("/var/lib/rbuild").map_err(rbuild::Error::from)?;
/// let image = rbuild::Build::new(".").tag("mypub-ip").run(&store).await?;
/// println!("{}", image.id);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a build does nothing until it is run"]
pub struct Build {
    context: ContextSource,
    dockerfile: DockerfileSource,
    tags: Vec<String>,
    request: Request,
    contexts: BTreeMap<String, ContextReference>,
    secrets: Secrets,
    pull: bool,
    jobs: usize,
    outputs: Vec<Output>,
    registries: Registries,
    listener: Option<Listener>,
}

impl fmt::Debug for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Build")
            .field("context", &self.context)
            .field("dockerfile", &self.dockerfile)
            .field("tags", &self.tags)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

/// A finished build.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Built {
    /// The id of the image: the digest of its config.
    pub id: Digest,
    /// The digest of its manifest, where an output made one.
    pub manifest: Option<Digest>,
    /// The full names that the image has got.
    pub names: Vec<String>,
    /// The config of the image.
    pub config: ImageConfig,
    /// What the lint rules found, in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// The Dockerfile, for those who show the warnings.
    pub dockerfile: Source,
    layers: Arc<[Layer]>,
    store: Store,
    registries: Registries,
}

impl Built {
    /// The id of the image: the digest of its config.
    pub fn digest(&self) -> Digest {
        self.id
    }

    /// Pushes the image under another name, with the registries of the build.
    ///
    /// # Errors
    /// A name that is none, or a registry that refuses.
    pub async fn push(&self, name: &str) -> Result<()> {
        let reference = source::parse(name)?;
        let events = Events::none();
        let step = begin(&events, format!("push {reference}"));
        let config = self.config.to_json();
        let (store, registries) = (&self.store, &self.registries);
        export::push::push(store, registries, &reference, &config, &self.layers, &events, step)
            .await
            .map(drop)
    }
}

impl Build {
    /// A build of the Dockerfile in a context, into the store.
    pub fn new(context: impl Into<ContextSource>) -> Self {
        Self {
            context: context.into(),
            dockerfile: DockerfileSource::Default,
            tags: Vec::new(),
            request: Request::new(),
            contexts: BTreeMap::new(),
            secrets: Secrets::default(),
            pull: false,
            jobs: JOBS,
            outputs: Vec::new(),
            registries: Registries::new(),
            listener: None,
        }
    }

    /// Takes the Dockerfile from elsewhere.
    pub fn dockerfile(mut self, source: DockerfileSource) -> Self {
        self.dockerfile = source;
        self
    }

    /// Gives the image a name; may be called again for more.
    pub fn tag(mut self, name: impl Into<String>) -> Self {
        self.tags.push(name.into());
        self
    }

    /// Builds another stage than the last one.
    pub fn target(mut self, stage: impl Into<String>) -> Self {
        self.request.target = Some(stage.into());
        self
    }

    /// Gives an ARG a value.
    pub fn build_arg(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.arguments.insert(name.into(), value.into());
        self
    }

    /// Gives the image a label.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.labels.push((name.into(), value.into()));
        self
    }

    /// Builds for another platform than this machine's.
    pub fn platform(mut self, platform: Platform) -> Self {
        self.request.platform = platform;
        self
    }

    /// Runs every step again.
    pub fn no_cache(mut self, fresh: bool) -> Self {
        self.request.no_cache = fresh;
        self
    }

    /// Runs the steps of these stages again.
    pub fn no_cache_filter(mut self, stages: Vec<String>) -> Self {
        self.request.no_cache_filter = stages;
        self
    }

    /// Asks the registries for the base images though the store knows them.
    pub fn pull(mut self, pull: bool) -> Self {
        self.pull = pull;
        self
    }

    /// Sets the network of RUN where the instruction names none.
    pub fn network(mut self, network: rbuild_solver::op::Network) -> Self {
        self.request.network = network;
        self
    }

    /// Adds a line to /etc/hosts of RUN.
    pub fn add_host(mut self, name: impl Into<String>, address: impl Into<String>) -> Self {
        self.request.extra_hosts.push((name.into(), address.into()));
        self
    }

    /// Sets the size of /dev/shm in bytes.
    pub fn shm_size(mut self, bytes: u64) -> Self {
        self.request.shm_size = bytes;
        self
    }

    /// Limits a resource of RUN; `u64::MAX` is no limit.
    pub fn ulimit(mut self, name: impl Into<String>, soft: u64, hard: u64) -> Self {
        self.request.ulimits.push((name.into(), soft, hard));
        self
    }

    /// Allows `RUN --security=insecure`.
    pub fn allow_insecure(mut self, allowed: bool) -> Self {
        self.request.insecure = allowed;
        self
    }

    /// Gives a secret to the steps that mount it.
    pub fn secret(mut self, id: impl Into<String>, source: SecretSource) -> Self {
        self.secrets.insert(id.into(), source);
        self
    }

    /// Gives a name to a folder or image that `FROM`, `COPY --from` and mounts can use.
    pub fn named_context(mut self, name: impl Into<String>, source: ContextReference) -> Self {
        self.contexts.insert(name.into(), source);
        self
    }

    /// Sends the result somewhere; may be called again for more. Without any, it goes to the
    /// store.
    pub fn output(mut self, output: Output) -> Self {
        self.outputs.push(output);
        self
    }

    /// Finds images with these settings.
    pub fn registries(mut self, registries: Registries) -> Self {
        self.registries = registries;
        self
    }

    /// Lets so many steps run at once.
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs.max(1);
        self
    }

    /// Tells a function everything that happens.
    pub fn on_event(mut self, listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Runs the build. Dropping the future stops it.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::kind`] says whose fault it is.
    pub async fn run(self, store: &Store) -> Result<Built> {
        let events = match self.listener.clone() {
            Some(listener) => Events::new(move |event| listener(event)),
            None => Events::none(),
        };
        let names = self.names()?;
        let prepared = self.prepare(store, &events)?;
        Run { build: self, store: store.clone(), events, prepared, names, ran: Arc::default() }
            .finish()
            .await
    }

    fn names(&self) -> Result<Vec<String>> {
        self.tags.iter().map(|tag| Ok(source::parse(tag)?.to_string())).collect()
    }

    /// Opens the context, reads the Dockerfile, and parses it.
    fn prepare(&self, store: &Store, events: &Events) -> Result<Prepared> {
        let mut folder = Folder::open(CONTEXT, &self.context, store)?;
        let (name, path, text) = self.read_dockerfile(&folder, events)?;
        let step = begin(events, "[internal] load .dockerignore".to_owned());
        let ignore = folder.load_ignore(path.as_deref())?.unwrap_or(".dockerignore").to_owned();
        transferred(events, step, &ignore, 0);
        let file = Source { name, text: String::from_utf8_lossy(&text).into() };
        let tree = dockerfile::parse(&text)
            .map_err(|errors| Error::Dockerfile { file: file.clone(), errors })?;
        Ok(Prepared { folder, file, path, tree })
    }

    fn read_dockerfile(
        &self,
        folder: &Folder,
        events: &Events,
    ) -> Result<(String, Option<PathBuf>, Vec<u8>)> {
        let named = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into();
        let (name, path, text): (String, _, _) = match &self.dockerfile {
            DockerfileSource::Text(text) => ("Dockerfile".to_owned(), None, text.clone()),
            DockerfileSource::Path(path) => {
                let text = read_file(path)?.ok_or_else(|| Error::NoDockerfile(path.clone()))?;
                (named(path), Some(path.clone()), text)
            }
            DockerfileSource::Inside(name) => {
                let path = folder.path().join(name);
                let text = folder.read(name)?.ok_or_else(|| Error::NoDockerfile(name.into()))?;
                (named(&path), Some(path), text)
            }
            DockerfileSource::Default => {
                let first = folder.path().join("Dockerfile");
                match folder.read("Dockerfile")? {
                    Some(text) => ("Dockerfile".to_owned(), Some(first), text),
                    None => match folder.read("dockerfile")? {
                        Some(text) => (
                            "dockerfile".to_owned(),
                            Some(first.with_file_name("dockerfile")),
                            text,
                        ),
                        None => return Err(Error::NoDockerfile(first)),
                    },
                }
            }
        };
        let step = begin(events, format!("[internal] load build definition from {name}"));
        transferred(events, step, "dockerfile", text.len() as u64);
        Ok((name, path, text))
    }
}

/// Makes a step known.
fn plan(events: &Events, name: String) -> StepId {
    let digest = format!("sha256:{}", blake3::hash(name.as_bytes()).to_hex());
    events.plan(name, digest, Vec::new())
}

/// Makes a step known and starts it.
pub(crate) fn begin(events: &Events, name: String) -> StepId {
    let step = plan(events, name);
    events.emit(step, What::Started);
    step
}

/// Ends a step that read something.
pub(crate) fn transferred(events: &Events, step: StepId, what: &str, bytes: u64) {
    let part = format!("transferring {what}:");
    events.emit(step, What::Progress { part, current: bytes, total: None, done: true });
    events.emit(step, What::Finished);
}

/// A parsed Dockerfile and its context.
struct Prepared {
    folder: Folder,
    file: Source,
    path: Option<PathBuf>,
    tree: Dockerfile,
}

/// A build under way.
struct Run {
    build: Build,
    store: Store,
    events: Events,
    prepared: Prepared,
    names: Vec<String>,
    /// Whether any step had to run.
    ran: Arc<AtomicBool>,
}

impl Run {
    async fn finish(self) -> Result<Built> {
        let request = self.request();
        let resolved = self.resolve(&request).await?;
        let known = resolved
            .iter()
            .map(|(wanted, image)| {
                let image = lower::ResolvedImage {
                    reference: image.reference.clone(),
                    config: image.config.clone(),
                };
                (wanted.clone(), image)
            })
            .collect();
        let lowered = lower::lower(&self.prepared.tree, &request, &known)
            .map_err(|error| self.wrong(error))?;
        let snapshot = self.solve(&lowered, &resolved).await?;
        let sweep = self.sweep();
        let built = self.export(lowered.config, snapshot).await;
        // Nobody waits for the sweep of a build that failed; it is done by the next one.
        if let Some(sweep) = sweep {
            let _ = sweep.await;
        }
        built
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

    fn wrong(&self, error: Diagnostic) -> Error {
        Error::Dockerfile { file: self.prepared.file.clone(), errors: vec![error] }
    }

    fn request(&self) -> Request {
        let mut request = self.build.request.clone();
        let file = self.prepared.path.as_deref().unwrap_or(self.prepared.folder.path());
        request.name = file.display().to_string();
        for (name, context) in &self.build.contexts {
            let named = match context {
                ContextReference::Files(_) => NamedContext::Folder,
                ContextReference::Image(name) => NamedContext::Image(name.clone()),
            };
            request.contexts.insert(name.clone(), named);
        }
        request
    }

    /// Resolves the images that are wanted, until their triggers want no more.
    async fn resolve(&self, request: &Request) -> Result<BTreeMap<Wanted, ResolvedImage>> {
        let mut resolved: BTreeMap<Wanted, ResolvedImage> = BTreeMap::new();
        loop {
            let known = resolved.iter().map(|(key, image)| (key.clone(), image.config.clone()));
            let wanted = lower::wanted_images(&self.prepared.tree, request, &known.collect())
                .map_err(|error| self.wrong(error))?;
            let missing: Vec<Wanted> =
                wanted.into_iter().filter(|wanted| !resolved.contains_key(wanted)).collect();
            if missing.is_empty() {
                return Ok(resolved);
            }
            let images = missing.iter().map(|wanted| self.resolve_one(wanted));
            let images = futures::future::try_join_all(images).await?;
            resolved.extend(missing.into_iter().zip(images));
        }
    }

    async fn resolve_one(&self, wanted: &Wanted) -> Result<ResolvedImage> {
        let reference = source::parse(&wanted.reference)?;
        let name = format!("[internal] load metadata for {reference}");
        let step = begin(&self.events, name);
        let platform = crate::platform::parse(&wanted.platform)
            .map_err(Error::registry("read the platform"))?;
        let registries = &self.build.registries;
        let image =
            source::resolve(&self.store, registries, &wanted.reference, &platform, self.build.pull)
                .await;
        match &image {
            Ok(_) => self.events.emit(step, What::Finished),
            Err(error) => self.events.emit(step, What::Failed { error: error.to_string() }),
        }
        image
    }

    async fn solve(
        &self,
        lowered: &Lowered,
        resolved: &BTreeMap<Wanted, ResolvedImage>,
    ) -> Result<Snapshot> {
        let (world, bases) = self.world(lowered, resolved)?;
        let world = Arc::new(world);
        let worker = Arc::new(LocalWorker(world.clone()));
        let solver = Solver::new(self.store.clone(), worker);
        let solved = solver.solve(&lowered.graph, lowered.target, Mode::Build, &self.events).await;
        for step in bases {
            world.end_base(step);
        }
        match solved {
            Ok(outputs) => Ok(outputs[0].clone()),
            Err(error) => Err(self.failed(lowered, error)),
        }
    }

    /// Everything that the steps of this build may use.
    fn world(
        &self,
        lowered: &Lowered,
        resolved: &BTreeMap<Wanted, ResolvedImage>,
    ) -> Result<(World, Vec<StepId>)> {
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
            folders: self.folders(lowered)?,
            images,
            secrets: self.build.secrets.clone(),
            jobs: Arc::new(Semaphore::new(self.build.jobs)),
            events: self.events.clone(),
            fetched: Mutex::default(),
            ran: self.ran.clone(),
        };
        Ok((world, steps))
    }

    fn folders(&self, lowered: &Lowered) -> Result<HashMap<String, Arc<Folder>>> {
        let mut folders = HashMap::new();
        for (name, patterns) in &lowered.folders {
            let mut folder = match self.build.contexts.get(name) {
                Some(ContextReference::Files(source)) => Folder::open(name, source, &self.store)?,
                _ => Folder::open(CONTEXT, &self.build.context, &self.store)?,
            };
            let beside = self.prepared.path.as_deref().filter(|_| name == CONTEXT);
            folder.load_ignore(beside)?;
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

    async fn export(self, mut config: ImageConfig, snapshot: Snapshot) -> Result<Built> {
        let step = begin(&self.events, "exporting to image".to_owned());
        let layers = layers(&self.store, &snapshot).await?;
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
        config.date(&layers.iter().map(|layer| layer.created).collect::<Vec<_>>());
        let config_bytes = config.to_json();
        let part = "exporting layers".to_owned();
        self.events.emit(step, What::Progress { part, current: 0, total: None, done: true });
        let image = Finished {
            id: export::manifest::digest(&config_bytes),
            config_bytes,
            config,
            snapshot,
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
        let tree = self.prepared.tree;
        Ok(Built {
            id: image.id,
            manifest,
            names: image.names,
            config: image.config,
            warnings: tree.warnings_under(tree.directives.check.as_ref()),
            dockerfile: self.prepared.file,
            layers: image.snapshot.layers,
            store: exporter.store,
            registries: exporter.registries,
        })
    }
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
        let created = record.and_then(|record| Timestamp::from_second(record.created).ok());
        let size = store.layer_size(layer).map_err(Error::store("measure a layer"))?;
        let pulled = match layer {
            Layer::Pulled { blob, .. } => blob.size,
            _ => 0,
        };
        Ok(LayerFacts { diff_id, created, size: size.unwrap_or(pulled) })
    };
    crate::worker::fetch::blocking(move || layers.iter().map(facts).collect()).await
}
