//! Processes of their own for monitors: this program, started once more.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio, exit};
use std::thread;

use rbuild_cache::Store;

use super::error::{Error, Result};
use super::exec::serve_exec;
use super::folder::Folder;
use super::foreign::guard;
use super::monitor::supervise;

/// The first argument of a monitor.
const MONITOR: &str = "--rbuild-container-monitor";
/// The first argument of a process that watches over another process in a container.
const EXEC: &str = "--rbuild-exec-monitor";
/// The first argument of a process that waits for the death of a monitor.
const GUARD: &str = "--rbuild-monitor-guard";

/// What a monitor is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// A container, from its start to its end.
    Container,
    /// One more process in a container that runs.
    Exec,
    /// The end of a monitor, whose container another runtime has made.
    Guard,
}

/// Becomes a monitor, and never returns, if this process was started as one; otherwise does
/// nothing. Comes in `main` right after [`init_if_asked`](rbuild_runtime::init_if_asked), before
/// any thread starts.
pub fn monitor_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    let task = match arguments.next().as_deref().and_then(OsStr::to_str) {
        Some(MONITOR) => Task::Container,
        Some(EXEC) => Task::Exec,
        Some(GUARD) => Task::Guard,
        _ => return,
    };
    let mut watch = || -> Option<()> {
        let (root, id) = (arguments.next()?, arguments.next()?);
        let store = Store::open(root).ok()?;
        // Whoever wants to enter the container must find its user namespace.
        rbuild_runtime::userns::stay(store.root()).ok()?;
        let folder = Folder::new(&store, id.to_str()?);
        let client = take_input().ok()?;
        match task {
            Task::Container => supervise(&store, &folder, client),
            Task::Exec => serve_exec(&folder, client),
            Task::Guard => guard(&folder, client),
        }
        Some(())
    };
    exit(i32::from(watch().is_none()));
}

/// Leaves the terminal's session, and takes the socket that came as standard input.
fn take_input() -> io::Result<UnixStream> {
    // It is no group's leader unless it was started by hand.
    let _ = rustix::process::setsid();
    let client = rustix::stdio::stdin().try_clone_to_owned()?;
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    Ok(UnixStream::from(client))
}

/// Starts a monitor, and returns the connection of its first client.
pub(crate) fn start(store: &Store, id: &str, task: Task) -> Result<UnixStream> {
    let spawn = || -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut child = Command::new(rbuild_runtime::userns::own_program())
            .arg0("rbuild")
            .arg(match task {
                Task::Container => MONITOR,
                Task::Exec => EXEC,
                Task::Guard => GUARD,
            })
            .arg(store.root())
            .arg(id)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // A monitor may end before this process does.
        thread::spawn(move || child.wait());
        Ok(ours)
    };
    spawn().map_err(Error::monitor("start"))
}

/// Runs a monitor in a thread of this process, and returns the connection of its first client.
pub(crate) fn start_here(
    store: &Store,
    folder: &Folder,
) -> Result<(UnixStream, thread::JoinHandle<()>)> {
    let start = || {
        let (ours, theirs) = UnixStream::pair()?;
        let (store, folder) = (store.clone(), folder.clone());
        let thread = thread::Builder::new().name("monitor".to_owned());
        let thread = thread.spawn(move || supervise(&store, &folder, theirs))?;
        Ok::<_, io::Error>((ours, thread))
    };
    start().map_err(Error::monitor("start"))
}
