//! The helper: a small copy of this program, with one thread, that makes the containers' processes.
//!
//! A process that is big or has threads must not be forked. So the launching process starts itself
//! once more, by way of a read-only mount of its own program that no container can write to, and
//! sends each order to that helper. The helper clones itself into the new namespaces, as a child
//! of the launching process; it lives as long as that does, and kills the containers that shall
//! not outlive it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::process::{DumpableBehavior, set_dumpable_behavior, umask};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags, move_into_link_name_space,
    move_into_thread_name_spaces,
};

use crate::caps::Capabilities;
use crate::container::Seccomp;
use crate::error::{Doing, Error, Result};
use crate::mounts::{attach, clone_mount, new_mount, pivot};
use crate::sys::{self, Cloned};
use crate::wire::{
    ANSWERS, MAX_FDS, NamespaceOrder, Order, Place, Report, receive_order, send_order, send_report,
};
use crate::{init, seccomp, userns};

/// The helper's name. A program that does not call [`init_if_asked`] gets it as its only argument,
/// too, so that it has a good chance to refuse it.
const NAME: &str = "--rbuild-container-helper";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
static HELPER: Mutex<Option<Helper>> = Mutex::new(None);
/// Those that have had their only order.
static SPENT: Mutex<Vec<Helper>> = Mutex::new(Vec::new());

/// The launching process's hold on its helper.
struct Helper {
    socket: UnixStream,
    process: Child,
}

/// Names a program that calls [`init_if_asked`] to be the helper, in place of this one; for tests
/// under a harness that owns `main`. Returns whether this was the first call.
pub fn use_helper(program: impl Into<PathBuf>) -> bool {
    PROGRAM.set(program.into()).is_ok()
}

/// Starts the helper ahead of the first [`launch`](crate::launch()), which then need not wait.
pub fn prepare() -> Result<()> {
    let mut helper = HELPER.lock().unwrap_or_else(PoisonError::into_inner);
    if helper.is_none() {
        *helper = Some(Helper::start()?);
    }
    Ok(())
}

/// Has the helper carry an order out; a helper that has died is replaced once.
pub(crate) fn send(order: &Order, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let bytes = serde_json::to_vec(order).map_err(io::Error::from);
    let bytes = bytes.doing(|| "write the order for a container")?;
    if fds.len() > MAX_FDS {
        return Err(Error::Invalid(format!("more than {MAX_FDS} files and mounts")));
    }
    if joins_processes(order) && !userns::is_initial() {
        return send_alone(&bytes, fds);
    }
    let mut helper = HELPER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(live) = &*helper
        && send_order(&live.socket, &bytes, fds).is_ok()
    {
        return Ok(());
    }
    if let Some(dead) = helper.take() {
        dead.bury();
    }
    let started = helper.insert(Helper::start()?);
    let reason = "it takes no orders; does the program call init_if_asked first in main?";
    let sent = send_order(&started.socket, &bytes, fds);
    sent.map_err(|source| Error::Start { reason, source })
}

/// Whether the helper enters a namespace of processes for the order.
fn joins_processes(order: &Order) -> bool {
    match &order.place {
        Place::Existing { kinds, .. } => {
            ThreadNameSpaceType::from_bits_retain(*kinds).contains(ThreadNameSpaceType::PROCESS_ID)
        }
        Place::New(sandbox) => matches!(sandbox.pid, NamespaceOrder::Join(_)),
    }
}

/// Has a helper of its own carry an order out. One in a user namespace cannot come back from a
/// namespace of processes; it ends with what it watches.
fn send_alone(bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut spent = SPENT.lock().unwrap_or_else(PoisonError::into_inner);
    spent.retain_mut(|helper| !matches!(helper.process.try_wait(), Ok(Some(_))));
    let helper = Helper::start()?;
    let sent = send_order(&helper.socket, bytes, fds);
    spent.push(helper);
    sent.map_err(|source| Error::Start { reason: "it takes no orders", source })
}

impl Helper {
    fn start() -> Result<Self> {
        let failed = |reason| move |source| Error::Start { reason, source };
        let (socket, theirs) = UnixStream::pair().map_err(failed("it has no socket"))?;
        let program = sealed_program().map_err(failed("the program cannot be opened"))?;
        let process = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            .arg0(NAME)
            .arg(NAME)
            .env_clear()
            .current_dir("/")
            // Signals from the terminal are for the launching process only.
            .process_group(0)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed("the program cannot be run"))?;
        Ok(Self { socket, process })
    }

    fn bury(mut self) {
        drop(self.socket);
        // It ends when its socket is closed, if it has not already.
        let _ = self.process.wait();
    }
}

/// This program, by a mount of its own through which nobody can write to it.
fn sealed_program() -> io::Result<OwnedFd> {
    let own = userns::own_program();
    let path = PROGRAM.get().map_or(own, PathBuf::as_path);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let program = open_tree(rustix::fs::CWD, path, flags)?;
    sys::set_mount_attributes(&program, libc::MOUNT_ATTR_RDONLY, false)?;
    Ok(program)
}

/// Becomes the helper that starts containers, and never returns, if this process was started as
/// one; otherwise does nothing. Must be the first thing in `main`, before any thread starts.
pub fn init_if_asked() {
    let mut arguments = std::env::args_os();
    if !(arguments.next().is_some_and(|name| name == NAME) && arguments.len() == 1) {
        return;
    }
    // The launching process may have been careless with its descriptors.
    let closed = sys::close_from(3, false);
    if let (Ok(()), Ok(socket)) = (closed, rustix::stdio::stdin().try_clone_to_owned()) {
        Server::new(UnixStream::from(socket)).serve();
    }
    std::process::exit(0)
}

/// The helper's own side.
struct Server {
    orders: UnixStream,
    /// What the containers that must not outlive the launching process are killed by.
    watched: Vec<OwnedFd>,
    /// The process namespace to come back to.
    own_pids: Option<OwnedFd>,
    /// Whether it cannot come back, and is to have no other order.
    is_spent: bool,
    filters: Vec<(Capabilities, Vec<libc::sock_filter>)>,
    /// Whether the helper has been cut off from the host's mounts.
    secluded: Result<()>,
}

impl Server {
    fn new(orders: UnixStream) -> Self {
        // No container may look into the helper's copies before they run their programs.
        let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        umask(Mode::empty());
        // What the launching process ignores, containers do not.
        sys::reset_signals();
        let own_pids = File::open("/proc/self/ns/pid").ok().map(OwnedFd::from);
        let secluded = hidden.doing(|| "hide the helper").and_then(|()| seclude());
        Self {
            orders,
            watched: Vec::new(),
            own_pids,
            is_spent: false,
            filters: Vec::new(),
            secluded,
        }
    }

    /// Carries orders out until the launching process has closed its end.
    fn serve(&mut self) {
        while let Ok(Some((bytes, fds))) = self.next_order() {
            let answers = fds.first().and_then(|fd| fd.try_clone().ok());
            let result = serde_json::from_slice::<Order>(&bytes)
                .map_err(|error| Error::Invalid(error.to_string()))
                .and_then(|order| self.carry_out(&order, fds));
            if let (Err(error), Some(answers)) = (result, answers) {
                // The launching process may have gone; then there is nobody to tell.
                let _ = send_report(answers.as_fd(), &Report::Failed(init::failure(&error)), None);
            }
        }
        for process in &self.watched {
            // One that has ended needs no killing.
            let _ = sys::send_signal_by_fd(process.as_fd(), libc::SIGKILL);
        }
    }

    /// Waits for an order, and forgets the watched processes that end meanwhile.
    fn next_order(&mut self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        loop {
            if self.is_spent && self.watched.is_empty() {
                return Ok(None);
            }
            let mut polled = vec![PollFd::new(&self.orders, PollFlags::IN)];
            polled.extend(self.watched.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
            match poll(&mut polled, None) {
                Err(Errno::INTR) => continue,
                done => done?,
            };
            let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            let mut ended = ready[1..].iter();
            self.watched.retain(|_| ended.next() == Some(&false));
            if ready[0] {
                return receive_order(&self.orders);
            }
        }
    }

    fn carry_out(&mut self, order: &Order, fds: Vec<OwnedFd>) -> Result<()> {
        if let Err(Error::Sandbox { doing, source }) = &self.secluded {
            let kind = source.raw_os_error().unwrap_or(libc::EIO);
            return Err(io::Error::from_raw_os_error(kind)).doing(|| doing.clone());
        }
        let flags = libc::CLONE_PARENT | Self::flags(order, &fds)?;
        let mut filter = self.filter(order);
        let cloned = sys::clone_process(flags);
        if let Ok(Cloned::Child) = cloned {
            self.watched.clear();
            init::run(order, fds, &mut filter);
        }
        let back = if joins_processes(order) { self.come_back() } else { Ok(()) };
        if let Cloned::Parent { pid, pidfd } = cloned.doing(|| "make a process")? {
            let report = Report::Started { pid: pid.as_raw_nonzero().get() };
            let told = send_report(fds[ANSWERS].as_fd(), &report, Some(pidfd.as_fd()));
            // Watched also when nobody could be told: the launching process has just died then.
            if !order.outlives {
                self.watched.push(pidfd);
            }
            told.doing(|| "report a process")?;
        }
        back
    }

    /// The namespaces to be made with the process. One of processes that exists already is entered
    /// here, since only children are in it.
    fn flags(order: &Order, fds: &[OwnedFd]) -> Result<libc::c_int> {
        let joined = match &order.place {
            Place::Existing { target, kinds, .. } => {
                let kind = ThreadNameSpaceType::PROCESS_ID;
                if !ThreadNameSpaceType::from_bits_retain(*kinds).contains(kind) {
                    return Ok(0);
                }
                let target = fds.get(*target).map(AsFd::as_fd);
                let target = target.ok_or(Errno::BADF).doing(|| "find the container")?;
                move_into_thread_name_spaces(target, kind)
                    .doing(|| "join the container's processes")?;
                return Ok(0);
            }
            Place::New(sandbox) => sandbox,
        };
        if let NamespaceOrder::Join(slot) = joined.pid {
            let target = fds.get(slot).map(AsFd::as_fd);
            let target = target.ok_or(Errno::BADF).doing(|| "find the process namespace")?;
            move_into_link_name_space(target, Some(LinkNameSpaceType::ProcessID))
                .doing(|| "join the process namespace")?;
        }
        let kinds = [
            (joined.network, libc::CLONE_NEWNET),
            (joined.ipc, libc::CLONE_NEWIPC),
            (joined.pid, libc::CLONE_NEWPID),
            (joined.uts, libc::CLONE_NEWUTS),
            (joined.time, if joined.clocks.is_empty() { libc::CLONE_NEWTIME } else { 0 }),
        ];
        let users = if joined.user { libc::CLONE_NEWUSER } else { 0 };
        let private = kinds.iter().filter(|(kind, _)| *kind == NamespaceOrder::Private);
        Ok(private.fold(libc::CLONE_NEWNS | users, |flags, (_, flag)| flags | flag))
    }

    /// Has later children in the helper's own process namespace again.
    fn come_back(&mut self) -> Result<()> {
        if !userns::is_initial() {
            self.is_spent = true;
            return Ok(());
        }
        let Some(own) = &self.own_pids else {
            return Ok(());
        };
        move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID))
            .doing(|| "come back from the container's processes")
    }

    /// The order's filter; the default ones are compiled once.
    fn filter(&mut self, order: &Order) -> Vec<libc::sock_filter> {
        let held = match &order.process.seccomp {
            Seccomp::Default => order.process.capabilities,
            Seccomp::None => return Vec::new(),
            Seccomp::Filter(filter) => return filter.code(),
        };
        if let Some((_, known)) = self.filters.iter().find(|(known, _)| *known == held) {
            return known.clone();
        }
        let made = seccomp::program(held);
        self.filters.push((held, made.clone()));
        made
    }
}

/// Cuts the helper off from the host's mounts: its copies then have none to copy or take away, and
/// what they mount is seen nowhere else.
fn seclude() -> Result<()> {
    sys::unshare(UnshareFlags::NEWNS).doing(|| "make a mount namespace (it takes root)")?;
    let open = |path| rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let done = || -> Result<(), Errno> {
        sys::set_mount_attributes(open("/")?, 0, true)?;
        let empty = new_mount("tmpfs", &[("mode", "755")], MountAttrFlags::empty())?;
        attach(&empty, open("/")?)?;
        if !userns::is_initial() {
            // Known by all its copies from now on.
            userns::is_single();
            keep(empty.as_fd())?;
        }
        pivot(empty.as_fd())
    };
    done().doing(|| "leave the host's mounts")
}

/// Keeps what a container in a user namespace needs of the host: its devices, of which there can
/// be no others, and file systems of the kernel, which may only be made where they are seen.
fn keep(root: BorrowedFd<'_>) -> Result<(), Errno> {
    for name in userns::KEPT {
        let path = Path::new("/").join(name);
        let place = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755))?;
        move_mount(
            clone_mount(place, true)?,
            "",
            root,
            name,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )?;
    }
    Ok(())
}
