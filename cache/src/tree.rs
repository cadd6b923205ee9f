//! The Merkle tree of a folder: what is in it, and names for every part of it by content.
//!
//! A digest covers kind, permissions, owner, size, link target, device number, data and those
//! extended attributes that an image keeps of a build context (`user.*` and
//! `security.capability`). It never covers times or inode numbers. The digest of a directory
//! covers its own metadata, and the names and digests of what it holds, sorted by name.
//!
//! A tree is read in two passes. The walk lists the directories of one depth after the other and
//! asks the kernel about each file (`walk`). Then the data of files is hashed (`data`), except of
//! those that the stat cache knows (`stat_cache`). Threads are started only when there is work
//! for them: a tree of a few small files is read in microseconds.

mod data;
mod layer;
mod node;
mod stat_cache;
mod walk;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use layer::layer_content;
pub(crate) use layer::{is_opaque, known_files, layer_digests, request as layer_request};
pub use node::{Kind, Node, Time, Xattr};
pub(crate) use walk::walk;

use crate::error::Result;
use crate::hash::Hasher;
use crate::id::ContentId;
use stat_cache::Guard;
pub(crate) use stat_cache::StatCache;

/// Which files of a folder make up a tree, and how they are read.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Decides on a path relative to the folder, given whether it is a directory. It is called
    /// from several threads, never for the folder itself, and not below what it skips.
    pub keep: &'a (dyn Fn(&Path, bool) -> Keep + Sync),
    /// The relative paths to read with all below them; the whole folder when empty. Links in them
    /// are not followed, and their parents are no part of the tree.
    pub roots: &'a [PathBuf],
    /// Whose the files count as.
    pub owners: Owners,
    /// The file in which digests are remembered by inode number and times, so that only changed
    /// files are read again. It is made when missing, and ignored when damaged.
    pub stat_cache: Option<&'a Path>,
}

/// What becomes of one path of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It is part of the tree.
    Take,
    /// It is not, nor is anything below it.
    Skip,
    /// A directory that is part of the tree only if something below it is; other files are not.
    Descend,
}

/// Whose the files of a tree count as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owners {
    /// The users and groups that the files have.
    #[default]
    Keep,
    /// User 0 and group 0, whoever owns them, as for a build context.
    Root,
}

impl Default for Options<'_> {
    /// The whole folder with its owners, without a stat cache.
    fn default() -> Self {
        Self { keep: &|_, _| Keep::Take, roots: &[], owners: Owners::Keep, stat_cache: None }
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("roots", &self.roots)
            .field("owners", &self.owners)
            .field("stat_cache", &self.stat_cache)
            .finish_non_exhaustive()
    }
}

/// The files of a folder, sorted so that what a directory holds follows it, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    /// Reads the tree below an open directory.
    ///
    /// Fails when something cannot be read, when a root is missing, and when a file changes its
    /// size while it is read. What vanishes during the walk counts as never seen.
    pub fn read(folder: BorrowedFd<'_>, options: &Options<'_>) -> Result<Self> {
        let cache = options.stat_cache.map(StatCache::load);
        let request = walk::Request {
            folder,
            keep: options.keep,
            roots: options.roots,
            owners: options.owners,
            xattrs: counts,
            cache: cache.as_ref(),
        };
        let mut found = walk(&request)?;
        let guard = Guard::now();
        data::hash(folder, &mut found, counts)?;
        if let (Some(cache), Some(path)) = (cache, options.stat_cache) {
            cache.save(path, guard, &found);
        }
        let mut nodes: Vec<Node> = found.into_iter().map(|found| found.node).collect();
        hash_directories(&mut nodes);
        Ok(Self { nodes })
    }

    /// All nodes: a directory comes before what it holds, neighbours are sorted by name.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node at a path relative to the folder; the empty path is the folder itself.
    pub fn get(&self, path: &Path) -> Option<&Node> {
        self.index(path).map(|index| &self.nodes[index])
    }

    /// The nodes directly in the directory at `path`, sorted by name; none if there is none.
    pub fn children(&self, path: &Path) -> impl Iterator<Item = &Node> {
        let index = self.index(path);
        let range = index.map_or(0..0, |index| index + 1..self.nodes[index].end as usize);
        siblings(&self.nodes, range)
    }

    /// The node at `path` and all below it, in the order of [`nodes`](Self::nodes).
    pub fn subtree(&self, path: &Path) -> &[Node] {
        match self.index(path) {
            Some(index) => &self.nodes[index..self.nodes[index].end as usize],
            None => &[],
        }
    }

    /// The name of everything in the tree, with the paths of its roots.
    pub fn content(&self) -> ContentId {
        let mut hasher = Hasher::new("rbuild tree");
        for node in siblings(&self.nodes, 0..self.nodes.len()) {
            hasher.bytes(node.path.as_os_str().as_bytes());
            node.hash(&mut hasher);
        }
        hasher.content()
    }

    fn index(&self, path: &Path) -> Option<usize> {
        // The order of paths by component is the order of the nodes.
        self.nodes.binary_search_by(|node| (*node.path).cmp(path)).ok()
    }
}

/// True for the extended attributes that are part of a tree.
fn counts(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == b"security.capability"
}

/// The nodes of a range that are not below another one of it.
fn siblings(nodes: &[Node], range: std::ops::Range<usize>) -> impl Iterator<Item = &Node> {
    let mut next = range.start;
    std::iter::from_fn(move || {
        let node = nodes[..range.end].get(next)?;
        next = node.end as usize;
        Some(node)
    })
}

/// Gives every directory the digest of what it holds, the deepest first.
fn hash_directories(nodes: &mut [Node]) {
    for index in (0..nodes.len()).rev() {
        if nodes[index].is_directory() {
            let mut hasher = Hasher::new("rbuild tree directory");
            for child in siblings(nodes, index + 1..nodes[index].end as usize) {
                hasher.bytes(crate::folder::split(&child.path).1.as_bytes());
                child.hash(&mut hasher);
            }
            nodes[index].data = hasher.finish();
        }
    }
}

#[cfg(test)]
mod tests;
