//! Caches that travel: results of steps that other machines made, and those of this one for them.
//!
//! What travels is a document, which says what is known, and the layers it speaks of, as blobs. In a
//! registry or a layout on disk they are an artifact (an OCI image manifest with a type of its own
//! whose config is the document); in an image they are the image's own layers, and the document is
//! a field of its config. A build that imports reads the document alone; a layer is fetched when a
//! step mounts it.
//!
//! A document is as hostile as anything else from afar: it leads to no file and no address, only
//! to layers that lie beside it or that the build has anyway. What it says about results is taken
//! as true, so a cache is as trustworthy as those who may write to it.

mod actions;
mod artifact;
mod bucket;
mod early;
mod export;
mod import;
mod layout;
pub(crate) mod mounts;
mod objects;
mod outdated;
mod place;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rbuild_cache::Digest;

use crate::error::{Error, Result};
use crate::export::Compression;

pub use actions::ActionsCache;
pub use bucket::S3Cache;
pub(crate) use early::Early;
pub(crate) use export::{Exports, Solved, inline};
pub(crate) use import::{Found, chunks, import, imported};

/// A cache that a build takes results from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheFrom {
    /// A cache in a registry, or an image there that brings its cache along.
    Registry(String),
    /// A cache in an OCI image layout on disk.
    Local {
        /// The folder.
        folder: PathBuf,
        /// Its name in the layout; `latest` where none is given.
        tag: Option<String>,
        /// Its digest, in place of a name.
        digest: Option<Digest>,
    },
    /// A cache in a bucket.
    S3(Box<S3Cache>),
    /// A cache in the cache service of GitHub Actions.
    Actions(Box<ActionsCache>),
}

/// A cache that a build writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTo {
    /// Where to.
    pub place: CachePlace,
    /// How much of the build.
    pub mode: CacheMode,
    /// Which cache mounts of its steps.
    pub mounts: CacheMounts,
    /// How its layers are compressed.
    pub compression: Compression,
    /// Whether that is also done to layers which other machines have compressed otherwise.
    pub force_compression: bool,
    /// Whether the build is good though the cache cannot be written.
    pub ignore_error: bool,
}

impl CacheTo {
    /// A cache of the steps whose files are in the result, there.
    pub fn new(place: CachePlace) -> Self {
        Self {
            place,
            mode: CacheMode::default(),
            mounts: CacheMounts::default(),
            compression: Compression::default(),
            force_compression: false,
            ignore_error: false,
        }
    }
}

/// Where a cache is written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CachePlace {
    /// Into the config of the image, whose layers it speaks of.
    Inline,
    /// To a registry, under this name.
    Registry(String),
    /// Into an OCI image layout on disk, beside what is there.
    Local {
        /// The folder.
        folder: PathBuf,
        /// Its name in the layout.
        tag: String,
        /// Whether older caches that have no name there any more go at once, and not after a week.
        reset: bool,
    },
    /// Into a bucket.
    S3(Box<S3Cache>),
    /// Into the cache service of GitHub Actions.
    Actions(Box<ActionsCache>),
}

/// How much of a build goes into a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// The steps whose files are in the result.
    #[default]
    Min,
    /// All steps.
    Max,
}

/// Which of the folders of `RUN --mount=type=cache` go into a cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CacheMounts {
    /// None.
    #[default]
    None,
    /// All that steps of the build mount.
    All,
    /// Those with these ids, which are the targets of mounts that have no id.
    Only(Vec<String>),
}

impl fmt::Display for CacheFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => f.write_str(reference),
            Self::Local { folder, .. } => write!(f, "local:{}", folder.display()),
            Self::S3(cache) => write!(f, "s3:{}", cache.names.join(";")),
            Self::Actions(cache) => write!(f, "gha:{}", cache.scope),
        }
    }
}

/// Does something with a cache that must not take longer.
async fn within<T>(longest: Option<Duration>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(longest) = longest else { return work.await };
    tokio::time::timeout(longest, work).await.unwrap_or_else(|_| {
        let reason = format!("it took longer than {} s", longest.as_secs());
        Err(Error::Malformed { what: "the cache".to_owned(), reason })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cache_that_takes_too_long_is_given_up() {
        let error = within(Some(Duration::ZERO), std::future::pending::<Result<()>>()).await;
        assert!(error.unwrap_err().to_string().contains("it took longer than 0 s"));
        assert!(within(None, async { Ok(()) }).await.is_ok());
    }
}
