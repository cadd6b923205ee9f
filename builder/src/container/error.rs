//! What can go wrong with containers.

use std::io;
use std::path::{Path, PathBuf};

use super::network::Subnet;

/// The result of an operation on containers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation on a container that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing has this name or id.
    #[error("no such container: {0}")]
    NotFound(String),
    /// Several ids begin so.
    #[error("several containers have an id that begins with {0}")]
    Ambiguous(String),
    /// The name belongs to another container.
    #[error("the container name `{name}` is already in use by the container {by}")]
    NameTaken {
        /// The name.
        name: String,
        /// The first digits of the id of the container that has it.
        by: String,
    },
    /// The name has letters that no name may have.
    #[error("invalid container name `{0}`: only [a-zA-Z0-9][a-zA-Z0-9_.-]+ are allowed")]
    InvalidName(String),
    /// The container must run for what was asked.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The container runs already.
    #[error("container {0} is already running")]
    Running(String),
    /// The container is paused, and must not be for what was asked.
    #[error("container {0} is paused")]
    Paused(String),
    /// The container is not paused.
    #[error("container {0} is not paused")]
    NotPaused(String),
    /// A running container cannot be removed.
    #[error("cannot remove container {0}: it is running")]
    RemoveRunning(String),
    /// Another process is making, starting or removing the container.
    #[error("container {0} is being changed by another process")]
    Busy(String),
    /// Neither the image nor the user says what to run.
    #[error("no command specified")]
    NoCommand,
    /// A value is not one that the option can have.
    #[error("invalid {option} `{value}`: {reason}")]
    Invalid {
        /// The option without dashes, such as `volume`.
        option: &'static str,
        /// The value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option that cannot be honoured.
    #[error("{option} is not supported: {reason}")]
    Unsupported {
        /// The option as the user wrote it.
        option: String,
        /// Why.
        reason: &'static str,
    },
    /// No volume has this name.
    #[error("no such volume: {0}")]
    NoVolume(String),
    /// What was said of a volume when it was made is damaged.
    #[error("cannot read what the volume {name} is")]
    BrokenVolume {
        /// The name of the volume.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A container uses the volume.
    #[error("cannot remove volume {name}: container {by} uses it")]
    VolumeInUse {
        /// The name of the volume.
        name: String,
        /// The first digits of the id of the container.
        by: String,
    },
    /// No network has this name or id.
    #[error("network {0} not found")]
    NoNetwork(String),
    /// There is a network of this name.
    #[error("network with name {0} already exists")]
    NetworkTaken(String),
    /// A network in which containers run cannot be removed.
    #[error("cannot remove network {0}: containers that run are in it")]
    NetworkInUse(String),
    /// The container is in the network already.
    #[error("the container is already in network {0}")]
    AlreadyConnected(String),
    /// The container is not in the network.
    #[error("the container is not in network {0}")]
    NotConnected(String),
    /// The network has an address for no more containers.
    #[error("no address of {0} is free")]
    NoAddress(Subnet),
    /// The host uses all the subnets that networks usually have.
    #[error("the host uses all of docker's usual subnets")]
    NoSubnet,
    /// A port of the host is not to be had.
    #[error("cannot publish port {port}")]
    Port {
        /// The address, the port and the protocol.
        port: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel did not do its part of a network.
    #[error("cannot set up the network of the container")]
    Network {
        /// What it did not do, and why.
        source: rbuild_runtime::Error,
    },
    /// A terminal was asked for where there is none.
    #[error("the input device is not a terminal")]
    NotATerminal,
    /// The container's process did not start.
    #[error("{message}")]
    Start {
        /// Why, with all causes in one line.
        message: String,
        /// 125, 126 or 127, as `docker run` would exit.
        code: i32,
        /// What the user can do about it.
        hint: Option<String>,
    },
    /// The process that watches the container could not be started or spoken to.
    #[error("cannot {doing} the process that watches the container")]
    Monitor {
        /// What was being done, such as `start`.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
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
    /// A system call on something without a path failed.
    #[error("cannot {doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] rbuild_cache::Error),
    /// A device cannot be had.
    #[error(transparent)]
    Device(#[from] crate::cdi::Error),
    /// A container cannot be written as another runtime would have to read it.
    #[error(transparent)]
    Bundle(#[from] crate::bundle::Error),
    /// Another runtime failed.
    #[error("the runtime `{name}` could not {verb} the container: {reason}")]
    OtherRuntime {
        /// What it is called.
        name: String,
        /// What it was asked for, such as `create`.
        verb: &'static str,
        /// What it said.
        reason: String,
    },
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] rbuild_runtime::Error),
}

impl Error {
    /// The code that `docker run` would exit with: 127 for a program that is not there, 126 for
    /// one that cannot be run, else 125.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Start { code, .. } => *code,
            Self::Runtime(error) => error.exit_code(),
            Self::OtherRuntime { reason, .. } => super::foreign::exit_code(reason),
            _ => 125,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Start { hint, .. } => hint.clone(),
            Self::NameTaken { name, .. } => Some(format!(
                "`rbuild rm {name}` removes it, `rbuild rename` gives it another name"
            )),
            Self::Paused(name) => Some(format!("`rbuild unpause {name}` lets it go on")),
            Self::RemoveRunning(name) => Some(format!("`rbuild rm -f {name}` kills it first")),
            Self::VolumeInUse { by, .. } => {
                Some(format!("`rbuild rm {by}` removes the container first"))
            }
            Self::BrokenVolume { name, .. } => Some(format!(
                "its `volume.json` is damaged: put it right, or `rbuild volume rm {name}` removes \
                 the volume with its files"
            )),
            Self::NoCommand => Some("name a command after the image".to_owned()),
            Self::NoNetwork(name) => Some(format!("`rbuild network create {name}` makes it")),
            Self::NetworkInUse(_) => {
                Some("`rbuild network disconnect` takes them out of it".to_owned())
            }
            Self::NoSubnet => Some("name one: `rbuild network create --subnet`".to_owned()),
            Self::Network { .. } => Some(
                "networks take root and a kernel with bridges, veth and nf_tables; \
                 `--network host` and `--network none` take none of them"
                    .to_owned(),
            ),
            Self::NotATerminal => Some("leave `-t` out to read from a pipe or a file".to_owned()),
            _ => None,
        }
    }

    /// Makes the function that turns an input or output error into one that names what was done.
    pub(crate) fn file<E: Into<io::Error>>(
        doing: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::File { doing, path: path.as_ref().to_owned(), source: source.into() }
    }

    /// Names what failed as a part of setting up a network.
    pub(crate) fn network(source: rbuild_runtime::Error) -> Self {
        Self::Network { source }
    }

    /// The same as [`Error::file`] for what has no path.
    pub(crate) fn system<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System { doing, source: source.into() }
    }

    /// The same for the process that watches a container.
    pub(crate) fn monitor<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Monitor { doing, source: source.into() }
    }
}

/// An error and its causes in one line, for another process.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}
