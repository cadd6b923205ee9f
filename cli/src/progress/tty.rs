//! Progress as a picture that is drawn anew about ten times a second.
//!
//! The only controls are colours, "cursor up" and "clear from here to the end", which every
//! terminal has. Nothing is remembered of the terminal's size, so that it may change at any time.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use rbuild::{Event, StepId};
use unicode_width::UnicodeWidthStr;

use super::steps::{State, Step, Steps};
use super::{Look, Renderer, failure, text, write_batch};

const DONE: Style = AnsiColor::Blue.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const STOPPED: Style = AnsiColor::Yellow.on_default();
const DIM: Style = Style::new().dimmed();
const USUAL: Style = Style::new();

/// One line of the picture.
struct Row {
    text: String,
    style: Style,
    /// What may be left out where the terminal is low: the higher, the sooner.
    dispensable: u8,
}

/// Draws steps.
pub(super) struct Tty<W, S> {
    out: W,
    look: Look,
    size: S,
    steps: Steps,
    /// The widths of the lines on the screen.
    on_screen: Vec<usize>,
    batch: String,
}

impl<W: Write + Send, S: Fn() -> (usize, usize) + Send> Tty<W, S> {
    /// Draws steps there; `size` tells columns and rows.
    pub(super) fn new(out: W, look: Look, size: S) -> Self {
        let steps = Steps::default();
        Self { out, look, size, steps, on_screen: Vec::new(), batch: String::new() }
    }

    /// Goes back to where the picture begins. A terminal made narrower has broken its lines.
    fn rewind(&mut self, columns: usize) {
        let rows: usize = self.on_screen.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        if rows > 0 {
            let _ = write!(self.batch, "\x1b[{rows}A");
        }
        self.batch.push_str("\r\x1b[J");
        self.on_screen.clear();
    }

    fn show(&mut self, rows: &[Row]) {
        for row in rows {
            let style = if self.look.colour { row.style } else { USUAL };
            let _ = writeln!(self.batch, "{style}{}{style:#}", row.text);
            self.on_screen.push(row.text.width());
        }
    }

    /// The whole picture.
    fn picture(&self, now: Duration, columns: usize, finished: bool) -> Vec<Row> {
        let (ended, all) = self.steps.count();
        let end = if finished { " FINISHED" } else { "" };
        let (heading, seconds) = (self.look.heading, now.as_secs_f64());
        let head = format!("[+] {heading} {seconds:.1}s ({ended}/{all}){end}");
        let mut rows = vec![Row { text: text::cut(&head, columns), style: USUAL, dispensable: 0 }];
        for (id, step) in self.steps.begun() {
            self.step(&mut rows, (id, step), now, columns);
        }
        rows
    }

    fn step(
        &self,
        rows: &mut Vec<Row>,
        (id, step): (StepId, &Step),
        now: Duration,
        columns: usize,
    ) {
        let (word, style) = match &step.state {
            State::Planned | State::Running => ("", USUAL),
            State::Cached => ("CACHED ", DONE),
            State::Done => ("", DONE),
            State::Failed(_) => ("ERROR ", BAD),
            State::Canceled => ("CANCELED ", STOPPED),
        };
        let left = format!(" => {word}{}", step.name);
        let right = format!(" {:.1}s", step.seconds(now));
        let dispensable = if step.has_ended() { 2 } else { 0 };
        let line = text::justify(&left, &right, columns);
        rows.push(Row { text: line, style, dispensable });
        let mut below = |left: String, right: &str, style, dispensable| {
            rows.push(Row { text: text::justify(&left, right, columns), style, dispensable });
        };
        if let Some(miss) = self.steps.miss(id) {
            below(format!(" => => miss: {}", text::visible(&miss)), "", DIM, 3);
        }
        for part in &step.parts {
            let style = if part.ended.is_some() { DONE } else { USUAL };
            let taken = part.ended.unwrap_or(now).saturating_sub(part.started);
            let right = format!(" {:.1}s", taken.as_secs_f64());
            below(format!(" => => {}", text::visible(&text::part(part))), &right, style, 3);
        }
        if let Some(on) = &step.waiting {
            below(format!(" => => waiting for {}", text::visible(on)), "", STOPPED, 1);
        }
        if !step.has_ended() {
            let skipped = step.tail.len().saturating_sub(self.look.log_lines);
            for line in step.tail.iter().skip(skipped) {
                below(format!(" => => # {}", text::visible(&line.text)), "", DIM, 1);
            }
        }
    }
}

/// Leaves out rows until the picture fits: first those that matter least, oldest first.
fn fit(rows: &mut Vec<Row>, height: usize) {
    for level in (1..=3).rev() {
        let mut surplus = rows.len().saturating_sub(height);
        rows.retain(|row| {
            let goes = surplus > 0 && row.dispensable == level;
            surplus -= usize::from(goes);
            !goes
        });
    }
    rows.truncate(height.max(1));
}

impl<W: Write + Send, S: Fn() -> (usize, usize) + Send> Renderer for Tty<W, S> {
    fn event(&mut self, event: &Event) {
        self.steps.apply(event);
    }

    fn draw(&mut self, now: Duration) -> io::Result<()> {
        // A line as wide as the terminal may or may not push the cursor on.
        let (columns, lines) = (self.size)();
        let columns = columns.saturating_sub(1).max(1);
        let mut rows = self.picture(now, columns, false);
        fit(&mut rows, lines.saturating_sub(2));
        self.rewind(columns + 1);
        self.show(&rows);
        write_batch(&mut self.out, &mut self.batch)
    }

    fn finish(&mut self, now: Duration) -> io::Result<()> {
        let columns = (self.size)().0.saturating_sub(1).max(1);
        let rows = self.picture(now, columns, true);
        self.rewind(columns + 1);
        self.show(&rows);
        self.batch.push_str(&failure::failures(&self.steps));
        self.batch.push_str(&failure::warnings(self.steps.warnings(), self.look.debug));
        write_batch(&mut self.out, &mut self.batch)
    }
}

#[cfg(test)]
mod tests;
