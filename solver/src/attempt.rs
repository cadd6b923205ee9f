//! The three steps for each vertex: known by definition, known by content, or run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, try_join_all};
use rbuild_cache::{ContentId, Key, Layer, Outputs, Part, Snapshot};

use crate::error::Error;
use crate::event::{CachedBy, Events, Report, StepId, What};
use crate::flight::{Handle, lock};
use crate::graph::Edge;
use crate::key;
use crate::op::{Op, Select};
use crate::plan::{Node, Plan};
use crate::run::{Job, blocking};
use crate::solve::Shared;
use crate::worker::{Mode, Task};

/// The key of a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    key: Key,
    /// The build that alone may join, where other builds must not get its results.
    build: Option<u64>,
}

/// What stays the same in all attempts of one build.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) plan: Arc<Plan>,
    pub(crate) mode: Mode,
    pub(crate) events: Events,
    /// The number of the build, which no other build on the solver has.
    pub(crate) number: u64,
}

/// One attempt at one graph.
pub(crate) struct Attempt {
    pub(crate) shared: Arc<Shared>,
    pub(crate) context: Context,
    /// What was known by definition, by the index of the vertex.
    pub(crate) known: Vec<Option<Outputs>>,
    /// Which vertices somebody asked for.
    asked: Vec<AtomicBool>,
    /// Finished flights, held so that nothing is solved twice in one build.
    kept: Mutex<Vec<Handle<Outputs>>>,
    /// Rows of the store that were used beside those known by definition, to be forgotten when a
    /// layer of theirs is gone.
    rows: Mutex<Vec<(Key, Outputs)>>,
}

impl Attempt {
    /// Begins an attempt by asking the store for definitions.
    pub(crate) async fn new(shared: &Arc<Shared>, context: &Context) -> Result<Self, Error> {
        let (store, plan) = (shared.store.clone(), Arc::clone(&context.plan));
        let known = blocking("look up results", move || plan.look_up(&store)).await?;
        Ok(Self {
            shared: Arc::clone(shared),
            context: context.clone(),
            asked: known.iter().map(|_| AtomicBool::new(false)).collect(),
            known,
            kept: Mutex::default(),
            rows: Mutex::default(),
        })
    }

    fn node(&self, index: usize) -> &Node {
        self.context.plan.node(index)
    }

    /// A flight that every build may join, or only this one.
    fn lane(&self, key: Key, own: bool) -> Lane {
        // A build that only looks fails where others would run.
        let own = own || self.context.mode == Mode::Check;
        Lane { key, build: own.then_some(self.context.number) }
    }

    fn report(&self, step: Option<StepId>) -> Report {
        Report::new(&self.context.events, step)
    }

    /// The results of a vertex: known by definition, or solved by the one flight that does so.
    pub(crate) async fn solve(self: &Arc<Self>, index: usize) -> Result<Outputs, Error> {
        if let Some(outputs) = &self.known[index] {
            return Ok(outputs.clone());
        }
        let node = self.node(index);
        let lane = self.lane(node.definition, node.tainted);
        let asked = &self.asked[index];
        // Said before another task of this build can find the flight, which must not take it for
        // another build's.
        let (handle, leads) = self.shared.solving.join(lane, || {
            asked.store(true, Ordering::Relaxed);
            Arc::clone(self).fly(index)
        });
        let outputs = if leads || asked.swap(true, Ordering::Relaxed) {
            handle.clone().await?
        } else {
            follow(self.report(node.step), &handle, CachedBy::Definition).await?
        };
        lock(&self.kept).push(handle);
        Ok(outputs)
    }

    /// The work of a flight by definition. Boxed, since it flies again for its inputs.
    fn fly(self: Arc<Self>, index: usize) -> BoxFuture<'static, Result<Outputs, Error>> {
        async move {
            let node = self.node(index);
            let edges = node.vertex.inputs().map(|(_, edge)| self.input(edge));
            let solved = try_join_all(edges).await?;
            if let Some((Op::Stack, _)) = node.op() {
                let mut report = self.report(node.step);
                report.say(What::Started);
                report.end(What::Finished);
                return Ok(Outputs::from([key::stack(&solved)]));
            }
            // What the vertex does not use is the empty tree.
            let mut inputs = vec![key::scratch(); node.vertex.edges().len()];
            for ((at, _), snapshot) in node.vertex.inputs().zip(solved) {
                inputs[at] = snapshot;
            }
            self.find_or_run(node, inputs).await
        }
        .boxed()
    }

    async fn input(self: &Arc<Self>, edge: &Edge) -> Result<Snapshot, Error> {
        let outputs = self.solve(edge.vertex.index()).await?;
        outputs.get(edge.output).cloned().ok_or_else(|| Error::NoOutput {
            description: self.node(edge.vertex.index()).vertex.description.clone(),
            output: edge.output,
        })
    }

    /// Joins the one flight that looks up the content key, and runs what it does not find.
    async fn find_or_run(&self, node: &Node, inputs: Vec<Snapshot>) -> Result<Outputs, Error> {
        let job = Arc::new(self.job(node, inputs).await?);
        let start = || Arc::clone(&job).find_or_run();
        let lane = self.lane(job.task.content, job.fresh);
        let (handle, leads) = self.shared.running.join(lane, start);
        let found = if leads {
            handle.await?
        } else {
            follow(self.report(node.step), &handle, CachedBy::Content).await?
        };
        if !(leads && found.ran) {
            job.remember(&found.outputs, Duration::ZERO, None).await;
        }
        let keys = [job.task.definition, job.task.content];
        lock(&self.rows).extend(keys.map(|key| (key, found.outputs.clone())));
        Ok(found.outputs)
    }

    /// A step with its content key.
    async fn job(&self, node: &Node, inputs: Vec<Snapshot>) -> Result<Job, Error> {
        let parts = match self.parts(node, &inputs).await {
            Ok(parts) => parts,
            Err(error) => return Err(self.report(node.step).fail(error.of(&node.vertex))),
        };
        let (op, fresh) = node.op().expect("a source is known by its pin");
        let events = &self.context.events;
        let task = Task {
            vertex: node.id,
            op: op.clone(),
            inputs,
            definition: node.definition,
            content: key::by_content(&parts),
            parts,
            selects: node.vertex.edges().iter().map(|edge| edge.select.clone()).collect(),
            place: node.vertex.place.clone(),
            description: node.vertex.description.clone(),
            step: node.step.unwrap_or(StepId(u64::MAX)),
            events: node.step.map_or_else(Events::none, |_| events.clone()),
        };
        Ok(Job {
            store: self.shared.store.clone(),
            worker: Arc::clone(&self.shared.worker),
            vertex: Arc::clone(&node.vertex),
            step: node.step,
            events: events.clone(),
            mode: self.context.mode,
            fresh,
            task,
        })
    }

    /// Everything in the content key of a vertex.
    async fn parts(&self, node: &Node, inputs: &[Snapshot]) -> Result<Vec<Part>, Error> {
        let (op, _) = node.op().expect("a source is known by its pin");
        let contents = node
            .vertex
            .inputs()
            .map(|(at, edge)| async move { Ok((at, self.part(&edge.select, &inputs[at]).await?)) });
        let mut parts = key::parts(op);
        for (at, content) in try_join_all(contents).await? {
            parts.extend(content.map(|content| key::input(op, at, content)));
        }
        Ok(parts)
    }

    /// The contents of the selected part of a snapshot; nothing when nothing counts.
    pub(crate) async fn part(
        &self,
        select: &Select,
        whole: &Snapshot,
    ) -> Result<Option<ContentId>, Error> {
        match select {
            Select::All => return Ok(Some(whole.content)),
            Select::Nothing => return Ok(None),
            Select::Paths { .. } => {}
        }
        let digest = || self.shared.worker.digest(whole, select, self.context.mode);
        // A folder outside the store was just walked to pin it: its worker knows all parts of it.
        if whole.layers.iter().any(|layer| matches!(layer, Layer::Folder { .. })) {
            return digest().await.map(Some);
        }
        let (store, content, select) = (&self.shared.store, whole.content, key::select(select));
        let find = store.clone();
        let known = blocking("look up a digest", move || find.part(content, select)).await?;
        if known.is_some() {
            return Ok(known);
        }
        let part = digest().await?;
        let keep = store.clone();
        let kept = blocking("remember a digest", move || keep.remember_part(content, select, part));
        if let Err(error) = kept.await {
            tracing::warn!(?error, "a digest is not remembered");
        }
        Ok(Some(part))
    }

    /// Forgets all results that hold a layer, those too that nobody has asked for yet; tells
    /// whether there were any.
    pub(crate) async fn forget(&self, lost: &Layer) -> Result<bool, Error> {
        let plan = &self.context.plan;
        let known = plan.findable().map(|(at, node)| (node.definition, self.known[at].clone()));
        let (unasked, mut rows): (Vec<_>, Vec<_>) = known.partition(|(_, row)| row.is_none());
        rows.extend(lock(&self.rows).iter().cloned().map(|(key, row)| (key, Some(row))));
        let unasked: Vec<Key> = unasked.into_iter().map(|(key, _)| key).collect();
        let (store, lost) = (self.shared.store.clone(), lost.clone());
        let forgotten = blocking("forget lost results", move || {
            rows.extend(unasked.iter().copied().zip(store.find(&unasked)?));
            let holds = |outputs: &Outputs| outputs.iter().any(|it| it.layers.contains(&lost));
            let rows = rows.into_iter().filter(|(_, row)| row.as_ref().is_some_and(holds));
            let keys: Vec<Key> = rows.map(|(key, _)| key).collect();
            store.forget(&keys)?;
            Ok(!keys.is_empty())
        });
        forgotten.await
    }
}

/// Waits for a flight that another step leads, and tells that its result was found there.
async fn follow<T: Clone>(
    mut report: Report,
    handle: &Handle<T>,
    by: CachedBy,
) -> Result<T, Error> {
    if handle.peek().is_none() {
        report.say(What::Waiting { on: "another step, which does the same".to_owned() });
    }
    let result = handle.clone().await?;
    report.end(What::Cached { by });
    Ok(result)
}
