//! What to run: plain data that says everything about a container and its first process.

mod mount;
mod process;
mod user;

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::OnceLock;

use crate::caps::Capabilities;
use crate::hook::Hooks;
pub use mount::{Device, DeviceNumber, Mount, MountFlags, MountSource, Propagation};
pub use process::{DEFAULT_PATH, Limit, Process, Resource, Seccomp, Stdio, Stream, WindowSize};
pub use user::{IdMap, IdMaps};

/// The sysctls that `docker run` sets in a private network: anyone may ping and bind port 80.
pub const DOCKER_SYSCTLS: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

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
/// Where each processor has a folder, whose counters of heat tell what others compute.
const PROCESSORS: &str = "/sys/devices/system/cpu";
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

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
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own to users")]
pub struct Container {
    /// The root: a detached mount (the caller's overlay), or any directory.
    pub root: OwnedFd,
    /// The first process.
    pub process: Process,
    /// What is mounted besides the standard file systems; the outer of two targets goes first.
    pub mounts: Vec<Mount>,
    /// The host name, when the container has one of its own (`uts` is private).
    pub hostname: Option<String>,
    /// The domain name, on the same condition.
    pub domainname: Option<String>,
    /// The network. Private: a loopback device and nothing else.
    pub network: Namespace,
    /// System V and POSIX message queues, semaphores and shared memory.
    pub ipc: Namespace,
    /// Process numbers. Not private: killing the first process does not end the others.
    pub pid: Namespace,
    /// Host and domain name.
    pub uts: Namespace,
    /// What is seen of control groups. Private: where there is one tree of them, or the container
    /// is [`bare`](Self::bare).
    pub cgroup: Namespace,
    /// The clocks since the start of the machine; a private one shows the same times.
    pub time: Namespace,
    /// How far its clocks are before those of the host, where `time` is private.
    pub clocks: Vec<ClockOffset>,
    /// The mounts. Where they are not private the root and all that is mounted in it are the
    /// process's own still, and no list of mounts has them.
    pub mount: Namespace,
    /// Whether its users are others than the host's, in a container that is [`bare`](Self::bare).
    pub user: Option<IdMaps>,
    /// Whether nothing is mounted besides `mounts`, in their order; `/dev` is furnished still.
    pub bare: bool,
    /// How the root tells of mounts below it, when that is not private.
    pub propagation: Option<Propagation>,
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
    /// Programs of the host that run on the way.
    pub hooks: Hooks,
    /// Where one byte is to be read before the program runs, such as a fifo's both ends; then
    /// [`launch`](crate::launch()) returns when all else is done.
    pub start: Option<OwnedFd>,
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
            domainname: None,
            network: Namespace::Private,
            ipc: Namespace::Private,
            pid: Namespace::Private,
            uts: Namespace::Private,
            cgroup: Namespace::Private,
            time: Namespace::Host,
            clocks: Vec::new(),
            mount: Namespace::Private,
            user: None,
            bare: false,
            propagation: None,
            devices: Vec::new(),
            all_devices: false,
            masked_paths: masked(),
            read_only_paths: READ_ONLY.map(String::from).to_vec(),
            writable_sys: false,
            shm_size: 64 << 20,
            sysctls: Vec::new(),
            read_only_root: false,
            init: false,
            outlives: false,
            hooks: Hooks::default(),
            start: None,
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

fn masked() -> Vec<String> {
    static OF_PROCESSORS: OnceLock<Vec<String>> = OnceLock::new();
    let fixed = MASKED.iter().chain([&MASKED_POWER]).map(|&path| path.to_owned());
    let of_processors = OF_PROCESSORS.get_or_init(|| throttles(Path::new(PROCESSORS)));
    fixed.chain(of_processors.iter().cloned()).collect()
}

/// The counters of heat of all processors; few machines have them, and then all processors do.
fn throttles(processors: &Path) -> Vec<String> {
    let of_processor = |name: &str| format!("{}/{name}/thermal_throttle", processors.display());
    if !Path::new(&of_processor("cpu0")).exists() {
        return Vec::new();
    }
    let entries = std::fs::read_dir(processors).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_processor = |name: &String| {
        let number = name.strip_prefix("cpu").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    names.filter(is_processor).map(|name| of_processor(&name)).collect()
}

/// How far a clock is before the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockOffset {
    /// `monotonic` or `boottime`.
    pub clock: String,
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds besides.
    pub nanoseconds: u32,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_heat_of_all_processors() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(throttles(folder.path()), [""; 0]);
        for name in ["cpu0/thermal_throttle", "cpu1", "cpu12", "cpuidle", "power"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let mut found = throttles(folder.path());
        found.sort();
        let path = |name| format!("{}/{name}/thermal_throttle", folder.path().display());
        assert_eq!(found, ["cpu0", "cpu1", "cpu12"].map(path));
    }
}
