//! What is remembered, found and forgotten.

use std::sync::Arc;

use super::*;
use crate::id::Digest;
use crate::snapshot::{Blob, Snapshot};

pub(crate) fn key(kind: u8, number: u64) -> Key {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Key::from_bytes(bytes)
}

/// The record of step `number`, which made `layer` over a pulled one.
pub(crate) fn record(number: u64, layer: Layer) -> Record {
    let digest = Digest::from_bytes([7; 32]);
    let blob = Blob { digest, size: 1, media_type: "tar".into(), from: None, created: None };
    let content = ContentId::from_bytes(*key(9, number).as_bytes());
    let layers = Arc::from([Layer::Pulled { diff_id: digest, blob }, layer]);
    Record {
        definition: key(0, number),
        content: key(1, number),
        outputs: Arc::from([Snapshot { content, layers }]),
        description: format!("RUN {number}"),
        parts: vec![Part { name: "instruction".into(), value: number.to_string() }],
        cost_ms: 1,
        created: i64::try_from(number).unwrap(),
    }
}

/// Runs step `number`: makes a layer and remembers it.
pub(crate) fn step(store: &Store, number: u64) -> Record {
    let staged = store.stage().unwrap();
    let record = record(number, Layer::Made(staged.id()));
    staged.commit(Some(&record)).unwrap();
    store.remember(&record).unwrap();
    record
}

fn find(store: &Store, key: Key) -> Option<Outputs> {
    store.find(&[key]).unwrap().pop().unwrap()
}

#[test]
fn a_result_is_found_under_both_keys() {
    let store = Store::temporary().unwrap();
    let (one, two) = (step(&store, 1), step(&store, 2));
    let found = store.find(&[one.definition, key(5, 5), two.content]).unwrap();
    assert_eq!(found, [Some(one.outputs.clone()), None, Some(two.outputs)]);
    store.forget(&[one.definition]).unwrap();
    assert_eq!(find(&store, one.definition), None);
    assert_eq!(find(&store, one.content), Some(one.outputs));
}

#[test]
fn a_result_whose_layer_is_gone_is_dropped() {
    let store = Store::temporary().unwrap();
    let one = step(&store, 1);
    let Layer::Made(id) = one.outputs[0].layers[1] else { panic!("{one:?}") };
    let (folder, aside) = (store.layer_folder(id), store.root().join("aside"));
    fs::rename(&folder, &aside).unwrap();
    assert_eq!(find(&store, one.definition), None);
    fs::rename(&aside, &folder).unwrap();
    // The row itself was removed, and not only passed over.
    assert_eq!(find(&store, one.definition), None);
    assert_eq!(find(&store, one.content), Some(one.outputs));
}

#[test]
fn parts_and_last_steps_are_remembered() {
    let store = Store::temporary().unwrap();
    let (whole, part) = (ContentId::from_bytes([1; 32]), ContentId::from_bytes([2; 32]));
    assert_eq!(store.part(whole, key(0, 0)).unwrap(), None);
    store.remember_part(whole, key(0, 0), part).unwrap();
    assert_eq!(store.part(whole, key(0, 0)).unwrap(), Some(part));
    assert_eq!(store.part(whole, key(0, 1)).unwrap(), None);
    assert_eq!(store.last("a:1").unwrap(), None);
    let parts = [Part { name: "base".into(), value: "x".into() }];
    store.remember_last("a:1", &parts).unwrap();
    assert_eq!(store.last("a:1").unwrap().unwrap(), parts);
}

#[test]
fn an_index_that_was_deleted_is_made_again() {
    let store = Store::temporary().unwrap();
    let steps: Vec<_> = (1..20).map(|number| step(&store, number)).collect();
    let redone = Record { created: 100, ..record(1, steps[1].outputs[0].layers[1].clone()) };
    let staged = store.stage().unwrap();
    staged.commit(Some(&redone)).unwrap();
    store.index().close();
    fs::remove_dir_all(store.root().join("index")).unwrap();
    for step in &steps[1..] {
        assert_eq!(find(&store, step.definition).as_ref(), Some(&step.outputs));
    }
    // The later of two records of one key wins.
    assert_eq!(find(&store, steps[0].definition), Some(redone.outputs));
    assert_eq!(store.rebuild_index().unwrap(), 38);
}
