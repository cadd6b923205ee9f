//! A container at work: waiting for its end, signals, its terminal, and tidying up after it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::container::{IdMaps, WindowSize};
use crate::error::{Doing, Error, Result};
use crate::hook::Hooks;
use crate::path::{Stub, remove_stubs};
use crate::signal::{Exit, Signal};
use crate::wire::{Failure, MAX_REPORT, Report, receive_report, send_go};
use crate::{pty, sys};

/// A container's process that was started. Dropping it kills the container, unless it outlives.
#[derive(Debug)]
pub struct Running {
    pid: u32,
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
    stubs: Vec<Stub>,
    outlives: bool,
    end: Mutex<End>,
}

#[derive(Debug)]
enum End {
    /// Not seen yet; the root is kept to tidy it up.
    Open {
        root: Option<OwnedFd>,
    },
    Seen(Exit),
}

impl Running {
    /// Listens until the program has taken over, or the start has failed.
    pub(crate) fn from_answers(
        answers: &OwnedFd,
        root: OwnedFd,
        program: String,
        outlives: bool,
        hooks: &Hooks,
        users: Option<&IdMaps>,
    ) -> Result<Self> {
        let (mut running, mut terminal, mut stubs, mut failure) = (None, None, Vec::new(), None);
        let (mut roots, mut hooked, mut waits) = (Vec::new(), Ok(()), false);
        let mut room = vec![0; MAX_REPORT];
        let mut answer = || receive_report(answers.as_fd(), &mut room);
        while let Some((report, fd)) = answer().doing(|| "hear from the container helper")? {
            match report {
                Report::Started { pid } => {
                    // From here on it is killed where it cannot be listened to any more.
                    running = fd.map(|fd| Self::started(pid.cast_unsigned(), fd));
                    if let Some(users) = users {
                        hooked = users.give(pid.cast_unsigned());
                        // One that has ended meanwhile says so by what it answers.
                        let _ = send_go(answers.as_fd(), hooked.is_ok());
                    }
                }
                Report::Terminal => terminal = fd,
                Report::Root => roots.extend(fd),
                Report::Ready => waits = true,
                Report::Stubs(made) => stubs.extend(made),
                Report::Failed(reason) => failure = Some(reason),
            }
            // That it waits may be heard before the helper tells that it was started.
            if let (true, Some(Self { pid, pidfd, .. })) = (waits, &running) {
                waits = false;
                hooked = hooks.run(*pid, pidfd.as_fd(), std::mem::take(&mut roots));
                // One that has ended meanwhile says so by what it answers.
                let _ = send_go(answers.as_fd(), hooked.is_ok());
            }
        }
        let root = (!stubs.is_empty()).then_some(root);
        if let Some(running) = &mut running {
            (running.terminal, running.stubs) = (terminal, stubs);
            running.end = Mutex::new(End::Open { root });
        }
        let failure = hooked.err().map(Err).or(failure.map(Ok));
        match (running, failure) {
            (Some(mut running), None) => {
                running.outlives = outlives;
                Ok(running)
            }
            (_, failure) => {
                let told = |failure| match failure {
                    Ok(failure) => error_of(failure, program),
                    Err(error) => error,
                };
                Err(failure.map_or_else(no_answer, told))
            }
        }
    }

    fn started(pid: u32, pidfd: OwnedFd) -> Self {
        let end = Mutex::new(End::Open { root: None });
        Self { pid, pidfd, terminal: None, stubs: Vec::new(), outlives: false, end }
    }

    /// A process that another program has started, and that is this process's child since that
    /// program ended: see [`adopts`](crate::adopts()).
    pub fn adopt(pid: u32, terminal: Option<OwnedFd>) -> Result<Self> {
        let doing = || format!("find process {pid}");
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH);
        let pidfd = number.and_then(|number| pidfd_open(number, PidfdFlags::empty()));
        let pidfd = pidfd.doing(doing)?;
        let mut running = Self::started(pid, pidfd);
        running.terminal = terminal;
        Ok(running)
    }

    /// The number of the first process, as this process sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Becomes readable when the first process ends; to be polled.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The other end of the container's terminal, if it has one.
    pub fn terminal(&self) -> Option<&OwnedFd> {
        self.terminal.as_ref()
    }

    /// Waits, blocking, for the first process to end, and takes away the empty files and
    /// directories that were made in the root to mount on. May be called again, and from other
    /// threads at the same time.
    pub fn wait(&self) -> Result<Exit> {
        retry_on_intr(|| poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], None))
            .doing(|| "wait for the container")?;
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let root = match &mut *end {
            End::Seen(exit) => return Ok(*exit),
            End::Open { root } => root.take(),
        };
        let exit = self.reap().doing(|| "wait for the container")?;
        if let Some(root) = root {
            remove_stubs(root.as_fd(), &self.stubs);
        }
        *end = End::Seen(exit);
        Ok(exit)
    }

    fn reap(&self) -> Result<Exit, Errno> {
        let id = || WaitId::PidFd(self.pidfd.as_fd());
        let status = retry_on_intr(|| waitid(id(), WaitIdOptions::EXITED))?;
        let status = status.ok_or(Errno::CHILD)?;
        let code = status.exit_status().map(Exit::Code);
        let signal = status.terminating_signal().map(Exit::Signal);
        code.or(signal).ok_or(Errno::CHILD)
    }

    /// Sends a signal to the first process; `SIGKILL` ends the container. To one that has ended,
    /// does nothing.
    pub fn kill(&self, signal: Signal) -> Result<()> {
        match sys::send_signal_by_fd(self.pidfd.as_fd(), signal.number()) {
            Err(Errno::SRCH) => Ok(()),
            sent => sent.doing(|| format!("send {signal} to the container")),
        }
    }

    /// Sets the size of the container's terminal; without one, does nothing.
    pub fn resize(&self, size: WindowSize) -> Result<()> {
        let mut terminal = self.terminal.iter();
        terminal
            .try_for_each(|terminal| pty::resize(terminal, size))
            .doing(|| "set the size of the terminal")
    }

    /// The directories of the root (absolute paths in it) in which something was made to mount
    /// on. On an overlay each has been copied up: one that is empty in the upper directory
    /// afterwards is no change of the container's.
    pub fn stub_parents(&self) -> Vec<PathBuf> {
        let mut parents: Vec<_> =
            self.stubs.iter().map(|stub| PathBuf::from(&stub.parent)).collect();
        parents.dedup();
        parents
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let end = self.end.get_mut().unwrap_or_else(PoisonError::into_inner);
        if matches!(end, End::Open { .. }) && !self.outlives {
            // Neither can fail for a child that has not been reaped.
            let _ = self.kill(Signal::KILL);
            let _ = self.wait();
        }
    }
}

/// Sends a signal to the process that a pidfd refers to.
pub fn send_signal(process: BorrowedFd<'_>, signal: Signal) -> Result<()> {
    sys::send_signal_by_fd(process, signal.number()).doing(|| format!("send {signal}"))
}

fn no_answer() -> Error {
    let reason = "it ended; does the program call init_if_asked first in main?";
    Error::Start { reason, source: std::io::ErrorKind::BrokenPipe.into() }
}

fn error_of(failure: Failure, program: String) -> Error {
    let source = std::io::Error::from_raw_os_error;
    match failure {
        Failure::NotFound => Error::NotFound { program },
        Failure::NotExecutable { errno } => Error::NotExecutable { program, source: source(errno) },
        Failure::Invalid { reason } => Error::Invalid(reason),
        Failure::Step { doing, errno } => Error::Sandbox { doing, source: source(errno) },
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::Command;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;
    use crate::hook::Hook;
    use crate::wire::{receive_go, send_report};

    #[test]
    #[expect(clippy::zombie_processes, reason = "the container that fails kills and reaps it")]
    fn hooks_run_for_one_that_waits_before_it_is_told_of() {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (answers, helper) = socketpair(AddressFamily::UNIX, kind, flags, None).unwrap();
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        send_report(helper.as_fd(), &Report::Ready, None).unwrap();
        let started = Report::Started { pid: pid.as_raw_nonzero().get() };
        send_report(helper.as_fd(), &started, Some(pidfd.as_fd())).unwrap();
        let told = std::thread::spawn(move || receive_go(helper.as_fd()).unwrap());
        let fails = Hook { path: "/bin/false".into(), ..Hook::default() };
        let hooks = Hooks { before: vec![fails], ..Hooks::default() };
        let root = OwnedFd::from(std::fs::File::open("/").unwrap());
        let started = Running::from_answers(&answers, root, "sleep".into(), false, &hooks, None);
        assert!(started.is_err(), "{started:?}");
        assert!(!told.join().unwrap(), "it must not go on");
    }

    #[test]
    fn who_cannot_be_understood_is_killed() {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (answers, helper) = socketpair(AddressFamily::UNIX, kind, flags, None).unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let started = Report::Started { pid: pid.as_raw_nonzero().get() };
        send_report(helper.as_fd(), &started, Some(pidfd.as_fd())).unwrap();
        rustix::io::write(&helper, b"gibberish").unwrap();
        let root = OwnedFd::from(std::fs::File::open("/").unwrap());
        let hooks = Hooks::default();
        let heard = Running::from_answers(&answers, root, "sleep".into(), true, &hooks, None);
        assert!(heard.is_err(), "{heard:?}");
        assert!(child.try_wait().is_err(), "it was killed, and its end was asked for");
    }
}
