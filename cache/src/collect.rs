//! Removing what is worth least, and nothing that anybody uses.
//!
//! What was chosen is moved aside first, so that nobody finds it; then everybody is asked once more
//! what they use, and what somebody does use after all is moved back. `visit` says why this
//! is safe. A process that is killed in between leaves what it moved aside to the next sweep.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags, flock};
use rustix::io::Errno;

use crate::claims::{Others, User};
use crate::error::{Error, Result};
use crate::id::{Digest, LayerId};
use crate::item::Item;
use crate::layers::{DIFF_ID, DIFF_IDS, LAYERS, STAGED};
use crate::remove::remove_whatever;
use crate::store::{Store, TEMPORARY, random_name};
use crate::usage::{Entry, SIZES, Usage};

/// The lock of those who collect, of whom there is one at a time.
pub(crate) const COLLECTING: &str = "collect";

/// What to collect, and how much.
#[expect(missing_debug_implementations, reason = "functions have nothing to show")]
pub struct Wish<'a> {
    /// Nothing is done unless the store takes more than these bytes.
    pub over: u64,
    /// How many bytes may stay: no more is removed than it takes to get there.
    pub keep: u64,
    /// What may be removed.
    pub matches: &'a dyn Fn(&Entry) -> bool,
    /// Whether images that have no name give way; one that loses something is removed.
    pub unnamed: bool,
    /// The claims of users that the store does not know.
    pub others: &'a Others<'a>,
}

/// What a collection did.
#[derive(Debug, Clone)]
pub struct Collected {
    /// What was removed, in this order.
    pub removed: Vec<Entry>,
    /// What the store takes now.
    pub left: Usage,
}

impl Usage {
    /// What a collection would remove.
    pub fn would_go(&self, wish: &Wish<'_>) -> Vec<&Entry> {
        self.chosen(wish, wish.over).into_iter().map(|place| &self.entries[place]).collect()
    }

    fn chosen(&self, wish: &Wish<'_>, over: u64) -> Vec<usize> {
        let total = self.total();
        if total <= over {
            return Vec::new();
        }
        self.choose(wish.matches, wish.unnamed, total.saturating_sub(wish.keep))
    }
}

impl Store {
    /// Removes what is worth least until few enough bytes are left, or nothing more can go.
    pub fn collect(&self, wish: &Wish<'_>) -> Result<Collected> {
        let _alone = self.lock_wait(COLLECTING, |_| {})?;
        let mut removed = Vec::new();
        let mut over = wish.over;
        loop {
            // Files that layers share go only with the last of these, which the next look shows.
            let left = self.usage(wish.others, true)?;
            let chosen = left.chosen(wish, over);
            let chosen: Vec<&Entry> =
                chosen.into_iter().map(|place| &left.entries[place]).collect();
            let gone = self.remove_items(&chosen, wish)?;
            if gone.is_empty() {
                return Ok(Collected { removed, left });
            }
            removed.extend(gone);
            over = wish.keep;
        }
    }

    /// Removes things but those that somebody uses by now.
    fn remove_items(&self, chosen: &[&Entry], wish: &Wish<'_>) -> Result<Vec<Entry>> {
        let mut aside = Vec::with_capacity(chosen.len());
        for entry in chosen {
            if let Some(moved) = self.set_aside(&entry.item)? {
                aside.push((*entry, moved));
            }
        }
        let held = self.held(wish.others)?;
        let mut wanted: HashSet<&Item> = HashSet::new();
        for (entry, _) in &aside {
            if held.holds(&entry.item, wish.unnamed) {
                wanted.insert(&entry.item);
                wanted.extend(&entry.below);
            }
        }
        let mut gone = Vec::new();
        for (entry, moved) in aside {
            // The others move back when they are dropped.
            if !wanted.contains(&entry.item) {
                self.remove_traces(entry)?;
                moved.remove()?;
                gone.push(entry.clone());
            }
        }
        let keys: Vec<_> = gone.iter().flat_map(|entry| entry.keys.iter().copied()).collect();
        self.forget_lost(&keys)?;
        let lost: HashSet<&User> =
            gone.iter().flat_map(|entry| &entry.users).filter(|user| user.is_unnamed()).collect();
        for user in lost {
            if let User::Image(name) = user {
                self.untag(name)?;
            }
        }
        Ok(gone)
    }

    /// Moves an item to where nobody finds it; none when it is gone, or locked by a sweep.
    fn set_aside(&self, item: &Item) -> Result<Option<Aside>> {
        let path = self.item_path(item);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let lock = match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            lock => lock.map_err(Error::file("open", &path))?,
        };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            locked => locked.map_err(Error::file("lock", &path))?,
        }
        let aside = match item {
            Item::Layer(id) => self.root().join(LAYERS).join(format!("{STAGED}{id}")),
            _ => self.folder(TEMPORARY)?.join(random_name()?),
        };
        match fs::rename(&path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("set aside", &path)(error)),
            Ok(()) => Ok(Some(Aside { path, place: aside, is_gone: false, _lock: lock })),
        }
    }

    /// Removes what points at an item.
    fn remove_traces(&self, entry: &Entry) -> Result<()> {
        let item = &entry.item;
        match item {
            Item::Layer(id) => {
                let staged = self.root().join(LAYERS).join(format!("{STAGED}{id}"));
                let text = fs::read_to_string(staged.join(DIFF_ID)).ok();
                if let Some(diff_id) = text.and_then(|text| text.trim_end().parse().ok()) {
                    self.unlink_diff_id(&diff_id, *id)?;
                }
            }
            Item::CacheMount(name) => remove_file(&self.mount_note(name))?,
            _ => {}
        }
        remove_file(&self.root().join(SIZES).join(item.to_string()))
    }

    /// Removes the link of a diff id, if it points at this layer.
    pub(crate) fn unlink_diff_id(&self, diff_id: &Digest, id: LayerId) -> Result<()> {
        if self.linked(diff_id) != Some(id) {
            return Ok(());
        }
        remove_file(&self.root().join(DIFF_IDS).join(diff_id.hex()))
    }
}

/// Removes a file that may be gone.
fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Something that was moved aside; unless it is removed, it moves back.
struct Aside {
    path: PathBuf,
    place: PathBuf,
    is_gone: bool,
    // A sweep spares what is locked.
    _lock: OwnedFd,
}

impl Aside {
    fn remove(mut self) -> Result<()> {
        self.is_gone = true;
        remove_whatever(&self.place).map_err(Error::file("remove", &self.place))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.is_gone {
            return;
        }
        // Whoever missed it may have made another one meanwhile, which stays.
        let flags = RenameFlags::NOREPLACE;
        let moved = rustix::fs::renameat_with(CWD, &self.place, CWD, &self.path, flags);
        if moved.is_err()
            && let Err(error) = remove_whatever(&self.place)
        {
            tracing::warn!(path = %self.place.display(), %error, "something is left aside");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
