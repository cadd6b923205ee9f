//! What it costs to read the tree of a context: all of it, with nothing changed, and with one file
//! changed.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rbuild_cache::tree::{Options, Tree};

/// How often each tree but the first is read; the median counts.
const TURNS: usize = 7;
/// The bytes of a file.
const SIZE: usize = 1 << 10;

fn main() {
    println!("{:<16}{:>10}{:>12}{:>10}", "ms", "first", "unchanged", "changed");
    for files in [1_000, 20_000, 100_000] {
        let folder = tempfile::tempdir().expect("a folder");
        let (context, cache) = (folder.path().join("context"), folder.path().join("stat-cache"));
        fill(&context, files);
        let first = read(&context, &cache);
        let unchanged = median(|_| read(&context, &cache));
        let changed = median(|turn| {
            fs::write(context.join("0/0"), format!("changed {turn}")).expect("written");
            rest();
            read(&context, &cache)
        });
        let [first, unchanged, changed] =
            [first, unchanged, changed].map(|time| time.as_secs_f64() * 1e3);
        println!("{:<16}{first:>10.1}{unchanged:>12.1}{changed:>10.1}", format!("{files} files"));
    }
}

/// Files, a hundred to a folder.
fn fill(context: &Path, files: usize) {
    for number in 0..files {
        let folder = context.join((number / 100).to_string());
        fs::create_dir_all(&folder).expect("made");
        let data = number.to_string().repeat(SIZE / number.to_string().len());
        fs::write(folder.join((number % 100).to_string()), data).expect("written");
    }
    rest();
}

/// Lets the clock of the file system go on: a file that changed just now is not remembered.
fn rest() {
    std::thread::sleep(Duration::from_millis(50));
}

fn read(context: &Path, cache: &Path) -> Duration {
    let folder = File::open(context).expect("opened");
    let options = Options { stat_cache: Some(cache), ..Options::default() };
    let began = Instant::now();
    Tree::read(folder.as_fd(), &options).expect("read");
    began.elapsed()
}

fn median(mut time: impl FnMut(usize) -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..TURNS).map(&mut time).collect();
    times.sort_unstable();
    times[TURNS / 2]
}
