//! The user's side of a container: the three streams, the terminal, signals and detach keys.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rbuild_runtime::Signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::io::{Errno, retry_on_intr};
use rustix::stdio::{stderr, stdin, stdout};

use super::error::{Error, Result};
use super::keys::DetachKeys;
use super::message::{Frame, Frames, Reply, Request, control};
use super::signals::{Signals, is_resize};
use super::terminal::{self, Raw};

/// What a pipe takes without blocking whenever it takes anything, in bytes.
const PIPE: usize = 4096;
/// As much input as is read that the container has not taken, in bytes.
const MOST_INPUT: usize = 64 << 10;

/// How a user is connected to a container.
#[derive(Debug, Clone, Default)]
pub struct Terminal {
    /// Whether standard input goes to the container: `-i`.
    pub input: bool,
    /// The keys that leave a container with a terminal running, as `ctrl-p,ctrl-q`.
    pub detach_keys: Option<String>,
    /// Whether signals for this process go to a container without a terminal.
    pub sig_proxy: bool,
    /// Whether standard output, and standard error, is not shown.
    pub hidden: [bool; 2],
}

/// How a connection to a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The container's process ended, with this code.
    Exited(i32),
    /// The user left it running.
    Detached,
}

/// What is at the other end of a connection.
pub(crate) struct Peer<'a> {
    /// Whether it has a terminal.
    pub(crate) tty: bool,
    /// Whether it lives for this user alone, and learns when nobody reads its output.
    pub(crate) owned: bool,
    /// Sends it a signal.
    pub(crate) forward: &'a dyn Fn(Signal),
}

/// Refuses to give a terminal to what would be typed by a pipe.
pub(crate) fn check(user: &Terminal, tty: bool) -> Result<()> {
    DetachKeys::new(user.detach_keys.as_deref())?;
    if tty && user.input && !terminal::is_terminal() {
        return Err(Error::NotATerminal);
    }
    Ok(())
}

/// Connects the user to the other end of a socket until either leaves.
pub(crate) fn attach(stream: UnixStream, user: &Terminal, peer: &Peer<'_>) -> Result<Ended> {
    check(user, peer.tty)?;
    stream.set_nonblocking(true).map_err(Error::monitor("speak to"))?;
    let raw = (peer.tty && user.input).then(Raw::new).transpose()?;
    let signals = match (raw.is_some(), user.sig_proxy && !peer.tty) {
        (true, _) => Some(Signals::of_a_terminal()?),
        (_, true) => Some(Signals::to_pass_on()?),
        _ => None,
    };
    let size = peer.tty.then(terminal::size).flatten();
    let outgoing = control(&Request::Attach { output: true, input: user.input, size });
    let mut attached = Attached {
        stream,
        frames: Frames::default(),
        outgoing,
        shown: Vec::new(),
        to_stderr: false,
        hidden: user.hidden,
        files: [stdout(), stderr()].map(is_file),
        reads_input: user.input,
        keys: DetachKeys::new(user.detach_keys.as_deref())?,
        signals,
        peer,
        ended: None,
    };
    attached.run()
}

fn is_file(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}

struct Attached<'a> {
    stream: UnixStream,
    frames: Frames,
    /// What is still to be sent.
    outgoing: Vec<u8>,
    /// What is still to be shown, and where.
    shown: Vec<u8>,
    to_stderr: bool,
    hidden: [bool; 2],
    /// Whether standard output, and standard error, is a regular file.
    files: [bool; 2],
    reads_input: bool,
    keys: DetachKeys,
    signals: Option<Signals>,
    peer: &'a Peer<'a>,
    ended: Option<Result<Ended>>,
}

impl Attached<'_> {
    fn run(&mut self) -> Result<Ended> {
        loop {
            while self.shown.is_empty() && self.ended.is_none() && self.take_frame()? {}
            if self.shown.is_empty()
                && let Some(ended) = self.ended.take()
            {
                return ended;
            }
            let [signal, socket, input, output] = self.poll()?;
            if !signal.is_empty() {
                self.take_signals();
            }
            if socket.contains(PollFlags::OUT) {
                self.send();
            }
            if socket.intersects(PollFlags::IN | PollFlags::HUP) && self.shown.is_empty() {
                self.receive();
            }
            if !input.is_empty() {
                self.read_input();
            }
            if !output.is_empty() {
                self.show();
            }
        }
    }

    fn poll(&self) -> Result<[PollFlags; 4]> {
        let mut socket = PollFlags::empty();
        socket.set(PollFlags::IN, self.shown.is_empty());
        socket.set(PollFlags::OUT, !self.outgoing.is_empty());
        let wants_input = self.reads_input && self.outgoing.len() < MOST_INPUT;
        let watched = [
            (self.signals.as_ref().map(Signals::fd), PollFlags::IN),
            ((!socket.is_empty()).then(|| self.stream.as_fd()), socket),
            (wants_input.then(stdin), PollFlags::IN),
            ((!self.shown.is_empty()).then(|| self.screen()), PollFlags::OUT),
        ];
        let mut fds: Vec<_> = watched
            .iter()
            .filter_map(|(fd, flags)| fd.map(|fd| PollFd::from_borrowed_fd(fd, *flags)))
            .collect();
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Error::system("wait for the container")(error)),
        }
        let mut found = fds.iter().map(PollFd::revents);
        // Only what was watched has an answer, in the same order.
        Ok(watched.map(|(fd, _)| match fd {
            Some(_) => found.next().unwrap_or(PollFlags::empty()),
            None => PollFlags::empty(),
        }))
    }

    fn screen(&self) -> BorrowedFd<'static> {
        if self.to_stderr { stderr() } else { stdout() }
    }

    /// Deals with one frame; returns whether there was one.
    fn take_frame(&mut self) -> Result<bool> {
        let (bytes, to_stderr) = match self.frames.next().map_err(Error::monitor("hear from"))? {
            None => return Ok(false),
            Some(Frame::First(bytes)) => (bytes, false),
            Some(Frame::Second(bytes)) => (bytes, true),
            Some(Frame::Control(json)) => {
                let reply = serde_json::from_slice(json).map_err(io::Error::from);
                self.ended = match reply.map_err(Error::monitor("hear from"))? {
                    Reply::Exited(code) => Some(Ok(Ended::Exited(code))),
                    Reply::Failed { message, code, hint } => {
                        Some(Err(Error::Start { message, code, hint }))
                    }
                    Reply::Started | Reply::Done => None,
                };
                return Ok(true);
            }
        };
        if !self.hidden[usize::from(to_stderr)] {
            self.shown.extend_from_slice(bytes);
            self.to_stderr = to_stderr;
        }
        Ok(true)
    }

    fn take_signals(&mut self) {
        let taken: Vec<_> = self.signals.iter_mut().flat_map(Signals::take).collect();
        for signal in taken {
            if self.peer.tty && is_resize(signal) {
                let size = terminal::size();
                self.outgoing.extend(size.into_iter().flat_map(|s| control(&Request::Resize(s))));
            } else if self.peer.tty {
                self.leave(Ok(Ended::Exited(128 + signal.number())));
            } else {
                (self.peer.forward)(signal);
            }
        }
        self.send();
    }

    fn send(&mut self) {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(length) => drop(self.outgoing.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    // The other end is gone, and has said all it had to.
                    self.outgoing.clear();
                    self.reads_input = false;
                }
            }
        }
    }

    fn receive(&mut self) {
        match self.frames.fill(&mut self.stream) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Killed: the container was killed with it.
            Ok(0) | Err(_) => self.leave(Ok(Ended::Exited(137))),
        }
    }

    fn read_input(&mut self) {
        let mut buffer = [0; 16 << 10];
        let typed = match retry_on_intr(|| rustix::io::read(stdin(), &mut buffer)) {
            Ok(length @ 1..) => &buffer[..length],
            Err(Errno::AGAIN) => return,
            Ok(_) | Err(_) => {
                self.reads_input = false;
                self.outgoing.extend(control(&Request::CloseInput));
                return self.send();
            }
        };
        let (passed, leaves) =
            if self.peer.tty { self.keys.filter(typed) } else { (typed.to_owned(), false) };
        if !passed.is_empty() {
            Frame::First(&passed).write(&mut self.outgoing);
            self.send();
        }
        if leaves {
            self.leave(Ok(Ended::Detached));
        }
    }

    fn show(&mut self) {
        let screen = self.screen();
        // A pipe that is not full takes so much, and a file takes everything, without blocking.
        let is_file = self.files[usize::from(self.to_stderr)];
        let most = if is_file { self.shown.len() } else { PIPE.min(self.shown.len()) };
        match rustix::io::write(screen, &self.shown[..most]) {
            Ok(length) => drop(self.shown.drain(..length)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) if self.peer.owned && !self.peer.tty => {
                // Nobody reads any more, which the container has to learn as in a pipeline.
                self.shown.clear();
                self.outgoing.extend(control(&Request::CloseOutput));
                self.send();
            }
            Err(_) => {
                self.shown.clear();
                self.leave(Ok(Ended::Detached));
            }
        }
    }

    fn leave(&mut self, ended: Result<Ended>) {
        self.ended.get_or_insert(ended);
    }
}
