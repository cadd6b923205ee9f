//! Shows a build while it runs. A renderer is a state machine fed with events: it never looks at
//! the clock, so that it is tested from recorded ones.
//!
//! Events come from many tasks at once; one thread gathers and draws them, so that no step of a
//! build ever waits for a slow terminal.

mod failure;
mod json;
mod plain;
mod steps;
mod text;
mod tty;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rbuild::Event;

use self::failure::Failures;
use self::json::RawJson;
use self::plain::Plain;
use self::tty::Tty;

/// How to show what goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Mode {
    /// `tty` on a terminal, else `plain`
    #[default]
    Auto,
    /// A picture that is drawn anew
    Tty,
    /// Line after line
    Plain,
    /// JSON, one status a line
    #[value(alias = "json")]
    Rawjson,
    /// Only the image id
    Quiet,
    /// Nothing
    None,
}

/// What a terminal is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// Whether colours are wanted.
    pub(crate) colour: bool,
    /// How many lines of output a running step shows.
    pub(crate) log_lines: usize,
    /// Whether to list warnings and causes in full.
    pub(crate) debug: bool,
    /// What goes on: `Building`.
    pub(crate) heading: &'static str,
}

/// A function of events.
trait Renderer: Send {
    /// Takes note of one event.
    fn event(&mut self, event: &Event);
    /// Shows what is new; `now` is the time since the build began.
    fn draw(&mut self, now: Duration) -> io::Result<()>;
    /// Shows all that is left, and what went wrong.
    fn finish(&mut self, now: Duration) -> io::Result<()>;
}

/// How long events are gathered before they are drawn.
const INTERVAL: Duration = Duration::from_millis(100);

enum Message {
    Event(Event),
    End,
}

/// A build being shown.
pub(crate) struct Progress {
    sender: Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts to show a build on standard error.
    pub(crate) fn start(mode: Mode, look: Look) -> Self {
        let (sender, receiver) = channel();
        let renderer = renderer(mode, look);
        let thread = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || show(&receiver, renderer, Instant::now()))
            .ok();
        Self { sender, thread }
    }

    /// Returns the function that takes the build's events.
    pub(crate) fn sink(&self) -> impl Fn(Event) + Send + Sync + 'static {
        let sender = self.sender.clone();
        // Nobody listens any more once the build is over: what comes after is of no interest.
        move |event| drop(sender.send(Message::Event(event)))
    }

    /// Shows what is left, and returns when it is shown.
    pub(crate) fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.sender.send(Message::End));
        if let Some(thread) = self.thread.take() {
            // A renderer that panicked has said so itself.
            drop(thread.join());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

fn renderer(mode: Mode, look: Look) -> Box<dyn Renderer> {
    let out = io::stderr();
    match mode {
        Mode::Auto if out.is_terminal() => Box::new(Tty::new(out, look, text::terminal_size)),
        Mode::Tty => Box::new(Tty::new(out, look, text::terminal_size)),
        Mode::Auto | Mode::Plain => Box::new(Plain::new(out, look)),
        Mode::Rawjson => Box::new(RawJson::new(out, jiff::Timestamp::now())),
        Mode::Quiet | Mode::None => Box::new(Failures::new(out)),
    }
}

/// Draws what comes until the end. A closed pipe ends the drawing, not the build.
fn show(receiver: &Receiver<Message>, mut renderer: Box<dyn Renderer>, began: Instant) {
    let mut open = true;
    loop {
        let ended = gather(receiver, &mut *renderer);
        let drawn = match (open, ended) {
            (false, _) => Ok(()),
            (true, false) => renderer.draw(began.elapsed()),
            (true, true) => renderer.finish(began.elapsed()),
        };
        open &= drawn.is_ok();
        if ended {
            return;
        }
    }
}

/// Feeds the renderer for one interval; returns whether the build is over.
fn gather(receiver: &Receiver<Message>, renderer: &mut dyn Renderer) -> bool {
    let until = Instant::now() + INTERVAL;
    loop {
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Message::Event(event)) => renderer.event(&event),
            Err(RecvTimeoutError::Timeout) => return false,
            Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return true,
        }
    }
}

/// Writes one batch at once, so that a reader never sees half of it.
fn write_batch(out: &mut impl Write, batch: &mut String) -> io::Result<()> {
    if !batch.is_empty() {
        out.write_all(batch.as_bytes())?;
        out.flush()?;
        batch.clear();
    }
    Ok(())
}

#[cfg(test)]
mod recorded;
