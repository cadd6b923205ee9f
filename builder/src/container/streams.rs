//! This side's ends of a process's streams: pipes, or its terminal.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rbuild_runtime::{Running, Stdio, Stream, WindowSize};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, fcntl_dupfd_cloexec, retry_on_intr};
use rustix::pipe::{PipeFlags, pipe_with};

use super::clients::Token;
use super::error::{Error, Result};
use super::log::LogStream;

/// As much input as is kept that the process has not read, in bytes.
const MOST_INPUT: usize = 64 << 10;

/// This side's ends of a process's streams; none of them blocks.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    input: Option<OwnedFd>,
    /// By the number of the stream.
    outputs: [Option<OwnedFd>; 2],
    terminal: bool,
    pending: Vec<u8>,
    closing: bool,
}

impl Streams {
    /// Makes the streams of a process: a terminal of a size, or pipes, with or without input.
    pub(crate) fn new(terminal: Option<WindowSize>, input: bool) -> Result<(Self, Stdio)> {
        match terminal {
            Some(size) => {
                let streams = Self { terminal: true, ..Self::default() };
                Ok((streams, Stdio::Terminal(size)))
            }
            None => Self::pipes(input).map_err(Error::system("make the pipes of a container")),
        }
    }

    fn pipes(input: bool) -> rustix::io::Result<(Self, Stdio)> {
        let (stdout, their_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, their_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        let input = input.then(|| pipe_with(PipeFlags::CLOEXEC)).transpose()?;
        let (stdin, input) = match input {
            Some((theirs, ours)) => (Stream::Fd(theirs), Some(ours)),
            None => (Stream::Null, None),
        };
        for fd in [&stdout, &stderr].into_iter().chain(&input) {
            set_nonblocking(fd.as_fd())?;
        }
        let stdio = Stdio::Streams {
            stdin,
            stdout: Stream::Fd(their_stdout),
            stderr: Stream::Fd(their_stderr),
        };
        let outputs = [Some(stdout), Some(stderr)];
        Ok((Self { input, outputs, ..Self::default() }, stdio))
    }

    /// Takes this side's end of the terminal, once there is one.
    pub(crate) fn take_terminal(&mut self, running: &Running) -> Result<()> {
        let mut take = || -> rustix::io::Result<()> {
            if let Some(terminal) = running.terminal() {
                set_nonblocking(terminal.as_fd())?;
                self.input = Some(fcntl_dupfd_cloexec(terminal, 3)?);
                self.outputs = [Some(fcntl_dupfd_cloexec(terminal, 3)?), None];
            }
            Ok(())
        };
        take().map_err(Error::system("use the terminal of a container"))
    }

    /// Whether it is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether more input can be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.pending.len() < MOST_INPUT
    }

    /// Adds what is to be polled.
    pub(crate) fn watch<'a>(&'a self, outputs: bool, fds: &mut Vec<(Token, PollFd<'a>)>) {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            if let Some(fd) = self.outputs[stream as usize].as_ref().filter(|_| outputs) {
                fds.push((Token::Output(stream), PollFd::new(fd, PollFlags::IN)));
            }
        }
        if let Some(fd) = self.input.as_ref().filter(|_| !self.pending.is_empty()) {
            fds.push((Token::Input, PollFd::new(fd, PollFlags::OUT)));
        }
    }

    /// Reads once what the process wrote; none when there is nothing now or will be nothing more.
    pub(crate) fn read<'a>(&mut self, stream: LogStream, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let output = &mut self.outputs[stream as usize];
        let fd = output.as_ref()?;
        match retry_on_intr(|| rustix::io::read(fd, &mut *buffer)) {
            Ok(length @ 1..) => Some(&buffer[..length]),
            Err(Errno::AGAIN) => None,
            // A terminal that nobody has open any more gives an error.
            Ok(_) | Err(_) => {
                *output = None;
                None
            }
        }
    }

    /// Whether the process may still write something.
    pub(crate) fn is_open(&self, stream: LogStream) -> bool {
        self.outputs[stream as usize].is_some()
    }

    /// Reads no more output: the process learns of it when it writes.
    pub(crate) fn close_outputs(&mut self) {
        self.outputs = [None, None];
    }

    /// Gives the process input.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if self.input.is_some() {
            self.pending.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// Ends the input after what is still to be read. The input of a terminal never ends.
    pub(crate) fn close_input(&mut self) {
        self.closing = !self.terminal;
        self.flush();
    }

    /// Writes as much of the input as the process takes.
    pub(crate) fn flush(&mut self) {
        while let Some(fd) = self.input.as_ref().filter(|_| !self.pending.is_empty()) {
            match retry_on_intr(|| rustix::io::write(fd, &self.pending)) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.input = None;
                    self.pending.clear();
                }
            }
        }
        if self.closing && self.pending.is_empty() {
            self.input = None;
        }
    }
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)
}
