//! What can go wrong before a container's process runs.

use std::io;

/// Why a container, or a process in one, did not start or cannot be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program is nowhere in the container.
    #[error("executable file not found in the container: {program:?}")]
    NotFound {
        /// The first argument, as given.
        program: String,
    },
    /// The program is there, and the kernel refuses to run it.
    #[error("cannot run {program:?}")]
    NotExecutable {
        /// The first argument, as given.
        program: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The image has no such user or group, or its files about them cannot be believed.
    #[error("cannot resolve user {user:?}: {reason}")]
    User {
        /// The text that was to be resolved.
        user: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The description of the container contradicts itself or asks for what is never given.
    #[error("invalid container: {0}")]
    Invalid(String),
    /// A step of making the sandbox failed.
    #[error("cannot {doing}")]
    Sandbox {
        /// What was being done, as the rest of "cannot ...".
        doing: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The small process that starts containers cannot be had.
    #[error("cannot start the container helper: {reason}")]
    Start {
        /// What happened.
        reason: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Error {
    /// The code that `docker run` would exit with: 127 for a program that is not there, 126 for
    /// one that cannot be run, else 125.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            _ => 125,
        }
    }
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Says what a system call was for.
pub(crate) trait Doing<T> {
    /// Turns the error into [`Error::Sandbox`]; `doing` is the rest of "cannot ...".
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| Error::Sandbox { doing: doing().into(), source: error.into() })
    }
}
