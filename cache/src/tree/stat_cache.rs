//! The stat cache: digests of files by inode number, times, size and mode.
//!
//! A file is a header and records of a fixed size, all numbers little-endian. The header is eight
//! bytes of magic with the version, and the blake3 of the records. A file with any other header is
//! no cache at all. The records are sorted by a number that scatters device and inode number
//! evenly, so that a record is found near the place that this number tells.
//!
//! A file that changed within the tick of the clock in which it was looked at could change once
//! more and keep its times. Such a file is not remembered (git calls it racily clean). Times may
//! come from a clock that ticks every 10 ms, or on some file systems in whole seconds.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::node::{Node, Time};
use super::walk::Found;

const MAGIC: [u8; 8] = *b"rbstat\x00\x01";
const HEADER: usize = 40;
const RECORD: usize = 84;
const DIGEST: usize = RECORD - 32;

/// A record: the key of 52 bytes, then the digest of 32.
type Record = [u8; RECORD];

/// What was known when the walk began.
#[derive(Debug, Default)]
pub(crate) struct StatCache {
    /// The file with its header, or nothing.
    bytes: Vec<u8>,
    /// Where the records of each equal part of the scattered numbers begin, and the last ends.
    starts: Vec<u32>,
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
            Ok(bytes) if is_whole(&bytes) => Self { starts: starts(&bytes), bytes },
            _ => Self::default(),
        }
    }

    /// Whether it knows no file at all.
    pub(crate) fn is_empty(&self) -> bool {
        records(&self.bytes).is_empty()
    }

    /// The digest of a file, if it is the very file that was hashed once.
    pub(crate) fn find(&self, node: &Node, changed: Time) -> Option<[u8; 32]> {
        let wanted = key(node, changed);
        let part = part(scatter(&wanted), self.starts.len().checked_sub(1)?);
        let range = self.starts[part] as usize..self.starts[part + 1] as usize;
        let record =
            records(&self.bytes)[range].iter().find(|record| record[..DIGEST] == wanted)?;
        let mut digest = [0; 32];
        digest.copy_from_slice(&record[DIGEST..]);
        Some(digest)
    }

    /// Writes the cache anew with the files that it did not know, if there are any.
    ///
    /// A cache that cannot be written costs only time, so that is no error.
    pub(crate) fn save(&self, path: &Path, guard: Guard, found: &[Found]) {
        let records = self.renewed(guard, found);
        if records.is_empty() {
            return;
        }
        let header = header(&records);
        if let Err(error) = replace(path, &[&header, records.as_flattened()]) {
            tracing::debug!(path = %path.display(), %error, "cannot write the stat cache");
        }
    }

    /// The records of a new cache, or none if there is nothing to be added.
    fn renewed(&self, guard: Guard, found: &[Found]) -> Vec<Record> {
        let unknown = found.iter().filter(|found| !found.known);
        let mut records: Vec<Record> = unknown.filter_map(|found| guard.record(found)).collect();
        if records.is_empty() {
            return records;
        }
        let old = self::records(&self.bytes);
        if old.len() <= 2 * found.len() + 4096 {
            records.extend(old);
        } else {
            // Most of them are of vanished files.
            let known = found.iter().filter(|found| found.known && found.node.is_file());
            records.extend(known.filter_map(|found| guard.record(found)));
        }
        sort(&mut records);
        records
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
    fn record(self, Found { node, changed, .. }: &Found) -> Option<Record> {
        // Attributes are not remembered, so a file with some is read again each time.
        if !node.xattrs.is_empty() || !self.has_rested(*changed) {
            return None;
        }
        Some(record(node, *changed))
    }

    fn has_rested(self, changed: Time) -> bool {
        let tick = if changed.nanoseconds == 0 { 2_000_000_000 } else { 20_000_000 };
        let since =
            |time: Time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
        since(self.now) - since(changed) > tick
    }
}

/// The file of a cache that knows the files of a layer. They never change, but the time at which
/// their metadata changed does, whenever they get a further name: it is left out.
pub(crate) fn of_layer(found: &[Found]) -> Vec<u8> {
    let mut records: Vec<Record> =
        found.iter().map(|found| record(&found.node, Time::default())).collect();
    sort(&mut records);
    [&header(&records), records.as_flattened()].concat()
}

fn record(node: &Node, changed: Time) -> Record {
    let mut record = [0; RECORD];
    record[..DIGEST].copy_from_slice(&key(node, changed));
    record[DIGEST..].copy_from_slice(&node.data);
    record
}

/// Puts records where they are looked for, and drops what is replaced.
fn sort(records: &mut Vec<Record>) {
    // The sort is stable, so what was learnt just now stays before what it replaces.
    records.sort_by(|a, b| (scatter(a), inode(a)).cmp(&(scatter(b), inode(b))));
    records.dedup_by(|a, b| inode(a) == inode(b));
}

fn header(records: &[Record]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..].copy_from_slice(blake3::hash(records.as_flattened()).as_bytes());
    header
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

/// Device and inode number, by which a record replaces another one.
fn inode(record: &[u8]) -> &[u8] {
    &record[..16]
}

/// A number that is evenly distributed over all records.
fn scatter(record: &[u8]) -> u64 {
    // Multiplication spreads what neighbouring inode numbers differ in to the high bits.
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let numbers = inode(record).as_chunks().0;
    numbers.iter().fold(0, |sum: u64, number| (sum ^ u64::from_le_bytes(*number)).wrapping_mul(ODD))
}

/// To which of `parts` equal parts of all numbers one belongs.
fn part(number: u64, parts: usize) -> usize {
    let part = (u128::from(number) * parts as u128) >> 64;
    usize::try_from(part).unwrap_or(0)
}

fn records(bytes: &[u8]) -> &[Record] {
    bytes.get(HEADER..).unwrap_or_default().as_chunks().0
}

/// Where the records of each part begin, for about as many parts as there are records.
fn starts(bytes: &[u8]) -> Vec<u32> {
    let records = records(bytes);
    let parts = records.len().max(1);
    let mut starts = vec![0; parts + 1];
    for record in records {
        starts[part(scatter(record), parts) + 1] += 1;
    }
    for part in 0..parts {
        starts[part + 1] += starts[part];
    }
    starts
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some((header, records)) = bytes.split_at_checked(HEADER) else {
        return false;
    };
    let fits = header[..8] == MAGIC && records.len() % RECORD == 0;
    fits && header[8..] == *blake3::hash(records).as_bytes()
}

/// Writes a file beside its place and renames it there.
fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    static TURN: AtomicU64 = AtomicU64::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.{turn}", std::process::id()));
    let beside = Path::new(&name);
    let written = fs::File::create(beside)
        .and_then(|mut file| parts.iter().try_for_each(|part| file.write_all(part)))
        .and_then(|()| fs::rename(beside, path));
    if written.is_err() {
        let _ = fs::remove_file(beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_have_rested_are_remembered() {
        let at = |seconds, nanoseconds| Time { seconds, nanoseconds };
        let guard = Guard { now: at(1000, 30_000_000) };
        for (changed, has_rested) in [
            (at(1000, 30_000_000), false),
            (at(1000, 10_000_000), false),
            (at(1000, 9_999_999), true),
            (at(999, 999_000_000), true),
            (at(-5, 1), true),
            // Whole seconds may be all that the file system keeps.
            (at(1000, 0), false),
            (at(999, 0), false),
            (at(998, 0), true),
            (at(2000, 1), false),
        ] {
            assert_eq!(guard.has_rested(changed), has_rested, "{changed:?}");
        }
    }

    #[test]
    fn every_number_belongs_to_one_part() {
        for parts in [1, 2, 3, 1000] {
            assert_eq!((part(0, parts), part(u64::MAX, parts)), (0, parts - 1));
        }
    }
}
