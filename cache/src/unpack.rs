//! A layer's tar becomes a folder in the form of overlayfs.
//!
//! The tar is hostile until its digest says otherwise, and after. Every path is opened by the
//! kernel below the root of the layer, so that no link of an earlier entry leads out of it, and the
//! last component is only ever made, replaced or removed by its name in an open folder. The digest
//! is checked before the layer is renamed into its place.

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;

use sha2::{Digest as _, Sha256};

use crate::archive::{Archive, Limited};
use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::id::{Digest, LayerId};
use crate::layers::open_folder;
use crate::mount::{OPAQUE, PLAIN};
use crate::store::Store;

/// The largest tar that is taken, in bytes.
const LARGEST_TAR: u64 = 1 << 40;
/// The largest number of entries that is taken.
const MOST_ENTRIES: u64 = 10_000_000;
/// How much of the tar is read and hashed at once, in bytes.
const PIECE: usize = 256 << 10;

impl Store {
    /// Unpacks an uncompressed tar, whose bytes must have the digest `diff_id`, as a layer.
    ///
    /// A layer that is here already is not unpacked again, and then nothing is read. Whiteouts
    /// become what overlayfs takes for them. A tar that reaches out of its folder, that is
    /// malformed, or that has another digest leaves nothing behind.
    pub fn unpack(&self, diff_id: Digest, tar: impl Read) -> Result<LayerId> {
        self.unpacking()
            .take(diff_id, || match self.unpacked(&diff_id) {
                Some(id) => Ok(id),
                None => self.unpack_new(&diff_id, tar),
            })
    }

    fn unpack_new(&self, diff_id: &Digest, tar: impl Read) -> Result<LayerId> {
        let staged = self.stage()?;
        let root = open_folder(staged.files())?;
        let input = Hashing {
            input: Limited {
                input: tar,
                left: LARGEST_TAR,
            },
            hash: Sha256::new(),
        };
        let mut archive = Archive::new(BufReader::with_capacity(PIECE, input));
        let marks = extract(&mut archive, Extractor::new(root.as_fd()))?;
        archive.drain()?;
        let hash = archive.into_input().into_inner().hash;
        let found = Digest::from_bytes(hash.finalize().into());
        if found != *diff_id {
            return Err(Error::WrongDigest {
                expected: *diff_id,
                found,
            });
        }
        for mark in marks {
            staged.mark(mark)?;
        }
        staged.commit_as(diff_id)
    }
}

/// Makes all entries, and returns the marks that the layer gets.
fn extract(
    archive: &mut Archive<impl BufRead>,
    mut extractor: Extractor,
) -> Result<Vec<&'static str>> {
    let mut entries = 0;
    while let Some(entry) = archive.next()? {
        entries += 1;
        if entries > MOST_ENTRIES {
            return Err(Error::Tar(format!(
                "it has more than {MOST_ENTRIES} entries"
            )));
        }
        extractor.make(&entry, archive)?;
    }
    let whiteouts = extractor.finish()?;
    Ok([(PLAIN, whiteouts.none), (OPAQUE, whiteouts.all)]
        .into_iter()
        .filter_map(|(mark, is_set)| is_set.then_some(mark))
        .collect())
}

struct Hashing<R> {
    input: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}
