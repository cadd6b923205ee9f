//! A disk that is full: how much is missing, and what can be done.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use rbuild_cache::{StagedLayer, Store};

use super::{size, usage};
use crate::error::{Error, Result, StepError};

/// A disk with fewer free bytes than this is full: nothing of any size can be written.
const FULL: u64 = 256 << 10;

/// What is known of a disk on which a step found no space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFull {
    /// The folder of the store.
    pub place: std::path::PathBuf,
    /// The bytes that the step could have: those that are free, what it wrote itself left out.
    pub free: u64,
    /// The bytes of the whole disk.
    pub total: u64,
    /// The least bytes that the step needs, where that is known.
    pub needed: Option<u64>,
    /// The bytes that the store takes, as far as that could be found out.
    pub store: Option<u64>,
    /// The bytes that can be removed from the store.
    pub prunable: Option<u64>,
}

impl std::fmt::Display for DiskFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (place, free, total) = (self.place.display(), size(self.free), size(self.total));
        write!(f, "No space left on device: ")?;
        match self.missing() {
            Some((needed, missing)) => write!(
                f,
                "the step needs at least {}, {} more than the {free}",
                size(needed),
                size(missing)
            ),
            None => write!(f, "the step needs more than the {free}"),
        }?;
        write!(f, " that are free of the {total} of the disk of `{place}`")?;
        match self.store {
            Some(store) => write!(f, ", of which the store takes {}", size(store)),
            None => Ok(()),
        }
    }
}

impl DiskFull {
    /// What is needed, and how much of it is missing at least. A disk that has more than is needed
    /// was full for another reason: files take more than their bytes.
    fn missing(&self) -> Option<(u64, u64)> {
        let needed = self.needed?;
        let missing = needed.checked_sub(self.free).filter(|missing| *missing > 0)?;
        Some((needed, missing))
    }

    /// Looks at the disk of a store on which something that has written so many bytes found no
    /// space.
    fn of(store: &Store, written: u64, needed: Option<u64>) -> Option<Self> {
        let (free, total) = disk(store).ok()?;
        let free = free + written;
        let usage = usage(store).ok();
        Some(Self {
            place: store.root().to_owned(),
            free,
            total,
            needed,
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
    /// Adds what is known of the disk, where a full one is what the step failed for; what the step
    /// wrote is removed by now. `needed` tells how many bytes it needs at least, if that is known.
    pub(crate) fn with_disk(self, store: &Store, needed: impl FnOnce() -> Option<u64>) -> Self {
        let is_full = match &self {
            Self::Fetch(error) => says_full(&**error),
            other => says_full(other),
        };
        if is_full { self.add(DiskFull::of(store, 0, needed())) } else { self }
    }

    /// The same for a process, which says so in words of its own: so the disk is looked at, while
    /// what it wrote is still there.
    pub(crate) fn on_full_disk(self, store: &Store, staged: &StagedLayer) -> Self {
        let is_process = matches!(self, Self::Exit { .. } | Self::Launch { .. });
        if is_process && disk(store).is_ok_and(|(free, _)| free < FULL) {
            return self.add(DiskFull::of(store, staged.bytes().unwrap_or(0), None));
        }
        self
    }

    fn add(self, disk: Option<DiskFull>) -> Self {
        match disk {
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
            let error = StepError::file("write `/x`")(io::Error::from(kind));
            error.with_disk(&store, || Some(1)).to_string()
        };
        let text = failed(io::ErrorKind::StorageFull);
        assert!(text.contains(": No space left on device: the step needs more than"), "{text}");
        assert!(text.ends_with("`, of which the store takes 0B"), "{text}");
        assert!(!failed(io::ErrorKind::NotFound).contains("No space"));
        // The disk of this test has space, so a process failed for another reason.
        let exit = StepError::Exit { command: "x".into(), code: 1 };
        let exit = exit.on_full_disk(&store, &store.stage().unwrap());
        assert!(matches!(exit, StepError::Exit { .. }));
    }

    #[test]
    fn the_hint_says_how_much_there_is_to_free() {
        let disk = |prunable| DiskFull {
            place: "/x".into(),
            free: 1000,
            total: 2_500_000,
            needed: None,
            store: None,
            prunable,
        };
        assert_eq!(
            disk(None).to_string(),
            "No space left on device: the step needs more than the 1kB that are free of the 2.5MB \
             of the disk of `/x`"
        );
        let needing = |needed| DiskFull { needed: Some(needed), ..disk(None) }.to_string();
        assert_eq!(
            needing(61_000),
            "No space left on device: the step needs at least 61kB, 60kB more than the 1kB that are \
             free of the 2.5MB of the disk of `/x`"
        );
        assert_eq!(needing(1000), disk(None).to_string());
        let hint = disk(Some(1_200_000)).hint();
        assert_eq!(hint, "`rbuild cache prune --all` would free 1.2MB");
        assert!(disk(Some(0)).hint().starts_with("nothing in the store can be pruned"));
    }
}
