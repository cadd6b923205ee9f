//! Which packages are in a file tree, by what package managers and compilers noted there.
//!
//! Each format has a pure reader from bytes to packages. What is read belongs to strangers: a file
//! that is not what its name says gives no packages, and none gives more than a bound.

mod apk;
mod berkeley;
mod cargo;
mod dpkg;
mod elf;
mod fields;
mod npm;
mod python;
mod rpm;
mod scan;
mod sqlite;

pub(crate) use scan::{Scanned, scan};

/// The longest name, version or licence that is taken, in bytes.
const LONGEST: usize = 512;
/// The most packages that one file may list.
const MOST: usize = 100_000;

/// What keeps a kind of package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Alpine's packages.
    Apk,
    /// Debian's packages.
    Deb,
    /// Red Hat's packages.
    Rpm,
    /// Python's distributions.
    Pypi,
    /// Node's modules.
    Npm,
    /// Rust's crates.
    Cargo,
}

impl Kind {
    /// The type of a package URL.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Apk => "apk",
            Self::Deb => "deb",
            Self::Rpm => "rpm",
            Self::Pypi => "pypi",
            Self::Npm => "npm",
            Self::Cargo => "cargo",
        }
    }
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Package {
    /// What keeps it.
    pub(crate) kind: Kind,
    /// Its name, as its kind spells it.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// What it is built for, by the name that its kind has for that.
    pub(crate) architecture: Option<String>,
    /// Its licence, as its makers wrote it.
    pub(crate) license: Option<String>,
    /// The source package that it was built from.
    pub(crate) origin: Option<String>,
    /// The absolute path of the file that says so.
    pub(crate) found_in: String,
}

impl Package {
    /// A package of which no more is known; `None` for what is no name or no version.
    fn new(kind: Kind, name: &str, version: &str) -> Option<Self> {
        let (name, version) = (text(name)?, text(version)?);
        let (architecture, license, origin) = (None, None, None);
        let found_in = String::new();
        Some(Self { kind, name, version, architecture, license, origin, found_in })
    }
}

/// A value that is fit to be passed on: one short line.
fn text(value: &str) -> Option<String> {
    let value = value.trim();
    let fits = !value.is_empty() && value.len() <= LONGEST;
    (fits && !value.chars().any(char::is_control)).then(|| value.to_owned())
}

#[cfg(test)]
mod tests;
