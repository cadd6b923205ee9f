//! Copying files of one folder into another, as COPY does.
//!
//! The mode of a file is kept; its owner is set; its time is kept or set, and becomes the time of the last
//! access too, so that the same copy always has the same times. Links are copied as links, hard
//! links within one copy stay hard links, attributes are kept where the file system has them. A
//! socket becomes an empty file. A directory that is there already keeps its metadata.
//!
//! Files are copied by several threads when there is work for them. First come the directories,
//! in order, then all other files, then hard links, and at last the times of directories, which
//! change whenever something is put into them.

mod directories;
mod file;
mod mode;

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::ResolveFlags;

pub use mode::{InvalidMode, ModeChange};

use crate::error::{Error, Result};
use crate::folder::{Parents, no_links};
use crate::tree::{Kind, Node, Time};

/// Up to how many bytes, and files, one thread is as fast as several.
const FEW_BYTES: u64 = 1 << 19;
const FEW_FILES: usize = 48;
/// How much of the work a thread takes at once.
const SHARE_BYTES: u64 = 1 << 22;
const SHARE_FILES: usize = 32;

/// One file or directory to be copied. What a directory holds are items of their own, after it.
#[derive(Debug, Clone)]
pub struct Item<'a> {
    /// Where it is, relative to the source folder. Links on the way are an error.
    pub source: PathBuf,
    /// Where the copy goes, relative to the destination folder. Links in its parents are followed,
    /// but not out of the destination; missing parents are made. The copy itself replaces a link,
    /// except a directory whose parent is no item: that one may be a link to a directory.
    pub destination: PathBuf,
    /// What it is.
    pub node: &'a Node,
    /// A file in [`Options::previous`] that has the data, mode, owner and time that the copy
    /// is going to have, and no other name in its layer. It gets a second name instead of a copy.
    pub previous: Option<PathBuf>,
}

/// How to copy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Who owns the copies, and missing parents of theirs.
    pub owner: Owner,
    /// How the mode of files and directories changes. Missing parents get an octal one, too,
    /// without its set-id and sticky bits.
    pub mode: Option<&'a ModeChange>,
    /// Whether directories that are there already get the metadata of the source.
    pub overwrite_directories: bool,
    /// The time that copies get in place of that of the original.
    pub time: Option<Time>,
    /// The folder of an earlier layer, whose files never change any more.
    pub previous: Option<BorrowedFd<'a>>,
}

/// Who owns the copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This user and this group.
    Set(u32, u32),
    /// The owner of the original; root owns missing parents.
    Keep,
}

impl Default for Owner {
    fn default() -> Self {
        Self::Set(0, 0)
    }
}

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// The number of items that were copied or linked, directories included.
    pub items: u64,
    /// How many of them are files that were linked to those of an earlier layer.
    pub linked: u64,
    /// The number of bytes of data that were copied.
    pub bytes: u64,
}

/// Copies `items` from one open folder to another, one after the other in effect.
///
/// Fails, and leaves what is copied so far, when a directory would land on something else or
/// something else on a directory, when a file is not any more what its node says, and when
/// anything cannot be read or written.
pub fn copy(
    source: BorrowedFd<'_>,
    items: &[Item<'_>],
    destination: BorrowedFd<'_>,
    options: &Options<'_>,
) -> Result<Copied> {
    let copier = Copier { source, destination, options: *options };
    let mut copied = Copied::default();
    let mut times = Vec::new();
    for run in runs(items) {
        times.extend(copier.directories(run)?);
        copied += copier.files(run)?;
        copied.items += run.iter().filter(|item| item.node.is_directory()).count() as u64;
    }
    copier.directory_times(&times)?;
    Ok(copied)
}

/// Cuts items where their order matters, so that those of one run may be copied in any order:
/// no destination of a run is twice in it, or below one that is no directory.
fn runs<'i, 'a>(items: &'i [Item<'a>]) -> impl Iterator<Item = &'i [Item<'a>]> {
    items.chunk_by(|above, below| {
        let (first, second) = (&*above.destination, &*below.destination);
        is_before(first, second) && (above.node.is_directory() || !below_of(second, first))
    })
}

/// True if `first` comes before `second` in the order of components.
fn is_before(first: &Path, second: &Path) -> bool {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    let (first, second) = (first.as_os_str().as_bytes(), second.as_os_str().as_bytes());
    first.iter().map(rank).lt(second.iter().map(rank))
}

fn below_of(path: &Path, above: &Path) -> bool {
    let rest = path.as_os_str().as_bytes().strip_prefix(above.as_os_str().as_bytes());
    rest.is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// One copy under way.
#[derive(Debug, Clone, Copy)]
struct Copier<'a> {
    source: BorrowedFd<'a>,
    destination: BorrowedFd<'a>,
    options: Options<'a>,
}

/// The folders that one thread has open.
struct Open<'a> {
    source: Parents<'a>,
    destination: Parents<'a>,
    previous: Option<Parents<'a>>,
}

impl<'a> Copier<'a> {
    fn open(&self) -> Open<'a> {
        Open {
            source: Parents::new(self.source, no_links()),
            destination: Parents::new(self.destination, ResolveFlags::IN_ROOT),
            previous: self.options.previous.map(|layer| Parents::new(layer, no_links())),
        }
    }

    /// Copies everything but directories; all parents are there.
    fn files(&self, run: &[Item<'_>]) -> Result<Copied> {
        let (links, files) = hard_links(run);
        let bytes: u64 = files.iter().map(|item| item.node.size).sum();
        let mut copied = if bytes <= FEW_BYTES && files.len() <= FEW_FILES {
            self.share(&files)?
        } else {
            let shares = shares(&files);
            let copied = shares.into_par_iter().with_max_len(1).map(|share| self.share(share));
            copied.try_reduce(Copied::default, |sum, copied| Ok(sum + copied))?
        };
        let mut parents = [self.open().destination, self.open().destination];
        for (item, first) in links {
            Self::hard_link(&mut parents, item, first)?;
            copied.items += 1;
        }
        Ok(copied)
    }

    fn share(&self, items: &[&Item<'_>]) -> Result<Copied> {
        let mut open = self.open();
        items.iter().try_fold(Copied::default(), |sum, item| Ok(sum + self.item(&mut open, item)?))
    }

    fn owner(&self, node: &Node) -> (u32, u32) {
        match self.options.owner {
            Owner::Set(user, group) => (user, group),
            Owner::Keep => (node.uid, node.gid),
        }
    }

    fn time(&self, node: &Node) -> rustix::fs::Timestamps {
        timestamps(self.options.time.unwrap_or(node.mtime))
    }

    fn mode(&self, node: &Node) -> u32 {
        let change = self.options.mode;
        change.map_or(node.mode, |change| change.apply(node.mode, node.is_directory()))
    }
}

type Links<'i, 'a> = Vec<(&'i Item<'a>, &'i Item<'a>)>;

/// Parts items, without directories, into further names of files (with the item that has the
/// first name) and all others.
fn hard_links<'i, 'a>(run: &'i [Item<'a>]) -> (Links<'i, 'a>, Vec<&'i Item<'a>>) {
    let mut first: HashMap<(u64, u64), &Item<'_>> = HashMap::new();
    let (mut links, mut files) = (Vec::new(), Vec::with_capacity(run.len()));
    for item in run.iter().filter(|item| !item.node.is_directory()) {
        if item.node.links > 1 && item.node.is_file() {
            let first = first.entry((item.node.dev, item.node.ino)).or_insert(item);
            if !std::ptr::eq(*first, item) {
                links.push((item, *first));
                continue;
            }
        }
        files.push(item);
    }
    (links, files)
}

/// Cuts files into shares of about the same work.
fn shares<'s, 'i, 'a>(files: &'s [&'i Item<'a>]) -> Vec<&'s [&'i Item<'a>]> {
    let (mut bytes, mut count) = (0, 0);
    let shares = files.chunk_by(move |before, _| {
        bytes += before.node.size;
        count += 1;
        let is_full = bytes >= SHARE_BYTES || count >= SHARE_FILES;
        if is_full {
            (bytes, count) = (0, 0);
        }
        !is_full
    });
    shares.collect()
}

fn timestamps(time: Time) -> rustix::fs::Timestamps {
    let time = rustix::fs::Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    rustix::fs::Timestamps { last_access: time, last_modification: time }
}

/// The error of a copy that failed while `doing` something to its destination.
fn failed<E: Into<std::io::Error>>(
    doing: &'static str,
    item: &Item<'_>,
) -> impl FnOnce(E) -> Error {
    move |error| Error::Copy {
        doing,
        origin: item.source.clone(),
        destination: item.destination.components().collect(),
        source: error.into(),
    }
}

fn conflict(item: &Item<'_>, existing: &'static str) -> Error {
    let kind = match item.node.kind {
        Kind::Directory => "the directory",
        Kind::Symlink { .. } => "the link",
        _ => "the file",
    };
    let (origin, destination) = (item.source.clone(), item.destination.components().collect());
    Error::Conflict { kind, origin, existing, destination }
}

impl std::ops::Add for Copied {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            items: self.items + other.items,
            linked: self.linked + other.linked,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl std::ops::AddAssign for Copied {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests;
