//! Programs of the host that do something for a container as long as it is watched.

use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::sys;

/// Has the kernel kill a program, once it is started, when the thread that starts it ends.
pub fn end_with_caller(command: &mut Command) {
    sys::before_program(command, || Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
}
