//! What the index survives: damage, deletion, and other processes.

use std::os::unix::fs::FileExt;

use super::*;
use crate::Store;
use crate::results::tests::{key, step};

/// Damages the index in a way, and checks that no answer is wrong then or after a rebuild.
fn check_damage(damage: impl Fn(&Path)) {
    let store = Store::temporary().unwrap();
    let steps: Vec<_> = (0..100).map(|number| step(&store, number)).collect();
    store.index().close();
    damage(&store.root().join("index"));
    let keys: Vec<_> = steps.iter().map(|step| step.definition).collect();
    let outputs: Vec<_> = steps.iter().map(|step| Some(step.outputs.clone())).collect();
    let found = store.find(&keys).unwrap();
    for (found, right) in found.iter().zip(&outputs) {
        assert!(found.is_none() || found == right);
    }
    assert_eq!(store.rebuild_index().unwrap(), 200);
    assert_eq!(store.find(&keys).unwrap(), outputs);
    store.index().close();
    assert_eq!(store.find(&keys).unwrap(), outputs);
}

fn open_db(folder: &Path) -> File {
    File::options().read(true).write(true).open(folder.join("db")).unwrap()
}

#[test]
fn flipped_bits_are_noticed() {
    for part in [1, 3, 9, 27] {
        check_damage(|folder| {
            let file = open_db(folder);
            let size = file.metadata().unwrap().len();
            let mut bytes = vec![0; usize::try_from(size).unwrap()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            // Only what is in use: most of the file is empty.
            let used: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
            let at = used[used.len() * part / 28];
            file.write_all_at(&[bytes[at] ^ 4], at as u64).unwrap();
        });
    }
}

#[test]
fn lost_pages_are_noticed() {
    for at in [0, 4096, 65536] {
        check_damage(|folder| open_db(folder).write_all_at(&[0; 4096], at).unwrap());
    }
}

#[test]
fn truncated_files_are_noticed() {
    check_damage(|folder| open_db(folder).set_len(0).unwrap());
    check_damage(|folder| open_db(folder).set_len(10_000).unwrap());
    check_damage(|folder| fs::write(folder.join("conf"), "").unwrap());
    check_damage(|folder| fs::remove_file(folder.join("db")).unwrap());
    check_damage(|folder| {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.file_name().unwrap().to_string_lossy().starts_with("snap") {
                fs::write(entry, "").unwrap();
            }
        }
    });
}

#[test]
fn a_folder_of_rubbish_is_set_aside() {
    check_damage(|folder| {
        fs::remove_dir_all(folder).unwrap();
        fs::write(folder, "rubbish").unwrap();
    });
}

#[test]
fn an_idle_session_lets_others_in() {
    let store = Store::temporary().unwrap();
    step(&store, 1);
    let lock = File::open(store.root().join("index.lock")).unwrap();
    let taken = flock(&lock, FlockOperation::NonBlockingLockExclusive);
    assert_eq!(taken, Err(rustix::io::Errno::WOULDBLOCK));
    // Nobody does anything, and the lock comes free.
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    flock(&lock, FlockOperation::Unlock).unwrap();
    assert!(store.find(&[key(0, 1)]).unwrap()[0].is_some());
    store.index().close();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
}

#[test]
fn a_busy_session_lets_others_in() {
    let store = Store::temporary().unwrap();
    step(&store, 1);
    let lock = File::open(store.root().join("index.lock")).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(store.find(&[key(0, 1)]).unwrap()[0].is_some());
            }
        });
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        flock(&lock, FlockOperation::Unlock).unwrap();
    });
}

#[test]
fn threads_share_a_session() {
    let store = Store::temporary().unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..50 {
                    let record = step(store, thread * 100 + number);
                    assert!(store.find(&[record.content]).unwrap()[0].is_some());
                }
            });
        }
    });
    assert_eq!(store.rebuild_index().unwrap(), 400);
}

#[test]
fn an_index_that_wastes_space_is_made_again() {
    let place = tempfile::tempdir().unwrap();
    let row = |number: u32| (number.to_le_bytes().to_vec(), Some(vec![7; 1000]));
    let rows: Vec<_> = (0..200).map(row).collect();
    let keys: Vec<_> = rows.iter().map(|row| row.0.clone()).collect();
    let size = || open_db(&place.path().join("index")).metadata().unwrap().len();
    let index = Index::with_limit(place.path(), |_| Vec::new(), 4 << 20);
    for _ in 0..60 {
        index.write(&rows).unwrap();
        index.close();
    }
    assert!(size() < 9 << 20, "{}", size());
    let values: Vec<_> = rows.into_iter().map(|row| row.1).collect();
    assert_eq!(index.read(&keys).unwrap(), values);
}

#[test]
fn a_full_disk_does_no_harm() {
    let disk = crate::store::tests::small_disk();
    let store = Store::open(crate::store::tests::path_of(&disk)).unwrap();
    let one = step(&store, 1);
    store.index().close();
    let filler = store.root().join("filler");
    fs::write(&filler, vec![7; 1 << 20]).unwrap_err();
    for number in 2..200 {
        // It may fail, now or when the session is closed: a hint is lost, and nothing else.
        let _ = store.remember(&crate::Record { definition: key(0, number), ..one.clone() });
    }
    store.index().close();
    fs::remove_file(&filler).unwrap();
    assert_eq!(store.find(&[one.content]).unwrap(), [Some(one.outputs)]);
    let two = step(&store, 2);
    store.index().close();
    assert_eq!(store.find(&[two.content]).unwrap(), [Some(two.outputs)]);
}
