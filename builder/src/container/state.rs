//! How a container fares.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::health::Health;
use super::network::{Endpoint, Published};

/// The stage of its life that a container is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made, and never started.
    #[default]
    Created,
    /// At work.
    Running,
    /// Frozen.
    Paused,
    /// About to be started again by its restart policy.
    Restarting,
    /// At its end; it can be started again.
    Exited,
    /// Half removed.
    Dead,
}

impl Status {
    /// Whether a monitor has to be there.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// Writes the word that docker uses.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Dead => "dead",
        })
    }
}

/// How a container fares, or how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The stage of its life.
    pub status: Status,
    /// The first process, as the host numbers it; 0 when there is none.
    pub pid: u32,
    /// The exit code of its last run: 128 and the number of the signal that ended it.
    pub exit_code: i32,
    /// When it was last started.
    pub started: Option<Timestamp>,
    /// When it last ended.
    pub finished: Option<Timestamp>,
    /// Why it could not be started, or ended out of order; mostly empty.
    pub error: String,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// Its places in networks, while it runs.
    pub endpoints: Vec<Endpoint>,
    /// The ports of the host that stand for ports of it, while it runs.
    pub published: Vec<Published>,
    /// How often its restart policy started it again.
    pub restarts: u32,
    /// How its health checks have gone, where it has any.
    pub health: Option<Health>,
}
