//! Taking containers away.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rbuild_cache::Store;
use rbuild_runtime::Signal;

use super::control::{self, LETTING_GO};
use super::error::{Error, Result};
use super::folder::{Folder, Held};
use super::list::{Listed, list};
use super::note::entry;
use super::state::Status;
use super::volumes;
use super::{group, names, network};
use crate::journal;

/// Removes a container, with its anonymous volumes if `volumes`; one that runs only by `force`.
pub fn remove(store: &Store, name: &str, force: bool, volumes: bool) -> Result<()> {
    let folder = names::find(store, name)?;
    let until = Instant::now() + LETTING_GO;
    loop {
        if folder.state()?.status.is_alive() {
            if !force {
                return Err(Error::RemoveRunning(name.to_owned()));
            }
            match control::signal(&folder, Signal::KILL).and_then(|()| control::wait_for(&folder)) {
                Ok(_) | Err(Error::NotRunning(_) | Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(held) = folder.lock()? {
            return remove_folder(store, &folder, volumes, held);
        }
        if folder.record()?.is_none() {
            return Ok(());
        }
        // Another process is making, starting or removing it, or just about to let go.
        if Instant::now() > until {
            return Err(Error::Busy(name.to_owned()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Removes every container that does not run and of which `wanted` is true, and returns their ids.
pub fn prune(store: &Store, wanted: impl Fn(&Listed) -> bool) -> Result<Vec<String>> {
    let wanted: BTreeSet<_> =
        list(store, true)?.into_iter().filter(|one| wanted(one)).map(|one| one.id).collect();
    let mut removed = Vec::new();
    for folder in names::all(store)?.into_iter().filter(|folder| wanted.contains(&folder.id)) {
        if folder.record()?.is_none() || folder.state()?.status.is_alive() {
            continue;
        }
        if let Some(held) = folder.lock()?
            && !folder.written_state()?.status.is_alive()
        {
            let id = folder.id.clone();
            remove_folder(store, &folder, false, held)?;
            removed.push(id);
        }
    }
    Ok(removed)
}

/// Removes a container that is locked and does not run.
pub(crate) fn remove_folder(
    store: &Store,
    folder: &Folder,
    volumes: bool,
    held: Held,
) -> Result<()> {
    let record = folder.record()?;
    if let Some(record) = &record {
        network::forget(folder, record)?;
        if group::is_wanted(&record.options) {
            // A monitor that was killed before it said that the container runs has left it.
            group::sweep(folder, &record.options.resources);
        }
    }
    let removed = record.as_ref().map(|record| entry(folder, record, "destroy", &[]));
    for name in names::names(store)?.remove(&folder.id).into_iter().flatten() {
        names::release(store, &name, &folder.id);
    }
    folder.remove()?;
    journal::note(store, removed.as_slice());
    for volume in record.into_iter().flat_map(|record| record.anonymous).filter(|_| volumes) {
        volumes::remove_with_container(store, &volume)?;
    }
    drop(held);
    Ok(())
}

/// Removes what a dead process left half made or half removed, and `--rm` containers whose
/// monitor died.
pub(crate) fn sweep(store: &Store, folder: &Folder) -> Result<()> {
    if let Some(held) = folder.lock()? {
        let is_left = match folder.record()? {
            None => true,
            Some(record) => {
                record.options.remove && folder.written_state()?.status == Status::Exited
            }
        };
        if is_left {
            remove_folder(store, folder, true, held)?;
        }
    }
    Ok(())
}
