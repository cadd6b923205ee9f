//! Rust's crates: `Cargo.lock`, and the list that `cargo auditable` puts into a program.

use std::io::Read;

use serde::Deserialize;

use super::{Kind, MOST, Package};

/// The section of a program with the list.
pub(super) const SECTION: &str = ".dep-v0";
/// The largest list, in bytes without compression.
const LARGEST: u64 = 16 << 20;

#[derive(Debug, Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Crate>,
}

#[derive(Debug, Deserialize)]
struct Audit {
    packages: Vec<Crate>,
}

#[derive(Debug, Deserialize)]
struct Crate {
    name: String,
    version: String,
    /// `build` for what the program was built with and does not have in it.
    #[serde(default)]
    kind: Option<String>,
}

/// Reads a `Cargo.lock`.
pub(super) fn lock(bytes: &[u8]) -> Vec<Package> {
    let lock = std::str::from_utf8(bytes).ok().and_then(|text| toml::from_str::<Lock>(text).ok());
    lock.map(|lock| packages(&lock.package)).unwrap_or_default()
}

/// Reads the list of a program.
pub(super) fn audit(bytes: &[u8]) -> Vec<Package> {
    let mut json = Vec::new();
    let read = flate2::read::ZlibDecoder::new(bytes).take(LARGEST).read_to_end(&mut json);
    let audit = read.ok().and_then(|_| serde_json::from_slice::<Audit>(&json).ok());
    audit.map(|audit| packages(&audit.packages)).unwrap_or_default()
}

fn packages(crates: &[Crate]) -> Vec<Package> {
    let is_inside = |one: &&Crate| one.kind.as_deref() != Some("build");
    let package = |one: &Crate| Package::new(Kind::Cargo, &one.name, &one.version);
    crates.iter().filter(is_inside).filter_map(package).take(MOST).collect()
}
