//! What happened in a build, for people and programs; a renderer is a function of these.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::Error;
use crate::miss::Miss;

/// The number of a step within one build, in the order in which steps became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StepId(pub u64);

/// One thing that happened to one step.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// The time since the build began.
    pub at: Duration,
    /// The step.
    pub step: StepId,
    /// What happened.
    pub what: What,
}

/// What can happen to a step.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub enum What {
    /// The step is known; it may never run.
    Planned {
        /// The step as a person knows it: `[2/3] RUN apk add curl`.
        name: String,
        /// A digest that names the step in machine-readable output, such as `sha256:…`.
        digest: String,
        /// The steps whose results it uses.
        inputs: Vec<StepId>,
    },
    /// Work on the step began.
    Started,
    /// The result was found.
    Cached {
        /// Which of the two keys found it.
        by: CachedBy,
    },
    /// The step must run, and why.
    Missed(Miss),
    /// The step waits for somebody, such as another process that runs the same step.
    Waiting {
        /// For whom: `pid 4711, which is running this step`.
        on: String,
    },
    /// A part of the step went on, such as one layer of a pull.
    Progress {
        /// The part: `sha256:…`, `transferring context`, `exporting layers`.
        part: String,
        /// Bytes so far; 0 where nothing is counted.
        current: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
        /// Whether the part is done.
        done: bool,
    },
    /// The step's process wrote something.
    Log {
        /// Where to.
        stream: Stream,
        /// The bytes, not necessarily whole lines.
        data: Arc<[u8]>,
    },
    /// Something about how the step runs, such as by an emulator.
    Note {
        /// One line.
        text: String,
    },
    /// Something that the user should know; the build goes on.
    Warning {
        /// One line.
        text: String,
    },
    /// The step ended well.
    Finished,
    /// The step ended badly.
    Failed {
        /// One line.
        error: String,
    },
    /// The step was stopped since nobody wants its result any more.
    Canceled,
}

/// Which key found a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CachedBy {
    /// The definition: nothing beneath was even looked at.
    Definition,
    /// The contents of the inputs.
    Content,
}

/// Where a process wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where events go; cheap to clone.
#[derive(Clone)]
pub struct Events {
    began: Instant,
    next: Arc<std::sync::atomic::AtomicU64>,
    sink: Arc<dyn Fn(Event) + Send + Sync>,
}

impl Events {
    /// Sends every event of one build to a function; the build begins now.
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self { began: Instant::now(), next: Arc::default(), sink: Arc::new(sink) }
    }

    /// Throws every event away.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    /// Makes a step known and gives it its number.
    pub fn plan(&self, name: String, digest: String, inputs: Vec<StepId>) -> StepId {
        let step = StepId(self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        self.emit(step, What::Planned { name, digest, inputs });
        step
    }

    /// Says what happened to a step.
    pub fn emit(&self, step: StepId, what: What) {
        (self.sink)(Event { at: self.began.elapsed(), step, what });
    }
}

/// Reports one step; says that it was canceled when it is dropped in its midst.
#[derive(Debug)]
pub(crate) struct Report {
    to: Option<(Events, StepId)>,
    begun: bool,
}

impl Report {
    /// Reports a step that has a number; one without is not spoken of.
    pub(crate) fn new(events: &Events, step: Option<StepId>) -> Self {
        Self { to: step.map(|step| (events.clone(), step)), begun: false }
    }

    /// Says something after which the step goes on.
    pub(crate) fn say(&mut self, what: What) {
        self.begun = true;
        self.emit(what);
    }

    /// Says how the step ended.
    pub(crate) fn end(mut self, what: What) {
        self.begun = false;
        self.emit(what);
    }

    /// Says that the step failed, and passes the error on.
    pub(crate) fn fail(self, error: Error) -> Error {
        if !matches!(error, Error::Lost(_)) {
            let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            self.end(What::Failed { error: cause });
        }
        error
    }

    fn emit(&self, what: What) {
        if let Some((events, step)) = &self.to {
            events.emit(*step, what);
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if self.begun {
            self.emit(What::Canceled);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("began", &self.began).finish_non_exhaustive()
    }
}
