//! What sees to it that no container of another runtime outlives the process that watches it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::super::control::LETTING_GO;
use super::super::error::{Error, Result};
use super::super::folder::Folder;
use super::super::spawn::{self, Task};
use super::OtherRuntime;
use super::bundle::Bundle;
use super::program::Program;

const PAUSE: Duration = Duration::from_millis(2);

static IS_PARENT: OnceLock<()> = OnceLock::new();

/// Makes this process, which has one thread still, the parent of what runtimes leave behind.
pub(super) fn become_parent() -> Result<()> {
    if IS_PARENT.get().is_none() {
        rbuild_runtime::adopts()?;
        let _ = IS_PARENT.set(());
    }
    Ok(())
}

/// A process that has the runtime kill the container when this process dies before this is dropped.
#[derive(Debug)]
pub(super) struct Guard(UnixStream);

impl Guard {
    pub(super) fn start(folder: &Folder) -> Result<Self> {
        spawn::start(&folder.store, &folder.id, Task::Guard).map(Self)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Hung up without a word, it would think that this process has died.
        let _ = self.0.write_all(&[0]);
    }
}

/// Waits for the end of a monitor, and does what is left to do where it was killed.
pub(crate) fn guard(folder: &Folder, mut monitor: UnixStream) {
    if matches!(monitor.read(&mut [0]), Ok(1)) {
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
    let removed = std::fs::remove_dir_all(bundle.path());
    if let Err(error) = removed.map_err(Error::file("remove", bundle.path())) {
        tracing::warn!(id = folder.id, %error, "a bundle could not be removed");
    }
}
