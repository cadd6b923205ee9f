//! An image as a running container, without a daemon.
//!
//! A container is a folder of the store (`folder.rs` says what is in it). While it runs, one
//! process watches it, the monitor: this process itself for [`run`] without a terminal, else one
//! of its own. It holds the folder's lock, writes the log and the state, and answers at a socket
//! in the folder, by which every other verb acts on the container. When the monitor dies, the
//! container is killed with it and the kernel frees lock and socket; whoever looks next writes
//! down what happened, so that nothing is ever listed as running that does not run.

mod archive;
mod attach;
mod care;
mod changes;
mod clients;
mod committed;
mod control;
mod create;
mod environment;
mod error;
mod exec;
mod files;
mod folder;
mod foreign;
mod gpu;
mod group;
mod health;
mod host_files;
mod inspect;
mod keys;
mod limits;
mod list;
mod log;
mod logs;
mod message;
mod monitor;
mod mounts;
mod names;
pub mod network;
mod note;
mod options;
mod parse;
mod probe;
mod processes;
mod remove;
#[cfg(test)]
mod sample;
mod sandbox;
mod session;
mod signals;
mod spawn;
mod start;
mod state;
mod streams;
mod stubs;
mod terminal;
mod tree;
mod update;
mod volumes;

pub use attach::{Ended, Terminal};
pub(crate) use changes::{Changes, changes};
pub(crate) use committed::committed;
pub use control::{kill, pause, rename, restart, stop, unpause, wait};
pub use create::{Created, create};
pub(crate) use error::chain;
pub use error::{Error, Result};
pub use exec::{ExecOptions, exec};
pub use files::{CopyOptions, Place, copy, copy_from_tar, copy_to_tar, export};
pub use foreign::OtherRuntime;
pub use health::{Checked, Health, HealthStatus};
pub use inspect::inspect;
pub use limits::Resources;
pub(crate) use list::layers_in_use;
pub use list::{Listed, images_in_use, list, size, sizes};
pub use log::{LogConfig, LogDriver, LogStream};
pub use logs::{LogOptions, logs};
pub use mounts::{Access, Below, Bind, ImageFiles, Mount, NamedVolume, Propagation, Source, Tmpfs};
pub use options::{Device, ImageToRun, Network, Restart, RunOptions, Share};
pub use parse::{add_host, ulimit};
pub use processes::{ContainerProcess, processes};
pub use rbuild_runtime::{Limit, Resource, Signal, WindowSize};
pub use remove::{prune, remove};
pub(crate) use signals::Signals;
pub use spawn::monitor_if_asked;
pub use start::{attach, prepare, run, start, start_attached};
pub use state::{State, Status};
pub use update::{Update, update};
pub use volumes::{NewVolume, Volume, create_volume, remove_volume, volume_size, volumes};
