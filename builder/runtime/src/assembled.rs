//! A root with everything that is mounted in it, where no process runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::thread::UnshareFlags;

use crate::container::Mount;
use crate::error::{Doing, Error, Result};
use crate::init;
use crate::launch;
use crate::mounts::{Mounts, attach, pivot};
use crate::path::{Stub, remove_stubs};
use crate::sys;
use crate::wire::MountOrder;

/// A container's root with its mounts, as its processes would see it. On drop everything is
/// unmounted, and what was made only to be mounted on is taken away.
#[derive(Debug)]
pub struct Assembled {
    root: OwnedFd,
    stubs: Vec<Stub>,
    /// The mounts stay as long as somebody holds their namespace.
    _namespace: OwnedFd,
}

impl Assembled {
    /// Mounts things in a root, a detached mount, in a namespace of their own.
    ///
    /// # Errors
    /// What the kernel refuses to mount.
    pub fn new(root: OwnedFd, mut mounts: Vec<Mount>) -> Result<Self> {
        mounts.sort_by_key(|mount| std::path::Path::new(&mount.target).components().count());
        let mut fds = launch::Descriptors::with_answers()?;
        let orders = mounts.into_iter().map(|mount| fds.mount(mount, false));
        let orders = orders.collect::<Result<Vec<_>>>()?;
        let fds = fds.theirs;
        // A namespace of mounts belongs to a thread, which nothing else may run on afterwards.
        let thread = std::thread::spawn(move || assemble(root, &orders, fds));
        let died = || Error::Invalid("the thread that mounts has died".into());
        thread.join().map_err(|_| died())?
    }
}

fn assemble(root: OwnedFd, orders: &[MountOrder], fds: Vec<OwnedFd>) -> Result<Assembled> {
    let fds = init::Descriptors::new(fds);
    sys::unshare(UnshareFlags::NEWNS).doing(|| "make a namespace of mounts")?;
    let open = |path| openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let namespace = openat(CWD, "/proc/thread-self/ns/mnt", OFlags::CLOEXEC, Mode::empty());
    let namespace = namespace.doing(|| "open a namespace of mounts")?;
    open("/")
        .and_then(|hosts| {
            // Nothing of this is to be seen on the host.
            sys::change_mount(&hosts, 0, libc::MS_SLAVE, true)?;
            sys::set_mount_attributes(&root, libc::MOUNT_ATTR_NODEV, false)?;
            attach(&root, hosts)
        })
        .doing(|| "mount the root")?;
    let mut mounts = Mounts::bare(root.as_fd())?;
    let mounted = orders.iter().try_for_each(|order| mounts.add(order, |slot| fds.take(slot)));
    let stubs = std::mem::take(&mut mounts.targets.stubs);
    drop(mounts);
    let assembled = Assembled { root, stubs, _namespace: namespace };
    mounted?;
    pivot(assembled.root.as_fd()).doing(|| "leave the mounts of the host")?;
    Ok(assembled)
}

impl AsFd for Assembled {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Drop for Assembled {
    fn drop(&mut self) {
        remove_stubs(self.root.as_fd(), &self.stubs);
    }
}
