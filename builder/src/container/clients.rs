//! The monitor's side of those that speak to it. Nothing here blocks but the last words.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

use rbuild_runtime::WindowSize;
use rustix::event::{PollFd, PollFlags};

use super::error::{Error, Result};
use super::log::LogStream;
use super::message::{Act, Frame, Frames, Reply, Request, control};

/// As much as a client may be behind, in bytes, before the container has to wait for it.
const MOST_PENDING: usize = 256 << 10;

/// What a poll was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Exit,
    Input,
    Output(LogStream),
    Listener,
    Client(usize),
    Probe,
}

/// What clients want of a session.
#[derive(Debug)]
pub(crate) enum Wish {
    Input(Vec<u8>),
    CloseInput,
    CloseOutput,
    Resize(WindowSize),
    /// With the client that is to be answered.
    Signal(usize, i32),
    Stop {
        signal: i32,
        timeout: i64,
    },
    /// With the client that is to be answered.
    Act(usize, Act),
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    frames: Frames,
    /// What it has not been sent yet.
    pending: Vec<u8>,
    output: bool,
    input: bool,
    gone: bool,
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        let (frames, pending) = (Frames::default(), Vec::new());
        Self { stream, frames, pending, output: false, input: false, gone: false }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        self.flush();
    }

    fn flush(&mut self) {
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.leave(),
            }
        }
    }

    fn leave(&mut self) {
        self.gone = true;
        self.pending.clear();
    }

    /// Reads once, and sorts what has come.
    fn hear(&mut self, index: usize, wishes: &mut Vec<Wish>) {
        match self.frames.fill(&mut self.stream) {
            Ok(0) => return self.leave(),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => return self.leave(),
        }
        loop {
            let request = match self.frames.next() {
                Ok(None) => return,
                Ok(Some(Frame::First(bytes))) => {
                    if self.input {
                        wishes.push(Wish::Input(bytes.to_owned()));
                    }
                    continue;
                }
                Ok(Some(Frame::Control(json))) => serde_json::from_slice(json).ok(),
                Ok(Some(Frame::Second(_))) | Err(_) => None,
            };
            wishes.extend(match request {
                Some(Request::Attach { output, input, size }) => {
                    (self.output, self.input) = (output, input);
                    size.map(Wish::Resize)
                }
                Some(Request::CloseInput) => self.input.then_some(Wish::CloseInput),
                Some(Request::CloseOutput) => Some(Wish::CloseOutput),
                Some(Request::Resize(size)) => Some(Wish::Resize(size)),
                Some(Request::Signal(number)) => Some(Wish::Signal(index, number)),
                Some(Request::Stop { signal, timeout }) => Some(Wish::Stop { signal, timeout }),
                Some(Request::Act(act)) => Some(Wish::Act(index, act)),
                Some(Request::Exec(_)) | None => return self.leave(),
            });
        }
    }
}

/// All clients, and the socket that more of them come by.
#[derive(Debug)]
pub(crate) struct Clients {
    listener: Option<UnixListener>,
    clients: Vec<Client>,
}

impl Clients {
    /// The first client, whose first request was read by the caller, and those at the socket.
    pub(crate) fn new(
        first: UnixStream,
        (output, input): (bool, bool),
        listener: Option<UnixListener>,
    ) -> Result<Self> {
        let prepare = || {
            first.set_nonblocking(true)?;
            listener.iter().try_for_each(|listener| listener.set_nonblocking(true))
        };
        prepare().map_err(Error::monitor("speak to"))?;
        let first = Client { output, input, ..Client::new(first) };
        Ok(Self { listener, clients: vec![first] })
    }

    /// Adds what is to be polled. Clients with input are not heard while there is too much of it.
    pub(crate) fn watch<'a>(&'a self, hear: bool, fds: &mut Vec<(Token, PollFd<'a>)>) {
        if let Some(listener) = &self.listener {
            fds.push((Token::Listener, PollFd::new(listener, PollFlags::IN)));
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, hear || !client.input);
            flags.set(PollFlags::OUT, !client.pending.is_empty());
            let fd = PollFd::from_borrowed_fd(client.stream.as_fd(), flags);
            fds.push((Token::Client(index), fd));
        }
    }

    /// Deals with what a poll has found, and collects wishes.
    pub(crate) fn serve(&mut self, token: Token, found: PollFlags, wishes: &mut Vec<Wish>) {
        match token {
            Token::Listener => self.accept(),
            Token::Client(index) => {
                let client = &mut self.clients[index];
                if found.contains(PollFlags::OUT) {
                    client.flush();
                }
                if found.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    client.hear(index, wishes);
                }
            }
            _ => {}
        }
    }

    fn accept(&mut self) {
        let accepted = self.listener.as_ref().map(UnixListener::accept);
        if let Some(Ok((stream, _))) = accepted
            && stream.set_nonblocking(true).is_ok()
        {
            self.clients.push(Client::new(stream));
        }
    }

    /// Forgets those that have gone; to be called when no index is in use.
    pub(crate) fn forget(&mut self) {
        self.clients.retain(|client| !client.gone);
    }

    /// Whether one is so far behind that the container must wait for it.
    pub(crate) fn is_behind(&self) -> bool {
        self.clients.iter().any(|client| client.pending.len() > MOST_PENDING)
    }

    /// Sends output to those that want it.
    pub(crate) fn send(&mut self, stream: LogStream, bytes: &[u8]) {
        let frame = match stream {
            LogStream::Stdout => Frame::First(bytes),
            LogStream::Stderr => Frame::Second(bytes),
        };
        let mut out = Vec::new();
        for client in self.clients.iter_mut().filter(|client| client.output) {
            if out.is_empty() {
                frame.write(&mut out);
            }
            client.send(&out);
        }
    }

    /// Answers one.
    pub(crate) fn tell(&mut self, index: usize, reply: &Reply) {
        self.clients[index].send(&control(reply));
    }

    /// Answers all.
    pub(crate) fn tell_all(&mut self, reply: &Reply) {
        let frame = control(reply);
        self.clients.iter_mut().for_each(|client| client.send(&frame));
    }

    /// Sends the last words, blocking for as long as a client lives that does not take them.
    pub(crate) fn finish(self) {
        let Self { listener, clients } = self;
        // Those that nobody accepts any more must not wait for an answer.
        drop(listener);
        for mut client in clients {
            if client.stream.set_nonblocking(false).is_ok() {
                client.flush();
            }
        }
    }
}
