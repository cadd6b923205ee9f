//! Blobs that come in by parts, in any order: what is there survives the process that fetched it, and
//! can be read from the start while the rest is still on its way.
//!
//! `partial/<hex>` holds the bytes at their places, and behind them one number for each segment: how
//! many of its bytes are there, from its start on. Bytes are written before the number that counts
//! them. After a power cut the two may disagree; then the digest does, and the blob is fetched anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::blobs::BLOBS;
use crate::error::{Error, Result};
use crate::id::Digest;
use crate::item::Item;
use crate::store::{Store, claim};

pub(crate) const PARTIAL: &str = "partial";

/// The bytes of a segment: the largest part that [`Partial::missing`] gives.
pub const SEGMENT: u64 = 16 << 20;
/// The bytes of the number behind the content that says how much of a segment is there.
const COUNT: u64 = 8;

/// A blob that is coming in. Dropped before it is finished, it stays as it is, and whoever reads it
/// gets an error.
#[derive(Debug)]
pub struct Partial {
    store: Store,
    digest: Digest,
    path: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    // Locked for as long as somebody has it open.
    file: File,
    size: u64,
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Debug)]
struct State {
    /// The bytes that are there of each segment.
    counts: Vec<u64>,
    /// Nothing more will come.
    ended: bool,
    /// The digest of the whole, once a reader has seen all of it.
    read: Option<Digest>,
}

impl Store {
    /// Opens a blob of which some parts may have come before; waits while another process has it.
    pub fn partial(&self, digest: Digest, size: u64) -> Result<Partial> {
        let path = self.folder(PARTIAL)?.join(digest.hex());
        let file = loop {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = file.open(&path).map_err(Error::file("open", &path))?;
            // Another process may have finished it, or a sweep removed it, just before.
            if claim(&file).map_err(Error::file("lock", &path))? {
                break file;
            }
        };
        let counts = counts(&file, size).map_err(Error::file("read", &path))?;
        let state = Mutex::new(State { counts, ended: false, read: None });
        let shared = Arc::new(Shared { file, size, state, grown: Condvar::new() });
        Ok(Partial { store: self.clone(), digest, path, shared })
    }

    /// The bytes that the parts of a blob which have come take on the disk.
    pub fn partial_bytes(&self, digest: &Digest) -> u64 {
        let file = fs::metadata(self.root().join(PARTIAL).join(digest.hex()));
        file.map_or(0, |file| file.blocks() * 512)
    }
}

/// How much of each segment a file says to have; nothing where it is not a file of this size.
fn counts(file: &File, size: u64) -> io::Result<Vec<u64>> {
    let segments = size.div_ceil(SEGMENT);
    let length = size + segments * COUNT;
    if file.metadata()?.len() != length {
        file.set_len(0)?;
        file.set_len(length)?;
    }
    let count = |segment: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, size + segment * COUNT)?;
        let there = segment_at(segment * SEGMENT, size);
        Ok(u64::from_le_bytes(bytes).min(there.end - there.start))
    };
    (0..segments).map(count).collect()
}

/// The segment in which a byte is.
fn segment_at(offset: u64, size: u64) -> Range<u64> {
    let start = offset / SEGMENT * SEGMENT;
    start..(start + SEGMENT).min(size)
}

fn index(offset: u64) -> usize {
    usize::try_from(offset / SEGMENT).expect("so many segments are in memory")
}

impl Partial {
    /// The parts that are not there yet, in order, none larger than [`SEGMENT`].
    pub fn missing(&self) -> Vec<Range<u64>> {
        let state = self.shared.state();
        let starts = (0..self.shared.size).step_by(usize::try_from(SEGMENT).unwrap_or(usize::MAX));
        let missing = starts.zip(&state.counts).map(|(start, count)| {
            let segment = segment_at(start, self.shared.size);
            start + count..segment.end
        });
        missing.filter(|part| !part.is_empty()).collect()
    }

    /// How many bytes are there.
    pub fn bytes(&self) -> u64 {
        self.shared.state().counts.iter().sum()
    }

    /// Writes bytes at their place. Those that are there already are passed over; a segment is filled
    /// from its start on, so bytes that would leave a gap in one are refused.
    ///
    /// # Errors
    /// A gap, bytes behind the end, or a disk that takes no more.
    pub fn write_at(&self, mut offset: u64, mut bytes: &[u8]) -> Result<()> {
        let Shared { file, size, .. } = &*self.shared;
        let write = |at, bytes: &[u8]| {
            file.write_all_at(bytes, at).map_err(Error::file("write", &self.path))
        };
        if offset.saturating_add(bytes.len() as u64) > *size {
            let (digest, expected) = (self.digest, *size);
            let found = offset.saturating_add(bytes.len() as u64);
            return Err(Error::WrongSize { digest, expected, found });
        }
        while !bytes.is_empty() {
            let segment = segment_at(offset, *size);
            let there = segment.start + self.shared.state().counts[index(offset)];
            let length = usize::try_from(segment.end - offset).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(length.min(bytes.len()));
            let known = usize::try_from(there.saturating_sub(offset)).unwrap_or(usize::MAX);
            if offset > there {
                let gap = io::Error::new(io::ErrorKind::InvalidInput, "it would leave a gap");
                return Err(Error::file("write", &self.path)(gap));
            }
            offset += now.len() as u64;
            bytes = later;
            if let Some(new) = now.get(known..).filter(|new| !new.is_empty()) {
                write(there, new)?;
                let count = there + new.len() as u64 - segment.start;
                write(size + segment.start / SEGMENT * COUNT, &count.to_le_bytes())?;
                self.shared.state().counts[index(segment.start)] = count;
                self.shared.grown.notify_all();
            }
        }
        Ok(())
    }

    /// Reads the blob from its start, and waits for what has not come yet.
    pub fn reader(&self) -> PartialReader {
        PartialReader { shared: self.shared.clone(), next: 0, hash: Some(Sha256::new()) }
    }

    /// Ends the blob: checks its digest, and puts it in its place for good. One that is not what it
    /// should be is removed.
    ///
    /// # Errors
    /// A part that is missing, another digest, or a disk that takes no more.
    pub fn finish(self) -> Result<()> {
        let Shared { file, size, .. } = &*self.shared;
        let there = self.bytes();
        if there != *size {
            return Err(Error::WrongSize { digest: self.digest, expected: *size, found: there });
        }
        let known = self.shared.state().read;
        let found = match known {
            Some(found) => found,
            None => self.shared.digest().map_err(Error::file("read", &self.path))?,
        };
        if found != self.digest {
            fs::remove_file(&self.path).map_err(Error::file("remove", &self.path))?;
            return Err(Error::WrongDigest { expected: self.digest, found });
        }
        let written = file.set_len(*size).and_then(|()| file.sync_all());
        written.map_err(Error::file("write", &self.path))?;
        let place = self.store.folder(BLOBS)?.join(self.digest.hex());
        self.store.uses(&Item::Blob(self.digest));
        fs::rename(&self.path, &place).map_err(Error::file("rename into", &place))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.grown.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes are there from `offset` on; waits until there is one. None at the end.
    fn available(&self, offset: u64) -> io::Result<u64> {
        if offset == self.size {
            return Ok(0);
        }
        let segment = segment_at(offset, self.size);
        let mut state = self.state();
        loop {
            let there = segment.start + state.counts[index(offset)];
            if there > offset {
                return Ok(there - offset);
            }
            if state.ended {
                let message = "the rest of the blob did not come";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
            state = self.grown.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The digest of the bytes as they lie in the file.
    fn digest(&self) -> io::Result<Digest> {
        let (mut hash, mut bytes, mut next) = (Sha256::new(), vec![0; 256 << 10], 0);
        while next < self.size {
            let most = usize::try_from(self.size - next).unwrap_or(usize::MAX).min(bytes.len());
            self.file.read_exact_at(&mut bytes[..most], next)?;
            hash.update(&bytes[..most]);
            next += most as u64;
        }
        Ok(Digest::from_bytes(hash.finalize().into()))
    }
}

/// Reads a blob that is coming in. What passes is hashed, so that nobody must read it again.
#[derive(Debug)]
pub struct PartialReader {
    shared: Arc<Shared>,
    next: u64,
    hash: Option<Sha256>,
}

impl Read for PartialReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = usize::try_from(self.shared.available(self.next)?).unwrap_or(usize::MAX);
        let length = available.min(buffer.len());
        self.shared.file.read_exact_at(&mut buffer[..length], self.next)?;
        self.next += length as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..length]);
        }
        if self.next == self.shared.size
            && let Some(hash) = self.hash.take()
        {
            self.shared.state().read = Some(Digest::from_bytes(hash.finalize().into()));
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> (Vec<u8>, Digest) {
        let bytes: Vec<u8> = (0..SEGMENT + 1000).map(|byte| (byte % 251) as u8).collect();
        let digest = Digest::from_bytes(Sha256::digest(&bytes).into());
        (bytes, digest)
    }

    fn at(offset: u64) -> usize {
        usize::try_from(offset).unwrap()
    }

    #[test]
    fn parts_come_in_any_order_and_survive() {
        let store = Store::temporary().unwrap();
        let (bytes, digest) = content();
        let size = bytes.len() as u64;
        let open = || store.partial(digest, size).unwrap();
        let partial = open();
        assert_eq!(partial.missing(), [0..SEGMENT, SEGMENT..size]);
        partial.write_at(SEGMENT, &bytes[at(SEGMENT)..at(SEGMENT) + 10]).unwrap();
        partial.write_at(0, &bytes[..100]).unwrap();
        partial.write_at(200, &bytes[200..300]).unwrap_err();
        partial.write_at(size - 1, b"too long").unwrap_err();
        drop(partial);

        let partial = open();
        assert_eq!(
            (partial.missing(), partial.bytes()),
            (vec![100..SEGMENT, SEGMENT + 10..size], 110)
        );
        let mut reader = partial.reader();
        let reading = std::thread::spawn(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).map(|_| read)
        });
        // What is there is passed over, also across the border of a segment.
        partial.write_at(50, &bytes[50..]).unwrap();
        assert!(partial.missing().is_empty());
        assert!(reading.join().unwrap().unwrap() == bytes);
        assert_eq!(partial.shared.state().read, Some(digest));
        partial.finish().unwrap();
        assert!(store.read_blob(&digest, size).unwrap() == bytes);
        assert_eq!(open().bytes(), 0, "nothing is left of it");
    }

    #[test]
    fn what_is_not_what_it_should_be_is_removed() {
        let store = Store::temporary().unwrap();
        let (mut bytes, digest) = content();
        let size = bytes.len() as u64;
        let partial = store.partial(digest, size).unwrap();
        partial.write_at(0, &bytes[..10]).unwrap();
        let short = partial.finish().unwrap_err().to_string();
        assert!(short.ends_with("has 10 bytes, not 16778216"), "{short}");
        bytes[20] ^= 1;
        let partial = store.partial(digest, size).unwrap();
        partial.write_at(0, &bytes).unwrap();
        assert!(matches!(partial.finish(), Err(Error::WrongDigest { .. })));
        assert!(!store.has_blob(&digest));
        assert_eq!(store.partial(digest, size).unwrap().bytes(), 0);
        // Of another size it is another blob.
        assert_eq!(store.partial(digest, 5).unwrap().missing(), vec![0..5_u64; 1]);
    }

    #[test]
    fn a_reader_of_what_never_comes_gets_an_error() {
        let store = Store::temporary().unwrap();
        let (bytes, digest) = content();
        let partial = store.partial(digest, 100).unwrap();
        partial.write_at(0, &bytes[..2]).unwrap();
        let mut reader = partial.reader();
        drop(partial);
        let mut read = Vec::new();
        assert_eq!(reader.read_to_end(&mut read).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(read, bytes[..2]);
        // The one who reads has it open still.
        let other = Digest::from_bytes([7; 32]);
        let empty = store.partial(other, 0).unwrap();
        assert_eq!(empty.reader().read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_sweep_leaves_what_came_lately() {
        let store = Store::temporary().unwrap();
        let (bytes, digest) = content();
        let partial = store.partial(digest, 100).unwrap();
        partial.write_at(0, &bytes[..2]).unwrap();
        let old = std::time::SystemTime::now() - crate::remove::PARTIAL_LIFE * 2;
        partial.shared.file.set_modified(old).unwrap();
        store.sweep().unwrap();
        drop(partial);
        let partial = store.partial(digest, 100).unwrap();
        assert_eq!(partial.bytes(), 2, "it was in use");
        drop(partial);
        store.sweep().unwrap();
        assert_eq!(store.partial(digest, 100).unwrap().bytes(), 0, "it was old");
        let partial = store.partial(digest, 100).unwrap();
        partial.write_at(0, &bytes[..2]).unwrap();
        drop(partial);
        store.sweep().unwrap();
        assert_eq!(store.partial(digest, 100).unwrap().bytes(), 2, "it was new");
    }
}
