//! The world that the solver asks: naming sources, digesting parts, running ops.
//!
//! Everything that touches files or processes runs on blocking threads; the solver's futures only
//! wait for them. A step that is no longer wanted is killed by the guard that its future holds.

mod archive;
pub(crate) mod caches;
mod changes;
mod copy;
mod deliver;
mod exec;
pub(crate) mod fetch;
mod files;
mod foreign;
mod fresh;
mod mounts;
mod prune;
mod reach;
pub(crate) mod select;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use rbuild_cache::hash::Hasher;
use rbuild_cache::tree::{Options, Tree};
use rbuild_cache::{Blob, ContentId, Layer, Outputs, Record, Snapshot, StagedLayer, Store};
use rbuild_solver::op::{Mount, MountKind, Op, Select, Source};
use rbuild_solver::{CachedBy, Error, FileChange, Mode, StepId, Task, What, Worker, content_of};
use tokio::sync::Semaphore;

use crate::build::steps::{begin, transferred};
use crate::cdi::DeviceAccess;
use crate::context::{Folder, Root, select_digest};
use crate::error::StepError;
use crate::export::Output;
use crate::lower::CONTEXT;
use crate::registries::Registries;
use crate::remote::{Fetched, Remotes};
use crate::report::secrets;
use crate::secret::Secrets;
use crate::share::Early;
use crate::space::Cap;
use crate::ssh::Agents;

/// An image of the graph, and the step that shows it.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) snapshot: Snapshot,
    pub(crate) step: StepId,
}

/// The name of an image among those of a build.
pub(crate) fn image_key(reference: &str, platform: &str) -> String {
    format!("{reference} {platform}")
}

/// What one build may use.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) registries: Registries,
    pub(crate) folders: HashMap<String, Arc<Folder>>,
    /// What fetches the sources that are elsewhere.
    pub(crate) remotes: Remotes,
    /// The images, by [`image_key`].
    pub(crate) images: HashMap<String, Base>,
    pub(crate) secrets: Secrets,
    pub(crate) agents: Agents,
    pub(crate) devices: DeviceAccess,
    /// As many RUN steps run at once as there are permits.
    pub(crate) jobs: Arc<Semaphore>,
    pub(crate) events: rbuild_solver::Events,
    /// The steps whose image had to be fetched, and whether that is done.
    pub(crate) fetched: Mutex<BTreeMap<StepId, bool>>,
    /// What other machines had in their cache mounts, by the names of the folders.
    pub(crate) mounts: HashMap<String, Vec<Blob>>,
    /// Where the result goes.
    pub(crate) wanted: Vec<Output>,
    /// Whether any step had to run.
    pub(crate) ran: Arc<AtomicBool>,
    /// How much the store may take.
    pub(crate) cap: Option<Arc<Cap>>,
    /// What sends layers while the build goes on.
    pub(crate) early: Option<Arc<Early>>,
}

/// A handle by which blocking threads share the world.
#[derive(Debug, Clone)]
pub(crate) struct LocalWorker(pub(crate) Arc<World>);

impl LocalWorker {
    /// Runs work that waits for files on a thread of its own.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&World) -> Result<T, StepError> + Send + 'static,
    ) -> Result<T, Error> {
        let world = self.0.clone();
        match tokio::task::spawn_blocking(move || work(&world)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Error::failed(error)),
            Err(error) if error.is_cancelled() => Err(Error::Canceled),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Makes sure that layers are unpacked in the store.
    async fn fetch_layers(&self, layers: &[Layer]) -> Result<(), Error> {
        let missing: Vec<Layer> = layers
            .iter()
            .filter(|layer| matches!(layer, Layer::Pulled { .. }))
            .filter(|layer| self.0.store.layer_path(layer).is_none())
            .cloned()
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let step = self.0.step_of(&missing[0]);
        self.0.fetch_begins(step);
        futures::future::try_join_all(missing.iter().map(|layer| self.fetch_one(layer, step)))
            .await?;
        self.0.fetch_ends(step);
        Ok(())
    }

    /// Fetches a layer; one of a result that is known from elsewhere can be made anew.
    async fn fetch_one(&self, layer: &Layer, step: Option<StepId>) -> Result<(), Error> {
        let World { store, registries, events, .. } = &*self.0;
        let fetched = fetch::layers(store, registries, std::slice::from_ref(layer), events, step);
        fetched.await.map_err(|error| self.0.lost(layer, error))
    }
}

fn pinned(fetched: Fetched) -> Snapshot {
    fetched.snapshot
}

fn unfetched(error: crate::Error) -> Error {
    Error::failed(StepError::Fetch(Arc::new(error)))
}

impl World {
    fn fetched(&self) -> MutexGuard<'_, BTreeMap<StepId, bool>> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows that an image is being fetched, the first time.
    fn fetch_begins(&self, step: Option<StepId>) {
        let Some(step) = step else { return };
        let mut fetched = self.fetched();
        if let Entry::Vacant(entry) = fetched.entry(step) {
            entry.insert(false);
            self.events.emit(step, What::Started);
        }
    }

    /// Shows that an image was fetched, the first time.
    fn fetch_ends(&self, step: Option<StepId>) {
        if let Some(cap) = &self.cap {
            cap.forget();
        }
        let Some(step) = step else { return };
        if let Some(done) = self.fetched().get_mut(&step).filter(|done| !**done) {
            *done = true;
            self.events.emit(step, What::Finished);
        }
    }

    /// Ends the step of an image: nothing more is fetched.
    pub(crate) fn end_base(&self, step: StepId) {
        match self.fetched().get(&step) {
            None => self.events.emit(step, What::Cached { by: CachedBy::Definition }),
            Some(false) => self.events.emit(step, What::Canceled),
            Some(true) => {}
        }
    }

    /// Names what a folder holds, and shows that as a step.
    fn pin_folder(&self, folder: &Folder, name: &str) -> Result<Snapshot, StepError> {
        let what =
            if name == CONTEXT { "build context".to_owned() } else { format!("context {name}") };
        let step = begin(&self.events, format!("[internal] load {what}"));
        let snapshot = folder.pin()?;
        let bytes = folder.tree()?.nodes().iter().map(|node| node.size).sum();
        transferred(&self.events, step, "context", bytes);
        Ok(snapshot)
    }

    /// The step that shows the image to which a layer belongs.
    fn step_of(&self, layer: &Layer) -> Option<StepId> {
        let has = |base: &&Base| base.snapshot.layers.contains(layer);
        self.images.values().find(has).map(|base| base.step)
    }

    /// What it means that a layer could not be fetched: one that another machine made can be made
    /// here.
    fn lost(&self, layer: &Layer, error: crate::Error) -> Error {
        if error.is_loss() && self.step_of(layer).is_none() {
            tracing::warn!(%error, "a layer of a cache is gone");
            return Error::Lost(Box::new(layer.clone()));
        }
        // What has come of it stays, to be gone on with.
        let needed = || match layer {
            Layer::Pulled { blob, .. } => {
                Some(blob.size.saturating_sub(self.store.partial_bytes(&blob.digest)))
            }
            _ => None,
        };
        Error::failed(StepError::Fetch(Arc::new(error)).with_disk(&self.store, needed))
    }

    /// The folder of a snapshot that is one.
    fn folder(&self, snapshot: &Snapshot) -> Option<&Arc<Folder>> {
        match &*snapshot.layers {
            [Layer::Folder { name }] => self.folders.get(name),
            _ => None,
        }
    }

    fn digest(&self, snapshot: &Snapshot, select: &Select) -> Result<ContentId, StepError> {
        if let Some(folder) = self.folder(snapshot) {
            return folder.digest(select);
        }
        let view = self
            .store
            .view(&snapshot.layers)
            .map_err(StepError::store("look into the files of an earlier stage"))?;
        let find = |pattern: &str| select::find_in(view.as_fd(), pattern);
        let root = Root { files: view.as_fd(), of_root: false };
        select_digest(select, root, find, |found| {
            let roots = [found.real.clone()];
            let whole = found.real.as_os_str().is_empty();
            let options = Options { roots: if whole { &[] } else { &roots }, ..Options::default() };
            let tree = Tree::read(view.as_fd(), &options)
                .map_err(StepError::store(format!("read `{}`", found.named.display())))?;
            Ok(tree.nodes().to_vec())
        })
    }

    /// Ends a layer: digests it, writes its record, and puts it on its base.
    fn commit(
        &self,
        task: &Task,
        base: &Snapshot,
        staged: StagedLayer,
        began: Instant,
    ) -> Result<Outputs, StepError> {
        let content = match &task.op {
            Op::Exec(_) => staged.content().map_err(StepError::store("digest the new layer"))?,
            // What was asked for, of which contents, says what came out: nothing is read again.
            Op::Copy(_) | Op::Files(_) | Op::Stack => {
                let mut hasher = Hasher::new("made from known contents");
                hasher.id(task.content.as_bytes());
                hasher.content()
            }
        };
        let mut layers = base.layers.to_vec();
        layers.push(Layer::Made(staged.id()));
        let snapshot =
            Snapshot { content: content_of(base.content, content), layers: layers.into() };
        let outputs: Outputs = Arc::new([snapshot]);
        let record = Record {
            definition: task.definition,
            content: task.content,
            outputs: outputs.clone(),
            description: task.description.clone(),
            parts: task.parts.clone(),
            cost_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            created: jiff::Timestamp::now().as_second(),
        };
        let layer =
            staged.commit(Some(&record)).map_err(StepError::store("commit the new layer"))?;
        let store = self.store.clone();
        // The tar's digest is needed only when the image is written: it is made meanwhile.
        rayon::spawn(move || {
            if let Err(error) = store.diff_id(&layer) {
                tracing::debug!(%error, "the diff id is made later");
            }
        });
        Ok(outputs)
    }
}

impl World {
    /// Sees to it, after a step, that the store takes no more than it may.
    fn keep_cap(&self, task: &Task, outputs: &Outputs) {
        let Some(cap) = &self.cap else { return };
        if matches!(&task.op, Op::Exec(exec) if exec.mounts.iter().any(is_cache)) {
            cap.forget();
        }
        let layers = outputs.first().map(|output| &output.layers);
        for text in layers.and_then(|l| l.last()).map_or(Vec::new(), |l| cap.after(&self.store, l))
        {
            task.events.emit(task.step, What::Warning { text });
        }
    }
}

fn is_cache(mount: &Mount) -> bool {
    matches!(mount.kind, MountKind::Cache { .. })
}

#[async_trait]
impl Worker for LocalWorker {
    async fn pin(&self, source: &Source) -> Result<Snapshot, Error> {
        match source {
            Source::Scratch => Ok(rbuild_solver::scratch()),
            Source::Http(file) => self.0.remotes.file(file).await.map(pinned).map_err(unfetched),
            Source::Git(wanted) => {
                self.0.remotes.checkout(wanted).await.map(pinned).map_err(unfetched)
            }
            Source::Image { reference, platform } => {
                let base = self.0.images.get(&image_key(reference, platform));
                base.map(|base| base.snapshot.clone()).ok_or_else(|| {
                    Error::failed(StepError::Other(format!("`{reference}` was not resolved")))
                })
            }
            Source::Context { name } => {
                let name = name.clone();
                self.blocking(move |world| match world.folders.get(&name) {
                    Some(folder) => world.pin_folder(folder, &name),
                    None => Err(StepError::Other(format!("there is no context `{name}`"))),
                })
                .await
            }
        }
    }

    async fn digest(
        &self,
        snapshot: &Snapshot,
        select: &Select,
        mode: Mode,
    ) -> Result<ContentId, Error> {
        let here = |layer: &Layer| {
            matches!(layer, Layer::Folder { .. }) || self.0.store.layer_path(layer).is_some()
        };
        let snapshot = match mode {
            Mode::Build => self.reach(snapshot, select).await?,
            Mode::Check if snapshot.layers.iter().all(here) => snapshot.clone(),
            Mode::Check => return Err(Error::NotHere("an image".to_owned())),
        };
        let select = select.clone();
        self.blocking(move |world| world.digest(&snapshot, &select)).await
    }

    async fn run(&self, mut task: Task) -> Result<Outputs, Error> {
        self.0.ran.store(true, Ordering::Relaxed);
        self.reach_inputs(&mut task).await?;
        self.fetch_caches(&task).await;
        if let Some(early) = &self.0.early {
            early.begins(&task);
        }
        let permit = match &task.op {
            Op::Exec(_) => {
                let permit = self.0.jobs.clone().acquire_owned().await;
                Some(permit.map_err(|_| Error::Canceled)?)
            }
            _ => None,
        };
        let kill = exec::Kill::new();
        let stop = kill.on_drop();
        let uses = task.clone();
        let outputs = self
            .blocking(move |world| {
                let marks = secrets::marks(&world.store, &world.secrets, &task.op);
                let outputs = match &task.op {
                    Op::Exec(exec) => world.exec(&task, exec, &kill),
                    Op::Copy(copy) => world.copy(&task, copy),
                    Op::Files(actions) => world.files(&task, actions),
                    Op::Stack => Err(StepError::Other("a stack has no files".to_owned())),
                };
                drop(permit);
                let outputs = outputs
                    .map_err(|error| error.with_disk(&world.store, || world.needed(&task)))?;
                if let Some(marks) = marks {
                    secrets::keep(&world.store, &outputs, &marks);
                }
                world.keep_cap(&task, &outputs);
                Ok(outputs)
            })
            .await;
        stop.disarm();
        if let Ok(outputs) = &outputs {
            self.0.remember_files(&uses);
            if let Some(early) = &self.0.early {
                early.ended(uses.vertex, outputs);
            }
        }
        outputs
    }

    async fn deliver(&self, outputs: &Outputs) -> Result<(), Error> {
        self.have(outputs).await
    }

    async fn changes(&self, task: &Task) -> Vec<FileChange> {
        let task = task.clone();
        self.blocking(move |world| Ok(world.changes(&task))).await.unwrap_or_default()
    }
}
