//! What is mounted in a container: folders of the host, volumes of the store, memory.
//!
//! A volume is the folder `volumes/<name>/_data` of the store.

mod verbs;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rbuild_cache::Store;
use rbuild_runtime::{Mount as Mounted, MountSource};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::copy::{How, copy_folder};
use super::error::{Error, Result};
use super::folder::Record;
use super::names::new_id;
use super::options::{Mount, RunOptions, Source};
use crate::image::ContainerConfig;

pub use verbs::{Volume, create_volume, remove_volume, volume_size, volumes};

const VOLUMES: &str = "volumes";
const DATA: &str = "_data";

/// Names the volumes without a name, adds those that the image declares, and returns the names
/// that were made up.
pub(crate) fn name_all(options: &mut RunOptions, image: &ContainerConfig) -> Result<Vec<String>> {
    for declared in &image.volumes {
        // What is mounted there anyway takes the place of the volume.
        let mount = Mount::anonymous(declared)?;
        if !options.mounts.iter().any(|other| other.target == mount.target) {
            options.mounts.push(mount);
        }
    }
    let mut made = Vec::new();
    for mount in &mut options.mounts {
        if let Source::Volume { name: name @ None, .. } = &mut mount.source {
            let new = new_id()?;
            made.push(new.clone());
            *name = Some(new);
        }
    }
    for (index, mount) in options.mounts.iter().enumerate() {
        if options.mounts[..index].iter().any(|other| other.target == mount.target) {
            return Err(Error::Invalid {
                option: "volume",
                value: mount.target.clone(),
                reason: "something else is mounted there already".to_owned(),
            });
        }
    }
    Ok(made)
}

/// The mounts as the runtime knows them, the outer of two first.
pub(crate) fn mounts(store: &Store, record: &Record) -> Result<Vec<Mounted>> {
    let mut mounts: Vec<_> = record.options.mounts.iter().collect();
    mounts.sort_by_key(|mount| mount.target.matches('/').count());
    mounts.into_iter().map(|mount| mounted(store, record, mount)).collect()
}

fn mounted(store: &Store, record: &Record, mount: &Mount) -> Result<Mounted> {
    let mut mounted = match &mount.source {
        Source::Bind { path, create } => Mounted::bind(bound(path, *create)?, &mount.target),
        Source::Volume { name, copy } => {
            let name = name.as_deref().unwrap_or_default();
            let data = volume(store, name)?;
            if *copy {
                fill(store, record, &mount.target, &data)?;
            }
            Mounted::bind(data, &mount.target)
        }
        Source::Tmpfs { size, mode, exec } => {
            let source = MountSource::Tmpfs { size: *size, mode: *mode, uid: 0, gid: 0 };
            let mut tmpfs = Mounted::new(source, &mount.target);
            (tmpfs.exec, tmpfs.suid) = (*exec, false);
            tmpfs
        }
    };
    mounted.read_only = mount.read_only;
    Ok(mounted)
}

/// A path of the host, which `-v` makes where it is missing.
fn bound(path: &Path, create: bool) -> Result<PathBuf> {
    if create && !path.exists() {
        fs::create_dir_all(path).map_err(Error::file("make the folder", path))?;
    }
    fs::metadata(path).map_err(Error::file("find", path))?;
    Ok(path.to_owned())
}

/// The folder of a volume, made if it is missing.
fn volume(store: &Store, name: &str) -> Result<PathBuf> {
    let volumes = store.root().join(VOLUMES);
    let data = volumes.join(name).join(DATA);
    if !data.exists() {
        let volume = volumes.join(name);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&volume);
        made.map_err(Error::file("make the folder", &volume))?;
        match DirBuilder::new().mode(0o755).create(&data) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::file("make the folder", &data)(error));
            }
            _ => {}
        }
    }
    Ok(data)
}

/// Fills an empty volume with what the image has at its place.
fn fill(store: &Store, record: &Record, target: &str, data: &Path) -> Result<()> {
    let is_empty = fs::read_dir(data).map_err(Error::file("read", data))?.next().is_none();
    if !is_empty {
        return Ok(());
    }
    let image = store.view(&record.layers)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = match openat2(&image, target, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(from) => from,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(error) => return Err(Error::file("open", target)(error)),
    };
    let to: OwnedFd =
        rustix::fs::openat(CWD, data, flags, Mode::empty()).map_err(Error::file("open", data))?;
    copy_folder(from.as_fd(), to.as_fd(), How::default())
        .map_err(Error::file("copy the image's files to", data))
}

/// Removes a volume with everything in it.
pub(crate) fn remove(store: &Store, name: &str) -> Result<()> {
    let path = store.root().join(VOLUMES).join(name);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Where a volume is.
pub(crate) fn path(store: &Store, name: &str) -> PathBuf {
    store.root().join(VOLUMES).join(name).join(DATA)
}
