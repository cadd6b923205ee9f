//! Caches in the cache service of GitHub Actions.

use std::time::Duration;

use rbuild_cache::Digest;
use rbuild_registry::Actions;

/// What the keys of all entries begin with. They are in a form of our own.
const PREFIX: &str = "rbuild";
/// The version of that form.
const VERSION: u32 = 1;

/// A cache in the cache service of GitHub Actions, or of another server that speaks as it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionsCache {
    /// The service.
    pub service: Actions,
    /// The name of the cache: what is written under one is read under the same alone.
    pub scope: String,
    /// How long reading or writing the cache may take.
    pub timeout: Duration,
}

impl ActionsCache {
    /// How long reading or writing takes at most where nobody says otherwise.
    pub const TIMEOUT: Duration = Duration::from_mins(10);

    /// The key of a blob.
    pub(crate) fn blob(digest: &Digest) -> String {
        format!("{PREFIX}-blob-{VERSION}-{digest}")
    }

    /// What the keys of all manifests of this cache begin with. A scope is written as its digest: it
    /// may have any characters, and none is the beginning of another.
    pub(super) fn manifests(&self) -> String {
        let scope = blake3::hash(self.scope.as_bytes()).to_hex();
        format!("{PREFIX}-index-{VERSION}-{}-", &scope[..32])
    }

    /// A key for one more manifest. An entry never changes, so the one that was made last counts;
    /// the time makes the key differ, also from that of an equal manifest some time ago.
    pub(super) fn new_manifest(&self, manifest: &Digest) -> String {
        let time = jiff::Timestamp::now().as_millisecond();
        format!("{}{time}-{}", self.manifests(), &manifest.hex()[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_kept_apart_by_the_beginnings_of_keys() {
        let cache = |scope: &str| ActionsCache {
            service: Actions { url: "http://host".to_owned(), token: "hush".to_owned() },
            scope: scope.to_owned(),
            timeout: ActionsCache::TIMEOUT,
        };
        let (main, other) = (cache("main"), cache("main-2,é"));
        let key = other.new_manifest(&Digest::from_bytes([7; 32]));
        assert!(key.starts_with(&other.manifests()) && !key.starts_with(&main.manifests()));
        assert!(key.len() < 512 && key.is_ascii() && !key.contains(','), "{key}");
        assert!(!format!("{main:?}").contains("hush"));
    }
}
