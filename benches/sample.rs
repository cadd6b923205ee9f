//! A layer to pack and unpack: files of the Rust toolchain that runs the bench, up to a number of
//! bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rbuild::{Build, Compression, Output, OutputKind, Store};
use tempfile::TempDir;

/// How often each thing is timed; the median counts.
const TURNS: usize = 3;
/// The megabytes of the layer where nothing is said.
const MEGABYTES: u64 = 1000;

/// The layer, and the image that is made of it.
pub(crate) struct Sample {
    folder: TempDir,
    pub(crate) store: Store,
    bytes: u64,
}

impl Sample {
    /// A sample of the first number among the arguments, in megabytes.
    pub(crate) fn new(arguments: &[String]) -> Self {
        let asked = arguments.iter().find_map(|text| text.parse().ok());
        let folder = tempfile::tempdir().expect("made");
        let bytes = fill(&folder.path().join("context"), asked.unwrap_or(MEGABYTES) * 1_000_000);
        let store = Store::open(folder.path().join("store")).expect("opened");
        Self { folder, store, bytes }
    }

    /// The bytes of its files.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn bytes(&self) -> f64 {
        self.bytes as f64
    }

    /// Its size as the title of a column.
    pub(crate) fn title(&self) -> String {
        format!("{} MB", self.bytes / 1_000_000)
    }

    /// Where archives of it go.
    pub(crate) fn archive(&self) -> PathBuf {
        self.folder.path().join("image.tar")
    }

    /// Builds the image, for an output with a compression.
    pub(crate) fn build(&self, kind: OutputKind, compression: Option<Compression>) {
        let mut output = Output::new(kind);
        output.packing.compression = compression;
        let build = Build::new(self.folder.path().join("context").as_path()).output(output);
        rbuild::main(async { build.run(&self.store).await }).expect("built");
    }
}

/// The median of what is measured several times, in seconds.
pub(crate) fn median(measure: impl FnMut() -> Duration) -> f64 {
    let mut times: Vec<Duration> = std::iter::repeat_with(measure).take(TURNS).collect();
    times.sort_unstable();
    times[TURNS / 2].as_secs_f64()
}

/// The arguments of a bench, without those of Cargo.
pub(crate) fn arguments() -> Vec<String> {
    std::env::args().skip(1).filter(|text| !text.starts_with('-')).collect()
}

/// Copies files into `context/files`, and writes a Dockerfile that copies them; gives their bytes.
fn fill(context: &Path, most: u64) -> u64 {
    let said = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc runs");
    let toolchain = PathBuf::from(String::from_utf8(said.stdout).expect("a path").trim());
    let files = context.join("files");
    fs::create_dir_all(&files).expect("made");
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY files /\n").expect("written");
    let mut left = most;
    copy(&toolchain, &files, &mut left);
    most - left
}

fn copy(from: &Path, to: &Path, left: &mut u64) {
    let mut entries: Vec<_> =
        fs::read_dir(from).expect("read").map(|entry| entry.expect("read")).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (kind, to) = (entry.file_type().expect("read"), to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir_all(&to).expect("made");
            copy(&entry.path(), &to, left);
        } else if kind.is_file() {
            let size = entry.metadata().expect("read").len();
            if size <= *left {
                fs::copy(entry.path(), &to).expect("copied");
                *left -= size;
            }
        }
    }
}
