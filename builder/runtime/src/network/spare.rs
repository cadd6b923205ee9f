//! A network namespace made ahead, while something else is done: to make one takes the kernel a
//! third of what all of a container takes.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::make;
use crate::error::Result;

static SPARE: Mutex<Option<JoinHandle<Result<OwnedFd>>>> = Mutex::new(None);
/// Whether there was a launch with a network of its own before.
static LAUNCHED: AtomicBool = AtomicBool::new(false);

/// Has a network namespace ready for the next container of this process that is to have its own.
pub fn prepare() {
    let mut spare = spare();
    if spare.is_none() {
        // Without a thread there is none ahead.
        *spare = thread::Builder::new().name("network".to_owned()).spawn(make).ok();
    }
}

/// The one that is ready, or soon will be, if there is any.
pub(crate) fn take() -> Option<OwnedFd> {
    // One that could not be made is made where it is needed, which tells why not.
    spare().take()?.join().ok()?.ok()
}

/// Notes that a container with a network of its own was launched. The second one of a process will
/// not be the last.
pub(crate) fn launched() {
    if LAUNCHED.swap(true, Ordering::Relaxed) {
        prepare();
    }
}

fn spare() -> MutexGuard<'static, Option<JoinHandle<Result<OwnedFd>>>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}
