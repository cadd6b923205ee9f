//! What it costs to write a layer as an archive in each compression: read, packed, compressed,
//! hashed and written. Behind `--` may be the number of megabytes, and the compressions that matter.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

#[path = "sample.rs"]
mod sample;

use std::fs;
use std::time::Instant;

use rbuild::{Compression, Destination, OutputKind};
use sample::{Sample, arguments, median};

fn main() {
    let arguments = arguments();
    let sample = Sample::new(&arguments);
    sample.build(OutputKind::CacheOnly, None);
    println!("{:<12}{:>10}{:>10}{:>10}", sample.title(), "s", "GB/s", "%");
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
        let archive = sample.archive();
        let seconds = median(|| {
            // What was compressed once would not be again.
            fs::remove_dir_all(sample.store.root().join("blobs")).ok();
            let began = Instant::now();
            let to = Destination::Path(archive.clone());
            sample.build(OutputKind::Oci { to, tar: true }, Some(how));
            began.elapsed()
        });
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let written = fs::metadata(&archive).unwrap().len() as f64;
        let (speed, part) = (sample.bytes() / 1e9 / seconds, written / sample.bytes() * 100.0);
        println!("{name:<12}{seconds:>10.2}{speed:>10.3}{part:>10.1}");
    }
}
