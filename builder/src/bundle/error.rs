//! What can go wrong with the container of a bundle.

use std::io;
use std::path::{Path, PathBuf};

/// The result of a verb.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A verb that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No container has this id.
    #[error("container {0:?} does not exist")]
    NotFound(String),
    /// A container has this id already.
    #[error("container with id {0:?} already exists")]
    Exists(String),
    /// Somebody is making the container at this moment.
    #[error("container {0:?} is being made")]
    Busy(String),
    /// An id is used as the name of a folder.
    #[error("invalid container id {0:?}")]
    InvalidId(String),
    /// The container is not in the state that the verb is for.
    #[error("cannot {verb} a container that is {status}")]
    Status {
        /// What was to be done.
        verb: &'static str,
        /// How the container fares.
        status: super::Status,
    },
    /// `config.json` says what makes no sense.
    #[error("invalid config: {0}")]
    Config(String),
    /// `config.json` asks for what is not to be had here.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A file could not be read or written.
    #[error("cannot {doing} `{}`", path.display())]
    File {
        /// What was being done, such as `write`.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// What this process is sent cannot be passed on.
    #[error("cannot catch signals")]
    Signals(#[source] Box<crate::container::Error>),
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] rbuild_runtime::Error),
}

impl Error {
    /// Makes the function that turns an input or output error into one that names what was done.
    pub(super) fn file<E: Into<io::Error>>(
        doing: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::File { doing, path: path.as_ref().to_owned(), source: source.into() }
    }
}
