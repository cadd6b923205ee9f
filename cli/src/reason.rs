//! Why a step was not cached, in words.

use rbuild::{Change, FileChange, Miss};

/// How many files one line names.
const NAMED: usize = 3;

/// Says in a few words why a step had to run.
pub(crate) fn reason(miss: &Miss) -> String {
    match miss {
        Miss::NewInstruction => "never built here".to_owned(),
        Miss::OpChanged { part, old, new } if part != "instruction" => {
            format!("{part} was `{old}`, is `{new}`")
        }
        Miss::OpChanged { old, .. } => format!("was `{old}`"),
        Miss::BaseChanged => "its base changed".to_owned(),
        Miss::FilesChanged { files, count } => changes(files, *count),
        Miss::Fresh => "it was to run again".to_owned(),
        Miss::ResultGone => "its result is no longer in the store".to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// `a changed, b added and 3 more`.
fn changes(files: &[FileChange], count: usize) -> String {
    let shown: Vec<_> = files.iter().take(NAMED).map(change).collect();
    match count.saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// `a changed`.
pub(crate) fn change(file: &FileChange) -> String {
    let word = match file.change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Changed => "changed",
    };
    format!("{} {word}", file.path)
}
