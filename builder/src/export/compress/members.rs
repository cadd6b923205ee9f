//! A compressed stream of independent gzip members, or zstd frames, one behind the other.
//!
//! All cores work on one stream, and where its members end depends on the bytes alone: so the
//! stream is the same whatever the number of cores. What reads gzip reads all members, as RFC 1952
//! wants it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::mem;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use libdeflater::{CompressionLvl, Compressor};
use rayon::Yield;

use super::Compression;

/// The uncompressed bytes of a gzip member. Bigger ones compress hardly better.
const MEMBER: usize = 1 << 20;
/// Those of a zstd frame, which looks further back.
const FRAME: usize = 4 << 20;

impl Compression {
    fn member_size(self) -> usize {
        match self {
            Self::Zstd(_) => FRAME,
            Self::Gzip(_) | Self::None => MEMBER,
        }
    }

    /// One member or frame.
    fn member(self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(level) => gzip(&bytes, level),
            Self::Zstd(level) => zstd::bulk::compress(&bytes, level),
            Self::None => Ok(bytes),
        }
    }
}

fn gzip(bytes: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let level = CompressionLvl::new(i32::try_from(level).unwrap_or(i32::MAX))
        .map_err(|_| io::Error::other(format!("gzip has no level {level}")))?;
    let mut compressor = Compressor::new(level);
    let mut out = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let length = compressor.gzip_compress(bytes, &mut out).map_err(io::Error::other)?;
    out.truncate(length);
    Ok(out)
}

type Member = io::Result<Vec<u8>>;

/// Compresses what is written to it, on all cores, in order.
#[derive(Debug)]
pub(super) struct Members<W> {
    out: W,
    how: Compression,
    filling: Vec<u8>,
    /// The members that are being compressed, in order.
    under_way: VecDeque<Receiver<Member>>,
    at_once: usize,
}

impl<W: Write> Members<W> {
    pub(super) fn new(out: W, how: Compression) -> Self {
        let at_once = 2 * rayon::current_num_threads();
        Self { out, how, filling: Vec::new(), under_way: VecDeque::new(), at_once }
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        // A stream without a byte is a member too.
        if !self.filling.is_empty() || self.under_way.is_empty() {
            self.compress();
        }
        while let Some(member) = self.under_way.pop_front() {
            self.out.write_all(&wait(&member)?)?;
        }
        self.out.flush()
    }

    /// Has the member compressed that was filled.
    fn compress(&mut self) {
        let (how, bytes) = (self.how, mem::take(&mut self.filling));
        let (sender, receiver) = sync_channel(1);
        rayon::spawn(move || {
            // Nobody waits for it any more where the output has failed.
            let _ = sender.send(how.member(bytes));
        });
        self.under_way.push_back(receiver);
    }

    /// Writes the members that are done and, where too many are under way, waits for the first.
    fn drain(&mut self) -> io::Result<()> {
        while let Some(first) = self.under_way.front() {
            let member = if self.under_way.len() < self.at_once {
                match first.try_recv() {
                    Err(TryRecvError::Empty) => return Ok(()),
                    received => received.unwrap_or_else(|_| lost()),
                }
            } else {
                wait(first)
            };
            self.under_way.pop_front();
            self.out.write_all(&member?)?;
        }
        Ok(())
    }
}

/// Waits for a member. A thread that compresses, itself, must not: it compresses meanwhile.
fn wait(member: &Receiver<Member>) -> Member {
    loop {
        match member.try_recv() {
            Ok(member) => return member,
            Err(TryRecvError::Empty) if rayon::yield_now() == Some(Yield::Executed) => {}
            Err(_) => return member.recv().unwrap_or_else(|_| lost()),
        }
    }
}

fn lost() -> Member {
    Err(io::Error::other("a thread that compresses has ended"))
}

impl<W: Write> Write for Members<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = self.how.member_size();
        if self.filling.capacity() == 0 {
            self.filling.reserve_exact(size.min(bytes.len().next_power_of_two().max(4096)));
        }
        let taken = bytes.len().min(size - self.filling.len());
        self.filling.extend_from_slice(&bytes[..taken]);
        if self.filling.len() == size {
            self.compress();
            self.drain()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of which about half are news.
    fn bytes(length: usize) -> Vec<u8> {
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24).to_le_bytes()[0] & 0x3f
        };
        (0..length).map(|_| next()).collect()
    }

    fn compressed(bytes: &[u8], how: Compression) -> Vec<u8> {
        let mut out = Vec::new();
        let mut members = Members::new(&mut out, how);
        // In pieces that end nowhere near a member's end.
        for piece in bytes.chunks(100_003) {
            members.write_all(piece).unwrap();
        }
        members.finish().unwrap();
        out
    }

    const ALL: [Compression; 4] =
        [Compression::Gzip(4), Compression::Gzip(0), Compression::Zstd(3), Compression::None];

    #[test]
    fn the_bytes_are_the_same_on_any_number_of_threads() {
        let bytes = bytes(9_500_000);
        for how in ALL {
            let [one, two] = [1, 2].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| compressed(&bytes, how))
            });
            assert!(one == two && two == compressed(&bytes, how), "{how:?}");
        }
    }

    #[test]
    fn members_read_back_as_one_stream() {
        for length in [0, 1, MEMBER, MEMBER + 1, 9_000_000] {
            let bytes = bytes(length);
            for how in ALL {
                let stream = compressed(&bytes, how);
                let mut back = Vec::new();
                let mut reader: Box<dyn io::Read> = match how {
                    Compression::Gzip(_) => Box::new(flate2::read::MultiGzDecoder::new(&*stream)),
                    Compression::Zstd(_) => Box::new(zstd::Decoder::new(&*stream).unwrap()),
                    Compression::None => Box::new(&*stream),
                };
                reader.read_to_end(&mut back).unwrap();
                assert!(back == bytes, "{how:?} {length}");
            }
        }
    }

    #[test]
    fn an_output_that_fails_ends_it() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut members = Members::new(Full, Compression::Gzip(1));
        let written = members.write_all(&bytes(64 << 20)).and_then(|()| members.finish());
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(gzip(b"x", 13).is_err());
    }
}
