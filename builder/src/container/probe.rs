//! Running the health check of a container, at its times.
//!
//! A check runs in a thread of the monitor, so that one that hangs keeps nobody waiting. The two
//! are connected by a socket: the thread writes what it found and ends, and the monitor hangs up
//! when the check is no longer wanted.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rbuild_runtime::Signal;
use rustix::event::{PollFd, PollFlags};

use super::clients::Token;
use super::error::{Error, Result, chain};
use super::exec::{ExecOptions, Execution};
use super::folder::Folder;
use super::health::{Check, Checked, HealthStatus};
use super::log::LogStream;
use super::session::wait;
use super::streams::Streams;

/// As much of a check's output as is kept, in bytes.
const MOST_OUTPUT: usize = 4096;
const BUFFER: usize = 4096;

/// The checks of one run of a container.
#[derive(Debug)]
pub(crate) struct Probes {
    pub(crate) check: Check,
    folder: Folder,
    started: Instant,
    /// When the next check begins.
    next: Instant,
    /// The check that runs.
    running: Option<UnixStream>,
    /// Whether the container is frozen, in which time it is not checked.
    paused: bool,
}

impl Probes {
    /// The checks of a container that has just been started.
    pub(crate) fn new(check: Check, folder: &Folder) -> Self {
        let started = Instant::now();
        let next = started + check.pause(HealthStatus::Starting, Duration::ZERO);
        Self { check, folder: folder.clone(), started, next, running: None, paused: false }
    }

    /// Stops checking, or goes on as if the last check had just ended.
    pub(crate) fn pause(&mut self, paused: bool, status: HealthStatus) {
        self.paused = paused;
        self.running = None;
        self.schedule(status);
    }

    fn schedule(&mut self, status: HealthStatus) {
        let now = Instant::now();
        self.next = now + self.check.pause(status, now - self.started);
    }

    /// Adds what is to be polled.
    pub(crate) fn watch<'a>(&'a self, fds: &mut Vec<(Token, PollFd<'a>)>) {
        if let Some(running) = &self.running {
            fds.push((Token::Probe, PollFd::new(running, PollFlags::IN)));
        }
    }

    /// When there is something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (self.running.is_none() && !self.paused).then_some(self.next)
    }

    /// Begins a check if it is time for one.
    pub(crate) fn begin(&mut self) {
        if self.deadline().is_none_or(|deadline| deadline > Instant::now()) {
            return;
        }
        let begin = || {
            let (ours, theirs) = UnixStream::pair()?;
            let (check, folder) = (self.check.clone(), self.folder.clone());
            let thread = thread::Builder::new().name("check".to_owned());
            thread.spawn(move || probe(&check, &folder, theirs))?;
            Ok::<_, io::Error>(ours)
        };
        match begin() {
            Ok(running) => self.running = Some(running),
            Err(error) => {
                tracing::warn!(id = self.folder.id, %error, "a health check could not begin");
                self.schedule(HealthStatus::Unhealthy);
            }
        }
    }

    /// Takes what a check has found, when it was said that there is something.
    pub(crate) fn take(&mut self) -> Option<Checked> {
        let mut answer = Vec::new();
        // The thread says all it has to at once.
        let read = self.running.take()?.read_to_end(&mut answer);
        read.ok().and_then(|_| serde_json::from_slice(&answer).ok())
    }

    /// Sets the time of the next check, after one has ended.
    pub(crate) fn ended(&mut self, status: HealthStatus) {
        self.schedule(status);
    }
}

/// Runs a check to its end and says how it went, unless nobody wants to know any more.
fn probe(check: &Check, folder: &Folder, mut monitor: UnixStream) {
    let start = Timestamp::now();
    let found = run(check, folder, &monitor).unwrap_or_else(|error| Some((-1, chain(&error))));
    if let Some((exit_code, output)) = found {
        let checked = Checked { start, end: Timestamp::now(), exit_code, output };
        let json = serde_json::to_vec(&checked).expect("it has string keys only");
        let _ = monitor.write_all(&json);
    }
}

/// The exit code and the output of a check; none when it is no longer wanted.
fn run(check: &Check, folder: &Folder, monitor: &UnixStream) -> Result<Option<(i32, String)>> {
    let begun = Instant::now();
    let (mut streams, stdio) = Streams::new(None, false)?;
    let options = ExecOptions { command: check.argv.clone(), ..ExecOptions::default() };
    let (running, execution) = Execution::launch(folder, &options, stdio)?;
    let deadline = begun + check.timeout;
    let (mut output, mut buffer) = (Output::default(), vec![0; BUFFER]);
    loop {
        let mut fds = vec![(Token::Exit, PollFd::from_borrowed_fd(running.pidfd(), PollFlags::IN))];
        fds.push((Token::Client(0), PollFd::new(monitor, PollFlags::IN)));
        streams.watch(true, &mut fds);
        let found = wait(fds, Some(deadline))?;
        if found.iter().any(|(token, _)| *token == Token::Client(0)) {
            return Ok(None);
        }
        output.read(&mut streams, &mut buffer);
        if found.iter().any(|(token, _)| *token == Token::Exit) {
            let code = running.wait().map_err(Error::from)?.code();
            execution.ended(code);
            return Ok(Some((code, output.text())));
        }
        if Instant::now() >= deadline {
            running.kill(Signal::KILL)?;
            execution.ended(running.wait()?.code());
            let text = output.text();
            let colon = if text.is_empty() { "" } else { ": " };
            let told = format!("Health check exceeded timeout ({:?}){colon}{text}", check.timeout);
            return Ok(Some((-1, told)));
        }
    }
}

/// The beginning of what a check writes.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    cut: bool,
}

impl Output {
    /// Reads what is there now. Two streams become one in the order in which they are read.
    fn read(&mut self, streams: &mut Streams, buffer: &mut [u8]) {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            while let Some(bytes) = streams.read(stream, buffer) {
                let room = MOST_OUTPUT - self.bytes.len();
                self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
                if bytes.len() > room {
                    self.cut = true;
                    // One that writes without end is not read without end.
                    break;
                }
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.cut {
            text.push_str("...");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_of_the_output_is_kept() {
        let (mut streams, stdio) = Streams::new(None, false).unwrap();
        let rbuild_runtime::Stdio::Streams { stdout, stderr, .. } = stdio else {
            unreachable!("no terminal was asked for")
        };
        let write = |stream, bytes: &[u8]| match stream {
            rbuild_runtime::Stream::Fd(fd) => {
                rustix::io::write(fd, bytes).unwrap();
            }
            _ => unreachable!("both are pipes"),
        };
        write(stdout, &[b'a'; MOST_OUTPUT]);
        let (mut output, mut buffer) = (Output::default(), vec![0; 100]);
        output.read(&mut streams, &mut buffer);
        assert_eq!(output.text(), "a".repeat(MOST_OUTPUT));
        write(stderr, b"b");
        output.read(&mut streams, &mut buffer);
        assert_eq!(output.text(), "a".repeat(MOST_OUTPUT) + "...");
    }
}
