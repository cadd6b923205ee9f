//! Sections of programs, by name, as far as that needs no more than their tables.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The most sections that a program may have.
const MOST_SECTIONS: u64 = 4_096;
/// The largest table of names, and the largest section that is read, in bytes.
const LARGEST: u64 = 8 << 20;

/// Where the numbers of a file are, and how they are written.
#[derive(Debug, Clone, Copy)]
struct Shape {
    is_64: bool,
    is_little: bool,
}

impl Shape {
    /// The shape that the first bytes of a program tell.
    fn of(head: &[u8]) -> Option<Self> {
        let class = |byte| matches!(byte, 1 | 2);
        let is_program = head.starts_with(b"\x7fELF") && class(head[4]) && class(head[5]);
        is_program.then(|| Self { is_64: head[4] == 2, is_little: head[5] == 1 })
    }

    /// The number of so many bytes at a place.
    fn number(self, bytes: &[u8], at: usize, length: usize) -> Option<u64> {
        let bytes = bytes.get(at..at + length)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.is_little {
            bytes.iter().rev().fold(0, add)
        } else {
            bytes.iter().fold(0, add)
        })
    }

    /// The number at the place for its class.
    fn at(self, bytes: &[u8], at_32: usize, at_64: usize) -> Option<u64> {
        if self.is_64 { self.number(bytes, at_64, 8) } else { self.number(bytes, at_32, 4) }
    }
}

/// Reads the section of a name; `None` for what is no program or has no such section.
pub(super) fn section(file: &File, wanted: &str) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; 64];
    let length = file.read_at(&mut head, 0)?;
    match Shape::of(&head) {
        Some(shape) if length >= 52 => find(file, shape, &head, wanted),
        _ => Ok(None),
    }
}

fn find(file: &File, shape: Shape, head: &[u8], wanted: &str) -> io::Result<Option<Vec<u8>>> {
    let table = || {
        let (first, small) = if shape.is_64 { (0x3a, 64) } else { (0x2e, 40) };
        let number = |place: usize| shape.number(head, first + 2 * place, 2);
        let (size, count, names) = (number(0)?, number(1)?, number(2)?);
        let at = shape.at(head, 0x20, 0x28)?;
        let is_sound = size >= small && count <= MOST_SECTIONS && names < count;
        is_sound.then_some((at, size, count, names))
    };
    let Some((at, size, count, names)) = table() else { return Ok(None) };
    let Some(headers) = read(file, at, size * count)? else { return Ok(None) };
    let header = |index: u64| {
        let from = usize::try_from(index * size).ok()?;
        let header = headers.get(from..)?;
        let name = usize::try_from(shape.number(header, 0, 4)?).ok()?;
        Some((name, shape.at(header, 0x10, 0x18)?, shape.at(header, 0x14, 0x20)?))
    };
    let Some((_, at, length)) = header(names) else { return Ok(None) };
    let Some(names) = read(file, at, length)? else { return Ok(None) };
    let is_it = |place: usize| {
        let name = names.get(place..).and_then(|rest| rest.split(|byte| *byte == 0).next());
        name == Some(wanted.as_bytes())
    };
    let found = (0..count).filter_map(header).find(|(name, ..)| is_it(*name));
    match found {
        Some((_, at, length)) => read(file, at, length),
        None => Ok(None),
    }
}

/// A part of a file; `None` for one that is too large or not there.
fn read(file: &File, at: u64, length: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = usize::try_from(length).ok().filter(|_| length <= LARGEST) else {
        return Ok(None);
    };
    let mut bytes = vec![0; length];
    match file.read_exact_at(&mut bytes, at) {
        Ok(()) => Ok(Some(bytes)),
        // An offset may be larger than any file.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
