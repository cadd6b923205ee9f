//! What goes, what stays, and what comes back.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::claims::{Claim, User};
use crate::id::Key;
use crate::images::{ImageEntry, PlatformEntry};
use crate::results::tests::{key, record};
use crate::snapshot::{Layer, Record, Snapshot};

#[expect(clippy::unnecessary_wraps, reason = "those who are asked may fail")]
pub(crate) fn nobody() -> Result<Vec<Claim>> {
    Ok(Vec::new())
}

/// Runs a step that writes so many bytes, on the layers below it; returns its record.
pub(crate) fn make(store: &Store, number: u64, bytes: usize, below: &[Layer]) -> Record {
    let staged = store.stage().unwrap();
    fs::write(staged.files().join("file"), vec![u8::try_from(number % 251).unwrap(); bytes])
        .unwrap();
    let mut record = record(number, Layer::Made(staged.id()));
    let layers = [below, &[Layer::Made(staged.id())]].concat();
    record.outputs = [Snapshot { layers: layers.into(), ..record.outputs[0].clone() }].into();
    staged.commit(Some(&record)).unwrap();
    store.remember(&record).unwrap();
    record
}

fn top(record: &Record) -> Layer {
    record.outputs[0].layers.last().unwrap().clone()
}

fn is_known(store: &Store, key: Key) -> bool {
    store.find(&[key]).unwrap()[0].is_some()
}

fn collect_all(store: &Store) -> Vec<Item> {
    let wish = Wish { over: 0, keep: 0, matches: &|_| true, unnamed: false, others: &nobody };
    store.collect(&wish).unwrap().removed.into_iter().map(|entry| entry.item).collect()
}

fn image(layers: &[Layer], config: Digest) -> ImageEntry {
    ImageEntry {
        manifest: None,
        config,
        layers: layers.to_vec(),
        size: 1,
        created: 1,
        platforms: Vec::new(),
    }
}

#[test]
fn a_removed_layer_is_a_miss_and_is_made_again() {
    let store = Store::temporary().unwrap();
    let one = make(&store, 1, 100, &[]);
    let digest = store.diff_id(&top(&one)).unwrap();
    assert_eq!(collect_all(&store).len(), 1);
    assert!(!is_known(&store, one.definition) && !is_known(&store, one.content));
    assert_eq!(store.linked(&digest), None, "nothing points at it");
    assert_eq!(fs::read_dir(store.root().join(LAYERS)).unwrap().count(), 0);
    let again = make(&store, 1, 100, &[]);
    assert!(is_known(&store, one.definition));
    assert_eq!(store.diff_id(&top(&again)).unwrap(), digest);
    assert!(store.layer_path(&top(&again)).is_some());
}

#[test]
fn what_an_image_or_container_names_stays() {
    let store = Store::temporary().unwrap();
    let base = make(&store, 1, 100, &[]);
    let named = make(&store, 2, 100, &[top(&base)]);
    let other = make(&store, 3, 100, &[top(&base)]);
    let run = make(&store, 4, 100, &[]);
    let (config, lost) = (store.write_blob(b"config").unwrap(), store.write_blob(b"x").unwrap());
    store.tag("a", &image(&[top(&base), top(&named)], config)).unwrap();
    let layers = vec![top(&run)];
    let others = || {
        let user = User::Container("c".into());
        Ok(vec![Claim { user, layers: layers.clone(), blobs: Vec::new() }])
    };
    let wish = Wish { over: 0, keep: 0, matches: &|_| true, unnamed: false, others: &others };
    let gone: Vec<_> =
        store.collect(&wish).unwrap().removed.iter().map(|e| e.item.clone()).collect();
    let Layer::Made(id) = top(&other) else { panic!() };
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert!(gone.contains(&Item::Layer(id)) && gone.contains(&Item::Blob(lost)));
    for kept in [&base, &named, &run] {
        assert!(is_known(&store, kept.definition));
    }
    assert!(store.has_blob(&config));
    // The image goes, and what only it used goes after it.
    store.untag("a").unwrap();
    assert_eq!(store.collect(&wish).unwrap().removed.len(), 3);
    assert!(is_known(&store, run.definition));
}

#[test]
fn all_platforms_of_a_name_stay() {
    let store = Store::temporary().unwrap();
    let made = [make(&store, 1, 100, &[]), make(&store, 2, 100, &[])];
    let platforms = made.iter().zip(["linux/amd64", "linux/arm64"]).map(|(record, platform)| {
        let config = store.write_blob(platform.as_bytes()).unwrap();
        let manifest = Some(store.write_blob(&platform.as_bytes()[1..]).unwrap());
        let (platform, layers) = (platform.to_owned(), vec![top(record)]);
        PlatformEntry { platform, manifest, config, layers, size: 1 }
    });
    let entry = ImageEntry::of_platforms(platforms.collect(), 0, 1).unwrap();
    store.tag("a", &entry).unwrap();
    assert_eq!(collect_all(&store), []);
    store.untag("a").unwrap();
    assert_eq!(collect_all(&store).len(), 6);
}

#[test]
fn an_image_without_a_name_gives_way_where_it_must() {
    let store = Store::temporary().unwrap();
    let (named, unnamed) = (make(&store, 1, 100, &[]), make(&store, 2, 100, &[]));
    let config = store.write_blob(b"config").unwrap();
    store.tag("a", &image(&[top(&named)], config)).unwrap();
    store.tag("<none>@b", &image(&[top(&unnamed)], config)).unwrap();
    assert_eq!(collect_all(&store), []);
    let wish = Wish { over: 0, keep: 0, matches: &|_| true, unnamed: true, others: &nobody };
    let gone = store.collect(&wish).unwrap().removed;
    assert_eq!(gone.len(), 1);
    assert!(is_known(&store, named.definition) && !is_known(&store, unnamed.definition));
    let left: Vec<_> = store.images().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["a"], "nothing is named that is not there");
}

#[test]
fn what_a_running_build_uses_stays() {
    let store = Store::temporary().unwrap();
    let (found, idle) = (make(&store, 1, 100, &[]), make(&store, 2, 100, &[]));
    let other = Store::open(store.root()).unwrap();
    let visit = store.enter().unwrap();
    let second = store.enter().unwrap();
    assert!(is_known(&store, found.definition));
    let made = make(&store, 3, 100, &[top(&found)]);
    let blob = store.write_blob(b"x").unwrap();
    store.uses_cache_mount("m", "cache mount /m").unwrap();
    fs::create_dir_all(store.root().join("cache-mounts/m")).unwrap();
    drop(second);
    assert_eq!(collect_all(&other).len(), 1);
    assert!(!is_known(&other, idle.definition));
    assert!(is_known(&other, made.definition) && other.has_blob(&blob));
    drop(visit);
    assert_eq!(collect_all(&other).len(), 4);
    assert!(!store.root().join("cache-mounts/m").exists());
    assert!(!is_known(&store, found.definition));
}

#[test]
fn a_process_whose_list_cannot_be_written_keeps_everything() {
    let disk = crate::store::tests::small_disk();
    let store = Store::open(crate::store::tests::path_of(&disk)).unwrap();
    let one = make(&store, 1, 100, &[]);
    store.index().close();
    let visit = store.enter().unwrap();
    let filler = store.root().join("filler");
    fs::write(&filler, vec![7; 1 << 20]).unwrap_err();
    // More than what is left of the page in which the list begins.
    for number in 0..1000 {
        store.uses(&Item::CacheMount(number.to_string()));
    }
    fs::remove_file(&filler).unwrap();
    let other = Store::open(store.root()).unwrap();
    assert_eq!(collect_all(&other), []);
    drop(visit);
    assert!(!collect_all(&other).is_empty());
    assert!(!is_known(&other, one.definition));
    drop((store, other));
}

#[test]
fn what_comes_into_use_meanwhile_is_put_back() {
    let store = Store::temporary().unwrap();
    let base = make(&store, 1, 100, &[]);
    let (late, idle) = (make(&store, 2, 100, &[top(&base)]), make(&store, 3, 100, &[]));
    let other = Store::open(store.root()).unwrap();
    let visit = other.enter().unwrap();
    // They are asked when the choice is made, and once more when all was moved aside.
    let asked = Cell::new(0);
    let others = || {
        asked.set(asked.get() + 1);
        if asked.get() == 2 {
            assert_eq!(other.layer_path(&top(&late)), None, "it is aside");
            let layers = vec![top(&late)];
            return Ok(vec![Claim { user: User::Container("c".into()), layers, blobs: vec![] }]);
        }
        nobody()
    };
    let wish = Wish { over: 0, keep: 0, matches: &|_| true, unnamed: false, others: &others };
    let removed = store.collect(&wish).unwrap().removed;
    assert_eq!(removed.len(), 1);
    assert!(!is_known(&store, idle.definition));
    assert!(is_known(&store, late.definition), "with all that it stands on");
    assert!(store.layer_path(&top(&base)).is_some());
    drop(visit);
}

#[test]
fn a_failure_puts_everything_back() {
    let store = Store::temporary().unwrap();
    let one = make(&store, 1, 100, &[]);
    let asked = Cell::new(false);
    let others = || {
        if asked.replace(true) { Err(Error::NotALayer("no".into())) } else { nobody() }
    };
    let wish = Wish { over: 0, keep: 0, matches: &|_| true, unnamed: false, others: &others };
    store.collect(&wish).unwrap_err();
    assert!(is_known(&store, one.definition));
}

#[test]
fn a_cap_is_kept_and_the_least_valuable_goes() {
    let store = Store::temporary().unwrap();
    let steps: Vec<Record> = (1..=8).map(|number| make(&store, number, 1_000_000, &[])).collect();
    let costly = make(&store, 9, 1_000_000, &[]);
    let Layer::Made(id) = top(&costly) else { panic!() };
    let record = Record { cost_ms: 1_000_000, ..costly.clone() };
    fs::write(store.layer_folder(id).join("record.json"), serde_json::to_vec(&record).unwrap())
        .unwrap();
    let all =
        |keep| Wish { over: 7_000_000, keep, matches: &|_| true, unnamed: false, others: &nobody };
    let over = Wish { over: 100 << 20, ..all(0) };
    assert!(store.collect(&over).unwrap().removed.is_empty(), "it is not over");
    assert!(store.usage(&nobody, true).unwrap().would_go(&over).is_empty());
    let expected: Vec<_> = {
        let usage = store.usage(&nobody, true).unwrap();
        usage.would_go(&all(5_000_000)).into_iter().map(|entry| entry.item.clone()).collect()
    };
    let collected = store.collect(&all(5_000_000)).unwrap();
    let removed: Vec<_> = collected.removed.iter().map(|entry| entry.item.clone()).collect();
    let shorter = removed.len().min(expected.len());
    assert!(shorter >= 3 && removed.len().abs_diff(expected.len()) < 2);
    assert_eq!(removed[..shorter], expected[..shorter], "as it was said before");
    // The index grows and shrinks meanwhile, by less than a layer.
    let left = store.weigh().unwrap();
    assert!(left <= 6_000_000 && left > 3_000_000, "{left}");
    assert!(is_known(&store, costly.definition));
    assert!(!steps.iter().all(|step| is_known(&store, step.definition)));
}

#[test]
fn files_that_layers_share_go_with_the_last_of_them() {
    let store = Store::temporary().unwrap();
    let one = make(&store, 1, 300_000, &[]);
    let two = make(&store, 2, 0, &[]);
    let path = |record: &Record| store.layer_path(&top(record)).unwrap();
    for record in [&one, &two] {
        fs::write(path(record).with_file_name("digests"), "").unwrap();
    }
    fs::remove_file(path(&two).join("file")).unwrap();
    fs::hard_link(path(&one).join("file"), path(&two).join("file")).unwrap();
    let usage = store.usage(&nobody, true).unwrap();
    let twice = store.usage(&nobody, false).unwrap();
    assert!(usage.total() + 200_000 < twice.total(), "{} {}", usage.total(), twice.total());
    // Dropping one of them is not enough, which is noticed.
    let wish =
        Wish { over: 250_000, keep: 250_000, matches: &|_| true, unnamed: false, others: &nobody };
    let collected = store.collect(&wish).unwrap();
    assert_eq!(collected.removed.len(), 2);
    assert!(store.weigh().unwrap() < 250_000);
}

#[test]
fn nothing_vanishes_under_those_who_use_it() {
    let store = Store::temporary().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let builders: Vec<_> = (0..3_u64)
            .map(|thread| {
                let store = Store::open(store.root()).unwrap();
                scope.spawn(move || {
                    let mut made = 0;
                    for round in 0..60 {
                        let visit = store.enter().unwrap();
                        for number in 0..4_u64 {
                            let number = (number + round + thread) % 6;
                            let found = store.find(&[key(0, number)]).unwrap().remove(0);
                            made += usize::from(found.is_none());
                            let layer = found.map_or_else(
                                || top(&make(&store, number, 1000, &[])),
                                |outputs| outputs[0].layers.last().unwrap().clone(),
                            );
                            let path = store.layer_path(&layer).expect("it is in use");
                            let bytes = fs::read(path.join("file")).expect("it is whole");
                            assert_eq!(bytes.len(), 1000);
                        }
                        drop(visit);
                    }
                    made
                })
            })
            .collect();
        let collector = scope.spawn(|| {
            let mut gone = 0;
            while !done.load(Ordering::Relaxed) {
                gone += collect_all(&store).len();
            }
            gone
        });
        let made: usize = builders.into_iter().map(|builder| builder.join().unwrap()).sum();
        done.store(true, Ordering::Relaxed);
        assert!(made > 6, "some were collected in between");
        assert!(collector.join().unwrap() > 0);
    });
}
