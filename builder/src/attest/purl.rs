//! Package URLs: one spelling for the packages of all managers, and for images.

use crate::packages::{Kind, Package, Scanned};
use crate::platform::Platform;
use crate::source;

/// The URL of an image by its name.
pub(crate) fn image(name: &str, platform: &Platform) -> String {
    let platform = ("platform", platform.to_string());
    let Ok(reference) = source::parse(name) else {
        return format!("pkg:docker/{}{}", path(name), qualifiers(&[platform]));
    };
    let bare = reference.familiar();
    let bare = bare.split('@').next().unwrap_or_default();
    let last = bare.rfind('/').map_or(0, |slash| slash + 1);
    let end = bare[last..].find(':').map_or(bare.len(), |colon| last + colon);
    let digest = reference.digest().map(ToString::to_string);
    let (version, digest) = match (reference.tag(), digest) {
        (Some(tag), digest) => (tag.to_owned(), digest),
        (None, Some(digest)) => (digest, None),
        (None, None) => ("latest".to_owned(), None),
    };
    let mut all: Vec<_> = digest.map(|digest| ("digest", digest)).into_iter().collect();
    all.push(platform);
    format!("pkg:docker/{}@{}{}", path(&bare[..end]), escaped(&version), qualifiers(&all))
}

/// The URL of an image that no registry gave.
pub(crate) fn layout(name: &str, platform: &Platform) -> String {
    format!("pkg:oci/{}{}", escaped(name), qualifiers(&[("platform", platform.to_string())]))
}

/// The URL of a package in a tree.
pub(crate) fn package(package: &Package, tree: &Scanned) -> String {
    let distribution = tree.distribution.as_deref().unwrap_or_default();
    let (mut name, mut version) = (package.name.clone(), package.version.clone());
    let mut all = Vec::new();
    match package.kind {
        Kind::Apk | Kind::Deb | Kind::Rpm => {
            if !distribution.is_empty() {
                name = format!("{distribution}/{name}");
            }
            all.extend(package.architecture.clone().map(|arch| ("arch", arch)));
            if let Some(release) = tree.release.as_ref().filter(|_| !distribution.is_empty()) {
                all.push(("distro", format!("{distribution}-{release}")));
            }
            if package.kind == Kind::Rpm
                && let Some((epoch, rest)) = package.version.split_once(':')
            {
                all.push(("epoch", epoch.to_owned()));
                rest.clone_into(&mut version);
            }
        }
        // One distribution has many spellings.
        Kind::Pypi => name = name.to_lowercase().replace('_', "-"),
        Kind::Npm | Kind::Cargo => {}
    }
    format!("pkg:{}/{}@{}{}", package.kind.name(), path(&name), escaped(&version), qualifiers(&all))
}

fn qualifiers(all: &[(&str, String)]) -> String {
    let mut pairs: Vec<String> =
        all.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    pairs.sort_unstable();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn path(name: &str) -> String {
    name.split('/').map(escaped).collect::<Vec<_>>().join("/")
}

/// Escapes all but what has no meaning in a URL.
fn escaped(text: &str) -> String {
    let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value)]);
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_urls() {
        let platform = "linux/arm/v7".parse().unwrap();
        let hex = "a".repeat(64);
        let url = |name: &str| image(name, &platform);
        assert_eq!(url("alpine"), "pkg:docker/alpine@latest?platform=linux%2Farm%2Fv7");
        assert_eq!(
            url("docker.io/library/alpine:3"),
            "pkg:docker/alpine@3?platform=linux%2Farm%2Fv7"
        );
        assert_eq!(url("h:5000/a/b:1"), "pkg:docker/h:5000/a/b@1?platform=linux%2Farm%2Fv7");
        assert_eq!(
            url(&format!("alpine@sha256:{hex}")),
            format!("pkg:docker/alpine@sha256:{hex}?platform=linux%2Farm%2Fv7")
        );
        assert_eq!(
            url(&format!("alpine:3@sha256:{hex}")),
            format!("pkg:docker/alpine@3?digest=sha256:{hex}&platform=linux%2Farm%2Fv7")
        );
    }

    #[test]
    fn packages_have_urls() {
        let tree = Scanned {
            distribution: Some("alpine".to_owned()),
            release: Some("3.20".to_owned()),
            ..Scanned::default()
        };
        let url = |kind, name: &str, version: &str, arch: Option<&str>| {
            let one = Package {
                kind,
                name: name.to_owned(),
                version: version.to_owned(),
                architecture: arch.map(str::to_owned),
                license: None,
                origin: None,
                found_in: String::new(),
            };
            package(&one, &tree)
        };
        assert_eq!(
            url(Kind::Apk, "libstdc++", "1-r0", Some("x86_64")),
            "pkg:apk/alpine/libstdc%2B%2B@1-r0?arch=x86_64&distro=alpine-3.20"
        );
        assert_eq!(url(Kind::Npm, "@a/b", "1.0.0", None), "pkg:npm/%40a/b@1.0.0");
        assert_eq!(url(Kind::Pypi, "Foo_Bar", "1", None), "pkg:pypi/foo-bar@1");
        assert_eq!(url(Kind::Cargo, "serde", "1.0.2+x", None), "pkg:cargo/serde@1.0.2%2Bx");
        assert_eq!(
            url(Kind::Rpm, "bash", "2:5-1", None),
            "pkg:rpm/alpine/bash@5-1?distro=alpine-3.20&epoch=2"
        );
    }
}
