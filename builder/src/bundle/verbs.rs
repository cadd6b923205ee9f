//! What is done to a container that was made: start, signals, freezing, and its removal.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rbuild_runtime::{Signal, send_signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::error::{Error, Result};
use super::limits::limits;
use super::spec::Resources;
use super::state::{Bundles, State, Status, started};

/// How long a container that was killed may take to end.
const ENDING: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

impl Bundles {
    /// Lets the program of a container run; returns once it does, with the hooks that failed.
    ///
    /// A hook that fails after the start changes nothing.
    pub fn start(&self, id: &str) -> Result<Vec<Error>> {
        let state = self.state(id)?;
        let verb = "start";
        let wrong = |status| Error::Status { verb, status };
        if state.status != Status::Created {
            return Err(wrong(state.status));
        }
        let mut fifo = self.open_fifo(id).map_err(|_| wrong(Status::Stopped))?;
        fifo.write_all(b"1").map_err(Error::file("write to the fifo of", id))?;
        // Closed at its other end when the program has been executed.
        let ended =
            rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&fifo, PollFlags::ERR)], None));
        ended.map_err(Error::file("wait for the start of", id))?;
        let running = State { status: Status::Running, ..state };
        Ok(run_all(&running, &running.saved.poststart))
    }

    /// Sends a signal to the first process of a container, or to all that it has.
    pub fn kill(&self, id: &str, signal: Signal, all: bool) -> Result<()> {
        let state = self.state(id)?;
        if all && signal == Signal::KILL {
            let Some(group) = state.group() else { return Ok(()) };
            group.kill();
            if state.status == Status::Paused {
                // What is frozen does not even die.
                group.freeze(false)?;
            }
            return Ok(());
        }
        let (verb, status) = ("signal", state.status);
        let wrong = || Error::Status { verb, status };
        if status == Status::Stopped {
            return Err(wrong());
        }
        let group = state.group().filter(|_| all);
        let others = group.map(|group| group.processes()).unwrap_or_default();
        let first = state.saved.pid;
        send(first, signal, || started(first) == Some(state.saved.started))?;
        for pid in others.into_iter().filter(|pid| *pid != first) {
            let still = || state.group().is_some_and(|group| group.processes().contains(&pid));
            // It may have ended by the signal that the first one got.
            let _ = send(pid, signal, still);
        }
        if signal == Signal::KILL && status == Status::Paused {
            // What is frozen does not even die.
            state.group().map_or(Ok(()), |group| group.freeze(false))?;
        }
        Ok(())
    }

    /// Stops all processes of a container where they are, or lets them go on.
    pub fn pause(&self, id: &str, paused: bool) -> Result<()> {
        let state = self.state(id)?;
        let (from, verb) = if paused {
            ([Status::Running, Status::Created], "pause")
        } else {
            ([Status::Paused; 2], "resume")
        };
        if !from.contains(&state.status) {
            return Err(Error::Status { verb, status: state.status });
        }
        let group = state.group().ok_or_else(|| Error::NotFound(id.to_owned()))?;
        Ok(group.freeze(paused)?)
    }

    /// Sets limits anew, `resources` as `config.json` has them; what is not given stays.
    pub fn update(&self, id: &str, resources: &[u8]) -> Result<()> {
        let state = self.state(id)?;
        if state.status == Status::Stopped {
            return Err(Error::Status { verb: "update", status: state.status });
        }
        let resources: Resources =
            serde_json::from_slice(resources).map_err(|error| Error::Config(error.to_string()))?;
        let group = state.group().ok_or_else(|| Error::NotFound(id.to_owned()))?;
        Ok(group.update(&limits(&resources))?)
    }

    /// The processes of a container, as this process numbers them.
    pub fn processes(&self, id: &str) -> Result<Vec<u32>> {
        let mut found = self.state(id)?.group().map(|group| group.processes()).unwrap_or_default();
        found.sort_unstable();
        Ok(found)
    }

    /// Removes a container that has ended, or by force any; returns the hooks that failed.
    ///
    /// By force one that is not there is no error.
    pub fn delete(&self, id: &str, force: bool) -> Result<Vec<Error>> {
        let state = match self.state(id) {
            Err(Error::NotFound(_)) if force => {
                self.sweep(id)?;
                return Ok(Vec::new());
            }
            state => state?,
        };
        let group = state.group();
        if state.status != Status::Stopped {
            if !force {
                return Err(Error::Status { verb: "delete", status: state.status });
            }
            // It may be about to end by itself.
            let pid = state.saved.pid;
            let _ = send(pid, Signal::KILL, || started(pid) == Some(state.saved.started));
            if let Some(group) = &group {
                let _ = group.freeze(false);
            }
            wait(&state)?;
        }
        if let Some(group) = group {
            group.kill();
            group.remove()?;
        }
        self.forget(id)?;
        let stopped = State { status: Status::Stopped, ..state };
        Ok(run_all(&stopped, &stopped.saved.poststop))
    }
}

fn run_all(state: &State, hooks: &[rbuild_runtime::Hook]) -> Vec<Error> {
    let text = state.json().to_string();
    hooks.iter().filter_map(|hook| hook.run(&text).err()).map(Error::from).collect()
}

/// Sends a signal to a process, if the number is still its once it is held.
fn send(pid: u32, signal: Signal, is_still: impl FnOnce() -> bool) -> Result<()> {
    let gone = || Error::Status { verb: "signal", status: Status::Stopped };
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
    let process = pidfd_open(number, PidfdFlags::empty()).map_err(|_| gone())?;
    if !is_still() {
        return Err(gone());
    }
    Ok(send_signal(process.as_fd(), signal)?)
}

/// Waits for the end of the first process.
fn wait(state: &State) -> Result<()> {
    let until = Instant::now() + ENDING;
    while started(state.saved.pid) == Some(state.saved.started) {
        if Instant::now() > until {
            return Err(Error::Status { verb: "delete", status: state.status });
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
