//! Files of a COPY that go into folders which the COPY itself makes.
//!
//! Nothing below such a folder is hidden or merged by the overlay, so its files are written into
//! the new layer directly: that costs less, and lets files that did not change since the last time
//! be further names of those in the layer that was made then.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rbuild_cache::copy::{self, Item, Options, Owner};
use rbuild_cache::{Earlier, Layer, Part, StagedLayer, Store};
use rbuild_solver::op::Copy;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, openat2, statat};
use rustix::io::Errno;

/// Up to how many files an earlier layer is not looked for.
const FEW: usize = 64;

/// The items of a copy, parted by how they are written.
#[derive(Debug, Default)]
pub(super) struct Parted<'n> {
    /// What goes through the overlay, the topmost new folders among it.
    pub(super) through: Vec<Item<'n>>,
    /// The topmost new folders again, and all that goes into them.
    pub(super) fresh: Vec<Item<'n>>,
    tops: Vec<PathBuf>,
}

impl<'n> Parted<'n> {
    /// Parts items whose folders come before what they hold; `root` is the overlay, and `made` a
    /// folder there that was made for them.
    pub(super) fn new(root: BorrowedFd<'_>, items: Vec<Item<'n>>, made: Option<PathBuf>) -> Self {
        // Hard links must be made by one copy.
        if items.iter().any(|item| item.node.is_file() && item.node.links > 1) {
            return Self { through: items, ..Self::default() };
        }
        let mut parted = Self { tops: Vec::from_iter(made), ..Self::default() };
        for item in items {
            let top = parted.tops.last();
            if top.is_some_and(|top| item.destination.starts_with(top)) {
                parted.fresh.push(item);
                continue;
            }
            if item.node.is_directory() && is_missing(root, &item.destination) {
                parted.tops.push(item.destination.clone());
                parted.fresh.push(item.clone());
            }
            parted.through.push(item);
        }
        parted
    }

    /// Opens the layer if the new folders, made by now, are in it at their very paths.
    ///
    /// They are elsewhere if a link leads to one of them.
    pub(super) fn open(&self, layer: &StagedLayer) -> Option<OwnedFd> {
        if self.fresh.is_empty() {
            return None;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let files = rustix::fs::open(layer.files(), flags, Mode::empty()).ok()?;
        let no_links = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let is_there = |top: &PathBuf| openat2(&files, top, flags, Mode::empty(), no_links).is_ok();
        self.tops.iter().all(is_there).then_some(files)
    }
}

/// Whether nothing is at a path, not even a link.
pub(super) fn is_missing(root: BorrowedFd<'_>, path: &Path) -> bool {
    statat(root, path, AtFlags::SYMLINK_NOFOLLOW).is_err_and(|error| error == Errno::NOENT)
}

/// The end of one COPY, after which nothing goes through the overlay any more.
#[derive(Debug)]
pub(super) struct Finish<'a> {
    store: &'a Store,
    layer: &'a StagedLayer,
}

impl<'a> Finish<'a> {
    pub(super) fn new(store: &'a Store, layer: &'a StagedLayer) -> Self {
        Self { store, layer }
    }

    /// Copies what is new in the layer itself, by `options`.
    ///
    /// `context` is the folder of this machine from which it comes, if it is one.
    pub(super) fn copy(
        &self,
        (source, context): (BorrowedFd<'_>, Option<&Path>),
        copy: &Copy,
        parted: &mut Parted<'_>,
        (root, options): (BorrowedFd<'_>, Options<'_>),
    ) -> rbuild_cache::Result<()> {
        let Some(files) = parted.open(self.layer) else {
            return copy::copy(source, &parted.fresh, root, &options).map(drop);
        };
        let Some(context) = context.filter(|_| parted.fresh.len() > FEW) else {
            return copy::copy(source, &parted.fresh, files.as_fd(), &options).map(drop);
        };
        let place = format!("layer of {copy:?} from {}", context.display());
        let earlier = self.last(&place);
        if let Some(earlier) = &earlier {
            share(&mut parted.fresh, earlier, &options);
        }
        let options = Options { previous: earlier.as_ref().map(Earlier::files), ..options };
        copy::copy(source, &parted.fresh, files.as_fd(), &options)?;
        self.remember(&place, &parted.fresh);
        Ok(())
    }

    /// The layer that this COPY made last, if it is still there.
    fn last(&self, place: &str) -> Option<Earlier> {
        let parts = self.store.last(place).ok()??;
        let id = parts.first()?.value.parse().ok()?;
        self.store.earlier(&Layer::Made(id)).unwrap_or_else(|error| {
            tracing::debug!(%error, "an earlier layer is of no use");
            None
        })
    }

    /// Remembers the layer and what was copied into it for the next time, which is no more than a
    /// hint.
    fn remember(&self, place: &str, items: &[Item<'_>]) {
        let (name, value) = ("layer".to_owned(), self.layer.id().to_string());
        let noted = self.layer.note_copied(items);
        let remembered =
            noted.and_then(|()| self.store.remember_last(place, &[Part { name, value }]));
        if let Err(error) = remembered {
            tracing::debug!(%error, "the next layer will share nothing with this one");
        }
    }
}

/// Names the files of an earlier layer that do for items.
fn share(items: &mut [Item<'_>], earlier: &Earlier, options: &Options<'_>) {
    for item in items {
        let node = item.node;
        let mode = options.mode.map_or(node.mode, |change| change.apply(node.mode, false));
        let owner = match options.owner {
            Owner::Set(user, group) => (user, group),
            Owner::Keep => (node.uid, node.gid),
        };
        let is_same = earlier.has(&item.destination, node, mode, owner);
        item.previous = is_same.then(|| item.destination.clone());
    }
}
