//! Why a vertex was not cached, told from the parts of its key and those of the last time.

use rbuild_cache::Part;
use serde::{Deserialize, Serialize};

use crate::graph::Edge;
use crate::key;
use crate::op::Select;

/// How many changed paths are named at most.
const SHOWN_PATHS: usize = 10;

/// Why a step had to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Miss {
    /// No step like this one was ever built here.
    NewInstruction,
    /// The instruction itself, or a variable that it sees, is another.
    OpChanged {
        /// What changed: `instruction`, `env NAME`.
        part: String,
        /// The value last time; empty when there was none.
        old: String,
        /// The value now; empty when there is none.
        new: String,
    },
    /// What the step stands on has other contents.
    BaseChanged,
    /// Files that the step uses were added, removed or changed.
    FilesChanged {
        /// The files, the first ten; where they are not known, the paths or patterns by which the
        /// step uses them.
        files: Vec<FileChange>,
        /// How many there are in all.
        count: usize,
    },
    /// The caller wanted it run again.
    Fresh,
    /// Nothing is different, but the result is no longer in the store.
    ResultGone,
}

/// A file that is not as it was when a step used it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// The path, relative to the root of the input.
    pub path: String,
    /// What became of it.
    pub change: Change,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// Its contents, its mode or its owner are others.
    Changed,
}

impl Miss {
    /// Names the files that changed, where the worker knows them.
    pub(crate) fn with_files(self, found: Vec<FileChange>) -> Self {
        match self {
            Self::FilesChanged { .. } if !found.is_empty() => Self::files(found),
            other => other,
        }
    }

    fn files(mut files: Vec<FileChange>) -> Self {
        let count = files.len();
        files.truncate(SHOWN_PATHS);
        Self::FilesChanged { files, count }
    }
}

/// Compares what a step is made of with what was last seen at its place.
pub(crate) fn explain(last: Option<&[Part]>, now: &[Part], inputs: &[Edge]) -> Miss {
    let Some(last) = last else {
        return Miss::NewInstruction;
    };
    if let Some(miss) = op_changed(last, now) {
        return miss;
    }
    let changed = |part: &&Part| !last.contains(part);
    let changed: Vec<&str> = now.iter().filter(changed).map(|part| part.name.as_str()).collect();
    if last == now {
        return Miss::ResultGone;
    }
    if changed.is_empty() {
        let (part, old, new) = ("order".to_owned(), String::new(), String::new());
        return Miss::OpChanged { part, old, new };
    }
    if changed.contains(&key::BASE) {
        return Miss::BaseChanged;
    }
    let indexes = changed.iter().filter_map(|name| name.strip_prefix(key::INPUT)?.parse().ok());
    let inputs = indexes.filter_map(|index: usize| inputs.get(index));
    let change = |path| FileChange { path, change: Change::Changed };
    Miss::files(inputs.flat_map(paths_of).map(change).collect())
}

/// The first part of the op that is another than last time, added, or gone.
fn op_changed(last: &[Part], now: &[Part]) -> Option<Miss> {
    let of_op = |part: &&Part| part.name != key::BASE && !part.name.starts_with(key::INPUT);
    let mut added = now.iter().filter(of_op).filter(|part| !last.contains(part));
    let mut gone = last.iter().filter(of_op).filter(|part| !now.contains(part));
    let new = added.next();
    let old = gone.find(|old| new.is_none_or(|new| new.name == old.name));
    let value = |part: Option<&Part>| part.map(|part| part.value.clone()).unwrap_or_default();
    let part = new.or(old)?.name.clone();
    Some(Miss::OpChanged { part, old: value(old), new: value(new) })
}

/// The paths by which a vertex uses an input.
fn paths_of(edge: &Edge) -> Vec<String> {
    match &edge.select {
        Select::Paths { patterns, .. } => patterns.clone(),
        Select::All | Select::Nothing => vec!["/".to_owned()],
    }
}
