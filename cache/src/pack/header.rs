//! One entry's header in a tar: ustar, and a pax header before it where that does not fit.

use std::os::unix::ffi::OsStrExt;

use super::is_packed;
use crate::tree::{Node, Time, Xattr};

const BLOCK: usize = 512;
/// The bytes for a path, and for its beginning where it is longer.
const NAME: usize = 100;
const PREFIX: usize = 155;
/// The largest numbers of seven and eleven octal digits.
const SEVEN: u64 = 0o777_7777;
const ELEVEN: u64 = 0o777_7777_7777;

/// What kind of entry a header announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    File = b'0' as isize,
    Link = b'1' as isize,
    Symlink = b'2' as isize,
    CharDevice = b'3' as isize,
    BlockDevice = b'4' as isize,
    Directory = b'5' as isize,
    Fifo = b'6' as isize,
}

/// All that a header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) kind: Type,
    pub(super) path: &'a [u8],
    /// The target of a link.
    pub(super) link: &'a [u8],
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) mtime: Time,
    pub(super) device: (u32, u32),
    pub(super) xattrs: &'a [Xattr],
}

impl<'a> Entry<'a> {
    /// The entry of a node, without attributes and without a link's target.
    pub(super) fn new(node: &'a Node, kind: Type) -> Self {
        Self {
            kind,
            path: node.path.as_os_str().as_bytes(),
            link: b"",
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            size: node.size,
            mtime: node.mtime,
            device: node.device(),
            xattrs: &[],
        }
    }

    /// The blocks of the header, or why a tar cannot say this.
    pub(super) fn render(&self) -> Result<Vec<u8>, &'static str> {
        let mut block = [0; BLOCK];
        let mut pax = Vec::new();
        self.names(&mut block, &mut pax);
        self.numbers(&mut block, &mut pax);
        self.attributes(&mut pax)?;
        let mut blocks = Vec::with_capacity(BLOCK);
        if !pax.is_empty() {
            self.pax_header(&pax, &mut blocks);
        }
        seal(&mut block, self.kind as u8);
        blocks.extend_from_slice(&block);
        Ok(blocks)
    }

    fn names(&self, block: &mut [u8; BLOCK], pax: &mut Vec<u8>) {
        if let Some((prefix, name)) = split(self.path) {
            put(block, 0, name);
            put(block, 345, prefix);
        } else {
            record(pax, b"path", self.path);
            put(block, 0, &self.path[..NAME]);
        }
        if self.link.len() > NAME {
            record(pax, b"linkpath", self.link);
        }
        put(block, 157, &self.link[..self.link.len().min(NAME)]);
    }

    fn numbers(&self, block: &mut [u8; BLOCK], pax: &mut Vec<u8>) {
        octal(block, 100, 7, self.mode.into());
        let seconds = self.mtime.seconds;
        let small = u64::try_from(seconds).ok().filter(|&seconds| seconds <= ELEVEN);
        let numbers = [
            (108, 7, Some(self.uid.into()).filter(|&id| id <= SEVEN), "uid", i128::from(self.uid)),
            (116, 7, Some(self.gid.into()).filter(|&id| id <= SEVEN), "gid", self.gid.into()),
            (124, 11, Some(self.size).filter(|&size| size <= ELEVEN), "size", self.size.into()),
            (136, 11, small, "mtime", seconds.into()),
        ];
        for (at, digits, fitting, key, number) in numbers {
            octal(block, at, digits, fitting.unwrap_or(0));
            if fitting.is_none() {
                record(pax, key.as_bytes(), number.to_string().as_bytes());
            }
        }
        octal(block, 329, 7, self.device.0.into());
        octal(block, 337, 7, self.device.1.into());
    }

    fn attributes(&self, pax: &mut Vec<u8>) -> Result<(), &'static str> {
        for xattr in self.xattrs.iter().filter(|xattr| is_packed(xattr.name.as_bytes())) {
            let name = xattr.name.as_bytes();
            if name.contains(&b'=') {
                return Err("an attribute has a name with `=` in it");
            }
            record(pax, &[b"SCHILY.xattr.", name].concat(), &xattr.value);
        }
        Ok(())
    }

    /// The entry that carries the records of `pax` for the next one.
    fn pax_header(&self, pax: &[u8], blocks: &mut Vec<u8>) {
        let mut block = [0; BLOCK];
        let path = self.path.strip_suffix(b"/").unwrap_or(self.path);
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let name = [b"PaxHeaders.0/", &name[..name.len().min(NAME - 13)]].concat();
        put(&mut block, 0, &name);
        octal(&mut block, 100, 7, 0o644);
        for (at, digits) in [(108, 7), (116, 7), (136, 11), (329, 7), (337, 7)] {
            octal(&mut block, at, digits, 0);
        }
        octal(&mut block, 124, 11, pax.len() as u64);
        seal(&mut block, b'x');
        blocks.extend_from_slice(&block);
        blocks.extend_from_slice(pax);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    }
}

/// Splits a path for the two fields of ustar: prefix and name, with a `/` between them.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME {
        return Some((b"", path));
    }
    // The slash at the end of a directory is part of its name.
    let end = path.len().min(PREFIX + 1).min(path.len() - 1);
    let slash = path[..end].iter().rposition(|&byte| byte == b'/')?;
    let name = &path[slash + 1..];
    (slash > 0 && name.len() <= NAME).then_some((&path[..slash], name))
}

/// Writes kind, magic and check sum.
fn seal(block: &mut [u8; BLOCK], kind: u8) {
    block[156] = kind;
    put(block, 257, b"ustar\x0000");
    put(block, 148, b"        ");
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    octal(block, 148, 6, sum);
    block[154] = 0;
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Writes a number that fits as octal digits; the byte after them stays as it is.
fn octal(block: &mut [u8; BLOCK], at: usize, digits: usize, mut number: u64) {
    for place in block[at..at + digits].iter_mut().rev() {
        *place = b'0' + (number % 8) as u8;
        number /= 8;
    }
}

/// Appends a pax record: its own length in decimal, a blank, `key=value`, a line feed.
fn record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    // The length counts its own digits, which may make it one digit longer.
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    pax.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        pax.extend_from_slice(part);
    }
}
