//! Which files of a context a step uses, and which of them are not as they were when it ran last.

use std::cmp::Ordering;
use std::sync::Arc;

use rbuild_cache::{ListedFile, Snapshot};
use rbuild_solver::op::Select;
use rbuild_solver::{Change, FileChange, Task};

use super::World;
use crate::context::{Exclude, Folder};
use crate::error::StepError;

impl World {
    /// The files that changed since the step ran last.
    pub(super) fn changes(&self, task: &Task) -> Vec<FileChange> {
        let mut changes = Vec::new();
        for (place, folder, select) in self.folders_of(task) {
            let Some(last) = self.store.last_files(&place) else { continue };
            let Ok(now) = files(folder, select) else { continue };
            changes.extend(compare(&last, &now));
        }
        changes
    }

    /// Remembers which files a step has used, off the critical path.
    pub(super) fn remember_files(self: &Arc<Self>, task: &Task) {
        if self.folders_of(task).next().is_none() {
            return;
        }
        let (world, task) = (self.clone(), task.clone());
        rayon::spawn(move || {
            for (place, folder, select) in world.folders_of(&task) {
                let remembered = files(folder, select).map_err(|error| error.to_string());
                let remembered = remembered.and_then(|files| {
                    let written = world.store.remember_files(&place, &files);
                    written.map_err(|error| error.to_string())
                });
                if let Err(error) = remembered {
                    tracing::debug!(%error, "the next miss will not name files");
                }
            }
        });
    }

    /// The inputs of a step that are folders of the caller, each with a name for its list.
    fn folders_of<'t>(
        &'t self,
        task: &'t Task,
    ) -> impl Iterator<Item = (String, &'t Folder, &'t Select)> {
        let inputs = task.inputs.iter().zip(&task.selects).enumerate();
        inputs.filter(|_| !task.place.is_empty()).filter_map(|(index, (input, select))| {
            let folder = self.folder_of(input)?;
            Some((format!("{} input {index}", task.place), folder, select))
        })
    }

    fn folder_of(&self, input: &Snapshot) -> Option<&Folder> {
        self.folder(input).map(|folder| &**folder)
    }
}

/// The files that a select names, in the order of their paths.
fn files(folder: &Folder, select: &Select) -> Result<Vec<ListedFile>, StepError> {
    let Select::Paths { patterns, exclude, parents } = select else {
        return Ok(Vec::new());
    };
    let tree = folder.tree()?;
    let exclude = Exclude::new(exclude, *parents)?;
    let mut files = Vec::new();
    for pattern in patterns {
        for found in folder.find(pattern)? {
            for node in tree.subtree(&found.real) {
                let below = node.path.strip_prefix(&found.real).unwrap_or(&node.path);
                if !exclude.leaves_out(&found, below, node.is_directory()) {
                    let path = node.path.as_os_str().as_encoded_bytes().to_vec();
                    let own = if node.is_directory() { node.own_digest() } else { node.digest() };
                    files.push(ListedFile::new(path, &own));
                }
            }
        }
    }
    files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    files.dedup_by(|one, other| one.path == other.path);
    Ok(files)
}

/// What differs between two lists in the order of their paths.
fn compare(last: &[ListedFile], now: &[ListedFile]) -> Vec<FileChange> {
    let mut changes = Vec::new();
    let mut say = |file: &ListedFile, change| {
        let path = String::from_utf8_lossy(&file.path).into_owned();
        changes.push(FileChange { path, change });
    };
    let (mut last, mut now) = (last.iter().peekable(), now.iter().peekable());
    loop {
        let order = match (last.peek(), now.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.path.cmp(&new.path),
        };
        let old = last.next_if(|_| order.is_le());
        let new = now.next_if(|_| order.is_ge());
        match (old, new) {
            (Some(old), Some(new)) if old.is_same(new) => {}
            (Some(_), Some(new)) => say(new, Change::Changed),
            (Some(old), None) => say(old, Change::Removed),
            (None, Some(new)) => say(new, Change::Added),
            (None, None) => break,
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use rbuild_cache::ContentId;

    use super::*;

    #[test]
    fn what_differs_is_told_in_the_order_of_paths() {
        let list = |files: &[(&str, u8)]| -> Vec<ListedFile> {
            let file = |&(path, byte): &(&str, u8)| {
                ListedFile::new(path.into(), &ContentId::from_bytes([byte; 32]))
            };
            files.iter().map(file).collect()
        };
        let last = list(&[("a", 1), ("b", 1), ("d", 1), ("e", 1)]);
        let now = list(&[("b", 2), ("c", 1), ("d", 1), ("f", 1)]);
        let told: Vec<_> =
            compare(&last, &now).into_iter().map(|found| (found.path, found.change)).collect();
        let told: Vec<_> = told.iter().map(|(path, change)| (path.as_str(), *change)).collect();
        let wanted = [
            ("a", Change::Removed),
            ("b", Change::Changed),
            ("c", Change::Added),
            ("e", Change::Removed),
            ("f", Change::Added),
        ];
        assert_eq!(told, wanted);
        assert_eq!(compare(&now, &now), []);
    }
}
