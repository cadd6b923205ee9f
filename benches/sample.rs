//! Files to pack: those of the Rust toolchain that runs the bench, up to a number of bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Copies files into `context/files`, and writes a Dockerfile that copies them; gives their bytes.
pub(crate) fn fill(context: &Path, most: u64) -> u64 {
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
