//! Hashing the data of files, on all cores when there is much of it.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use blake3::Hasher;
use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};
use rayon::prelude::*;
use rustix::fs::{Mode as FileMode, OFlags, openat};

use super::walk::Found;
use crate::error::{Error, Result};
use crate::folder::{self, Parents, no_links};

/// How much is read at once: small enough for the cache of a core. Subtrees of the hash have this
/// size, so it is a power of two.
const PIECE: usize = 1 << 17;
/// Up to how many bytes, and files, one thread is as fast as several.
const FEW_BYTES: u64 = 1 << 20;
const FEW_FILES: usize = 48;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE]);
}

/// Hashes every file that is not known.
pub(crate) fn hash(
    folder: BorrowedFd<'_>,
    found: &mut [Found],
    xattrs: fn(&[u8]) -> bool,
) -> Result<()> {
    let mut unknown: Vec<&mut Found> = found.iter_mut().filter(|found| !found.known).collect();
    let bytes: u64 = unknown.iter().map(|found| found.node.size).sum();
    let hash = |files: &mut [&mut Found]| {
        let mut parents = Parents::new(folder, no_links());
        files.iter_mut().try_for_each(|found| {
            read(&mut parents, found, xattrs).map_err(Error::file("read", &found.node.path))
        })
    };
    if bytes <= FEW_BYTES && unknown.len() <= FEW_FILES {
        hash(&mut unknown)
    } else {
        unknown.par_chunks_mut(8).try_for_each(hash)
    }
}

/// Reads the data and the attributes of one file.
fn read(parents: &mut Parents<'_>, found: &mut Found, xattrs: fn(&[u8]) -> bool) -> io::Result<()> {
    let (parent, name) = parents.of(&found.node.path)?;
    // Without NONBLOCK, opening what has become a pipe since the walk would wait forever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(parent, name, flags, FileMode::empty())?);
    found.node.data = digest(&file, found.node.size)?;
    found.node.xattrs = folder::xattrs(file.as_fd(), xattrs)?;
    Ok(())
}

/// The blake3 of a file, which must have `size` bytes.
fn digest(file: &File, size: u64) -> io::Result<[u8; 32]> {
    let hash = if size <= PIECE as u64 {
        BUFFER.with_borrow_mut(|buffer| {
            let data = &mut buffer[..usize::try_from(size).unwrap_or(0)];
            file.read_exact_at(data, 0).map_err(changed)?;
            io::Result::Ok(blake3::hash(data))
        })?
    } else {
        let left = hazmat::left_subtree_len(size);
        let (left, right) = halves(file, 0, left, size)?;
        hazmat::merge_subtrees_root(&left, &right, Mode::Hash)
    };
    // A file that grew is as wrong as one that shrank: its digest would name neither state.
    match file.read_at(&mut [0], size)? {
        0 => Ok(hash.into()),
        _ => Err(changed_size()),
    }
}

/// The chaining value of the bytes from `start` to `end`, which is at most the end of the file.
fn subtree(file: &File, start: u64, end: u64) -> io::Result<ChainingValue> {
    if end - start > PIECE as u64 {
        let left = hazmat::left_subtree_len(end - start);
        let (left, right) = halves(file, start, start + left, end)?;
        return Ok(hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash));
    }
    BUFFER.with_borrow_mut(|buffer| {
        let data = &mut buffer[..usize::try_from(end - start).unwrap_or(0)];
        file.read_exact_at(data, start).map_err(changed)?;
        Ok(Hasher::new().set_input_offset(start).update(data).finalize_non_root())
    })
}

fn halves(
    file: &File,
    start: u64,
    middle: u64,
    end: u64,
) -> io::Result<(ChainingValue, ChainingValue)> {
    let (left, right) = if end - start > FEW_BYTES {
        rayon::join(|| subtree(file, start, middle), || subtree(file, middle, end))
    } else {
        (subtree(file, start, middle), subtree(file, middle, end))
    };
    Ok((left?, right?))
}

fn changed(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => changed_size(),
        _ => error,
    }
}

fn changed_size() -> io::Error {
    io::Error::other("the file changed its size meanwhile")
}
