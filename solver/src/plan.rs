//! What is known before anything is solved: which vertices count, their pins and definitions.

use std::mem;
use std::sync::Arc;

use futures::future::try_join_all;
use rbuild_cache::{Key, Outputs, Snapshot, Store};

use crate::error::Error;
use crate::event::{CachedBy, Events, Report, StepId, What};
use crate::graph::{Edge, Graph, Vertex, VertexId, Work};
use crate::key;
use crate::op::{Op, Source};
use crate::worker::Worker;

/// The vertices that some target needs, by their index in the graph.
#[derive(Debug)]
pub(crate) struct Plan {
    graph: Graph,
    nodes: Vec<Option<Node>>,
    targets: Vec<usize>,
}

/// One vertex that some target needs.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: VertexId,
    pub(crate) vertex: Arc<Vertex>,
    /// Its number for events; a quiet vertex has none.
    pub(crate) step: Option<StepId>,
    /// The key by definition.
    pub(crate) definition: Key,
    /// Whether it or something beneath it is made anew, so that its definition proves nothing.
    pub(crate) tainted: bool,
    /// What a source holds.
    pub(crate) pin: Option<Outputs>,
}

impl Node {
    /// The op and whether it must run though a result is known; a source has none.
    pub(crate) fn op(&self) -> Option<(&Op, bool)> {
        match &self.vertex.work {
            Work::Source(_) => None,
            Work::Op { op, fresh, .. } => Some((op, *fresh)),
        }
    }

    /// Whether a result may be in the store under the definition.
    fn is_findable(&self) -> bool {
        !self.tainted && self.op().is_some_and(|(op, _)| !matches!(op, Op::Stack))
    }
}

impl Plan {
    /// Makes the steps of the targets known, pins all sources at once, and computes definitions.
    pub(crate) async fn make(
        graph: &Graph,
        targets: &[VertexId],
        worker: &dyn Worker,
        events: &Events,
    ) -> Result<Self, Error> {
        let targets: Vec<usize> = targets.iter().map(|id| id.index()).collect();
        if targets.iter().any(|target| *target >= graph.len()) {
            return Err(Error::NoTarget);
        }
        let vertices = graph.vertices();
        let wanted = feeding(vertices, &targets, |_| true);
        let steps = announce(vertices, &wanted, events);
        let sources = vertices.iter().zip(&wanted).zip(&steps);
        let sources = sources.filter(|((_, wanted), _)| **wanted);
        let pins = sources.filter_map(|((vertex, _), step)| {
            Some(pin(vertex, vertex.as_source()?, Report::new(events, *step), worker))
        });
        let mut pins = try_join_all(pins).await?.into_iter();
        let mut plan = Self { graph: graph.clone(), nodes: Vec::new(), targets };
        for ((vertex, wanted), step) in vertices.iter().zip(wanted).zip(steps) {
            let pin = vertex.as_source().filter(|_| wanted).and_then(|_| pins.next());
            let node = wanted.then(|| plan.define(vertex, step, pin));
            plan.nodes.push(node);
        }
        Ok(plan)
    }

    fn define(&self, vertex: &Arc<Vertex>, step: Option<StepId>, pin: Option<Snapshot>) -> Node {
        let inputs =
            || vertex.inputs().map(|(at, edge)| (at, edge, self.node(edge.vertex.index())));
        let (definition, fresh) = match &vertex.work {
            Work::Source(_) => {
                let pin = pin.as_ref().expect("the pins of all wanted sources are there");
                (key::of_source(pin.content), false)
            }
            Work::Op { op, fresh, .. } => {
                let inputs = inputs().map(|(at, edge, node)| (at, edge, node.definition));
                (key::by_definition(op, inputs), *fresh)
            }
        };
        let tainted = fresh || inputs().any(|(_, _, node)| node.tainted);
        let pin = pin.map(|snapshot| Outputs::from([snapshot]));
        let id = VertexId::at(self.nodes.len());
        Node { id, vertex: Arc::clone(vertex), step, definition, tainted, pin }
    }

    /// A vertex that some target needs.
    pub(crate) fn node(&self, index: usize) -> &Node {
        self.nodes[index].as_ref().expect("whatever feeds a target is in its plan")
    }

    /// The indexes of the targets.
    pub(crate) fn targets(&self) -> &[usize] {
        &self.targets
    }

    /// The number of vertices in the graph.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The vertices that some target needs, with their indexes in the graph.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter_map(|(index, node)| Some((index, node.as_ref()?)))
    }

    /// The vertices that may have results in the store under their definitions.
    pub(crate) fn findable(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.iter().filter(|(_, node)| node.is_findable())
    }

    /// Finds what is known of the targets, and of what feeds those that are not known: whatever
    /// only feeds known ones is not asked for. Pins and stacks of what is known are known.
    pub(crate) fn look_up(&self, store: &Store) -> rbuild_cache::Result<Vec<Option<Outputs>>> {
        let mut known: Vec<Option<Outputs>> = vec![None; self.len()];
        let mut seen = vec![false; self.len()];
        let mut asked = self.targets.clone();
        while !asked.is_empty() {
            asked.retain(|index| !mem::replace(&mut seen[*index], true));
            let findable = asked.iter().copied().filter(|index| self.node(*index).is_findable());
            let findable: Vec<usize> = findable.collect();
            let keys: Vec<Key> = findable.iter().map(|at| self.node(*at).definition).collect();
            // The targets of a build are likely to have been those of the last one.
            let is_first = asked.iter().all(|index| self.targets.contains(index));
            let found = if is_first { store.find_recent(&keys)? } else { store.find(&keys)? };
            for (index, outputs) in findable.into_iter().zip(found) {
                known[index] = outputs;
            }
            let unknown = asked.iter().filter(|index| known[**index].is_none());
            let edges = unknown.flat_map(|index| self.node(*index).vertex.inputs());
            asked = edges.map(|(_, edge)| edge.vertex.index()).collect();
        }
        for (index, node) in self.iter() {
            match node.op() {
                None => known[index].clone_from(&node.pin),
                Some((Op::Stack, _)) => known[index] = stacked(&node.vertex, &known),
                Some(_) => {}
            }
        }
        Ok(known)
    }

    /// Says which steps are cached: those that are known, and those that only feed such.
    pub(crate) fn report_cached(&self, known: &[Option<Outputs>], events: &Events) {
        let unknown = |index: usize| known[index].is_none();
        let needed = feeding(self.graph.vertices(), &self.targets, unknown);
        let cached =
            |index: usize, node: &Node| node.op().is_some() && !(needed[index] && unknown(index));
        let cached = self.iter().filter(|(index, node)| cached(*index, node));
        for step in cached.filter_map(|(_, node)| node.step) {
            events.emit(step, What::Cached { by: CachedBy::Definition });
        }
    }
}

/// Marks the targets and all that feeds them through vertices that are looked `beneath`.
fn feeding(
    vertices: &[Arc<Vertex>],
    targets: &[usize],
    beneath: impl Fn(usize) -> bool,
) -> Vec<bool> {
    let mut wanted = vec![false; vertices.len()];
    for target in targets {
        wanted[*target] = true;
    }
    for index in (0..vertices.len()).rev() {
        if wanted[index] && beneath(index) {
            for (_, edge) in vertices[index].inputs() {
                wanted[edge.vertex.index()] = true;
            }
        }
    }
    wanted
}

/// Makes steps known, in the order of the graph; gives each vertex its number.
fn announce(vertices: &[Arc<Vertex>], wanted: &[bool], events: &Events) -> Vec<Option<StepId>> {
    // What a vertex is known as to those above: itself, or what feeds it when it is quiet.
    let mut known_as: Vec<Vec<StepId>> = Vec::with_capacity(vertices.len());
    let mut steps = Vec::with_capacity(vertices.len());
    for (vertex, wanted) in vertices.iter().zip(wanted) {
        let feeding = vertex.inputs().filter(|_| *wanted);
        let feeding = feeding.flat_map(|(_, edge)| &known_as[edge.vertex.index()]);
        let mut inputs: Vec<StepId> = feeding.copied().collect();
        inputs.sort_unstable();
        inputs.dedup();
        let plan = |inputs| events.plan(vertex.name.clone(), vertex.digest.clone(), inputs);
        let step = (*wanted && !vertex.quiet).then(|| plan(mem::take(&mut inputs)));
        known_as.push(step.map_or(inputs, |step| vec![step]));
        steps.push(step);
    }
    steps
}

/// Names what a source holds now.
async fn pin(
    vertex: &Vertex,
    source: &Source,
    mut report: Report,
    worker: &dyn Worker,
) -> Result<Snapshot, Error> {
    if *source == Source::Scratch {
        return Ok(key::scratch());
    }
    report.say(What::Started);
    match worker.pin(source).await {
        Ok(snapshot) => {
            report.end(What::Finished);
            Ok(snapshot)
        }
        Err(error) => Err(report.fail(error.of(vertex))),
    }
}

/// The result of a stack whose inputs are all known.
pub(crate) fn stacked(vertex: &Vertex, known: &[Option<Outputs>]) -> Option<Outputs> {
    let input =
        |(_, edge): (usize, &Edge)| known[edge.vertex.index()].as_ref()?.get(edge.output).cloned();
    let inputs: Vec<Snapshot> = vertex.inputs().map(input).collect::<Option<_>>()?;
    Some(Outputs::from([key::stack(&inputs)]))
}
