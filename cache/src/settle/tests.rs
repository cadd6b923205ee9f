//! What stays and what goes when the machine has gone down.

use super::*;
use crate::collect::tests::{make, nobody};
use crate::images::ImageEntry;
use crate::snapshot::Blob;

fn id(layer: &Layer) -> LayerId {
    let Layer::Made(id) = layer else { panic!("{layer:?}") };
    *id
}

fn top(record: &Record) -> Layer {
    record.outputs[0].layers.last().unwrap().clone()
}

fn marked(store: &Store, layer: &Layer) -> bool {
    store.layer_folder(id(layer)).join(SETTLED).exists()
}

/// Damages the file of a layer as a power cut does: the file is there, and its data is not.
fn tear(store: &Store, layer: &Layer) {
    fs::write(store.layer_path(layer).unwrap().join("file"), "").unwrap();
}

/// A store with three layers, each on the one before, whose digests are known.
fn sample() -> (Store, [Layer; 3]) {
    let store = Store::temporary().unwrap();
    let one = top(&make(&store, 1, 100, &[]));
    let two = top(&make(&store, 2, 100, std::slice::from_ref(&one)));
    let three = top(&make(&store, 3, 100, &[one.clone(), two.clone()]));
    let layers = [one, two, three];
    for layer in &layers {
        store.diff_id(layer).unwrap();
    }
    (store, layers)
}

#[test]
fn a_layer_without_a_mark_stays_only_where_its_digest_is_known() {
    let known = Digest::from_bytes([1; 32]);
    let digest = Some(known);
    let fate = |is_settled, is_made, digest| Left { is_settled, is_made, digest }.fate();
    for (is_made, digest) in [(false, None), (false, digest), (true, None), (true, digest)] {
        assert_eq!(fate(true, is_made, digest), Fate::Stays);
    }
    assert_eq!(fate(false, true, digest), Fate::Compared(known));
    assert_eq!(fate(false, true, None), Fate::Goes);
    assert_eq!(fate(false, false, digest), Fate::Goes);
    assert_eq!(fate(false, false, None), Fate::Goes);
}

/// Waits for the disk, which in a test of this crate is in memory or not.
fn settle(store: &Store) -> usize {
    let turn = store.lock(NEXT).unwrap().expect("nobody else settles");
    store.settle(turn.share().unwrap()).unwrap()
}

#[test]
fn what_is_settled_is_marked_once() {
    let (store, layers) = sample();
    assert!(layers.iter().all(|layer| !marked(&store, layer)));
    let staged = store.stage().unwrap();
    assert_eq!(settle(&store), 3);
    assert!(layers.iter().all(|layer| marked(&store, layer)));
    assert_eq!(settle(&store), 0);
    let late = staged.commit(None).unwrap();
    assert!(!marked(&store, &late));
    assert_eq!(settle(&store), 1);
}

#[test]
fn a_turn_is_given_up_when_it_has_come() {
    let (store, _) = sample();
    let before = store.lock(SETTLING).unwrap();
    let turn = store.lock(NEXT).unwrap().unwrap();
    let shared = turn.share().unwrap();
    drop(turn);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.settle(shared).unwrap());
        assert!(store.lock(NEXT).unwrap().is_none(), "the one that waits has it");
        drop(before);
        assert_eq!(waiting.join().unwrap(), 3);
    });
    assert!(store.lock(NEXT).unwrap().is_some());
}

#[test]
fn only_who_has_made_layers_asks_for_a_turn() {
    let store = Store::temporary().unwrap();
    assert!(store.turn_to_settle().unwrap().is_none());
    make(&store, 1, 1, &[]);
    assert!(store.has_new_layers().load(Ordering::Relaxed));
    assert_eq!(store.turn_to_settle().unwrap().is_some(), store.is_lasting());
    assert!(store.turn_to_settle().unwrap().is_none());
    let memory = crate::store::tests::small_disk();
    let memory = Store::open(crate::store::tests::path_of(&memory)).unwrap();
    make(&memory, 1, 1, &[]);
    assert!(memory.turn_to_settle().unwrap().is_none(), "nothing there outlasts the machine");
}

#[test]
fn nothing_is_in_doubt_while_the_machine_runs() {
    let (store, layers) = sample();
    tear(&store, &layers[0]);
    let again = Store::open(store.root()).unwrap();
    assert_eq!(again.enter().unwrap().lost(), None);
    assert!(store.layer_path(&layers[0]).is_some());
}

#[test]
fn what_is_whole_stays_when_the_machine_went_down() {
    let (store, layers) = sample();
    assert_eq!(store.recover_since("second").unwrap(), None);
    assert!(layers.iter().all(|layer| marked(&store, layer)));
    // What has a mark is not looked at: that is what the mark is for.
    tear(&store, &layers[0]);
    assert_eq!(store.recover_since("third").unwrap(), None);
    assert!(store.layer_path(&layers[0]).is_some());
}

#[test]
fn what_is_torn_goes_with_all_that_stands_on_it() {
    let (store, [one, two, three]) = sample();
    let config = store.write_blob(b"config").unwrap();
    let image = |layers: &[Layer]| ImageEntry {
        manifest: None,
        config,
        layers: layers.to_vec(),
        size: 1,
        created: 1,
        platforms: Vec::new(),
    };
    store.tag("whole", &image(std::slice::from_ref(&one))).unwrap();
    store.tag("torn", &image(&[one.clone(), two.clone()])).unwrap();
    let unnamed = format!("{UNNAMED}torn");
    store.tag(&unnamed, &image(&[one.clone(), two.clone()])).unwrap();
    tear(&store, &two);
    let lost = store.recover_since("second").unwrap();
    assert_eq!(lost, Some(Lost { layers: 2, images: vec!["torn".to_owned()] }));
    assert!(store.layer_path(&one).is_some() && marked(&store, &one));
    assert!(store.layer_path(&two).is_none() && store.layer_path(&three).is_none());
    // No result is found that would need them.
    let keys: Vec<_> = (1..=3).map(|number| crate::results::tests::key(0, number)).collect();
    let found = store.find(&keys).unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(store.image(&unnamed).unwrap(), None, "nobody asks for it");
    store.untag("torn").unwrap();
    let verified = store.verify(&nobody, false).unwrap();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
}

#[test]
fn layers_that_cannot_be_compared_go() {
    let store = Store::temporary().unwrap();
    let undigested = top(&make(&store, 1, 100, &[]));
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut tar::Header::new_gnu(), "f", &b""[..]).unwrap();
    let tar = tar.into_inner().unwrap();
    let diff_id = crate::blobs::digest_of(&tar);
    let pulled = store.unpack(diff_id, &*tar).unwrap();
    let lost = store.recover_since("second").unwrap();
    assert_eq!(lost, Some(Lost { layers: 2, images: Vec::new() }));
    assert!(store.layer_path(&undigested).is_none());
    assert_eq!(store.linked(&diff_id), None);
    let blob =
        Blob { digest: diff_id, size: 1, media_type: "tar".into(), from: None, created: None };
    assert_eq!(store.layer_path(&Layer::Pulled { diff_id, blob }), None);
    assert_ne!(store.unpack(diff_id, &*tar).unwrap(), pulled);
}

#[test]
fn a_note_that_is_torn_is_none() {
    let (store, [one, ..]) = sample();
    settle(&store);
    let digest = store.diff_id(&one).unwrap();
    let note = store.layer_folder(id(&one)).join(DIFF_ID);
    fs::write(&note, "").unwrap();
    assert_eq!(store.recover_since("second").unwrap(), None);
    assert!(!note.exists());
    assert_eq!(store.diff_id(&one).unwrap(), digest);
}

#[test]
fn the_first_visit_after_a_start_sees_to_what_is_in_doubt() {
    let (store, [one, two, _]) = sample();
    fs::write(store.root().join(BOOT), "an earlier start").unwrap();
    tear(&store, &two);
    assert!(store.is_in_doubt(id(&one)));
    let again = Store::open(store.root()).unwrap();
    assert_eq!(again.enter().unwrap().lost().unwrap().layers, 2);
    assert!(!store.is_in_doubt(id(&one)) && store.layer_path(&two).is_none());
    assert_eq!(again.enter().unwrap().lost(), None);
}

#[test]
fn what_was_pulled_and_is_in_doubt_is_told_by_a_look_at_the_store() {
    let store = Store::temporary().unwrap();
    let diff_id = crate::blobs::digest_of(b"");
    store.unpack(diff_id, &b""[..]).unwrap();
    assert!(store.verify(&nobody, false).unwrap().findings.is_empty());
    fs::write(store.root().join(BOOT), "an earlier start").unwrap();
    let findings = store.verify(&nobody, false).unwrap().findings;
    assert_eq!(findings.len(), 1);
    assert!(findings[0].problem.contains("before the disk had it"), "{findings:?}");
}
