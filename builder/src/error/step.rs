//! What can go wrong in one step of a build.

use std::io;
use std::sync::Arc;

use super::{Error, with_causes};
use crate::space::DiskFull;

/// What went wrong in one step.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The process of a RUN ended with another status than 0.
    #[error("process \"{command}\" did not complete successfully: exit code: {code}")]
    Exit {
        /// The command line.
        command: String,
        /// The exit code; 128 + n after signal n.
        code: i32,
    },
    /// The process of a RUN could not be started.
    #[error("cannot run \"{command}\": {source}")]
    Launch {
        /// The command line.
        command: String,
        /// Why.
        source: Arc<rbuild_runtime::Error>,
    },
    /// A source of a COPY or a mount is not there.
    #[error("\"/{path}\": not found")]
    NotFound {
        /// The path, below the root of the context or stage.
        path: String,
        /// What the user can do.
        hint: Option<String>,
    },
    /// A user or group of `--chown` or USER is not known in the image.
    #[error("invalid user `{user}`: {reason}")]
    User {
        /// The user as written.
        user: String,
        /// Why: which file was searched.
        reason: String,
    },
    /// A secret that a RUN requires was not given.
    #[error("secret {0}: not found")]
    Secret(String),
    /// An SSH agent that a RUN requires was not given.
    #[error("SSH agent {0}: not found")]
    Agent(String),
    /// A device that a RUN asks for cannot be had.
    #[error("{0}")]
    Device(crate::cdi::Error),
    /// Programs of the platform of a RUN do not run on this machine.
    #[error("programs for {wanted} do not run on this machine, which is {host}: {reason}")]
    Foreign {
        /// The platform of the step.
        wanted: String,
        /// The platform of the machine.
        host: String,
        /// Why not.
        reason: String,
        /// What the user can do.
        hint: String,
    },
    /// Something that is not built yet.
    #[error("{0} is not supported yet")]
    Unsupported(String),
    /// A file could not be read or written.
    #[error("cannot {doing}: {source}")]
    File {
        /// What was being done to which file.
        doing: String,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The store could not be used.
    #[error("cannot {doing}: {source}")]
    Store {
        /// What was being done.
        doing: String,
        /// Why.
        source: Arc<rbuild_cache::Error>,
    },
    /// The disk of the store was full.
    #[error("{step}: {disk}")]
    Full {
        /// What could not be done.
        step: Box<StepError>,
        /// What is known of the disk.
        disk: DiskFull,
    },
    /// It could not be found out what the name of an image stands for.
    #[error("{}", with_causes(.error))]
    Image {
        /// Why.
        error: Arc<Error>,
        /// What the user can do.
        hint: Option<String>,
    },
    /// An image, or a source that is elsewhere, could not be fetched.
    #[error("{}", with_causes(.0))]
    Fetch(Arc<Error>),
    /// Any other reason, as text.
    #[error("{0}")]
    Other(String),
}

impl StepError {
    /// What the user can give to the build that the step lacks.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Full { disk, .. } => Some(disk.hint()),
            Self::Foreign { hint, .. } => Some(hint.clone()),
            Self::Secret(id) => Some(format!(
                "give it with `--secret id={id},src=FILE` or `--secret id={id},env=VARIABLE`"
            )),
            Self::Agent(id) => Some(format!(
                "lend it with `--ssh {id}`, which is the agent of SSH_AUTH_SOCK, or `--ssh {id}=FILE`"
            )),
            Self::Device(crate::cdi::Error::NotAllowed(name)) => {
                Some(format!("allow it with `--allow device={name}`, or all with `--allow device`"))
            }
            Self::Device(crate::cdi::Error::Missing { .. }) => Some(format!(
                "descriptions of devices are read from {}",
                crate::cdi::FOLDERS.join(", ")
            )),
            _ => None,
        }
    }

    /// Makes the function that wraps an input or output error.
    pub(crate) fn file<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::File { doing, source: Arc::new(source.into()) }
    }

    /// Makes the function that wraps an error of the store.
    pub(crate) fn store(doing: impl Into<String>) -> impl FnOnce(rbuild_cache::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Store { doing, source: Arc::new(source) }
    }
}
