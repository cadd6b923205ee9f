//! One container, run to its end.
//!
//! [`Container`] says what to run, [`launch()`] runs it in a sandbox like Docker's, and [`Running`]
//! is the container at work. The program that launches must call [`init_if_asked`] as the first
//! thing in `main`: containers are started by a small copy of the program itself.

#[cfg(not(all(target_os = "linux", target_endian = "little", target_pointer_width = "64")))]
compile_error!("containers need 64-bit little-endian Linux");

mod adopt;
mod assembled;
mod caps;
pub mod cgroup;
mod companion;
mod container;
pub mod copy;
mod devices;
mod error;
mod helper;
mod hook;
mod init;
mod launch;
mod mounts;
pub mod network;
mod path;
mod process;
mod pty;
mod reaper;
mod running;
pub mod seccomp;
mod signal;
mod sys;
mod sysctl;
pub mod user;
pub mod userns;
mod wire;

pub use adopt::{MountedRoot, adopts};
pub use assembled::Assembled;
pub use caps::{Capabilities, CapabilitySets, UnknownCapability};
pub use companion::end_with_caller;
pub use container::{
    ClockOffset, Container, DEFAULT_PATH, DOCKER_SYSCTLS, Device, DeviceNumber, IdMap, IdMaps,
    Limit, Mount, MountFlags, MountSource, Namespace, Process, Propagation, Resource, Seccomp,
    Stdio, Stream, WindowSize,
};
pub use error::{Error, Result};
pub use helper::{init_if_asked, prepare, use_helper};
pub use hook::{Hook, Hooks};
pub use launch::{exec, exec_detached, has_cgroup_tree, launch};
pub use mounts::new_file_system;
pub use path::open_in_root;
pub use running::{Running, send_signal};
pub use signal::{Exit, Signal, UnknownSignal};
