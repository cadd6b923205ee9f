//! The steps that the builder itself shows, beside those of the graph.

use rbuild_solver::{Events, StepId, What};

/// Makes a step known.
pub(crate) fn plan(events: &Events, name: String) -> StepId {
    let digest = format!("sha256:{}", blake3::hash(name.as_bytes()).to_hex());
    events.plan(name, digest, Vec::new())
}

/// Makes a step known and starts it.
pub(crate) fn begin(events: &Events, name: String) -> StepId {
    let step = plan(events, name);
    events.emit(step, What::Started);
    step
}

/// Ends a step that read something.
pub(crate) fn transferred(events: &Events, step: StepId, what: &str, bytes: u64) {
    let part = format!("transferring {what}:");
    events.emit(step, What::Progress { part, current: bytes, total: None, done: true });
    events.emit(step, What::Finished);
}
