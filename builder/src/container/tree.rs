//! The files of a container as it sees them, whether or not it runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rbuild_cache::{Store, Visit};
use rbuild_runtime::{Assembled, MountSource};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::error::{Error, Result};
use super::folder::{Folder, Held};
use super::volumes::{self, InUse};

/// The root of a container's files.
///
/// That of one that runs is the root of its first process, with everything that is mounted there;
/// one that does not run cannot be started or removed while this is held.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Root,
    _volumes: Vec<InUse>,
    _held: Option<Held>,
    _visit: Option<Visit>,
}

#[derive(Debug)]
enum Root {
    Bare(OwnedFd),
    Mounted(Assembled),
}

impl Tree {
    /// Opens the files of a container. Of what is mounted in one that does not run there is nothing.
    pub(crate) fn open(store: &Store, folder: &Folder) -> Result<Self> {
        Self::of(store, folder, false)
    }

    /// The same with binds, volumes and images where one that does not run would have them.
    pub(crate) fn with_mounts(store: &Store, folder: &Folder) -> Result<Self> {
        Self::of(store, folder, true)
    }

    fn of(store: &Store, folder: &Folder, mounted: bool) -> Result<Self> {
        let state = folder.state()?;
        if state.status.is_alive() {
            return Self::running(folder, state.pid);
        }
        let visit = store.enter()?;
        let record = folder.record()?.ok_or_else(|| Error::NotFound(folder.id.clone()))?;
        let held = folder.lock()?.ok_or_else(|| Error::Busy(folder.short().to_owned()))?;
        store.uses_layers(&record.layers);
        let root = store.writable_at(&record.layers, &folder.files(), &folder.work(), true)?;
        let (mut mounts, volumes) =
            if mounted { volumes::mounts(store, &record)? } else { Default::default() };
        // Memory that a container had is gone with it.
        mounts.retain(|mount| !matches!(mount.source, MountSource::New { .. }));
        let root = match mounts.as_slice() {
            [] => Root::Bare(root),
            _ => Root::Mounted(Assembled::new(root, mounts)?),
        };
        Ok(Self { root, _volumes: volumes, _held: Some(held), _visit: Some(visit) })
    }

    fn running(folder: &Folder, pid: u32) -> Result<Self> {
        let not_running = || Error::NotRunning(folder.short().to_owned());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty());
        let root = root.map_err(|_| not_running())?;
        // The number was still the container's after its root was opened.
        super::control::connect(folder)?;
        if folder.written_state()?.pid != pid {
            return Err(not_running());
        }
        Ok(Self { root: Root::Bare(root), _volumes: Vec::new(), _held: None, _visit: None })
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.root {
            Root::Bare(root) => root.as_fd(),
            Root::Mounted(root) => root.as_fd(),
        }
    }
}
