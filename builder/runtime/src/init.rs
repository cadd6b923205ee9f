//! The child's side: one function for each step from a bare process to the container's program.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libc::sock_filter;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{
    Gid, LinkNameSpaceType, ThreadNameSpaceType, Uid, UnshareFlags, move_into_link_name_space,
    move_into_thread_name_spaces, set_thread_res_gid, set_thread_res_uid,
};

use crate::container::{ClockOffset, WindowSize};
use crate::error::{Doing, Error, Result};
use crate::mounts::{Mounts, attach, clone_mount, new_mount, pivot_from_below};
use crate::path::Stub;
use crate::process::{Entry, open_proc, own_streams};
use crate::wire::{
    ANSWERS, Failure, NamespaceOrder, Order, Place, Report, Sandbox, Slot, StdioOrder, parts,
    receive_go, send_report,
};
use crate::{network, pty, sys, userns};

/// Where a container's root is mounted in the helper's own root for a moment.
pub(crate) const ROOT: &str = "/";

/// The descriptors that came with an order, each to be taken once.
pub(crate) struct Descriptors(RefCell<Vec<Option<OwnedFd>>>);

impl Descriptors {
    pub(crate) fn new(fds: Vec<OwnedFd>) -> Self {
        Self(RefCell::new(fds.into_iter().map(Some).collect()))
    }

    pub(crate) fn take(&self, slot: Slot) -> Result<OwnedFd> {
        let mut fds = self.0.borrow_mut();
        let fd = fds.get_mut(slot).and_then(Option::take);
        fd.ok_or_else(|| Error::Invalid(format!("descriptor {slot} did not arrive")))
    }
}

/// Becomes the container's process; never returns. What fails is reported over the answers.
pub(crate) fn run(order: &Order, fds: Vec<OwnedFd>, filter: &mut [sock_filter]) -> ! {
    let fds = Descriptors::new(fds);
    if let Ok(answers) = fds.take(ANSWERS) {
        let copy = answers.try_clone();
        let result = match &order.place {
            Place::New(sandbox) => enter_new(order, sandbox, &fds, filter, answers),
            Place::Existing { target, kinds, cgroups, root } => {
                let place = (*target, *kinds, *root);
                join_cgroups(cgroups, &fds)
                    .and_then(|()| enter_existing(order, place, &fds, filter, answers))
            }
        };
        if let (Err(error), Ok(answers)) = (result, copy) {
            // When nobody listens any more there is nobody to tell.
            let _ = send_report(answers.as_fd(), &Report::Failed(failure(&error)), None);
        }
    }
    std::process::exit(125)
}

pub(crate) fn failure(error: &Error) -> Failure {
    let errno = |source: &std::io::Error| source.raw_os_error().unwrap_or(libc::EIO);
    match error {
        Error::NotFound { .. } => Failure::NotFound,
        Error::NotExecutable { source, .. } => Failure::NotExecutable { errno: errno(source) },
        Error::Sandbox { doing, source } => {
            Failure::Step { doing: doing.clone(), errno: errno(source) }
        }
        other => Failure::Invalid { reason: other.to_string() },
    }
}

fn enter_new(
    order: &Order,
    sandbox: &Sandbox,
    fds: &Descriptors,
    filter: &mut [sock_filter],
    answers: OwnedFd,
) -> Result<std::convert::Infallible> {
    if sandbox.user {
        wait_for_users(answers.as_fd()).doing(|| "become root of a user namespace")?;
    }
    join_cgroups(&sandbox.cgroups, fds)?;
    let own_cgroups = sandbox.cgroup == NamespaceOrder::Private;
    if own_cgroups && (sandbox.cgroup_tree || sandbox.bare) {
        sys::unshare(UnshareFlags::NEWCGROUP).doing(|| "make a cgroup namespace")?;
    }
    join_namespaces(sandbox, fds)?;
    // A machine may have no keyrings, or too many; nothing depends on it.
    let _ = sys::join_new_keyring();
    if sandbox.network == NamespaceOrder::Private {
        network::bring_loopback_up().doing(|| "bring the loopback device up")?;
    }
    for slot in &sandbox.seen {
        let seen = fds.take(*slot)?;
        attach(seen, open_root()?).doing(|| "show a file system of the kernel")?;
    }
    let root = fds.take(sandbox.root)?;
    attach_root(&root, sandbox).doing(|| "mount the root")?;
    let mut mounts = if sandbox.bare {
        Mounts::bare(root.as_fd())
    } else {
        Mounts::standard(root.as_fd(), sandbox)
    }?;
    let mounted = furnish(order, sandbox, fds, &mut mounts, answers.as_fd());
    if !sandbox.bare {
        report_stubs(answers.as_fd(), std::mem::take(&mut mounts.targets.stubs));
    }
    mounted?;
    if let Some(copies) = order.pause {
        wait_for_hooks(answers.as_fd(), &root, copies).doing(|| "wait for the hooks")?;
    }
    if !sandbox.clocks.is_empty() {
        set_clocks(&mounts.proc, &sandbox.clocks).doing(|| "set the clocks")?;
    }
    change_root(&root, sandbox, fds)?;
    own_streams(&order.process);
    let start = order.start.as_ref();
    let start = start.map(|start| Ok((fds.take(start.from)?, start))).transpose()?;
    let (process, init, proc) = (&order.process, sandbox.init, mounts.proc.as_fd());
    Entry { order: process, filter, proc, init, answers, start }.enter()
}

/// Waits until the launching process has said which users there are, and becomes the first one.
fn wait_for_users(answers: BorrowedFd<'_>) -> Result<(), Errno> {
    if !receive_go(answers)? {
        return Err(Errno::CANCELED);
    }
    become_root()
}

/// Becomes the root of a user namespace that this process has come into as nobody.
fn become_root() -> Result<(), Errno> {
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

/// Moves to a time namespace whose clocks differ from the host's.
fn set_clocks(proc: &OwnedFd, clocks: &[ClockOffset]) -> Result<(), Errno> {
    sys::unshare(UnshareFlags::NEWTIME)?;
    let offsets = open_proc(proc.as_fd(), "self/timens_offsets", OFlags::WRONLY)?;
    let line = |one: &ClockOffset| format!("{} {} {}\n", one.clock, one.seconds, one.nanoseconds);
    rustix::io::write(offsets, clocks.iter().map(line).collect::<String>().as_bytes())?;
    let made = rustix::fs::openat(
        proc,
        "self/ns/time_for_children",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    move_into_link_name_space(made.as_fd(), Some(LinkNameSpaceType::Time))
}

/// Makes what was put together the root of this process.
fn change_root(root: &OwnedFd, sandbox: &Sandbox, fds: &Descriptors) -> Result<()> {
    if let NamespaceOrder::Join(slot) = sandbox.mount {
        let others = fds.take(slot)?;
        // It leaves no trace among the others' mounts, and goes with the last process in it.
        let copied = || -> Result<(), Errno> {
            let copy = clone_mount(root, true)?;
            sys::change_mount(&copy, 0, sandbox.propagation, false)?;
            move_into_link_name_space(others.as_fd(), Some(LinkNameSpaceType::Mount))?;
            rustix::process::fchdir(copy)?;
            rustix::process::chroot(".")
        };
        return copied().doing(|| "change the root among others' mounts");
    }
    pivot_from_below(root.as_fd(), sandbox.seen.len()).doing(|| "change the root")?;
    if sandbox.propagation != 0 {
        sys::change_mount(open_root()?, 0, sandbox.propagation, false)
            .doing(|| "set the propagation of the root")?;
    }
    Ok(())
}

/// This process's root.
fn open_root() -> Result<OwnedFd> {
    let root = rustix::fs::open(ROOT, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    root.doing(|| "open the root")
}

/// Shows the launching process copies of the root, and waits for its hooks.
fn wait_for_hooks(answers: BorrowedFd<'_>, root: &OwnedFd, copies: usize) -> Result<(), Errno> {
    if copies > 0 {
        // What a hook mounts in its copy is to be seen here.
        sys::change_mount(root, 0, libc::MS_SHARED, true)?;
    }
    let failed = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::PIPE);
    for _ in 0..copies {
        let copy = clone_mount(root, true)?;
        send_report(answers, &Report::Root, Some(copy.as_fd())).map_err(failed)?;
    }
    send_report(answers, &Report::Ready, None).map_err(failed)?;
    let go = receive_go(answers)?;
    if copies > 0 {
        sys::change_mount(root, 0, libc::MS_PRIVATE, true)?;
    }
    if go { Ok(()) } else { Err(Errno::CANCELED) }
}

/// Everything between the standard file systems and the change of root.
fn furnish(
    order: &Order,
    sandbox: &Sandbox,
    fds: &Descriptors,
    mounts: &mut Mounts<'_>,
    answers: BorrowedFd<'_>,
) -> Result<()> {
    if let Some(name) = &sandbox.hostname {
        rustix::system::sethostname(name.as_bytes()).doing(|| "set the host name")?;
    }
    if let Some(name) = &sandbox.domainname {
        rustix::system::setdomainname(name.as_bytes()).doing(|| "set the domain name")?;
    }
    if sandbox.bare {
        add_mounts(sandbox, fds, mounts)?;
        mounts.furnish_dev(sandbox)?;
    }
    for (name, value) in &sandbox.sysctls {
        set_sysctl(mounts.proc.as_fd(), name, value).doing(|| format!("set sysctl {name}"))?;
    }
    setsid().doing(|| "start a session")?;
    match &order.stdio {
        StdioOrder::Streams(slots) => use_streams(*slots, fds)?,
        StdioOrder::Terminal(size) => {
            let inside = use_terminal(mounts.terminals()?, *size, order, answers)?;
            mounts.add_console(&inside).doing(|| "mount /dev/console")?;
        }
    }
    if !sandbox.bare {
        add_mounts(sandbox, fds, mounts)?;
    }
    mounts.make_read_only(&sandbox.read_only_paths)?;
    mounts.mask(&sandbox.masked_paths)?;
    if sandbox.read_only_root {
        let read_only = libc::MOUNT_ATTR_RDONLY;
        sys::set_mount_attributes(mounts.root, read_only, false)
            .doing(|| "make the root read-only")?;
    }
    Ok(())
}

fn add_mounts(sandbox: &Sandbox, fds: &Descriptors, mounts: &mut Mounts<'_>) -> Result<()> {
    let mut orders = sandbox.mounts.iter();
    orders.try_for_each(|mount| mounts.add(mount, |slot| fds.take(slot)))
}

fn attach_root(root: &OwnedFd, sandbox: &Sandbox) -> Result<(), Errno> {
    let fence = if sandbox.all_devices { 0 } else { libc::MOUNT_ATTR_NODEV };
    sys::set_mount_attributes(root, fence, false)?;
    let place = rustix::fs::open(ROOT, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    attach(root, place)
}

fn report_stubs(answers: BorrowedFd<'_>, stubs: Vec<Stub>) {
    for part in parts(stubs) {
        // Nobody who could take them away is left when nobody listens.
        let _ = send_report(answers, &Report::Stubs(part), None);
    }
}

fn join_cgroups(cgroups: &[Slot], fds: &Descriptors) -> Result<()> {
    for slot in cgroups {
        let procs = fds.take(*slot)?;
        rustix::io::write(procs, b"0").doing(|| "join the cgroup")?;
    }
    Ok(())
}

fn join_namespaces(sandbox: &Sandbox, fds: &Descriptors) -> Result<()> {
    let kinds = [
        (sandbox.network, LinkNameSpaceType::Network),
        (sandbox.ipc, LinkNameSpaceType::InterProcessCommunication),
        (sandbox.uts, LinkNameSpaceType::HostNameAndNISDomainName),
        (sandbox.cgroup, LinkNameSpaceType::ControlGroup),
        (sandbox.time, LinkNameSpaceType::Time),
    ];
    for (order, kind) in kinds {
        if let NamespaceOrder::Join(slot) = order {
            let namespace = fds.take(slot)?;
            let joined = move_into_link_name_space(namespace.as_fd(), Some(kind));
            joined.doing(|| format!("join the namespace {kind:?}"))?;
        }
    }
    Ok(())
}

fn set_sysctl(proc: BorrowedFd<'_>, name: &str, value: &str) -> Result<(), Errno> {
    let path = format!("sys/{}", name.replace('.', "/"));
    let file = open_proc(proc, &path, OFlags::WRONLY)?;
    rustix::io::write(file, value.as_bytes())?;
    Ok(())
}

fn use_streams(slots: [Slot; 3], fds: &Descriptors) -> Result<()> {
    let [stdin, stdout, stderr] = slots;
    dup2_stdin(fds.take(stdin)?).doing(|| "set up standard input")?;
    dup2_stdout(fds.take(stdout)?).doing(|| "set up standard output")?;
    dup2_stderr(fds.take(stderr)?).doing(|| "set up standard error")
}

/// Makes a new terminal the process's own, and sends its other end away.
fn use_terminal(
    terminals: BorrowedFd<'_>,
    size: WindowSize,
    order: &Order,
    answers: BorrowedFd<'_>,
) -> Result<OwnedFd> {
    let opened = || -> Result<OwnedFd, Errno> {
        let terminal = pty::open(terminals, size)?;
        let owner = rustix::fs::Uid::from_raw(order.process.user.uid);
        rustix::fs::fchown(&terminal.inside, Some(owner), None)?;
        ioctl_tiocsctty(&terminal.inside)?;
        dup2_stdin(&terminal.inside)?;
        dup2_stdout(&terminal.inside)?;
        dup2_stderr(&terminal.inside)?;
        send_report(answers, &Report::Terminal, Some(terminal.outside.as_fd()))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::PIPE))?;
        Ok(terminal.inside)
    };
    opened().doing(|| "open a terminal")
}

fn enter_existing(
    order: &Order,
    (target, kinds, root): (Slot, u32, Option<Slot>),
    fds: &Descriptors,
    filter: &mut [sock_filter],
    answers: OwnedFd,
) -> Result<std::convert::Infallible> {
    let target = fds.take(target)?;
    // The helper has joined the processes already.
    let kinds = ThreadNameSpaceType::from_bits_retain(kinds) - ThreadNameSpaceType::PROCESS_ID;
    move_into_thread_name_spaces(target.as_fd(), kinds).doing(|| "join the container")?;
    if kinds.contains(ThreadNameSpaceType::USER) {
        become_root().doing(|| "become root of a user namespace")?;
    }
    if let Some(slot) = root {
        let root = fds.take(slot)?;
        let changed = rustix::process::fchdir(root).and_then(|()| rustix::process::chroot("."));
        changed.doing(|| "change the root")?;
    }
    // A machine may have no keyrings, or too many; nothing depends on it.
    let _ = sys::join_new_keyring();
    setsid().doing(|| "start a session")?;
    match &order.stdio {
        StdioOrder::Streams(slots) => use_streams(*slots, fds)?,
        StdioOrder::Terminal(size) => {
            let path = "/dev/pts";
            let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            let root = root.doing(|| "open the root")?;
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let terminals = crate::path::open_in_root(root.as_fd(), path, flags, Mode::empty());
            let terminals = terminals.doing(|| "find /dev/pts")?;
            use_terminal(terminals.as_fd(), *size, order, answers.as_fd())?;
        }
    }
    own_streams(&order.process);
    let proc = match new_mount("proc", &[], MountAttrFlags::empty()) {
        // The processes are the host's; the container has what shows them.
        Err(Errno::PERM) if !userns::is_initial() => crate::mounts::own_proc(),
        made => made,
    };
    let proc = proc.doing(|| "make a proc file system")?;
    let (process, proc) = (&order.process, proc.as_fd());
    Entry { order: process, filter, proc, init: false, answers, start: None }.enter()
}
