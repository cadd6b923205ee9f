//! What it costs to open an index of 100,000 records, look up 100 keys and close it, in one process
//! and in eight at once.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rbuild_cache::hash::key_of;
use rbuild_cache::{Blob, ContentId, Digest, Key, Layer, Record, Snapshot, Store};

const RECORDS: u64 = 100_000;
const GETS: u64 = 100;
/// How often each is timed.
const TURNS: u64 = 9;
const PROCESSES: u64 = 8;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, kind, root, turn] = &arguments[..]
        && kind == "get"
    {
        return get(Path::new(root), turn.parse().expect("a number"));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let began = Instant::now();
    fill(folder.path());
    println!("written   {:>10.1?} for {RECORDS} records", began.elapsed());
    for turn in 0..TURNS {
        report("alone", &times(vec![start(folder.path(), turn)]));
    }
    for turn in 0..TURNS {
        let began = Instant::now();
        let processes =
            (0..PROCESSES).map(|number| start(folder.path(), turn * PROCESSES + number));
        let times = times(processes.collect());
        report("together", &times);
        println!("          {:>10.1?} until all {PROCESSES} had ended", began.elapsed());
    }
}

/// One record for each number, under two keys.
fn fill(root: &Path) {
    let store = Store::open(root).expect("a store");
    for number in 0..RECORDS {
        let digest = Digest::from_bytes(*key("layer", number).as_bytes());
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip".to_owned();
        let blob = Blob { digest, size: number, media_type, from: None, created: None };
        let layers = [Layer::Pulled { diff_id: digest, blob }].into();
        let content = ContentId::from_bytes(*key("result", number).as_bytes());
        let record = Record {
            definition: key("definition", number),
            content: key("content", number),
            outputs: [Snapshot { content, layers }].into(),
            description: String::new(),
            parts: Vec::new(),
            cost_ms: 0,
            created: 0,
        };
        store.remember(&record).expect("remembered");
    }
}

fn key(domain: &'static str, number: u64) -> Key {
    key_of(domain, &number).expect("a number can be hashed")
}

/// A process that looks up keys of its own.
fn start(root: &Path, turn: u64) -> Child {
    let program = std::env::current_exe().expect("a program");
    let mut command = Command::new(program);
    command.arg("get").arg(root).arg(turn.to_string());
    command.stdout(Stdio::piped()).spawn().expect("started")
}

/// What such a process does: prints how many microseconds it took.
fn get(root: &Path, turn: u64) {
    let numbers = (0..GETS).map(|number| (turn * GETS + number) * 7919 % RECORDS);
    let keys: Vec<Key> = numbers.map(|number| key("definition", number)).collect();
    let began = Instant::now();
    let store = Store::open(root).expect("a store");
    assert!(store.find(&keys).expect("the index can be read").iter().all(Option::is_some));
    drop(store);
    println!("{}", began.elapsed().as_micros());
}

fn times(processes: Vec<Child>) -> Vec<Duration> {
    let time = |process: Child| {
        let output = process.wait_with_output().expect("it ends");
        let text = String::from_utf8(output.stdout).expect("a number");
        Duration::from_micros(text.trim().parse().expect("a number"))
    };
    let mut times: Vec<Duration> = processes.into_iter().map(time).collect();
    times.sort_unstable();
    times
}

fn report(name: &str, times: &[Duration]) {
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{name:<10}{median:>10.1?} median {longest:>10.1?} longest");
}
