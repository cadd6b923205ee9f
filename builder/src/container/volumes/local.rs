//! Volumes with a file system of their own, or a folder elsewhere: the options of docker's `local`
//! driver.
//!
//! Such a file system is mounted on the host at the volume's `_data` as long as a container uses
//! it. Who uses it holds a lock that the kernel frees, so that the last one unmounts it, and whoever
//! looks next does so for those that were killed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rbuild_cache::Store;
use rbuild_runtime::{Mount as Mounted, MountSource, new_file_system};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, StatxFlags, flock, openat, statx};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};

use super::super::error::{Error, Result};
use super::super::parse::invalid;
use super::place::{Place, all};
use crate::bundle::Words;

const USED: &str = "used";
/// `STATX_ATTR_MOUNT_ROOT`.
const MOUNT_ROOT: u64 = 0x2000;
const KNOWN: [&str; 4] = ["type", "device", "o", "size"];

/// Refuses options that docker refuses.
pub(super) fn check(options: &BTreeMap<String, String>) -> Result<()> {
    let wrong = |name: &str, reason: &str| {
        let value = options.get(name).map(String::as_str).unwrap_or_default();
        Err(invalid("volume option", &format!("{name}={value}"), reason))
    };
    if let Some(name) = options.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return wrong(name, "the driver `local` has type, device and o");
    }
    if options.contains_key("size") {
        return wrong("size", "there are no quotas: `type=tmpfs` has a size in `o`");
    }
    for (name, needs) in [("type", "device"), ("device", "type"), ("o", "type")] {
        if options.contains_key(name) && !options.contains_key(needs) {
            return wrong(name, &format!("it takes `{needs}` beside it"));
        }
    }
    words(options).map(drop)
}

fn words(options: &BTreeMap<String, String>) -> Result<Words> {
    let text = options.get("o").map(String::as_str).unwrap_or_default();
    let words: Vec<String> =
        text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Words::read(&words).map_err(|error| invalid("volume option", text, error.to_string()))
}

/// A lock on a volume that is mounted on the host. The last to let go unmounts it, when the turn is
/// its own: who has the turn must not drop it.
#[derive(Debug)]
pub(crate) struct InUse {
    store: Store,
    place: Place,
    used: Option<File>,
}

impl Drop for InUse {
    fn drop(&mut self) {
        let Ok(_turn) = self.place.turn(&self.store) else {
            return;
        };
        drop(self.used.take());
        if let Err(error) = unmount_idle(&self.place) {
            tracing::warn!(volume = self.place.name, %error, "a volume could not be unmounted");
        }
    }
}

/// The volume as a mount; the caller has its turn.
pub(super) fn mounted(
    store: &Store,
    place: &Place,
    target: &str,
) -> Result<(Mounted, Option<InUse>)> {
    let options = &place.record.options;
    let Some(kind) = options.get("type") else {
        return Ok((Mounted::bind(place.data(), target), None));
    };
    let device = options.get("device").map(String::as_str).unwrap_or_default();
    let mut words = words(options)?;
    if words.bind {
        let device = PathBuf::from(device);
        std::fs::metadata(&device).map_err(Error::file("find", &device))?;
        return Ok((words.mount(MountSource::Path(device), target), None));
    }
    let path = place.folder.join(USED);
    let used = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let used = used.map_err(Error::file("open", &path))?;
    flock(&used, FlockOperation::LockShared).map_err(Error::file("lock", &path))?;
    let data = place.data();
    if !is_mounted(&data)? {
        let mut told = std::mem::take(&mut words.data);
        told.push(("source".to_owned(), Some(device.to_owned())));
        mount(kind, &with_address(told)?, &data)?;
    }
    // Not before it is mounted: what is dropped on an error would wait for the caller's turn.
    let in_use = InUse { store: store.clone(), place: place.clone(), used: Some(used) };
    Ok((words.mount(MountSource::Path(data), target), Some(in_use)))
}

/// The host of `addr=` by its address: the kernel asks no name server.
fn with_address(mut told: Vec<(String, Option<String>)>) -> Result<Vec<(String, Option<String>)>> {
    for (_, value) in told.iter_mut().filter(|(key, _)| key == "addr") {
        let host = value.clone().unwrap_or_default();
        if host.parse::<IpAddr>().is_err() {
            let found = (host.as_str(), 0).to_socket_addrs();
            let found = found.map_err(Error::system("find the address of the volume's server"))?;
            *value = found.map(|address| address.ip().to_string()).next();
        }
    }
    Ok(told)
}

fn mount(kind: &str, told: &[(String, Option<String>)], data: &Path) -> Result<()> {
    let new = new_file_system(kind, told).map_err(Error::from)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = openat(CWD, data, flags, Mode::empty()).map_err(Error::file("open", data))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(new.as_fd(), "", place.as_fd(), "", flags).map_err(Error::file("mount on", data))
}

fn is_mounted(data: &Path) -> Result<bool> {
    let told = statx(CWD, data, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    let told = told.map_err(Error::file("find", data))?;
    Ok(told.stx_attributes.bits() & MOUNT_ROOT != 0)
}

/// Unmounts a volume that nobody uses; the caller has its turn.
fn unmount_idle(place: &Place) -> Result<()> {
    let path = place.folder.join(USED);
    let Ok(used) = File::open(&path) else {
        return Ok(());
    };
    match flock(&used, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => unmount_all(place),
        Err(Errno::WOULDBLOCK) => Ok(()),
        Err(error) => Err(Error::file("lock", path)(error)),
    }
}

/// Unmounts a volume that is to be removed; the caller has its turn.
pub(super) fn unmount_all(place: &Place) -> Result<()> {
    let data = place.data();
    while is_mounted(&data)? {
        unmount(&data, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(Error::file("unmount", &data))?;
    }
    Ok(())
}

/// Unmounts what those have left who were killed.
pub(super) fn sweep(store: &Store) -> Result<()> {
    for place in all(store)? {
        if place.folder.join(USED).exists() && is_mounted(&place.data())? {
            let _turn = place.turn(store)?;
            unmount_idle(&place)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn options_are_docker_s() {
        let tmpfs = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=1000")];
        check(&options(&tmpfs)).unwrap();
        check(&options(&[("type", "none"), ("device", "/a"), ("o", "bind")])).unwrap();
        for wrong in [
            &[("what", "x")][..],
            &[("type", "tmpfs")],
            &[("device", "/a")],
            &[("o", "bind")],
            &[("size", "1g")],
            &[("type", "none"), ("device", "/a"), ("o", "bind,idmap")],
        ] {
            assert!(check(&options(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_server_is_found_by_its_address() {
        let told = vec![("addr".to_owned(), Some("localhost".to_owned())), ("ro".to_owned(), None)];
        let told = with_address(told).unwrap();
        assert!(told[0].1.as_deref().unwrap().parse::<IpAddr>().is_ok());
    }
}
