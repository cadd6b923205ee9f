//! Networks of containers: bridges of the host, addresses, published ports and names.
//!
//! There is no daemon here either. A network is a file of the store, a bridge and a table of
//! nftables; what belongs to one container is held by that container's monitor and goes with it.
//! Processes take turns by a lock in `/run` that only root can open, one for each network
//! namespace.

mod bridge;
mod connect;
mod definition;
mod dns;
mod held;
mod inspect;
mod join;
mod mac;
mod members;
mod pasta;
mod ports;
mod proxy;
mod resolver;
mod room;
mod rules;
mod subnet;
mod subnet6;
mod turn;
mod verbs;

use std::os::fd::OwnedFd;

use rbuild_cache::Store;
use rbuild_runtime::{Namespace, userns};

use super::error::{Error, Result};
use super::folder::{Folder, Record};
use super::options::{Network, Share};
use super::sandbox::namespace;
use pasta::Pasta;

pub(crate) use connect::{Change, apply, check as check_connection};
pub use connect::{connect, disconnect};
pub(crate) use definition::{DEFAULT, find};
pub(crate) use dns::ADDRESS as NAME_SERVER;
pub use inspect::inspect;
pub(crate) use inspect::settings;
pub use join::Connection;
pub(crate) use join::Joined;
pub use mac::Mac;
pub use members::{Endpoint, Place6};
pub(crate) use pasta::{NoPasta, find_pasta, settle};
pub use ports::{Port, Protocol, Published};
pub(crate) use ports::{all_exposed, check, shown, wished};
pub use subnet::Subnet;
pub use subnet6::Subnet6;
pub use verbs::{NetworkListed, NetworkOptions, create, list, prune, published, remove};

/// The network of a container that is being started.
#[derive(Debug)]
pub(crate) enum Attached {
    /// The host's.
    Host,
    /// A loopback device and nothing else.
    Alone,
    /// That of another container.
    Shared(OwnedFd),
    /// One of its own, in networks of the store.
    Joined(Box<Joined>),
    /// One of its own, for an ordinary user.
    Passed(Pasta),
}

/// Takes out of its networks a container that does not run, whose monitor was killed before it
/// could.
pub(crate) fn forget(folder: &Folder, record: &Record) -> Result<()> {
    for connection in folder.connections(record)? {
        members::leave(&folder.store, &folder.id, &connection.network);
    }
    Ok(())
}

impl Attached {
    /// Makes the network of a container, or finds it.
    pub(crate) fn new(store: &Store, folder: &Folder, record: &Record) -> Result<Self> {
        Ok(match &record.options.network {
            Network::Host => Self::Host,
            Network::None => Self::Alone,
            Network::Container(name) => {
                match namespace(store, &Share::Container(name.clone()), "net")? {
                    Namespace::Join(fd) => Self::Shared(fd),
                    Namespace::Host => Self::Host,
                    Namespace::Private => return Err(Error::NotRunning(name.clone())),
                }
            }
            Network::Bridge if !userns::is_initial() => Self::Passed(Pasta::start(record)?),
            Network::Bridge | Network::Named(_) => {
                Self::Joined(Box::new(Joined::new(store, folder, record)?))
            }
        })
    }

    /// The namespace as the runtime is told of it.
    pub(crate) fn namespace(&self) -> Result<Namespace> {
        let copy = |fd: std::os::fd::BorrowedFd<'_>| {
            let copy = fd.try_clone_to_owned().map_err(Error::system("keep a network"))?;
            Ok(Namespace::Join(copy))
        };
        match self {
            Self::Host => Ok(Namespace::Host),
            Self::Alone => Ok(Namespace::Private),
            Self::Shared(fd) => copy(std::os::fd::AsFd::as_fd(fd)),
            Self::Joined(joined) => copy(joined.namespace()),
            Self::Passed(pasta) => copy(std::os::fd::AsFd::as_fd(pasta.namespace())),
        }
    }

    /// The networks that the container has a place in.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        match self {
            Self::Joined(joined) => &joined.endpoints,
            _ => &[],
        }
    }

    /// The ports of the host that stand for ports of the container.
    pub(crate) fn published(&self) -> &[Published] {
        match self {
            Self::Joined(joined) => &joined.published,
            Self::Passed(pasta) => &pasta.published,
            _ => &[],
        }
    }
}
