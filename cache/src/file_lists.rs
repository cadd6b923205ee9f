//! The files that a step used when it ran last, by its place, so that the next miss can name those
//! that changed.
//!
//! A list is a hint: one that is damaged or too large is none. Its format: `rbuild files 1`, a line
//! end, then for each file, in the order of the paths, the length of the path as a `u32`
//! (little-endian), the path, and sixteen bytes of its digest; all of it compressed with zstd.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::id::ContentId;
use crate::store::Store;

const FOLDER: &str = "file-lists";
const MAGIC: &[u8] = b"rbuild files 1\n";
const DIGEST: usize = 16;
/// The most bytes of a list before it is compressed.
const LIMIT: u64 = 64 << 20;

/// A file and the beginning of its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// The path, relative to the root of the input.
    pub path: Vec<u8>,
    digest: [u8; DIGEST],
}

impl ListedFile {
    /// A file with a digest.
    pub fn new(path: Vec<u8>, digest: &ContentId) -> Self {
        let mut start = [0; DIGEST];
        start.copy_from_slice(&digest.as_bytes()[..DIGEST]);
        Self { path, digest: start }
    }

    /// Whether another file has the same contents.
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Store {
    /// The files that the step at a place used when it ran last, in the order of their paths.
    pub fn last_files(&self, place: &str) -> Option<Vec<ListedFile>> {
        let file = std::fs::File::open(self.file_list(place)).ok()?;
        let mut bytes = Vec::new();
        let reader = zstd::stream::read::Decoder::new(file).ok()?;
        reader.take(LIMIT + 1).read_to_end(&mut bytes).ok()?;
        if bytes.len() as u64 > LIMIT {
            return None;
        }
        decode(bytes.strip_prefix(MAGIC)?)
    }

    /// Remembers which files the step at a place uses.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn remember_files(&self, place: &str, files: &[ListedFile]) -> Result<()> {
        self.folder(FOLDER)?;
        let path = self.file_list(place);
        let bytes = encode(files).map_err(Error::file("encode", &path))?;
        self.replace(&path, &bytes, false)
    }

    fn file_list(&self, place: &str) -> PathBuf {
        let name = blake3::hash(place.as_bytes()).to_hex();
        self.root().join(FOLDER).join(&name.as_str()[..32])
    }
}

fn encode(files: &[ListedFile]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1)?;
    encoder.write_all(MAGIC)?;
    for file in files {
        let length = u32::try_from(file.path.len()).map_err(io::Error::other)?;
        encoder.write_all(&length.to_le_bytes())?;
        encoder.write_all(&file.path)?;
        encoder.write_all(&file.digest)?;
    }
    encoder.finish()
}

fn decode(mut rest: &[u8]) -> Option<Vec<ListedFile>> {
    let mut files = Vec::new();
    while !rest.is_empty() {
        let (length, tail) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (path, tail) = tail.split_at_checked(length)?;
        let (digest, tail) = tail.split_first_chunk()?;
        files.push(ListedFile { path: path.to_vec(), digest: *digest });
        rest = tail;
    }
    Some(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_kept_by_place_and_damage_is_none() {
        let store = Store::temporary().unwrap();
        assert_eq!(store.last_files("a"), None);
        let file =
            |path: &str, byte| ListedFile::new(path.into(), &ContentId::from_bytes([byte; 32]));
        let files = [file("a", 1), file("a/b", 2)];
        store.remember_files("a", &files).unwrap();
        store.remember_files("b", &[]).unwrap();
        assert_eq!(store.last_files("a").unwrap(), files);
        assert_eq!(store.last_files("b").unwrap(), []);
        assert!(!files[0].is_same(&files[1]));
        let path = store.file_list("a");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
        assert_eq!(store.last_files("a"), None);
        let mut plain = MAGIC.to_vec();
        plain.extend([200, 0, 0, 0, b'x']);
        assert_eq!(decode(&plain[MAGIC.len()..]), None);
    }
}
