//! A process of a container: what it runs, what it is allowed, and its streams.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::caps::{Capabilities, CapabilitySets};
use crate::seccomp::Filter;

/// The search path of a process whose environment has none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A process and what it is allowed: the first of a container, or one that joins it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Process {
    /// The program, looked up in the container's `PATH` unless it has a slash, and its arguments.
    pub argv: Vec<String>,
    /// `NAME=value`; `HOME` is added from the image's `/etc/passwd` when it is missing or empty.
    pub env: Vec<String>,
    /// The working directory; made, owned by the user, when it is missing.
    pub cwd: String,
    /// `user[:group]` by name or number; empty is root.
    pub user: String,
    /// Names or numbers of more groups: `--group-add`.
    pub groups: Vec<String>,
    /// What it may do; those that this process lacks itself are left out.
    pub capabilities: Capabilities,
    /// Sets of capabilities that differ from one another; none is that all but the inheritable
    /// and the ambient one are `capabilities`.
    pub capability_sets: Option<CapabilitySets>,
    /// The system calls it may make.
    pub seccomp: Seccomp,
    /// Whether set-user-id programs give no privilege.
    pub no_new_privileges: bool,
    /// Limits that differ from the inherited ones; a hard limit that may not be raised is kept.
    pub limits: Vec<Limit>,
    /// How soon the kernel kills it when memory runs out, -1000 to 1000; a value that this process
    /// may not set is left as it is.
    pub oom_score: Option<i32>,
    /// The permission bits that new files do not get.
    pub umask: u32,
    /// The behaviour of the kernel, by the number that `personality(2)` has for it.
    pub personality: Option<u32>,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            argv: Vec::new(),
            env: Vec::new(),
            cwd: "/".into(),
            user: String::new(),
            groups: Vec::new(),
            capabilities: Capabilities::docker_default(),
            capability_sets: None,
            seccomp: Seccomp::Default,
            no_new_privileges: false,
            limits: Vec::new(),
            oom_score: None,
            umask: 0o022,
            personality: None,
        }
    }
}

/// Which system calls are refused.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Seccomp {
    /// Docker's default profile, by the capabilities of the process.
    #[default]
    Default,
    /// No filter.
    None,
    /// Another profile.
    Filter(Filter),
}

/// A resource limit: `--ulimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What is limited.
    pub resource: Resource,
    /// The limit in force; none is unlimited.
    pub soft: Option<u64>,
    /// The most that the process can raise it to; none is unlimited.
    pub hard: Option<u64>,
}

/// What a [`Limit`] limits, in the units of `getrlimit(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the kernel's RLIMIT_* of that name")]
pub enum Resource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

impl Resource {
    /// The resource by the name that `--ulimit` gives it, such as `nofile`.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "as" => Self::As,
            "core" => Self::Core,
            "cpu" => Self::Cpu,
            "data" => Self::Data,
            "fsize" => Self::Fsize,
            "locks" => Self::Locks,
            "memlock" => Self::Memlock,
            "msgqueue" => Self::Msgqueue,
            "nice" => Self::Nice,
            "nofile" => Self::Nofile,
            "nproc" => Self::Nproc,
            "rss" => Self::Rss,
            "rtprio" => Self::Rtprio,
            "rttime" => Self::Rttime,
            "sigpending" => Self::Sigpending,
            "stack" => Self::Stack,
            _ => return None,
        })
    }
}

/// The streams of a process.
#[derive(Debug)]
pub enum Stdio {
    /// Three files.
    Streams {
        /// Standard input.
        stdin: Stream,
        /// Standard output.
        stdout: Stream,
        /// Standard error.
        stderr: Stream,
    },
    /// A new terminal of this size, whose other end is [`Running::terminal`](crate::Running::terminal).
    Terminal(WindowSize),
}

impl Stdio {
    /// Nothing to read, and what is written is lost.
    pub fn null() -> Self {
        Self::Streams { stdin: Stream::Null, stdout: Stream::Null, stderr: Stream::Null }
    }

    /// The streams of this process.
    pub fn inherit() -> Self {
        Self::Streams { stdin: Stream::Inherit, stdout: Stream::Inherit, stderr: Stream::Inherit }
    }
}

/// One of the three streams.
#[derive(Debug)]
pub enum Stream {
    /// `/dev/null`.
    Null,
    /// That of this process.
    Inherit,
    /// An open file, often a pipe's end.
    Fd(OwnedFd),
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}
