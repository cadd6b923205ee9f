//! The stat cache: digests of files by inode number, times, size and mode.
//!
//! A file is a header and records of a fixed size, sorted by device and inode number, all numbers
//! little-endian. The header is eight bytes of magic with the version, and the blake3 of the
//! records. A file with any other header is no cache at all.
//!
//! A file that changed within the tick of the clock in which it was looked at could change once
//! more and keep its times. Such a file is not remembered (git calls it racily clean). Times may
//! come from a clock that ticks every 10 ms, or on some file systems in whole seconds.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::node::{Node, Time};

const MAGIC: [u8; 8] = *b"rbstat\x00\x01";
const HEADER: usize = 40;
const RECORD: usize = 84;
const DIGEST: usize = RECORD - 32;

/// A record: the key of 52 bytes, then the digest of 32.
type Record = [u8; RECORD];

/// A file of known digest, as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Known(Record);

/// What was known when the walk began.
#[derive(Debug, Default)]
pub(crate) struct StatCache {
    /// The file with its header, or nothing.
    bytes: Vec<u8>,
}

/// Tells which files have rested long enough to be remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guard {
    /// The time before any file was looked at.
    now: Time,
}

impl StatCache {
    /// Reads a cache; one that is missing or damaged is empty.
    pub(crate) fn load(path: &Path) -> Self {
        match fs::read(path) {
            Ok(bytes) if is_whole(&bytes) => Self { bytes },
            _ => Self::default(),
        }
    }

    /// The digest of a file, if it is the very file that was hashed once.
    pub(crate) fn find(&self, node: &Node, changed: Time) -> Option<[u8; 32]> {
        let wanted = key(node, changed);
        let records = self.records();
        let index = records.partition_point(|record| record[..16] < wanted[..16]);
        let record = records.get(index)?;
        (record[..DIGEST] == wanted).then(|| {
            let mut digest = [0; 32];
            digest.copy_from_slice(&record[DIGEST..]);
            digest
        })
    }

    /// Writes the cache anew with what was learnt, if anything was.
    ///
    /// A cache that cannot be written costs only time, so that is no error.
    pub(crate) fn save(&self, path: &Path, learnt: &[Known], walked: usize) {
        if learnt.is_empty() {
            return;
        }
        if let Err(error) = self.write(path, learnt, walked) {
            tracing::debug!(path = %path.display(), %error, "cannot write the stat cache");
        }
    }

    fn write(&self, path: &Path, learnt: &[Known], walked: usize) -> io::Result<()> {
        let mut records: Vec<&Record> = learnt.iter().map(|known| &known.0).collect();
        // Records of vanished files are dropped with all the others once they could be many.
        if self.records().len() <= 2 * walked + 4096 {
            records.extend(self.records());
        }
        // The sort is stable, so what was learnt just now stays before what it replaces.
        records.sort_by(|a, b| a[..16].cmp(&b[..16]));
        records.dedup_by(|a, b| a[..16] == b[..16]);
        let mut bytes = Vec::with_capacity(HEADER + records.len() * RECORD);
        bytes.resize(HEADER, 0);
        records.iter().for_each(|record| bytes.extend_from_slice(*record));
        bytes[..8].copy_from_slice(&MAGIC);
        let sum = blake3::hash(&bytes[HEADER..]);
        bytes[8..HEADER].copy_from_slice(sum.as_bytes());
        replace(path, &bytes)
    }

    fn records(&self) -> &[Record] {
        self.bytes.get(HEADER..).unwrap_or_default().as_chunks().0
    }
}

impl Guard {
    /// A guard for files that are looked at from now on.
    pub(crate) fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        Self { now: Time { seconds, nanoseconds: now.subsec_nanos() } }
    }

    /// What may be remembered of a file that was hashed.
    pub(crate) fn known(self, node: &Node, changed: Time) -> Option<Known> {
        // Attributes are not remembered, so a file with some is read again each time.
        if !node.xattrs.is_empty() || !self.has_rested(changed) {
            return None;
        }
        let mut record = [0; RECORD];
        record[..DIGEST].copy_from_slice(&key(node, changed));
        record[DIGEST..].copy_from_slice(&node.data);
        Some(Known(record))
    }

    fn has_rested(self, changed: Time) -> bool {
        let tick = if changed.nanoseconds == 0 { 2_000_000_000 } else { 20_000_000 };
        let since = |time: Time| {
            i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds)
        };
        since(self.now) - since(changed) > tick
    }
}

/// Device and inode number, then all that changes with the contents.
fn key(node: &Node, changed: Time) -> [u8; DIGEST] {
    let mut key = [0; DIGEST];
    let mut put = |at: usize, bytes: &[u8]| key[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &node.dev.to_le_bytes());
    put(8, &node.ino.to_le_bytes());
    put(16, &node.size.to_le_bytes());
    put(24, &node.mtime.seconds.to_le_bytes());
    put(32, &changed.seconds.to_le_bytes());
    put(40, &node.mtime.nanoseconds.to_le_bytes());
    put(44, &changed.nanoseconds.to_le_bytes());
    put(48, &node.mode.to_le_bytes());
    key
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some((header, records)) = bytes.split_at_checked(HEADER) else { return false };
    let fits = header[..8] == MAGIC && records.len() % RECORD == 0;
    fits && header[8..] == *blake3::hash(records).as_bytes()
}

/// Writes a file beside its place and renames it there.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = Path::new(&name);
    let written = fs::File::create(beside)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(beside, path));
    if written.is_err() {
        let _ = fs::remove_file(beside);
    }
    written
}
