//! Containers of OCI bundles: the folder and the `config.json` that podman, containerd and others
//! give to a runtime, and the verbs that they use on it.
//!
//! A [`Bundles`] keeps one small folder for each container: who it is, and the fifo at which its
//! first process waits to be started. Nothing else is remembered: whether a container is created,
//! running, paused or stopped is read from its process, its fifo and its control group.

mod convert;
mod create;
mod error;
mod exec;
mod features;
mod foreground;
mod limits;
mod mounts;
mod process;
mod seccomp;
mod spec;
mod state;
mod verbs;
pub(crate) mod write;

pub use create::CreateOptions;
pub use error::{Error, Result};
pub use exec::ExecOptions;
pub use features::features;
pub use foreground::Foreground;
pub(crate) use mounts::Words;
pub use rbuild_runtime::{Running, Signal};
pub use state::{Bundles, State, Status};
