//! Tests of several processes on one store, some of which are killed.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::layers::LAYERS;
use crate::results::tests::{key, step};
use crate::{Store, User, Wish};

/// This test program again, as another process in a folder of its own with a store in it.
struct Other {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

/// Where the other process looks for what it is to do; in an ordinary run there is no such file.
const ROLE: &str = "role-of-this-process";

fn store_in(place: &tempfile::TempDir) -> Store {
    Store::open(place.path().join("store")).unwrap()
}

impl Other {
    fn start(place: &tempfile::TempDir, role: &str) -> Self {
        fs::write(place.path().join(ROLE), role).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::other_process", "--nocapture"])
            .current_dir(place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut other = Self { child, lines };
        other.wait_for("started");
        other
    }

    fn wait_for(&mut self, start: &str) -> String {
        let mut lines = self.lines.by_ref().map(Result::unwrap);
        lines.find(|line| line.starts_with(start)).expect("the other process says so")
    }

    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.map(Result::unwrap).collect()
    }
}

#[test]
fn other_process() {
    let Ok(role) = fs::read_to_string(ROLE) else {
        return;
    };
    let store = Store::open(PathBuf::from("store")).unwrap();
    println!("\nstarted");
    match role.as_str() {
        "write" => {
            let staged = store.stage().unwrap();
            fs::write(staged.files().join("file"), "x").unwrap();
            let mut writer = store.blob_writer(None).unwrap();
            writer.write_all(&vec![7; 100_000]).unwrap();
            println!("written");
            let _ = std::io::stdin().read(&mut [0]);
        }
        "lock" => {
            let lock = store.lock("name").unwrap();
            println!("locked {}", lock.is_some());
            let _ = std::io::stdin().read(&mut [0]);
        }
        "use" => {
            let visit = store.enter().unwrap();
            let found = store.find(&[key(0, 1)]).unwrap()[0].is_some();
            println!("uses {found}");
            let _ = std::io::stdin().read(&mut [0]);
            drop(visit);
        }
        "collect" => {
            let asked = std::cell::Cell::new(0);
            let others = || {
                asked.set(asked.get() + 1);
                if asked.get() == 2 {
                    println!("aside");
                    let _ = std::io::stdin().read(&mut [0]);
                }
                Ok(Vec::new())
            };
            let all = |_: &crate::Entry| true;
            let wish = Wish { over: 0, keep: 0, matches: &all, unnamed: false, others: &others };
            store.collect(&wish).unwrap();
        }
        "steps" => {
            for number in 0.. {
                step(&store, number);
                println!("step {number}");
            }
        }
        "share" => (0..200).for_each(|number| {
            let record = step(&store, 1000 + number);
            assert!(store.find(&[record.definition]).unwrap()[0].is_some());
        }),
        other => panic!("{other}"),
    }
}

#[test]
fn a_killed_writer_leaves_nothing_after_a_sweep() {
    let place = tempfile::tempdir().unwrap();
    let store = store_in(&place);
    let mut other = Other::start(&place, "write");
    other.wait_for("written");
    assert_eq!(store.sweep().unwrap(), 0);
    other.kill();
    assert!(!store.root().join("blobs").exists());
    assert_eq!(store.sweep().unwrap(), 2);
    for folder in [LAYERS, "tmp"] {
        assert_eq!(fs::read_dir(store.root().join(folder)).unwrap().count(), 0);
    }
}

#[test]
fn the_lock_of_a_killed_process_is_free() {
    let place = tempfile::tempdir().unwrap();
    let store = store_in(&place);
    let mut other = Other::start(&place, "lock");
    assert_eq!(other.wait_for("locked"), "locked true");
    assert!(store.lock("name").unwrap().is_none());
    let pid = other.child.id();
    let mut holder = None;
    let lock = store.lock_wait("name", |waiting_for| {
        holder = Some(waiting_for);
        other.kill();
    });
    assert!(lock.is_ok());
    assert_eq!(holder, Some(pid));
}

#[test]
fn what_a_killed_process_used_is_free() {
    let place = tempfile::tempdir().unwrap();
    let store = store_in(&place);
    step(&store, 1);
    let mut other = Other::start(&place, "use");
    assert_eq!(other.wait_for("uses"), "uses true");
    let nobody = || Ok(Vec::new());
    let wish = Wish { over: 0, keep: 0, matches: &|_| true, unnamed: false, others: &nobody };
    let collect = || store.collect(&wish).unwrap().removed.len();
    assert_eq!(collect(), 0);
    let usage = store.usage(&nobody, true).unwrap();
    let users = &usage.entries[0].users;
    assert!(matches!(&users[..], [User::Process { pid, .. }] if *pid == other.child.id()));
    other.kill();
    assert_eq!(collect(), 1);
    assert!(store.find(&[key(0, 1)]).unwrap()[0].is_none());
}

#[test]
fn a_sweep_ends_what_a_killed_collection_began() {
    let place = tempfile::tempdir().unwrap();
    let store = store_in(&place);
    step(&store, 1);
    let mut other = Other::start(&place, "collect");
    other.wait_for("aside");
    assert!(store.find(&[key(0, 1)]).unwrap()[0].is_none(), "nobody finds it");
    assert_eq!(store.sweep().unwrap(), 0, "it may move back");
    other.kill();
    assert!(store.sweep().unwrap() > 0);
    assert_eq!(fs::read_dir(store.root().join(LAYERS)).unwrap().count(), 0);
    let nobody = || Ok(Vec::new());
    assert!(store.verify(&nobody, false).unwrap().findings.is_empty());
    step(&store, 1);
    assert!(store.find(&[key(0, 1)]).unwrap()[0].is_some());
}

#[test]
fn steps_of_killed_processes_are_found() {
    let place = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let mut other = Other::start(&place, "steps");
        let last = 20 + round * 7;
        other.wait_for(&format!("step {last}"));
        other.kill();
        let store = store_in(&place);
        let keys: Vec<_> = (0..=last).map(|number| key(0, number)).collect();
        // What was in memory may be lost, but the records beside the layers know it.
        store.find(&keys).unwrap();
        store.rebuild_index().unwrap();
        assert!(store.find(&keys).unwrap().iter().all(Option::is_some));
    }
}

#[test]
fn two_processes_share_an_index() {
    let place = tempfile::tempdir().unwrap();
    let mut other = Other::start(&place, "share");
    let store = store_in(&place);
    for number in 0..200 {
        let record = step(&store, number);
        assert!(store.find(&[record.definition]).unwrap()[0].is_some());
    }
    assert!(other.child.wait().unwrap().success());
    let keys: Vec<_> = (0..200).chain(1000..1200).map(|number| key(1, number)).collect();
    assert!(store.find(&keys).unwrap().iter().all(Option::is_some));
}
