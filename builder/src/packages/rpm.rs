//! Red Hat's packages: rpm's headers in `rpmdb.sqlite`, in SUSE's `Packages.db`, or in the `Packages` of
//! older systems.

use super::{Kind, LONGEST, MOST, Package, berkeley, sqlite, text};

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const LICENSE: u32 = 1014;
const ARCHITECTURE: u32 = 1022;
const SOURCE: u32 = 1044;

/// The length of an entry of a header's table, in bytes.
const ENTRY: usize = 16;
/// The most entries of a table; packages have about a hundred.
const MOST_ENTRIES: usize = 4_096;

/// Reads `rpmdb.sqlite`.
pub(super) fn database(bytes: &[u8]) -> Vec<Package> {
    let headers = sqlite::blobs(bytes, "Packages");
    headers.iter().filter_map(|header| package(header)).take(MOST).collect()
}

/// Reads `Packages`.
pub(super) fn table(bytes: &[u8]) -> Vec<Package> {
    berkeley::read(bytes, MOST, package)
}

/// Reads `Packages.db`: pages of slots that say where each header is.
pub(super) fn slots(bytes: &[u8]) -> Vec<Package> {
    const PAGE: usize = 4096;
    const BLOCK: usize = 16;
    let number = |at| le32(bytes, at).unwrap_or(0);
    if !bytes.starts_with(b"RpmP") {
        return Vec::new();
    }
    let end = number(12).saturating_mul(PAGE).min(bytes.len());
    // The head of the file takes two slots.
    let places = (2 * ENTRY..end).step_by(ENTRY).take(MOST);
    let header = |at: usize| {
        let slot = bytes.get(at..at + ENTRY).filter(|slot| slot.starts_with(b"Slot"))?;
        let blob = bytes.get(le32(slot, 8)?.checked_mul(BLOCK)?..)?;
        let length = le32(blob, 12).filter(|_| blob.starts_with(b"BlbS"))?;
        blob.get(ENTRY..ENTRY.checked_add(length)?)
    };
    places.filter_map(header).filter_map(package).collect()
}

/// Reads one header: a table of tags, and the values that it points at.
fn package(header: &[u8]) -> Option<Package> {
    let header = Header::open(header)?;
    let name = header.string(NAME)?;
    // The keys that rpm trusts are kept as packages.
    if name == "gpg-pubkey" {
        return None;
    }
    let epoch = header.number(EPOCH).filter(|epoch| *epoch > 0);
    let version = format!(
        "{}{}-{}",
        epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default(),
        header.string(VERSION)?,
        header.string(RELEASE)?
    );
    let optional = |tag| header.string(tag).and_then(|value| text(&value));
    Some(Package {
        architecture: optional(ARCHITECTURE),
        license: optional(LICENSE),
        origin: optional(SOURCE),
        ..Package::new(Kind::Rpm, &name, &version)?
    })
}

struct Header<'a> {
    table: &'a [u8],
    values: &'a [u8],
}

impl<'a> Header<'a> {
    fn open(bytes: &'a [u8]) -> Option<Self> {
        let entries = usize::try_from(be32(bytes, 0)?).ok().filter(|it| *it <= MOST_ENTRIES)?;
        let length = usize::try_from(be32(bytes, 4)?).ok()?;
        let (table, values) = bytes.get(8..)?.split_at_checked(entries.checked_mul(ENTRY)?)?;
        Some(Self { table, values: values.get(..length)? })
    }

    /// Where the value of a tag begins.
    fn value(&self, tag: u32) -> Option<&'a [u8]> {
        let entry = self.table.chunks_exact(ENTRY).find(|entry| be32(entry, 0) == Some(tag))?;
        self.values.get(usize::try_from(be32(entry, 8)?).ok()?..)
    }

    fn string(&self, tag: u32) -> Option<String> {
        let value = self.value(tag)?;
        let value = &value[..value.len().min(LONGEST + 1)];
        let value = value.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(value).ok().map(str::to_owned)
    }

    fn number(&self, tag: u32) -> Option<u32> {
        be32(self.value(tag)?, 0)
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)).ok()
}
