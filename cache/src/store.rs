//! The store: one folder that holds everything, and the door to all of it.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::Hash;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::id::{Digest, LayerId};
use crate::imported::Imported;
use crate::index::Index;
use crate::remove::remove_tree;
use crate::results::rows_of_records;
use crate::visit::Presence;

pub(crate) const TEMPORARY: &str = "tmp";

/// The folder in which everything is kept; cheap to clone and safe to share between threads.
///
/// Several processes may use one store at the same time. Folders are made when they are first
/// needed, so that opening costs next to nothing.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// What other stores know.
    imported: Arc<[Arc<Imported>]>,
}

#[derive(Debug)]
struct Inner {
    // The index is closed before a temporary folder is removed: fields drop in this order.
    index: Index,
    packing: Turns<LayerId>,
    unpacking: Turns<Digest>,
    presence: Presence,
    /// Nothing is in doubt any more since the last start of the machine.
    is_recovered: OnceLock<()>,
    /// This process has made layers for which nobody waits for the disk yet.
    has_new_layers: AtomicBool,
    root: Root,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    temporary: bool,
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = remove_tree(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a temporary store is left behind");
        }
    }
}

impl Store {
    /// Opens the store in the folder `root`, which need not exist yet.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let path = std::path::absolute(root).map_err(Error::file("find the full path of", root))?;
        Ok(Self::at(Root { path, temporary: false }))
    }

    /// Opens a store in a new folder that is removed when the last clone of the store is dropped.
    pub fn temporary() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("rbuild-{}", random_name()?));
        make_folder(&path)?;
        Ok(Self::at(Root { path, temporary: true }))
    }

    fn at(root: Root) -> Self {
        let index = Index::new(&root.path, rows_of_records);
        let inner = Arc::new(Inner {
            index,
            packing: Turns::default(),
            unpacking: Turns::default(),
            presence: Presence::default(),
            is_recovered: OnceLock::new(),
            has_new_layers: AtomicBool::new(false),
            root,
        });
        Self { inner, imported: Arc::default() }
    }

    /// The same store, which also looks into what other stores know, in this order, for what it
    /// does not know itself.
    #[must_use]
    pub fn importing(self, imported: Vec<Arc<Imported>>) -> Self {
        Self { imported: imported.into(), ..self }
    }

    /// What other stores know.
    pub(crate) fn imported(&self) -> &[Arc<Imported>] {
        &self.imported
    }

    /// The folder of the store, as an absolute path.
    pub fn root(&self) -> &Path {
        &self.inner.root.path
    }

    /// The index of results.
    pub(crate) fn index(&self) -> &Index {
        &self.inner.index
    }

    /// The layers that are being digested in this process.
    pub(crate) fn packing(&self) -> &Turns<LayerId> {
        &self.inner.packing
    }

    /// The layers that are being unpacked in this process.
    pub(crate) fn unpacking(&self) -> &Turns<Digest> {
        &self.inner.unpacking
    }

    /// What this process uses.
    pub(crate) fn presence(&self) -> &Presence {
        &self.inner.presence
    }

    /// Whether this process has seen to what a start of the machine leaves in doubt.
    pub(crate) fn is_recovered(&self) -> &OnceLock<()> {
        &self.inner.is_recovered
    }

    /// Whether this process has made layers for which nobody waits for the disk yet.
    pub(crate) fn has_new_layers(&self) -> &AtomicBool {
        &self.inner.has_new_layers
    }

    /// A folder of the store, made if it is missing.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.root().join(name);
        make_folder(&path)?;
        Ok(path)
    }

    /// A new empty file in `tmp/`, marked as alive for as long as it is open.
    pub(crate) fn temporary_file(&self) -> Result<(PathBuf, File)> {
        loop {
            let path = self.folder(TEMPORARY)?.join(random_name()?);
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
            let file = file.map_err(Error::file("create", &path))?;
            if claim(&file).map_err(Error::file("lock", &path))? {
                return Ok((path, file));
            }
        }
    }

    /// Replaces the file `path` of the store with `bytes`, whole or not at all.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8], durable: bool) -> Result<()> {
        let (temporary, mut file) = self.temporary_file()?;
        let written =
            file.write_all(bytes).and_then(|()| if durable { file.sync_all() } else { Ok(()) });
        let written = written
            .map_err(Error::file("write", &temporary))
            .and_then(|()| fs::rename(&temporary, path).map_err(Error::file("rename into", path)));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

/// Lets the threads of this process that want the same thing wait for the first of them.
#[derive(Debug)]
pub(crate) struct Turns<K>(Mutex<HashMap<K, Arc<Mutex<()>>>>);

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq + Copy> Turns<K> {
    /// Runs `work` while no other thread runs work of the same key.
    pub(crate) fn take<T>(&self, key: K, work: impl FnOnce() -> T) -> T {
        let lock = |turns: &Self| {
            let mut turns = turns.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(key).or_default())
        };
        let turn = lock(self);
        let held = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work();
        drop(held);
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Two owners are the map and this thread: nobody else waits for it.
        if Arc::strong_count(&turn) <= 2 {
            turns.remove(&key);
        }
        result
    }
}

/// Marks a new file or folder as one whose owner is alive, for as long as it is open.
///
/// It is `false` when a sweep came first and removed it.
pub(crate) fn claim(fd: impl AsFd) -> io::Result<bool> {
    flock(&fd, FlockOperation::LockExclusive)?;
    Ok(rustix::fs::fstat(&fd)?.st_nlink > 0)
}

/// Makes a folder that only its owner may enter, and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(Error::file("make the folder", path))
}

/// Waits until the disk knows what is in a folder.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::file("sync", path))
}

/// Sixteen random bytes.
pub(crate) fn random_bytes() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(bytes)
}

/// A name that nothing else has.
pub(crate) fn random_name() -> Result<String> {
    Ok(LayerId::from_bytes(random_bytes()?).to_string())
}

/// Reads a small json file of the store; one that is missing, too large or damaged is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    const LIMIT: u64 = 16 << 20;
    let read = File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, LIMIT), &mut bytes)?;
        Ok(bytes)
    });
    match read {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// The json of a small value.
pub(crate) fn to_json<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| Error::Encode { what, source })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::fd::{AsRawFd, OwnedFd};

    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
        fsopen,
    };

    use super::*;

    /// A file system of one mebibyte that nobody else sees, and that goes when it is closed.
    pub(crate) fn small_disk() -> OwnedFd {
        let disk = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).expect("this test needs root");
        fsconfig_set_string(&disk, "size", "1m").unwrap();
        fsconfig_create(&disk).unwrap();
        fsmount(&disk, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap()
    }

    pub(crate) fn path_of(folder: &OwnedFd) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
    }

    #[test]
    fn opening_makes_and_reads_nothing() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("a/b");
        let store = Store::open(&root).unwrap();
        assert!(store.images().unwrap().is_empty());
        assert_eq!(store.find(&[crate::Key::from_bytes([1; 32])]).unwrap(), [None]);
        assert_eq!(store.sweep().unwrap(), 0);
        assert!(!place.path().join("a").exists());
        store.write_blob(b"x").unwrap();
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&root).unwrap());
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_temporary_store_goes_with_its_last_clone() {
        let store = Store::temporary().unwrap();
        let (root, clone) = (store.root().to_owned(), store.clone());
        store.write_blob(b"x").unwrap();
        drop(store);
        assert!(root.exists());
        drop(clone);
        assert!(!root.exists());
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let store = Store::temporary().unwrap();
        let path = store.root().join("file");
        store.replace(&path, b"one", false).unwrap();
        store.replace(&path, b"two", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert!(store.replace(&store.root().join("no/file"), b"x", false).is_err());
        assert_eq!(fs::read_dir(store.root().join(TEMPORARY)).unwrap().count(), 0);
    }

    #[test]
    fn turns_of_one_key_come_one_after_the_other() {
        let (turns, busy) = (Turns::default(), Mutex::new(()));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let work = || drop(busy.try_lock().expect("nobody else is at work"));
                    (0..1000).for_each(|_| turns.take(7, work));
                });
            }
        });
        assert!(turns.0.lock().unwrap().is_empty());
    }
}
