//! What is mounted in a container: folders of the host, volumes of the store, memory, images.
//!
//! A volume is the folder `volumes/<name>` of the store: `_data` has its files, `volume.json` what
//! was said of it when it was made, `filling` is there while it is filled from an image, and `used`
//! is locked by those who use one that has a file system of its own.

mod fill;
mod local;
mod place;
mod verbs;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rbuild_cache::{Layer, Lock, Store};
use rbuild_runtime::{Mount as Mounted, MountSource};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::error::{Error, Result};
use super::folder::Record;
use super::mounts::{Below, Bind, Mount, NamedVolume, Source};
use super::names::{self, new_id};
use super::options::RunOptions;
use super::parse::invalid;
use crate::image::ContainerConfig;

pub(crate) use local::InUse;
pub(crate) use place::path;
pub use verbs::{NewVolume, Volume, create_volume, remove_volume, volume_size, volumes};

const VOLUMES: &str = "volumes";

/// Held by whoever makes a container that uses volumes, and by whoever removes volumes.
fn turn(store: &Store) -> Result<Lock> {
    Ok(store.lock_wait("volumes", |_| ())?)
}

/// The same, if a new container uses any.
pub(crate) fn turn_to_use(
    store: &Store,
    options: &RunOptions,
    image: &ContainerConfig,
) -> Result<Option<Lock>> {
    let is_volume = |mount: &Mount| matches!(mount.source, Source::Volume(_));
    let none = options.volumes_from.is_empty()
        && image.volumes.is_empty()
        && !options.mounts.iter().any(is_volume);
    if none { Ok(None) } else { turn(store).map(Some) }
}

/// The layers of images that are mounted.
pub(crate) fn layers(options: &RunOptions) -> impl Iterator<Item = &Vec<Layer>> {
    options.mounts.iter().filter_map(|mount| match &mount.source {
        Source::Image(image) => Some(&image.layers),
        _ => None,
    })
}

/// Adds the mounts of other containers and those that the image declares, names the volumes
/// without a name, and returns the names that were made up.
pub(crate) fn name_all(
    store: &Store,
    options: &mut RunOptions,
    image: &ContainerConfig,
) -> Result<Vec<String>> {
    if let Some(twice) = twice(&options.mounts) {
        return Err(invalid("volume", twice, "something else is mounted there already"));
    }
    let mut more = Vec::new();
    for text in &options.volumes_from {
        for mount in mounts_of(store, text)? {
            // Of several containers the last one counts.
            more.retain(|other: &Mount| other.target != mount.target);
            more.push(mount);
        }
    }
    for declared in &image.volumes {
        let mount = Mount::anonymous(declared)?;
        if !more.iter().any(|other| other.target == mount.target) {
            more.push(mount);
        }
    }
    // What the user mounts there takes the place of both.
    more.retain(|mount| !options.mounts.iter().any(|other| other.target == mount.target));
    options.mounts.extend(more);
    let mut made = Vec::new();
    for mount in &mut options.mounts {
        if let Source::Volume(NamedVolume { name: name @ None, .. }) = &mut mount.source {
            let new = new_id()?;
            made.push(new.clone());
            *name = Some(new);
        }
    }
    Ok(made)
}

fn twice(mounts: &[Mount]) -> Option<&str> {
    let again = |(index, mount): (usize, &Mount)| {
        mounts[..index].iter().any(|other| other.target == mount.target)
    };
    let found = (0..mounts.len()).find(|&index| again((index, &mounts[index])));
    found.map(|index| mounts[index].target.as_str())
}

/// The binds and volumes of another container.
fn mounts_of(store: &Store, text: &str) -> Result<Vec<Mount>> {
    let (name, read_only) = Mount::volumes_from(text)?;
    let folder = names::find(store, name)?;
    let record = folder.record()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
    let mut mounts = record.options.mounts;
    mounts.retain(|mount| matches!(mount.source, Source::Bind(_) | Source::Volume(_)));
    for mount in &mut mounts {
        mount.read_only |= read_only;
    }
    Ok(mounts)
}

/// Makes the volumes of a new container that are not there yet, and finds its binds.
pub(crate) fn make_all(store: &Store, record: &Record) -> Result<()> {
    for mount in &record.options.mounts {
        match &mount.source {
            Source::Volume(volume) => drop(place::make(store, volume)?),
            // What is missing is told before a container is there.
            Source::Bind(bind) if !bind.create => drop(bound(bind)?),
            _ => {}
        }
    }
    Ok(())
}

/// The mounts as the runtime knows them, and what holds volumes that are mounted on the host.
pub(crate) fn mounts(store: &Store, record: &Record) -> Result<(Vec<Mounted>, Vec<InUse>)> {
    let (mut mounts, mut held) = (Vec::new(), Vec::new());
    for mount in &record.options.mounts {
        let mut mounted = match &mount.source {
            Source::Bind(bind) => of_bind(bind, &mount.target)?,
            Source::Volume(volume) => {
                let (mounted, in_use) = of_volume(store, record, volume, &mount.target)?;
                held.extend(in_use);
                mounted
            }
            Source::Tmpfs(tmpfs) => {
                let (kind, options) = ("tmpfs".to_owned(), tmpfs.for_kernel());
                let mut new = Mounted::new(MountSource::New { kind, options }, &mount.target);
                new.flags.mode_of_place = tmpfs.mode.is_none();
                new.flags.copy_up = tmpfs.copy_up;
                new.flags.attributes = tmpfs.attributes;
                new
            }
            Source::Image(image) => {
                let files = store.view(&image.layers)?;
                let mut files = Mounted::new(MountSource::Fd(files), &mount.target);
                files.subpath = text(image.subpath.as_deref());
                files
            }
        };
        mounted.read_only |= mount.read_only;
        mounted.exec &= mount.access.exec;
        mounted.suid &= mount.access.suid;
        mounted.flags.devices |= mount.access.devices;
        mounts.push(mounted);
    }
    Ok((mounts, held))
}

fn of_bind(bind: &Bind, target: &str) -> Result<Mounted> {
    let path = bound(bind)?;
    if let Some(propagation) = bind.propagation
        && let Some(reason) = propagation.lack(&path)
    {
        return Err(invalid(
            "volume",
            &format!("{}:{target}:{propagation}", path.display()),
            reason,
        ));
    }
    let mut mounted = Mounted::bind(path, target);
    mounted.recursive = bind.below != Below::Absent;
    mounted.flags.writable_below = bind.below == Below::Writable;
    mounted.flags.propagation = bind.propagation.map(super::mounts::Propagation::kind);
    Ok(mounted)
}

/// A path of the host, which `-v` makes where it is missing.
fn bound(bind: &Bind) -> Result<PathBuf> {
    let path = &bind.path;
    if bind.create && !path.exists() {
        fs::create_dir_all(path).map_err(Error::file("make the folder", path))?;
    }
    fs::metadata(path).map_err(Error::file("find", path))?;
    Ok(path.clone())
}

fn of_volume(
    store: &Store,
    record: &Record,
    volume: &NamedVolume,
    target: &str,
) -> Result<(Mounted, Option<InUse>)> {
    let place = place::make(store, volume)?;
    // Before the turn, so that it is dropped after it: it waits for the turn to unmount.
    let in_use;
    let _turn = place.turn(store)?;
    let (mut mounted, held) = local::mounted(store, &place, target)?;
    in_use = held;
    let MountSource::Path(data) = &mounted.source else {
        return Ok((mounted, in_use));
    };
    if volume.copy && volume.subpath.is_none() {
        fill::fill(store, record, target, (&place, data))?;
    }
    mounted.subpath = text(volume.subpath.as_deref());
    Ok((mounted, in_use))
}

fn open_folder(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(Error::file("open", path))
}

fn text(path: Option<&Path>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}

/// Removes a volume that went with a container, unless another container uses it by now.
pub(crate) fn remove_with_container(store: &Store, name: &str) -> Result<()> {
    let _turn = turn(store)?;
    match verbs::user(store, name)? {
        Some(_) => Ok(()),
        None => place::remove(store, name),
    }
}
