//! What is wrong is found, named, and set aside.

use std::io::Write;

use super::*;
use crate::collect::tests::{make, nobody};
use crate::images::ImageEntry;
use crate::layers::RECORD;
use crate::snapshot::{Layer, Record};

fn found(store: &Store) -> Vec<Finding> {
    store.verify(&nobody, false).unwrap().findings
}

fn top(record: &Record) -> Layer {
    record.outputs[0].layers.last().unwrap().clone()
}

/// A store with two layers, the second on the first, an image of them, and a blob.
fn sample() -> (Store, Record, Record) {
    let store = Store::temporary().unwrap();
    let one = make(&store, 1, 100, &[]);
    let two = make(&store, 2, 100, &[top(&one)]);
    store.diff_id(&top(&one)).unwrap();
    store.diff_id(&top(&two)).unwrap();
    let config = store.write_blob(b"config").unwrap();
    let layers = vec![top(&one), top(&two)];
    let image =
        ImageEntry { manifest: None, config, layers, size: 1, created: 1, platforms: Vec::new() };
    store.tag("an image", &image).unwrap();
    (store, one, two)
}

#[test]
fn a_store_that_is_well_has_no_findings() {
    let (store, ..) = sample();
    let verified = store.verify(&nobody, true).unwrap();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    let Verified { blobs, layers, packed, names, rows, .. } = verified;
    assert_eq!((blobs, layers, packed, names, rows), (1, 2, 2, 1, 4));
    let empty = Store::temporary().unwrap();
    assert!(found(&empty).is_empty());
}

#[test]
fn a_flipped_byte_is_found_and_set_aside() {
    let (store, one, two) = sample();
    let digest = store.image("an image").unwrap().unwrap().config;
    fs::write(store.blob_path(&digest), b"cOnfig").unwrap();
    let file = store.layer_path(&top(&two)).unwrap().join("file");
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[50] ^= 1;
    let mut open = fs::File::options().write(true).open(&file).unwrap();
    open.write_all(&bytes).unwrap();
    open.set_modified(time).unwrap();
    let findings = found(&store);
    let Layer::Made(id) = top(&two) else { panic!() };
    let things: Vec<_> = findings.iter().map(|finding| finding.thing.clone()).collect();
    let items = [Item::Blob(digest), Item::Layer(id)].map(Thing::Item);
    assert_eq!(things, items);
    for finding in &findings {
        assert!(finding.problem.contains("digest sha256:"), "{}", finding.problem);
        assert_eq!(finding.users, [User::Image("an image".into())]);
        assert_eq!(finding.aside, None);
    }

    let repaired = store.verify(&nobody, true).unwrap().findings;
    assert_eq!(repaired.len(), 2);
    for finding in repaired {
        assert!(finding.aside.unwrap().exists(), "it is not lost");
    }
    assert!(!store.has_blob(&digest) && store.layer_path(&top(&two)).is_none());
    assert_eq!(store.find(&[two.definition]).unwrap(), [None]);
    assert!(store.find(&[one.definition]).unwrap()[0].is_some());
    // What the image lacks is all that there is left to say.
    let left = found(&store);
    assert!(left.iter().all(|f| f.thing == Thing::Image("an image".into())), "{left:?}");
    assert_eq!(left.len(), 2);
}

#[test]
fn what_stands_on_a_damaged_layer_goes_with_it() {
    let (store, one, two) = sample();
    store.untag("an image").unwrap();
    fs::write(store.layer_path(&top(&one)).unwrap().join("more"), "x").unwrap();
    assert_eq!(found(&store).len(), 1);
    let repaired = store.verify(&nobody, true).unwrap().findings;
    assert_eq!(repaired.len(), 2, "{repaired:?}");
    assert!(store.layer_path(&top(&two)).is_none());
    assert!(found(&store).is_empty());
}

#[test]
fn records_and_names_that_are_damaged_are_found() {
    let (store, one, two) = sample();
    let (Layer::Made(first), Layer::Made(second)) = (top(&one), top(&two)) else { panic!() };
    let record = |id| store.layer_folder(id).join(RECORD);
    let whole = fs::read(record(second)).unwrap();
    let problem = || {
        let mut findings = found(&store);
        // The rows of a record that is another's go with it.
        findings.retain(|finding| finding.thing != Thing::Index);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.into_iter().next().unwrap().problem
    };
    fs::write(record(second), &whole[1..]).unwrap();
    assert!(problem().starts_with("its record is damaged: "));
    fs::copy(record(first), record(second)).unwrap();
    assert_eq!(problem(), "its record is that of another layer");
    fs::write(record(second), &whole).unwrap();
    fs::write(store.root().join("images/00.json"), "{").unwrap();
    assert_eq!(problem(), "it is damaged, or the file of another name");
    store.verify(&nobody, true).unwrap();
    assert!(found(&store).is_empty());
    // A layer below another one is gone.
    store.untag("an image").unwrap();
    fs::rename(store.layer_folder(first), store.root().join("elsewhere")).unwrap();
    assert_eq!(problem(), format!("it stands on the layer {first}, which is gone"));
}

#[test]
fn rows_that_say_otherwise_are_made_again() {
    let (store, one, two) = sample();
    // A row that gives the layer of one step as the content of another.
    let mut wrong = two.clone();
    let mut outputs = wrong.outputs.to_vec();
    outputs[0].content = one.outputs[0].content;
    wrong.outputs = outputs.into();
    store.remember(&wrong).unwrap();
    let findings = found(&store);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].thing, Thing::Index);
    store.verify(&nobody, true).unwrap();
    assert!(found(&store).is_empty());
    assert_eq!(store.find(&[two.definition]).unwrap(), [Some(two.outputs)]);
}
