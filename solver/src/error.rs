//! What can go wrong while a graph is solved.

use std::error::Error as StdError;
use std::sync::Arc;

use rbuild_cache::Layer;

use crate::graph::Vertex;
use crate::miss::Miss;

/// A graph that could not be solved.
///
/// Several callers may wait for the same work, so that an error can be cloned.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A worker could not do what it was asked; the solver makes [`Error::Step`] of it.
    #[error(transparent)]
    Failed(Arc<dyn StdError + Send + Sync>),
    /// A step failed.
    #[error("`{description}` failed")]
    Step {
        /// The step as a person knows it.
        description: String,
        /// Where the step stands, as its vertex says.
        place: String,
        /// What the worker said; its own type is found with `source.downcast_ref`.
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// A layer of an input can be had no more; the solver forgets the results that hold it and
    /// solves again, and gives this error only where that does not help.
    #[error("a layer is gone: {0:?}")]
    Lost(Box<Layer>),
    /// A step would have to run, which [`Mode::Check`](crate::Mode::Check) forbids.
    #[error("`{description}` is not cached")]
    Miss {
        /// The step as a person knows it.
        description: String,
        /// Where the step stands, as its vertex says.
        place: String,
        /// Why it would have to run.
        miss: Miss,
    },
    /// A worker refused to fetch since [`Mode::Check`](crate::Mode::Check) forbids it.
    #[error("the contents of `{0}` are not here")]
    NotHere(String),
    /// The store could not be used.
    #[error("cannot {doing}")]
    Cache {
        /// What was being done, such as `look up results`.
        doing: &'static str,
        /// Why it failed.
        source: Arc<rbuild_cache::Error>,
    },
    /// An edge leads from a vertex that is not in the graph, or not before the vertex that uses it.
    #[error("input {input} of `{description}` is not an earlier vertex of the graph")]
    NoVertex {
        /// The vertex that uses the input.
        description: String,
        /// The index of the input.
        input: usize,
    },
    /// An op uses an input for which its vertex has no edge.
    #[error("`{description}` has no input {input}")]
    NoInput {
        /// The vertex.
        description: String,
        /// The index of the input.
        input: usize,
    },
    /// An edge asks for an output that a vertex does not have.
    #[error("`{description}` has no output {output}")]
    NoOutput {
        /// The vertex whose output is asked for.
        description: String,
        /// The index of the output.
        output: usize,
    },
    /// A target is not a vertex of the graph.
    #[error("the target is not a vertex of the graph")]
    NoTarget,
    /// The work was stopped together with the runtime that it ran on.
    #[error("the work was stopped")]
    Canceled,
}

impl Error {
    /// Wraps the error of a worker.
    pub fn failed(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Failed(Arc::from(error.into()))
    }

    /// Says which vertex it was whose work failed.
    pub(crate) fn of(self, vertex: &Vertex) -> Self {
        match self {
            Self::Failed(source) => Self::Step {
                description: vertex.description.clone(),
                place: vertex.place.clone(),
                source,
            },
            other => other,
        }
    }

    /// Makes the function that says what was being done in the store when it failed.
    pub(crate) fn cache(doing: &'static str) -> impl FnOnce(rbuild_cache::Error) -> Self {
        move |source| Self::Cache { doing, source: Arc::new(source) }
    }
}
