//! The entries of a tar, read strictly: every size is bounded, and what two readers could take for
//! two different things is refused.
//!
//! Understood are the old, ustar and GNU formats with their long names, and PAX with its paths,
//! sizes, owners, times and extended attributes. Sparse files are refused with a clear error.

use std::io::BufRead;

use tar::Header;

use super::pax::Records;
use crate::error::{Error, Result};

const BLOCK: usize = 512;
/// The largest long name or set of PAX records that is read, in bytes.
const LARGEST_EXTENSION: u64 = 1 << 20;
/// The first size that the octal digits of a header cannot hold.
const FIRST_LARGE_SIZE: u64 = 1 << 33;

/// Seconds since 1970, and nanoseconds.
pub(super) type Time = (i64, u32);

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Symlink,
    HardLink,
    Character,
    Block,
    Fifo,
}

/// One entry of a tar, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// The path as the tar has it, never with a zero byte.
    pub(super) path: Vec<u8>,
    /// What a link points at.
    pub(super) link: Vec<u8>,
    /// The permissions, setuid and its like included.
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) modified: Time,
    /// The major and the minor number of a device.
    pub(super) device: (u32, u32),
    /// The size of the content in bytes.
    pub(super) size: u64,
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads a tar from its beginning to its end.
#[derive(Debug)]
pub(super) struct Archive<R> {
    input: R,
    /// The content of the entry that has not been read yet, in bytes.
    content: u64,
    /// What fills its last block, in bytes.
    padding: u64,
}

/// What extension entries say about the entry that follows them.
#[derive(Debug, Default)]
struct Extensions {
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    records: Option<Records>,
}

/// Refuses the tar for a reason.
pub(super) fn invalid<T>(reason: impl Into<String>) -> Result<T> {
    Err(Error::Tar(reason.into()))
}

impl<R: BufRead> Archive<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, content: 0, padding: 0 }
    }

    /// The next entry, or `None` at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_content()?;
            let Some(header) = self.header()? else {
                if extensions.is_empty() {
                    return Ok(None);
                }
                return invalid("it ends where an entry was announced");
            };
            let size = number(&header.as_old().size)
                .and_then(|size| u64::try_from(size).ok())
                .map_or_else(|| invalid("an entry has no valid size"), Ok)?;
            match header.as_bytes()[156] {
                b'L' => set(&mut extensions.long_path, until_zero(&self.extension(size)?))?,
                b'K' => set(&mut extensions.long_link, until_zero(&self.extension(size)?))?,
                b'x' => set(&mut extensions.records, Records::parse(&self.extension(size)?)?)?,
                // Global records are for the archive as a whole; other readers skip them too.
                b'g' => drop(self.extension(size)?),
                flag => {
                    let entry = extensions.apply(&header, flag, size)?;
                    self.expect_content(entry.size)?;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Hands on the rest of the entry's content, one piece after the other.
    pub(super) fn read_content(&mut self, mut out: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while self.content > 0 {
            let piece = self.input.fill_buf().map_err(Error::ReadTar)?;
            if piece.is_empty() {
                return invalid("it ends in the middle of an entry");
            }
            let length = piece.len().min(usize::try_from(self.content).unwrap_or(usize::MAX));
            out(&piece[..length])?;
            self.input.consume(length);
            self.content -= length as u64;
        }
        Ok(())
    }

    /// Reads to the end of the stream: there may be more of it after the end of the archive.
    pub(super) fn drain(&mut self) -> Result<()> {
        loop {
            let length = self.input.fill_buf().map_err(Error::ReadTar)?.len();
            if length == 0 {
                return Ok(());
            }
            self.input.consume(length);
        }
    }

    fn expect_content(&mut self, size: u64) -> Result<()> {
        let block = BLOCK as u64;
        if size > u64::MAX / 2 {
            return invalid("an entry is larger than any file");
        }
        self.content = size;
        self.padding = (block - size % block) % block;
        Ok(())
    }

    fn skip_content(&mut self) -> Result<()> {
        self.content += std::mem::take(&mut self.padding);
        self.read_content(|_| Ok(()))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > LARGEST_EXTENSION {
            return invalid("a long name or a set of PAX records has more than a mebibyte");
        }
        self.expect_content(size)?;
        let mut bytes = Vec::new();
        self.read_content(|piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// The next header, or `None` at the two zero blocks or the end of the stream.
    fn header(&mut self) -> Result<Option<Header>> {
        let Some(header) = self.block()? else {
            return Ok(None);
        };
        if header.as_bytes().iter().all(|&byte| byte == 0) {
            return match self.block()? {
                Some(next) if next.as_bytes().iter().any(|&byte| byte != 0) => {
                    invalid("entries follow a lone block of zeros")
                }
                _ => Ok(None),
            };
        }
        let sum = |value: fn(u8) -> i64| -> i64 {
            let bytes = header.as_bytes();
            let rest = bytes[..148].iter().chain(&bytes[156..]);
            rest.map(|&byte| value(byte)).sum::<i64>() + 8 * i64::from(b' ')
        };
        let expected = number(&header.as_old().cksum);
        // Old programs added the bytes up as signed numbers.
        let sums = [sum(i64::from), sum(|byte| i64::from(byte.cast_signed()))];
        if expected.is_some_and(|expected| sums.contains(&expected)) {
            return Ok(Some(header));
        }
        invalid("the checksum of a header is wrong")
    }

    fn block(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < BLOCK {
            let piece = self.input.fill_buf().map_err(Error::ReadTar)?;
            if piece.is_empty() {
                break;
            }
            let length = piece.len().min(BLOCK - filled);
            block[filled..filled + length].copy_from_slice(&piece[..length]);
            self.input.consume(length);
            filled += length;
        }
        match filled {
            0 => Ok(None),
            BLOCK => Ok(Some(header)),
            _ => invalid("it ends in the middle of a header"),
        }
    }
}

/// Fills what an extension says, which may be said only once.
fn set<T>(place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => invalid("two extensions of one kind announce the same entry"),
    }
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.long_path.is_none() && self.long_link.is_none() && self.records.is_none()
    }

    /// Puts together the entry of `header` and what was said about it before.
    fn apply(self, header: &Header, flag: u8, size: u64) -> Result<Entry> {
        let records = self.records.unwrap_or_default();
        if (self.long_path.is_some() && records.path.is_some())
            || (self.long_link.is_some() && records.link.is_some())
        {
            return invalid("a GNU long name and a PAX record name the same entry");
        }
        let path = self.long_path.or(records.path);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let old = header.as_old();
        let link = self.long_link.or(records.link).unwrap_or_else(|| until_zero(&old.linkname));
        let kind = kind(flag, &path)?;
        let size = agreed(size, records.size)?;
        if kind != Kind::File && size > 0 {
            // Some readers skip as many bytes, and some take them for the next header.
            return invalid("an entry that is no file has a size");
        }
        let device = match kind {
            Kind::Character | Kind::Block => device(header)?,
            _ => (0, 0),
        };
        let owner = |record: Option<u32>, field: &[u8]| -> Result<u32> {
            match record.or_else(|| u32::try_from(number(field)?).ok()) {
                Some(id) => Ok(id),
                None => invalid("an entry has no valid owner"),
            }
        };
        let (Some(mode), Some(modified)) = (number(&old.mode), number(&old.mtime)) else {
            return invalid("an entry has no valid mode or time");
        };
        Ok(Entry {
            kind,
            path,
            link,
            mode: u32::try_from(mode & 0o7777).unwrap_or(0),
            user: owner(records.user, &old.uid)?,
            group: owner(records.group, &old.gid)?,
            modified: records.modified.unwrap_or((modified, 0)),
            device,
            size,
            attributes: records.attributes,
        })
    }
}

fn kind(flag: u8, path: &[u8]) -> Result<Kind> {
    Ok(match flag {
        // Before there was a kind for them, folders were files with a slash at the end.
        0 | b'0' if path.ends_with(b"/") => Kind::Folder,
        0 | b'0' | b'7' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Character,
        b'4' => Kind::Block,
        b'5' => Kind::Folder,
        b'6' => Kind::Fifo,
        b'S' => return invalid("it has a sparse file, which is not supported"),
        other => return invalid(format!("it has an entry of the unknown kind 0x{other:02x}")),
    })
}

/// The size of an entry of which the header and perhaps a PAX record tell the size.
fn agreed(header: u64, record: Option<u64>) -> Result<u64> {
    match record {
        None => Ok(header),
        Some(size) if size == header || header == 0 || size >= FIRST_LARGE_SIZE => Ok(size),
        Some(_) => invalid("a header and its PAX record disagree about a size"),
    }
}

fn device(header: &Header) -> Result<(u32, u32)> {
    let bytes = header.as_bytes();
    let part = |field: &[u8]| number(field).and_then(|part| u32::try_from(part).ok());
    match (part(&bytes[329..337]), part(&bytes[337..345])) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        _ => invalid("a device has no valid number"),
    }
}

fn until_zero(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
}

/// A number of a header: octal digits, or the binary form that GNU tar uses for large ones.
fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let start = if negative { -1 } else { i64::from(first & 0x3f) };
        return field[1..]
            .iter()
            .try_fold(start, |value, &byte| value.checked_mul(256)?.checked_add(i64::from(byte)));
    }
    let text = str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    let text = text.split(['\0', ' ']).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0);
    }
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| i64::from_str_radix(text, 8).ok())?
}
