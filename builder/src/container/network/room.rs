//! How much a monitor serves at once: what strangers open must leave it files for its own work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// How long nobody is let in after one could not be.
pub(super) const REST: Duration = Duration::from_millis(100);

/// Room for so many, none of which opens more than two files.
#[derive(Debug)]
pub(super) struct Room {
    most: u64,
    taken: AtomicU64,
}

impl Room {
    pub(super) const fn new(most: u64) -> Self {
        Self { most, taken: AtomicU64::new(0) }
    }

    /// Room for one of so many parts of the files that this process may open, and for `most` at
    /// the most.
    pub(super) fn part(of: u64, most: u64) -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::new((files / of).clamp(1, most))
    }

    #[cfg(test)]
    pub(super) fn is_full(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.most
    }

    /// A place in it, until it is dropped.
    pub(super) fn enter(&self) -> Option<Place<'_>> {
        let next = |taken| (taken < self.most).then_some(taken + 1);
        let entered = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        entered.is_ok().then(|| Place(self))
    }
}

/// The place of one.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a Room);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_full_until_somebody_leaves() {
        let room = Room::new(1);
        let place = room.enter();
        assert!(place.is_some() && room.is_full() && room.enter().is_none());
        drop(place);
        assert!(!room.is_full() && room.enter().is_some());
    }

    #[test]
    fn there_is_room_for_a_part_of_the_files() {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert_eq!(Room::part(4, u64::MAX).most, files / 4);
        assert_eq!(Room::part(4, 3).most, 3);
        assert_eq!(Room::part(u64::MAX, 3).most, 1);
    }
}
