//! An image as a running container, without a daemon.
//!
//! A container is a folder of the store; what is in it is said in [`folder`]. While the container
//! runs, one process watches it, the monitor: the calling process itself for [`run`] without a
//! terminal, else a process of its own. It holds the folder's lock, writes the log and the state,
//! and answers at a socket in the folder, by which every other verb acts on the container. When
//! the monitor dies the kernel kills the container and frees lock and socket, and whoever looks
//! next writes down what happened: nothing runs for ever that does not run.

mod error;
mod options;
mod parse;

pub use error::{Error, Result};
pub use options::{
    Device, ImageToRun, Mount, Network, Restart, RunOptions, Share, Source,
};
pub use parse::{add_host, ulimit};
pub use rbuild_runtime::{Limit, Resource, Signal, WindowSize};
