//! What the store takes on the disk: told, cut back, kept below a cap, and verified.

mod cap;
mod filter;
mod full;

use std::collections::BTreeSet;
use std::sync::Arc;

use rbuild_cache::{Claim, Others, Store, Wish};
pub use rbuild_cache::{Entry, Finding, Item, Thing, Usage, User, Verified};

pub(crate) use cap::Cap;
pub use cap::keep_cap;
pub use filter::{Filter, kind};
pub use full::DiskFull;
pub(crate) use full::says_full;

use rbuild_solver::{Events, What};

use crate::build::steps::begin;
use crate::container;
use crate::error::{Error, Result};

/// What to remove from the store, and how much.
///
/// Without any bound everything goes that may go: see [`Prune::keep`].
#[derive(Debug, Clone, Default)]
pub struct Prune {
    /// Also what was pulled for bases of builds, without which the next build asks its registry.
    pub all: bool,
    /// Only what passes all of these.
    pub filters: Vec<Filter>,
    /// Bytes below which the store is not cut back.
    pub reserved: Option<u64>,
    /// Bytes that the store may take.
    pub max_used: Option<u64>,
    /// Bytes of the disk that are to be free.
    pub min_free: Option<u64>,
    /// Only these.
    pub only: Option<BTreeSet<Item>>,
}

/// What was removed, or would be.
#[derive(Debug, Clone)]
pub struct Pruned {
    /// Each thing, in the order in which it goes.
    pub entries: Vec<Entry>,
    /// The bytes that the store takes after it.
    pub left: u64,
}

impl Pruned {
    /// The bytes of all things.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.bytes).sum()
    }
}

/// Why something is in the store still.
#[derive(Debug, Clone)]
pub struct WhyKept {
    /// The thing.
    pub entry: Entry,
    /// What stands on it and is kept, with those for whom.
    pub above: Vec<Entry>,
    /// How many things would go before it, when space is short; none when it stays.
    pub rank: Option<usize>,
    /// How many things there are that can go.
    pub of: usize,
}

impl Prune {
    /// How many bytes may stay in a store that takes `total`, on a disk with `free` bytes.
    ///
    /// `reserved` stands above the others, as in `BuildKit`: what it holds back is never removed.
    pub fn keep(&self, total: u64, free: u64) -> u64 {
        let for_free =
            self.min_free.map(|wanted| total.saturating_sub(wanted.saturating_sub(free)));
        let least = match (self.max_used, for_free) {
            (Some(max), Some(free)) => max.min(free),
            (bound, None) | (None, bound) => bound.unwrap_or(0),
        };
        least.max(self.reserved.unwrap_or(0))
    }

    fn matches(&self, entry: &Entry) -> bool {
        let is_wanted = self.all || !entry.is_pulled || entry.is_stranded;
        let is_wanted =
            is_wanted && self.only.as_ref().is_none_or(|only| only.contains(&entry.item));
        is_wanted && self.filters.iter().all(|filter| filter.passes(entry))
    }
}

/// The free bytes of the store's disk; [`u64::MAX`] while the store has no folder.
pub(crate) fn room(store: &Store) -> Result<u64> {
    full::disk(store).map(|(free, _)| free)
}

/// What is in the store, and who uses it.
///
/// # Errors
/// A store that cannot be read.
pub fn usage(store: &Store) -> Result<Usage> {
    let others = containers(store);
    store.usage(&others, true).map_err(Error::store("look at the store"))
}

/// Tells what a [`prune`] would remove.
///
/// # Errors
/// A store that cannot be read.
pub fn would_prune(store: &Store, prune: &Prune) -> Result<Pruned> {
    let usage = usage(store)?;
    let others = containers(store);
    let keep = prune.keep(usage.total(), free(store)?);
    let matches = |entry: &Entry| prune.matches(entry);
    let wish = Wish { over: keep, keep, matches: &matches, unnamed: false, others: &others };
    let entries: Vec<Entry> = usage.would_go(&wish).into_iter().cloned().collect();
    let bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
    Ok(Pruned { entries, left: usage.total() - bytes })
}

/// Removes what nobody uses, the least valuable first, and what processes that died have left.
///
/// # Errors
/// A store that cannot be read or written.
pub fn prune(store: &Store, prune: &Prune) -> Result<Pruned> {
    let failed = || Error::store("cut the store back");
    store.sweep().map_err(failed())?;
    let others = containers(store);
    let keep = prune.keep(store.weigh().map_err(failed())?, free(store)?);
    let matches = |entry: &Entry| prune.matches(entry);
    let wish = Wish { over: keep, keep, matches: &matches, unnamed: false, others: &others };
    let collected = store.collect(&wish).map_err(failed())?;
    Ok(Pruned { entries: collected.removed, left: collected.left.total() })
}

/// Tells why a thing is kept, by the beginning of its id.
///
/// # Errors
/// A store that cannot be read, an id that nothing has, or that several things have.
pub fn why_kept(store: &Store, id: &str) -> Result<WhyKept> {
    let usage = usage(store)?;
    let entry = match usage.find(id)[..] {
        [entry] => entry.clone(),
        [] => return Err(Error::Usage(format!("nothing in the store has the id `{id}`"))),
        _ => return Err(Error::Usage(format!("`{id}` is the beginning of more than one id"))),
    };
    let above = usage.above(&entry.item).into_iter().filter(|above| !above.users.is_empty());
    let above = above.cloned().collect();
    let everything =
        Wish { over: 0, keep: 0, matches: &|_| true, unnamed: true, others: &|| Ok(Vec::new()) };
    let order = usage.would_go(&everything);
    let rank = order.iter().position(|other| other.item == entry.item);
    Ok(WhyKept { entry, above, rank, of: order.len() })
}

/// Looks whether everything in the store is as it was written; where it is to `repair`, what is
/// damaged is set aside.
///
/// # Errors
/// A store that cannot be read or written.
pub fn verify(store: &Store, repair: bool) -> Result<Verified> {
    let others = containers(store);
    store.verify(&others, repair).map_err(Error::store("verify the store"))
}

/// Enforces a cap at the end of a build, which uses nothing any more but the image that it made.
pub(crate) async fn end(cap: Arc<Cap>, store: &Store, events: &Events, made: Option<Claim>) {
    let store = store.clone();
    let warning = tokio::task::spawn_blocking(move || cap.at_end(&store, made.as_ref())).await;
    if let Ok(Some(text)) = warning {
        let step = begin(events, "[internal] cut the store back".to_owned());
        events.emit(step, What::Warning { text });
        events.emit(step, What::Finished);
    }
}

/// The claims of the containers of a store.
fn containers(store: &Store) -> Box<Others<'static>> {
    let store = store.clone();
    Box::new(move || {
        let used = container::layers_in_use(&store).map_err(|error| {
            // It may know nothing of what a container needs, and then nothing goes.
            rbuild_cache::Error::Users(Box::new(error))
        })?;
        let claim =
            |(id, image, layers)| Claim { user: User::Container(id), layers, blobs: vec![image] };
        Ok(used.into_iter().map(claim).collect())
    })
}

/// The bytes of the store's disk that are free.
fn free(store: &Store) -> Result<u64> {
    Ok(full::disk(store)?.0)
}

/// A number of bytes for people, in powers of 1000.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut whole, mut rest, mut unit) = (bytes, 0, 0);
    while whole >= 1000 && unit + 1 < UNITS.len() {
        (whole, rest, unit) = (whole / 1000, whole % 1000, unit + 1);
    }
    match (unit, rest / 100) {
        (0, _) | (_, 0) => format!("{whole}{}", UNITS[unit]),
        (_, tenth) => format!("{whole}.{tenth}{}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_buildkit() {
        let prune = |reserved, max_used, min_free| Prune {
            reserved,
            max_used,
            min_free,
            ..Prune::default()
        };
        let keep = |prune: Prune| prune.keep(100, 10);
        assert_eq!(keep(prune(None, None, None)), 0, "everything goes");
        assert_eq!(keep(prune(Some(30), None, None)), 30);
        assert_eq!(keep(prune(None, Some(40), None)), 40);
        assert_eq!(keep(prune(None, None, Some(25))), 85);
        assert_eq!(keep(prune(None, None, Some(5))), 100, "enough is free");
        assert_eq!(keep(prune(None, Some(40), Some(25))), 40);
        assert_eq!(keep(prune(None, Some(90), Some(25))), 85);
        assert_eq!(keep(prune(Some(95), Some(90), Some(25))), 95);
        assert_eq!(keep(prune(None, None, Some(1000))), 0);
    }

    #[test]
    fn sizes_are_short() {
        let shown = [0, 999, 1000, 25_165_824, 1_200_000_000].map(size);
        assert_eq!(shown, ["0B", "999B", "1kB", "25.1MB", "1.2GB"]);
    }
}
