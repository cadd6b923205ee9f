//! What is in a container's files only because something is mounted there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rbuild_cache::Store;
use rustix::fs::{AtFlags, Stat, readlinkat, statat};
use rustix::io::Errno;

use super::error::Result;
use super::folder::Record;
use crate::diff::is_opaque;

/// What every container has mounted.
const ALWAYS: [&str; 6] = ["dev", "proc", "sys", "etc/resolv.conf", "etc/hosts", "etc/hostname"];

/// The paths below `files`, what a container changed, that were made to be mounted on: what is
/// empty there and not in the image, and the directories around it that nothing else has changed.
/// A container cannot put anything of its own at such a place, which is hidden from it.
pub(crate) fn stubs(store: &Store, files: &Path, record: &Record) -> Result<BTreeSet<PathBuf>> {
    let image = store.view(&record.layers)?;
    let mounts = record.options.mounts.iter().map(|mount| mount.target.as_str());
    Ok(find(files, image.as_fd(), ALWAYS.into_iter().chain(mounts)))
}

fn find<'a>(
    files: &Path,
    image: BorrowedFd<'_>,
    targets: impl Iterator<Item = &'a str>,
) -> BTreeSet<PathBuf> {
    let mut places = BTreeSet::new();
    for target in targets {
        let place = plain(Path::new(target));
        // A link of the image is not mounted on, but what it leads to.
        if let Ok(link) = readlinkat(image, &place, Vec::new()) {
            let link = Path::new(OsStr::from_bytes(link.as_bytes()));
            places.insert(plain(&place.parent().unwrap_or(Path::new("")).join(link)));
        }
        places.insert(place);
    }
    let above = places.iter().flat_map(|place| place.ancestors().skip(1)).map(Path::to_owned);
    let above: BTreeSet<_> = above.filter(|path| !path.as_os_str().is_empty()).collect();
    let mut found = BTreeSet::new();
    // What is in a directory comes before it.
    let all: Vec<_> = places.union(&above).collect();
    for &path in all.iter().rev() {
        if let Some(metadata) = own(files, path) {
            let before = statat(image, path, AtFlags::SYMLINK_NOFOLLOW);
            let is_stub = match before {
                Err(Errno::NOENT) => true,
                Ok(before) => above.contains(path) && metadata.is_dir() && same(&metadata, &before),
                Err(_) => false,
            };
            if is_stub && is_empty(files, path, &metadata, &found) {
                found.insert(path.clone());
            }
        }
    }
    found
}

/// A path relative to the root, which it does not leave.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir => plain.clear(),
            Component::ParentDir => drop(plain.pop()),
            Component::Normal(name) => plain.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}

/// What is at a path, to which no link of the container leads.
fn own(files: &Path, path: &Path) -> Option<Metadata> {
    let above = path.ancestors().skip(1);
    let is_folder = |path| fs::symlink_metadata(files.join(path)).is_ok_and(|at| at.is_dir());
    if !above.into_iter().all(is_folder) {
        return None;
    }
    fs::symlink_metadata(files.join(path)).ok()
}

/// Whether a directory is still as the image has it.
fn same(now: &Metadata, before: &Stat) -> bool {
    (now.mode(), now.uid(), now.gid()) == (before.st_mode, before.st_uid, before.st_gid)
}

fn is_empty(files: &Path, path: &Path, metadata: &Metadata, found: &BTreeSet<PathBuf>) -> bool {
    if !metadata.is_dir() {
        return metadata.is_file() && metadata.len() == 0;
    }
    let is_found = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| found.contains(&path.join(entry.file_name())))
    };
    let folder = files.join(path);
    !is_opaque(&folder) && fs::read_dir(&folder).is_ok_and(|mut all| all.all(is_found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_what_is_empty_at_a_mount_is_a_stub() {
        let (image, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let make = |root: &Path, paths: &[&str]| {
            for path in paths {
                fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
                fs::write(root.join(path), "").unwrap();
            }
        };
        make(image.path(), &["etc/hosts", "own/file", "mode/file"]);
        symlink("../run/resolv", image.path().join("etc/resolv.conf")).unwrap();
        let ours = ["etc/hosts", "run/resolv", "own/at", "mode/at", "a/b/c"];
        make(files.path(), &ours);
        make(files.path(), &["own/theirs", "full"]);
        fs::write(files.path().join("full"), "text").unwrap();
        fs::set_permissions(files.path().join("mode"), PermissionsExt::from_mode(0o700)).unwrap();
        symlink(image.path(), files.path().join("out")).unwrap();
        let opened = fs::File::open(image.path()).unwrap();
        let targets = ["/own/at", "/mode/at", "/a/../a/b/c", "/full", "/out/etc/hosts"];
        let found = find(files.path(), opened.as_fd(), ALWAYS.into_iter().chain(targets));
        let stubs = ["run/resolv", "run", "own/at", "mode/at", "a/b/c", "a/b", "a"];
        assert_eq!(found, stubs.into_iter().map(PathBuf::from).collect());
    }
}
