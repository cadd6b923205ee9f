//! Bytes that are hashed while they pass.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use crate::id::Digest;

/// Passes on what is written, and takes its sha256. Where only the digest is wanted, `out` is
/// [`io::sink`].
#[derive(Debug)]
pub struct Hashed<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Hashed<W> {
    /// Nothing has passed yet.
    pub fn new(out: W) -> Self {
        Self { out, hash: Sha256::new() }
    }

    /// The digest of what has passed.
    pub fn digest(self) -> Digest {
        Digest::from_bytes(self.hash.finalize().into())
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_taken_is_hashed() {
        let mut room = [0; 3];
        let mut hashed = Hashed::new(&mut room[..]);
        assert!(hashed.write_all(b"four").is_err());
        assert_eq!(hashed.digest(), Digest::from_bytes(Sha256::digest(b"fou").into()));
    }
}
