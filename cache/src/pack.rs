//! Packing a layer into a tar: the same files always give the same bytes.
//!
//! Entries come in the order of the tree: a directory before what it holds, neighbours sorted by
//! the bytes of their names. Names have no leading `/` or `./`, those of directories end in `/`.
//! The format is POSIX ustar, with a pax header before an entry only where ustar does not fit
//! (long names, large numbers, extended attributes). Times are whole seconds, names of owners are
//! empty. What the overlay hides is written as an OCI layer has it: `.wh.name` for a file that is
//! gone, `.wh..wh..opq` as the first entry of an opaque directory. Files that are hard links of
//! one another are links to the first of them. Sockets have no place in a tar and are left out.

mod header;
mod stream;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};

use crate::error::{Error, Result};
use crate::folder::{self, Parents, no_links};
use crate::tree::{self, Kind, Node, Xattr};
use header::{Entry, Type};
use stream::Stream;

/// The beginning of names that stand for removed files.
const WHITEOUT: &[u8] = b".wh.";
/// The name that says that a directory shows nothing of lower layers.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Up to how many bytes a second thread that reads ahead does not pay.
const FEW_BYTES: u64 = 1 << 20;
const FEW_FILES: usize = 64;

/// Writes the upper folder `files` of an overlay as an uncompressed tar, and returns its length.
///
/// Fails when a file changes its size meanwhile, and for what a layer cannot express: a file whose
/// own name begins with `.wh.`, and directories that the overlay renamed instead of copying.
pub fn pack(files: BorrowedFd<'_>, out: &mut dyn Write) -> Result<u64> {
    pack_until(files, None, out)
}

/// The same, with no time after `newest`, in seconds since 1970: later ones become it.
pub fn pack_until(files: BorrowedFd<'_>, newest: Option<i64>, out: &mut dyn Write) -> Result<u64> {
    pack_some(files, &BTreeSet::new(), newest, out)
}

/// The same as [`pack`], without these paths, each relative to `files`. What a directory holds is
/// left out by paths of its own.
pub fn pack_without(
    files: BorrowedFd<'_>,
    without: &BTreeSet<PathBuf>,
    out: &mut dyn Write,
) -> Result<u64> {
    pack_some(files, without, None, out)
}

fn pack_some(
    files: BorrowedFd<'_>,
    without: &BTreeSet<PathBuf>,
    newest: Option<i64>,
    out: &mut dyn Write,
) -> Result<u64> {
    let mut found = tree::walk(&tree::layer_request(files, concerns_pack))?;
    found.retain(|found| !without.contains(&*found.node.path));
    let bytes: u64 = found.iter().map(|found| found.node.size).sum();
    let is_small = bytes <= FEW_BYTES && found.len() <= FEW_FILES;
    let nodes = found.into_iter().map(|found| clamped(found.node, newest));
    let render = |stream: &mut Stream<'_>| Packer::new(files, stream).pack(nodes);
    if is_small { stream::here(out, render) } else { stream::ahead(out, render) }
}

/// A node whose time is not after `newest`.
fn clamped(mut node: Node, newest: Option<i64>) -> Node {
    if let Some(newest) = newest.filter(|newest| node.mtime.seconds >= *newest) {
        node.mtime = tree::Time { seconds: newest, nanoseconds: 0 };
    }
    node
}

/// The attributes that are packed or that decide how something is packed.
fn concerns_pack(name: &[u8]) -> bool {
    is_packed(name) || name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// The attributes that become part of the tar.
fn is_packed(name: &[u8]) -> bool {
    let private = [&b"trusted."[..], b"system.", b"user.overlay."];
    !private.iter().any(|prefix| name.starts_with(prefix)) && name != b"security.selinux"
}

/// Turns nodes into entries.
struct Packer<'a, 's, 'o> {
    parents: Parents<'a>,
    stream: &'s mut Stream<'o>,
    /// The first path of each file that has several.
    linked: HashMap<(u64, u64), Box<Path>>,
}

impl<'a, 's, 'o> Packer<'a, 's, 'o> {
    fn new(files: BorrowedFd<'a>, stream: &'s mut Stream<'o>) -> Self {
        Self { parents: Parents::new(files, no_links()), stream, linked: HashMap::new() }
    }

    fn pack(mut self, nodes: impl Iterator<Item = Node>) -> Result<()> {
        for node in nodes {
            self.node(&node)?;
        }
        self.stream.write(&[0; 1024])
    }

    fn node(&mut self, node: &Node) -> Result<()> {
        let name = folder::split(&node.path).1.as_bytes();
        if name.starts_with(WHITEOUT) {
            return Err(unpackable(node, "names that begin with `.wh.` stand for removed files"));
        }
        match &node.kind {
            Kind::Directory => self.directory(node),
            Kind::File => self.file(node),
            Kind::Symlink { target } => {
                let link = target.as_os_str().as_bytes();
                self.entry(node, Entry { link, ..Entry::new(node, Type::Symlink) })
            }
            Kind::CharDevice if node.is_whiteout() => self.whiteout(node),
            Kind::CharDevice => self.entry(node, Entry::new(node, Type::CharDevice)),
            Kind::BlockDevice => self.entry(node, Entry::new(node, Type::BlockDevice)),
            Kind::Fifo => self.entry(node, Entry::new(node, Type::Fifo)),
            Kind::Socket => Ok(()),
        }
    }

    fn directory(&mut self, node: &Node) -> Result<()> {
        refuse_renamed(node, &node.xattrs)?;
        let is_root = node.path.as_os_str().is_empty();
        if !is_root {
            let mut path = node.path.as_os_str().as_bytes().to_vec();
            path.push(b'/');
            let xattrs = &node.xattrs;
            self.entry(node, Entry { path: &path, xattrs, ..Entry::new(node, Type::Directory) })?;
        }
        if tree::is_opaque(node) {
            self.mark(node, &node.path, OPAQUE)?;
        }
        Ok(())
    }

    fn whiteout(&mut self, node: &Node) -> Result<()> {
        let (parent, name) = folder::split(&node.path);
        self.mark(node, parent, &[WHITEOUT, name.as_bytes()].concat())
    }

    /// An empty file that says something about its directory.
    fn mark(&mut self, node: &Node, directory: &Path, name: &[u8]) -> Result<()> {
        let path = directory.join(OsStr::from_bytes(name));
        let path = path.as_os_str().as_bytes();
        let file = Entry::new(node, Type::File);
        self.entry(node, Entry { path, mode: 0o600, uid: 0, gid: 0, size: 0, ..file })
    }

    fn file(&mut self, node: &Node) -> Result<()> {
        if node.links > 1 {
            let first =
                self.linked.entry((node.dev, node.ino)).or_insert_with(|| node.path.clone());
            if **first != *node.path {
                let first = first.clone();
                let link = first.as_os_str().as_bytes();
                return self.entry(node, Entry { link, size: 0, ..Entry::new(node, Type::Link) });
            }
        }
        let doing = |doing| Error::file(doing, &node.path);
        let (parent, name) = self.parents.of(&node.path).map_err(doing("open the parent of"))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::empty())
            .map_err(|error| doing("open")(error.into()))?;
        let xattrs =
            folder::xattrs(file.as_fd(), concerns_pack).map_err(doing("read the attributes of"))?;
        refuse_renamed(node, &xattrs)?;
        self.entry(node, Entry { xattrs: &xattrs, ..Entry::new(node, Type::File) })?;
        self.stream.file(&file.into(), node)
    }

    fn entry(&mut self, node: &Node, entry: Entry<'_>) -> Result<()> {
        let header = entry.render().map_err(|reason| unpackable(node, reason))?;
        self.stream.write(&header)
    }
}

/// Refuses what an overlay with `redirect_dir` or `metacopy` leaves in the lower layers.
fn refuse_renamed(node: &Node, xattrs: &[Xattr]) -> Result<()> {
    let elsewhere = |xattr: &Xattr| {
        let name = xattr.name.as_bytes();
        let kind = name.strip_prefix(b"trusted.overlay.").or(name.strip_prefix(b"user.overlay."));
        matches!(kind, Some(b"redirect" | b"metacopy"))
    };
    if xattrs.iter().any(elsewhere) {
        return Err(unpackable(node, "its contents are in a lower layer"));
    }
    Ok(())
}

fn unpackable(node: &Node, reason: &'static str) -> Error {
    Error::Unpackable { path: node.path.to_path_buf(), reason }
}

#[cfg(test)]
mod tests;
