//! The folder that a runtime reads and writes: the bundle, and what it remembers.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rbuild_runtime::user::User;
use rbuild_runtime::{Container, Device, MountSource, MountedRoot, Process, WindowSize};

use super::super::error::{Error, Result};
use super::super::folder::{Folder, replace};
use super::super::group;
use super::super::limits::Resources;
use crate::bundle::write::{self, Surroundings};

const BUNDLE: &str = "oci";

/// The bundle of a container.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    path: PathBuf,
}

/// What is said of a container besides what it is.
pub(super) struct Described<'a> {
    pub(super) user: &'a User,
    pub(super) resources: &'a Resources,
    pub(super) terminal: Option<WindowSize>,
    pub(super) folder: &'a Folder,
}

impl Bundle {
    /// The bundle of a container, whether or not there is one.
    pub(super) fn of(folder: &Folder) -> Self {
        Self { path: folder.path().join(BUNDLE) }
    }

    /// Makes its folders.
    pub(super) fn make(folder: &Folder) -> Result<Self> {
        let bundle = Self::of(folder);
        for path in [&bundle.path, &bundle.root(), &bundle.files(), &bundle.state()] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(Error::file("make the folder", path))?;
        }
        Ok(bundle)
    }

    /// Removes all of it; what is mounted in it is no part of it.
    pub(super) fn remove(&self) {
        let remove = || -> io::Result<()> {
            if let Some(entries) = unless_gone(fs::read_dir(self.files()))? {
                for entry in entries {
                    let entry = entry?;
                    let is_folder = entry.file_type()?.is_dir();
                    // Each of these fails for what is mounted somewhere.
                    if is_folder {
                        fs::remove_dir(entry.path())
                    } else {
                        fs::remove_file(entry.path())
                    }?;
                }
            }
            unless_gone(fs::remove_dir(self.root()))?;
            unless_gone(fs::remove_dir_all(&self.path)).map(drop)
        };
        if let Err(error) = remove() {
            tracing::warn!(path = %self.path.display(), %error, "a bundle could not be removed");
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the root is mounted.
    pub(super) fn root(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// Where the runtime remembers its containers.
    pub(super) fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Where the runtime says what went wrong.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log.json")
    }

    fn files(&self) -> PathBuf {
        self.path.join("files")
    }

    /// Where the runtime writes the number of a process.
    pub(super) fn pid_file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.pid"))
    }

    /// The number of a process that the runtime has started.
    pub(super) fn pid(&self, name: &str) -> Result<u32> {
        let path = self.pid_file(name);
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let wrong = || Error::file("read", &path)(io::Error::from(io::ErrorKind::InvalidData));
        text.trim().parse().map_err(|_| wrong())
    }

    /// Writes the configuration of a container, with all that it takes at paths.
    pub(super) fn write(
        &self,
        container: &mut Container,
        described: &Described<'_>,
        root: &mut MountedRoot,
    ) -> Result<Vec<MountedRoot>> {
        let &Described { user, resources, terminal, folder } = described;
        let shown = self.write_files(container)?;
        container.devices = devices(container)?;
        let is_own = |target: &str| !write::is_standard(target);
        let places: Vec<_> = container
            .mounts
            .iter()
            .filter(|mount| is_own(&mount.target))
            .map(|mount| (mount.target.as_str(), is_folder(&mount.source)))
            .collect();
        root.make_places(["/proc", "/dev", "/sys"].map(|path| (path, true)))?;
        root.make_places(places)?;
        if is_own(&container.process.cwd) {
            root.make_directory(&container.process.cwd, (user.uid, user.gid))?;
        }
        let config = write::config(
            container,
            &Surroundings {
                root: &self.root(),
                user,
                limits: &resources.limits(),
                group: &format!("/{}", group::path(folder, resources).trim_start_matches('/')),
                terminal,
                holder: std::process::id(),
                group_tree: rbuild_runtime::has_cgroup_tree(),
            },
        )?;
        replace(&self.path.join("config.json"), &config)?;
        Ok(shown)
    }

    /// Writes what one more process is, and returns where.
    pub(super) fn write_process(
        &self,
        name: &str,
        process: &Process,
        user: &User,
        terminal: Option<WindowSize>,
    ) -> Result<PathBuf> {
        let path = self.path.join(format!("{name}.json"));
        let (described, _) = write::process(process, user, terminal)?;
        replace(&path, &described)?;
        Ok(path)
    }

    /// Removes what only the start of a process needs.
    pub(super) fn forget(&self, name: &str) {
        let _ = fs::remove_file(self.path.join(format!("{name}.json")));
        let _ = fs::remove_file(self.pid_file(name));
    }

    /// Has what is mounted from memory and by descriptors at paths, since other runtimes mount these
    /// alone; what is returned holds it there.
    fn write_files(&self, container: &mut Container) -> Result<Vec<MountedRoot>> {
        let mut shown = Vec::new();
        for (number, mount) in container.mounts.iter_mut().enumerate() {
            let path = self.files().join(number.to_string());
            let make = |is_folder| {
                if is_folder { fs::create_dir(&path) } else { fs::write(&path, "") }
            };
            let how = (mount.subpath.as_deref(), mount.recursive);
            match &mount.source {
                MountSource::Bytes { bytes, mode, uid, gid } => {
                    let write = || {
                        fs::write(&path, bytes)?;
                        fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
                        chown(&path, Some(*uid), Some(*gid))
                    };
                    write().map_err(Error::file("write", &path))?;
                }
                MountSource::Fd(fd) => shown.push(MountedRoot::of(fd, how, &path, make)?),
                MountSource::Path(source) if mount.subpath.is_some() => {
                    let fd = File::open(source).map_err(Error::file("open", source))?;
                    shown.push(MountedRoot::of(&fd.into(), how, &path, make)?);
                }
                _ => continue,
            }
            mount.subpath = None;
            mount.source = MountSource::Path(path);
        }
        Ok(shown)
    }
}

/// What was found; whoever removed before may have been killed at any point.
fn unless_gone<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// The devices with all that their nodes have; of a privileged container, those of the host too.
fn devices(container: &Container) -> Result<Vec<Device>> {
    let mut all: Vec<Device> = Vec::new();
    for device in &container.devices {
        all.push(device.resolved()?);
    }
    if container.all_devices {
        let hosts = Device::all_of_host();
        let is_new = |one: &Device| !all.iter().any(|known| known.path == one.path);
        let more: Vec<_> = hosts.into_iter().filter(is_new).collect();
        all.extend(more);
    }
    Ok(all)
}

fn is_folder(source: &MountSource) -> bool {
    match source {
        MountSource::Path(path) => path.is_dir(),
        MountSource::Bytes { .. } => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_in_part_is_removed_again() {
        let scratch = tempfile::tempdir().unwrap();
        let store = rbuild_cache::Store::open(scratch.path()).unwrap();
        let folder = Folder::new(&store, "half");
        for gone in ["files", "rootfs", "state"] {
            let bundle = Bundle::make(&folder).unwrap();
            fs::write(bundle.log(), "").unwrap();
            fs::remove_dir(bundle.path().join(gone)).unwrap();
            bundle.remove();
            assert!(!bundle.path().exists(), "without {gone}");
        }
        let bundle = Bundle::make(&folder).unwrap();
        fs::write(bundle.root().join("mounted"), "").unwrap();
        bundle.remove();
        assert!(bundle.root().join("mounted").exists());
    }
}
