//! A container that this process waits for: what this process is sent goes to it.

use rbuild_runtime::{Exit, Running};
use rustix::event::{PollFd, PollFlags, poll};

use super::error::{Error, Result};
use crate::container::Signals;

/// Signals that are kept for a container, from before it starts.
#[derive(Debug)]
pub struct Foreground(Signals);

impl Foreground {
    /// Catches nearly all signals of this process.
    pub fn new() -> Result<Self> {
        Signals::to_pass_on().map(Self).map_err(|error| Error::Signals(Box::new(error)))
    }

    /// Passes signals on until the first process has ended; returns how.
    pub fn wait(mut self, running: &Running) -> Result<Exit> {
        loop {
            let mut polled = [
                PollFd::from_borrowed_fd(running.pidfd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.0.fd(), PollFlags::IN),
            ];
            rustix::io::retry_on_intr(|| poll(&mut polled, None))
                .map_err(Error::file("wait for", "the container"))?;
            if !polled[0].revents().is_empty() {
                return Ok(running.wait()?);
            }
            for signal in self.0.take().collect::<Vec<_>>() {
                running.kill(signal)?;
            }
        }
    }
}
