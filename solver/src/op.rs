//! What a vertex does, as plain data: everything in an op is part of its key unless its doc says
//! otherwise.

use serde::{Deserialize, Serialize};

/// Where a snapshot comes from when no vertex makes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The empty tree.
    Scratch,
    /// An image whose manifest and config are already known.
    Image {
        /// The reference as resolved, with its digest: `docker.io/library/alpine:3@sha256:…`.
        reference: String,
        /// The platform, such as `linux/amd64`.
        platform: String,
    },
    /// A folder named by the caller, such as the build context.
    Context {
        /// The name of the folder: `context` for the build context.
        name: String,
    },
    /// A file at a URL; the tree holds nothing else.
    Http(HttpFile),
    /// The files of a commit of a git repository.
    Git(GitCheckout),
}

/// A file at a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HttpFile {
    /// The URL.
    pub url: String,
    /// The name of the file in the tree.
    pub name: String,
    /// The digest that it must have, such as `sha256:…`.
    pub checksum: Option<String>,
}

/// The files of a commit of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GitCheckout {
    /// The address of the repository.
    pub remote: String,
    /// A branch, a tag, a full name below `refs/`, or a commit; `None` is the default branch.
    pub reference: Option<String>,
    /// The commit that it must be, or how its name begins.
    pub checksum: Option<String>,
    /// The folder of the repository that becomes the root; `None` is all of it.
    pub directory: Option<String>,
    /// Whether `.git` is kept.
    pub keep_git_dir: bool,
    /// Whether the repositories that it names are checked out in their places.
    pub submodules: bool,
    /// Whether the files get the time of the commit, in place of that of the checkout.
    pub commit_times: bool,
}

/// The work of a vertex. One op makes one layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// Runs a process in the root of input 0.
    Exec(Box<Exec>),
    /// Copies files onto input 0.
    Copy(Copy),
    /// Changes files of input 0 without reading any other input.
    Files(Vec<FileAction>),
    /// Puts the layers of the later inputs on those of the first, without looking into them.
    Stack,
}

/// One process, run to its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exec {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// The environment, in order.
    pub env: Vec<(String, String)>,
    /// Environment that is not part of the key, such as proxies.
    pub unkeyed_env: Vec<(String, String)>,
    /// The absolute working directory; made when it is missing.
    pub cwd: String,
    /// `user[:group]` by name or number; empty is root.
    pub user: String,
    /// What is mounted over the root while it runs.
    pub mounts: Vec<Mount>,
    /// The devices of the host that it sees.
    pub devices: Vec<Device>,
    /// The network that the process sees.
    pub network: Network,
    /// Whether the process gets every capability and no seccomp filter.
    pub insecure: bool,
    /// The host name inside.
    pub hostname: String,
    /// Extra lines of /etc/hosts: (name, address). Not part of the key.
    pub extra_hosts: Vec<(String, String)>,
    /// The size of /dev/shm in bytes; 0 is 64 MiB. Not part of the key.
    pub shm_size: u64,
    /// Resource limits: (name, soft, hard). Not part of the key.
    pub ulimits: Vec<(String, u64, u64)>,
    /// The platform of the root, such as `linux/arm64`.
    pub platform: String,
}

/// A device of the host, described by the Container Device Interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Device {
    /// `vendor/class`, `vendor/class=device` or `vendor/class=*`.
    pub name: String,
    /// Whether the process fails without it.
    pub required: bool,
}

/// Which network a process sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Network {
    /// A private network that reaches the outside, where one can be had.
    #[default]
    Default,
    /// The loopback interface only.
    None,
    /// The network of the host.
    Host,
}

/// One mount of an [`Exec`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mount {
    /// The absolute path inside.
    pub target: String,
    /// What is mounted.
    pub kind: MountKind,
}

/// What a mount of an [`Exec`] shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MountKind {
    /// A path of another input.
    Bind {
        /// The index of the input.
        input: usize,
        /// The path in the input.
        source: String,
        /// Whether writes are allowed; they are thrown away.
        writable: bool,
    },
    /// A folder that outlives the step; its contents are never part of the key.
    Cache {
        /// The name of the folder.
        id: String,
        /// How steps that run at the same time share it.
        sharing: Sharing,
        /// Whether writes are refused.
        read_only: bool,
        /// The input whose `source` path seeds a new folder.
        seed: Option<usize>,
        /// The path in the seed, and in the folder.
        source: String,
        /// The mode of a new folder.
        mode: u32,
        /// The owner of a new folder.
        uid: u32,
        /// The group of a new folder.
        gid: u32,
    },
    /// A read-only file whose contents stand in the Dockerfile.
    Inline {
        /// The contents.
        contents: String,
        /// The mode of the file.
        mode: u32,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// The limit in bytes; 0 is none.
        size: u64,
    },
    /// A secret as a file or an environment variable; the value is never part of the key.
    Secret {
        /// The name of the secret.
        id: String,
        /// The environment variable that gets the value; with `None` only the file exists.
        env: Option<String>,
        /// Whether `target` is a file with the value.
        file: bool,
        /// Whether the step fails without the secret.
        required: bool,
        /// The mode of the file.
        mode: u32,
        /// The owner of the file.
        uid: u32,
        /// The group of the file.
        gid: u32,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// The name of the agent.
        id: String,
        /// Whether the step fails without it.
        required: bool,
        /// The mode of the socket.
        mode: u32,
        /// The owner of the socket.
        uid: u32,
        /// The group of the socket.
        gid: u32,
    },
}

/// How steps that run at the same time share a cache folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Sharing {
    /// All write at once.
    #[default]
    Shared,
    /// Each that finds it busy gets its own.
    Private,
    /// Each waits for the one before.
    Locked,
}

/// A COPY or ADD: items, in order, to one destination in input 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Copy {
    /// What is copied.
    pub items: Vec<CopyItem>,
    /// The absolute destination; a trailing `/` makes it a folder.
    pub destination: String,
    /// The owner, `user[:group]` by name or number; `None` is 0:0.
    pub chown: Option<String>,
    /// The mode, octal or symbolic; `None` keeps each file's own.
    pub chmod: Option<String>,
    /// Whether the path of each source is kept below the destination.
    pub parents: bool,
    /// Patterns, as in `.dockerignore`, of what is left out.
    pub exclude: Vec<String>,
    /// Whether the result is independent of input 0 (`--link`): the input is then the empty tree.
    pub link: bool,
    /// The time of everything that is written, in seconds since 1970; `None` keeps that of files.
    pub time: Option<i64>,
}

/// One source of a [`struct@Copy`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CopyItem {
    /// A path or pattern of an input.
    Path {
        /// The index of the input.
        input: usize,
        /// The path or pattern, relative to the root of the input.
        pattern: String,
        /// Whether it is unpacked if it is an archive.
        unpack: bool,
    },
    /// A file whose contents stand in the Dockerfile.
    Inline {
        /// The name of the file.
        name: String,
        /// Its contents.
        contents: String,
    },
}

/// One change of files that reads no other input.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileAction {
    /// Makes a folder and those above it, mode 0755, as WORKDIR does.
    MakeDirectory {
        /// The absolute path.
        path: String,
        /// The owner, `user[:group]` by name or number; empty is root.
        owner: String,
        /// The time of what is made, in seconds since 1970; `None` is now.
        time: Option<i64>,
    },
}

/// Which part of an input a vertex uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Select {
    /// The whole tree.
    All,
    /// The files that match these paths or patterns.
    Paths {
        /// Paths or patterns (Go's `filepath.Match` for each element), relative to the root.
        patterns: Vec<String>,
        /// Patterns, as in `.dockerignore`, of what is left out.
        exclude: Vec<String>,
        /// Whether only the contents count and not the path that leads to them.
        parents: bool,
    },
    /// Nothing: the input is needed when the vertex runs, but does not count in its content key.
    Nothing,
}
