//! Tar archives, told by what they hold and not by their names: plain, gzip, bzip2, xz or zstd.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// The length of the head of a file by which an archive is told: one tar header.
const HEAD: usize = 512;
/// How much of a compressed archive is read at once, in bytes.
const BUFFER: usize = 256 << 10;

/// How much memory an xz archive may ask for, in KiB; `xz -9` asks for 65 MiB.
const XZ_MEMORY: u32 = 256 << 10;

/// The compressions that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

/// Opens an archive as a plain tar; `None` for what is none.
///
/// # Errors
/// What cannot be read.
pub(crate) fn open<R>(mut source: R) -> io::Result<Option<Box<dyn Read + Send>>>
where
    R: Read + Seek + Send + 'static,
{
    match compression(&mut source)? {
        Some(found) => plain(source, found).map(Some),
        None => Ok(None),
    }
}

/// Opens an archive that cannot be gone back in as what is taken for a plain tar.
///
/// # Errors
/// What cannot be read.
pub(crate) fn stream<'a>(
    mut source: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut head = Vec::with_capacity(HEAD);
    source.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    let found = by_magic(&head).unwrap_or(Compression::None);
    decoded(io::Cursor::new(head).chain(source), found)
}

/// Whether a file is an archive.
///
/// # Errors
/// What cannot be read.
pub(crate) fn is_archive(mut source: impl Read + Seek + Send) -> io::Result<bool> {
    Ok(compression(&mut source)?.is_some())
}

fn compression(source: &mut (impl Read + Seek + Send)) -> io::Result<Option<Compression>> {
    let head = head(source)?;
    let Some(found) = by_magic(&head) else {
        return Ok(is_tar(&head).then_some(Compression::None));
    };
    // A compressed file is an archive only if what is in it is one.
    let mut inner = Vec::new();
    let reader = plain(source, found)?;
    let is_archive = reader.take(HEAD as u64).read_to_end(&mut inner).is_ok() && is_tar(&inner);
    Ok(is_archive.then_some(found))
}

/// The compression of which the first bytes are a sign.
fn by_magic(head: &[u8]) -> Option<Compression> {
    Some(match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [b'B', b'Z', b'h', ..] => Compression::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => return None,
    })
}

fn head(source: &mut (impl Read + Seek)) -> io::Result<Vec<u8>> {
    source.seek(SeekFrom::Start(0))?;
    let mut head = Vec::with_capacity(HEAD);
    source.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
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

fn plain<'a, R>(mut source: R, compression: Compression) -> io::Result<Box<dyn Read + Send + 'a>>
where
    R: Read + Seek + Send + 'a,
{
    source.seek(SeekFrom::Start(0))?;
    decoded(source, compression)
}

fn decoded<'a, R>(source: R, compression: Compression) -> io::Result<Box<dyn Read + Send + 'a>>
where
    R: Read + Send + 'a,
{
    let reader = BufReader::with_capacity(BUFFER, source);
    Ok(match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(reader, true, XZ_MEMORY)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_asks_for_much_memory_is_not_read() {
        // A stream header, and a block whose dictionary has 4 GiB.
        let mut xz = b"\xfd7zXZ\0\0\x00\xff\x12\xd9\x41\x02\x00\x21\x01\x28\0\0\0".to_vec();
        let checksum = crc32(&xz[12..]);
        xz.extend(checksum.to_le_bytes());
        xz.extend([0x80; 64]);
        let mut bytes = Vec::new();
        let error = plain(io::Cursor::new(xz), Compression::Xz).unwrap().read_to_end(&mut bytes);
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |mut sum, byte| {
            sum ^= u32::from(*byte);
            (0..8).fold(sum, |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
        })
    }

    #[test]
    fn an_archive_is_told_by_its_content() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_cksum();
        builder.append_data(&mut header, "a", io::empty()).unwrap();
        let tar = builder.into_inner().unwrap();
        let check = |bytes: &[u8]| compression(&mut io::Cursor::new(bytes)).unwrap();
        assert_eq!(check(&tar), Some(Compression::None));
        let compressed = zstd::encode_all(&tar[..], 1).unwrap();
        assert_eq!(check(&compressed), Some(Compression::Zstd));
        assert_eq!(check(&zstd::encode_all(&b"text"[..], 1).unwrap()), None);
        assert_eq!(check(b"text"), None);
        assert_eq!(check(b""), None);
        assert_eq!(check(&[0; 600]), None);
        let mut plain = Vec::new();
        open(io::Cursor::new(compressed)).unwrap().unwrap().read_to_end(&mut plain).unwrap();
        assert!(plain == tar);
        assert!(open(io::Cursor::new(b"text")).unwrap().is_none());
        // Of what comes through a pipe no more is known than how it begins.
        let streamed = |bytes: &[u8]| {
            let mut plain = Vec::new();
            stream(bytes).unwrap().read_to_end(&mut plain).unwrap();
            plain
        };
        assert!(streamed(&tar) == tar && streamed(&zstd::encode_all(&tar[..], 1).unwrap()) == tar);
        assert_eq!(streamed(b"text"), b"text");
    }
}
