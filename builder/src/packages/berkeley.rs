//! Reading the values of a hash table of Berkeley DB, in which rpm kept its headers until Fedora 33.

use std::borrow::Cow;
use std::cell::Cell;

/// What the first page says that the file is, at its place.
const MAGIC: u32 = 0x0006_1561;
const MAGIC_AT: usize = 12;
/// The length of the head of a page; the places of its items follow.
const HEAD: usize = 26;

/// Kinds of pages: tables, and the rest of values that fit into none.
const TABLES: [u8; 2] = [2, 13];
const REST: u8 = 7;
/// Kinds of items: a value, and where a long one begins.
const VALUE: u8 = 1;
const ELSEWHERE: u8 = 3;

/// A table in memory.
struct Table<'a> {
    bytes: &'a [u8],
    page: usize,
    is_little: bool,
    /// How many bytes of values may still be read: no byte of a sound table is in two values.
    left: Cell<usize>,
}

/// What is read of the values of a table, at most so many; nothing for what is no table. Only one
/// value is in memory at a time.
pub(super) fn read<T>(bytes: &[u8], most: usize, read: impl Fn(&[u8]) -> Option<T>) -> Vec<T> {
    let Some(table) = &Table::open(bytes) else { return Vec::new() };
    let pages = bytes.chunks_exact(table.page).filter(|page| TABLES.contains(&page[25]));
    let values = pages.flat_map(|page| {
        let items = table.number16(page, 20).unwrap_or(0);
        // A key, and its value.
        (1..items).step_by(2).filter_map(move |item| table.value(page, item))
    });
    values.filter_map(|value| read(&value)).take(most).collect()
}

impl<'a> Table<'a> {
    fn open(bytes: &'a [u8]) -> Option<Self> {
        let magic = bytes.get(MAGIC_AT..MAGIC_AT + 4)?;
        let is_little = magic == MAGIC.to_le_bytes();
        if !is_little && magic != MAGIC.to_be_bytes() {
            return None;
        }
        let table = Self { bytes, page: 512, is_little, left: Cell::new(bytes.len()) };
        let page = table.number32(bytes, 20)?;
        let is_size = page.is_power_of_two() && (512..=1 << 16).contains(&page);
        is_size.then_some(Self { page, ..table })
    }

    fn number16(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let number = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(usize::from(if self.is_little {
            u16::from_le_bytes(number)
        } else {
            u16::from_be_bytes(number)
        }))
    }

    fn number32(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let number = bytes.get(at..at + 4)?.try_into().ok()?;
        let number =
            if self.is_little { u32::from_le_bytes(number) } else { u32::from_be_bytes(number) };
        usize::try_from(number).ok()
    }

    /// An item of a page, if it is a value. Items lie one before the other, the first at the end.
    fn value<'p>(&self, page: &'p [u8], item: usize) -> Option<Cow<'p, [u8]>> {
        let at = self.number16(page, HEAD + 2 * item)?;
        let end = self.number16(page, HEAD + 2 * (item - 1))?;
        let item = page.get(at..end)?;
        match *item.first()? {
            VALUE => {
                self.take(item.len())?;
                Some(Cow::Borrowed(&item[1..]))
            }
            ELSEWHERE => {
                self.rest(self.number32(item, 4)?, self.number32(item, 8)?).map(Cow::Owned)
            }
            _ => None,
        }
    }

    /// A value on pages of its own.
    fn rest(&self, mut number: usize, length: usize) -> Option<Vec<u8>> {
        self.take(length)?;
        let mut value = Vec::new();
        while value.len() < length {
            let from = number.checked_mul(self.page)?;
            let page = self.bytes.get(from..from.checked_add(self.page)?)?;
            let count = self.number16(page, 22)?;
            if page[25] != REST || count == 0 {
                return None;
            }
            value.extend(page.get(HEAD..HEAD + count)?);
            number = self.number32(page, 16)?;
        }
        value.truncate(length);
        Some(value)
    }

    fn take(&self, length: usize) -> Option<()> {
        self.left.set(self.left.get().checked_sub(length)?);
        Some(())
    }
}
