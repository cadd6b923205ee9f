//! The volumes of the store, and who uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use rbuild_cache::Store;

use super::super::error::{Error, Result};
use super::super::list::size_of;
use super::super::mounts::{NamedVolume, Source};
use super::super::names::{self, new_id};
use super::super::parse::is_name;
use super::{local, place, turn};

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
    /// Its options, as `volume create --opt` has them.
    pub options: BTreeMap<String, String>,
    /// The ids of the containers that use it.
    pub users: Vec<String>,
}

impl Volume {
    /// Whether nobody gave it its name.
    pub fn is_anonymous(&self) -> bool {
        self.name.len() == 64 && self.name.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// A volume that is to be made.
#[derive(Debug, Clone, Default)]
pub struct NewVolume {
    /// Its name; one is made up where none is given.
    pub name: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `type`, `device` and `o` of docker's `local` driver.
    pub options: BTreeMap<String, String>,
}

/// Makes a volume, unless it is there already. Gives the name.
///
/// # Errors
/// A name or options that are none, or a store that cannot be written to.
pub fn create_volume(store: &Store, new: NewVolume) -> Result<String> {
    let name = new.name.map_or_else(new_id, Ok)?;
    if !is_name(&name) {
        return Err(Error::Invalid {
            option: "volume name",
            value: name,
            reason: "only [a-zA-Z0-9][a-zA-Z0-9_.-]+ are allowed".to_owned(),
        });
    }
    local::check(&new.options)?;
    let volume = NamedVolume {
        name: Some(name.clone()),
        labels: new.labels,
        options: new.options,
        ..NamedVolume::default()
    };
    place::make(store, &volume)?;
    Ok(name)
}

/// All volumes, by name. What was left behind by processes that were killed is put right on the
/// way.
///
/// # Errors
/// A store that cannot be read.
pub fn volumes(store: &Store) -> Result<Vec<Volume>> {
    place::sweep(store);
    local::sweep(store)?;
    let mut users = users(store)?;
    let mut volumes = Vec::new();
    for place in place::all(store)? {
        volumes.push(Volume {
            users: users.remove(&place.name).unwrap_or_default(),
            created: place::made(&place),
            path: place.data(),
            labels: place.record.labels,
            options: place.record.options,
            name: place.name,
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
    let _turn = turn(store)?;
    place::folder(store, name).ok_or_else(|| Error::NoVolume(name.to_owned()))?;
    match user(store, name)? {
        Some(by) => Err(Error::VolumeInUse { name: name.to_owned(), by: by[..12].to_owned() }),
        None => place::remove(store, name),
    }
}

/// How many bytes the files of a volume have.
///
/// # Errors
/// Files that cannot be read.
pub fn volume_size(volume: &Volume) -> Result<u64> {
    size_of(&volume.path).map_err(Error::file("measure", &volume.path))
}

/// The id of a container that uses a volume.
pub(super) fn user(store: &Store, name: &str) -> Result<Option<String>> {
    Ok(users(store)?.remove(name).and_then(|ids| ids.into_iter().next()))
}

/// The ids of the containers that use each volume.
fn users(store: &Store) -> Result<BTreeMap<String, Vec<String>>> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for folder in names::all(store)? {
        let Some(record) = folder.record()? else { continue };
        for mount in record.options.mounts {
            if let Source::Volume(NamedVolume { name: Some(name), .. }) = mount.source {
                users.entry(name).or_default().insert(folder.id.clone());
            }
        }
    }
    Ok(users.into_iter().map(|(name, ids)| (name, ids.into_iter().collect())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> NewVolume {
        NewVolume { name: Some(name.to_owned()), ..NewVolume::default() }
    }

    #[test]
    fn volumes_are_made_listed_and_removed() {
        let store = Store::temporary().unwrap();
        assert_eq!(volumes(&store).unwrap(), []);
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let new = NewVolume { labels: labels.clone(), ..named("data") };
        assert_eq!(create_volume(&store, new).unwrap(), "data");
        // Made again, it stays what it is.
        create_volume(&store, named("data")).unwrap();
        let unnamed = create_volume(&store, NewVolume::default()).unwrap();
        let all = volumes(&store).unwrap();
        let data = all.iter().find(|volume| volume.name == "data").unwrap();
        assert_eq!((&data.labels, data.is_anonymous()), (&labels, false));
        assert!(all.iter().any(|volume| volume.name == unnamed && volume.is_anonymous()));
        for name in ["../x", "", "a/b", "."] {
            assert!(create_volume(&store, named(name)).is_err(), "{name}");
        }
        remove_volume(&store, "data").unwrap();
        assert!(matches!(remove_volume(&store, "data"), Err(Error::NoVolume(_))));
        assert!(matches!(remove_volume(&store, "../images"), Err(Error::NoVolume(_))));
        assert_eq!(volumes(&store).unwrap().len(), 1);
    }

    #[test]
    fn a_record_that_is_torn_makes_no_plain_volume() {
        let store = Store::temporary().unwrap();
        let is_broken = |error| matches!(error, Error::BrokenVolume { name, .. } if name == "data");
        create_volume(&store, named("data")).unwrap();
        let record = store.root().join(super::super::VOLUMES).join("data/volume.json");
        std::fs::write(&record, "{\"options\": {\"ty").unwrap();
        assert!(is_broken(create_volume(&store, named("data")).unwrap_err()));
        let error = volumes(&store).unwrap_err();
        assert!(error.hint().unwrap().contains("volume rm data"));
        assert!(is_broken(error));
        remove_volume(&store, "data").unwrap();
        // One of a time without records is a plain one.
        create_volume(&store, named("data")).unwrap();
        std::fs::remove_file(&record).unwrap();
        assert!(volumes(&store).unwrap()[0].options.is_empty());
    }

    #[test]
    fn a_removal_that_was_cut_short_is_ended() {
        let store = Store::temporary().unwrap();
        create_volume(&store, named("data")).unwrap();
        let folder = store.root().join(super::super::VOLUMES);
        let gone = folder.join(".gone-1");
        std::fs::rename(folder.join("data"), &gone).unwrap();
        assert_eq!(volumes(&store).unwrap(), []);
        assert!(!gone.exists());
    }
}
