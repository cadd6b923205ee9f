//! What the solver asks of the world: three verbs, one to deliver, and one to explain.

use async_trait::async_trait;
use rbuild_cache::{ContentId, Key, Outputs, Part, Snapshot};

use crate::error::Error;
use crate::event::{Events, StepId};
use crate::graph::VertexId;
use crate::miss::FileChange;
use crate::op::{Op, Select, Source};

/// Whether work may be done to find an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Fetch and run what is missing.
    Build,
    /// Only look: a miss is an error, and nothing is fetched.
    Check,
}

/// One op to run, with its inputs and all that its record needs.
#[derive(Debug, Clone)]
pub struct Task {
    /// The vertex, in its graph.
    pub vertex: VertexId,
    /// What to do.
    pub op: Op,
    /// The inputs, in the order of the vertex's edges.
    pub inputs: Vec<Snapshot>,
    /// The key by definition.
    pub definition: Key,
    /// The key by content.
    pub content: Key,
    /// What the content key was made of.
    pub parts: Vec<Part>,
    /// What is used of each input.
    pub selects: Vec<Select>,
    /// Where it stands, as [`Vertex::place`](crate::Vertex::place) says.
    pub place: String,
    /// The step as a person knows it.
    pub description: String,
    /// The step's number, for events.
    pub step: StepId,
    /// Where events go.
    pub events: Events,
}

/// The world as the solver sees it.
#[async_trait]
pub trait Worker: Send + Sync + 'static {
    /// Names what a source holds now, without fetching its contents.
    async fn pin(&self, source: &Source) -> Result<Snapshot, Error>;

    /// Names the contents of a part of a snapshot; may fetch it, but not with [`Mode::Check`].
    async fn digest(
        &self,
        snapshot: &Snapshot,
        select: &Select,
        mode: Mode,
    ) -> Result<ContentId, Error>;

    /// Runs an op. The layer it makes is committed, with its record beside it, before it returns;
    /// dropping the future stops the work and leaves nothing behind.
    async fn run(&self, task: Task) -> Result<Outputs, Error>;

    /// Sees to it that a result of a whole build can be had where it is wanted. A layer that can't
    /// be is [`Error::Lost`], and is made again.
    async fn deliver(&self, _outputs: &Outputs) -> Result<(), Error> {
        Ok(())
    }

    /// Names the files that an op uses and that are not as they were when it ran last at its place.
    /// Nothing where that is not known.
    async fn changes(&self, _task: &Task) -> Vec<FileChange> {
        Vec::new()
    }
}
