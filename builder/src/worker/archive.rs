//! ADD of a local archive: told by its content, unpacked into the destination.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rbuild_cache::tree::Node;
use rbuild_solver::op::{Copy, CopyItem};
use rustix::fs::{Mode, OFlags};

use super::copy::Target;
use crate::error::StepError;

/// The length of the head of a file by which an archive is told: one tar header.
const HEAD: usize = 512;

/// The compressions that ADD unpacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

/// Whether a source of an instruction is an archive that it unpacks.
pub(super) fn wanted(
    copy: &Copy,
    item: &CopyItem,
    root: &OwnedFd,
    nodes: &[Node],
) -> Result<bool, StepError> {
    let local = matches!(item, CopyItem::Path { .. });
    if !copy.add || !copy.unpack.unwrap_or(local) {
        return Ok(false);
    }
    let Some(node) = nodes.first().filter(|node| node.is_file()) else {
        return Ok(false);
    };
    let file = open(root, &node.path).map_err(StepError::file("open the source of ADD"))?;
    Ok(compression(&file).map_err(StepError::file("read the source of ADD"))?.is_some())
}

/// Unpacks an archive into the destination of the instruction.
pub(super) fn unpack(root: &OwnedFd, path: &Path, target: &Target<'_>) -> Result<(), StepError> {
    let doing = || format!("unpack `{}`", path.display());
    let file = open(root, path).map_err(StepError::file(doing()))?;
    let found = compression(&file).map_err(StepError::file(doing()))?;
    let tar = plain(file, found.unwrap_or(Compression::None)).map_err(StepError::file(doing()))?;
    let folder = target.folder()?;
    let (uid, gid) = target.owner.unwrap_or((0, 0));
    let real = super::files::make_folders(target.root, &folder, uid, gid)
        .map_err(StepError::file(doing()))?;
    let real = if real.as_os_str().is_empty() { Path::new(".") } else { &real };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let destination = rustix::fs::openat(target.root, real, flags, Mode::empty())
        .map_err(StepError::file(doing()))?;
    rbuild_cache::unpack_into(destination.as_fd(), tar, target.owner)
        .map_err(StepError::store(doing()))
}

fn open(root: &OwnedFd, path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(root, path, flags, Mode::empty())?.into())
}

/// The compression of an archive; `None` for what is no archive.
fn compression(file: &File) -> io::Result<Option<Compression>> {
    let mut head = [0; HEAD];
    let length = file.read_at(&mut head, 0)?;
    let found = match &head[..length] {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [b'B', b'Z', b'h', ..] => Compression::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        head if is_tar(head) => return Ok(Some(Compression::None)),
        _ => return Ok(None),
    };
    // A compressed file is an archive only if what is in it is one.
    let mut inner = Vec::new();
    let reader = plain(file.try_clone()?, found)?;
    let is_archive = reader.take(HEAD as u64).read_to_end(&mut inner).is_ok() && is_tar(&inner);
    Ok(is_archive.then_some(found))
}

/// Whether a head is that of a tar: its checksum is right.
fn is_tar(head: &[u8]) -> bool {
    let Ok(head) = <&[u8; HEAD]>::try_from(head) else {
        return false;
    };
    let sum = |byte: (usize, &u8)| match byte.0 {
        148..156 => u32::from(b' '),
        _ => u32::from(*byte.1),
    };
    let expected: u32 = head.iter().enumerate().map(sum).sum();
    let text = std::str::from_utf8(&head[148..156]).unwrap_or_default();
    let text = text.trim_matches(['\0', ' ']);
    u32::from_str_radix(text, 8) == Ok(expected)
}

fn plain(file: File, compression: Compression) -> io::Result<Box<dyn Read + Send>> {
    use std::io::Seek;
    let mut file = file;
    file.rewind()?;
    let reader = BufReader::with_capacity(256 << 10, file);
    Ok(match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new(reader, true)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_told_by_its_content() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_cksum();
        builder.append_data(&mut header, "a", io::empty()).unwrap();
        let tar = builder.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8]| {
            let path = folder.path().join("file");
            std::fs::write(&path, bytes).unwrap();
            compression(&File::open(path).unwrap()).unwrap()
        };
        assert_eq!(check(&tar), Some(Compression::None));
        assert_eq!(check(&zstd::encode_all(&tar[..], 1).unwrap()), Some(Compression::Zstd));
        assert_eq!(check(&zstd::encode_all(&b"text"[..], 1).unwrap()), None);
        assert_eq!(check(b"text"), None);
        assert_eq!(check(b""), None);
        assert_eq!(check(&[0; 600]), None);
    }
}
