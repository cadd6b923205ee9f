//! Python's distributions: `*.dist-info/METADATA` and `*.egg-info/PKG-INFO`.

use super::fields::records;
use super::{Kind, Package, text};

/// Reads the metadata of one distribution; what follows its first blank line is its description.
pub(super) fn read(bytes: &[u8]) -> Vec<Package> {
    let all = String::from_utf8_lossy(bytes);
    let package = |record: super::fields::Record<'_>| {
        let package = Package::new(Kind::Pypi, record.get("Name")?, record.get("Version")?)?;
        let license = record.get("License-Expression").or_else(|| record.get("License"));
        Some(Package { license: license.and_then(text), ..package })
    };
    records(&all).next().and_then(package).into_iter().collect()
}
