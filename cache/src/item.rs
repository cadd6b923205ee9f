//! What takes space in the store and can be made or fetched again.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::id::{Digest, LayerId};
use crate::layers::{DIFF_ID, RECORD};
use crate::partial::PARTIAL;
use crate::store::Store;

/// The folders of the store with the items that others than this crate fill.
pub(crate) const CACHE_MOUNTS: &str = "cache-mounts";
pub(crate) const REPOSITORIES: &str = "repositories";
pub(crate) const STAT_CACHES: &str = "stat-caches";
/// The folder with a note for each cache mount; its time is that of the mount's last use.
pub(crate) const MOUNT_NOTES: &str = "cache-mount-notes";

/// One thing in the store that takes space and can be made or fetched again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// An unpacked layer, made here or pulled.
    Layer(LayerId),
    /// A layer as it is in registries, a manifest or a config.
    Blob(Digest),
    /// What has come of a layer as it is in registries.
    Partial(Digest),
    /// A folder that steps share, by its name in the store.
    CacheMount(String),
    /// A bare repository, by its name in the store.
    Repository(String),
    /// The digests of a folder's files, by its name in the store.
    StatCache(String),
}

/// The beginnings of the names of those items that have no id of their own.
const PARTIAL_BLOB: &str = "partial:";
const MOUNT: &str = "mount:";
const REPOSITORY: &str = "git:";
const STAT_CACHE: &str = "files:";

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(id) => write!(f, "{id}"),
            Self::Blob(digest) => write!(f, "{digest}"),
            Self::Partial(digest) => write!(f, "{PARTIAL_BLOB}{digest}"),
            Self::CacheMount(name) => write!(f, "{MOUNT}{name}"),
            Self::Repository(name) => write!(f, "{REPOSITORY}{name}"),
            Self::StatCache(name) => write!(f, "{STAT_CACHE}{name}"),
        }
    }
}

impl FromStr for Item {
    type Err = crate::id::InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |prefix: &str| text.strip_prefix(prefix).map(str::to_owned);
        if let Some(digest) = text.strip_prefix(PARTIAL_BLOB) {
            return digest.parse().map(Self::Partial);
        }
        if let Some(name) = named(MOUNT) {
            return Ok(Self::CacheMount(name));
        }
        if let Some(name) = named(REPOSITORY) {
            return Ok(Self::Repository(name));
        }
        if let Some(name) = named(STAT_CACHE) {
            return Ok(Self::StatCache(name));
        }
        match text.parse() {
            Ok(digest) => Ok(Self::Blob(digest)),
            Err(_) => text.parse().map(Self::Layer),
        }
    }
}

impl Store {
    /// Where an item lies.
    pub(crate) fn item_path(&self, item: &Item) -> PathBuf {
        let below = |folder: &str, name: &str| self.root().join(folder).join(name);
        match item {
            Item::Layer(id) => self.layer_folder(*id),
            Item::Blob(digest) => self.blob_path(digest),
            Item::Partial(digest) => below(PARTIAL, digest.hex().as_str()),
            Item::CacheMount(name) => below(CACHE_MOUNTS, name),
            Item::Repository(name) => below(REPOSITORIES, name),
            Item::StatCache(name) => below(STAT_CACHES, name),
        }
    }

    /// The file whose time says when an item was used last.
    pub(crate) fn last_use_path(&self, item: &Item) -> PathBuf {
        let path = self.item_path(item);
        match item {
            Item::Layer(_) => {
                let record = path.join(RECORD);
                if record.exists() { record } else { path.join(DIFF_ID) }
            }
            Item::CacheMount(name) => self.mount_note(name),
            Item::Repository(_) => path.join("HEAD"),
            Item::Blob(_) | Item::Partial(_) | Item::StatCache(_) => path,
        }
    }

    /// The note of a cache mount.
    pub(crate) fn mount_note(&self, name: &str) -> PathBuf {
        self.root().join(MOUNT_NOTES).join(format!("{name}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_as_they_are_written() {
        let items = [
            Item::Layer(LayerId::from_bytes([7; 16])),
            Item::Blob(Digest::from_bytes([8; 32])),
            Item::Partial(Digest::from_bytes([9; 32])),
            Item::CacheMount("a.1".to_owned()),
            Item::Repository("b".to_owned()),
            Item::StatCache("c".to_owned()),
        ];
        for item in items {
            assert_eq!(item.to_string().parse(), Ok(item));
        }
        for wrong in ["", "7", "sha256:7", "partial:7", "mount"] {
            assert!(wrong.parse::<Item>().is_err(), "{wrong}");
        }
    }
}
