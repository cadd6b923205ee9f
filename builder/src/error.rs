//! What can go wrong in a build, and what the user can do about it.

mod step;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_cache::Digest;

use crate::dockerfile::{Diagnostic, Kind, Span};
use crate::space::says_full;

pub use step::StepError;

/// The result of the library's verbs.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A verb that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Dockerfile, or the folder it should be in, cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no Dockerfile where one is expected.
    #[error("there is no Dockerfile at `{}`", .0.display())]
    NoDockerfile(PathBuf),
    /// The Dockerfile is wrong.
    #[error("{}", .errors.first().map_or("the Dockerfile is empty", |error| error.message.as_str()))]
    Dockerfile {
        /// The file.
        file: Source,
        /// What is wrong, in the order of the file.
        errors: Vec<Diagnostic>,
    },
    /// A step of the build failed.
    #[error("failed to solve: {source}")]
    Step {
        /// The file, and where in it the step stands.
        file: Source,
        /// The step, where it is known.
        span: Option<Span>,
        /// What failed.
        source: Box<StepError>,
    },
    /// The graph could not be solved for a reason that is no step's.
    #[error("cannot solve the build")]
    Solve(#[source] Box<rbuild_solver::Error>),
    /// The lint rules found something, and the file or the caller wants no such thing built.
    #[error("lint violation found for rules: {}", rules(.warnings))]
    Lint {
        /// The file.
        file: Source,
        /// What was found, in the order of the file.
        warnings: Vec<Diagnostic>,
    },
    /// The store could not be used.
    #[error("cannot {doing}")]
    Store {
        /// What was being done.
        doing: String,
        /// Why.
        source: Box<rbuild_cache::Error>,
    },
    /// The store could not be opened.
    #[error("cannot open the store")]
    Open(#[source] Box<rbuild_cache::Error>),
    /// An ordinary user could not become root in a user namespace.
    #[error("an ordinary user cannot build or run here")]
    NotRoot(#[source] Box<rbuild_runtime::Error>),
    /// A registry could not be used.
    #[error("cannot {doing}")]
    Registry {
        /// What was being done, to which image.
        doing: String,
        /// Why.
        source: Box<rbuild_registry::Error>,
    },
    /// An image is in the store, but did not come into its registry.
    #[error("the image is not pushed")]
    NotPushed {
        /// The name under which it can be pushed again.
        name: String,
        /// Why.
        source: Box<Error>,
    },
    /// A git repository could not be used.
    #[error("cannot {doing}: {reason}")]
    Git {
        /// What was being done, with which repository.
        doing: String,
        /// What git says.
        reason: String,
    },
    /// A name of an image is no name.
    #[error("`{reference}` is not the name of an image: {reason}")]
    Reference {
        /// The text.
        reference: String,
        /// Why not.
        reason: String,
    },
    /// An image is not in the store.
    #[error("no such image: {0}")]
    NoImage(String),
    /// Several images match.
    #[error("`{0}` is the beginning of more than one image id")]
    Ambiguous(String),
    /// An image cannot be removed since something uses it.
    #[error("image {image} is used by {user}")]
    InUse {
        /// The image.
        image: String,
        /// What uses it.
        user: String,
    },
    /// A document is not what it should be.
    #[error("{what} is not valid: {reason}")]
    Malformed {
        /// The document: `the config of alpine:3`.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An image has no variant for a platform.
    #[error("`{reference}` has no image for {platform}; it has {available}")]
    NoPlatform {
        /// The image.
        reference: String,
        /// The platform that was wanted.
        platform: String,
        /// The platforms that there are.
        available: String,
    },
    /// Something cannot be written where the user wants it.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A Docker daemon did not take an image.
    #[error("cannot load the image into the Docker daemon at `{}`", socket.display())]
    Daemon {
        /// Where it listens.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A container could not be run or managed.
    #[error(transparent)]
    Container(Box<crate::container::Error>),
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Usage(String),
}

/// A Dockerfile, for excerpts.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name as the user knows it.
    pub name: String,
    /// Its text; what is not UTF-8 is replaced.
    pub text: Arc<str>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

impl From<rbuild_cache::Error> for Error {
    fn from(source: rbuild_cache::Error) -> Self {
        Self::Open(Box::new(source))
    }
}

impl From<crate::container::Error> for Error {
    fn from(source: crate::container::Error) -> Self {
        Self::Container(Box::new(source))
    }
}

/// An error with what led to it, in one line.
pub(crate) fn with_causes(error: &Error) -> String {
    let first: Option<&dyn std::error::Error> = Some(error);
    let chain = std::iter::successors(first, |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What the user can do about what git says.
fn git_hint(reason: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if says(&["cannot be started", "git: not found", "exec: git"]) {
        return Some("install git: repositories are fetched with it");
    }
    if says(&["could not read Username", "Authentication failed", "Permission denied"]) {
        return Some(
            "give a token with `--secret id=GIT_AUTH_TOKEN`, or for ssh load a key into your agent",
        );
    }
    None
}

/// The names of the rules that found something, each once.
fn rules(warnings: &[Diagnostic]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for warning in warnings {
        if let Kind::Lint(rule) = warning.kind
            && !names.contains(&rule.name())
        {
            names.push(rule.name());
        }
    }
    names.join(", ")
}

/// Whose fault an error is, which decides the exit status of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The Dockerfile's.
    Dockerfile,
    /// A step's; with the exit code of its process, if that was it.
    Step(Option<i32>),
    /// The caller's: a wrong option or name.
    Usage,
    /// The machine's: permissions, space, a missing feature of the kernel.
    Environment,
    /// A registry's or the network's.
    Remote,
    /// A registry's or the network's, which did not take an image that is here.
    NotPushed,
    /// Ours.
    Internal,
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Dockerfile { .. } | Self::Lint { .. } | Self::NoDockerfile(_) => {
                ErrorKind::Dockerfile
            }
            Self::Step { source, .. } => match &**source {
                StepError::Exit { code, .. } => ErrorKind::Step(Some(*code)),
                StepError::Fetch(error) | StepError::Image { error, .. } => error.kind(),
                StepError::Foreign { .. } => ErrorKind::Environment,
                StepError::Full { step, .. } => match &**step {
                    StepError::Exit { code, .. } => ErrorKind::Step(Some(*code)),
                    StepError::Fetch(error) => error.kind(),
                    _ => ErrorKind::Step(None),
                },
                _ => ErrorKind::Step(None),
            },
            Self::Container(_) => ErrorKind::Step(None),
            Self::Reference { .. }
            | Self::NoImage(_)
            | Self::Ambiguous(_)
            | Self::InUse { .. }
            | Self::Usage(_) => ErrorKind::Usage,
            Self::Read { .. }
            | Self::Write { .. }
            | Self::Daemon { .. }
            | Self::Store { .. }
            | Self::Open(_)
            | Self::NotRoot(_) => ErrorKind::Environment,
            Self::NotPushed { .. } => ErrorKind::NotPushed,
            Self::Registry { .. }
            | Self::Git { .. }
            | Self::NoPlatform { .. }
            | Self::Malformed { .. } => ErrorKind::Remote,
            Self::Solve(_) => ErrorKind::Internal,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoDockerfile(path) => {
                let folder = path.parent().unwrap_or(path).display().to_string();
                Some(match folder.as_str() {
                    "" => "name it with `-f FILE`, by its path in the context".to_owned(),
                    folder => format!(
                        "name it with `-f FILE`, or give the folder that has it in place of \
                         `{folder}`"
                    ),
                })
            }
            Self::Dockerfile { errors, .. } => errors.first()?.hint.clone(),
            Self::Step { source, .. } => match &**source {
                StepError::NotFound { hint, .. } | StepError::Image { hint, .. } => hint.clone(),
                StepError::Fetch(error) => error.hint(),
                step => step.hint(),
            },
            Self::NotRoot(_) => Some("`rbuild doctor` says what helps".to_owned()),
            Self::InUse { .. } => Some("remove the container first, or use `-f`".to_owned()),
            Self::Registry { source, .. } => source.hint().map(str::to_owned),
            Self::NotPushed { name, source } => {
                let again = format!("the image is here: `rbuild push {name}` sends it");
                Some(source.hint().map_or(again.clone(), |hint| format!("{hint}; {again}")))
            }
            Self::Git { reason, .. } => git_hint(reason).map(str::to_owned),
            Self::Container(source) => source.hint(),
            error if error.damaged_blob().is_some() => Some(
                "`rbuild cache verify` looks for more that is damaged; the disk may be failing"
                    .to_owned(),
            ),
            error if says_full(error) => {
                Some("the disk is full: `rbuild cache prune` makes space".to_owned())
            }
            _ => None,
        }
    }

    /// The blob of the store whose damage is the cause.
    pub(crate) fn damaged_blob(&self) -> Option<&rbuild_cache::Digest> {
        rbuild_cache::Error::damaged_blob(self)
    }

    /// Whether a blob is damaged, or not in the store.
    pub(crate) fn is_without_blob(&self) -> bool {
        let is_gone = matches!(self, Self::Store { source, .. } if matches!(**source, rbuild_cache::Error::NoBlob(_)));
        is_gone || self.damaged_blob().is_some()
    }

    /// The Dockerfile and the place in it that the error is about.
    pub fn excerpt(&self) -> Option<(&Source, Span)> {
        match self {
            Self::Dockerfile { file, errors } => Some((file, errors.first()?.span)),
            Self::Step { file, span, .. } => Some((file, (*span)?)),
            _ => None,
        }
    }

    /// Whether something that was to be fetched cannot be had as it was announced, for which the
    /// machine is not to blame.
    pub(crate) fn is_loss(&self) -> bool {
        use rbuild_cache::Error::{NoBlob, ReadTar, Tar, WrongDigest, WrongSize};
        match self {
            Self::Registry { .. } | Self::Malformed { .. } | Self::Read { .. } => true,
            Self::Store { source, .. } => matches!(
                **source,
                NoBlob(_) | ReadTar(_) | Tar(_) | WrongDigest { .. } | WrongSize { .. }
            ),
            _ => false,
        }
    }

    /// Makes the function that wraps an error of the store.
    pub(crate) fn store(doing: impl Into<String>) -> impl FnOnce(rbuild_cache::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Store { doing, source: Box::new(source) }
    }

    /// Makes the function that wraps an error of a registry.
    pub(crate) fn registry(
        doing: impl Into<String>,
    ) -> impl FnOnce(rbuild_registry::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Registry { doing, source: Box::new(source) }
    }

    /// An image that a registry did not take, but which is in the store under this name.
    pub(crate) fn not_pushed(name: &str, error: Self) -> Self {
        match error {
            error @ Self::Registry { .. } => {
                Self::NotPushed { name: name.to_owned(), source: Box::new(error) }
            }
            other => other,
        }
    }

    /// Makes the function that wraps an error of reading a document.
    pub(crate) fn malformed(what: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Self {
        let what = what.into();
        move |error| Self::Malformed { what, reason: error.to_string() }
    }

    /// A document whose digest is not the one it is named by.
    pub(crate) fn wrong_digest(what: impl Into<String>, digest: &Digest) -> Self {
        Self::Malformed { what: what.into(), reason: format!("its digest is not {digest}") }
    }
}
