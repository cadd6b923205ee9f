//! A small init: forwards signals to the one program and reaps what it leaves behind.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, wait};

use crate::sys;

/// Returns in a child, which goes on to run the program. The calling process stays as the init of
/// the container and ends with the program's code.
pub(crate) fn become_init(answers: OwnedFd) -> Result<(), Errno> {
    sys::block_signals();
    match sys::fork()? {
        None => {
            // Closed when the program is executed, like everything but the streams.
            std::mem::forget(answers);
            Ok(())
        }
        Some(program) => {
            drop(answers);
            sys::close_from(0, false)?;
            std::process::exit(serve(program));
        }
    }
}

fn serve(program: Pid) -> i32 {
    loop {
        match sys::next_signal() {
            Some(libc::SIGCHLD) => {
                if let Some(code) = reap(program) {
                    return code;
                }
            }
            Some(number) => {
                // The program may be a moment from being reaped.
                let _ = sys::send_signal(program, number);
            }
            None => {}
        }
    }
}

/// Reaps all that have ended; the program's code if it is among them.
fn reap(program: Pid) -> Option<i32> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == program {
            let signal = status.terminating_signal().map(|number| 128 + number);
            return status.exit_status().or(signal);
        }
    }
    None
}
