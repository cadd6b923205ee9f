//! Messages between an SSH agent and its clients: a length, a type, and what belongs to it.
//!
//! See the internet draft `draft-miller-ssh-agent`, sections 3 and 4.

use std::io::{self, Read, Write};

/// The longest message, in bytes, which is that of OpenSSH's agent.
const LONGEST: u32 = 256 << 10;
const FAILURE: u8 = 5;
const LIST_KEYS: u8 = 11;
const SIGN: u8 = 13;

/// One message, without its length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// The refusal of a request.
    pub(super) fn failure() -> Self {
        Self(vec![FAILURE])
    }

    /// Reads one message; `None` at the end.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut length = [0; 4];
        match from.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let length = u32::from_be_bytes(length);
        if length == 0 || length > LONGEST {
            let reason = format!("a message of {length} bytes to or from an SSH agent");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let mut message = Vec::new();
        from.take(u64::from(length)).read_to_end(&mut message)?;
        if message.len() as u64 != u64::from(length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(Self(message)))
    }

    /// Writes the message with its length.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let length = u32::try_from(self.0.len()).map_err(io::Error::other)?;
        to.write_all(&length.to_be_bytes())?;
        to.write_all(&self.0)
    }

    /// Whether a step may ask this: keys are listed and used, and never added, removed or locked.
    pub(super) fn is_allowed(&self) -> bool {
        matches!(self.0.first(), Some(&(LIST_KEYS | SIGN)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Option<Message>> {
        Message::read(&mut &*bytes)
    }

    #[test]
    fn messages_have_a_length_within_bounds() {
        assert_eq!(read(&[0, 0, 0, 2, 11, 7, 9]).unwrap(), Some(Message(vec![11, 7])));
        assert_eq!(read(&[]).unwrap(), None);
        for bytes in [&[0, 0, 0, 0][..], &[0, 4, 0, 1, 11], &[255; 8], &[0, 0, 0, 2, 11]] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
        let mut written = Vec::new();
        Message::failure().write(&mut written).unwrap();
        assert_eq!(written, [0, 0, 0, 1, 5]);
    }

    #[test]
    fn only_listing_and_signing_are_allowed() {
        let allowed: Vec<u8> = (0..=255).filter(|kind| Message(vec![*kind]).is_allowed()).collect();
        assert_eq!(allowed, [11, 13]);
    }
}
