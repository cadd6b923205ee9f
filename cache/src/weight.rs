//! How much of the disk a folder takes: its blocks, and not the lengths of its files.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The unit in which the kernel counts blocks, in bytes, whatever the file system's own are.
const BLOCK: u64 = 512;
/// How long a path may be before a folder far down becomes the start of the paths below it.
const LONG: usize = 2000;

/// The files that have several names and were counted: by device and number.
pub(crate) type Seen = HashSet<(u64, u64)>;

/// The bytes that a file or folder takes, with all that is in it, without what was `seen` before.
///
/// What vanishes meanwhile counts nothing, and so does what is not there.
pub(crate) fn weigh(path: &Path, seen: &mut Seen) -> io::Result<u64> {
    let Some(top) = there(fs::symlink_metadata(path))? else {
        return Ok(0);
    };
    let mut bytes = count(&top, seen);
    if !top.is_dir() {
        return Ok(bytes);
    }
    let Some(start) = there(File::open(path).map(Rc::new))? else {
        return Ok(bytes);
    };
    // A container nests folders as deep as it likes, while a path has an end and so have
    // descriptors: so paths begin at an open folder, and sometimes at another one further down.
    let mut folders = vec![(start, PathBuf::new())];
    while let Some((start, below)) = folders.pop() {
        let folder = PathBuf::from(format!("/proc/self/fd/{}", start.as_raw_fd())).join(&below);
        let (start, below) = if below.as_os_str().len() > LONG {
            match there(File::open(&folder).map(Rc::new))? {
                Some(start) => (start, PathBuf::new()),
                None => continue,
            }
        } else {
            (start, below)
        };
        let Some(entries) = there(fs::read_dir(&folder))? else {
            continue;
        };
        for entry in entries {
            let Some(entry) = there(entry)? else { continue };
            let Some(found) = there(entry.metadata())? else { continue };
            bytes += count(&found, seen);
            if found.is_dir() {
                folders.push((Rc::clone(&start), below.join(entry.file_name())));
            }
        }
    }
    Ok(bytes)
}

fn count(found: &Metadata, seen: &mut Seen) -> u64 {
    let is_new = found.is_dir() || found.nlink() < 2 || seen.insert((found.dev(), found.ino()));
    if is_new { found.blocks() * BLOCK } else { 0 }
}

/// What is gone is none.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Folder;

    #[test]
    fn blocks_count_and_each_file_once() {
        let folder = Folder::new();
        let top = folder.path("top");
        let weight = |seen: &mut Seen| weigh(&top, seen).unwrap();
        assert_eq!(weight(&mut Seen::new()), 0, "what is not there");
        folder.file("top/file", vec![7; 100_000]);
        let one = weight(&mut Seen::new());
        assert!((100_000..120_000).contains(&one), "{one}");
        folder.hard_link("top/again", "top/file");
        assert_eq!(weight(&mut Seen::new()), one);
        // A file without data in it takes nothing, however long it is.
        File::create(folder.path("top/holes")).unwrap().set_len(1 << 30).unwrap();
        assert_eq!(weight(&mut Seen::new()), one);
        let mut seen = Seen::new();
        weight(&mut seen);
        assert!(weight(&mut seen) < 20_000, "it was seen before");
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_weighed() {
        let place = tempfile::tempdir().unwrap();
        let mut parent = rustix::fs::open(
            place.path(),
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&parent, "folder", 0o755.into()).unwrap();
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
            parent =
                rustix::fs::openat(&parent, "folder", flags, rustix::fs::Mode::empty()).unwrap();
        }
        let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
        let file = rustix::fs::openat(&parent, "deep", flags, 0o600.into()).unwrap();
        io::Write::write_all(&mut File::from(file), &vec![7; 100_000]).unwrap();
        assert!(weigh(place.path(), &mut Seen::new()).unwrap() > 100_000);
        drop(parent);
        crate::remove::remove_tree(&place.path().join("folder")).unwrap();
    }
}
