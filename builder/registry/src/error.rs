//! What can go wrong with a registry, said with the registry, the repository and the deed.

use std::fmt;
use std::time::Duration;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A cause from below: HTTP, TLS, JSON.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Says what was being done, to what, at which registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    verb: &'static str,
    subject: String,
    registry: String,
}

impl Task {
    pub(crate) fn new(verb: &'static str, subject: impl Into<String>, registry: &str) -> Self {
        Self { verb, subject: subject.into(), registry: registry.to_owned() }
    }

    /// The deed, such as `fetch blob`.
    pub fn verb(&self) -> &str {
        self.verb
    }

    /// What it was done to, such as `library/alpine:3`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The registry as the user names it, with the mirror that was asked in its place.
    pub fn registry(&self) -> &str {
        &self.registry
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.verb, self.subject, self.registry)
    }
}

/// Why a registry could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no image reference.
    #[error("`{text}` is not an image reference: {reason}")]
    Reference {
        /// The text, cut to a printable length.
        text: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The text is no platform.
    #[error("`{text}` is not a platform: it must be os/architecture[/variant]")]
    Platform {
        /// The text as given.
        text: String,
    },
    /// A setting cannot be used.
    #[error("cannot use the setting {name}: {reason}")]
    Setting {
        /// Which setting.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Docker's `config.json` cannot be read.
    #[error("cannot read docker's config.json")]
    DockerConfig {
        /// Where the text breaks off.
        source: serde_json::Error,
    },
    /// The registry, its token server or a server that it redirects to refuses.
    #[error("cannot {task}: the server answers {status}{said}")]
    Status {
        /// What was being done.
        task: Box<Task>,
        /// The HTTP status.
        status: u16,
        /// The server's own code and message, ready to follow the status; may be empty.
        said: String,
        /// What the user may do about it.
        hint: Option<String>,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The settings say that nobody is to be asked.
    #[error("cannot {task}: this is offline")]
    Offline {
        /// What was to be done.
        task: Box<Task>,
    },
    /// The server could not be reached, or the connection broke.
    #[error("cannot {task}: the connection failed")]
    Connection {
        /// What was being done.
        task: Box<Task>,
        /// What the user may do about it.
        hint: Option<String>,
        /// Whether the same request may succeed later.
        transient: bool,
        /// What HTTP or TLS says.
        source: Cause,
    },
    /// The server sent or took nothing for too long.
    #[error("cannot {task}: nothing moved for {} s", .after.as_secs())]
    Stalled {
        /// What was being done.
        task: Box<Task>,
        /// How long it was waited for.
        after: Duration,
    },
    /// The server ended a body before its end.
    #[error("cannot {task}: the body ended after {got} of {size} bytes")]
    Truncated {
        /// What was being done.
        task: Box<Task>,
        /// The bytes that came.
        got: u64,
        /// The bytes that were to come.
        size: u64,
    },
    /// The content is not what its digest says.
    #[error("cannot {task}: the content has the digest {got}, not {expected}")]
    Corrupt {
        /// What was being done.
        task: Box<Task>,
        /// The digest that was asked for.
        expected: String,
        /// The digest of what came.
        got: String,
    },
    /// The content is longer than it may be.
    #[error("cannot {task}: the content is longer than {limit} bytes")]
    TooLong {
        /// What was being done.
        task: Box<Task>,
        /// The most bytes that are taken.
        limit: u64,
    },
    /// The answer is not one that the protocol allows.
    #[error("cannot {task}: {reason}")]
    Malformed {
        /// What was being done.
        task: Box<Task>,
        /// What is wrong with the answer.
        reason: String,
        /// What the parser says.
        source: Option<Cause>,
    },
    /// No manifest of an index is for the platform.
    #[error("cannot {task}: no image for {wanted}, only for {}", .offered.join(", "))]
    NoPlatform {
        /// What was being done.
        task: Box<Task>,
        /// The platform that was asked for.
        wanted: String,
        /// The platforms that the index has.
        offered: Vec<String>,
    },
    /// The caller's own stream failed while it was sent.
    #[error("cannot {task}: the content to send cannot be read")]
    Body {
        /// What was being done.
        task: Box<Task>,
        /// The caller's error.
        source: std::io::Error,
    },
}

impl Error {
    /// What the user may do about it: which credential was used, which setting helps.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Status { hint, .. } | Self::Connection { hint, .. } => hint.as_deref(),
            Self::Offline { .. } => Some("it is not in the store yet: leave out `--offline`"),
            _ => None,
        }
    }

    /// The HTTP status that a server answered, if that was the failure.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the registry says that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether the registry refuses the credential, or asks for one.
    pub fn is_denied(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }

    /// Whether nothing is known but that the server could not be asked, or had no time.
    pub fn is_unanswered(&self) -> bool {
        self.is_transient() || matches!(self, Self::Connection { .. } | Self::Offline { .. })
    }

    /// Whether trying the same again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            // What the registry got is not what was sent to it.
            Self::Status { status: 400, said, .. } => said.contains("DIGEST_INVALID"),
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502..=599),
            Self::Connection { transient, .. } => *transient,
            Self::Stalled { .. } | Self::Truncated { .. } | Self::Corrupt { .. } => true,
            _ => false,
        }
    }

    /// Whether there was not even a connection: a name that is unknown, a port where nobody listens.
    pub(crate) fn is_unreachable(&self) -> bool {
        let Self::Connection { source, .. } = self else { return false };
        source.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect)
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(crate) fn malformed(task: &Task, reason: impl Into<String>) -> Self {
        Self::Malformed { task: Box::new(task.clone()), reason: reason.into(), source: None }
    }

    pub(crate) fn too_long(task: &Task, limit: u64) -> Self {
        Self::TooLong { task: Box::new(task.clone()), limit }
    }
}
