//! Platforms, and which image of an index is for one.

use std::fmt;
use std::str::FromStr;

use oci_spec::image::{Descriptor, ImageIndex};

use crate::error::Error;

/// An operating system, an architecture and, where it has several, its variant.
///
/// The names are Go's, as OCI wants them; `x86_64`, `aarch64`, `armhf` and the like are put right,
/// and variants that say nothing (`arm64/v8`, `amd64/v1`) are dropped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// Puts a platform together from its names.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = os.to_ascii_lowercase();
        let os = if os == "macos" { "darwin".to_owned() } else { os };
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant.filter(|text| !text.is_empty()).map(str::to_ascii_lowercase);
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("i386" | "i486" | "i586" | "i686" | "386", _) => ("386", None),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", None),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            (other, variant) => (other, variant),
        };
        let (architecture, variant) = (architecture.to_owned(), variant.map(str::to_owned));
        Self { os, architecture, variant }
    }

    /// The operating system, such as `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture, such as `amd64`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant of the architecture, such as `v7`.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// How well a machine of this platform runs an image for `other`: 0 is its own, more is an
    /// older variant, none is not at all.
    fn distance(&self, other: &Self) -> Option<u32> {
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        if self.variant == other.variant {
            return Some(0);
        }
        // An arm64 variant adds nothing that older images lack; unknown variants only fit
        // themselves.
        let level = |platform: &Self| match (&*platform.architecture, platform.variant.as_deref()) {
            ("amd64", None) => Some(1),
            ("arm64", None) => Some(8),
            ("amd64" | "arm", Some(text)) => text.strip_prefix('v')?.parse::<u32>().ok(),
            ("arm64", Some(text)) => text.strip_prefix('v')?.split('.').next()?.parse().ok(),
            _ => None,
        };
        level(self)?.checked_sub(level(other)?)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Reads `os/architecture[/variant]`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        match parts.as_slice() {
            [os, architecture, variant @ ..] if variant.len() < 2 && parts.iter().all(word) => {
                Ok(Self::new(os, architecture, variant.first().copied()))
            }
            _ => Err(Error::Platform { text: text.chars().take(100).collect() }),
        }
    }
}

/// Chooses the image of an index that is for a platform: its own variant, else the nearest older
/// one; of equals the first. An image that names no platform is taken where it is the only one.
pub fn select<'a>(index: &'a ImageIndex, platform: &Platform) -> Option<&'a Descriptor> {
    let fitting = index
        .manifests()
        .iter()
        .filter_map(|descriptor| Some((platform.distance(&platform_of(descriptor)?)?, descriptor)));
    let best = fitting.min_by_key(|(distance, _)| *distance).map(|(_, descriptor)| descriptor);
    best.or_else(|| match index.manifests().as_slice() {
        [only] if only.platform().is_none() => Some(only),
        _ => None,
    })
}

/// The platform that an index gives for an image.
pub(crate) fn platform_of(descriptor: &Descriptor) -> Option<Platform> {
    let platform = descriptor.platform().as_ref()?;
    let architecture = platform.architecture().to_string();
    Some(Platform::new(&platform.os().to_string(), &architecture, platform.variant().as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_put_right() {
        for (text, canonical) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("Linux/AArch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/i686", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), canonical);
        }
        for wrong in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/a b", "linux//v7"] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong}");
        }
    }

    fn index(platforms: &[&str]) -> ImageIndex {
        let entry = |(number, text): (usize, &&str)| {
            let digest = format!("sha256:{number:064x}");
            let mut parts = text.split('/');
            let mut entry = serde_json::json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest,
                "size": 1,
            });
            if let (Some(os), Some(architecture)) = (parts.next(), parts.next()) {
                entry["platform"] = serde_json::json!({ "os": os, "architecture": architecture });
                if let Some(variant) = parts.next() {
                    entry["platform"]["variant"] = variant.into();
                }
            }
            entry
        };
        let manifests: Vec<_> = platforms.iter().enumerate().map(entry).collect();
        let document = serde_json::json!({ "schemaVersion": 2, "manifests": manifests });
        ImageIndex::from_reader(document.to_string().as_bytes()).unwrap()
    }

    #[track_caller]
    fn check(offered: &[&str], wanted: &str, chosen: Option<usize>) {
        let index = index(offered);
        let wanted = wanted.parse().unwrap();
        let found = select(&index, &wanted).map(|found| found.digest().to_string());
        assert_eq!(found, chosen.map(|number| format!("sha256:{number:064x}")));
    }

    #[test]
    fn the_nearest_variant_is_chosen() {
        let common =
            ["linux/amd64", "linux/arm/v5", "linux/arm/v7", "linux/arm64/v8", "linux/arm/v6"];
        check(&common, "linux/amd64", Some(0));
        check(&common, "linux/amd64/v3", Some(0));
        check(&common, "linux/arm64", Some(3));
        check(&common, "linux/arm", Some(2));
        check(&common, "linux/arm/v8", Some(2));
        check(&common, "linux/arm/v6", Some(4));
        check(&common, "linux/s390x", None);
        check(&common, "windows/amd64", None);
        check(&["linux/arm/v7"], "linux/arm/v6", None);
        check(&["linux/amd64/v2", "linux/amd64/v3"], "linux/amd64", None);
        check(&["linux/amd64", "linux/amd64/v2"], "linux/amd64/v4", Some(1));
        check(&["linux/arm64"], "linux/arm", None);
    }

    #[test]
    fn odd_entries_are_passed_over() {
        check(&["unknown/unknown", "linux/amd64", "linux/amd64"], "linux/amd64", Some(1));
        check(&["unknown/unknown"], "linux/amd64", None);
        check(&[""], "linux/amd64", Some(0));
        check(&["", ""], "linux/amd64", None);
        check(&[], "linux/amd64", None);
        check(&["linux/arm/99999999999", "linux/arm/v"], "linux/arm/v7", None);
    }
}
