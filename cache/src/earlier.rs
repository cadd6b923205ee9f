//! What an earlier layer of a step shares with the next one: files that did not change.
//!
//! Beside a layer that may have a successor lie the digests of its files, by inode number. They
//! hold for as long as the layer does, since the files of a layer never change.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::copy::Item;
use crate::error::{Error, Result};
use crate::layers::{StagedLayer, open_folder};
use crate::snapshot::Layer;
use crate::store::Store;
use crate::tree::{self, Node, StatCache};

/// The file beside the files of a layer with their digests.
pub(crate) const DIGESTS: &str = "digests";
/// From how many files on a layer is worth remembering.
const MANY: usize = 64;

/// An earlier layer, open, with what is known of its files.
#[derive(Debug)]
pub struct Earlier {
    files: OwnedFd,
    /// The files that have one name in the layer, by path, with the digests of their data.
    nodes: HashMap<Box<Path>, Node>,
}

impl Store {
    /// Opens an earlier layer; `None` when it is gone, or nothing was noted of its files.
    pub fn earlier(&self, layer: &Layer) -> Result<Option<Earlier>> {
        let Some(path) = self.layer_path(layer) else {
            return Ok(None);
        };
        let digests = StatCache::load(&path.with_file_name(DIGESTS));
        if digests.is_empty() {
            return Ok(None);
        }
        let files = open_folder(&path)?;
        let nodes = tree::known_files(files.as_fd(), &digests)?;
        Ok(Some(Earlier { files, nodes }))
    }
}

impl Earlier {
    /// The open folder of the layer.
    pub fn files(&self) -> BorrowedFd<'_> {
        self.files.as_fd()
    }

    /// Tells whether the layer has, at `path`, just what a copy of `file` with this mode and owner
    /// would be, so that one more name of it does for the copy.
    pub fn has(&self, path: &Path, file: &Node, mode: u32, owner: (u32, u32)) -> bool {
        let is_plain = file.is_file() && file.links == 1 && file.xattrs.is_empty();
        let same = |there: &Node| {
            (there.data, there.size, there.mtime) == (file.data, file.size, file.mtime)
                && (there.mode, there.uid, there.gid) == (mode, owner.0, owner.1)
        };
        is_plain && self.nodes.get(path).is_some_and(same)
    }
}

impl StagedLayer {
    /// Leaves the digests of copied files beside a large layer, so that the next one can share
    /// them.
    pub fn note_copied(&self, items: &[Item<'_>]) -> Result<()> {
        // Attributes are not noted, so a file with some is copied again each time.
        let is_plain = |item: &&Item<'_>| item.node.is_file() && item.node.xattrs.is_empty();
        let plain = items.iter().filter(is_plain);
        let nodes: HashMap<&Path, &Node> =
            plain.map(|item| (&*item.destination, item.node)).collect();
        if nodes.len() < MANY {
            return Ok(());
        }
        let digests = tree::layer_digests(open_folder(self.files())?.as_fd(), &nodes)?;
        let path = self.files().with_file_name(DIGESTS);
        fs::write(&path, digests).map_err(Error::file("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::copy;
    use crate::tree::{Options, Tree};

    /// Copies a folder as the next layer of a step; returns it and how many files it shares.
    fn next(store: &Store, source: &Path, earlier: Option<&Layer>) -> (Layer, u64) {
        let folder = open_folder(source).unwrap();
        let tree = Tree::read(folder.as_fd(), &Options::default()).unwrap();
        let earlier = earlier.and_then(|layer| store.earlier(layer).unwrap());
        let items: Vec<Item<'_>> = tree.nodes()[1..]
            .iter()
            .map(|node| Item {
                source: node.path.to_path_buf(),
                destination: node.path.to_path_buf(),
                node,
                previous: earlier
                    .as_ref()
                    .filter(|earlier| earlier.has(&node.path, node, node.mode, (0, 0)))
                    .map(|_| node.path.to_path_buf()),
            })
            .collect();
        let staged = store.stage().unwrap();
        let options = copy::Options {
            previous: earlier.as_ref().map(Earlier::files),
            ..copy::Options::default()
        };
        let upper = open_folder(staged.files()).unwrap();
        let copied = copy::copy(folder.as_fd(), &items, upper.as_fd(), &options).unwrap();
        staged.note_copied(&items).unwrap();
        (staged.commit(None).unwrap(), copied.linked)
    }

    #[test]
    fn only_files_that_are_the_same_are_shared() {
        let (store, source) = (Store::temporary().unwrap(), tempfile::tempdir().unwrap());
        for number in 0..MANY {
            fs::write(source.path().join(number.to_string()), "content").unwrap();
        }
        let (first, linked) = next(&store, source.path(), None);
        assert_eq!(linked, 0);

        // Neither an equal size and time, nor equal data with another mode or time, will do.
        let path = |name: &str| source.path().join(name);
        let time = fs::metadata(path("1")).unwrap().modified().unwrap();
        fs::write(path("1"), "CONTENT").unwrap();
        fs::File::options().write(true).open(path("1")).unwrap().set_modified(time).unwrap();
        fs::set_permissions(path("2"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        let past = time - std::time::Duration::from_secs(9);
        fs::File::options().write(true).open(path("3")).unwrap().set_modified(past).unwrap();
        let (second, linked) = next(&store, source.path(), Some(&first));
        assert_eq!(linked, MANY as u64 - 3);
        let read = |layer: &Layer, name: &str| {
            fs::read_to_string(store.layer_path(layer).unwrap().join(name)).unwrap()
        };
        assert_eq!((read(&first, "1"), read(&second, "1")), ("content".into(), "CONTENT".into()));
        let inode =
            |layer: &Layer| fs::metadata(store.layer_path(layer).unwrap().join("4")).unwrap().ino();
        assert_eq!(inode(&first), inode(&second));

        // What is shared is shared with the layer after the next as well.
        assert_eq!(next(&store, source.path(), Some(&second)).1, MANY as u64);
    }

    #[test]
    fn a_small_layer_is_not_worth_it() {
        let (store, source) = (Store::temporary().unwrap(), tempfile::tempdir().unwrap());
        fs::write(source.path().join("file"), "content").unwrap();
        let (layer, _) = next(&store, source.path(), None);
        assert!(store.earlier(&layer).unwrap().is_none());
    }
}
