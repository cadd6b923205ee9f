//! A disk that is full: how much is missing, and what can be done.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use rbuild_cache::Store;

use super::{size, usage};
use crate::error::{Error, Result, StepError};

/// A disk with fewer free bytes than this is full: nothing of any size can be written.
const FULL: u64 = 256 << 10;

/// What is known of a disk on which a step found no space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFull {
    /// The folder of the store.
    pub place: std::path::PathBuf,
    /// The bytes that were free when the step failed.
    pub free: u64,
    /// The bytes of the whole disk.
    pub total: u64,
    /// The bytes that the store takes, as far as that could be found out.
    pub store: Option<u64>,
    /// The bytes that can be removed from the store.
    pub prunable: Option<u64>,
}

impl std::fmt::Display for DiskFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (place, free, total) = (self.place.display(), size(self.free), size(self.total));
        write!(f, "the disk of `{place}` is full: {free} of {total} are free")?;
        match self.store {
            Some(store) => write!(f, ", the store takes {}", size(store)),
            None => Ok(()),
        }
    }
}

impl DiskFull {
    /// Looks at the disk of a store that is known to be full.
    pub(crate) fn of(store: &Store) -> Option<Self> {
        let (free, total) = disk(store).ok()?;
        let usage = usage(store).ok();
        Some(Self {
            place: store.root().to_owned(),
            free,
            total,
            store: usage.as_ref().map(rbuild_cache::Usage::total),
            prunable: usage.as_ref().map(rbuild_cache::Usage::reclaimable),
        })
    }

    /// What the user can do.
    pub(crate) fn hint(&self) -> String {
        match self.prunable {
            Some(bytes) if bytes > 0 => {
                format!("`rbuild cache prune --all` would free {}", size(bytes))
            }
            _ => "nothing in the store can be pruned: remove images or containers, or give the \
                  store another disk with `--root`"
                .to_owned(),
        }
    }
}

/// The free bytes and all bytes of the store's disk.
pub(super) fn disk(store: &Store) -> Result<(u64, u64)> {
    let failed = |source| Error::Read { path: store.root().to_owned(), source };
    match rustix::fs::statvfs(store.root()) {
        Ok(disk) => Ok((disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)),
        // A store that has nothing in it yet.
        Err(rustix::io::Errno::NOENT) => Ok((u64::MAX, u64::MAX)),
        Err(error) => Err(failed(error.into())),
    }
}

/// Whether the disk of a store has no space left.
pub(crate) fn is_full(store: &Store) -> bool {
    disk(store).is_ok_and(|(free, _)| free < FULL)
}

/// Whether an error says that a disk is full.
pub(crate) fn says_full(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let shared = error.downcast_ref::<Arc<io::Error>>().map(|error| &**error);
        let io = error.downcast_ref::<io::Error>().or(shared);
        if io.is_some_and(|error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        }) {
            return true;
        }
        next = error.source();
    }
    false
}

impl StepError {
    /// Adds what is known of the disk, where a full one is what the step failed for.
    ///
    /// A process says so in words of its own, so after one that failed the disk is looked at;
    /// `was_full` says what it was before the step's own layer was removed.
    pub(crate) fn with_disk(self, store: &Store, was_full: bool) -> Self {
        let is_it = match &self {
            Self::Exit { .. } => was_full,
            Self::Fetch(error) => says_full(&**error),
            other => says_full(other) || (was_full && matches!(other, Self::Launch { .. })),
        };
        match DiskFull::of(store).filter(|_| is_it) {
            Some(disk) => Self::Full { step: Box::new(self), disk },
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_what_would_help() {
        let store = Store::temporary().unwrap();
        let failed = |kind: io::ErrorKind| {
            StepError::file("write `/x`")(io::Error::from(kind)).with_disk(&store, false)
        };
        let error = failed(io::ErrorKind::StorageFull);
        let text = error.to_string();
        assert!(text.starts_with("cannot write `/x`: no storage space: the disk of `"), "{text}");
        assert!(text.contains(" are free, the store takes 0B"), "{text}");
        assert!(!failed(io::ErrorKind::NotFound).to_string().contains("the disk"));
        let exit = || StepError::Exit { command: "x".into(), code: 1 };
        assert!(exit().with_disk(&store, true).to_string().contains("the disk of"));
        assert!(!exit().with_disk(&store, false).to_string().contains("the disk of"));
    }

    #[test]
    fn the_hint_says_how_much_there_is_to_free() {
        let disk = |prunable| DiskFull {
            place: "/x".into(),
            free: 1000,
            total: 2_500_000,
            store: None,
            prunable,
        };
        assert_eq!(disk(None).to_string(), "the disk of `/x` is full: 1kB of 2.5MB are free");
        let hint = disk(Some(1_200_000)).hint();
        assert_eq!(hint, "`rbuild cache prune --all` would free 1.2MB");
        assert!(disk(Some(0)).hint().starts_with("nothing in the store can be pruned"));
    }
}
