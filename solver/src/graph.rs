//! Vertices whose inputs come before them: a graph that can hold no cycle.

use std::sync::Arc;

use crate::error::Error;
use crate::op::{CopyItem, MountKind, Op, Select, Source};

/// The place of a vertex in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(usize);

impl VertexId {
    /// The number of vertices that were added to the graph before this one.
    pub fn index(self) -> usize {
        self.0
    }

    pub(crate) fn at(index: usize) -> Self {
        Self(index)
    }
}

/// One result of one vertex, as another vertex uses it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Edge {
    /// The vertex that makes it.
    pub vertex: VertexId,
    /// Which of its results.
    pub output: usize,
    /// Which part of the result counts.
    pub select: Select,
}

impl Edge {
    /// All of the first result of a vertex.
    pub fn all(vertex: VertexId) -> Self {
        Self { vertex, output: 0, select: Select::All }
    }

    /// A part of the first result of a vertex.
    pub fn part(vertex: VertexId, select: Select) -> Self {
        Self { vertex, output: 0, select }
    }
}

/// A thing to be made, and how people know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// What makes it.
    pub work: Work,
    /// The name in the progress of a build: `[2/3] RUN apk add curl`.
    pub name: String,
    /// The digest in the machine-readable progress of a build: `sha256:…`.
    pub digest: String,
    /// The name in records and errors: `RUN apk add curl`.
    pub description: String,
    /// What stays the same when the instruction is edited, to explain why it was not cached: the
    /// Dockerfile, the stage and the number of the instruction in it. Empty explains nothing.
    pub place: String,
    /// Whether there are no events for this vertex, since the caller shows it in another way.
    pub quiet: bool,
}

/// What makes a vertex.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Work {
    /// It is there already.
    Source(Source),
    /// It is made from other vertices.
    Op {
        /// How.
        op: Op,
        /// From what; the op names them by their index.
        inputs: Vec<Edge>,
        /// Whether it is made anew though a result is known (`--no-cache`).
        fresh: bool,
    },
}

impl Vertex {
    /// A vertex that is there already; quiet, since callers show how they find it.
    pub fn source(source: Source, description: impl Into<String>) -> Self {
        Self { quiet: true, ..Self::new(Work::Source(source), description.into()) }
    }

    /// A vertex that is made from others.
    pub fn op(op: Op, inputs: Vec<Edge>, description: impl Into<String>) -> Self {
        Self::new(Work::Op { op, inputs, fresh: false }, description.into())
    }

    fn new(work: Work, description: String) -> Self {
        let (name, digest, place) = (description.clone(), String::new(), String::new());
        Self { work, name, digest, description, place, quiet: false }
    }

    /// The source that this vertex is, if it is one.
    pub(crate) fn as_source(&self) -> Option<&Source> {
        match &self.work {
            Work::Source(source) => Some(source),
            Work::Op { .. } => None,
        }
    }

    /// All edges, as the op counts them.
    pub(crate) fn edges(&self) -> &[Edge] {
        match &self.work {
            Work::Source(_) => &[],
            Work::Op { inputs, .. } => inputs,
        }
    }

    /// The edges that count, with their indexes: a linked copy does not use input 0.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = (usize, &Edge)> {
        let linked = matches!(&self.work, Work::Op { op: Op::Copy(copy), .. } if copy.link);
        self.edges().iter().enumerate().skip(usize::from(linked))
    }
}

/// The vertices of one build, each after its inputs. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    vertices: Vec<Arc<Vertex>>,
}

impl Graph {
    /// A graph without vertices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vertex, all of whose inputs must be in the graph already.
    pub fn add(&mut self, vertex: Vertex) -> Result<VertexId, Error> {
        let description = || vertex.description.clone();
        if let Work::Op { op, inputs, .. } = &vertex.work {
            let early = |edge: &Edge| edge.vertex.0 < self.vertices.len();
            if let Some(input) = inputs.iter().position(|edge| !early(edge)) {
                return Err(Error::NoVertex { description: description(), input });
            }
            if let Some(input) = inputs_of(op).into_iter().find(|input| *input >= inputs.len()) {
                return Err(Error::NoInput { description: description(), input });
            }
        }
        self.vertices.push(Arc::new(vertex));
        Ok(VertexId(self.vertices.len() - 1))
    }

    /// The vertex with an id of this graph.
    pub fn get(&self, id: VertexId) -> Option<&Vertex> {
        self.vertices.get(id.0).map(Arc::as_ref)
    }

    /// All vertices, in the order in which they were added.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (VertexId, &Vertex)> {
        self.vertices.iter().enumerate().map(|(index, vertex)| (VertexId(index), vertex.as_ref()))
    }

    /// The number of vertices.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Whether there are no vertices.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// The vertices, for solving.
    pub(crate) fn vertices(&self) -> &[Arc<Vertex>] {
        &self.vertices
    }
}

/// The indexes of the inputs that an op names.
fn inputs_of(op: &Op) -> Vec<usize> {
    let mut inputs = vec![0];
    match op {
        Op::Exec(exec) => inputs.extend(exec.mounts.iter().filter_map(|mount| match mount.kind {
            MountKind::Bind { input, .. } => Some(input),
            MountKind::Cache { seed, .. } => seed,
            _ => None,
        })),
        Op::Copy(copy) => inputs.extend(copy.items.iter().filter_map(|item| match item {
            CopyItem::Path { input, .. } => Some(*input),
            CopyItem::Inline { .. } => None,
        })),
        Op::Files(_) | Op::Stack => {}
    }
    inputs
}
