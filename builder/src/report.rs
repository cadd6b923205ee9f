//! What each step of a build did and why, kept in the store until the next build of the same
//! target.

pub(crate) mod secrets;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rbuild_cache::Store;
use rbuild_solver::{CachedBy, Event, Miss, StepId, What};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The folder of the store with the reports.
const FOLDER: &str = "reports";
/// The largest report that is read, in bytes.
const LIMIT: u64 = 16 << 20;

/// One build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The Dockerfile, or the folder it was in.
    pub dockerfile: String,
    /// The stage that was asked for.
    pub target: Option<String>,
    /// The platform.
    pub platform: String,
    /// When the build ended, in seconds since 1970.
    pub ended: i64,
    /// The id of the image; `None` when the build failed.
    pub image: Option<String>,
    /// The images that it stands on.
    pub bases: Vec<ReportedBase>,
    /// The steps, in the order in which they were planned.
    pub steps: Vec<ReportedStep>,
}

/// An image that a build stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedBase {
    /// The full name.
    pub name: String,
    /// Its digest.
    pub digest: String,
    /// Its digest in the build before, where that was another.
    pub was: Option<String>,
}

/// One step of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedStep {
    /// Its name: `[2/3] RUN make`.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was not cached.
    pub miss: Option<Miss>,
    /// The steps whose results it uses and that ran, by their index in the report.
    pub after: Vec<usize>,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// The secrets that it mounts and that are not what they were when its result was made: they
    /// are not part of its key.
    #[serde(default)]
    pub changed_secrets: Vec<String>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It was not reached.
    Waiting,
    /// Its definition was known.
    CachedByDefinition,
    /// The contents that it uses were known.
    CachedByContent,
    /// It ran.
    Ran,
    /// It failed.
    Failed,
    /// It was stopped.
    Canceled,
}

/// Listens to a build.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<BTreeMap<StepId, Recorded>>>);

#[derive(Debug, Clone)]
struct Recorded {
    name: String,
    inputs: Vec<StepId>,
    outcome: Outcome,
    miss: Option<Miss>,
    started: Option<Duration>,
    took: Duration,
    changed_secrets: Vec<String>,
}

impl Recorder {
    /// Takes note of an event.
    pub(crate) fn note(&self, event: &Event) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let What::Planned { name, inputs, .. } = &event.what {
            let recorded = Recorded {
                name: name.clone(),
                inputs: inputs.clone(),
                outcome: Outcome::Waiting,
                miss: None,
                started: None,
                took: Duration::ZERO,
                changed_secrets: Vec::new(),
            };
            steps.insert(event.step, recorded);
            return;
        }
        let Some(step) = steps.get_mut(&event.step) else { return };
        let outcome = match &event.what {
            What::Missed(miss) => {
                step.miss = Some(miss.clone());
                return;
            }
            What::Started => {
                step.started = Some(event.at);
                return;
            }
            What::Cached { by: CachedBy::Definition } => Outcome::CachedByDefinition,
            What::Cached { by: CachedBy::Content } => Outcome::CachedByContent,
            What::Finished => Outcome::Ran,
            What::Failed { .. } => Outcome::Failed,
            What::Canceled => Outcome::Canceled,
            _ => return,
        };
        step.outcome = outcome;
        step.took = step.started.map_or(Duration::ZERO, |began| event.at.saturating_sub(began));
    }

    /// Takes note of the secrets that have changed since, by the names of the steps.
    pub(crate) fn note_secrets(&self, mut changed: BTreeMap<String, Vec<String>>) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for step in steps.values_mut() {
            step.changed_secrets = changed.remove(&step.name).unwrap_or_default();
        }
    }

    /// The steps of the Dockerfile; those that the builder adds are left out.
    pub(crate) fn steps(&self) -> Vec<ReportedStep> {
        let steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_own = |step: &&Recorded| !step.name.starts_with("[internal]");
        let shown: Vec<(StepId, &Recorded)> = steps
            .iter()
            .filter(|(_, step)| step.name.starts_with('[') && is_own(step))
            .map(|(id, step)| (*id, step))
            .collect();
        let index = |id: &StepId| {
            let index = shown.iter().position(|(shown, _)| shown == id)?;
            (shown[index].1.outcome == Outcome::Ran).then_some(index)
        };
        let step = |(_, step): &(StepId, &Recorded)| ReportedStep {
            name: step.name.clone(),
            outcome: step.outcome,
            miss: step.miss.clone(),
            after: step.inputs.iter().filter_map(index).collect(),
            milliseconds: u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX),
            changed_secrets: step.changed_secrets.clone(),
        };
        shown.iter().map(step).collect()
    }
}

impl Report {
    /// Keeps the report in place of the last one of the same target, and notes which images are
    /// others than then.
    pub(crate) fn keep(mut self, store: &Store) -> std::io::Result<()> {
        let folder = store.root().join(FOLDER);
        std::fs::create_dir_all(&folder)?;
        let key = format!("{} {:?} {}", self.dockerfile, self.target, self.platform);
        let name = blake3::hash(key.as_bytes()).to_hex();
        let path = folder.join(format!("{}.json", &name.as_str()[..32]));
        self.bases = bases(&self.steps);
        if let Some(before) = read_one(&path) {
            for base in &mut self.bases {
                let same = before.bases.iter().find(|old| old.name == base.name);
                let digest = same.map(|old| &old.digest).filter(|old| **old != base.digest);
                base.was = digest.cloned();
            }
        }
        let beside = folder.join(format!(".{}.{}", &name.as_str()[..32], std::process::id()));
        std::fs::write(&beside, serde_json::to_vec(&self)?)?;
        std::fs::rename(&beside, &path)
    }

    /// The reports of a store, the latest first. One that is damaged is left out.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn all(store: &Store) -> Result<Vec<Self>> {
        let folder = store.root().join(FOLDER);
        let read = |source| Error::Read { path: folder.clone(), source };
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(read(error)),
        };
        let paths: Vec<PathBuf> = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<_>>()
            .map_err(read)?;
        let mut reports: Vec<Self> = paths.iter().filter_map(read_one).collect();
        reports.sort_by_key(|report| std::cmp::Reverse(report.ended));
        Ok(reports)
    }
}

/// The images in the names of steps: `[1/2] FROM docker.io/library/alpine:3@sha256:…`.
fn bases(steps: &[ReportedStep]) -> Vec<ReportedBase> {
    let base = |step: &ReportedStep| {
        let (_, image) = step.name.split_once("] FROM ")?;
        let (name, digest) = image.split_once('@')?;
        Some(ReportedBase { name: name.to_owned(), digest: digest.to_owned(), was: None })
    };
    steps.iter().filter_map(base).collect()
}

fn read_one(path: &PathBuf) -> Option<Report> {
    use std::io::Read;
    if path.extension().is_none_or(|extension| extension != "json") {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use rbuild_solver::Events;

    use super::*;

    #[test]
    fn steps_are_recorded_with_what_ran_before_them() {
        let recorder = Recorder::default();
        let noted = recorder.clone();
        let events = Events::new(move |event| noted.note(&event));
        let plan = |name: &str, inputs| events.plan(name.to_owned(), String::new(), inputs);
        let hidden = plan("[internal] load build context", vec![]);
        let first = plan("[1/3] COPY a /", vec![hidden]);
        let second = plan("[2/3] RUN make", vec![first]);
        plan("[3/3] RUN never", vec![second]);
        for what in [What::Missed(Miss::NewInstruction), What::Started, What::Finished] {
            events.emit(first, what);
        }
        events.emit(second, What::Cached { by: CachedBy::Content });
        let steps = recorder.steps();
        let told: Vec<_> = steps.iter().map(|step| (step.outcome, step.after.clone())).collect();
        let wanted = [
            (Outcome::Ran, vec![]),
            (Outcome::CachedByContent, vec![0]),
            (Outcome::Waiting, vec![]),
        ];
        assert_eq!(told, wanted);
        assert_eq!(steps[0].miss, Some(Miss::NewInstruction));
    }

    #[test]
    fn the_last_report_of_a_target_is_kept() {
        let store = Store::temporary().unwrap();
        assert!(Report::all(&store).unwrap().is_empty());
        let report = |dockerfile: &str, ended| Report {
            dockerfile: dockerfile.to_owned(),
            target: None,
            platform: "linux/amd64".to_owned(),
            ended,
            image: None,
            bases: Vec::new(),
            steps: Vec::new(),
        };
        for (name, ended) in [("a", 1), ("b", 2), ("a", 3)] {
            report(name, ended).keep(&store).unwrap();
        }
        assert_eq!(Report::all(&store).unwrap(), [report("a", 3), report("b", 2)]);
    }

    #[test]
    fn a_base_that_is_another_is_noted() {
        let store = Store::temporary().unwrap();
        let keep = |digest: &str| {
            let name = format!("[1/1] FROM docker.io/library/a:3@{digest}");
            let step = ReportedStep {
                name,
                outcome: Outcome::CachedByDefinition,
                miss: None,
                after: Vec::new(),
                milliseconds: 0,
                changed_secrets: Vec::new(),
            };
            let report = Report {
                dockerfile: "d".to_owned(),
                target: None,
                platform: String::new(),
                ended: 0,
                image: None,
                bases: Vec::new(),
                steps: vec![step],
            };
            report.keep(&store).unwrap();
            Report::all(&store).unwrap().remove(0).bases.remove(0)
        };
        assert_eq!(keep("sha256:1").was, None);
        let base = keep("sha256:2");
        assert_eq!(
            (base.name.as_str(), base.digest.as_str()),
            ("docker.io/library/a:3", "sha256:2")
        );
        assert_eq!(base.was.as_deref(), Some("sha256:1"));
        assert_eq!(keep("sha256:2").was, None);
    }
}
