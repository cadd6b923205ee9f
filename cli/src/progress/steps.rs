//! What is known of each step of a build, gathered from its events.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rbuild::{Event, Miss, StepId, What};

use crate::reason::reason;

use super::text;

/// How many lines of a failed step's output are shown again at the end.
const TAIL: usize = 10;
/// The longest line that is kept whole, in bytes; a longer one is broken.
const LONGEST_LINE: usize = 64 * 1024;

/// How a step stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum State {
    /// Known, not begun.
    #[default]
    Planned,
    /// At work.
    Running,
    /// Its result was found.
    Cached,
    /// Ended well.
    Done,
    /// Ended badly; one line says why.
    Failed(String),
    /// Stopped.
    Canceled,
}

/// A line that a step's process wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The time since the step began.
    pub(super) at: Duration,
    /// The text without its line end.
    pub(super) text: String,
}

/// A part of a step, such as one layer of a pull.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) current: u64,
    pub(super) total: Option<u64>,
    pub(super) started: Duration,
    pub(super) ended: Option<Duration>,
}

/// One step.
#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) digest: String,
    pub(super) inputs: Vec<StepId>,
    pub(super) state: State,
    pub(super) started: Option<Duration>,
    pub(super) ended: Option<Duration>,
    pub(super) parts: Vec<Part>,
    /// The last lines that its process wrote.
    pub(super) tail: VecDeque<Line>,
    /// For whom it waits.
    pub(super) waiting: Option<String>,
    /// Whether it had to run, and perhaps why.
    pub(super) missed: Option<Miss>,
    unfinished_line: Vec<u8>,
}

impl Step {
    /// How long the step has been at work, in seconds.
    pub(super) fn seconds(&self, now: Duration) -> f64 {
        let end = self.ended.unwrap_or(now);
        self.started.map_or(0.0, |started| end.saturating_sub(started).as_secs_f64())
    }

    /// Whether nothing more will come of it.
    pub(super) fn has_ended(&self) -> bool {
        !matches!(self.state, State::Planned | State::Running)
    }

    /// The instruction alone: `COPY . .` of `[2/3] COPY . .`.
    pub(super) fn instruction(&self) -> &str {
        match self.name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            Some((_, instruction)) => instruction,
            None => &self.name,
        }
    }

    fn begin(&mut self, at: Duration) {
        self.started.get_or_insert(at);
        self.ended = None;
        self.state = State::Running;
    }

    fn end(&mut self, at: Duration, state: State) -> Vec<Line> {
        self.started.get_or_insert(at);
        self.waiting = None;
        // What was found is not also done.
        if !(self.state == State::Cached && state == State::Done) {
            self.ended = Some(at);
            self.state = state;
        }
        let rest = std::mem::take(&mut self.unfinished_line);
        if rest.is_empty() { Vec::new() } else { vec![self.keep(at, &rest)] }
    }

    fn log(&mut self, at: Duration, data: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            self.unfinished_line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.unfinished_line.len() >= LONGEST_LINE {
                let whole = std::mem::take(&mut self.unfinished_line);
                lines.push(self.keep(at, &whole));
            }
        }
        lines
    }

    fn keep(&mut self, at: Duration, bytes: &[u8]) -> Line {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        let at = at.saturating_sub(self.started.unwrap_or(at));
        let line = Line { at, text };
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.clone());
        line
    }

    fn part(&mut self, at: Duration, name: &str) -> &mut Part {
        let place = self.parts.iter().position(|part| part.name == name);
        let place = place.unwrap_or_else(|| {
            self.parts.push(Part { name: name.to_owned(), started: at, ..Part::default() });
            self.parts.len() - 1
        });
        &mut self.parts[place]
    }
}

/// All steps of a build.
#[derive(Debug, Default)]
pub(super) struct Steps {
    all: BTreeMap<StepId, Step>,
    /// The steps that have begun, in that order.
    begun: Vec<StepId>,
    warnings: Vec<String>,
}

impl Steps {
    /// Takes note of an event; returns the lines of output that it completed.
    pub(super) fn apply(&mut self, event: &Event) -> Vec<Line> {
        let at = event.at;
        let step = self.all.entry(event.step).or_default();
        let was_begun = step.started.is_some();
        let mut lines = Vec::new();
        match &event.what {
            What::Planned { name, digest, inputs } => {
                step.name = text::visible(name);
                step.digest.clone_from(digest);
                step.inputs.clone_from(inputs);
            }
            What::Started => step.begin(at),
            What::Cached { .. } => lines = step.end(at, State::Cached),
            What::Missed(miss) => step.missed = Some(miss.clone()),
            What::Waiting { on } => {
                step.begin(at);
                step.waiting = Some(on.clone());
            }
            What::Progress { part, current, total, done } => {
                step.started.get_or_insert(at);
                let part = step.part(at, part);
                (part.current, part.total) = (*current, *total);
                part.ended = done.then_some(at);
            }
            What::Log { data, .. } => {
                step.started.get_or_insert(at);
                lines = step.log(at, data);
            }
            What::Note { text } => {
                step.started.get_or_insert(at);
                lines.push(step.keep(at, text.as_bytes()));
            }
            What::Warning { text } => self.warnings.push(text.clone()),
            What::Finished => lines = step.end(at, State::Done),
            What::Failed { error } => lines = step.end(at, State::Failed(error.clone())),
            What::Canceled => lines = step.end(at, State::Canceled),
            _ => {}
        }
        if !was_begun && step.started.is_some() {
            self.begun.push(event.step);
        }
        lines
    }

    /// Returns a step that an event has named.
    pub(super) fn get(&self, id: StepId) -> Option<&Step> {
        self.all.get(&id)
    }

    /// The steps that have begun, in that order.
    pub(super) fn begun(&self) -> impl Iterator<Item = (StepId, &Step)> {
        self.begun.iter().filter_map(|id| Some((*id, self.all.get(id)?)))
    }

    /// How many steps have ended, and how many there are.
    pub(super) fn count(&self) -> (usize, usize) {
        let ended = self.all.values().filter(|step| step.has_ended()).count();
        (ended, self.all.values().filter(|step| !step.name.is_empty()).count())
    }

    /// The warnings so far.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Why a step had to run, where that is news: a first build has only new steps, and what
    /// stands on a step that ran must run too.
    pub(super) fn miss(&self, id: StepId) -> Option<String> {
        let step = self.all.get(&id)?;
        let miss = step.missed.as_ref()?;
        let is_news = match miss {
            Miss::NewInstruction | Miss::Fresh => false,
            Miss::BaseChanged => !self.an_input_ran(step),
            _ => true,
        };
        if !is_news {
            return None;
        }
        let reason = reason(miss);
        Some(format!("{} ({reason})", step.instruction()))
    }

    fn an_input_ran(&self, step: &Step) -> bool {
        let inputs = step.inputs.iter().filter_map(|id| self.all.get(id));
        inputs.into_iter().any(|input| input.missed.is_some())
    }
}
