//! What to run: plain data that says everything about a container and its first process.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::caps::Capabilities;

/// The search path of a process whose environment has none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The sysctls that `docker run` sets in a private network: anyone may ping and bind port 80.
pub const DOCKER_SYSCTLS: [(&str, &str); 2] = [
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    ("net.ipv4.ping_group_range", "0 2147483647"),
];

const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
const MASKED_POWER: &str = "/sys/devices/virtual/powercap";
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// One container: a root, what is mounted in it, how it is fenced off, and its process.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rbuild_runtime::{Container, Stdio, launch};
///
/// let root = std::fs::File::open("/var/lib/roots/alpine")?;
/// let mut container = Container::new(root.into());
/// container.process.argv = vec!["/bin/echo".into(), "hello".into()];
/// let running = launch(container, Stdio::inherit())?;
/// assert_eq!(running.wait()?.code(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own to users"
)]
pub struct Container {
    /// The root: a detached mount (the caller's overlay), or any directory.
    pub root: OwnedFd,
    /// The first process.
    pub process: Process,
    /// What is mounted besides the standard file systems; the outer of two targets goes first.
    pub mounts: Vec<Mount>,
    /// The host name, when the container has one of its own (`uts` is private).
    pub hostname: Option<String>,
    /// The network. Private: a loopback device and nothing else.
    pub network: Namespace,
    /// System V and POSIX message queues, semaphores and shared memory.
    pub ipc: Namespace,
    /// Process numbers. Not private: killing the first process does not end the others.
    pub pid: Namespace,
    /// Host and domain name.
    pub uts: Namespace,
    /// Device nodes beside the standard ones.
    pub devices: Vec<Device>,
    /// Whether device nodes work that the container makes or that its files have, and all of the
    /// host's devices are in `/dev`: `--privileged`.
    pub all_devices: bool,
    /// Paths that show nothing: empty files and directories.
    pub masked_paths: Vec<String>,
    /// Paths that cannot be written to.
    pub read_only_paths: Vec<String>,
    /// Whether `/sys` and its cgroups can be written to: `--privileged`.
    pub writable_sys: bool,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Names with dots and their values; only those that belong to a private namespace.
    pub sysctls: Vec<(String, String)>,
    /// Whether the root cannot be written to.
    pub read_only_root: bool,
    /// Whether the first process is a small init of ours that forwards signals and reaps.
    pub init: bool,
    /// Whether the container goes on when the process that launched it has died. Otherwise it is
    /// killed then, and when [`Running`](crate::Running) is dropped.
    pub outlives: bool,
    /// The `cgroup.procs` files, open for writing, of the cgroups that the container is put in.
    pub cgroups: Vec<OwnedFd>,
}

impl Container {
    /// Docker's default sandbox in `root`, with a private network and nothing to run yet.
    pub fn new(root: OwnedFd) -> Self {
        Self {
            root,
            process: Process::default(),
            mounts: Vec::new(),
            hostname: None,
            network: Namespace::Private,
            ipc: Namespace::Private,
            pid: Namespace::Private,
            uts: Namespace::Private,
            devices: Vec::new(),
            all_devices: false,
            masked_paths: MASKED
                .iter()
                .chain([&MASKED_POWER])
                .map(|&path| path.into())
                .collect(),
            read_only_paths: READ_ONLY.map(String::from).to_vec(),
            writable_sys: false,
            shm_size: 64 << 20,
            sysctls: Vec::new(),
            read_only_root: false,
            init: false,
            outlives: false,
            cgroups: Vec::new(),
        }
    }

    /// Takes every fence away that `--privileged` and `RUN --security=insecure` take away: all
    /// capabilities that this process has, no seccomp, no masks, the host's devices.
    pub fn make_privileged(&mut self) {
        self.process.capabilities = Capabilities::all();
        self.process.seccomp = Seccomp::None;
        self.masked_paths.clear();
        self.read_only_paths.clear();
        self.writable_sys = true;
        self.all_devices = true;
    }
}

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
    /// The system calls it may make.
    pub seccomp: Seccomp,
    /// Whether set-user-id programs give no privilege.
    pub no_new_privileges: bool,
    /// Limits that differ from the inherited ones; a hard limit that may not be raised is kept.
    pub limits: Vec<Limit>,
    /// How soon the kernel kills it when memory runs out, -1000 to 1000; a value that this process
    /// may not set is left as it is.
    pub oom_score: Option<i32>,
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
            seccomp: Seccomp::Default,
            no_new_privileges: false,
            limits: Vec::new(),
            oom_score: None,
        }
    }
}

/// Which instance of a kernel namespace the container is in.
#[derive(Debug, Default)]
pub enum Namespace {
    /// A new one.
    #[default]
    Private,
    /// That of this process.
    Host,
    /// An existing one, by an open `/proc/<pid>/ns/*` file.
    Join(OwnedFd),
}

/// Which system calls are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Seccomp {
    /// Docker's default profile, by the capabilities of the process.
    #[default]
    Default,
    /// No filter.
    None,
}

/// Something mounted in the container.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own to users"
)]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
    /// An absolute path in the container; links on the way are followed inside the root. When
    /// missing it is made, and taken away again afterwards if still empty.
    pub target: String,
    /// Whether it cannot be written to there.
    pub read_only: bool,
    /// Whether the mounts below a bind's source are bound as well.
    pub recursive: bool,
    /// Whether set-user-id bits work in it.
    pub suid: bool,
    /// Whether programs can be run from it.
    pub exec: bool,
}

impl Mount {
    /// A writable, recursive bind of a path of the host.
    pub fn bind(source: impl Into<PathBuf>, target: impl Into<String>) -> Self {
        Self::new(MountSource::Path(source.into()), target)
    }

    /// A mount of any source: writable, recursive, with programs and set-user-id bits.
    pub fn new(source: MountSource, target: impl Into<String>) -> Self {
        let target = target.into();
        Self {
            source,
            target,
            read_only: false,
            recursive: true,
            suid: true,
            exec: true,
        }
    }

    /// The same, read-only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }
}

/// Where the contents of a [`Mount`] come from.
#[derive(Debug)]
pub enum MountSource {
    /// An open file or directory, or a detached mount.
    Fd(OwnedFd),
    /// A file or directory of the host; links are followed.
    Path(PathBuf),
    /// A new file with these bytes, kept in memory and gone with the container.
    Bytes {
        /// The contents.
        bytes: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A new, empty tmpfs.
    Tmpfs {
        /// Bytes; none is half of the machine's memory.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: u32,
        /// Owner of its root.
        uid: u32,
        /// Group of its root.
        gid: u32,
    },
}

/// A device node in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where it is on the host.
    pub host: PathBuf,
    /// Where it shall be in the container, below `/dev`: a node of the same kind, number, mode and
    /// owner as the host's.
    pub path: String,
}

impl Device {
    /// A device at its own path.
    pub fn new(path: impl Into<String>) -> Self {
        let path = path.into();
        Self {
            host: PathBuf::from(&path),
            path,
        }
    }
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
        Self::Streams {
            stdin: Stream::Null,
            stdout: Stream::Null,
            stderr: Stream::Null,
        }
    }

    /// The streams of this process.
    pub fn inherit() -> Self {
        Self::Streams {
            stdin: Stream::Inherit,
            stdout: Stream::Inherit,
            stderr: Stream::Inherit,
        }
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
