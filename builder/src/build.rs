//! A build: what to build, and the road from the Dockerfile to the image.

mod attest;
mod check;
mod finish;
mod prepare;
mod resolve;
mod run;
mod shared;
pub(crate) mod steps;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_cache::{Claim, Digest, Store, User};
use rbuild_solver::{Event, Events, What};
use tokio::sync::Semaphore;

use crate::attest::{Attest, Detail};
use crate::cdi::{DeviceAccess, Grants};
use crate::context::ContextSource;
use crate::dockerfile::Diagnostic;
use crate::error::{Error, Result, Source};
use crate::export::{self, Descriptor, Exporter, Finished, Output, OutputKind, Packing};
use crate::image::ImageConfig;
use crate::lower::Request;
use crate::platform::Platform;
use crate::registries::Registries;
use crate::remote::{Remotes, Versions};
use crate::report::{Recorder, Report};
use crate::secret::{SecretSource, Secrets};
use crate::settle::Stay;
use crate::share::{CacheFrom, CacheTo};
use crate::source::{self, Lookup};
use crate::space::{self, Cap};
use crate::ssh::{Agents, SshSource};
use run::Run;
use steps::begin;

/// RUN steps that run at once where the caller does not say: more than cores, since many wait.
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
    /// An image in an OCI layout on disk, a folder or an archive: `PATH[:TAG][@DIGEST]`.
    Layout(String),
}

type Listener = Arc<dyn Fn(Event) + Send + Sync>;

/// A build that was described but not run yet.
///
/// ```no_run
/// # async fn build() -> rbuild::Result<()> {
/// let store = rbuild::Store::open("/var/lib/rbuild")?;
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
    /// The platforms beside the one of the request, in order.
    other_platforms: Vec<Platform>,
    contexts: BTreeMap<String, ContextReference>,
    secrets: Secrets,
    agents: Agents,
    devices: DeviceAccess,
    lookup: Lookup,
    cache_max: Option<u64>,
    jobs: usize,
    outputs: Vec<Output>,
    cache_from: Vec<CacheFrom>,
    cache_to: Vec<CacheTo>,
    attest: Attest,
    told: Option<Detail>,
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
    /// The id of the image: the digest of its config. Of several platforms, that of this machine's
    /// or else of the first.
    pub id: Digest,
    /// Its manifest or index, where an output made one.
    pub manifest: Option<Descriptor>,
    /// The full names that the image has got.
    pub names: Vec<String>,
    /// The config of the image with the id.
    pub config: ImageConfig,
    /// The platforms that were built for, in order.
    pub platforms: Vec<Platform>,
    /// What the lint rules found, in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// The Dockerfile, for those who show the warnings.
    pub dockerfile: Source,
    /// How the image of each platform was made, as the predicate of SLSA's provenance in JSON,
    /// where [`tell_provenance`](Build::tell_provenance) asked for it.
    pub provenance: Vec<(Platform, Vec<u8>)>,
    images: Vec<Finished>,
    store: Store,
    registries: Registries,
}

impl Built {
    /// The id of the image: the digest of its config.
    pub fn digest(&self) -> Digest {
        self.id
    }

    /// The images of all platforms, in order.
    pub(crate) fn images(&self) -> &[Finished] {
        &self.images
    }

    /// What the image needs of the store.
    fn claim(&self) -> Claim {
        let user = User::Image(self.id.to_string());
        let manifest = self.manifest.iter().map(|manifest| manifest.digest);
        let blobs = manifest.chain(self.images.iter().map(|image| image.id)).collect();
        let layers = self.images.iter().flat_map(|image| image.layers.iter().cloned());
        Claim { user, layers: layers.collect(), blobs }
    }

    /// Pushes the image under another name, with the registries of the build.
    ///
    /// # Errors
    /// A name that is none, or a registry that refuses.
    pub async fn push(&self, name: &str) -> Result<()> {
        let reference = source::parse(name)?;
        let events = Events::none();
        let step = begin(&events, format!("push {reference}"));
        let (store, registries) = (self.store.clone(), self.registries.clone());
        let exporter = Exporter { store, registries, events, step };
        export::push::push(&exporter, &reference, &self.images, &Packing::default()).await.map(drop)
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
            other_platforms: Vec::new(),
            contexts: BTreeMap::new(),
            secrets: Secrets::default(),
            agents: Agents::default(),
            devices: DeviceAccess::default(),
            lookup: Lookup::default(),
            cache_max: None,
            jobs: JOBS,
            outputs: Vec::new(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            attest: Attest::default(),
            told: None,
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

    /// Builds for another platform than this machine's; may be called again for more. Images of
    /// several platforms share the names of the build.
    pub fn platform(mut self, platform: Platform) -> Self {
        if !self.request.platform_chosen {
            self.request.platform = platform;
            self.request.platform_chosen = true;
        } else if !self.platforms().any(|known| *known == platform) {
            self.other_platforms.push(platform);
        }
        self
    }

    /// All platforms that are built for, in order.
    fn platforms(&self) -> impl Iterator<Item = &Platform> {
        [&self.request.platform].into_iter().chain(&self.other_platforms)
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

    /// Says when the registries are asked what the names of base images stand for; after an hour
    /// where nothing is said.
    pub fn lookup(mut self, lookup: Lookup) -> Self {
        self.lookup = lookup;
        self
    }

    /// Asks the registries for the base images though the store knows them.
    pub fn pull(self, pull: bool) -> Self {
        if pull { self.lookup(Lookup::Always) } else { self }
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

    /// Lends an SSH agent to the steps that mount it; its usual name is `default`.
    pub fn ssh(mut self, id: impl Into<String>, source: SshSource) -> Self {
        self.agents.insert(id.into(), source);
        self
    }

    /// Gives leave to use devices of the host.
    pub fn allow_devices(mut self, grants: Grants) -> Self {
        self.devices.grants = grants;
        self
    }

    /// Reads the descriptions of devices from other folders than [`cdi::FOLDERS`](crate::cdi).
    pub fn device_folders(mut self, folders: Vec<PathBuf>) -> Self {
        self.devices.folders = folders;
        self
    }

    /// Gives a name to a folder or image that `FROM`, `COPY --from` and mounts can use.
    pub fn named_context(mut self, name: impl Into<String>, source: ContextReference) -> Self {
        self.contexts.insert(name.into(), source);
        self
    }

    /// Sends the result somewhere; may be called again for more. Without any, it goes to the
    /// store.
    pub fn output(mut self, output: impl Into<Output>) -> Self {
        self.outputs.push(output.into());
        self
    }

    /// Takes results from a cache too; may be called again for more. A cache that cannot be read
    /// stops no build.
    pub fn cache_from(mut self, cache: CacheFrom) -> Self {
        self.cache_from.push(cache);
        self
    }

    /// Puts what the build knows into a cache; may be called again for more.
    pub fn cache_to(mut self, cache: CacheTo) -> Self {
        self.cache_to.push(cache);
        self
    }

    /// Attests this of the image, beside it where it goes; the store alone keeps no attestations.
    pub fn attest(mut self, attest: Attest) -> Self {
        self.attest = attest;
        self
    }

    /// Tells the caller how the images were made, whatever is attested of them.
    pub fn tell_provenance(mut self, detail: Detail) -> Self {
        self.told = Some(detail);
        self
    }

    /// Finds images with these settings.
    pub fn registries(mut self, registries: Registries) -> Self {
        self.registries = registries;
        self
    }

    /// Sets how many bytes the store may take. While the build runs, and at its end, whatever
    /// nobody uses goes, the least valuable first: so it is exceeded by one step at most, unless
    /// what is in use takes more. Without a cap nothing is removed.
    pub fn cache_max(mut self, bytes: u64) -> Self {
        self.cache_max = Some(bytes);
        self
    }

    /// The same build with a result that nobody finds: without names, outputs and shared caches.
    pub(crate) fn aside(mut self) -> Self {
        self.tags.clear();
        self.outputs = vec![OutputKind::CacheOnly.into()];
        self.cache_from.clear();
        self.cache_to.clear();
        self.attest = Attest::default();
        self
    }

    /// Lets so many RUN steps run at once; 0 is no limit. Fetching and copying have limits of their
    /// own.
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = if jobs == 0 { Semaphore::MAX_PERMITS } else { jobs };
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
    /// See [`Error`](crate::Error), whose `kind` says whose fault it is.
    pub async fn run(self, store: &Store) -> Result<Built> {
        let recorder = Recorder::default();
        let run = self.start(store, &recorder).await?;
        let (report, cap, events) = (run.report(), run.cap.clone(), run.events.clone());
        let built = Box::pin(run.finish()).await;
        if let Some(cap) = cap {
            let made = built.as_ref().ok().map(Built::claim);
            space::end(cap, store, &events, made).await;
        }
        let report = Report {
            ended: jiff::Timestamp::now().as_second(),
            image: built.as_ref().ok().map(|built| built.id.to_string()),
            steps: recorder.steps(),
            ..report
        };
        if !report.steps.is_empty()
            && let Err(error) = report.keep(store)
        {
            tracing::warn!(%error, "the report of the build is not kept");
        }
        built
    }

    /// Reads what a build starts from.
    async fn start(mut self, store: &Store, recorder: &Recorder) -> Result<Run> {
        let (recorder, listener) = (recorder.clone(), self.listener.clone());
        let noted = recorder.clone();
        let events = Events::new(move |event| {
            noted.note(&event);
            if let Some(listener) = &listener {
                listener(event);
            }
        });
        let stay = Stay::begin(store).map_err(Error::store("say that a build uses the store"))?;
        let cap = self.cache_max.map(|max| Arc::new(Cap::new(max)));
        self.registries = self.with_buckets();
        let names = self.names()?;
        let remotes = self.remotes(store, &events);
        let prepared = self.prepare(&remotes).await?;
        for text in stay.warnings() {
            events.emit(prepared.definition, What::Warning { text });
        }
        let (store, ran) = (store.clone(), Arc::default());
        Ok(Run {
            build: self,
            store,
            events,
            remotes,
            prepared,
            names,
            ran,
            recorder,
            cap,
            _stay: stay,
        })
    }

    /// What fetches the sources that are elsewhere.
    fn remotes(&self, store: &Store, events: &Events) -> Remotes {
        Remotes {
            store: store.clone(),
            registries: self.registries.clone(),
            secrets: self.secrets.clone(),
            agents: self.agents.clone(),
            events: events.clone(),
            versions: Versions::default(),
        }
    }
}
