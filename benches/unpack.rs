//! What it costs to take an image out of an archive, by the compression of its layer: read, hashed,
//! decompressed, hashed and written as files. Behind `--` may be the number of megabytes.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

#[path = "sample.rs"]
mod sample;

use std::fs::File;
use std::time::Instant;

use rbuild::{Compression, Destination, OutputKind, Store, images};
use sample::{Sample, arguments, median};

fn main() {
    let sample = Sample::new(&arguments());
    println!("{:<12}{:>10}{:>10}", sample.title(), "s", "GB/s");
    for (name, how) in [
        ("none", Compression::None),
        ("gzip", Compression::default()),
        ("zstd", Compression::Zstd(3)),
    ] {
        let to = Destination::Path(sample.archive());
        sample.build(OutputKind::Docker { to, tar: true }, Some(how));
        let seconds = median(|| {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path()).unwrap();
            let began = Instant::now();
            images::load(&store, File::open(sample.archive()).unwrap()).unwrap();
            began.elapsed()
        });
        println!("{name:<12}{seconds:>10.2}{:>10.3}", sample.bytes() / 1e9 / seconds);
    }
}
