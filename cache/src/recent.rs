//! Results that were asked for last, each in a file: a build in which nothing has changed asks for
//! one result, and finds it without opening the index.
//!
//! There is a file for each value of a key's first byte, so that they do not grow in number. What
//! lies in one is a row of the index with its checksum. It is written and removed only in a session
//! of the index, in which nobody else changes rows: so it never outlives the row.

use std::fs;
use std::path::PathBuf;

use crate::error::Result;
use crate::id::Key;
use crate::index::seal::{seal, unseal};
use crate::results::result_row;
use crate::row;
use crate::snapshot::Outputs;
use crate::store::Store;

const RECENT: &str = "recent";

impl Store {
    /// Looks up the results of the last steps of a build, which are likely to be asked for again.
    ///
    /// They are those that [`find`](Self::find) gives.
    pub fn find_recent(&self, keys: &[Key]) -> Result<Vec<Option<Outputs>>> {
        let recent: Option<Vec<_>> = keys.iter().map(|key| self.recent(key).map(Some)).collect();
        if let Some(found) = recent {
            return Ok(found);
        }
        let found = self.find(keys)?;
        if found.iter().all(Option::is_some)
            && let Err(error) = self.keep_recent(keys)
        {
            tracing::debug!(%error, "results are looked up in the index again");
        }
        Ok(found)
    }

    fn recent(&self, key: &Key) -> Option<Outputs> {
        let sealed = fs::read(self.recent_path(key)).ok()?;
        let outputs = row::decode(unseal(&result_row(key), &sealed)?)?;
        self.is_here(&outputs).then_some(outputs)
    }

    fn keep_recent(&self, keys: &[Key]) -> Result<()> {
        self.folder(RECENT)?;
        let rows: Vec<_> = keys.iter().map(result_row).collect();
        let keep = |values: &[Option<Vec<u8>>]| {
            let found = keys.iter().zip(&rows).zip(values);
            let mut found = found.filter_map(|(it, value)| Some((it, value.as_ref()?)));
            found.try_for_each(|((key, row), value)| {
                self.replace(&self.recent_path(key), &seal(row, value), false)
            })
        };
        self.index().read_and(&rows, keep).map(drop)
    }

    /// Removes what is kept of results, in the session in which they change.
    pub(crate) fn drop_recent(&self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            // There is seldom anything.
            let _ = fs::remove_file(self.recent_path(&key));
        }
    }

    fn recent_path(&self, key: &Key) -> PathBuf {
        self.root().join(RECENT).join(format!("{:02x}", key.as_bytes()[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{key, step};
    use crate::snapshot::Record;

    /// Looks for a result while the index cannot be opened.
    fn find_alone(store: &Store, key: Key) -> Option<Outputs> {
        store.index().close();
        let (index, aside) = (store.root().join("index"), store.root().join("aside"));
        fs::rename(&index, &aside).unwrap();
        fs::write(&index, "no folder").unwrap();
        let found = store.recent(&key);
        fs::remove_file(&index).unwrap();
        fs::rename(&aside, &index).unwrap();
        found
    }

    fn found(store: &Store, record: &Record) -> bool {
        store.find_recent(&[record.definition]).unwrap() == [Some(record.outputs.clone())]
    }

    #[test]
    fn a_result_that_was_found_is_found_without_the_index() {
        let store = Store::temporary().unwrap();
        assert_eq!(store.find_recent(&[key(0, 1)]).unwrap(), [None]);
        let one = step(&store, 1);
        assert_eq!(find_alone(&store, one.definition), None);
        assert!(found(&store, &one));
        assert_eq!(find_alone(&store, one.definition), Some(one.outputs.clone()));
        // Another one whose key begins alike takes the place of the first.
        let other = Record { definition: key(one.definition.as_bytes()[0], 9), ..step(&store, 2) };
        store.remember(&other).unwrap();
        assert!(found(&store, &other) && found(&store, &one));
        assert!(found(&store, &other));
    }

    #[test]
    fn a_result_that_changes_is_not_found_as_it_was() {
        let store = Store::temporary().unwrap();
        let one = step(&store, 1);
        assert!(found(&store, &one));
        let again = Record { outputs: step(&store, 2).outputs, ..one.clone() };
        store.remember(&again).unwrap();
        assert_eq!(find_alone(&store, one.definition), None);
        assert!(found(&store, &again));
        store.forget(&[one.definition]).unwrap();
        assert_eq!(store.find_recent(&[one.definition]).unwrap(), [None]);
    }

    #[test]
    fn a_result_in_doubt_or_without_its_layer_is_none() {
        let store = Store::temporary().unwrap();
        let one = step(&store, 1);
        assert!(found(&store, &one));
        let path = store.recent_path(&one.definition);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(store.recent(&one.definition), None);
        fs::write(&path, &bytes).unwrap();
        let layer = one.outputs[0].layers.last().unwrap();
        fs::remove_dir_all(store.layer_path(layer).unwrap().parent().unwrap()).unwrap();
        assert_eq!(store.find_recent(&[one.definition]).unwrap(), [None]);
    }
}
