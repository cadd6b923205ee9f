//! Finding the results of a graph; `attempt` has the three steps.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::try_join_all;
use rbuild_cache::{Outputs, Store};

use crate::attempt::{Attempt, Context, Lane};
use crate::error::Error;
use crate::event::Events;
use crate::flight::Flights;
use crate::graph::{Graph, VertexId};
use crate::plan::Plan;
use crate::run::Found;
use crate::used::Used;
use crate::worker::{Mode, Worker};

/// How often a graph is solved again since layers of known results are gone.
const ATTEMPTS: usize = 64;

/// Finds the results of graphs; cheap to clone. Builds on one solver share their work.
#[derive(Clone)]
pub struct Solver {
    shared: Arc<Shared>,
}

/// What the builds on one solver share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) worker: Arc<dyn Worker>,
    /// Who solves: one flight for each definition.
    pub(crate) solving: Flights<Lane, Outputs>,
    /// Who runs: one flight for each content key.
    pub(crate) running: Flights<Lane, Found>,
    builds: AtomicU64,
}

impl Solver {
    /// A solver that finds results in a store and lets a worker make what is missing.
    pub fn new(store: Store, worker: Arc<dyn Worker>) -> Self {
        let (solving, running) = (Flights::default(), Flights::default());
        let builds = AtomicU64::new(0);
        Self { shared: Arc::new(Shared { store, worker, solving, running, builds }) }
    }

    /// Finds or makes the results of one vertex. Dropping the future stops what no other build
    /// wants.
    pub async fn solve(
        &self,
        graph: &Graph,
        target: VertexId,
        mode: Mode,
        events: &Events,
    ) -> Result<Outputs, Error> {
        let mut results = self.solve_all(graph, &[target], mode, events).await?;
        results.pop().ok_or(Error::NoTarget)
    }

    /// Finds or makes the results of several vertices, in the order of the targets, and lists all
    /// that is then known of the steps which feed them, whether anybody had to look at them or not.
    pub async fn solve_and_list(
        &self,
        graph: &Graph,
        targets: &[VertexId],
        mode: Mode,
        events: &Events,
    ) -> Result<(Vec<Outputs>, Vec<Used>), Error> {
        let (results, context) = self.solve_in(graph, targets, mode, events).await?;
        let context = Context { mode: Mode::Check, ..context };
        let used = Arc::new(Attempt::new(&self.shared, &context).await?).used().await?;
        Ok((results, used))
    }

    /// Finds or makes the results of several vertices at once, in the order of the targets.
    pub async fn solve_all(
        &self,
        graph: &Graph,
        targets: &[VertexId],
        mode: Mode,
        events: &Events,
    ) -> Result<Vec<Outputs>, Error> {
        self.solve_in(graph, targets, mode, events).await.map(|(results, _)| results)
    }

    async fn solve_in(
        &self,
        graph: &Graph,
        targets: &[VertexId],
        mode: Mode,
        events: &Events,
    ) -> Result<(Vec<Outputs>, Context), Error> {
        let plan = Plan::make(graph, targets, self.shared.worker.as_ref(), events).await?;
        let number = self.shared.builds.fetch_add(1, Ordering::Relaxed);
        let context = Context { plan: Arc::new(plan), mode, events: events.clone(), number };
        let mut attempt = 1;
        loop {
            let this = Arc::new(Attempt::new(&self.shared, &context).await?);
            if attempt == 1 {
                context.plan.report_cached(&this.known, events);
            }
            let targets = context.plan.targets().iter().map(|target| this.solve(*target));
            let worker = &self.shared.worker;
            let delivered = async {
                let results = try_join_all(targets).await?;
                if mode == Mode::Build {
                    try_join_all(results.iter().map(|outputs| worker.deliver(outputs))).await?;
                }
                Ok(results)
            };
            match delivered.await {
                Err(Error::Lost(layer)) if attempt < ATTEMPTS => {
                    tracing::info!(?layer, attempt, "a layer of a known result is gone");
                    // Another build that shared the work may have forgotten it before this one.
                    if !this.forget(&layer).await? && attempt > 1 {
                        return Err(Error::Lost(layer));
                    }
                }
                result => return result.map(|results| (results, context)),
            }
            attempt += 1;
        }
    }
}

impl fmt::Debug for Solver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Solver").field("store", &self.shared.store).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
