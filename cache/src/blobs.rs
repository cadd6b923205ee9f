//! Compressed layers, manifests and configs by digest, verified while they are written.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::id::Digest;
use crate::item::Item;
use crate::store::Store;

pub(crate) const BLOBS: &str = "blobs/sha256";

impl Store {
    /// Where a blob lies.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join(BLOBS).join(digest.hex())
    }

    /// Tells whether a blob is here.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.uses(&Item::Blob(*digest));
        self.blob_path(digest).is_file()
    }

    /// Opens a blob for reading.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        self.uses(&Item::Blob(*digest));
        let path = self.blob_path(digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoBlob(*digest),
            _ => Error::file("open", &path)(error),
        })
    }

    /// Reads a blob of at most `limit` bytes.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let mut file = self.open_blob(digest)?;
        let size = file.metadata().map_err(Error::file("read", &path))?.len();
        if size > limit {
            return Err(Error::TooLarge { digest: *digest, size, limit });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.read_to_end(&mut bytes).map_err(Error::file("read", &path))?;
        Ok(bytes)
    }

    /// Writes a blob that is in memory.
    pub fn write_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let mut writer = self.blob_writer(None)?;
        writer.add(bytes)?;
        Ok(writer.finish()?.0)
    }

    /// Begins to write a blob, of which the digest and the size in bytes may be known.
    pub fn blob_writer(&self, expected: Option<(Digest, u64)>) -> Result<BlobWriter> {
        let (path, file) = self.temporary_file()?;
        let unfinished = Unfinished { path, file };
        Ok(BlobWriter { store: self.clone(), unfinished, expected, hash: Sha256::new(), size: 0 })
    }
}

/// A blob that is being written; dropped before it is finished, it leaves nothing behind.
///
/// More bytes than were announced are refused as soon as they come.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    unfinished: Unfinished,
    expected: Option<(Digest, u64)>,
    hash: Sha256,
    size: u64,
}

/// The file beside the blobs. Its name is gone once the blob has been renamed into place.
#[derive(Debug)]
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl BlobWriter {
    /// Ends the blob: checks it against what was expected, and puts it in its place for good.
    pub fn finish(self) -> Result<(Digest, u64)> {
        let digest = Digest::from_bytes(self.hash.finalize().into());
        check(self.expected, digest, self.size)?;
        let Unfinished { path, file } = &self.unfinished;
        file.sync_all().map_err(Error::file("write", path))?;
        let place = self.store.folder(BLOBS)?.join(digest.hex());
        self.store.uses(&Item::Blob(digest));
        fs::rename(path, &place).map_err(Error::file("rename into", &place))?;
        Ok((digest, self.size))
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let size = self.size + bytes.len() as u64;
        if let Some((digest, expected)) = self.expected
            && size > expected
        {
            return Err(Error::WrongSize { digest, expected, found: size });
        }
        let Unfinished { path, file } = &mut self.unfinished;
        file.write_all(bytes).map_err(Error::file("write", path))?;
        self.hash.update(bytes);
        self.size = size;
        Ok(())
    }
}

fn check(expected: Option<(Digest, u64)>, found: Digest, found_size: u64) -> Result<()> {
    let Some((digest, size)) = expected else {
        return Ok(());
    };
    if size != found_size {
        return Err(Error::WrongSize { digest, expected: size, found: found_size });
    }
    if digest != found {
        return Err(Error::WrongDigest { expected: digest, found });
    }
    Ok(())
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn hello() -> Digest {
        HELLO.parse().unwrap()
    }

    fn leftovers(store: &Store) -> usize {
        let count =
            |folder: &str| fs::read_dir(store.root().join(folder)).map_or(0, Iterator::count);
        count("tmp") + count(BLOBS)
    }

    #[test]
    fn a_blob_is_found_by_its_digest() {
        let store = Store::temporary().unwrap();
        assert!(!store.has_blob(&hello()));
        assert!(matches!(store.open_blob(&hello()), Err(Error::NoBlob(_))));
        assert_eq!(store.write_blob(b"hello").unwrap(), hello());
        assert_eq!(store.write_blob(b"hello").unwrap(), hello());
        assert!(store.has_blob(&hello()));
        assert_eq!(store.read_blob(&hello(), 5).unwrap(), b"hello");
        assert!(matches!(store.read_blob(&hello(), 4), Err(Error::TooLarge { size: 5, .. })));
        assert_eq!(leftovers(&store), 1);
    }

    #[test]
    fn what_is_not_as_announced_leaves_nothing() {
        let store = Store::temporary().unwrap();
        let write = |size, bytes: &[u8]| {
            let mut writer = store.blob_writer(Some((hello(), size))).unwrap();
            writer.write_all(bytes)?;
            writer.finish().map_err(io::Error::other)
        };
        let digest = write(5, b"hallo").unwrap_err().to_string();
        assert!(digest.contains("not sha256:2cf24d"), "{digest}");
        let short = write(6, b"hello").unwrap_err().to_string();
        assert!(short.ends_with("has 5 bytes, not 6"), "{short}");
        let long = write(4, b"hello").unwrap_err().to_string();
        assert!(long.ends_with("has 5 bytes, not 4"), "{long}");
        drop(store.blob_writer(None).unwrap());
        assert_eq!(leftovers(&store), 0);
        assert_eq!(write(5, b"hello").unwrap(), (hello(), 5));
    }

    #[test]
    fn a_full_disk_leaves_no_half_blob() {
        let disk = crate::store::tests::small_disk();
        let store = Store::open(crate::store::tests::path_of(&disk)).unwrap();
        let error = store.write_blob(&vec![7; 2 << 20]).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.to_string().starts_with("cannot write `"), "{error}");
        assert!(source.contains("No space left"), "{source}");
        assert_eq!(leftovers(&store), 0);
        store.write_blob(&vec![7; 1 << 19]).unwrap();
    }
}
