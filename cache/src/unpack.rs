//! A layer's tar becomes a folder in the form of overlayfs.
//!
//! The tar is hostile until its digest says otherwise, and after. Every path is opened by the
//! kernel below the root of the layer, so that no link of an earlier entry leads out of it, and the
//! last component is only ever made, replaced or removed by its name in an open folder. The digest
//! is checked before the layer is renamed into its place.

mod archive;
mod extract;
mod metadata;
mod parents;
mod pax;
mod pieces;
mod place;
#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd};

use archive::Archive;
use extract::Extractor;

use crate::error::{Error, Result};
use crate::id::{Digest, LayerId};
use crate::layers::open_folder;
use crate::mount::{OPAQUE, PLAIN};
use crate::records::SIZE;
use crate::store::{Store, to_json};

/// The largest number of entries that is taken.
const MOST_ENTRIES: u64 = 10_000_000;

impl Store {
    /// Unpacks an uncompressed tar, whose bytes must have the digest `diff_id`, as a layer.
    ///
    /// A layer that is here already is not unpacked again, and then nothing is read. Whiteouts
    /// become what overlayfs takes for them. A tar that reaches out of its folder, that is
    /// malformed, or that has another digest leaves nothing behind.
    pub fn unpack(&self, diff_id: Digest, tar: impl Read) -> Result<LayerId> {
        self.unpacking().take(diff_id, || match self.unpacked(&diff_id) {
            Some(id) => Ok(id),
            None => self.unpack_new(&diff_id, tar),
        })
    }

    fn unpack_new(&self, diff_id: &Digest, tar: impl Read) -> Result<LayerId> {
        let staged = self.stage()?;
        let root = open_folder(staged.files())?;
        let (marks, found, size) = pieces::hand_over(tar, |pieces| {
            let mut archive = Archive::new(pieces);
            let marks = extract(&mut archive, Extractor::new(root.as_fd()), None)?;
            // There may be more of the stream than the archive, and it counts for the digest.
            archive.drain()?;
            Ok(marks)
        })?;
        if found != *diff_id {
            return Err(Error::WrongDigest { expected: *diff_id, found });
        }
        for mark in marks {
            staged.mark(mark)?;
        }
        staged.note(SIZE, &to_json("note on a layer", &size)?)?;
        staged.commit_as(diff_id)
    }
}

/// Unpacks an uncompressed tar into a folder that may hold files already, as ADD does; whoever
/// owns its entries, `owner` (user and group) owns what is made where it is given.
///
/// The same care is taken as with a layer. Nothing is undone when it fails.
pub fn unpack_into(
    folder: BorrowedFd<'_>,
    tar: impl Read,
    owner: Option<(u32, u32)>,
) -> Result<()> {
    let mut archive = Archive::new(BufReader::with_capacity(256 << 10, tar));
    extract(&mut archive, Extractor::new(folder).without_whiteouts(), owner).map(drop)
}

/// Makes all entries, and returns the marks that the layer gets.
fn extract(
    archive: &mut Archive<impl BufRead>,
    mut extractor: Extractor,
    owner: Option<(u32, u32)>,
) -> Result<Vec<&'static str>> {
    let mut entries = 0;
    while let Some(mut entry) = archive.next()? {
        if let Some((user, group)) = owner {
            (entry.user, entry.group) = (user, group);
        }
        entries += 1;
        if entries > MOST_ENTRIES {
            return Err(Error::Tar(format!("it has more than {MOST_ENTRIES} entries")));
        }
        extractor.make(&entry, archive)?;
    }
    let whiteouts = extractor.finish()?;
    let marks = [(PLAIN, whiteouts.none), (OPAQUE, whiteouts.all)];
    Ok(marks.into_iter().filter_map(|(mark, is_set)| is_set.then_some(mark)).collect())
}
