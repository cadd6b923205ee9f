//! What whole builds cost as contexts and Dockerfiles grow: cold, warm, with one file changed, and
//! with another base.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rbuild::{Build, Store};

/// How often each build but the cold one is timed; the median counts.
const TURNS: u32 = 5;

fn main() {
    println!("{:<24}{:>10}{:>10}{:>10}{:>10}", "ms", "cold", "warm", "changed", "base");
    for files in [1_000, 5_000, 20_000] {
        row(&format!("{files} files"), |folder| context(folder, files));
    }
    for instructions in [10, 100, 1_000] {
        row(&format!("{instructions} instructions"), |folder| {
            context(folder, 1);
            dockerfile(folder, instructions);
        });
    }
}

/// Times the builds of one folder.
fn row(name: &str, fill: impl Fn(&Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = tempfile::tempdir().expect("a folder");
    let store = Store::open(store.path()).expect("a store");
    fill(folder.path());
    let cold = build(folder.path(), &store);
    let warm = median(|_| build(folder.path(), &store));
    let changed = median(|turn| {
        fs::write(folder.path().join("src/0/0"), format!("changed {turn}")).expect("written");
        build(folder.path(), &store)
    });
    let text = fs::read_to_string(folder.path().join("Dockerfile")).expect("read");
    let base = median(|turn| {
        let text = text.replacen("base=1", &format!("base={}", turn + 2), 1);
        fs::write(folder.path().join("Dockerfile"), text).expect("written");
        build(folder.path(), &store)
    });
    let [cold, warm, changed, base] =
        [cold, warm, changed, base].map(|time| time.as_secs_f64() * 1e3);
    println!("{name:<24}{cold:>10.1}{warm:>10.1}{changed:>10.1}{base:>10.1}");
}

/// Files of 5 kB, 100 to a folder, and a Dockerfile that copies them.
fn context(folder: &Path, files: usize) {
    for number in 0..files {
        let path = folder.join(format!("src/{}", number / 100));
        fs::create_dir_all(&path).expect("made");
        let data = number.to_string().repeat(5000 / number.to_string().len());
        fs::write(path.join((number % 100).to_string()), data).expect("written");
    }
    dockerfile(folder, 1);
}

/// A base of one file, so many instructions, of which every tenth makes a layer, and a COPY.
fn dockerfile(folder: &Path, instructions: usize) {
    let mut text = "FROM scratch\nCOPY <<EOF /base\nbase=1\nEOF\n".to_owned();
    for number in 0..instructions {
        let line = match number % 10 {
            0 => format!("WORKDIR /folder{}\n", number % 200),
            _ => format!("ENV NAME{number}=value\n"),
        };
        text.push_str(&line);
    }
    fs::write(folder.join("Dockerfile"), text + "COPY src /src\n").expect("written");
}

fn build(folder: &Path, store: &Store) -> Duration {
    let began = Instant::now();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(Build::new(folder).tag("bench").run(store)).expect("built");
    began.elapsed()
}

fn median(mut turn: impl FnMut(u32) -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..TURNS).map(&mut turn).collect();
    times.sort();
    times[times.len() / 2]
}
