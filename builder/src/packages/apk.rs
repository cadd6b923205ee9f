//! Alpine's packages: `/lib/apk/db/installed`, one letter a field.

use super::fields::records;
use super::{Kind, MOST, Package, text};

/// Reads the database.
pub(super) fn read(bytes: &[u8]) -> Vec<Package> {
    let all = String::from_utf8_lossy(bytes);
    let package = |record: super::fields::Record<'_>| {
        let field = |name| record.exact(name);
        let package = Package::new(Kind::Apk, field("P")?, field("V")?)?;
        Some(Package {
            architecture: field("A").and_then(text),
            license: field("L").and_then(text),
            origin: field("o").and_then(text),
            ..package
        })
    };
    records(&all).filter_map(package).take(MOST).collect()
}
