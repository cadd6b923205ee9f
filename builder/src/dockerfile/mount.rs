//! `RUN --mount`: its options as written, and the mount that they describe once expanded.

use super::span::Span;

/// One `--mount`, its values not yet expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// Keys in lower case, with values where `=` is written.
    pub options: Vec<(String, Option<String>)>,
    /// Where the flag stands.
    pub span: Span,
}

/// What a `RUN` finds mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A part of the context, of a stage or of an image.
    Bind {
        /// Where it appears; relative to the working directory.
        target: String,
        /// The path within the source, `/` for all.
        source: String,
        /// A stage or an image; none is the context.
        from: Option<String>,
        /// Whether it may be written; what is written is thrown away.
        read_write: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its name; the cleaned target unless given.
        id: String,
        /// Where it appears.
        target: String,
        /// The path within `from`.
        source: String,
        /// What a new one is filled from: a stage or an image.
        from: Option<String>,
        /// How steps that run at once share it.
        sharing: Sharing,
        /// Whether it may only be read.
        read_only: bool,
        /// Permissions of a new one.
        mode: u32,
        /// Owner of a new one.
        uid: u32,
        /// Group of a new one.
        gid: u32,
    },
    /// Memory.
    Tmpfs {
        /// Where it appears.
        target: String,
        /// Its bound in bytes.
        size: Option<u64>,
    },
    /// A secret, as a file, as a variable, or both.
    Secret {
        /// Its name among the build's secrets.
        id: String,
        /// The file, unless only a variable is asked for.
        target: Option<String>,
        /// The variable.
        env: Option<String>,
        /// Whether the step fails without it.
        required: bool,
        /// Permissions of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// Its name among the build's agents.
        id: String,
        /// The socket; `/run/buildkit/ssh_agent.N` if none is given.
        target: Option<String>,
        /// Whether the step fails without it.
        required: bool,
        /// Permissions of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
}

/// How steps that run at once share a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// All write to one.
    #[default]
    Shared,
    /// A step that finds it busy gets a new one.
    Private,
    /// A step that finds it busy waits.
    Locked,
}
