//! Network namespaces, and what joins them to the machine's network: devices over netlink, and
//! tables of nftables. Nothing here needs a program to be installed.

mod links;
mod netlink;
pub(crate) mod spare;
mod table;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::error::{Doing, Error, Result};
use crate::sys;

pub use links::{Link, Links, Pair, Route};
pub use spare::prepare;
pub use table::{Chain, Family, Hook, Match, OwnedTable, Rule, Table, Verdict};

/// Brings the loopback device of this thread's namespace up.
pub(crate) fn bring_loopback_up() -> Result<(), Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::bring_up(socket, c"lo")
}

/// Keeps IPv6 from the devices that this thread's namespace is going to have, but for those that
/// [`allow_ipv6`] is told of; none of them learns from its neighbours where the world is.
pub fn keep_ipv6_off() -> Result<()> {
    set_ipv6("default", "accept_ra", "0").and_then(|()| set_ipv6("default", "disable_ipv6", "1"))
}

/// Lets a device of this thread's namespace speak IPv6.
pub fn allow_ipv6(device: &str) -> Result<()> {
    set_ipv6(device, "disable_ipv6", "0")
}

fn set_ipv6(device: &str, setting: &str, value: &str) -> Result<()> {
    match std::fs::write(format!("/proc/sys/net/ipv6/conf/{device}/{setting}"), value) {
        // A machine without IPv6.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.doing(|| format!("set {setting} of {device}")),
    }
}

/// Makes a network namespace with only a loopback device, to be furnished and then given to
/// [`Namespace::Join`](crate::Namespace::Join). It is gone when nothing refers to it any more.
///
/// `inside` runs in it; sockets that it opens stay there.
pub fn new_namespace<T: Send>(inside: impl FnOnce() -> Result<T> + Send) -> Result<(OwnedFd, T)> {
    if let Some(spare) = spare::take() {
        let inside = within(spare.as_fd(), inside)?;
        return Ok((spare, inside));
    }
    in_thread(|| Ok((make()?, inside()?)))
}

/// Makes a network namespace, and has this thread in it.
fn make() -> Result<OwnedFd> {
    sys::unshare(UnshareFlags::NEWNET).doing(|| "make a network namespace")?;
    bring_loopback_up().doing(|| "bring the loopback device up")?;
    let namespace = File::open("/proc/thread-self/ns/net");
    Ok(namespace.doing(|| "open a network namespace")?.into())
}

/// Does something in a network namespace that is there.
pub fn within<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    in_thread(|| {
        let joined = move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network));
        joined.doing(|| "join a network namespace")?;
        work()
    })
}

/// Runs in a thread of its own, which takes its namespace with it when it ends.
fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("network".to_owned());
        let thread = thread.spawn_scoped(scope, work).doing(|| "start a thread")?;
        let failed = |_| Err(Error::Invalid("the network thread has failed".into()));
        thread.join().unwrap_or_else(failed)
    })
}
