//! What is said at the end: which step failed and what it wrote last; which warnings there were.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use rbuild::Event;

use super::steps::{State, Step, Steps};
use super::{Renderer, text, write_batch};

/// Shows nothing but failures.
pub(super) struct Failures<W> {
    out: W,
    steps: Steps,
}

impl<W> Failures<W> {
    /// Shows failures there.
    pub(super) fn new(out: W) -> Self {
        Self { out, steps: Steps::default() }
    }
}

impl<W: Write + Send> Renderer for Failures<W> {
    fn event(&mut self, event: &Event) {
        self.steps.apply(event);
    }

    fn draw(&mut self, _now: Duration) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _now: Duration) -> io::Result<()> {
        write_batch(&mut self.out, &mut failures(&self.steps))
    }
}

/// The blocks of the steps that failed.
pub(super) fn failures(steps: &Steps) -> String {
    let mut shown = String::new();
    for (_, step) in steps.begun().filter(|(_, step)| matches!(step.state, State::Failed(_))) {
        failure(&mut shown, step);
    }
    shown
}

fn failure(shown: &mut String, step: &Step) {
    let _ = writeln!(shown, "------\n > {}:", step.name);
    for line in &step.tail {
        let _ = writeln!(shown, "{} {}", text::stamp(line.at), line.text);
    }
    shown.push_str("------\n");
}

/// The warnings of a build; `debug` lists them.
pub(super) fn warnings(all: &[String], debug: bool) -> String {
    let (count, noun) = match all.len() {
        0 => return String::new(),
        1 => (1, "warning"),
        many => (many, "warnings"),
    };
    let hint = if debug { "" } else { " (use --debug to expand)" };
    let mut shown = format!("\n {count} {noun} found{hint}:\n");
    for warning in all {
        let _ = writeln!(shown, " - {}", text::visible(warning));
    }
    shown
}
