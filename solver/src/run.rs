//! One step whose inputs are known: looked up by content, and run when nothing is found.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rbuild_cache::{Lock, Outputs, Part, Record, Store};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::Error;
use crate::event::{CachedBy, Events, Report, StepId, What};
use crate::graph::Vertex;
use crate::miss::{self, Miss};
use crate::worker::{Mode, Task, Worker};

/// The results of a step.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) outputs: Outputs,
    /// Whether it ran, so that the store remembers it under both keys.
    pub(crate) ran: bool,
}

/// One step whose inputs are known.
pub(crate) struct Job {
    pub(crate) store: Store,
    pub(crate) worker: Arc<dyn Worker>,
    pub(crate) vertex: Arc<Vertex>,
    pub(crate) step: Option<StepId>,
    pub(crate) events: Events,
    pub(crate) mode: Mode,
    /// Whether it runs though a result is known.
    pub(crate) fresh: bool,
    pub(crate) task: Task,
}

/// What the store said.
enum Answer {
    Found(Outputs),
    /// Nothing, and this process alone may make it for as long as it holds the lock.
    Missing(Miss, Option<Lock>),
    /// Nothing, but another process is making it.
    Busy,
}

impl Job {
    /// Looks the step up by content, and runs it when nothing is found.
    pub(crate) async fn find_or_run(self: Arc<Self>) -> Result<Found, Error> {
        let mut report = Report::new(&self.events, self.step);
        let answer = match self.look_up(&mut report).await {
            Ok(answer) => answer,
            Err(error) => return Err(report.fail(error)),
        };
        match answer {
            Ok(outputs) => {
                report.end(What::Cached { by: CachedBy::Content });
                Ok(Found { outputs, ran: false })
            }
            Err((miss, lock)) => {
                let outputs = self.run(miss, lock, report).await?;
                Ok(Found { outputs, ran: true })
            }
        }
    }

    /// The known results, or why there are none and the lock under which to make them.
    async fn look_up(
        self: &Arc<Self>,
        report: &mut Report,
    ) -> Result<Result<Outputs, (Miss, Option<Lock>)>, Error> {
        if self.fresh {
            return Ok(Err((Miss::Fresh, None)));
        }
        let mut lock = None;
        loop {
            let job = Arc::clone(self);
            match blocking("look up a result", move || job.ask(lock)).await? {
                Answer::Found(outputs) => return Ok(Ok(outputs)),
                Answer::Missing(miss, lock) => return Ok(Err((miss, lock))),
                Answer::Busy => lock = Some(self.wait(report).await?),
            }
        }
    }

    /// Asks the store for a result, with the lock held, so that nobody makes it in between.
    fn ask(&self, lock: Option<Lock>) -> rbuild_cache::Result<Answer> {
        let looks_only = self.mode == Mode::Check;
        let lock = match lock {
            None if !looks_only => self.store.lock(&self.lock_name())?,
            lock => lock,
        };
        let mut found = self.store.find(&[self.task.content])?;
        if let Some(outputs) = found.pop().flatten() {
            return Ok(Answer::Found(outputs));
        }
        if lock.is_none() && !looks_only {
            return Ok(Answer::Busy);
        }
        let last = self.store.last(&self.vertex.place)?;
        let miss = miss::explain(last.as_deref(), &self.task.parts, self.vertex.edges());
        Ok(Answer::Missing(miss, lock))
    }

    fn lock_name(&self) -> String {
        self.task.content.hex()
    }

    /// Waits for another process that runs the same step.
    async fn wait(&self, report: &mut Report) -> Result<Lock, Error> {
        let (store, name) = (self.store.clone(), self.lock_name());
        let (tell, told) = oneshot::channel();
        let (give, given) = oneshot::channel();
        // A thread of its own: one of the runtime's would keep a stopped process from ending.
        let waiter = std::thread::Builder::new().name("wait for a step".to_owned());
        let wait = move || {
            // Nobody listens any more once the step is stopped; the lock then drops at once.
            let lock = store.lock_wait(&name, |pid| {
                let _ = tell.send(pid);
            });
            let _ = give.send(lock);
        };
        waiter.spawn(wait).map_err(Error::failed).map_err(|error| error.of(&self.vertex))?;
        if let Ok(pid) = told.await {
            let who = if pid == 0 { "another process".to_owned() } else { format!("pid {pid}") };
            report.say(What::Waiting { on: format!("{who}, which is running this step") });
        }
        let lock = given.await.map_err(|_| Error::Canceled)?;
        lock.map_err(Error::cache("wait for another process"))
    }

    /// Runs the step and remembers its results.
    async fn run(
        self: &Arc<Self>,
        miss: Miss,
        lock: Option<Lock>,
        mut report: Report,
    ) -> Result<Outputs, Error> {
        let Vertex { description, place, .. } = self.vertex.as_ref();
        let miss = match miss {
            Miss::FilesChanged { .. } => miss.with_files(self.worker.changes(&self.task).await),
            miss => miss,
        };
        if self.mode == Mode::Check {
            report.end(What::Missed(miss.clone()));
            let (description, place) = (description.clone(), place.clone());
            return Err(Error::Miss { description, place, miss });
        }
        report.say(What::Missed(miss));
        report.say(What::Started);
        let began = Instant::now();
        match self.worker.run(self.task.clone()).await {
            Ok(outputs) => {
                self.remember(&outputs, began.elapsed(), lock).await;
                report.end(What::Finished);
                Ok(outputs)
            }
            Err(error) => Err(report.fail(error.of(&self.vertex))),
        }
    }

    /// Remembers the results under both keys, and what they are made of for the next miss; only
    /// then gives the lock back, so that whoever waits for it finds them.
    ///
    /// The store's rows are hints: when they cannot be written, the build goes on.
    pub(crate) async fn remember(
        self: &Arc<Self>,
        outputs: &Outputs,
        cost: Duration,
        lock: Option<Lock>,
    ) {
        let (job, outputs) = (Arc::clone(self), outputs.clone());
        let remembered = blocking("remember a result", move || {
            let _lock = lock;
            job.store.remember(&job.record(outputs, cost))?;
            if job.vertex.place.is_empty() {
                return Ok(());
            }
            job.store.remember_last(&job.vertex.place, &job.task.parts)
        });
        if let Err(error) = remembered.await {
            tracing::warn!(step = self.vertex.description, ?error, "a result is not remembered");
        }
    }

    fn record(&self, outputs: Outputs, cost: Duration) -> Record {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let parts: Vec<Part> = self.task.parts.clone();
        Record {
            definition: self.task.definition,
            content: self.task.content,
            outputs,
            description: self.vertex.description.clone(),
            parts,
            cost_ms: u64::try_from(cost.as_millis()).unwrap_or(u64::MAX),
            created: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        }
    }
}

/// Runs what uses the store on a thread that may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> rbuild_cache::Result<T> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Error::cache(doing)),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Canceled),
        },
    }
}
