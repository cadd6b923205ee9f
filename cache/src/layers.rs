//! Layers unpacked as folders in the form of overlayfs: staged, then committed by a rename.
//!
//! `layers/<id>/files` is the layer, `record.json` beside it says which step made it, and
//! `diff-id` holds the digest of its tar once that was asked for. `diff-ids/<hex>` points at the
//! layer of a diff id. A layer is committed without syncing it to the disk, for which a step must
//! not wait: a process killed at any moment leaves a whole layer or a staged one that
//! [`Store::sweep`] removes. A power cut can tear the layers of the last seconds: `settle` says how
//! these are told from the others.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustix::fs::{CWD, Mode, OFlags};

use crate::error::{Error, Result};
use crate::hashed::Hashed;
use crate::id::{ContentId, Digest, LayerId};
use crate::item::Item;
use crate::records::SIZE;
use crate::remove::remove_tree;
use crate::snapshot::{Layer, Record};
use crate::store::{Store, claim, random_bytes, to_json};
use crate::weight::{Seen, weigh};
use crate::{pack, tree};

pub(crate) const LAYERS: &str = "layers";
pub(crate) const STAGED: &str = ".new-";
pub(crate) const WORK: &str = "work";
pub(crate) const RECORD: &str = "record.json";
pub(crate) const DIFF_ID: &str = "diff-id";
pub(crate) const DIFF_IDS: &str = "diff-ids";

impl Store {
    /// Begins a new layer: an empty folder to be filled, by hand or as the upper of an overlay.
    pub fn stage(&self) -> Result<StagedLayer> {
        self.recover()?;
        let layers = self.folder(LAYERS)?;
        loop {
            let id = LayerId::from_bytes(random_bytes()?);
            let folder = layers.join(format!("{STAGED}{id}"));
            fs::create_dir(&folder).map_err(Error::file("make the folder", &folder))?;
            let alive = open_folder(&folder)?;
            if claim(&alive).map_err(Error::file("lock", &folder))? {
                return StagedLayer::fill(self.clone(), id, folder, alive);
            }
        }
    }

    /// The folder with the files of a layer, or `None` when it is not unpacked here.
    pub fn layer_path(&self, layer: &Layer) -> Option<PathBuf> {
        let id = match layer {
            Layer::Made(id) => {
                self.uses(&Item::Layer(*id));
                *id
            }
            Layer::Pulled { diff_id, .. } => self.unpacked(diff_id)?,
            Layer::Folder { .. } => return None,
        };
        let path = self.layer_folder(id).join("files");
        path.is_dir().then_some(path)
    }

    /// The digest of the uncompressed tar of a layer.
    ///
    /// It is computed once and remembered beside the layer; threads that ask for the same layer
    /// meanwhile wait for the first of them.
    pub fn diff_id(&self, layer: &Layer) -> Result<Digest> {
        match layer {
            Layer::Pulled { diff_id, .. } => Ok(*diff_id),
            Layer::Folder { name } => Err(Error::NotALayer(name.clone())),
            Layer::Made(id) => self.packing().take(*id, || self.made_diff_id(*id)),
        }
    }

    fn made_diff_id(&self, id: LayerId) -> Result<Digest> {
        let folder = self.layer_folder(id);
        let known = fs::read_to_string(folder.join(DIFF_ID)).ok();
        if let Some(digest) = known.and_then(|text| text.trim_end().parse().ok()) {
            return Ok(digest);
        }
        let (digest, size) = self.packed_digest(id)?;
        self.set_layer_note(&Layer::Made(id), SIZE, &size)?;
        self.replace(&folder.join(DIFF_ID), format!("{digest}\n").as_bytes(), false)?;
        self.link_diff_id(&digest, id)?;
        Ok(digest)
    }

    /// The digest of the tar of a layer's files as they are now, and its size in bytes.
    pub(crate) fn packed_digest(&self, id: LayerId) -> Result<(Digest, u64)> {
        let mut hashed = Hashed::new(io::sink());
        let size = self.pack(&Layer::Made(id), &mut hashed)?;
        Ok((hashed.digest(), size))
    }

    /// Writes the uncompressed tar of a layer, and returns its size in bytes.
    ///
    /// The same layer gives the same bytes every time. For a pulled layer these need not be the
    /// bytes that were pulled.
    pub fn pack(&self, layer: &Layer, out: impl Write) -> Result<u64> {
        self.pack_until(layer, None, out)
    }

    /// The same, with no time after `newest`, in seconds since 1970: later ones become it.
    pub fn pack_until(
        &self,
        layer: &Layer,
        newest: Option<i64>,
        mut out: impl Write,
    ) -> Result<u64> {
        let files = open_folder(&self.files_of(layer)?)?;
        pack::pack_until(files.as_fd(), newest, &mut out)
    }

    /// The files of a layer that must be here.
    pub(crate) fn files_of(&self, layer: &Layer) -> Result<PathBuf> {
        self.layer_path(layer).ok_or_else(|| match layer {
            Layer::Made(id) => Error::NoLayer(*id),
            Layer::Pulled { diff_id, .. } => Error::NotUnpacked(*diff_id),
            Layer::Folder { name } => Error::NotALayer(name.clone()),
        })
    }

    /// The folder of a layer, with what is known about it beside its files.
    pub(crate) fn layer_folder(&self, id: LayerId) -> PathBuf {
        self.root().join(LAYERS).join(id.to_string())
    }

    /// The layer that holds a diff id here.
    pub(crate) fn unpacked(&self, diff_id: &Digest) -> Option<LayerId> {
        let id = self.linked(diff_id)?;
        self.uses(&Item::Layer(id));
        self.layer_folder(id).is_dir().then_some(id)
    }

    /// The layer at which a diff id points, here or not.
    pub(crate) fn linked(&self, diff_id: &Digest) -> Option<LayerId> {
        let target = fs::read_link(self.root().join(DIFF_IDS).join(diff_id.hex())).ok()?;
        target.file_name()?.to_str()?.parse().ok()
    }

    /// Points a diff id at a committed layer, and returns the layer that holds it from now on:
    /// the first one stays.
    pub(crate) fn link_diff_id(&self, diff_id: &Digest, id: LayerId) -> Result<LayerId> {
        let link = self.folder(DIFF_IDS)?.join(diff_id.hex());
        let target = Path::new("..").join(LAYERS).join(id.to_string());
        loop {
            match symlink(&target, &link) {
                Ok(()) => return Ok(id),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::file("make the link", &link)(error)),
            }
            if let Some(first) = self.unpacked(diff_id) {
                return Ok(first);
            }
            // It points at a layer that was removed.
            match fs::remove_file(&link) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::file("remove", &link)(error));
                }
                _ => {}
            }
        }
    }
}

/// Opens a folder of the store for reading.
pub(crate) fn open_folder(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(Error::file("open", path))
}

/// A layer that is being filled; dropped before it is committed, it is removed.
#[derive(Debug)]
pub struct StagedLayer {
    store: Store,
    id: LayerId,
    folder: PathBuf,
    files: PathBuf,
    work: PathBuf,
    committed: bool,
    // Locked for as long as this process lives: what is not locked is swept.
    _alive: OwnedFd,
}

impl StagedLayer {
    fn fill(store: Store, id: LayerId, folder: PathBuf, alive: OwnedFd) -> Result<Self> {
        let (files, work) = (folder.join("files"), folder.join(WORK));
        let staged = Self { store, id, folder, files, work, committed: false, _alive: alive };
        for path in [&staged.files, &staged.work] {
            fs::create_dir(path).map_err(Error::file("make the folder", path))?;
        }
        // The mode of this folder is the mode of the root that a container sees.
        fs::set_permissions(&staged.files, fs::Permissions::from_mode(0o755))
            .map_err(Error::file("set the mode of", &staged.files))?;
        Ok(staged)
    }

    /// The name that the layer will have.
    pub fn id(&self) -> LayerId {
        self.id
    }

    /// The folder to be filled: the upper folder of an overlay.
    pub fn files(&self) -> &Path {
        &self.files
    }

    /// The work folder of an overlay.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// The bytes that the files take on the disk so far.
    pub fn bytes(&self) -> Result<u64> {
        weigh(&self.files, &mut Seen::new()).map_err(Error::file("measure", &self.files))
    }

    /// Digests the files as they are now, whiteouts included and times left out.
    pub fn content(&self) -> Result<ContentId> {
        tree::layer_content(open_folder(&self.files)?.as_fd())
    }

    /// Ends the layer and puts it in its place, with the record of the step that made it.
    ///
    /// An overlay over the layer must not be written to any more. Nothing is synced to the disk:
    /// see the head of this module. The work folder stays beside the files until the next sweep.
    pub fn commit(self, record: Option<&Record>) -> Result<Layer> {
        if let Some(record) = record {
            let path = self.folder.join(RECORD);
            let json = to_json("record of a step", record)?;
            fs::write(&path, json).map_err(Error::file("write", &path))?;
        }
        Ok(Layer::Made(self.place()?))
    }

    /// Ends the layer that holds a tar of this digest, and returns the first layer that does.
    pub(crate) fn commit_as(self, diff_id: &Digest) -> Result<LayerId> {
        let path = self.folder.join(DIFF_ID);
        fs::write(&path, format!("{diff_id}\n")).map_err(Error::file("write", &path))?;
        let (store, id) = (self.store.clone(), self.place()?);
        let first = store.link_diff_id(diff_id, id)?;
        if first != id {
            // Another process was faster; nobody has seen this one yet.
            let folder = store.layer_folder(id);
            remove_tree(&folder).map_err(Error::file("remove", &folder))?;
        }
        Ok(first)
    }

    fn place(mut self) -> Result<LayerId> {
        // The work folder stays until the next sweep: on some file systems every removed file makes
        // all that are created in the next minutes slow, and a step must not wait for it.
        let place = self.store.layer_folder(self.id);
        self.store.uses(&Item::Layer(self.id));
        fs::rename(&self.folder, &place).map_err(Error::file("rename into", &place))?;
        self.committed = true;
        self.store.has_new_layers().store(true, Ordering::Relaxed);
        Ok(self.id)
    }

    /// An empty file beside the files that says something about them.
    pub(crate) fn mark(&self, name: &str) -> Result<()> {
        self.note(name, &[])
    }

    /// A file beside the files that says something about them.
    pub(crate) fn note(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, bytes).map_err(Error::file("write", &path))
    }
}

impl Drop for StagedLayer {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        if let Err(error) = remove_tree(&self.folder) {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "an unfinished layer is left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(store: &Store, content: &str) -> Layer {
        let staged = store.stage().unwrap();
        fs::write(staged.files().join("file"), content).unwrap();
        staged.commit(None).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_layer_is_staged_and_committed() {
        let store = Store::temporary().unwrap();
        let staged = store.stage().unwrap();
        let layer = Layer::Made(staged.id());
        fs::create_dir_all(staged.work().join("work/incompat/volatile")).unwrap();
        fs::write(staged.files().join("file"), "content").unwrap();
        let content = staged.content().unwrap();
        assert_eq!(store.layer_path(&layer), None);
        assert!(matches!(store.diff_id(&layer), Err(Error::NoLayer(_))));

        let record = crate::results::tests::record(1, layer.clone());
        assert_eq!(staged.commit(Some(&record)).unwrap(), layer);
        let files = store.layer_path(&layer).unwrap();
        assert_eq!(fs::read_to_string(files.join("file")).unwrap(), "content");
        assert_eq!(fs::metadata(&files).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(names(files.parent().unwrap()), ["files", RECORD, "work"]);
        assert_eq!(store.sweep().unwrap(), 1);
        assert_eq!(names(files.parent().unwrap()), ["files", RECORD]);
        assert_eq!(store.record(&layer).unwrap(), Some(record));

        let same = store.stage().unwrap();
        fs::write(same.files().join("file"), "content").unwrap();
        assert_eq!(same.content().unwrap(), content);
    }

    #[test]
    fn a_layer_that_is_not_committed_is_removed() {
        let store = Store::temporary().unwrap();
        let staged = store.stage().unwrap();
        fs::create_dir_all(staged.files().join("deep/er")).unwrap();
        assert_eq!(names(&store.root().join(LAYERS)).len(), 1);
        drop(staged);
        assert_eq!(names(&store.root().join(LAYERS)).len(), 0);
    }

    #[test]
    fn a_diff_id_is_computed_once() {
        let store = Store::temporary().unwrap();
        let layer = made(&store, "content");
        let ids: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| store.diff_id(&layer).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut tar = Vec::new();
        assert_eq!(store.pack(&layer, &mut tar).unwrap(), tar.len() as u64);
        let expected = crate::blobs::digest_of(&tar);
        assert!(ids.iter().all(|id| *id == expected));
        let Layer::Made(id) = layer else { panic!("{layer:?}") };
        assert_eq!(store.unpacked(&expected), Some(id));

        // What is remembered is not computed again, and the first layer of a diff id stays.
        fs::remove_file(store.layer_path(&layer).unwrap().join("file")).unwrap();
        assert_eq!(store.diff_id(&layer).unwrap(), expected);
        assert_eq!(store.link_diff_id(&expected, LayerId::from_bytes([1; 16])).unwrap(), id);
        assert_ne!(made(&store, "other"), layer);
        assert_ne!(store.diff_id(&made(&store, "other")).unwrap(), expected);
    }

    #[test]
    fn a_folder_outside_is_no_layer() {
        let store = Store::temporary().unwrap();
        let folder = Layer::Folder { name: "context".into() };
        assert_eq!(store.layer_path(&folder), None);
        assert!(matches!(store.diff_id(&folder), Err(Error::NotALayer(_))));
        assert!(matches!(store.pack(&folder, io::sink()), Err(Error::NotALayer(_))));
    }
}
