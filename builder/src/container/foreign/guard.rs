//! What sees to it that no container of another runtime outlives the process that watches it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::super::control::LETTING_GO;
use super::super::error::Result;
use super::super::folder::Folder;
use super::super::spawn::{self, Task};
use super::OtherRuntime;
use super::bundle::Bundle;
use super::program::Program;

const PAUSE: Duration = Duration::from_millis(2);

/// Whether this process is the parent of what runtimes leave behind.
static IS_PARENT: OnceLock<()> = OnceLock::new();
/// The guard of this process.
static GUARD: OnceLock<UnixStream> = OnceLock::new();

/// Makes this process, which has one thread still, the parent of what runtimes leave behind.
pub(super) fn become_parent() -> Result<()> {
    if IS_PARENT.get().is_none() {
        rbuild_runtime::adopts()?;
        let _ = IS_PARENT.set(());
    }
    Ok(())
}

/// Starts the guard of this process, before the process is a parent: a guard must not see what is
/// mounted at the places that it removes.
pub(super) fn start(folder: &Folder) -> Result<()> {
    if GUARD.get().is_none() {
        let _ = GUARD.set(spawn::start(&folder.store, &folder.id, Task::Guard)?);
    }
    Ok(())
}

/// Tells the guard whether there is something to remove when this process dies.
pub(super) fn tell(is_there: bool) {
    if let Some(mut guard) = GUARD.get() {
        // Whoever killed the guard as well has it otherwise.
        let _ = guard.write_all(&[is_there.into()]);
    }
}

/// Waits for the end of a monitor, and does what is left to do where it was killed.
pub(crate) fn guard(folder: &Folder, mut monitor: UnixStream) {
    let (mut is_there, mut told) = (false, [0]);
    while let Ok(1) = monitor.read(&mut told) {
        is_there = told == [1];
    }
    if !is_there {
        return;
    }
    let until = Instant::now() + LETTING_GO;
    // The kernel frees the lock of a process that was killed at last.
    while let Ok(true) = folder.is_held() {
        if Instant::now() > until {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    // Who looks at a container first whose monitor has died puts it right.
    if let Err(error) = folder.state() {
        tracing::warn!(id = folder.id, %error, "a container could not be put right");
    }
    let runtime = folder.record().ok().flatten().and_then(|record| record.options.runtime);
    if let (Some(runtime), Ok(Some(_held))) = (runtime, folder.lock()) {
        sweep(folder, &runtime);
    }
}

/// Removes what a dead monitor has left of a container of another runtime; whoever does holds the
/// lock.
pub(crate) fn sweep(folder: &Folder, runtime: &OtherRuntime) {
    let bundle = Bundle::of(folder);
    if !bundle.path().exists() {
        return;
    }
    let program = Program::new(&folder.id, runtime, &bundle);
    if let Err(error) = program.delete() {
        tracing::warn!(id = folder.id, %error, "a runtime could not remove a container");
    }
    bundle.remove();
}
