//! The name of what one layer changes, taken from the upper folder of its overlay.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::path::Path;

use super::node::{Node, Time, Xattr};
use super::stat_cache::{self, StatCache};
use super::walk::{Found, Request, walk};
use super::{Keep, Owners, Tree, counts, data, hash_directories};
use crate::error::Result;
use crate::hash::Hasher;
use crate::id::ContentId;
use crate::privilege;

/// The attribute by which a directory hides what lower layers have in its place.
pub(crate) const OPAQUE: &str = privilege::OPAQUE[0];
/// The same, where the overlay was mounted without privilege.
const OPAQUE_USER: &str = privilege::OPAQUE[1];

/// The name of the changes in the upper folder `files` of an overlay.
///
/// What a layer removes counts as much as what it adds: whiteouts (character devices 0:0) and
/// opaque directories. Owners count; times, the folder's own metadata, and all other attributes
/// of the overlay do not.
pub fn layer_content(files: BorrowedFd<'_>) -> Result<ContentId> {
    let mut found = walk(&request(files, counts_in_layer))?;
    data::hash(files, &mut found, counts_in_layer)?;
    Ok(content(found))
}

/// The stat cache of a layer whose files, by path, have the data of these nodes.
pub(crate) fn layer_digests(
    files: BorrowedFd<'_>,
    nodes: &HashMap<&Path, &Node>,
) -> Result<Vec<u8>> {
    let mut found = walk(&request(files, counts_in_layer))?;
    found.retain_mut(|found| match nodes.get(&*found.node.path) {
        Some(node) => {
            found.node.data = node.data;
            true
        }
        None => false,
    });
    Ok(stat_cache::of_layer(&found))
}

/// The files of a layer that have one name in it and digests in `known`, by path.
pub(crate) fn known_files(
    files: BorrowedFd<'_>,
    known: &StatCache,
) -> Result<HashMap<Box<Path>, Node>> {
    let found = walk(&request(files, counts_in_layer))?;
    let mut names: HashMap<u64, usize> = HashMap::with_capacity(found.len());
    for Found { node, .. } in &found {
        *names.entry(node.ino).or_default() += 1;
    }
    let file = |Found { mut node, .. }: Found| {
        let is_single = node.is_file() && names.get(&node.ino) == Some(&1);
        node.data = known.find(&node, Time::default()).filter(|_| is_single)?;
        Some((node.path.clone(), node))
    };
    Ok(found.into_iter().filter_map(file).collect())
}

fn content(found: Vec<Found>) -> ContentId {
    let mut nodes: Vec<Node> = found.into_iter().map(|Found { node, .. }| node).collect();
    nodes.iter_mut().filter(|node| !node.xattrs.is_empty()).for_each(normalize);
    hash_directories(&mut nodes);
    let mut hasher = Hasher::new("rbuild layer");
    let tree = Tree { nodes };
    if let Some(root) = tree.nodes.first() {
        hasher.bool(is_opaque(root)).id(&root.data);
    }
    hasher.content()
}

/// A walk of a whole layer.
pub(crate) fn request(files: BorrowedFd<'_>, xattrs: fn(&[u8]) -> bool) -> Request<'_> {
    let keep = &|_: &std::path::Path, _| Keep::Take;
    Request { folder: files, keep, roots: &[], owners: Owners::Keep, xattrs, cache: None }
}

/// True for a directory that hides what lower layers have in its place.
pub(crate) fn is_opaque(node: &Node) -> bool {
    let opaque = |xattr: &Xattr| {
        (*xattr.name == *OPAQUE || *xattr.name == *OPAQUE_USER) && *xattr.value == *b"y"
    };
    node.is_directory() && node.xattrs.iter().any(opaque)
}

fn counts_in_layer(name: &[u8]) -> bool {
    counts(name) || name == OPAQUE.as_bytes()
}

/// Leaves of the overlay's own attributes only one that says `opaque`, under its first name.
fn normalize(node: &mut Node) {
    let opaque =
        is_opaque(node).then(|| Xattr { name: OsStr::new(OPAQUE).into(), value: Box::from(*b"y") });
    let others = std::mem::take(&mut node.xattrs).into_iter().filter(|xattr| {
        let name = xattr.name.as_encoded_bytes();
        !name.starts_with(b"trusted.") && !name.starts_with(b"user.overlay.")
    });
    node.xattrs = others.chain(opaque).collect();
}
