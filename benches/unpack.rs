//! What it costs to take an image out of an archive, by the compression of its layer: read, hashed,
//! decompressed, hashed and written as files. Behind `--` may be the number of megabytes.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

#[path = "sample.rs"]
mod sample;

use std::fs::File;
use std::time::{Duration, Instant};

use rbuild::{Build, Compression, Destination, Output, OutputKind, Store, images};

/// How often each is timed; the median counts.
const TURNS: usize = 3;
/// The bytes of the layer where nothing is said.
const MEGABYTES: u64 = 1000;

fn main() {
    let asked = std::env::args().skip(1).find_map(|text| text.parse().ok());
    let folder = tempfile::tempdir().unwrap();
    let context = folder.path().join("context");
    let bytes = sample::fill(&context, asked.unwrap_or(MEGABYTES) * 1_000_000);
    let store = Store::open(folder.path().join("store")).unwrap();
    println!("{:<12}{:>10}{:>10}", format!("{} MB", bytes / 1_000_000), "s", "GB/s");
    for (name, how) in [
        ("none", Compression::None),
        ("gzip", Compression::default()),
        ("zstd", Compression::Zstd(3)),
    ] {
        let archive = folder.path().join("image.tar");
        let to = Destination::Path(archive.clone());
        let mut output = Output::new(OutputKind::Docker { to, tar: true });
        output.packing.compression = Some(how);
        let build = Build::new(context.as_path()).output(output);
        rbuild::main(async { build.run(&store).await }).unwrap();
        let mut times: Vec<Duration> = (0..TURNS)
            .map(|_| {
                let new = tempfile::tempdir().unwrap();
                let new = Store::open(new.path()).unwrap();
                let began = Instant::now();
                images::load(&new, File::open(&archive).unwrap()).unwrap();
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        let seconds = times[TURNS / 2].as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let speed = bytes as f64 / 1e9 / seconds;
        println!("{name:<12}{seconds:>10.2}{speed:>10.3}");
    }
}
