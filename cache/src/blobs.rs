//! Compressed layers, manifests and configs by digest, verified while they are written and while
//! they are read.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
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

    /// Opens a blob, to be read from its start to its end.
    pub fn open_blob(&self, digest: &Digest) -> Result<BlobReader> {
        self.uses(&Item::Blob(*digest));
        let path = self.blob_path(digest);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoBlob(*digest),
            _ => Error::file("open", &path)(error),
        })?;
        Ok(BlobReader { store: self.clone(), digest: *digest, file, hash: Sha256::new() })
    }

    /// Opens a blob at a place past its start; whoever reads a part cannot know whether it is whole.
    pub fn open_blob_at(&self, digest: &Digest, offset: u64) -> Result<File> {
        let path = self.blob_path(digest);
        let mut file = self.open_blob(digest)?.file;
        file.seek(SeekFrom::Start(offset)).map_err(Error::file("read", &path))?;
        Ok(file)
    }

    /// Reads a blob of at most `limit` bytes.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let mut reader = self.open_blob(digest)?;
        let size = reader.file.metadata().map_err(Error::file("read", &path))?.len();
        if size > limit {
            return Err(Error::TooLarge { digest: *digest, size, limit });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        reader.file.read_to_end(&mut bytes).map_err(Error::file("read", &path))?;
        reader.hash.update(&bytes);
        reader.check()?;
        Ok(bytes)
    }

    /// Reads a blob to its end for nothing but to see whether it is damaged.
    ///
    /// It tells whose fault it is when what stands in a blob was of no use.
    pub fn check_blob(&self, digest: &Digest) -> Result<()> {
        self.open_blob(digest)?.finish().map(drop)
    }

    /// The digest of what a blob holds now.
    pub(crate) fn digest_of_blob(&self, digest: &Digest) -> Result<Digest> {
        let mut reader = self.open_blob(digest)?;
        reader.read_on()?;
        Ok(reader.found())
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

/// A blob that is read from its start to its end, where it turns out whether it is damaged.
///
/// The end is told by an error in place of no more bytes where the blob has not the digest that it
/// is found by. It is set aside then, so that nobody finds it again.
#[derive(Debug)]
pub struct BlobReader {
    store: Store,
    digest: Digest,
    file: File,
    hash: Sha256,
}

impl BlobReader {
    /// Reads what is left, and demands that the blob is not damaged.
    pub fn finish(mut self) -> Result<()> {
        self.read_on()?;
        self.check()
    }

    fn read_on(&mut self) -> Result<()> {
        let path = self.store.blob_path(&self.digest);
        let mut buffer = vec![0; 256 << 10];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => self.hash.update(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::file("read", &path)(error)),
            }
        }
    }

    /// The digest of what was read so far.
    fn found(&self) -> Digest {
        Digest::from_bytes(self.hash.clone().finalize().into())
    }

    /// Demands that all of the blob, which was read, has its digest.
    fn check(&self) -> Result<()> {
        if self.found() == self.digest {
            return Ok(());
        }
        let path = self.store.blob_path(&self.digest);
        let inode = |file: io::Result<fs::Metadata>| file.map(|file| file.ino()).ok();
        // Somebody may have written a whole one meanwhile.
        if inode(self.file.metadata()) == inode(fs::metadata(&path)) {
            self.store.damaged(&path)?;
        }
        Err(Error::DamagedBlob(self.digest))
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.hash.update(&buffer[..length]);
        if length == 0 && !buffer.is_empty() {
            self.check().map_err(io::Error::other)?;
        }
        Ok(length)
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

/// The digest of bytes.
#[cfg(test)]
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
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

    /// Changes one byte of a blob where it lies.
    fn flip(store: &Store, digest: &Digest) {
        let path = store.blob_path(digest);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_damaged_blob_is_told_at_its_end_and_set_aside() {
        let store = Store::temporary().unwrap();
        let is_told = |error: io::Error| {
            assert_eq!(Error::damaged_blob(&error), Some(&hello()), "{error}");
            assert!(!store.has_blob(&hello()), "it is set aside");
            store.write_blob(b"hello").unwrap();
            flip(&store, &hello());
        };
        store.write_blob(b"hello").unwrap();
        let whole = io::read_to_string(store.open_blob(&hello()).unwrap()).unwrap();
        assert_eq!(whole, "hello");
        flip(&store, &hello());
        is_told(io::read_to_string(store.open_blob(&hello()).unwrap()).unwrap_err());
        is_told(io::Error::other(store.read_blob(&hello(), 5).unwrap_err()));
        is_told(io::Error::other(store.check_blob(&hello()).unwrap_err()));
        // What was read before its end tells nothing, unless the rest is read too.
        let mut reader = store.open_blob(&hello()).unwrap();
        reader.read_exact(&mut [0; 3]).unwrap();
        is_told(io::Error::other(reader.finish().unwrap_err()));
        let wrapped = Error::ReadTar(io::Error::other(Error::DamagedBlob(hello())));
        assert_eq!(Error::damaged_blob(&wrapped), Some(&hello()));
        assert_eq!(Error::damaged_blob(&std::sync::Arc::new(wrapped)), Some(&hello()));
        let boxed = Box::new(Error::DamagedBlob(hello()));
        assert_eq!(Error::damaged_blob(&boxed), Some(&hello()));
        assert_eq!(Error::damaged_blob(&Error::NoBlob(hello())), None);
        assert_eq!(fs::read_dir(store.root().join("damaged")).unwrap().count(), 4);
    }

    #[test]
    fn a_blob_that_was_written_again_meanwhile_stays() {
        let store = Store::temporary().unwrap();
        store.write_blob(b"hello").unwrap();
        flip(&store, &hello());
        let reader = store.open_blob(&hello()).unwrap();
        store.write_blob(b"hello").unwrap();
        assert!(matches!(reader.finish(), Err(Error::DamagedBlob(_))));
        assert_eq!(store.read_blob(&hello(), 5).unwrap(), b"hello");
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
