//! Reading one table of an `SQLite` database, as far as rpm's needs it: rows whose last column is a
//! blob. What is still in a write-ahead log is not seen.

use std::cell::Cell;

/// How many pages lead to a row at most.
const DEEPEST: usize = 16;

/// A database in memory.
struct Database<'a> {
    bytes: &'a [u8],
    /// How many bytes of rows may still be read, their own weight in memory counted as well: no byte
    /// of a sound database is in two rows.
    left: Cell<usize>,
    page: usize,
    /// The bytes of a page that are used.
    usable: usize,
}

/// The last columns of all rows of a table; nothing for what is no database or has no such table.
pub(super) fn blobs(bytes: &[u8], table: &str) -> Vec<Vec<u8>> {
    let database = Database::open(bytes);
    database.and_then(|database| database.table(table)).unwrap_or_default()
}

impl<'a> Database<'a> {
    fn open(bytes: &'a [u8]) -> Option<Self> {
        let is_database = bytes.len() >= 512 && bytes.starts_with(b"SQLite format 3\0");
        let page = match u16::from_be_bytes([*bytes.get(16)?, *bytes.get(17)?]) {
            1 => 1 << 16,
            size => usize::from(size),
        };
        let usable = page.checked_sub(usize::from(*bytes.get(20)?))?;
        (is_database && page.is_power_of_two() && usable >= 480).then_some(Self {
            bytes,
            left: Cell::new(bytes.len() / 4 * 5),
            page,
            usable,
        })
    }

    fn table(&self, name: &str) -> Option<Vec<Vec<u8>>> {
        // The schema: type, name, tbl_name, rootpage, sql.
        let root = self.rows(1).iter().find_map(|row| {
            let columns = columns(row)?;
            let [kind, own, _, root, ..] = &columns[..] else { return None };
            let is_it = *kind == b"table" && *own == name.as_bytes();
            let number = root.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            is_it.then_some(number)
        })?;
        let rows = self.rows(root);
        Some(rows.iter().filter_map(|row| Some(columns(row)?.last()?.to_vec())).collect())
    }

    /// The rows of the tree with this root page.
    fn rows(&self, root: usize) -> Vec<Vec<u8>> {
        let (mut rows, mut pages) = (Vec::new(), vec![(root, 0)]);
        // No page is in two trees: one that is come by twice is a trick.
        let mut left = self.bytes.len() / self.page;
        while let Some((number, depth)) = pages.pop() {
            if left == 0 || depth > DEEPEST {
                break;
            }
            left -= 1;
            let before = pages.len();
            if self.visit(number, depth, &mut pages, &mut rows).is_none() {
                pages.truncate(before);
            }
        }
        rows
    }

    fn page(&self, number: usize) -> Option<&'a [u8]> {
        let from = number.checked_sub(1)?.checked_mul(self.page)?;
        self.bytes.get(from..from.checked_add(self.page)?)
    }

    fn visit(
        &self,
        number: usize,
        depth: usize,
        pages: &mut Vec<(usize, usize)>,
        rows: &mut Vec<Vec<u8>>,
    ) -> Option<()> {
        let page = self.page(number)?;
        // The first page begins with the head of the file.
        let head = if number == 1 { 100 } else { 0 };
        let cells = usize::from(be16(page, head + 3)?);
        let (first, is_leaf) = match page.get(head)? {
            0x0d => (head + 8, true),
            0x05 => (head + 12, false),
            _ => return None,
        };
        for cell in 0..cells {
            let at = usize::from(be16(page, first + 2 * cell)?);
            if is_leaf {
                rows.extend(self.payload(page, at));
            } else {
                pages.push((be32(page, at)?, depth + 1));
            }
        }
        if !is_leaf {
            pages.push((be32(page, head + 8)?, depth + 1));
        }
        Some(())
    }

    /// The bytes of a row, those on other pages too.
    fn payload(&self, page: &[u8], at: usize) -> Option<Vec<u8>> {
        let mut rest = page.get(at..)?;
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        varint(&mut rest)?;
        self.left.set(self.left.get().checked_sub(length.checked_add(size_of::<Vec<u8>>())?)?);
        let most = self.usable - 35;
        if length <= most {
            return Some(rest.get(..length)?.to_vec());
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let fitting = least + (length - least) % (self.usable - 4);
        let local = if fitting <= most { fitting } else { least };
        let mut bytes = rest.get(..local)?.to_vec();
        let mut next = be32(rest, local)?;
        while bytes.len() < length {
            let page = self.page(next)?;
            let count = (length - bytes.len()).min(self.usable - 4);
            bytes.extend(page.get(4..4 + count)?);
            next = be32(page, 0)?;
        }
        Some(bytes)
    }
}

/// The columns of a row as bytes.
fn columns(row: &[u8]) -> Option<Vec<&[u8]>> {
    let mut head = row;
    let head_length = usize::try_from(varint(&mut head)?).ok()?;
    let varint_length = row.len() - head.len();
    let mut kinds = head.get(..head_length.checked_sub(varint_length)?)?;
    let mut values = row.get(head_length..)?;
    let mut columns = Vec::new();
    while !kinds.is_empty() {
        let length = match varint(&mut kinds)? {
            kind @ 0..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            8 | 9 => 0,
            kind => usize::try_from(kind.checked_sub(12)? / 2).ok()?,
        };
        let (value, rest) = values.split_at_checked(length)?;
        columns.push(value);
        values = rest;
    }
    Some(columns)
}

/// A number of one to nine bytes.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for place in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if place == 8 {
            return Some(number << 8 | u64::from(*byte));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(number)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?)).ok()
}
