//! What comes from another store, and what is made of a document that lies.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::id::Digest;
use crate::portable::Packer;
use crate::results::tests::{key, step};
use crate::snapshot::Blob;
use crate::store::Store;

fn name(layer: &Layer, number: u8) -> (Layer, PortableLayer) {
    let blob = Some(Digest::from_bytes([number; 32]));
    let diff_id = Digest::from_bytes([100 + number; 32]);
    (layer.clone(), PortableLayer { diff_id, blob, created: Some(5) })
}

fn layer(name: &PortableLayer) -> Option<Layer> {
    let (digest, size, media_type) = (name.blob?, 1, "tar".to_owned());
    let blob = Blob { digest, size, media_type, from: None, created: name.created };
    Some(Layer::Pulled { diff_id: name.diff_id, blob })
}

/// The document of two steps on the same base, of which the layers have names.
fn document(store: &Store) -> Portable {
    let (one, two) = (step(store, 1), step(store, 2));
    let layers = [&one, &two].map(|record| record.outputs[0].layers.clone());
    let all = layers.iter().flat_map(|layers| layers.iter()).zip(0..);
    let names: HashMap<_, _> = all.map(|(layer, number)| name(layer, number)).collect();
    let mut packer = Packer::default();
    for record in [one, two] {
        let keys = vec![record.definition, record.content];
        packer.add(keys, &record.outputs, &names);
    }
    let id = |number| ContentId::from_bytes([number; 32]);
    packer.add_part((id(1), key(3, 3), id(2)));
    packer.finish()
}

fn store_with(document: &[u8]) -> Store {
    let document = Portable::from_json(document).unwrap();
    Store::temporary().unwrap().importing(vec![Arc::new(Imported::new(document, layer))])
}

fn find(store: &Store, key: Key) -> Option<Outputs> {
    store.find(&[key]).unwrap().pop().unwrap()
}

#[test]
fn another_store_finds_what_travelled() {
    let document = document(&Store::temporary().unwrap());
    assert_eq!((document.layers.len(), document.chains.len()), (3, 3), "what is shared is once");
    let there = store_with(&document.to_json());
    let found = find(&there, key(0, 1)).unwrap();
    assert_eq!(found[0].layers.len(), 2);
    assert_eq!(find(&there, key(1, 1)), Some(found.clone()));
    assert_ne!(find(&there, key(1, 2)).unwrap()[0].layers[1], found[0].layers[1]);
    let id = |number| ContentId::from_bytes([number; 32]);
    assert_eq!(there.part(id(1), key(3, 3)).unwrap(), Some(id(2)));
    assert_eq!(there.part(id(2), key(3, 3)).unwrap(), None);

    // What was found stays known when nothing is imported any more.
    let alone = Store::open(there.root()).unwrap();
    drop(there.clone());
    assert_eq!(find(&alone, key(0, 1)), Some(found));
    assert_eq!(find(&alone, key(0, 2)), None);
    assert_eq!(alone.part(id(1), key(3, 3)).unwrap(), Some(id(2)));
}

#[test]
fn what_is_forgotten_is_not_imported_again() {
    let there = store_with(&document(&Store::temporary().unwrap()).to_json());
    assert!(find(&there, key(0, 1)).is_some());
    there.forget(&[key(0, 1)]).unwrap();
    assert_eq!(find(&there, key(0, 1)), None);
    assert!(find(&there, key(1, 1)).is_some());
}

#[test]
fn a_result_that_is_gone_here_may_be_elsewhere_still() {
    let document = document(&Store::temporary().unwrap());
    let there = store_with(&document.to_json());
    let mut old = crate::results::tests::record(1, layer(&document.layers[0]).unwrap());
    old.definition = key(0, 1);
    there.remember(&old).unwrap();
    assert_eq!(find(&there, key(0, 1)), Some(old.outputs.clone()), "one's own goes first");
    there.forget(&[key(0, 1)]).unwrap();
    assert!(find(&there, key(0, 1)).is_some_and(|found| found != old.outputs));
}

#[test]
fn a_result_whose_layer_cannot_be_had_is_left_out() {
    let document = document(&Store::temporary().unwrap());
    let top = find(&store_with(&document.to_json()), key(0, 2)).unwrap()[0].layers[1].clone();
    let some = Imported::new(document, |name| layer(name).filter(|layer| *layer != top));
    assert!(some.find(&key(0, 1)).is_some());
    assert_eq!(some.find(&key(0, 2)), None);
    assert_eq!(some.len(), 1);
}

#[test]
fn a_document_that_lies_gives_less_and_never_panics() {
    let document = document(&Store::temporary().unwrap());
    let whole: serde_json::Value = serde_json::from_slice(&document.to_json()).unwrap();
    let with = |name: &str, value: serde_json::Value| {
        let mut changed = whole.clone();
        changed[name] = value;
        Imported::new(Portable::from_json(changed.to_string().as_bytes()).unwrap(), layer)
    };
    let circle = with("chains", serde_json::json!([[0, 0], [2, 1], [1, 2]]));
    assert_eq!(circle.find(&key(0, 1)), None);
    assert_eq!(with("chains", serde_json::json!([[null, 9], [0, 1]])).len(), 0);
    assert_eq!(with("layers", serde_json::json!([])).len(), 0);
    let deep: Vec<_> = (0..=DEEPEST).map(|below| (below.checked_sub(1), 0)).collect();
    let chain = |top: usize| {
        let content = "00".repeat(32);
        let result = serde_json::json!([{ "keys": [key(0, 1)], "outputs": [[content, top]] }]);
        let mut changed = whole.clone();
        (changed["chains"], changed["results"]) = (serde_json::json!(deep), result);
        Imported::new(Portable::from_json(changed.to_string().as_bytes()).unwrap(), layer)
    };
    assert_eq!(chain(DEEPEST - 1).len(), 1);
    assert_eq!(chain(DEEPEST).len(), 0);

    let mut later = whole.clone();
    later["version"] = 2.into();
    let error = Portable::from_json(later.to_string().as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("version 2 is not known"), "{error}");
}
