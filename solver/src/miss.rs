//! Why a vertex was not cached, told from the parts of its key and those of the last time.

use serde::Serialize;

/// Why a step had to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Miss {
    /// No step like this one was ever built here.
    NewInstruction,
    /// The instruction itself, or a variable that it sees, is another.
    OpChanged {
        /// What changed: `instruction`, `env NAME`.
        part: String,
        /// The value last time.
        old: String,
        /// The value now.
        new: String,
    },
    /// What the step stands on has other contents.
    BaseChanged,
    /// Files that the step uses were added, removed or changed.
    FilesChanged {
        /// Their paths, the first ten.
        paths: Vec<String>,
        /// How many there are in all.
        count: usize,
    },
    /// The caller wanted it run again.
    Fresh,
}
