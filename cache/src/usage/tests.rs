//! What is told of what is in the store.

use std::fs::FileTimes;
use std::time::{Duration, SystemTime};

use super::*;
use crate::collect::Wish;
use crate::collect::tests::{make, nobody};
use crate::images::ImageEntry;
use crate::snapshot::{Blob, Layer, Record};

fn top(record: &Record) -> Layer {
    record.outputs[0].layers.last().unwrap().clone()
}

fn item(record: &Record) -> Item {
    let Layer::Made(id) = top(record) else { panic!("{record:?}") };
    Item::Layer(id)
}

fn entry(store: &Store, item: &Item) -> Entry {
    let usage = store.usage(&nobody, true).unwrap();
    usage.entries.into_iter().find(|entry| entry.item == *item).unwrap()
}

fn age(store: &Store, item: &Item, seconds: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    let file = fs::File::open(store.last_use_path(item)).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}

#[test]
fn everything_is_told_and_nothing_is_forgotten() {
    let store = Store::temporary().unwrap();
    assert_eq!(store.usage(&nobody, true).unwrap().total(), 0);
    let one = make(&store, 1, 50_000, &[]);
    let two = make(&store, 2, 50_000, &[top(&one)]);
    let config = store.write_blob(b"{}").unwrap();
    let blob = store.write_blob(&[7; 9000]).unwrap();
    let (media_type, from) = ("tar".to_owned(), Some("an image".to_owned()));
    let blob = Blob { digest: blob, size: 9000, media_type, from, created: None };
    let pulled = Layer::Pulled { diff_id: blob.digest, blob: blob.clone() };
    let image = ImageEntry {
        manifest: None,
        config,
        layers: vec![pulled],
        size: 1,
        created: 1,
        platforms: Vec::new(),
    };
    store.remember_resolved("an image", &image).unwrap();
    store.uses_cache_mount("m", "cache mount /m").unwrap();
    fs::create_dir_all(store.root().join("cache-mounts/m")).unwrap();
    fs::write(store.root().join("cache-mounts/m/file"), vec![7; 20_000]).unwrap();
    fs::create_dir_all(store.root().join("repositories/r")).unwrap();
    fs::create_dir_all(store.root().join("stat-caches")).unwrap();
    fs::write(store.root().join("stat-caches/s"), "x").unwrap();

    let usage = store.usage(&nobody, true).unwrap();
    let told = |item: &Item| usage.entries.iter().find(|entry| entry.item == *item).unwrap();
    assert_eq!(usage.entries.len(), 7);
    assert_eq!(told(&item(&two)).description, "RUN 2");
    assert_eq!(told(&item(&two)).below, [item(&one)]);
    assert!(told(&item(&one)).bytes > 50_000 && told(&item(&one)).is_reclaimable);
    assert_eq!(told(&Item::Blob(blob.digest)).description, "compressed layer of an image");
    let kept = told(&Item::Blob(config));
    assert_eq!(kept.users, [User::Reference("an image".into())]);
    assert!(!kept.is_reclaimable && kept.is_shared());
    let mount = told(&Item::CacheMount("m".into()));
    assert!(mount.bytes >= 20_000 && mount.is_mutable());
    assert_eq!(mount.description, "cache mount /m");
    assert_eq!(usage.above(&item(&one)).len(), 1);
    let id = item(&one).to_string();
    assert_eq!(usage.find(&id[..12])[0].item, item(&one));
    assert_eq!(usage.find(&blob.digest.hex()[..12])[0].item, Item::Blob(blob.digest));
    assert!(usage.find("").is_empty() && usage.find("no").is_empty());

    // It is what the disk says, but for folders and notes that come later.
    store.index().close();
    let disk = weigh(store.root(), &mut Seen::new()).unwrap();
    let weighed = store.weigh().unwrap();
    assert!(weighed >= disk - 15 * 4096 && weighed < disk + 20 * 4096, "{weighed} of {disk}");
}

#[test]
fn a_look_is_no_use() {
    let store = Store::temporary().unwrap();
    let one = make(&store, 1, 100, &[]);
    age(&store, &item(&one), 5000);
    let before = entry(&store, &item(&one)).last_used;
    assert_eq!(entry(&store, &item(&one)).last_used, before);
    // Nor is it one to find it while nobody is at work.
    store.find(&[one.definition]).unwrap();
    assert_eq!(entry(&store, &item(&one)).last_used, before);
    let visit = store.enter().unwrap();
    store.find(&[one.definition]).unwrap();
    let used = entry(&store, &item(&one));
    assert!(used.last_used >= before + 4999 && !used.is_reclaimable);
    assert!(matches!(&used.users[..], [User::Process { pid, .. }] if *pid == std::process::id()));
    drop(visit);
    assert!(entry(&store, &item(&one)).is_reclaimable);
    // A second use within the hour is not written down.
    age(&store, &item(&one), 3000);
    let before = entry(&store, &item(&one)).last_used;
    let _visit = store.enter().unwrap();
    store.find(&[one.definition]).unwrap();
    assert_eq!(entry(&store, &item(&one)).last_used, before);
}

#[test]
fn what_changes_is_measured_again_once_it_was_used() {
    let store = Store::temporary().unwrap();
    let mount = Item::CacheMount("m".into());
    let folder = store.item_path(&mount);
    fs::create_dir_all(&folder).unwrap();
    store.uses_cache_mount("m", "cache mount /m").unwrap();
    let weight = || store.weight(&mount, false).unwrap();
    age(&store, &mount, 100);
    let empty = weight();
    fs::write(folder.join("file"), vec![7; 50_000]).unwrap();
    assert_eq!(weight(), empty, "nobody has used it");
    assert!(store.weight(&mount, true).unwrap() > 50_000, "somebody uses it now");
    let visit = store.enter().unwrap();
    store.uses_cache_mount("m", "cache mount /m").unwrap();
    drop(visit);
    assert!(weight() > 50_000);
}

#[test]
fn a_layer_whose_base_is_gone_is_worth_nothing() {
    let store = Store::temporary().unwrap();
    let one = make(&store, 1, 100, &[]);
    let two = make(&store, 2, 100, &[top(&one)]);
    assert!(!entry(&store, &item(&two)).is_stranded);
    fs::remove_dir_all(store.item_path(&item(&one))).unwrap();
    let three = make(&store, 3, 100, &[]);
    assert!(entry(&store, &item(&two)).is_stranded);
    let usage = store.usage(&nobody, true).unwrap();
    let chosen = usage.choose(&|_| true, false, 1);
    assert_eq!(usage.entries[chosen[0]].item, item(&two));
    assert_ne!(item(&two), item(&three));
}

#[test]
fn what_has_come_of_a_blob_is_listed_and_goes_unless_more_is_coming() {
    let store = Store::temporary().unwrap();
    let digest = crate::blobs::digest_of(b"whole");
    let coming = store.partial(digest, 100_000).unwrap();
    coming.write_at(0, &vec![7; 50_000]).unwrap();
    let item = Item::Partial(digest);
    assert!(entry(&store, &item).bytes >= 50_000);
    let everything = Wish { over: 0, keep: 0, matches: &|_| true, unnamed: false, others: &nobody };
    assert_eq!(store.collect(&everything).unwrap().removed.len(), 0, "somebody writes to it");
    drop(coming);
    let removed = store.collect(&everything).unwrap().removed;
    assert_eq!(removed.iter().map(|entry| &entry.item).collect::<Vec<_>>(), [&item]);
    assert_eq!(store.partial(digest, 100_000).unwrap().bytes(), 0);
}
