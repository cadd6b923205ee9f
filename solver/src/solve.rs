//! The three steps: known by definition, known by content, or run.

use std::sync::Arc;

use rbuild_cache::{Outputs, Store};

use crate::error::Error;
use crate::event::Events;
use crate::graph::{Graph, VertexId};
use crate::worker::{Mode, Worker};

/// Finds the results of graphs; cheap to clone. Builds on one solver share their work.
#[derive(Clone)]
pub struct Solver {
    store: Store,
    worker: Arc<dyn Worker>,
}

impl Solver {
    /// A solver that finds results in a store and lets a worker make what is missing.
    pub fn new(store: Store, worker: Arc<dyn Worker>) -> Self {
        Self { store, worker }
    }

    /// Finds or makes the results of one vertex. Dropping the future stops the work.
    pub async fn solve(
        &self,
        graph: &Graph,
        target: VertexId,
        mode: Mode,
        events: &Events,
    ) -> Result<Outputs, Error> {
        let _ = (graph, target, mode, events);
        Err(Error::NoTarget)
    }

    /// Finds or makes the results of several vertices, in their order.
    pub async fn solve_all(
        &self,
        graph: &Graph,
        targets: &[VertexId],
        mode: Mode,
        events: &Events,
    ) -> Result<Vec<Outputs>, Error> {
        let _ = (&self.store, &self.worker, graph, targets, mode, events);
        Err(Error::NoTarget)
    }
}
