//! A file or folder as a tar, as `cp` and `export` write it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rbuild_runtime::copy::reopen;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, StatxFlags, fstat, major, minor, openat,
    readlinkat, statx,
};
use tar::{Builder, EntryType, Header};

/// Folders in folders; each level holds a descriptor open.
const DEEPEST: usize = 200;

/// How far an archive reaches.
#[derive(Debug, Clone, Copy)]
struct Limit {
    /// How many folders may still be in one another.
    depth: usize,
    /// The only mount whose files are read, where there is one; the places of others stay empty.
    mount: Option<u64>,
}

/// The number of the mount that an open file is on, where the kernel tells.
fn mount(node: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let told = statx(node, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok((told.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(told.stx_mnt_id))
}

/// Writes an open file, folder or link by a name, and what it holds in the order of names.
pub(crate) fn write(node: BorrowedFd<'_>, name: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut tar = Builder::new(out);
    append(&mut tar, node, Path::new(name), Limit { depth: DEEPEST, mount: None })?;
    tar.into_inner()?.flush()
}

/// Writes what an open folder holds, in the order of names.
pub(crate) fn write_inside(folder: BorrowedFd<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut tar = Builder::new(out);
    append_inside(
        &mut tar,
        folder,
        Path::new(""),
        Limit { depth: DEEPEST, mount: mount(folder)? },
    )?;
    tar.into_inner()?.flush()
}

fn append(
    tar: &mut Builder<&mut dyn Write>,
    node: BorrowedFd<'_>,
    path: &Path,
    limit: Limit,
) -> io::Result<()> {
    let stat = fstat(node)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let Some(mut header) = header(&stat, kind)? else {
        return Ok(());
    };
    if limit.mount.is_some() && mount(node)? != limit.mount {
        header.set_size(0);
        let path = if kind == FileType::Directory { path.join("") } else { path.to_owned() };
        return tar.append_data(&mut header, path, io::empty());
    }
    match kind {
        FileType::RegularFile => {
            // A file that grows or shrinks meanwhile must not shift what comes after it.
            let size = u64::try_from(stat.st_size).unwrap_or_default();
            let file = File::from(reopen(node, OFlags::RDONLY)?);
            let whole = io::Read::take(io::Read::chain(file, io::repeat(0)), size);
            tar.append_data(&mut header, path, whole)
        }
        FileType::Symlink => {
            let link = PathBuf::from(std::ffi::OsString::from_vec(
                readlinkat(node, c"", Vec::new())?.into_bytes(),
            ));
            tar.append_link(&mut header, path, link)
        }
        FileType::Directory => {
            tar.append_data(&mut header, path.join(""), io::empty())?;
            append_inside(tar, node, path, limit)
        }
        _ => tar.append_data(&mut header, path, io::empty()),
    }
}

fn append_inside(
    tar: &mut Builder<&mut dyn Write>,
    node: BorrowedFd<'_>,
    path: &Path,
    limit: Limit,
) -> io::Result<()> {
    if limit.depth == 0 {
        return Err(io::Error::other("the folders are nested too deeply"));
    }
    let folder = reopen(node, OFlags::RDONLY | OFlags::DIRECTORY)?;
    for name in names(folder.as_fd())? {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner: OwnedFd = match openat(&folder, &name, flags, Mode::empty()) {
            // A container that runs may remove files meanwhile.
            Err(rustix::io::Errno::NOENT) => continue,
            opened => opened?,
        };
        let limit = Limit { depth: limit.depth - 1, ..limit };
        append(tar, inner.as_fd(), &path.join(&name), limit)?;
    }
    Ok(())
}

fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(PathBuf::from(std::ffi::OsString::from_vec(name)));
        }
    }
    names.sort();
    Ok(names)
}

/// The header of an entry; a socket has none.
fn header(stat: &Stat, kind: FileType) -> io::Result<Option<Header>> {
    let mut header = Header::new_gnu();
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or_default());
    header.set_size(0);
    let entry = match kind {
        FileType::RegularFile => {
            header.set_size(u64::try_from(stat.st_size).unwrap_or_default());
            EntryType::Regular
        }
        FileType::Directory => EntryType::Directory,
        FileType::Symlink => EntryType::Symlink,
        FileType::Fifo => EntryType::Fifo,
        FileType::CharacterDevice => EntryType::Char,
        FileType::BlockDevice => EntryType::Block,
        _ => return Ok(None),
    };
    header.set_entry_type(entry);
    if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
        header.set_device_major(major(stat.st_rdev))?;
        header.set_device_minor(minor(stat.st_rdev))?;
    }
    Ok(Some(header))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_folder_becomes_entries_below_its_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b/file"), "text").unwrap();
        symlink("b/file", folder.path().join("a")).unwrap();
        let root: OwnedFd = File::open(folder.path()).unwrap().into();
        let mut bytes = Vec::new();
        write(root.as_fd(), "top", &mut bytes).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let entries: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let link = entry.link_name().unwrap().map(std::borrow::Cow::into_owned);
                format!("{} {} {link:?}", entry.path().unwrap().display(), entry.size())
            })
            .collect();
        assert_eq!(
            entries,
            ["top/ 0 None", "top/a 0 Some(\"b/file\")", "top/b/ 0 None", "top/b/file 4 None"]
        );
    }
}
