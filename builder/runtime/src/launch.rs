//! The parent's side: starting a container, and watching it.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::container::{Container, Process, Stdio, WindowSize};
use crate::error::Result;
use crate::signal::{Exit, Signal};

/// Becomes the helper that starts containers, and never returns, if this process was started as
/// one; otherwise does nothing. Must be the first thing in `main`, before any thread starts.
pub fn init_if_asked() {
    todo!()
}

/// Starts the helper ahead of the first [`launch`], which then need not wait for it.
pub fn prepare() -> Result<()> {
    todo!()
}

/// Names a program that calls [`init_if_asked`] to be the helper, in place of this one; for tests
/// under a harness that owns `main`. Returns whether it was the first call and no helper has been
/// started yet.
pub fn use_helper(program: impl Into<PathBuf>) -> bool {
    let _: PathBuf = program.into();
    todo!()
}

/// Starts a container and returns once its process runs.
pub fn launch(container: Container, stdio: Stdio) -> Result<Running> {
    let _ = (container, stdio);
    todo!()
}

/// Starts a process in the namespaces and the root of a running container: `docker exec`.
///
/// `pid` is the host's number of the container's first process, `pidfd` refers to the same.
pub fn exec(pid: u32, pidfd: BorrowedFd<'_>, process: Process, stdio: Stdio) -> Result<Running> {
    let _ = (pid, pidfd, process, stdio);
    todo!()
}

/// A container's process that was started. Dropping it kills the container, unless it outlives.
#[derive(Debug)]
pub struct Running {}

impl Running {
    /// The number of the first process, as this process sees it.
    pub fn pid(&self) -> u32 {
        todo!()
    }

    /// Becomes readable when the first process ends; to be polled.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        todo!()
    }

    /// The other end of the container's terminal, if it has one.
    pub fn terminal(&self) -> Option<&OwnedFd> {
        todo!()
    }

    /// Waits, blocking, for the first process to end, and takes away the empty files and
    /// directories that were made in the root to mount on. May be called again, and from other
    /// threads at the same time.
    pub fn wait(&self) -> Result<Exit> {
        todo!()
    }

    /// Sends a signal to the first process; `SIGKILL` ends the container. To one that has ended,
    /// does nothing.
    pub fn kill(&self, signal: Signal) -> Result<()> {
        let _ = signal;
        todo!()
    }

    /// Sets the size of the container's terminal.
    pub fn resize(&self, size: WindowSize) -> Result<()> {
        let _ = size;
        todo!()
    }

    /// The directories of the root (absolute paths in it) in which something was made to mount
    /// on. On an overlay each has been copied up: one that is empty in the upper directory then
    /// is no change of the container's.
    pub fn stub_parents(&self) -> Vec<PathBuf> {
        todo!()
    }
}
