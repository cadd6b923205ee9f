//! Layers that are sent while the build goes on, so that a cache is nearly there when the build ends.
//!
//! A layer goes out when its step has ended: with `mode=max` at once, since whatever was made is in
//! the cache, and with `mode=min` when a step begins to run on it whose files are in the result. It
//! is compressed on threads that give way to all others. Whatever fails here is done again at the
//! end, and told there.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::ThreadPool;
use rbuild_cache::{Blob, Layer, Outputs, Store};
use rbuild_solver::op::Op;
use rbuild_solver::{Events, Graph, StepId, Task, VertexId, What, Work};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::place::{Place, Sender};
use super::{CacheMode, CacheTo};
use crate::build::steps::begin;
use crate::error::Result;
use crate::export::compress;
use crate::registries::Registries;

/// Layers that are compressed or sent at the same time.
const AT_ONCE: usize = 2;
/// How many more, for each cache, once the build has ended.
const AT_ONCE_AFTER: usize = 16;
/// How much the threads that compress give way to others, as `nice` counts.
const NICE: i32 = 10;

/// The layers of one build that are on their way to its caches.
pub(crate) struct Early {
    world: Arc<World>,
    channels: Vec<Channel>,
    /// The layers of the images that the build stands on.
    bases: HashSet<Layer>,
    /// The steps whose files are in the result.
    in_result: HashSet<VertexId>,
}

/// What all layers that are sent need.
struct World {
    store: Store,
    registries: Registries,
    events: Events,
    slots: Semaphore,
    threads: OnceLock<Option<ThreadPool>>,
}

/// One cache.
struct Channel {
    cache: CacheTo,
    place: Place,
    /// Whether the image is sent to where its layers can be taken over from, later.
    is_beside_image: bool,
    events: Events,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The step that shows it, once there was anything to send.
    step: Option<StepId>,
    layers: HashMap<Layer, Sending>,
    is_taken: bool,
}

/// A layer on its way. Dropped, it stops.
pub(super) struct Sending(JoinSet<Result<Blob>>);

impl Sending {
    /// Waits until the layer is there; nothing where that could not be.
    pub(super) async fn end(mut self) -> Option<Blob> {
        let sent = self.0.join_next().await?.ok()?;
        sent.inspect_err(|error| tracing::debug!(%error, "a layer is sent later")).ok()
    }
}

impl Early {
    /// Prepares to send the layers of a graph, the images of which go to these names.
    pub(crate) fn new(
        (store, registries, events): (&Store, &Registries, &Events),
        caches: &[CacheTo],
        (graph, targets): (&Graph, &[VertexId]),
        bases: HashSet<Layer>,
        pushed: &[String],
    ) -> Self {
        let channel = |cache: &CacheTo| {
            let place = Place::of(&cache.place).ok().flatten()?;
            let is_beside_image = place.beside(pushed).is_some() && !place.is_one_of(pushed);
            let (events, state) = (events.clone(), Mutex::default());
            Some(Channel { cache: cache.clone(), place, is_beside_image, events, state })
        };
        let world = World {
            store: store.clone(),
            registries: registries.clone(),
            events: events.clone(),
            slots: Semaphore::new(AT_ONCE),
            threads: OnceLock::new(),
        };
        let channels = caches.iter().filter_map(channel).collect();
        let in_result = in_result(graph, targets);
        Self { world: Arc::new(world), channels, bases, in_result }
    }

    /// A step begins to run.
    pub(crate) fn begins(&self, task: &Task) {
        let in_result = self.in_result.contains(&task.vertex);
        for channel in &self.channels {
            let used = match channel.cache.mode {
                CacheMode::Max => task.inputs.as_slice(),
                CacheMode::Min if in_result => &task.inputs[..task.inputs.len().min(1)],
                CacheMode::Min => continue,
            };
            self.send(channel, used.iter().flat_map(|input| input.layers.iter()), in_result);
        }
    }

    /// A step has ended.
    pub(crate) fn ended(&self, vertex: VertexId, outputs: &Outputs) {
        let all = self.channels.iter().filter(|channel| channel.cache.mode == CacheMode::Max);
        for channel in all {
            let layers = outputs.iter().flat_map(|output| output.layers.iter());
            self.send(channel, layers, self.in_result.contains(&vertex));
        }
    }

    fn send<'a>(
        &self,
        channel: &Channel,
        layers: impl Iterator<Item = &'a Layer>,
        in_result: bool,
    ) {
        if channel.is_beside_image && in_result {
            return;
        }
        let mut state = channel.state();
        let is_own =
            |layer: &&Layer| matches!(layer, Layer::Made(_)) && !self.bases.contains(layer);
        for layer in layers.filter(is_own) {
            if state.layers.contains_key(layer) {
                continue;
            }
            let step = *state.step.get_or_insert_with(|| channel.begin());
            let (world, layer) = (self.world.clone(), layer.clone());
            let (place, how) = (channel.place.clone(), channel.cache.compression);
            let sent = layer.clone();
            let mut sending = JoinSet::new();
            sending.spawn(async move {
                let _slot = world.slots.acquire().await;
                let World { store, registries, events, .. } = &*world;
                let blob = match world.threads() {
                    Some(threads) => compress::made_aside(store, &sent, how, threads).await?,
                    None => compress::made(store, &sent, how).await?,
                };
                place.send(Sender { store, registries, events, step }, blob).await
            });
            state.layers.insert(layer, Sending(sending));
        }
    }

    /// Gives the layers of a cache to those who end it, with the step that shows it.
    pub(super) fn take(&self, cache: &CacheTo) -> Option<(StepId, HashMap<Layer, Sending>)> {
        let channel = self.channels.iter().find(|channel| channel.cache == *cache)?;
        let mut state = channel.state();
        let step = state.step.filter(|_| !state.is_taken)?;
        state.is_taken = true;
        // Nobody is slowed by it any more.
        self.world.slots.add_permits(AT_ONCE_AFTER);
        Some((step, std::mem::take(&mut state.layers)))
    }
}

impl World {
    /// Threads to compress on.
    fn threads(&self) -> Option<&ThreadPool> {
        let make = || {
            let threads = rayon::ThreadPoolBuilder::new().num_threads(rayon::current_num_threads());
            let threads = threads.thread_name(|_| "send a layer".to_owned());
            let give_way = |_| {
                let _ = rustix::process::nice(NICE);
            };
            threads.start_handler(give_way).build().ok()
        };
        self.threads.get_or_init(make).as_ref()
    }
}

impl Channel {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> StepId {
        begin(&self.events, self.place.title())
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let state = self.state();
        if let Some(step) = state.step.filter(|_| !state.is_taken) {
            self.events.emit(step, What::Canceled);
        }
    }
}

impl fmt::Debug for Early {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let caches = self.channels.iter().map(|channel| &channel.cache);
        f.debug_struct("Early").field("caches", &caches.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

/// The vertices whose layers are in the results of the targets: they, and what they stand on.
fn in_result(graph: &Graph, targets: &[VertexId]) -> HashSet<VertexId> {
    let (mut found, mut left) = (HashSet::new(), targets.to_vec());
    while let Some(vertex) = left.pop() {
        if !found.insert(vertex) {
            continue;
        }
        let Some(Work::Op { op, inputs, .. }) = graph.get(vertex).map(|vertex| &vertex.work) else {
            continue;
        };
        let beneath = match op {
            Op::Stack => inputs.as_slice(),
            Op::Copy(copy) if copy.link => &[],
            Op::Exec(_) | Op::Copy(_) | Op::Files(_) => &inputs[..inputs.len().min(1)],
        };
        left.extend(beneath.iter().map(|edge| edge.vertex));
    }
    found
}
