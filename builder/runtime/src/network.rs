//! Network namespaces: their loopback device, and ones made ahead of a container.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::UnshareFlags;

use crate::error::{Doing, Error, Result};
use crate::sys;

/// Brings the loopback device of this thread's namespace up.
pub(crate) fn bring_loopback_up() -> Result<(), Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::bring_up(socket, c"lo")
}

/// Makes a network namespace with only a loopback device, to be furnished and then given to
/// [`Namespace::Join`](crate::Namespace::Join). It is gone when nothing refers to it any more.
pub fn new_namespace() -> Result<OwnedFd> {
    let made = std::thread::spawn(|| -> Result<OwnedFd> {
        sys::unshare(UnshareFlags::NEWNET).doing(|| "make a network namespace")?;
        bring_loopback_up().doing(|| "bring the loopback device up")?;
        let namespace = File::open("/proc/thread-self/ns/net");
        Ok(namespace.doing(|| "open a network namespace")?.into())
    });
    made.join().unwrap_or_else(|_| Err(Error::Invalid("the network thread has failed".into())))
}
