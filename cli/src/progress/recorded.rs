//! Recorded builds, for the tests of the renderers.

use std::sync::Arc;
use std::time::Duration;

use rbuild::{CachedBy, Change, Event, FileChange, Miss, StepId, Stream, What};

use super::Look;

/// The look that tests draw with.
pub(super) const LOOK: Look =
    Look { colour: false, log_lines: 6, debug: false, heading: "Building" };

/// One event, so many milliseconds after the build began.
pub(super) fn at(milliseconds: u64, step: u64, what: What) -> Event {
    Event { at: Duration::from_millis(milliseconds), step: StepId(step), what }
}

pub(super) fn planned(step: u64, name: &str, inputs: &[u64]) -> Event {
    let inputs = inputs.iter().copied().map(StepId).collect();
    at(0, step, What::Planned { name: name.to_owned(), digest: format!("sha256:{step}"), inputs })
}

pub(super) fn log(milliseconds: u64, step: u64, text: &str) -> Event {
    let data = Arc::from(text.as_bytes());
    at(milliseconds, step, What::Log { stream: Stream::Stdout, data })
}

pub(super) fn part(
    milliseconds: u64,
    step: u64,
    part: &str,
    (current, total): (u64, Option<u64>),
    done: bool,
) -> Event {
    let part = part.to_owned();
    at(milliseconds, step, What::Progress { part, current, total, done })
}

/// A build of two parallel steps upon a base that is known, one of which fails.
pub(super) fn failing() -> Vec<Event> {
    let context = "transferring context";
    vec![
        planned(0, "[internal] load build context", &[]),
        planned(1, "[1/3] FROM docker.io/library/alpine:3", &[]),
        planned(2, "[2/3] COPY . .", &[0, 1]),
        planned(3, "[3/3] RUN make", &[2]),
        planned(4, "[other 2/2] RUN sleep 9", &[1]),
        at(1, 0, What::Started),
        part(2, 0, context, (1_000, None), false),
        at(3, 1, What::Cached { by: CachedBy::Definition }),
        part(110, 0, context, (12_345, None), true),
        at(120, 0, What::Finished),
        at(
            121,
            2,
            What::Missed(Miss::FilesChanged { files: vec![changed("src/main.rs")], count: 1 }),
        ),
        at(122, 2, What::Started),
        at(123, 4, What::Missed(Miss::NewInstruction)),
        at(124, 4, What::Started),
        at(222, 2, What::Finished),
        at(223, 3, What::Missed(Miss::BaseChanged)),
        at(224, 3, What::Started),
        log(324, 3, "cc main.c\nmain.c:1: wro"),
        log(330, 4, "asleep\r\n"),
        log(424, 3, "ng\nlast words"),
        at(425, 3, What::Warning { text: "the clock is skewed".into() }),
        at(1_724, 3, What::Failed { error: "process \"make\": exit code: 2".into() }),
        at(1_730, 4, What::Canceled),
    ]
}

/// Feeds a renderer, drawing at each of the given times; returns what it wrote.
pub(super) fn draw<R: super::Renderer>(
    renderer: &mut R,
    events: &[Event],
    draws: &[u64],
    finish: u64,
) {
    let mut draws = draws.iter().map(|at| Duration::from_millis(*at)).peekable();
    for event in events {
        while let Some(now) = draws.next_if(|now| *now <= event.at) {
            renderer.draw(now).expect("memory takes all that is written");
        }
        renderer.event(event);
    }
    for now in draws {
        renderer.draw(now).expect("memory takes all that is written");
    }
    renderer.finish(Duration::from_millis(finish)).expect("memory takes all that is written");
}

/// A place in memory that a test may look into.
#[derive(Debug, Clone, Default)]
pub(super) struct Screen(Arc<std::sync::Mutex<Vec<u8>>>);

impl Screen {
    /// What was written, escape characters as `^[` and carriage returns as `^M`.
    pub(super) fn text(&self) -> String {
        let bytes = self.0.lock().expect("no test panics while it writes").clone();
        String::from_utf8(bytes)
            .expect("renderers write text")
            .replace('\x1b', "^[")
            .replace('\r', "^M")
    }
}

impl std::io::Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no test panics while it writes").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A file that has other contents than before.
pub(super) fn changed(path: &str) -> FileChange {
    FileChange { path: path.to_owned(), change: Change::Changed }
}
