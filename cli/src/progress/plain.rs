//! Progress as lines, in the grammar that people know from `BuildKit` and that their scripts read.
//!
//! One step is shown at a time. A step that has ended is shown at once; one that runs keeps its
//! place for a while, so that the output of parallel steps comes in readable blocks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use rbuild::{Event, StepId, What};

use super::steps::{Line, Part, State, Step, Steps};
use super::{Look, Renderer, failure, text, write_batch};

/// How long a running step keeps its place while others have something to show, and how long
/// where it is silent itself.
const HOLD: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(500);
/// A part is shown again after so long, or after so many hundredths of it.
const PART_INTERVAL: Duration = Duration::from_secs(5);
const PART_PERCENT: u64 = 5;

/// Shows steps as lines.
pub(super) struct Plain<W> {
    out: W,
    look: Look,
    steps: Steps,
    /// What each step still has to show; a step is here as long as it has anything.
    pending: BTreeMap<StepId, Pending>,
    /// The numbers of the steps shown so far.
    numbers: BTreeMap<StepId, usize>,
    /// How far each part was when it was shown last.
    parts: BTreeMap<(StepId, String), (Duration, u64)>,
    /// The running step whose block is open.
    shown: Option<StepId>,
    /// Since when that block is open, and when it grew last.
    shown_since: Duration,
    grown: Duration,
    batch: String,
}

struct Pending {
    since: Duration,
    lines: Vec<String>,
}

impl<W: Write + Send> Plain<W> {
    /// Shows steps there.
    pub(super) fn new(out: W, look: Look) -> Self {
        Self {
            out,
            look,
            steps: Steps::default(),
            pending: BTreeMap::new(),
            numbers: BTreeMap::new(),
            parts: BTreeMap::new(),
            shown: None,
            shown_since: Duration::ZERO,
            grown: Duration::ZERO,
            batch: String::new(),
        }
    }

    fn add(&mut self, event: &Event, line: Option<String>) {
        let fresh = || Pending { since: event.at, lines: Vec::new() };
        self.pending.entry(event.step).or_insert_with(fresh).lines.extend(line);
    }

    fn add_logs(&mut self, event: &Event, lines: Vec<Line>) {
        for line in lines {
            self.add(event, Some(format!("{} {}", text::stamp(line.at), line.text)));
        }
    }

    /// What an event has to show, once it is noted.
    fn note(&mut self, event: &Event) {
        let Some(step) = self.steps.get(event.step) else {
            return;
        };
        let line = match &event.what {
            What::Started => None,
            What::Cached { .. } => Some("CACHED".to_owned()),
            What::Missed(_) => match self.steps.miss(event.step) {
                Some(miss) => Some(format!("miss: {miss}")),
                None => return,
            },
            What::Waiting { on } => Some(format!("waiting for {on}")),
            What::Progress { part, .. } => {
                let Some(part) = step.parts.iter().find(|known| known.name == *part).cloned()
                else {
                    return;
                };
                if !self.is_worth_showing(event, &part) {
                    return;
                }
                Some(part_line(&part, event.at))
            }
            What::Warning { text } => Some(format!("WARN: {}", text::visible(text))),
            What::Finished if step.state == State::Cached => return,
            What::Finished => Some(format!("DONE {:.1}s", step.seconds(event.at))),
            What::Failed { error } => Some(format!("ERROR: {}", text::visible(error))),
            What::Canceled => Some("CANCELED".to_owned()),
            _ => return,
        };
        self.add(event, line);
    }

    /// Whether a part has got far enough since it was shown last.
    fn is_worth_showing(&mut self, event: &Event, part: &Part) -> bool {
        let key = (event.step, part.name.clone());
        let worth = match self.parts.get(&key) {
            None => true,
            Some(_) if part.ended.is_some() => true,
            Some((at, current)) => {
                let grown = part.current.saturating_sub(*current);
                event.at.saturating_sub(*at) >= PART_INTERVAL
                    || part.total.is_some_and(|total| {
                        total > 0 && grown.saturating_mul(100) >= total.saturating_mul(PART_PERCENT)
                    })
            }
        };
        if worth {
            self.parts.insert(key, (event.at, part.current));
        }
        worth
    }

    /// Moves all that a step has to show into the batch.
    fn print(&mut self, id: StepId, now: Duration) {
        let Some(pending) = self.pending.remove(&id) else {
            return;
        };
        let next = self.numbers.len() + 1;
        let number = *self.numbers.entry(id).or_insert(next);
        if self.shown != Some(id) {
            self.leave();
            if number > 1 || self.numbers.len() > 1 {
                self.batch.push('\n');
            }
            let name = self.steps.get(id).map_or("", |step| &step.name);
            let _ = writeln!(self.batch, "#{number} {name}");
            (self.shown, self.shown_since) = (Some(id), now);
        }
        self.grown = now;
        for line in pending.lines {
            let _ = writeln!(self.batch, "#{number} {line}");
        }
        if self.has_ended(id) {
            self.shown = None;
        }
    }

    /// Closes the block of a step that goes on.
    fn leave(&mut self) {
        if let Some(number) = self.shown.take().and_then(|id| self.numbers.get(&id)) {
            let _ = writeln!(self.batch, "#{number} ...");
        }
    }

    fn has_ended(&self, id: StepId) -> bool {
        self.steps.get(id).is_some_and(Step::has_ended)
    }

    fn print_ended(&mut self, now: Duration) {
        if let Some(shown) = self.shown {
            self.print(shown, now);
        }
        let ended: Vec<_> = self.pending.keys().copied().filter(|id| self.has_ended(*id)).collect();
        for id in ended {
            self.print(id, now);
        }
    }

    /// Gives the place to the step that has waited longest, where the place is free, was held long
    /// enough, or its holder is silent.
    fn print_running(&mut self, now: Duration) {
        let held = now.saturating_sub(self.shown_since) < HOLD;
        let speaks = now.saturating_sub(self.grown) < SILENCE;
        if self.shown.is_some() && held && speaks {
            return;
        }
        let longest = self.pending.iter().min_by_key(|(id, pending)| (pending.since, **id));
        if let Some(id) = longest.map(|(id, _)| *id) {
            self.print(id, now);
        }
    }
}

fn part_line(part: &Part, now: Duration) -> String {
    let done = if part.ended.is_some() { " done" } else { "" };
    format!("{}{}{done}", text::part(part), text::part_time(part, now))
}

impl<W: Write + Send> Renderer for Plain<W> {
    fn event(&mut self, event: &Event) {
        let lines = self.steps.apply(event);
        self.add_logs(event, lines);
        self.note(event);
    }

    fn draw(&mut self, now: Duration) -> io::Result<()> {
        self.print_ended(now);
        self.print_running(now);
        write_batch(&mut self.out, &mut self.batch)
    }

    fn finish(&mut self, now: Duration) -> io::Result<()> {
        self.print_ended(now);
        let rest: Vec<_> = self.pending.keys().copied().collect();
        for id in rest {
            self.print(id, now);
        }
        self.batch.push_str(&failure::failures(&self.steps));
        self.batch.push_str(&failure::warnings(self.steps.warnings(), self.look.debug));
        write_batch(&mut self.out, &mut self.batch)
    }
}

#[cfg(test)]
mod tests;
