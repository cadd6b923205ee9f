//! Debian's packages: `/var/lib/dpkg/status`, and one file a package in `status.d` where an image
//! was made without dpkg.

use super::fields::{Record, records};
use super::{Kind, MOST, Package, text};

/// Reads the database.
pub(super) fn read(bytes: &[u8]) -> Vec<Package> {
    let all = String::from_utf8_lossy(bytes);
    records(&all).filter_map(|record| package(&record)).take(MOST).collect()
}

fn package(record: &Record<'_>) -> Option<Package> {
    // `want flag status`; what was removed leaves its configuration, and its record.
    let is_here = record
        .get("Status")
        .is_none_or(|status| status.split_whitespace().nth(2) == Some("installed"));
    if !is_here {
        return None;
    }
    let package = Package::new(Kind::Deb, record.get("Package")?, record.get("Version")?)?;
    // `Source: glibc (2.36-9)` has the version where it is another.
    let source = record.get("Source").and_then(|source| source.split_whitespace().next());
    Some(Package {
        architecture: record.get("Architecture").and_then(text),
        origin: source.and_then(text),
        ..package
    })
}
