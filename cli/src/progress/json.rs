//! Progress as JSON for programs: one `SolveStatus` a line, in the fields that `BuildKit` writes.
//!
//! A reader that knows `BuildKit`'s fields needs nothing new; `misses` is ours.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rbuild::{Event, Miss, StepId, Stream, What};
use serde::Serialize;

use super::steps::{State, Step, Steps};
use super::{Renderer, write_batch};

#[derive(Default, Serialize)]
struct Status {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vertexes: Vec<Vertex>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<PartStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<Log>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    misses: Vec<MissStatus>,
}

#[derive(Serialize)]
struct Vertex {
    digest: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cached: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
}

#[derive(Serialize)]
struct PartStatus {
    id: String,
    vertex: String,
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    current: u64,
    timestamp: String,
    started: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
}

#[derive(Serialize)]
struct Log {
    vertex: String,
    stream: u8,
    data: String,
    timestamp: String,
}

#[derive(Serialize)]
struct Warning {
    vertex: String,
    level: u8,
    short: String,
}

#[derive(Serialize)]
struct MissStatus {
    vertex: String,
    name: String,
    reason: Miss,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Writes events as JSON.
pub(super) struct RawJson<W> {
    out: W,
    began: Timestamp,
    steps: Steps,
    names: BTreeMap<StepId, String>,
    batch: String,
}

impl<W: Write + Send> RawJson<W> {
    /// Writes there; `began` is when the build began.
    pub(super) fn new(out: W, began: Timestamp) -> Self {
        let (steps, names) = (Steps::default(), BTreeMap::new());
        Self { out, began, steps, names, batch: String::new() }
    }

    fn time(&self, at: Duration) -> String {
        self.began.checked_add(at).unwrap_or(self.began).to_string()
    }

    fn digest(&self, id: StepId) -> String {
        self.names.get(&id).cloned().unwrap_or_default()
    }

    fn vertex(&self, step: &Step) -> Status {
        let vertex = Vertex {
            digest: step.digest.clone(),
            inputs: step.inputs.iter().map(|input| self.digest(*input)).collect(),
            name: step.name.clone(),
            started: step.started.map(|at| self.time(at)),
            completed: step.ended.map(|at| self.time(at)),
            cached: step.state == State::Cached,
            error: match &step.state {
                State::Failed(error) => error.clone(),
                State::Canceled => "context canceled".to_owned(),
                _ => String::new(),
            },
        };
        Status { vertexes: vec![vertex], ..Status::default() }
    }

    fn part(&self, step: &Step, name: &str, at: Duration) -> Option<Status> {
        let part = step.parts.iter().find(|part| part.name == name)?;
        let status = PartStatus {
            id: part.name.clone(),
            vertex: step.digest.clone(),
            total: part.total.unwrap_or(0),
            current: part.current,
            timestamp: self.time(at),
            started: self.time(part.started),
            completed: part.ended.map(|at| self.time(at)),
        };
        Some(Status { statuses: vec![status], ..Status::default() })
    }

    fn status(&self, event: &Event, step: &Step) -> Option<Status> {
        let vertex = || step.digest.clone();
        let status = match &event.what {
            What::Progress { part, .. } => return self.part(step, part, event.at),
            What::Log { stream, data } => {
                let stream = match stream {
                    Stream::Stdout => 1,
                    Stream::Stderr => 2,
                };
                let (data, timestamp) = (STANDARD.encode(data), self.time(event.at));
                let log = Log { vertex: vertex(), stream, data, timestamp };
                Status { logs: vec![log], ..Status::default() }
            }
            What::Note { text } => {
                let (data, timestamp) = (STANDARD.encode(format!("{text}\n")), self.time(event.at));
                let log = Log { vertex: vertex(), stream: 2, data, timestamp };
                Status { logs: vec![log], ..Status::default() }
            }
            What::Warning { text } => {
                let warning = Warning { vertex: vertex(), level: 1, short: STANDARD.encode(text) };
                Status { warnings: vec![warning], ..Status::default() }
            }
            What::Missed(reason) => {
                let (name, reason) = (step.name.clone(), reason.clone());
                let miss = MissStatus { vertex: vertex(), name, reason };
                Status { misses: vec![miss], ..Status::default() }
            }
            What::Waiting { .. } => return None,
            _ => self.vertex(step),
        };
        Some(status)
    }
}

impl<W: Write + Send> Renderer for RawJson<W> {
    fn event(&mut self, event: &Event) {
        self.steps.apply(event);
        let Some(step) = self.steps.get(event.step) else {
            return;
        };
        self.names.entry(event.step).or_insert_with(|| step.digest.clone());
        let line = self.status(event, step).map(|status| serde_json::to_string(&status));
        if let Some(Ok(line)) = line {
            self.batch.push_str(&line);
            self.batch.push('\n');
        }
    }

    fn draw(&mut self, _now: Duration) -> io::Result<()> {
        write_batch(&mut self.out, &mut self.batch)
    }

    fn finish(&mut self, now: Duration) -> io::Result<()> {
        self.draw(now)
    }
}

#[cfg(test)]
mod tests;
