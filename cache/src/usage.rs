//! What is in the store, what it takes, and for whom it stays.

mod look;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::choice::{Candidate, choose, value};
use crate::claims::User;
use crate::error::{Error, Result};
use crate::id::Key;
use crate::item::Item;
use crate::layers::DIFF_ID;
use crate::records::{SIZE, WEIGHT};
use crate::snapshot::Layer;
use crate::store::{Store, read_json, to_json};
use crate::visit::{now, seconds};
use crate::weight::{Seen, weigh};

/// The folder with the sizes of items that change, and when they were measured.
pub(crate) const SIZES: &str = "sizes";
/// What a small file takes on most disks, in bytes.
const SMALL_FILE: u64 = 4096;

/// Everything in the store that can be made or fetched again.
#[derive(Debug, Clone)]
pub struct Usage {
    /// Each thing, the oldest first.
    pub entries: Vec<Entry>,
    /// The bytes of all else: names, the index, what is being written.
    pub rest: u64,
}

/// One thing in the store.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Which.
    pub item: Item,
    /// The bytes that it takes on the disk.
    pub bytes: u64,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// When it was used last, in seconds since 1970; an hour later at most.
    pub last_used: i64,
    /// About how long it takes to make or fetch it again, in milliseconds.
    pub cost_ms: u64,
    /// What a person knows it by: the step that made it, or where it is from.
    pub description: String,
    /// Whether it is from elsewhere, and no step of a build made it.
    pub is_pulled: bool,
    /// The layers made here that it stands on, lowest first.
    pub below: Vec<Item>,
    /// Whether a layer is gone that it stands on: nobody finds it any more.
    pub is_stranded: bool,
    /// For whom it stays.
    pub users: Vec<User>,
    /// Whether it can go: nobody uses it, nor anything that stands on it.
    pub is_reclaimable: bool,
    /// The keys under which it is found.
    pub keys: Vec<Key>,
}

impl Entry {
    /// Whether it changes in place, as a cache mount does.
    pub fn is_mutable(&self) -> bool {
        !matches!(self.item, Item::Layer(_) | Item::Blob(_))
    }

    /// Whether it is part of an image or a container.
    pub fn is_shared(&self) -> bool {
        let is_lasting = |user: &User| !matches!(user, User::Process { .. });
        self.users.iter().any(is_lasting)
    }
}

impl Usage {
    /// All that the store takes, in bytes.
    pub fn total(&self) -> u64 {
        self.rest + self.entries.iter().map(|entry| entry.bytes).sum::<u64>()
    }

    /// What can go, in bytes.
    pub fn reclaimable(&self) -> u64 {
        let can_go = self.entries.iter().filter(|entry| entry.is_reclaimable);
        can_go.map(|entry| entry.bytes).sum()
    }

    /// The things whose id begins so, with or without `sha256:`.
    pub fn find(&self, id: &str) -> Vec<&Entry> {
        let begins = |entry: &&Entry| {
            let whole = entry.item.to_string();
            whole.starts_with(id)
                || whole.split_once(':').is_some_and(|(_, bare)| bare.starts_with(id))
        };
        let found: Vec<_> = self.entries.iter().filter(begins).collect();
        if id.is_empty() { Vec::new() } else { found }
    }

    /// What stands on a thing.
    pub fn above(&self, item: &Item) -> Vec<&Entry> {
        self.entries.iter().filter(|entry| entry.below.contains(item)).collect()
    }

    /// What to drop of that which `matches`, in this order, until `need` bytes are free. Images
    /// without a name give way where `unnamed` says so.
    pub(crate) fn choose(
        &self,
        matches: &dyn Fn(&Entry) -> bool,
        unnamed: bool,
        need: u64,
    ) -> Vec<usize> {
        let is_held =
            |entry: &Entry| entry.users.iter().any(|user| !(unnamed && user.is_unnamed()));
        let now = now();
        let places: std::collections::HashMap<&Item, usize> =
            self.entries.iter().enumerate().map(|(place, entry)| (&entry.item, place)).collect();
        let candidate = |entry: &Entry| Candidate {
            bytes: entry.bytes,
            value: if entry.is_stranded {
                0.0
            } else {
                value(entry.cost_ms, entry.bytes, now - entry.last_used)
            },
            below: entry.below.iter().filter_map(|item| places.get(item).copied()).collect(),
            stays: is_held(entry) || !matches(entry),
        };
        let candidates: Vec<Candidate> = self.entries.iter().map(candidate).collect();
        choose(&candidates, need)
    }
}

/// The size of something that changes.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    bytes: u64,
    /// When, in seconds since 1970.
    at: i64,
}

impl Store {
    /// About how many bytes the store takes, what is being written left out.
    ///
    /// It may be too much, since files that layers share count for each, but not too little.
    pub fn weigh(&self) -> Result<u64> {
        let in_use: HashSet<Item> =
            self.users()?.into_iter().flat_map(|user| user.items.unwrap_or_default()).collect();
        let items = self.items()?;
        let weights = items.par_iter().map(|item| self.weight(item, in_use.contains(item)));
        Ok(weights.sum::<Result<u64>>()? + self.rest()?)
    }

    /// About how many bytes a layer that is here takes, its notes included.
    pub fn layer_bytes(&self, layer: &Layer) -> Result<u64> {
        let items = self.items_of(layer).into_iter();
        items.map(|item| self.weight(&item, false)).sum()
    }

    /// The bytes that an item takes, measured now or noted before.
    pub(crate) fn weight(&self, item: &Item, in_use: bool) -> Result<u64> {
        match item {
            Item::Layer(_) => self.layer_weight(item),
            Item::Blob(_) | Item::Partial(_) | Item::StatCache(_) => {
                self.measure(item, &mut Seen::new())
            }
            Item::CacheMount(_) | Item::Repository(_) => self.changing_weight(item, in_use),
        }
    }

    /// The bytes that an item takes without what was seen before.
    fn measure(&self, item: &Item, seen: &mut Seen) -> Result<u64> {
        let path = self.item_path(item);
        weigh(&path, seen).map_err(Error::file("measure", &path))
    }

    /// The weight of a layer, which never changes but for the notes beside it.
    fn layer_weight(&self, item: &Item) -> Result<u64> {
        let folder = self.item_path(item);
        let note = folder.join(WEIGHT);
        if let Some(bytes) = read_json(&note)? {
            return Ok(bytes);
        }
        let missing = [WEIGHT, SIZE, DIFF_ID].iter().filter(|name| !folder.join(name).exists());
        let to_come = missing.count() as u64 * SMALL_FILE;
        let bytes = self.measure(item, &mut Seen::new())? + to_come;
        // On a full disk it is measured again the next time.
        let _ = self.replace(&note, &to_json("weight", &bytes)?, false);
        Ok(bytes)
    }

    /// The weight of what changes: that which was noted holds until it is used again.
    fn changing_weight(&self, item: &Item, in_use: bool) -> Result<u64> {
        let note = self.root().join(SIZES).join(item.to_string());
        let known: Option<Measured> = read_json(&note)?;
        let last_use = self.last_use(item);
        if let Some(known) = known.filter(|known| !in_use && known.at > last_use) {
            return Ok(known.bytes);
        }
        let at = now();
        let bytes = self.measure(item, &mut Seen::new())?;
        if !in_use && self.folder(SIZES).is_ok() {
            let _ = self.replace(&note, &to_json("size", &Measured { bytes, at })?, false);
        }
        Ok(bytes)
    }

    /// When an item was used last, in seconds since 1970.
    fn last_use(&self, item: &Item) -> i64 {
        let time = |path| fs::symlink_metadata(path).and_then(|file| file.modified());
        let noted = time(self.last_use_path(item));
        noted.or_else(|_| time(self.item_path(item))).map_or(0, seconds)
    }
}
