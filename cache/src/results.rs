//! The results of steps by key, digests of parts, and what a step was made of when it last ran.
//!
//! All of it is hints: the records beside the layers are the truth about results, and the rest can
//! be computed again. A value that does not decode is none.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use crate::error::Result;
use crate::id::{ContentId, Key};
use crate::imported::Imported;
use crate::index::Change;
use crate::layers::{LAYERS, RECORD, STAGED};
use crate::row;
use crate::snapshot::{Layer, Outputs, Part, Record};
use crate::store::{Store, read_json, to_json};

impl Store {
    /// Looks up the results of steps, in one go.
    ///
    /// A result of which a layer was made here and is gone is dropped; layers that were pulled
    /// need not be here.
    pub fn find(&self, keys: &[Key]) -> Result<Vec<Option<Outputs>>> {
        let rows: Vec<_> = keys.iter().map(result_row).collect();
        let found = self.index().read(&rows)?;
        let mut stale = Vec::new();
        let check = |(key, value): (&Key, Option<Vec<u8>>)| {
            let outputs = row::decode(&value?)?;
            if self.is_here(&outputs) {
                return Some(outputs);
            }
            stale.push(*key);
            None
        };
        let mut results: Vec<_> = keys.iter().zip(found).map(check).collect();
        self.index().write(&stale.iter().map(|key| (result_row(key), None)).collect::<Vec<_>>())?;
        self.find_imported(keys, &mut results)?;
        Ok(results)
    }

    /// Fills gaps with what other stores know, which is known here from then on.
    fn find_imported(&self, keys: &[Key], results: &mut [Option<Outputs>]) -> Result<()> {
        let mut rows = Vec::new();
        for (key, result) in keys.iter().zip(results).filter(|(_, result)| result.is_none()) {
            *result = self.imported().iter().find_map(|imported| imported.find(key));
            if let Some(outputs) = result {
                rows.push((result_row(key), Some(row::encode(outputs))));
            }
        }
        self.index().write(&rows)
    }

    pub(crate) fn is_here(&self, outputs: &Outputs) -> bool {
        outputs.iter().flat_map(|snapshot| snapshot.layers.iter()).all(|layer| match layer {
            Layer::Made(_) => self.layer_path(layer).is_some(),
            Layer::Pulled { .. } => true,
            Layer::Folder { .. } => false,
        })
    }

    /// Remembers the result of a step under both of its keys.
    pub fn remember(&self, record: &Record) -> Result<()> {
        let keys = [record.definition, record.content];
        self.index().write_after(&result_rows(record), || self.drop_recent(keys))
    }

    /// Forgets results, such as those whose layers are gone from a registry.
    pub fn forget(&self, keys: &[Key]) -> Result<()> {
        self.forget_imported(keys)?;
        let rows: Vec<Change> = keys.iter().map(|key| (result_row(key), None)).collect();
        self.index().write_after(&rows, || self.drop_recent(keys.iter().copied()))
    }

    /// Takes what was forgotten from other stores no more, unless they know another result.
    fn forget_imported(&self, keys: &[Key]) -> Result<()> {
        if self.imported().is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = keys.iter().map(result_row).collect();
        let known = self.index().read(&rows)?.into_iter().map(|row| row::decode(&row?));
        for (key, known) in keys.iter().zip(known) {
            let is_same = |it: &&Arc<Imported>| known.is_none() || it.find(key) == known;
            self.imported().iter().filter(is_same).for_each(|imported| imported.forget(*key));
        }
        Ok(())
    }

    /// The digest of a part of a tree, when it was computed before.
    pub fn part(&self, whole: ContentId, select: Key) -> Result<Option<ContentId>> {
        let known = self.value(part_row(whole, select))?;
        let known = known.and_then(|row| row.try_into().ok()).map(ContentId::from_bytes);
        let elsewhere = || self.imported().iter().find_map(|it| it.part(whole, select));
        if known.is_none()
            && let Some(part) = elsewhere()
        {
            self.remember_part(whole, select, part)?;
            return Ok(Some(part));
        }
        Ok(known)
    }

    /// Remembers the digest of a part of a tree.
    pub fn remember_part(&self, whole: ContentId, select: Key, part: ContentId) -> Result<()> {
        self.index().write(&[(part_row(whole, select), Some(part.as_bytes().to_vec()))])
    }

    /// What the step at a place in a Dockerfile was made of when it last ran.
    pub fn last(&self, place: &str) -> Result<Option<Vec<Part>>> {
        let known = self.value(last_row(place))?;
        Ok(known.and_then(|row| serde_json::from_slice(&row).ok()))
    }

    /// Remembers what the step at a place in a Dockerfile is made of.
    pub fn remember_last(&self, place: &str, parts: &[Part]) -> Result<()> {
        self.index().write(&[(last_row(place), Some(to_json("parts", &parts)?))])
    }

    /// Makes the index again from the records beside the layers; returns its number of rows.
    pub fn rebuild_index(&self) -> Result<usize> {
        self.index().remake()
    }

    /// Forgets those results of which a layer is gone.
    pub(crate) fn forget_lost(&self, keys: &[Key]) -> Result<()> {
        let rows: Vec<_> = keys.iter().map(result_row).collect();
        let found = self.index().read(&rows)?;
        let is_whole =
            |value: &Vec<u8>| row::decode(value).is_some_and(|outputs| self.has_layers(&outputs));
        let lost =
            keys.iter().zip(&found).filter(|(_, value)| !value.as_ref().is_none_or(is_whole));
        self.forget(&lost.map(|(key, _)| *key).collect::<Vec<_>>())
    }

    /// Whether the layers that were made here are here.
    fn has_layers(&self, outputs: &Outputs) -> bool {
        outputs.iter().flat_map(|snapshot| snapshot.layers.iter()).all(|layer| match layer {
            Layer::Made(id) => self.layer_folder(*id).is_dir(),
            Layer::Pulled { .. } | Layer::Folder { .. } => true,
        })
    }

    /// All results in the index by key; one that cannot be read has none.
    pub(crate) fn all_results(&self) -> Result<Vec<(Key, Option<Outputs>)>> {
        let rows = self.index().all()?;
        let result = |(row, value): &(Vec<u8>, Vec<u8>)| {
            let key: [u8; 32] = row.strip_prefix(b"k")?.try_into().ok()?;
            Some((Key::from_bytes(key), row::decode(value)))
        };
        Ok(rows.iter().filter_map(result).collect())
    }

    fn value(&self, row: Vec<u8>) -> Result<Option<Vec<u8>>> {
        let found = self.index().read(&[row])?;
        Ok(found.into_iter().flatten().next())
    }
}

fn row_of(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[kind], parts.concat().as_slice()].concat()
}

pub(crate) fn result_row(key: &Key) -> Vec<u8> {
    row_of(b'k', &[key.as_bytes()])
}

fn part_row(whole: ContentId, select: Key) -> Vec<u8> {
    row_of(b'p', &[whole.as_bytes(), select.as_bytes()])
}

fn last_row(place: &str) -> Vec<u8> {
    row_of(b'l', &[blake3::hash(place.as_bytes()).as_bytes()])
}

fn result_rows(record: &Record) -> [Change; 2] {
    let outputs = row::encode(&record.outputs);
    [record.definition, record.content].map(|key| (result_row(&key), Some(outputs.clone())))
}

/// All rows that the records beside the layers give: the later of two for one key wins.
pub(crate) fn rows_of_records(root: &Path) -> Vec<Change> {
    let Ok(entries) = fs::read_dir(root.join(LAYERS)) else {
        return Vec::new();
    };
    let folders: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    let read = |folder: &std::path::PathBuf| -> Option<Record> {
        let name = folder.file_name()?.to_str()?;
        let committed = !name.starts_with(STAGED);
        committed.then(|| read_json(&folder.join(RECORD)).ok().flatten()).flatten()
    };
    let mut records: Vec<Record> = folders.par_iter().filter_map(read).collect();
    records.sort_by_key(|record| record.created);
    records.iter().flat_map(result_rows).collect()
}

#[cfg(test)]
pub(crate) mod tests;
