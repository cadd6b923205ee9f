//! Sources that are elsewhere: files at URLs, and git repositories.
//!
//! Each version becomes a layer of the store, made once and found again by what names the version:
//! the digest of a file, the commit of a repository. Asking the server which version there is
//! costs one request.

mod context;
mod file;
mod git;
mod git_url;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rbuild_cache::hash::Hasher;
use rbuild_cache::{Key, Layer, Record, Snapshot, StagedLayer, Store};
use rbuild_solver::{CachedBy, Events, StepId, What, content_of, scratch};
use serde::{Deserialize, Serialize};

pub(crate) use git::address as git_address;
pub(crate) use git_url::{GitUrl, decoded_path};

use crate::build::steps::begin;
use crate::error::{Error, Result, with_causes};
use crate::registries::Registries;
use crate::secret::Secrets;
use crate::ssh::Agents;

/// The name of the note beside a layer that was fetched.
const NOTE: &str = "remote.json";

/// What fetching needs of a build.
#[derive(Debug, Clone)]
pub(crate) struct Remotes {
    pub(crate) store: Store,
    pub(crate) registries: Registries,
    pub(crate) secrets: Secrets,
    pub(crate) agents: Agents,
    pub(crate) events: Events,
    pub(crate) versions: Versions,
}

/// Which versions of sources a build was given, by their addresses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Versions(Arc<Mutex<BTreeMap<String, Version>>>);

/// A version of a source, by what names it for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// `sha256` for a file, `sha1` for a commit.
    pub(crate) algorithm: &'static str,
    /// Hexadecimal digits.
    pub(crate) digest: String,
}

impl Versions {
    fn note(&self, address: String, algorithm: &'static str, digest: String) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(address, Version { algorithm, digest });
    }

    /// The version that the build was given of an address.
    pub(crate) fn get(&self, address: &str) -> Option<Version> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned()
    }
}

/// A source that was fetched.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) snapshot: Snapshot,
    /// When it was changed last, in seconds since 1970, where the server says so.
    pub(crate) time: Option<i64>,
}

/// What is remembered of a version beside its layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// The digest of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<rbuild_cache::Digest>,
    /// What the server of a file calls the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    /// The time of the last change as the server of a file writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
    /// The time of the last change, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<i64>,
}

/// A layer to be kept, and what it is found by.
struct Kept {
    definition: Key,
    content: Key,
    note: Note,
    description: String,
}

impl Remotes {
    /// The version that a key names, if its layer is here.
    fn find(&self, key: Key) -> Result<Option<(Fetched, Note)>> {
        let failed = || Error::store("look up what was fetched before");
        let found = self.store.find(&[key]).map_err(failed())?.pop().flatten();
        let Some(snapshot) = found.and_then(|outputs| outputs.first().cloned()) else {
            return Ok(None);
        };
        let Some(layer) = snapshot.layers.first() else { return Ok(None) };
        let note: Option<Note> = self.store.layer_note(layer, NOTE).map_err(failed())?;
        Ok(note.map(|note| (Fetched { snapshot, time: note.time }, note)))
    }

    /// Keeps what was fetched into a layer.
    fn keep(&self, staged: StagedLayer, version: &Kept, began: Instant) -> Result<Fetched> {
        let failed = || Error::store(format!("keep `{}`", version.description));
        let mut hasher = Hasher::new("fetched");
        hasher.id(version.content.as_bytes());
        let content = content_of(scratch().content, hasher.content());
        let snapshot = Snapshot { content, layers: [Layer::Made(staged.id())].into() };
        let record = Record {
            definition: version.definition,
            content: version.content,
            outputs: [snapshot.clone()].into(),
            description: version.description.clone(),
            parts: Vec::new(),
            cost_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            created: jiff::Timestamp::now().as_second(),
        };
        let layer = staged.commit(Some(&record)).map_err(failed())?;
        self.store.set_layer_note(&layer, NOTE, &version.note).map_err(failed())?;
        self.store.remember(&record).map_err(failed())?;
        Ok(Fetched { snapshot, time: version.note.time })
    }

    /// Shows the fetching of a source as a step of its own.
    async fn shown<T>(
        &self,
        name: String,
        work: impl AsyncFnOnce(StepId) -> Result<(T, How)>,
    ) -> Result<T> {
        let step = begin(&self.events, format!("[internal] load {name}"));
        match work(step).await {
            Ok((value, How::Fetched)) => {
                self.events.emit(step, What::Finished);
                Ok(value)
            }
            Ok((value, How::Known)) => {
                self.events.emit(step, What::Cached { by: CachedBy::Definition });
                Ok(value)
            }
            Err(error) => {
                self.events.emit(step, What::Failed { error: with_causes(&error) });
                Err(error)
            }
        }
    }

    /// The first of these secrets that was given, as text.
    fn secret(&self, names: &[String]) -> Result<Option<(usize, String)>> {
        for (index, name) in names.iter().enumerate() {
            let value = self.secrets.read(name).map_err(|source| {
                Error::Usage(format!("cannot read the secret `{name}`: {source}"))
            })?;
            if let Some(value) = value {
                return Ok(Some((index, String::from_utf8_lossy(&value).trim().to_owned())));
            }
        }
        Ok(None)
    }
}

/// Whether a source had to be fetched.
enum How {
    Fetched,
    Known,
}

/// The host and port of a URL, or the host of `user@host:path`.
fn host(address: &str) -> &str {
    let (rest, ends): (_, &[char]) = match address.split_once("://") {
        Some((_, rest)) => (rest, &['/', '?', '#']),
        None => (address, &[':']),
    };
    let end = rest.find(ends).unwrap_or(rest.len());
    rest[..end].rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_addresses() {
        assert_eq!(host("https://me:x@h:80/a@b"), "h:80");
        assert_eq!(host("https://h?x"), "h");
        assert_eq!(host("git@h:a/b"), "h");
    }
}
