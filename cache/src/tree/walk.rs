//! The walk: every file of a folder with its metadata, without its data.

use std::ffi::OsStr;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::vec::IntoIter;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, OFlags, RawDir, Stat, readlinkat, statat};
use rustix::io::Errno;

use super::node::{Kind, Node, Time, Xattr};
use super::stat_cache::StatCache;
use super::{Keep, Owners};
use crate::error::{Error, Result};
use crate::folder::{self, Parents, no_links};

/// From how many directories, or files of one directory, on threads are worth starting.
const MANY: usize = 256;

/// What to walk.
pub(crate) struct Request<'a> {
    /// The open directory.
    pub(crate) folder: BorrowedFd<'a>,
    /// Which paths are taken.
    pub(crate) keep: &'a (dyn Fn(&Path, bool) -> Keep + Sync),
    /// Where to start; at the folder when empty.
    pub(crate) roots: &'a [PathBuf],
    /// Whose the files count as.
    pub(crate) owners: Owners,
    /// Which extended attributes of directories are read.
    pub(crate) xattrs: fn(&[u8]) -> bool,
    /// The digests known from earlier walks.
    pub(crate) cache: Option<&'a StatCache>,
}

/// A file that the walk came by.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) node: Node,
    /// When its metadata changed last.
    pub(crate) changed: Time,
    /// Whether its data and attributes need not be read.
    pub(crate) known: bool,
    /// Whether it counts only if something below it does.
    tentative: bool,
    /// Which listing has what the directory holds.
    listing: Option<usize>,
}

type Xattrs = Box<[Xattr]>;

/// All files asked for, a directory before what it holds, neighbours sorted by name.
pub(crate) fn walk(request: &Request<'_>) -> Result<Vec<Found>> {
    let mut listings = vec![request.start()?];
    let mut listed = 0;
    // One turn a depth: the listings made by one turn are those that the next one descends into.
    while listed < listings.len() {
        let first = listed;
        listed = listings.len();
        let directories = directories(&listings[first..]);
        let held: Vec<_> = if directories.len() < MANY / 16 {
            directories.iter().map(|&(_, _, path)| request.list(path)).collect()
        } else {
            directories.par_iter().map(|&(_, _, path)| request.list(path)).collect()
        };
        let places: Vec<_> = directories.iter().map(|&(list, entry, _)| (list, entry)).collect();
        for ((list, entry), held) in places.into_iter().zip(held) {
            let (xattrs, entries) = held?;
            let next = listings.len();
            let directory = &mut listings[first + list][entry];
            directory.node.xattrs = xattrs;
            directory.listing = Some(next);
            listings.push(entries);
        }
    }
    Ok(flatten(listings))
}

fn directories(listings: &[Vec<Found>]) -> Vec<(usize, usize, &Path)> {
    let entries = listings.iter().enumerate().flat_map(|(list, entries)| {
        entries.iter().enumerate().map(move |(entry, found)| (list, entry, &found.node))
    });
    entries
        .filter(|(_, _, node)| node.is_directory())
        .map(|(list, entry, node)| (list, entry, &*node.path))
        .collect()
}

/// Joins the listings into one sequence, and leaves out directories in vain.
fn flatten(mut listings: Vec<Vec<Found>>) -> Vec<Found> {
    let mut nodes: Vec<Found> = Vec::with_capacity(listings.iter().map(Vec::len).sum());
    let mut open: Vec<(Option<usize>, IntoIter<Found>)> =
        vec![(None, mem::take(&mut listings[0]).into_iter())];
    while let Some((directory, entries)) = open.last_mut() {
        if let Some(found) = entries.next() {
            let index = nodes.len();
            let listing = found.listing;
            nodes.push(found);
            nodes[index].node.end = position(index + 1);
            if let Some(listing) = listing {
                open.push((Some(index), mem::take(&mut listings[listing]).into_iter()));
            }
        } else {
            let closed = *directory;
            open.pop();
            if let Some(index) = closed {
                nodes[index].node.end = position(nodes.len());
                if nodes[index].tentative && index + 1 == nodes.len() {
                    nodes.pop();
                }
            }
        }
    }
    nodes
}

fn position(index: usize) -> u32 {
    u32::try_from(index).expect("four thousand million nodes would not fit into memory")
}

impl Request<'_> {
    /// The files at which the walk starts.
    fn start(&self) -> Result<Vec<Found>> {
        let whole = [PathBuf::new()];
        let roots = if self.roots.is_empty() { &whole[..] } else { self.roots };
        // Only clean paths are in the order of the nodes: `./a//b` becomes `a/b`.
        let clean = |root: &PathBuf| -> PathBuf {
            root.components().filter(|component| *component != Component::CurDir).collect()
        };
        let mut roots: Vec<PathBuf> = roots.iter().map(clean).collect();
        roots.sort_unstable();
        roots.dedup_by(|root, above| root.starts_with(above));
        let mut parents = Parents::new(self.folder, no_links());
        let mut found = Vec::new();
        for root in roots {
            let (parent, name) = parents.of(&root).map_err(Error::file("find", &root))?;
            let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(Error::file("find", &root))?;
            let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
            let keep = if root.as_os_str().is_empty() {
                Keep::Take
            } else {
                (self.keep)(&root, is_directory)
            };
            if keep == Keep::Take || (keep == Keep::Descend && is_directory) {
                let entry = Entry { path: root.clone().into(), tentative: keep == Keep::Descend };
                found.extend(self.found(parent, name, entry, &stat)?);
            }
        }
        Ok(found)
    }

    /// The attributes of a directory, and what it holds, sorted by name.
    fn list(&self, directory: &Path) -> Result<(Xattrs, Vec<Found>)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = folder::open(self.folder, directory, flags, no_links())
            .map_err(Error::file("open", directory))?;
        let xattrs = folder::xattrs(fd.as_fd(), self.xattrs)
            .map_err(Error::file("read the attributes of", directory))?;
        let mut entries =
            self.entries(fd.as_fd(), directory).map_err(Error::file("list", directory))?;
        entries.sort_unstable_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
        let start = match directory.as_os_str().len() {
            0 => 0,
            length => length + 1,
        };
        let stat = |entry: Entry| self.stat(fd.as_fd(), entry, start);
        let found: Result<Vec<Option<Found>>> = if entries.len() < MANY * 4 {
            entries.into_iter().map(stat).collect()
        } else {
            entries.into_par_iter().with_min_len(MANY).map(stat).collect()
        };
        Ok((xattrs, found?.into_iter().flatten().collect()))
    }

    /// The paths in a directory that are kept.
    fn entries(&self, fd: BorrowedFd<'_>, directory: &Path) -> rustix::io::Result<Vec<Entry>> {
        let mut buffer = Vec::with_capacity(1 << 15);
        let mut listing = RawDir::new(fd, buffer.spare_capacity_mut());
        let mut entries = Vec::new();
        while let Some(entry) = listing.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let is_directory = match entry.file_type() {
                FileType::Unknown => statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()),
                known => known.is_dir(),
            };
            let path = join(directory, name.to_bytes());
            match (self.keep)(&path, is_directory) {
                Keep::Take => entries.push(Entry { path, tentative: false }),
                Keep::Descend if is_directory => entries.push(Entry { path, tentative: true }),
                Keep::Descend | Keep::Skip => {}
            }
        }
        Ok(entries)
    }

    fn stat(&self, fd: BorrowedFd<'_>, entry: Entry, start: usize) -> Result<Option<Found>> {
        // Holding on to the path would borrow the entry that is about to be moved.
        let path = entry.path.clone();
        let name = OsStr::from_bytes(&path.as_os_str().as_bytes()[start..]);
        match statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => self.found(fd, name, entry, &stat),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::file("read the metadata of", &path)(error)),
        }
    }

    /// What is to be known of a file, or nothing if it is a link that vanished.
    fn found(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        entry: Entry,
        stat: &Stat,
    ) -> Result<Option<Found>> {
        let mut node = Node::new(entry.path, stat);
        if let Kind::Symlink { target } = &mut node.kind {
            match readlinkat(parent, name, Vec::new()) {
                Ok(read) => *target = Path::new(OsStr::from_bytes(read.to_bytes())).into(),
                Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
                Err(error) => return Err(Error::file("read the link", &node.path)(error)),
            }
        }
        if self.owners == Owners::Root {
            (node.uid, node.gid) = (0, 0);
        }
        let changed = Time::changed(stat);
        let mut known = !node.is_file();
        if let Some(digest) = self.cache.and_then(|cache| cache.find(&node, changed)) {
            node.data = digest;
            known = true;
        }
        Ok(Some(Found { node, changed, known, tentative: entry.tentative, listing: None }))
    }
}

/// A path that the walk is going to look at.
struct Entry {
    path: Box<Path>,
    tentative: bool,
}

fn join(directory: &Path, name: &[u8]) -> Box<Path> {
    let directory = directory.as_os_str().as_bytes();
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    if !directory.is_empty() {
        path.extend_from_slice(directory);
        path.push(b'/');
    }
    path.extend_from_slice(name);
    Path::new(OsStr::from_bytes(&path)).into()
}
