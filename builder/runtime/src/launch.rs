//! The parent's side: turning a description into an order, and an answer into a running container.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fstatfs, open};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::thread::ThreadNameSpaceType;

use crate::caps::CapabilitySets;
use crate::cgroup;
use crate::container::{
    Container, Device, IdMaps, Mount, MountSource, Namespace, Process, Propagation, Stdio, Stream,
};
use crate::devices;
use crate::error::{Doing, Error, Result};
use crate::helper;
use crate::hook::Hooks;
use crate::mounts::clone_mount;
use crate::network::spare;
use crate::running::Running;
use crate::sysctl;
use crate::user::{self, User};
use crate::userns;
use crate::wire::{
    ANSWERS, MountOrder, NamespaceOrder, Node, Order, Place, ProcessOrder, Sandbox, Slot,
    SourceOrder, Start, StdioOrder,
};

const CGROUP2_SUPER_MAGIC: rustix::fs::FsWord = 0x6367_7270;

/// Starts a container and returns once its program runs.
///
/// The sandbox is made by a process that is a child of the calling one; what fails on the way is
/// told apart by [`Error::exit_code`]. On a failure nothing is left behind.
pub fn launch(mut container: Container, stdio: Stdio) -> Result<Running> {
    let root_fd = container.root.try_clone().doing(|| "keep the root")?;
    let program = container.process.argv.first().cloned().unwrap_or_default();
    let outlives = container.outlives;
    let mut fds = Descriptors::with_answers()?;
    let process = process_order(std::mem::take(&mut container.process), root_fd.as_fd())?;
    if container.user.is_some() && !container.bare {
        return Err(Error::Invalid("a container with users of its own must be bare".into()));
    }
    sysctl::check(&container.sysctls, &container.network, &container.ipc)?;
    // One made ahead is not that of users that the container is yet to have.
    let own_network = matches!(container.network, Namespace::Private) && container.user.is_none();
    if own_network && let Some(spare) = spare::take() {
        container.network = Namespace::Join(spare);
    }
    let hooks = std::mem::take(&mut container.hooks);
    let start_order = container.start.take().map(|from| Start::new(fds.add(from), &hooks));
    let users = container.user.take();
    let sandbox = fds.sandbox(container, users.is_some())?;
    let stdio = fds.stdio(stdio)?;
    let (pause, place) = (hooks.pause(), Place::New(Box::new(sandbox)));
    let order = Order { place, process, stdio, outlives, pause, start: start_order };
    let running = start(&order, fds, root_fd, program, (&hooks, users.as_ref()))?;
    if own_network {
        spare::launched();
    }
    Ok(running)
}

/// What is mounted in a container besides the standard file systems, in order, and the device
/// nodes to make.
fn mounts_and_nodes(container: &mut Container, users: bool) -> Result<(Vec<Mount>, Vec<Node>)> {
    let mut mounts = std::mem::take(&mut container.mounts);
    if matches!(container.ipc, Namespace::Host) && !container.bare {
        // A host need not have mounted its queues; the container's own mount shows them too.
        let shared =
            ["/dev/shm", "/dev/mqueue"].into_iter().filter(|path| Path::new(path).is_dir());
        mounts.extend(shared.map(|path| Mount::bind(path, path)));
    }
    let wanted = (container.devices.as_slice(), container.all_devices && !container.bare);
    let nodes = nodes(wanted, users, &mut mounts)?;
    // The outer of two places first, as it would hide the inner one.
    if !container.bare {
        mounts.sort_by_key(|mount| Path::new(&mount.target).components().count());
    }
    Ok((mounts, nodes))
}

/// The device nodes to make: these, and all of the host's where they are wanted. Where there is no
/// privilege to make one, the host's own are mounted.
fn nodes(
    (devices, all): (&[Device], bool),
    own_users: bool,
    mounts: &mut Vec<Mount>,
) -> Result<Vec<Node>> {
    let hosts = if all { devices::host_nodes() } else { Vec::new() };
    if own_users {
        mounts.extend(devices::standard().map(|device| devices::shown(&device)));
    } else if userns::is_initial() {
        let nodes = devices.iter().map(devices::node_of).collect::<Result<Vec<_>>>();
        return Ok(nodes?.into_iter().chain(hosts).collect());
    }
    // Of all only those that are of use to this user.
    let (read, write) = (rustix::fs::Access::READ_OK, rustix::fs::Access::WRITE_OK);
    let paths = hosts.iter().map(|node| format!("/dev/{}", node.path));
    let paths = paths.filter(|path| rustix::fs::access(path, read | write).is_ok());
    let paths = paths.map(Device::new);
    mounts.extend(paths.chain(devices.iter().cloned()).map(|device| devices::shown(&device)));
    Ok(Vec::new())
}

/// The namespaces of a container that somebody enters.
const KINDS: ThreadNameSpaceType = ThreadNameSpaceType::MOUNT
    .union(ThreadNameSpaceType::CONTROL_GROUP)
    .union(ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME)
    .union(ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION)
    .union(ThreadNameSpaceType::NETWORK)
    .union(ThreadNameSpaceType::PROCESS_ID);

/// Starts a process in the namespaces and the root of a running container: `docker exec`.
///
/// `pid` is the host's number of the container's first process, `pidfd` refers to the same. The
/// process is in the container's control groups, too.
pub fn exec(pid: u32, pidfd: BorrowedFd<'_>, process: Process, stdio: Stdio) -> Result<Running> {
    join(pid, pidfd, process, stdio, false)
}

/// The same for a process that goes on when this one has died.
pub fn exec_detached(
    pid: u32,
    pidfd: BorrowedFd<'_>,
    process: Process,
    stdio: Stdio,
) -> Result<Running> {
    join(pid, pidfd, process, stdio, true)
}

fn join(
    pid: u32,
    pidfd: BorrowedFd<'_>,
    process: Process,
    stdio: Stdio,
    outlives: bool,
) -> Result<Running> {
    let root = open(format!("/proc/{pid}/root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let root = root.doing(|| format!("open the root of process {pid}"))?;
    let program = process.argv.first().cloned().unwrap_or_default();
    let mut fds = Descriptors::with_answers()?;
    let process = process_order(process, root.as_fd())?;
    let target = pidfd.try_clone_to_owned().doing(|| "keep the container")?;
    let groups = cgroup::of_process(pid)?;
    // Only if the process is still there was the number its.
    crate::sys::send_signal_by_fd(pidfd, 0).doing(|| format!("find process {pid}"))?;
    let cgroups = groups.into_iter().map(|procs| fds.add(procs)).collect();
    let mut kinds = if userns::is_initial() { KINDS } else { userns::other_kinds(pid, KINDS)? };
    kinds.set(ThreadNameSpaceType::USER, !shares(pid, "user"));
    kinds.set(ThreadNameSpaceType::TIME, !shares(pid, "time"));
    let own_root = root.try_clone().doing(|| "keep the root")?;
    let own_root = is_apart(pid).then(|| fds.add(own_root));
    let target = fds.add(target);
    let place = Place::Existing { target, kinds: kinds.bits(), cgroups, root: own_root };
    let stdio = fds.stdio(stdio)?;
    let order = Order { place, process, stdio, outlives, pause: None, start: None };
    start(&order, fds, root, program, (&Hooks::default(), None))
}

/// Whether the root of a process is on none of the mounts that it is said to have.
fn is_apart(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/mountinfo")).is_ok_and(|mounts| mounts.is_empty())
}

/// Whether a process is in the same namespace of a kind as this one, or there is none.
fn shares(pid: u32, kind: &str) -> bool {
    let read = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{kind}")).ok();
    read(&pid.to_string()) == read("self")
}

fn start(
    order: &Order,
    fds: Descriptors,
    root: OwnedFd,
    program: String,
    (hooks, users): (&Hooks, Option<&IdMaps>),
) -> Result<Running> {
    let borrowed: Vec<_> = fds.theirs.iter().map(AsFd::as_fd).collect();
    helper::send(order, &borrowed)?;
    // The answers end when nobody else can give any.
    drop(fds.theirs);
    Running::from_answers(&fds.answers, root, program, order.outlives, hooks, users)
}

fn process_order(mut process: Process, root: BorrowedFd<'_>) -> Result<ProcessOrder> {
    if process.argv.is_empty() {
        return Err(Error::Invalid("there is no program to run".into()));
    }
    if !process.cwd.starts_with('/') {
        return Err(Error::Invalid(format!("directory {:?} is not absolute", process.cwd)));
    }
    let texts = process.argv.iter().chain(&process.env);
    if texts.into_iter().any(|text| CString::new(text.as_bytes()).is_err()) {
        return Err(Error::Invalid("an argument or variable has a zero byte".into()));
    }
    let mut user = process.resolve_user(root)?;
    if !userns::is_initial() {
        userns::check(&mut user)
            .map_err(|reason| Error::User { user: process.user.clone(), reason })?;
    }
    let capabilities = process.capabilities.within_own().doing(|| "read own capabilities")?;
    let sets = process.capability_sets.map(CapabilitySets::within_own).transpose();
    let sets = sets.doing(|| "read own capabilities")?;
    Ok(ProcessOrder {
        argv: process.argv,
        env: process.env,
        cwd: process.cwd,
        user,
        capabilities,
        sets: sets.unwrap_or_else(|| CapabilitySets::holding(capabilities)),
        seccomp: process.seccomp,
        no_new_privileges: process.no_new_privileges,
        limits: process.limits,
        oom_score: process.oom_score,
        umask: process.umask,
        personality: process.personality,
    })
}

impl Process {
    /// Finds its user, with all groups, in the files of a root, and adds the user's `HOME` to the
    /// environment where that is missing or empty.
    pub fn resolve_user(&mut self, root: BorrowedFd<'_>) -> Result<User> {
        let mut user = user::resolve(root, &self.user)?;
        user.groups.extend(user::resolve_groups(root, &self.groups)?);
        user.groups.sort_unstable();
        user.groups.dedup();
        let is_home = |variable: &String| variable.starts_with("HOME=") && variable != "HOME=";
        if !self.env.iter().any(is_home) {
            self.env.retain(|variable| variable != "HOME=");
            self.env.push(format!("HOME={}", user.home));
        }
        Ok(user)
    }
}

/// Whether the host's `/sys/fs/cgroup` is the one tree of version 2, and not a mixture.
pub fn has_cgroup_tree() -> bool {
    open("/sys/fs/cgroup", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .and_then(fstatfs)
        .is_ok_and(|system| system.f_type == CGROUP2_SUPER_MAGIC)
}

/// What travels with an order, and this end of the answers.
pub(crate) struct Descriptors {
    answers: OwnedFd,
    pub(crate) theirs: Vec<OwnedFd>,
}

impl Descriptors {
    pub(crate) fn with_answers() -> Result<Self> {
        let pair =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (answers, theirs) = pair.doing(|| "make a socket for answers")?;
        let mut fds = Self { answers, theirs: Vec::new() };
        assert_eq!(fds.add(theirs), ANSWERS);
        Ok(fds)
    }

    /// The container in writing, but for its process.
    fn sandbox(&mut self, mut container: Container, users: bool) -> Result<Sandbox> {
        let (mounts, nodes) = mounts_and_nodes(&mut container, users)?;
        let root = match clone_mount(&container.root, container.bare) {
            // A detached mount, on a kernel that does not clone those.
            Err(Errno::INVAL) => container.root,
            cloned => cloned.doing(|| "open the root")?,
        };
        let has_own_name = !matches!(container.uts, Namespace::Host);
        Ok(Sandbox {
            root: self.add(root),
            mounts: mounts
                .into_iter()
                .map(|mount| self.mount(mount, container.all_devices))
                .collect::<Result<_>>()?,
            hostname: container.hostname.filter(|_| has_own_name),
            domainname: container.domainname.filter(|_| has_own_name),
            network: self.namespace(container.network),
            ipc: self.namespace(container.ipc),
            pid: self.namespace(container.pid),
            uts: self.namespace(container.uts),
            cgroup: self.namespace(container.cgroup),
            time: self.namespace(container.time),
            clocks: container.clocks,
            mount: self.mount_namespace(container.mount)?,
            user: users,
            seen: self.seen(users)?,
            bare: container.bare,
            propagation: container.propagation.map_or(0, Propagation::bits),
            devices: nodes,
            all_devices: container.all_devices,
            masked_paths: container.masked_paths,
            read_only_paths: container.read_only_paths,
            writable_sys: container.writable_sys,
            cgroup_tree: has_cgroup_tree(),
            cgroups: container.cgroups.into_iter().map(|procs| self.add(procs)).collect(),
            shm_size: container.shm_size,
            sysctls: container.sysctls,
            read_only_root: container.read_only_root,
            init: container.init,
        })
    }

    fn add(&mut self, fd: OwnedFd) -> Slot {
        self.theirs.push(fd);
        self.theirs.len() - 1
    }

    fn namespace(&mut self, namespace: Namespace) -> NamespaceOrder {
        match namespace {
            Namespace::Private => NamespaceOrder::Private,
            Namespace::Host => NamespaceOrder::Host,
            Namespace::Join(fd) => NamespaceOrder::Join(self.add(fd)),
        }
    }

    /// Another's mounts are entered at last, once the container's own are put together.
    fn mount_namespace(&mut self, namespace: Namespace) -> Result<NamespaceOrder> {
        let namespace = match namespace {
            Namespace::Host => {
                let own =
                    open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
                Namespace::Join(own.doing(|| "open the mount namespace")?)
            }
            other => other,
        };
        Ok(self.namespace(namespace))
    }

    /// File systems of the kernel, which a user namespace may make only where they are seen.
    fn seen(&mut self, wanted: bool) -> Result<Vec<Slot>> {
        let paths = if wanted { ["/proc", "/sys"].as_slice() } else { &[] };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let open = |path: &&str| open_tree(CWD, *path, flags).doing(|| format!("open {path}"));
        paths.iter().map(|path| Ok(self.add(open(path)?))).collect()
    }

    fn stdio(&mut self, stdio: Stdio) -> Result<StdioOrder> {
        let (stdin, stdout, stderr) = match stdio {
            Stdio::Terminal(size) => return Ok(StdioOrder::Terminal(size)),
            Stdio::Streams { stdin, stdout, stderr } => (stdin, stdout, stderr),
        };
        Ok(StdioOrder::Streams([
            self.stream(stdin, rustix::stdio::stdin(), OFlags::RDONLY)?,
            self.stream(stdout, rustix::stdio::stdout(), OFlags::WRONLY)?,
            self.stream(stderr, rustix::stdio::stderr(), OFlags::WRONLY)?,
        ]))
    }

    fn stream(&mut self, stream: Stream, own: BorrowedFd<'_>, access: OFlags) -> Result<Slot> {
        let fd = match stream {
            Stream::Fd(fd) => fd,
            Stream::Inherit => own.try_clone_to_owned().doing(|| "pass a stream on")?,
            Stream::Null => open("/dev/null", access | OFlags::CLOEXEC, Mode::empty())
                .doing(|| "open the null device")?,
        };
        Ok(self.add(fd))
    }

    pub(crate) fn mount(&mut self, mount: Mount, all_devices: bool) -> Result<MountOrder> {
        let doing = || format!("open what is mounted on {:?}", mount.target);
        if !mount.target.starts_with('/') {
            return Err(Error::Invalid(format!("target {:?} is not absolute", mount.target)));
        }
        let mut attributes = mount.flags.attributes;
        let flags = [
            (mount.read_only && !mount.flags.writable_below, libc::MOUNT_ATTR_RDONLY),
            (!mount.suid, libc::MOUNT_ATTR_NOSUID),
            (!mount.exec, libc::MOUNT_ATTR_NOEXEC),
            (!all_devices && !mount.flags.devices, libc::MOUNT_ATTR_NODEV),
        ];
        for (wanted, flag) in flags {
            attributes |= if wanted { flag } else { 0 };
        }
        let source = match mount.source {
            MountSource::Path(path) => {
                let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                flags.set(OpenTreeFlags::AT_RECURSIVE, mount.recursive);
                let opened = open_tree(CWD, &path, flags);
                SourceOrder::Mount(self.add(opened.doing(|| {
                    format!("open {} to mount it on {:?}", path.display(), mount.target)
                })?))
            }
            MountSource::Fd(fd) => SourceOrder::Mount(match clone_mount(&fd, mount.recursive) {
                // A detached mount, on a kernel that does not clone those.
                Err(Errno::INVAL) => self.add(fd),
                cloned => self.add(cloned.doing(doing)?),
            }),
            MountSource::Bytes { bytes, mode, uid, gid } => {
                SourceOrder::Bytes { bytes, mode, uid, gid }
            }
            MountSource::New { kind, options } => SourceOrder::New { kind, options },
            MountSource::Tmpfs { size, mode, uid, gid } => {
                let options = tmpfs_options(size, mode, uid, gid);
                SourceOrder::New { kind: "tmpfs".into(), options }
            }
        };
        let recursive = mount.recursive && matches!(source, SourceOrder::Mount(_));
        Ok(MountOrder {
            source,
            subpath: mount.subpath,
            target: mount.target,
            attributes,
            propagation: mount.flags.propagation.map_or(libc::MS_PRIVATE, Propagation::bits),
            own_attributes: if mount.read_only { libc::MOUNT_ATTR_RDONLY } else { 0 },
            copy_up: mount.flags.copy_up,
            mode_of_place: mount.flags.mode_of_place,
            recursive,
        })
    }
}

fn tmpfs_options(
    size: Option<u64>,
    mode: u32,
    uid: u32,
    gid: u32,
) -> Vec<(String, Option<String>)> {
    let mut options = vec![
        ("source".to_owned(), Some("tmpfs".to_owned())),
        ("mode".to_owned(), Some(format!("{mode:o}"))),
        ("uid".to_owned(), Some(uid.to_string())),
        ("gid".to_owned(), Some(gid.to_string())),
    ];
    options.extend(size.map(|bytes| ("size".to_owned(), Some(bytes.to_string()))));
    options
}
