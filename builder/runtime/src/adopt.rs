//! What another runtime needs of the process that has it make a container: a root at a path, and
//! somebody who waits for the container's end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::set_child_subreaper;
use rustix::thread::UnshareFlags;

use crate::error::{Doing, Result};
use crate::mounts::{attach, clone_mount, kind_of};
use crate::path::{Kind, Targets, open_in_root, remove_stubs};
use crate::process::open_directory;
use crate::sys;

/// Makes this process the parent of what its children leave behind, and has it and them mount
/// where nobody else sees it, so that no mount outlives them. It hears of the host's mounts still.
///
/// To be called once, by a process with one thread.
pub fn adopts() -> Result<()> {
    set_child_subreaper(Some(rustix::process::getpid())).doing(|| "adopt processes")?;
    sys::unshare(UnshareFlags::NEWNS).doing(|| "make a mount namespace (it takes root)")?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    root.and_then(|root| sys::change_mount(root, 0, libc::MS_SLAVE, true))
        .doing(|| "keep mounts from the host")
}

/// A root that is mounted at a path for another runtime. Dropping it unmounts the root, and takes
/// the empty places away that were made in it.
#[derive(Debug)]
pub struct MountedRoot {
    root: OwnedFd,
    path: PathBuf,
    stubs: Vec<crate::path::Stub>,
}

impl MountedRoot {
    /// Mounts what an open file or directory shows, or what is at a path in it, at a path where there
    /// is one of its kind already, which `make` makes.
    pub fn of(
        source: &OwnedFd,
        (subpath, recursive): (Option<&str>, bool),
        path: &Path,
        make: impl FnOnce(bool) -> std::io::Result<()>,
    ) -> Result<Self> {
        let doing = || format!("mount it at {}", path.display());
        let mount = match subpath {
            Some(inner) => open_in_root(source.as_fd(), inner, OFlags::PATH, Mode::empty())
                .and_then(|inner| clone_mount(inner, recursive)),
            None => clone_mount(source, recursive),
        };
        let mount = match mount {
            // A detached mount, on a kernel that does not clone those.
            Err(Errno::INVAL) if subpath.is_none() => source.try_clone().doing(doing)?,
            cloned => cloned.doing(doing)?,
        };
        make(kind_of(&mount).doing(doing)? == Kind::Directory).doing(doing)?;
        Self::new(mount, path)
    }

    /// Mounts a detached mount at a path.
    pub fn new(root: OwnedFd, path: &Path) -> Result<Self> {
        let doing = || format!("mount the root at {}", path.display());
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let place = rustix::fs::open(path, flags, Mode::empty()).doing(doing)?;
        attach(&root, place).doing(doing)?;
        Ok(Self { root, path: path.to_owned(), stubs: Vec::new() })
    }

    /// Makes what is missing of places to mount on, each given with whether it is a directory.
    pub fn make_places<'a>(
        &mut self,
        places: impl IntoIterator<Item = (&'a str, bool)>,
    ) -> Result<()> {
        let mut targets = Targets::new(self.root.as_fd()).doing(|| "look at the root")?;
        let mut made = Ok(());
        for (path, is_directory) in places {
            let kind = if is_directory { Kind::Directory } else { Kind::File };
            made = targets.open(path, kind).map(drop).doing(|| format!("make {path} to mount on"));
            if made.is_err() {
                break;
            }
        }
        self.stubs.append(&mut targets.stubs);
        made
    }

    /// Makes what is missing of a directory, for a user and group.
    pub fn make_directory(&self, path: &str, owner: (u32, u32)) -> Result<()> {
        let made = open_directory(self.root.as_fd(), path, owner);
        made.map(drop).doing(|| format!("make the directory {path:?}"))
    }
}

impl AsFd for MountedRoot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Drop for MountedRoot {
    fn drop(&mut self) {
        // With the mounts of this process it goes at the latest.
        let _ = unmount(&self.path, UnmountFlags::DETACH);
        remove_stubs(self.root.as_fd(), &self.stubs);
    }
}
