//! What it costs to write a layer as an archive in each compression: read, packed, compressed,
//! hashed and written. Behind `--` may be the number of megabytes, and the compressions that matter.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

#[path = "sample.rs"]
mod sample;

use std::fs;
use std::time::{Duration, Instant};

use rbuild::{Build, Compression, Destination, Output, OutputKind, Store};

/// How often each is timed; the median counts.
const TURNS: usize = 3;
/// The bytes of the layer where nothing is said.
const MEGABYTES: u64 = 1000;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|text| !text.starts_with('-')).collect();
    let asked = arguments.first().and_then(|text| text.parse().ok());
    let folder = tempfile::tempdir().unwrap();
    let context = folder.path().join("context");
    let bytes = sample::fill(&context, asked.unwrap_or(MEGABYTES) * 1_000_000);
    let store = Store::open(folder.path().join("store")).unwrap();
    let run = |output: Output| {
        let build = Build::new(context.as_path()).output(output);
        rbuild::main(async { build.run(&store).await }).unwrap()
    };
    run(OutputKind::CacheOnly.into());
    println!("{:<12}{:>10}{:>10}{:>10}", format!("{} MB", bytes / 1_000_000), "s", "GB/s", "%");
    for (name, how) in [
        ("none", Compression::None),
        ("gzip-1", Compression::Gzip(1)),
        ("gzip", Compression::default()),
        ("gzip-6", Compression::Gzip(6)),
        ("gzip-9", Compression::Gzip(9)),
        ("zstd-1", Compression::Zstd(1)),
        ("zstd", Compression::Zstd(3)),
        ("zstd-9", Compression::Zstd(9)),
    ] {
        if arguments.len() > 1 && !arguments[1..].iter().any(|wanted| wanted == name) {
            continue;
        }
        let archive = folder.path().join("image.tar");
        let to = Destination::Path(archive.clone());
        let mut output = Output::new(OutputKind::Oci { to, tar: true });
        output.packing.compression = Some(how);
        let mut times: Vec<Duration> = (0..TURNS)
            .map(|_| {
                // What was compressed once would not be again.
                fs::remove_dir_all(store.root().join("blobs")).ok();
                let began = Instant::now();
                run(output.clone());
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        let seconds = times[TURNS / 2].as_secs_f64();
        let written = fs::metadata(&archive).unwrap().len();
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let (speed, part) = (bytes as f64 / 1e9 / seconds, written as f64 / bytes as f64 * 100.0);
        println!("{name:<12}{seconds:>10.2}{speed:>10.3}{part:>10.1}");
    }
}
