//! The folder of a volume: making it and taking it away, so that neither is ever half done.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rbuild_cache::{Lock, Store};
use serde::{Deserialize, Serialize};

use super::super::error::{Error, Result};
use super::super::mounts::NamedVolume;
use super::super::names::new_id;
use super::VOLUMES;
use super::local;
use crate::journal::{self, Entry, Kind};

const DATA: &str = "_data";
const RECORD: &str = "volume.json";
/// How the names of those begin that are being removed; no volume can be called so.
const GONE: &str = ".gone-";

/// What was said of a volume when it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) options: BTreeMap<String, String>,
}

/// A volume that is there.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) record: Record,
}

impl Place {
    /// The folder with its files.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.join(DATA)
    }

    /// Keeps others from filling, mounting and unmounting it meanwhile.
    pub(super) fn turn(&self, store: &Store) -> Result<Lock> {
        Ok(store.lock_wait(&format!("volume {}", self.name), |_| ())?)
    }
}

/// Where the files of a volume are.
pub(crate) fn path(store: &Store, name: &str) -> PathBuf {
    store.root().join(VOLUMES).join(name).join(DATA)
}

/// The folder of the volume with a name, if it is there.
pub(super) fn folder(store: &Store, name: &str) -> Option<PathBuf> {
    let folder = store.root().join(VOLUMES).join(name);
    let is_volume = !name.starts_with('.') && !name.contains('/') && folder.join(DATA).is_dir();
    is_volume.then_some(folder)
}

/// The volume with a name, if it is there. One without a record is a plain one; one whose record
/// cannot be read may have been any, and is none that may be used.
pub(super) fn find(store: &Store, name: &str) -> Result<Option<Place>> {
    let Some(folder) = folder(store, name) else {
        return Ok(None);
    };
    let record = match fs::read(folder.join(RECORD)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
        Err(error) => Err(error),
    };
    let name = name.to_owned();
    match record {
        Ok(record) => Ok(Some(Place { name, folder, record })),
        Err(source) => Err(Error::BrokenVolume { name, source }),
    }
}

/// The volume of a mount, made if it is missing; one that is there stays what it is.
pub(super) fn make(store: &Store, volume: &NamedVolume) -> Result<Place> {
    let name = volume.name.as_deref().unwrap_or_default();
    if let Some(place) = find(store, name)? {
        return Ok(place);
    }
    local::check(&volume.options)?;
    let record = Record { labels: volume.labels.clone(), options: volume.options.clone() };
    let folder = store.root().join(VOLUMES).join(name);
    let place = Place { name: name.to_owned(), folder, record };
    let _turn = place.turn(store)?;
    if let Some(place) = find(store, name)? {
        return Ok(place);
    }
    build(&place).map_err(Error::file("make the volume", &place.folder))?;
    note(store, "create", name);
    Ok(place)
}

/// A volume is one when it has its files' folder: this comes last, and the disk has the rest by
/// then.
fn build(place: &Place) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(&place.folder)?;
    let record = place.folder.join(RECORD);
    fs::write(&record, serde_json::to_vec(&place.record)?)?;
    File::open(&record)?.sync_all()?;
    match DirBuilder::new().mode(0o755).create(place.data()) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(&place.folder)?.sync_all()?;
    place.folder.parent().map_or(Ok(()), |volumes| File::open(volumes)?.sync_all())
}

/// When a volume was made, where that is known.
pub(super) fn made(place: &Place) -> Option<jiff::Timestamp> {
    let metadata = fs::metadata(place.folder.join(RECORD)).or_else(|_| fs::metadata(place.data()));
    let metadata = metadata.ok()?;
    let time = metadata.created().or_else(|_| metadata.modified()).ok()?;
    jiff::Timestamp::try_from(time).ok()
}

/// Removes a volume with everything in it. It is no volume any more at once, however long that
/// takes and whatever ends it.
pub(super) fn remove(store: &Store, name: &str) -> Result<()> {
    sweep(store);
    let Some(folder) = folder(store, name) else {
        return Ok(());
    };
    // Whatever its record says: one that cannot be read must not keep it.
    let place = Place { name: name.to_owned(), folder, record: Record::default() };
    let _turn = place.turn(store)?;
    // What another file system holds is not the volume's own.
    local::unmount_all(&place)?;
    let gone = place.folder.with_file_name(format!("{GONE}{}", new_id()?));
    match fs::rename(&place.folder, &gone) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file("remove", &place.folder)(error)),
        Ok(()) => {
            note(store, "destroy", name);
            fs::remove_dir_all(&gone).map_err(Error::file("remove", gone))
        }
    }
}

fn note(store: &Store, action: &str, name: &str) {
    journal::note(store, &[Entry::new(Kind::Volume, action, name).with("driver", "local")]);
}

/// Ends removals that were cut short.
pub(super) fn sweep(store: &Store) {
    let folder = store.root().join(VOLUMES);
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(GONE.as_bytes()) {
            // Another process may be doing the same.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// All volumes.
pub(super) fn all(store: &Store) -> Result<Vec<Place>> {
    let folder: &Path = &store.root().join(VOLUMES);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("read", folder)(error)),
    };
    let mut places = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::file("read", folder))?.file_name();
        if let Some(name) = name.to_str() {
            places.extend(find(store, name)?);
        }
    }
    Ok(places)
}
