//! Netlink: messages of attributes to the kernel, and its answers.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// The message is a request.
const REQUEST: u16 = 1;
/// An answer is wanted even where all went well.
const ACK: u16 = 4;
/// All that there is, not one thing.
pub(crate) const DUMP: u16 = 0x300;
/// What is there already is replaced.
pub(crate) const REPLACE: u16 = 0x100;
/// What is there already is an error.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// What is not there is made.
pub(crate) const CREATE: u16 = 0x400;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
const NESTED: u16 = 0x8000;
/// Which of an attribute's bits say its kind.
const KIND: u16 = 0x3fff;
/// More than the kernel puts into one packet of answers.
const PACKET: usize = 64 << 10;
/// The kernel answers at once; whoever waits longer has missed the answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// One message: a header of the family's own, and attributes.
#[derive(Debug)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A message of a kind, with flags besides that it is a request.
    pub(crate) fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(header);
        Self(bytes).padded()
    }

    /// Adds an attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).expect("attributes are short");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.padded()
    }

    /// Adds an attribute that is a text, which ends with a zero byte.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        self.with(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// Adds an attribute that is a number in the network's order.
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.with(kind, &value.to_be_bytes())
    }

    /// Adds an attribute that is made of others.
    pub(crate) fn nested(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        self.nested_after(kind, &[], fill)
    }

    /// Adds an attribute that is a header and others.
    pub(crate) fn nested_after(
        mut self,
        kind: u16,
        header: &[u8],
        fill: impl FnOnce(Self) -> Self,
    ) -> Self {
        let start = self.0.len();
        self = fill(self.with(NESTED | kind, header));
        let length = u16::try_from(self.0.len() - start).expect("attributes are short");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    fn padded(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn flag(&mut self, flag: u16) {
        self.0[6] |= flag.to_ne_bytes()[0];
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("messages are short");
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// A socket to one part of the kernel, in the network namespace that it was opened in.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket; no protocol is that of devices and routes.
    pub(crate) fn open(protocol: Option<Protocol>) -> Result<Self, Errno> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let fd = socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Asks for something to be done.
    pub(crate) fn act(&mut self, mut message: Message) -> Result<(), Errno> {
        message.flag(ACK);
        self.ask(message).map(drop)
    }

    /// Asks a question; the answers are without their message's header.
    pub(crate) fn ask(&mut self, message: Message) -> Result<Vec<Vec<u8>>, Errno> {
        self.sequence += 1;
        let sequence = self.sequence;
        self.send(&message.finish(sequence))?;
        self.answers(|heard| heard == sequence, sequence)
    }

    /// Asks for several things to be done, all or none; the first and the last message are those
    /// that mark the batch.
    pub(crate) fn act_together(&mut self, mut messages: Vec<Message>) -> Result<(), Errno> {
        let last = messages.len().checked_sub(2).ok_or(Errno::INVAL)?;
        messages[last].flag(ACK);
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence += 1;
            bytes.extend(message.finish(self.sequence));
        }
        self.send(&bytes)?;
        let (end, acknowledged) = (self.sequence, self.sequence - 1);
        self.answers(|heard| (first..=end).contains(&heard), acknowledged).map(drop)
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        let sent = retry_on_intr(|| send(&self.fd, bytes, SendFlags::empty()))?;
        if sent == bytes.len() { Ok(()) } else { Err(Errno::MSGSIZE) }
    }

    /// Hears until an error, or the end of the answers to the message that is the last one.
    fn answers(&self, is_ours: impl Fn(u32) -> bool, last: u32) -> Result<Vec<Vec<u8>>, Errno> {
        let mut answers = Vec::new();
        let mut packet = vec![0; PACKET];
        loop {
            let (_, length) =
                retry_on_intr(|| recv(&self.fd, packet.as_mut_slice(), RecvFlags::empty()))?;
            for (kind, is_part, sequence, payload) in messages(&packet[..length.min(PACKET)]) {
                if !is_ours(sequence) {
                    continue;
                }
                match kind {
                    ERROR => match payload.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
                        Some(0) if sequence == last => return Ok(answers),
                        Some(0) => {}
                        Some(code) => return Err(Errno::from_raw_os_error(-code)),
                        None => return Err(Errno::BADMSG),
                    },
                    DONE => return Ok(answers),
                    _ => answers.push(payload.to_owned()),
                }
                // One thing that was asked for comes alone, without any end.
                if kind != ERROR && !is_part {
                    return Ok(answers);
                }
            }
        }
    }
}

/// The messages of a packet: kind, whether more parts follow, sequence number, payload.
fn messages(mut packet: &[u8]) -> impl Iterator<Item = (u16, bool, u32, &[u8])> {
    const MULTI: u16 = 2;
    std::iter::from_fn(move || {
        let header: &[u8; HEADER] = packet.first_chunk()?;
        let length = u32::from_ne_bytes(header[0..4].try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(header[4..6].try_into().ok()?);
        let flags = u16::from_ne_bytes(header[6..8].try_into().ok()?);
        let sequence = u32::from_ne_bytes(header[8..12].try_into().ok()?);
        let payload = packet.get(HEADER..length)?;
        packet = packet.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, flags & MULTI != 0, sequence, payload))
    })
}

/// The attributes after a header of so many bytes: kind and value.
pub(crate) fn attributes(bytes: &[u8], header: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes.get(header.next_multiple_of(4)..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & KIND, value))
    })
}

/// The text of an attribute, without the zero byte that ends it.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_were_put() {
        let message = Message::new(1, 0, &[9; 8])
            .text(3, "name")
            .nested_after(5, &[7; 4], |inner| inner.number(6, 0x0102_0304))
            .with(7, &[1]);
        let bytes = message.finish(1);
        assert_eq!(bytes.len() % 4, 0);
        let found: Vec<_> = attributes(&bytes, HEADER + 8).collect();
        assert_eq!(found[0], (3, &b"name\0"[..]));
        assert_eq!((found[1].0, &found[1].1[..4]), (5, &[7; 4][..]));
        assert_eq!(attributes(found[1].1, 4).collect::<Vec<_>>(), [(6, &[1, 2, 3, 4][..])]);
        assert_eq!(found[2], (7, &[1][..]));
        assert_eq!(text(found[0].1), "name");
    }

    #[test]
    fn answers_that_are_cut_short_end_the_list() {
        let bytes = Message::new(1, 0, &[]).with(1, &[1; 6]).finish(7);
        assert_eq!(messages(&bytes).count(), 1);
        for end in 0..bytes.len() {
            assert_eq!(messages(&bytes[..end]).count(), 0, "{end}");
        }
        assert_eq!(attributes(&[3, 0, 1, 0], 0).count(), 0, "shorter than its own header");
    }
}
