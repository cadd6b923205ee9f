//! One run of a process: its output to the log and the clients, their wishes to it, until it ends.

use std::time::{Duration, Instant};

use rbuild_runtime::{Exit, Running, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::care::Care;
use super::clients::{Clients, Token, Wish};
use super::error::{Error, Result};
use super::log::{Log, LogStream};
use super::message::Reply;
use super::streams::Streams;

const BUFFER: usize = 64 << 10;
/// How long to wait for what a terminal still holds when its process has ended.
const LAST_OUTPUT: Duration = Duration::from_millis(100);

/// That somebody wants the process to end.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    /// Whether it was stopped by hand, so that no policy starts it again.
    pub(crate) by_hand: bool,
    /// When it is killed.
    deadline: Option<Instant>,
}

impl Stop {
    /// Notes the wish to stop, with seconds until the kill.
    pub(crate) fn ask(&mut self, timeout: i64) {
        self.by_hand = true;
        if let Ok(seconds) = u64::try_from(timeout) {
            let deadline = Instant::now().checked_add(Duration::from_secs(seconds));
            self.deadline = [self.deadline, deadline].into_iter().flatten().min();
        }
    }
}

/// A process at work, with everything that is connected to it.
pub(crate) struct Session<'a, 'b> {
    pub(crate) running: &'a Running,
    pub(crate) streams: Streams,
    pub(crate) clients: &'a mut Clients,
    pub(crate) log: Option<&'a mut Log>,
    pub(crate) stop: &'a mut Stop,
    /// The signal that stops it, by its image's or its user's word.
    pub(crate) stop_signal: Signal,
    /// What is done for it besides, where it is a container's first process.
    pub(crate) care: Option<&'a mut Care<'b>>,
}

impl Session<'_, '_> {
    /// Serves until the process has ended and all that it wrote is passed on.
    pub(crate) fn run(mut self) -> Result<Exit> {
        self.streams.take_terminal(self.running)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let found = self.poll()?;
            let mut wishes = Vec::new();
            let was_checked = found.iter().any(|(token, _)| *token == Token::Probe);
            if let Some(care) = &mut self.care {
                care.serve(was_checked);
            }
            for &(token, flags) in &found {
                match token {
                    Token::Exit | Token::Probe => {}
                    Token::Input => self.streams.flush(),
                    Token::Output(stream) => drop(self.pass_on(stream, &mut buffer)),
                    Token::Listener | Token::Client(_) => {
                        self.clients.serve(token, flags, &mut wishes);
                    }
                }
            }
            for wish in wishes {
                self.grant(wish)?;
            }
            self.clients.forget();
            if self.stop.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.stop.deadline = None;
                self.kill(Signal::KILL)?;
            }
            if found.iter().any(|(token, _)| *token == Token::Exit) {
                return self.end(&mut buffer);
            }
        }
    }

    /// Waits for something to do.
    fn poll(&self) -> Result<Vec<(Token, PollFlags)>> {
        let mut fds = Vec::new();
        fds.push((Token::Exit, PollFd::from_borrowed_fd(self.running.pidfd(), PollFlags::IN)));
        // The container waits for a client that is behind, as it would at the end of a pipe.
        self.streams.watch(!self.clients.is_behind(), &mut fds);
        self.clients.watch(self.streams.has_room(), &mut fds);
        let care = self.care.as_deref();
        care.inspect(|care| care.watch(&mut fds));
        let deadlines = [self.stop.deadline, care.and_then(Care::deadline)];
        wait(fds, deadlines.into_iter().flatten().min())
    }

    /// Passes on what a stream has now; returns whether it had anything.
    fn pass_on(&mut self, stream: LogStream, buffer: &mut [u8]) -> bool {
        let Some(bytes) = self.streams.read(stream, buffer) else {
            return false;
        };
        self.clients.send(stream, bytes);
        if let Some(log) = &mut self.log {
            log.write(stream, bytes);
        }
        true
    }

    fn grant(&mut self, wish: Wish) -> Result<()> {
        match wish {
            Wish::Input(bytes) => self.streams.feed(&bytes),
            Wish::CloseInput => self.streams.close_input(),
            Wish::CloseOutput => self.streams.close_outputs(),
            Wish::Resize(size) => self.running.resize(size)?,
            Wish::Signal(client, number) => {
                if let Some(signal) = Signal::new(number) {
                    self.stop.by_hand |= signal == Signal::KILL || signal == self.stop_signal;
                    self.kill(signal)?;
                }
                self.clients.tell(client, &Reply::Done);
            }
            Wish::Act(client, act) => {
                let done = self.care.as_mut().map(|care| care.act(&act));
                let reply = match done.unwrap_or(Err(Error::NoCommand)) {
                    Ok(()) => Reply::Done,
                    Err(error) => Reply::failed(&error),
                };
                self.clients.tell(client, &reply);
            }
            Wish::Stop { signal, timeout } => {
                self.stop.ask(timeout);
                if let Some(signal) = Signal::new(signal) {
                    self.kill(signal)?;
                }
            }
        }
        Ok(())
    }

    /// Sends a signal. A container that is frozen goes on, or it would have no effect.
    fn kill(&mut self, signal: Signal) -> Result<()> {
        match self.care.as_ref().and_then(|care| care.made) {
            Some(made) => made.kill(self.running, signal)?,
            None => self.running.kill(signal)?,
        }
        self.care.iter_mut().for_each(|care| care.wake());
        Ok(())
    }

    /// The process has ended: passes on what is still in the pipes, which others may hold open.
    fn end(mut self, buffer: &mut [u8]) -> Result<Exit> {
        self.care.iter().for_each(|care| care.group.kill());
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            while self.pass_on(stream, buffer)
                || (self.streams.is_terminal() && self.streams.is_open(stream) && self.more()?)
            {
            }
        }
        if let Some(log) = &mut self.log {
            log.finish();
        }
        Ok(self.running.wait()?)
    }

    /// Waits a little for what a terminal still holds.
    fn more(&self) -> Result<bool> {
        let mut fds = Vec::new();
        self.streams.watch(true, &mut fds);
        fds.retain(|(token, _)| matches!(token, Token::Output(_)));
        let found = wait(fds, Some(Instant::now() + LAST_OUTPUT))?;
        Ok(!found.is_empty())
    }
}

/// Polls until something is found or the time has come.
pub(crate) fn wait(
    fds: Vec<(Token, PollFd<'_>)>,
    deadline: Option<Instant>,
) -> Result<Vec<(Token, PollFlags)>> {
    let (tokens, mut fds): (Vec<_>, Vec<_>) = fds.into_iter().unzip();
    let timeout = deadline
        .map(|deadline| Timespec::try_from(deadline.saturating_duration_since(Instant::now())))
        .transpose()
        .expect("deadlines are near");
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(Error::system("wait for the container")(error)),
    }
    let found = tokens.into_iter().zip(fds.iter().map(PollFd::revents));
    Ok(found.filter(|(_, flags)| !flags.is_empty()).collect())
}
