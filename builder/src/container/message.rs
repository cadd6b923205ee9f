//! What a monitor and its clients say to each other: frames of a kind, a length and a payload.

use std::io::{self, Read};

use rbuild_runtime::WindowSize;
use serde::{Deserialize, Serialize};

use super::error::{Error, chain};
use super::exec::ExecOptions;
use super::network::Change;
use super::update::Update;

const CONTROL: u8 = 0;
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const HEADER: usize = 5;
/// As much as is read at once, in bytes.
const AT_ONCE: usize = 64 << 10;
/// The longest payload, in bytes; a peer that announces more is not one of ours.
const LONGEST: usize = 1 << 20;

/// What a client asks for. Standard input goes in frames of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// To begin with: whether to get what the container writes, and whether this client's input
    /// goes to it; the size of the client's terminal.
    Attach { output: bool, input: bool, size: Option<WindowSize> },
    /// To begin with, in a process started for it: a process in the container of an id.
    Exec(Box<ExecOptions>),
    /// The input is at its end.
    CloseInput,
    /// Nobody reads the output any more.
    CloseOutput,
    /// The client's terminal has another size.
    Resize(WindowSize),
    /// A signal for the first process; answered by [`Reply::Done`].
    Signal(i32),
    /// Stop it: a signal, then after so many seconds a kill; negative waits for ever.
    Stop { signal: i32, timeout: i64 },
    /// Something about the container itself; answered by [`Reply::Done`] or [`Reply::Failed`].
    Act(Act),
}

/// What a monitor does to its container at a client's word.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Act {
    /// Another network, or one less.
    Network(Box<Change>),
    /// Stop all processes where they are, or let them go on.
    Pause(bool),
    /// Other limits, another restart policy.
    Update(Box<Update>),
}

/// What a monitor answers. Output goes in frames of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The process runs.
    Started,
    /// It could not be started.
    Failed { message: String, code: i32, hint: Option<String> },
    /// What was asked is done.
    Done,
    /// The process has ended, and the monitor with it.
    Exited(i32),
}

impl Reply {
    /// What tells of an error, with all its causes.
    pub(crate) fn failed(error: &Error) -> Self {
        Self::Failed { message: chain(error), code: error.exit_code(), hint: error.hint() }
    }
}

/// One frame of either direction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// The json of a request or a reply.
    Control(&'a [u8]),
    /// Standard input, or standard output.
    First(&'a [u8]),
    /// Standard error.
    Second(&'a [u8]),
}

impl Frame<'_> {
    /// Appends the bytes of the frame.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let (kind, payload) = match self {
            Self::Control(payload) => (CONTROL, payload),
            Self::First(payload) => (FIRST, payload),
            Self::Second(payload) => (SECOND, payload),
        };
        let length = u32::try_from(payload.len()).expect("payloads are small");
        out.push(kind);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(payload);
    }
}

/// The bytes of a control frame.
pub(crate) fn control(message: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(message).expect("messages have string keys only");
    let mut frame = Vec::with_capacity(json.len() + HEADER);
    Frame::Control(&json).write(&mut frame);
    frame
}

/// Reads the first request of a client, blocking, and nothing that comes after it.
pub(crate) fn first_request(from: &mut impl Read) -> io::Result<Request> {
    let mut header = [0; HEADER];
    from.read_exact(&mut header)?;
    let [kind, length @ ..] = header;
    let length = u32::from_le_bytes(length) as usize;
    if kind != CONTROL || length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a request"));
    }
    let mut json = vec![0; length];
    from.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

/// Puts frames together from the bytes that come.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    taken: usize,
}

impl Frames {
    /// Reads once; returns how many bytes came, 0 at the end.
    pub(crate) fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let start = self.bytes.len();
        self.bytes.resize(start + AT_ONCE, 0);
        let read = from.read(&mut self.bytes[start..]);
        self.bytes.truncate(start + read.as_ref().copied().unwrap_or_default());
        read
    }

    /// The next whole frame that has come.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame<'_>>> {
        let rest = &self.bytes[self.taken..];
        let Some((header, payload)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [kind, length @ ..] = *header;
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST || kind > SECOND {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame"));
        }
        let Some(payload) = payload.get(..length) else {
            return Ok(None);
        };
        self.taken += HEADER + length;
        Ok(Some(match kind {
            CONTROL => Frame::Control(payload),
            FIRST => Frame::First(payload),
            _ => Frame::Second(payload),
        }))
    }

    /// Blocks for the next reply; the output before it is dropped, and none is the end.
    pub(crate) fn reply(&mut self, from: &mut impl Read) -> io::Result<Option<Reply>> {
        loop {
            while let Some(frame) = self.next()? {
                if let Frame::Control(json) = frame {
                    return Ok(Some(serde_json::from_slice(json)?));
                }
            }
            match self.fill(from) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let mut bytes = control(&Reply::Exited(3));
        Frame::First(b"out").write(&mut bytes);
        Frame::Second(b"").write(&mut bytes);
        for size in 1..bytes.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for mut part in bytes.chunks(size) {
                frames.fill(&mut part).unwrap();
                while let Some(frame) = frames.next().unwrap() {
                    seen.push(format!("{frame:?}"));
                }
            }
            assert_eq!(seen.len(), 3, "{size}");
            assert_eq!(seen[1], format!("{:?}", Frame::First(b"out")));
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [&[9, 0, 0, 0, 0][..], &[0, 0, 0, 0, 0x7f]] {
            let mut frames = Frames::default();
            frames.fill(&mut &bytes[..]).unwrap();
            assert!(frames.next().is_err());
        }
    }

    #[test]
    fn a_reply_is_read_past_the_output() {
        let mut bytes = Vec::new();
        Frame::First(b"out").write(&mut bytes);
        bytes.extend(control(&Reply::Exited(3)));
        let mut frames = Frames::default();
        let mut from = bytes.as_slice();
        assert!(matches!(frames.reply(&mut from), Ok(Some(Reply::Exited(3)))));
        assert!(matches!(frames.reply(&mut from), Ok(None)));
    }
}
