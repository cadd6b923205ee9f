//! Which layers outlast the machine, and what becomes of the others once it has gone down.
//!
//! A layer is committed without waiting for the disk, and counts for as long as the kernel runs
//! that has it in memory, whatever becomes of processes. After that it counts only if it carries a
//! mark, which [`Store::settle`] sets once the disk has said that it has everything. So when a
//! store is first used after a start of the machine, the layers without a mark are in doubt: one
//! that was made here stays if it still has the digest that it had then, and all others are
//! removed, to be made or unpacked again. What is read after a start has come from the disk, so
//! those that stay are marked at once.
//!
//! Neither the marks nor the file that names the last start need be synced: a mark that is lost
//! leaves a layer in doubt, and no name of an earlier start is that of the present one.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use crate::collect::COLLECTING;
use crate::error::{Error, Result};
use crate::id::{Digest, LayerId};
use crate::images::{ImageEntry, UNNAMED};
use crate::item::Item;
use crate::layers::{DIFF_ID, RECORD};
use crate::lock::Lock;
use crate::snapshot::{Layer, Record};
use crate::store::{Store, make_folder, read_json};

/// Marks, beside its files, a layer of which the disk has everything.
pub(crate) const SETTLED: &str = "settled";
/// Names the start of the machine since which layers need no mark.
const BOOT: &str = "boot";
/// The locks of the process that waits for the disk, and of the one that will do so after it.
const SETTLING: &str = "settling";
const NEXT: &str = "settling next";

/// What was lost when the machine went down before the disk had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// How many layers are to be made or unpacked again.
    pub layers: usize,
    /// The names of the images that cannot be used until they are built or pulled again.
    pub images: Vec<String>,
}

/// What lies beside the files of a layer when the machine has been started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    /// It carries the mark.
    is_settled: bool,
    /// It has the record of the step that made it; a pulled one has none.
    is_made: bool,
    /// The digest that its tar had, as far as it was known by then.
    digest: Option<Digest>,
}

/// What becomes of a layer when the machine has been started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    /// It stays if its files still have this digest.
    Compared(Digest),
    Goes,
}

impl Left {
    /// A pulled layer packs into other bytes than those that were pulled, so there is nothing that
    /// it could be compared with; but it can be unpacked again.
    fn fate(self) -> Fate {
        match self {
            Self { is_settled: true, .. } => Fate::Stays,
            Self { is_made: true, digest: Some(digest), .. } => Fate::Compared(digest),
            _ => Fate::Goes,
        }
    }
}

impl Store {
    /// The turn to wait for the disk, if this process has made layers and they are to outlast the
    /// machine. None if another process has the turn already: it will see to all layers.
    pub fn turn_to_settle(&self) -> Result<Option<Lock>> {
        if self.has_new_layers().swap(false, Ordering::Relaxed) && self.is_lasting() {
            return self.lock(NEXT);
        }
        Ok(None)
    }

    /// Whether the store's files are not only in memory.
    fn is_lasting(&self) -> bool {
        const TMPFS: i64 = 0x0102_1994;
        const RAMFS: i64 = 0x8584_58f6;
        rustix::fs::statfs(self.root())
            .is_ok_and(|disk| disk.f_type != TMPFS && disk.f_type != RAMFS)
    }

    /// Waits until the disk has all layers, and marks them; returns how many were marked.
    ///
    /// The disk may be busy with other things, so nobody should wait for this. The `turn` is given
    /// up when the last one to have had it is done: who comes then has made layers in between.
    pub fn settle(&self, turn: OwnedFd) -> Result<usize> {
        let _alone = self.lock_wait(SETTLING, |_| {})?;
        drop(turn);
        let layers = self.unsettled()?;
        if layers.is_empty() {
            return Ok(0);
        }
        let root = File::open(self.root()).map_err(Error::file("open", self.root()))?;
        rustix::fs::syncfs(&root).map_err(Error::file("sync", self.root()))?;
        layers.iter().try_for_each(|id| self.mark_settled(*id))?;
        Ok(layers.len())
    }

    fn mark_settled(&self, id: LayerId) -> Result<()> {
        let path = self.layer_folder(id).join(SETTLED);
        match File::create(&path) {
            // It was removed meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            made => made.map(drop).map_err(Error::file("create", &path)),
        }
    }

    /// The layers that carry no mark.
    fn unsettled(&self) -> Result<Vec<LayerId>> {
        let mut layers = self.layer_ids()?;
        layers.retain(|id| !self.layer_folder(*id).join(SETTLED).exists());
        Ok(layers)
    }

    fn layer_ids(&self) -> Result<Vec<LayerId>> {
        let id = |item| match item {
            Item::Layer(id) => Some(id),
            _ => None,
        };
        Ok(self.items()?.into_iter().filter_map(id).collect())
    }

    /// Whether a layer may not be as it was written, since the machine has gone down.
    pub(crate) fn is_in_doubt(&self, id: LayerId) -> bool {
        let is_new = boot().is_some_and(|boot| !self.was_used_since(&boot));
        is_new && !self.layer_folder(id).join(SETTLED).exists()
    }

    /// Whether the store was used since the start of the machine that has this name.
    fn was_used_since(&self, boot: &str) -> bool {
        fs::read_to_string(self.root().join(BOOT)).is_ok_and(|last| last == boot)
    }

    /// Removes the layers that are damaged, or may be, since the machine has gone down; nothing is
    /// looked at when the store was used since the machine was started.
    pub(crate) fn recover(&self) -> Result<Option<Lost>> {
        if self.is_recovered().get().is_some() {
            return Ok(None);
        }
        let lost = match boot() {
            Some(boot) => self.recover_since(&boot)?,
            None => None,
        };
        let _ = self.is_recovered().set(());
        Ok(lost)
    }

    fn recover_since(&self, boot: &str) -> Result<Option<Lost>> {
        if self.was_used_since(boot) {
            return Ok(None);
        }
        let mut lost = None;
        if !self.layer_ids()?.is_empty() {
            let _alone = self.lock_wait(COLLECTING, |_| {})?;
            if self.was_used_since(boot) {
                return Ok(None);
            }
            lost = self.remove_doubtful()?;
        }
        make_folder(self.root())?;
        // Whole or not at all: half of it would look like another start of the machine.
        self.replace(&self.root().join(BOOT), boot.as_bytes(), false)?;
        Ok(lost)
    }

    fn remove_doubtful(&self) -> Result<Option<Lost>> {
        let doubtful = self.unsettled()?;
        let stays = |id: &LayerId| match self.left(*id).fate() {
            Fate::Stays => true,
            Fate::Compared(digest) => {
                self.packed_digest(*id).is_ok_and(|(found, _)| found == digest)
            }
            Fate::Goes => false,
        };
        let (stay, mut gone): (Vec<LayerId>, Vec<LayerId>) =
            doubtful.par_iter().copied().partition(|id| stays(id));
        gone.extend(self.standing_on(&gone.iter().copied().collect())?);
        stay.iter().filter(|id| !gone.contains(id)).try_for_each(|id| self.mark_settled(*id))?;
        let images = self.images_with(&gone.iter().copied().collect())?;
        for id in &gone {
            let folder = self.layer_folder(*id);
            tracing::warn!(layer = %id, "the machine went down before the disk had a layer");
            if let Some(digest) = digest_beside(&folder) {
                self.unlink_diff_id(&digest, *id)?;
            }
            self.discard(&folder)?;
        }
        self.remove_broken_unnamed()?;
        self.remove_torn_notes()?;
        Ok((!gone.is_empty()).then_some(Lost { layers: gone.len(), images }))
    }

    /// Whether all layers of an image are here that were made here.
    pub fn is_whole(&self, image: &ImageEntry) -> bool {
        image.all_layers().all(|layer| match layer {
            Layer::Made(_) => self.layer_path(layer).is_some(),
            Layer::Pulled { .. } | Layer::Folder { .. } => true,
        })
    }

    /// Removes the images without a name that have lost a layer: nobody asks for them.
    fn remove_broken_unnamed(&self) -> Result<()> {
        for (name, image) in self.images()? {
            if name.starts_with(UNNAMED) && !self.is_whole(&image) {
                self.untag(&name)?;
            }
        }
        Ok(())
    }

    fn left(&self, id: LayerId) -> Left {
        let folder = self.layer_folder(id);
        Left {
            is_settled: folder.join(SETTLED).exists(),
            is_made: self.record(&Layer::Made(id)).is_ok_and(|record| record.is_some()),
            digest: digest_beside(&folder),
        }
    }

    /// The layers whose records name one that is gone.
    fn standing_on(&self, gone: &HashSet<LayerId>) -> Result<Vec<LayerId>> {
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let is_gone = |layer: &Layer| matches!(layer, Layer::Made(id) if gone.contains(id));
        let stands = |id: &LayerId| {
            let record: Option<Record> = read_json(&self.layer_folder(*id).join(RECORD)).ok()?;
            let outputs = record?.outputs;
            outputs.iter().any(|output| output.layers.iter().any(is_gone)).then_some(*id)
        };
        let others = self.layer_ids()?.into_par_iter().filter(|id| !gone.contains(id));
        Ok(others.filter_map(|id| stands(&id)).collect())
    }

    /// The names of the images of which a layer goes that cannot be unpacked again.
    fn images_with(&self, gone: &HashSet<LayerId>) -> Result<Vec<String>> {
        let is_gone = |layer: &Layer| match layer {
            Layer::Made(id) => gone.contains(id),
            Layer::Pulled { diff_id, blob } => {
                let goes = self.linked(diff_id).is_some_and(|id| gone.contains(&id));
                goes && blob.from.is_none() && !self.blob_path(&blob.digest).exists()
            }
            Layer::Folder { .. } => false,
        };
        let mut images = self.images()?;
        images
            .retain(|(name, image)| !name.starts_with(UNNAMED) && image.all_layers().any(is_gone));
        Ok(images.into_iter().map(|(name, _)| name).collect())
    }

    /// Removes notes of digests that were written after the mark, and not to their end.
    fn remove_torn_notes(&self) -> Result<()> {
        for id in self.layer_ids()? {
            let path = self.layer_folder(id).join(DIFF_ID);
            if path.exists() && digest_beside(&self.layer_folder(id)).is_none() {
                fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// The digest that is noted beside the files of a layer.
fn digest_beside(folder: &Path) -> Option<Digest> {
    fs::read_to_string(folder.join(DIFF_ID)).ok()?.trim_end().parse().ok()
}

/// The name of the last start of the machine; none where the kernel does not tell.
fn boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
}
