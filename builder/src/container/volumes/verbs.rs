//! The volumes of the store, and who uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use rbuild_cache::Store;
use serde::{Deserialize, Serialize};

use super::super::error::{Error, Result};
use super::super::list::size_of;
use super::super::names::{self, new_id};
use super::super::options::Source;
use super::super::parse::is_name;
use super::{VOLUMES, path, remove, volume};

const RECORD: &str = "volume.json";

/// A volume of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name; 64 hexadecimal digits where nobody gave it one.
    pub name: String,
    /// The folder with its files.
    pub path: PathBuf,
    /// When it was made, where that is known.
    pub created: Option<Timestamp>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The ids of the containers that use it.
    pub users: Vec<String>,
}

impl Volume {
    /// Whether nobody gave it its name.
    pub fn is_anonymous(&self) -> bool {
        self.name.len() == 64 && self.name.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// What is noted of a volume that was made by hand.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    labels: BTreeMap<String, String>,
}

/// Makes a volume, unless it is there already; one without a name gets one. Gives the name.
///
/// # Errors
/// A name that is none, or a store that cannot be written to.
pub fn create_volume(
    store: &Store,
    name: Option<&str>,
    labels: BTreeMap<String, String>,
) -> Result<String> {
    let name = name.map_or_else(new_id, |name| Ok(name.to_owned()))?;
    if !is_name(&name) {
        return Err(Error::Invalid {
            option: "volume name",
            value: name,
            reason: "only [a-zA-Z0-9][a-zA-Z0-9_.-]+ are allowed".to_owned(),
        });
    }
    let data = volume(store, &name)?;
    let record = data.with_file_name(RECORD);
    if !record.exists() {
        let new = data.with_file_name(format!("{RECORD}.new"));
        let bytes = serde_json::to_vec(&Record { labels }).map_err(io::Error::from);
        let written = bytes.and_then(|bytes| fs::write(&new, bytes));
        written.and_then(|()| fs::rename(&new, &record)).map_err(Error::file("write", &record))?;
    }
    Ok(name)
}

/// All volumes, by name.
///
/// # Errors
/// A store that cannot be read.
pub fn volumes(store: &Store) -> Result<Vec<Volume>> {
    let folder = store.root().join(VOLUMES);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("read", &folder)(error)),
    };
    let mut users = users(store)?;
    let mut volumes = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::file("read", &folder))?.file_name();
        let Ok(name) = name.into_string() else { continue };
        let path = path(store, &name);
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let record = fs::read(path.with_file_name(RECORD)).ok();
        let record: Record =
            record.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let made = fs::metadata(path.with_file_name(RECORD)).unwrap_or(metadata);
        let created = made.created().or_else(|_| made.modified()).ok();
        volumes.push(Volume {
            users: users.remove(&name).unwrap_or_default(),
            created: created.and_then(|time| Timestamp::try_from(time).ok()),
            labels: record.labels,
            name,
            path,
        });
    }
    volumes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(volumes)
}

/// Removes a volume that no container uses.
///
/// # Errors
/// [`Error::NoVolume`], or [`Error::VolumeInUse`].
pub fn remove_volume(store: &Store, name: &str) -> Result<()> {
    let volume = volumes(store)?.into_iter().find(|volume| volume.name == name);
    let volume = volume.ok_or_else(|| Error::NoVolume(name.to_owned()))?;
    match volume.users.first() {
        Some(by) => Err(Error::VolumeInUse { name: volume.name, by: by[..12].to_owned() }),
        None => remove(store, name),
    }
}

/// How many bytes the files of a volume have.
///
/// # Errors
/// Files that cannot be read.
pub fn volume_size(volume: &Volume) -> Result<u64> {
    size_of(&volume.path).map_err(Error::file("measure", &volume.path))
}

/// The ids of the containers that use each volume.
fn users(store: &Store) -> Result<BTreeMap<String, Vec<String>>> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for folder in names::all(store)? {
        let Some(record) = folder.record()? else { continue };
        for mount in record.options.mounts {
            if let Source::Volume { name: Some(name), .. } = mount.source {
                users.entry(name).or_default().insert(folder.id.clone());
            }
        }
    }
    Ok(users.into_iter().map(|(name, ids)| (name, ids.into_iter().collect())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_made_listed_and_removed() {
        let store = Store::temporary().unwrap();
        assert_eq!(volumes(&store).unwrap(), []);
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        assert_eq!(create_volume(&store, Some("data"), labels.clone()).unwrap(), "data");
        // Made again, it stays what it is.
        create_volume(&store, Some("data"), BTreeMap::new()).unwrap();
        let unnamed = create_volume(&store, None, BTreeMap::new()).unwrap();
        let all = volumes(&store).unwrap();
        let data = all.iter().find(|volume| volume.name == "data").unwrap();
        assert_eq!((&data.labels, data.is_anonymous()), (&labels, false));
        assert!(all.iter().any(|volume| volume.name == unnamed && volume.is_anonymous()));
        for name in ["../x", "", "a/b", "."] {
            assert!(create_volume(&store, Some(name), BTreeMap::new()).is_err(), "{name}");
        }
        remove_volume(&store, "data").unwrap();
        assert!(matches!(remove_volume(&store, "data"), Err(Error::NoVolume(_))));
        assert!(matches!(remove_volume(&store, "../images"), Err(Error::NoVolume(_))));
        assert_eq!(volumes(&store).unwrap().len(), 1);
    }
}
