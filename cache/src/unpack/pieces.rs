//! A stream that one thread reads and hashes while another uses it.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::id::Digest;

/// How much is read and hashed at once, in bytes.
const PIECE: usize = 256 << 10;
/// How many pieces may lie between the two threads.
const AHEAD: usize = 4;
/// The largest stream that is taken, in bytes.
const LARGEST: u64 = 1 << 40;

/// The stream on the side of the thread that uses it.
#[derive(Debug)]
pub(super) struct Pieces {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    piece: Vec<u8>,
    used: usize,
}

/// Reads `input` to its end, or to that of `work`, which uses it in another thread; returns the
/// digest of what was read and its length in bytes beside what `work` returns.
pub(super) fn hand_over<T: Send>(
    input: impl Read,
    work: impl FnOnce(Pieces) -> Result<T> + Send,
) -> Result<(T, Digest, u64)> {
    let (send_full, full) = sync_channel(AHEAD);
    let (empty, emptied) = channel();
    thread::scope(|scope| {
        let pieces = Pieces { full, empty, piece: Vec::new(), used: 0 };
        let worker = thread::Builder::new().name("unpack".to_owned());
        let worker = worker.spawn_scoped(scope, move || work(pieces)).map_err(Error::ReadTar)?;
        let (digest, length) = read(input, &send_full, &emptied);
        drop(send_full);
        let done = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((done, digest, length))
    })
}

/// Reads, counts and hashes until the end, an error, or the other side has had enough.
fn read(
    input: impl Read,
    full: &SyncSender<io::Result<Vec<u8>>>,
    emptied: &Receiver<Vec<u8>>,
) -> (Digest, u64) {
    let mut input = input.take(LARGEST);
    let mut hash = Sha256::new();
    loop {
        let mut piece = emptied.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE));
        piece.clear();
        let length = (&mut input).take(PIECE as u64).read_to_end(&mut piece);
        hash.update(&piece);
        let is_last = !matches!(length, Ok(1..));
        let next = match length {
            Ok(0) if input.limit() == 0 => Err(io::ErrorKind::FileTooLarge.into()),
            Ok(0) => break,
            Ok(_) => Ok(piece),
            Err(error) => Err(error),
        };
        if full.send(next).is_err() || is_last {
            break;
        }
    }
    (Digest::from_bytes(hash.finalize().into()), LARGEST - input.limit())
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.piece.len()
            && let Ok(next) = self.full.recv()
        {
            let used = std::mem::replace(&mut self.piece, next?);
            self.used = 0;
            // The other side may be done; then nobody needs the memory.
            let _ = self.empty.send(used);
        }
        Ok(&self.piece[self.used..])
    }

    fn consume(&mut self, length: usize) {
        self.used += length;
    }
}
