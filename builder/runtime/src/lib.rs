//! One container, run to its end.
//!
//! [`Container`] says what to run, [`launch()`] runs it in a sandbox like Docker's, and [`Running`]
//! is the container at work. The program that launches must call [`init_if_asked`] as the first
//! thing in `main`: containers are started by a small copy of the program itself.

#[cfg(not(all(
    target_os = "linux",
    target_endian = "little",
    target_pointer_width = "64"
)))]
compile_error!("containers need 64-bit little-endian Linux");

mod caps;
mod container;
mod error;
mod launch;
mod signal;
pub mod user;

pub use caps::{Capabilities, UnknownCapability};
pub use container::{
    Container, DEFAULT_PATH, DOCKER_SYSCTLS, Device, Limit, Mount, MountSource, Namespace, Process,
    Resource, Seccomp, Stdio, Stream, WindowSize,
};
pub use error::{Error, Result};
pub use launch::{Running, exec, init_if_asked, launch, prepare, use_helper};
pub use signal::{Exit, Signal, UnknownSignal};
