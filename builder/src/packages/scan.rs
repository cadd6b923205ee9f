//! The walk through a file tree for what tells of packages.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat2, statat};

use super::{Package, apk, cargo, dpkg, elf, npm, python, rpm};
use crate::worker::select;

/// Folders in folders; each level holds one descriptor open.
const DEEPEST: usize = 128;
/// The largest database that is read, and the largest note of one package, in bytes.
const LARGEST_DATABASE: u64 = 256 << 20;
const LARGEST_NOTE: u64 = 8 << 20;
/// The most packages of one tree.
const MOST: usize = 1_000_000;
/// Where rpm keeps its database.
const RPM: [&str; 3] = ["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"];
/// Any of the bits that let a file be run.
const MAY_RUN: Mode = Mode::XUSR.union(Mode::XGRP).union(Mode::XOTH);

/// What a tree holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// The packages, sorted and each once.
    pub(crate) packages: Vec<Package>,
    /// The `ID` of the distribution, such as `alpine`.
    pub(crate) distribution: Option<String>,
    /// The `VERSION_ID` of the distribution.
    pub(crate) release: Option<String>,
}

type Reader = fn(&[u8]) -> Vec<Package>;

/// Looks through the tree below an open folder; no link is followed.
///
/// # Errors
/// What cannot be read.
pub(crate) fn scan(root: BorrowedFd<'_>) -> io::Result<Scanned> {
    let mut scanned = Scanned::default();
    (scanned.distribution, scanned.release) = distribution(root);
    let folder = open(root, OsStr::new("."), OFlags::RDONLY | OFlags::DIRECTORY)?;
    visit(folder.as_fd(), Path::new(""), DEEPEST, &mut scanned.packages)?;
    scanned.packages.sort_unstable();
    scanned.packages.dedup();
    Ok(scanned)
}

fn visit(
    folder: BorrowedFd<'_>,
    path: &Path,
    depth: usize,
    packages: &mut Vec<Package>,
) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." || packages.len() >= MOST {
            continue;
        }
        let place = path.join(name);
        let kind = match entry.file_type() {
            FileType::Unknown => FileType::from_raw_mode(stat(folder, name)?.st_mode),
            known => known,
        };
        match kind {
            FileType::Directory if depth > 0 => {
                let inner = open(folder, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
                visit(inner.as_fd(), &place, depth - 1, packages)?;
            }
            FileType::RegularFile => {
                let found = read(folder, name, &place)?;
                let found_in = format!("/{}", place.to_string_lossy());
                packages.extend(
                    found.into_iter().map(|one| Package { found_in: found_in.clone(), ..one }),
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// The packages of which one file tells.
fn read(folder: BorrowedFd<'_>, name: &OsStr, path: &Path) -> io::Result<Vec<Package>> {
    if let Some((reader, limit)) = reader(path) {
        let mut bytes = Vec::new();
        let file = File::from(open(folder, name, OFlags::RDONLY)?);
        file.take(limit).read_to_end(&mut bytes)?;
        return Ok(reader(&bytes));
    }
    if !Mode::from_raw_mode(stat(folder, name)?.st_mode).intersects(MAY_RUN) {
        return Ok(Vec::new());
    }
    let program = File::from(open(folder, name, OFlags::RDONLY | OFlags::NONBLOCK)?);
    let list = elf::section(&program, cargo::SECTION)?;
    Ok(list.map(|list| cargo::audit(&list)).unwrap_or_default())
}

/// What reads a file, by its path, and how much of it at most.
fn reader(path: &Path) -> Option<(Reader, u64)> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?.to_str()?;
    let last = folder.rsplit('/').next().unwrap_or_default();
    let reader: Reader = match (folder, name) {
        ("lib/apk/db" | "usr/lib/apk/db", "installed") => apk::read,
        ("var/lib/dpkg", "status") => dpkg::read,
        ("var/lib/dpkg/status.d", name) if !name.ends_with(".md5sums") => dpkg::read,
        (folder, "rpmdb.sqlite") if RPM.contains(&folder) => rpm::database,
        (folder, "Packages.db") if RPM.contains(&folder) => rpm::slots,
        (folder, "Packages") if RPM.contains(&folder) => rpm::table,
        (_, "METADATA") if last.ends_with(".dist-info") => python::read,
        (_, "PKG-INFO") if last.ends_with(".egg-info") => python::read,
        (_, "package.json") if is_module(folder) => npm::read,
        (_, "Cargo.lock") => cargo::lock,
        _ => return None,
    };
    let is_database =
        ["installed", "status", "rpmdb.sqlite", "Packages.db", "Packages"].contains(&name);
    Some((reader, if is_database { LARGEST_DATABASE } else { LARGEST_NOTE }))
}

/// Whether a folder is that of a module: `…/node_modules/NAME` or `…/node_modules/@SCOPE/NAME`.
fn is_module(folder: &str) -> bool {
    let mut above = folder.rsplit('/').skip(1);
    match above.next() {
        Some("node_modules") => true,
        Some(scope) => scope.starts_with('@') && above.next() == Some("node_modules"),
        None => false,
    }
}

/// The distribution of a tree and its version, as `os-release` has them.
fn distribution(root: BorrowedFd<'_>) -> (Option<String>, Option<String>) {
    let open = |path| select::open_file(root, &PathBuf::from(path)).ok();
    let mut text = String::new();
    let file = open("etc/os-release").or_else(|| open("usr/lib/os-release"));
    let read = file.map(|file| file.take(1 << 16).read_to_string(&mut text));
    if !matches!(read, Some(Ok(_))) {
        return (None, None);
    }
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.and_then(|value| super::text(value.trim_matches(['"', '\''])))
    };
    (value("ID"), value("VERSION_ID"))
}

fn stat(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<Stat> {
    Ok(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn open(folder: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(openat2(folder, name, flags, Mode::empty(), resolve)?)
}
