//! The folders of `RUN --mount=type=cache` on their way: a tar, cut where its contents say.
//!
//! A cut depends on the bytes around it alone. So a folder of which little has changed becomes
//! chunks most of which are where they are sent to already.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;

use fastcdc::v2020::StreamCDC;
use rbuild_cache::{Blob, Store, pack, unpack_into};
use rbuild_solver::Graph;

use super::CacheMounts;
use crate::error::{Error, Result};
use crate::worker::caches;

/// The media type of a chunk.
const CHUNK: &str = "application/vnd.rbuild.cache.mount.v1.chunk+zstd";
/// The sizes of chunks in bytes: the least, the usual, and the largest.
const LEAST: usize = 512 << 10;
const USUAL: usize = 2 << 20;
const LARGEST: usize = 8 << 20;
/// How hard chunks are compressed, as zstd counts.
const LEVEL: i32 = 3;

/// A folder that is to travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    /// The name of the folder, which is the same in every store.
    pub(super) name: String,
    /// The name of the mount, for people.
    pub(super) id: String,
}

/// The folders of a build's mounts that are wanted and here.
pub(super) fn wanted(store: &Store, graph: &Graph, mounts: &CacheMounts) -> Vec<Folder> {
    let is_wanted = |id: &str| match mounts {
        CacheMounts::None => false,
        CacheMounts::All => true,
        CacheMounts::Only(ids) => ids.iter().any(|it| it.trim_matches('/') == id.trim_matches('/')),
    };
    let found = caches::folders(store, graph).into_iter();
    let found = found.map(|(id, name)| Folder { name, id });
    found.filter(|folder| is_wanted(&folder.id)).collect()
}

/// Cuts a folder into chunks, which are in the store then.
pub(super) fn chunks(store: &Store, folder: &Folder) -> Result<Vec<Blob>> {
    let path = caches::path(store, &folder.name);
    let failed = |source| Error::Read { path: path.clone(), source };
    let files: OwnedFd = File::open(&path).map_err(failed)?.into();
    let (from, to) = io::pipe().map_err(failed)?;
    thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let mut to = BufWriter::with_capacity(256 << 10, to);
            let packed = pack::pack(files.as_fd(), &mut to);
            packed.map(|_| to.flush())
        });
        let mut blobs = Vec::new();
        for chunk in StreamCDC::new(from, LEAST, USUAL, LARGEST) {
            blobs.push(keep(store, &chunk.map_err(|error| failed(error.into()))?.data)?);
        }
        let packed = packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let flushed = packed.map_err(Error::store(format!("pack the cache mount `{}`", folder.id)));
        flushed?.map_err(failed)?;
        Ok(blobs)
    })
}

fn keep(store: &Store, chunk: &[u8]) -> Result<Blob> {
    let failed = |source| Error::Write { path: store.root().to_owned(), source };
    let bytes = zstd::bulk::compress(chunk, LEVEL).map_err(failed)?;
    let digest = store.write_blob(&bytes).map_err(Error::store("keep a chunk"))?;
    let (size, media_type) = (bytes.len() as u64, CHUNK.to_owned());
    Ok(Blob { digest, size, media_type, from: None, created: None })
}

/// Puts a folder together again from chunks that are in the store.
pub(crate) fn restore(store: &Store, chunks: &[Blob], folder: &Path) -> Result<()> {
    let failed = |source| Error::Write { path: folder.to_owned(), source };
    let files = File::open(folder).map_err(failed)?;
    let tar = Chunks { store, left: chunks.iter(), open: None };
    unpack_into(files.as_fd(), tar, None).map_err(Error::store("unpack a cache mount"))
}

/// Chunks as one stream.
struct Chunks<'a> {
    store: &'a Store,
    left: std::slice::Iter<'a, Blob>,
    open: Option<Box<dyn Read + 'a>>,
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(open) = &mut self.open {
                let length = open.read(buffer)?;
                if length > 0 || buffer.is_empty() {
                    return Ok(length);
                }
            }
            let Some(chunk) = self.left.next() else { return Ok(0) };
            let file = self.store.open_blob(&chunk.digest).map_err(io::Error::other)?;
            // No chunk is longer when it is plain, whatever else it may be. One byte more, so that
            // its end is read, where a damaged one is told.
            let plain = zstd::stream::read::Decoder::new(file)?.take(LARGEST as u64 + 1);
            self.open = Some(Box::new(plain));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn random(seed: u64, length: usize) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        let mut bytes = vec![0; length];
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_folder_comes_back_and_a_small_change_is_few_chunks() {
        let store = Store::temporary().unwrap();
        let folder = Folder { name: "0123".to_owned(), id: "/c".to_owned() };
        let path = caches::path(&store, &folder.name);
        fs::create_dir_all(path.join("deep")).unwrap();
        for number in 0..24 {
            fs::write(path.join(format!("deep/{number:02}")), random(number, 1 << 20)).unwrap();
        }
        symlink("deep/01", path.join("link")).unwrap();
        let first = chunks(&store, &folder).unwrap();
        assert!((6..48).contains(&first.len()), "{}", first.len());
        assert_eq!(chunks(&store, &folder).unwrap(), first);

        let there = tempfile::tempdir().unwrap();
        restore(&store, &first, there.path()).unwrap();
        assert_eq!(fs::read(there.path().join("link")).unwrap(), random(1, 1 << 20));
        assert_eq!(fs::read_dir(there.path().join("deep")).unwrap().count(), 24);

        fs::write(path.join("deep/05"), random(99, 100_000)).unwrap();
        let second = chunks(&store, &folder).unwrap();
        let new = second.iter().filter(|chunk| !first.contains(chunk)).count();
        assert!((1..=4).contains(&new), "{new} of {}", second.len());
    }
}
