//! A bill of materials in the form of SPDX 2.3: the packages of an image.

use jiff::Timestamp;
use rbuild_cache::Digest;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Attestation, license, purl};
use crate::packages::{Package, Scanned};
use crate::platform::Platform;

/// What kind of statement a bill of materials is.
pub(crate) const PREDICATE: &str = "https://spdx.dev/Document";
/// What SPDX says where nothing is known.
const UNKNOWN: &str = "NOASSERTION";
/// The id of the image in the document.
const IMAGE: &str = "SPDXRef-Image";

/// The image that a bill is for.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    /// A name of the image; its id where it has none.
    pub(crate) name: &'a str,
    /// Its id.
    pub(crate) id: Digest,
    /// Its platform.
    pub(crate) platform: &'a Platform,
    /// When the bill was made.
    pub(crate) created: Timestamp,
}

/// Writes the bill: the same bytes for the same image at the same time.
pub(crate) fn bill(subject: &Subject<'_>, tree: &Scanned) -> Attestation {
    let mut packages = vec![json!({
        "SPDXID": IMAGE,
        "name": subject.name,
        "versionInfo": subject.id.to_string(),
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "CONTAINER",
        "externalRefs": [reference(&purl::image(subject.name, subject.platform))],
    })];
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    for one in &tree.packages {
        let url = purl::package(one, tree);
        let id = package_id(one, &url);
        relations.push(relation(IMAGE, "CONTAINS", &id));
        packages.push(package(one, &url, &id));
    }
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        "documentNamespace": namespace(subject, tree),
        "creationInfo": {
            "created": seconds(subject.created),
            "creators": [concat!("Tool: rbuild-", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relations,
    });
    Attestation {
        predicate_type: PREDICATE.to_owned(),
        predicate: document.to_string().into_bytes(),
        inline_only: false,
    }
}

fn package(one: &Package, url: &str, id: &str) -> Value {
    let declared = one.license.as_deref();
    let is_expression = declared.is_some_and(license::is_expression);
    let mut package = json!({
        "SPDXID": id,
        "name": one.name,
        "versionInfo": one.version,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": declared.filter(|_| is_expression).unwrap_or(UNKNOWN),
        "copyrightText": UNKNOWN,
        "sourceInfo": format!("found in {}", one.found_in),
        "externalRefs": [reference(url)],
    });
    if let Some(license) = declared.filter(|_| !is_expression) {
        package["licenseComments"] = format!("declared as: {license}").into();
    }
    if let Some(origin) = &one.origin {
        package["comment"] = format!("built from the source package {origin}").into();
    }
    package
}

fn reference(url: &str) -> Value {
    json!({
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": url,
    })
}

fn relation(of: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": of, "relationshipType": kind, "relatedSpdxElement": to })
}

/// An id of letters, digits, dots and dashes that no other package of the tree has.
fn package_id(one: &Package, url: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = one.name.chars().take(64).map(fit).collect();
    let mut hash = Sha256::new();
    for part in [url, &one.found_in, one.license.as_deref().unwrap_or_default()] {
        hash.update(part);
        hash.update([0]);
    }
    let hash = Digest::from_bytes(hash.finalize().into()).hex();
    format!("SPDXRef-Package-{}-{name}-{}", one.kind.name(), &hash[..16])
}

/// A name for the document that no other one has, and that the same document has each time.
fn namespace(subject: &Subject<'_>, tree: &Scanned) -> String {
    let mut hash = Sha256::new();
    hash.update(subject.id.to_string());
    for one in &tree.packages {
        hash.update(package_id(one, &purl::package(one, tree)));
    }
    hash.update(seconds(subject.created));
    let mut hex = Digest::from_bytes(hash.finalize().into()).hex().clone();
    hex.truncate(32);
    // A UUID of version 8: its makers choose what it is made of.
    hex.replace_range(12..13, "8");
    hex.replace_range(16..17, "8");
    let part = |from: usize, to: usize| &hex[from..to];
    format!(
        "urn:uuid:{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

/// A time as SPDX has it: to the second.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::Kind;

    fn found(name: &str, license: Option<&str>) -> Package {
        Package {
            kind: Kind::Apk,
            name: name.to_owned(),
            version: "1-r0".to_owned(),
            architecture: Some("x86_64".to_owned()),
            license: license.map(str::to_owned),
            origin: Some("origin".to_owned()),
            found_in: "/lib/apk/db/installed".to_owned(),
        }
    }

    #[test]
    fn a_bill_lists_what_the_image_contains() {
        let tree = Scanned {
            packages: vec![found("a/b", Some("MIT")), found("c", Some("as-is"))],
            distribution: Some("alpine".to_owned()),
            release: None,
        };
        let platform = "linux/amd64".parse().unwrap();
        let subject = |created| Subject {
            name: "docker.io/library/app:1",
            id: Digest::from_bytes([1; 32]),
            platform: &platform,
            created: Timestamp::from_second(created).unwrap(),
        };
        let bill_at = |created| bill(&subject(created), &tree);
        assert_eq!(bill_at(1), bill_at(1));
        let document: Value = serde_json::from_slice(&bill_at(1).predicate).unwrap();
        assert_eq!(document["creationInfo"]["created"], "1970-01-01T00:00:01Z");
        let other: Value = serde_json::from_slice(&bill_at(2).predicate).unwrap();
        assert_ne!(document["documentNamespace"], other["documentNamespace"]);
        let [image, first, second] = &document["packages"].as_array().unwrap()[..] else {
            panic!("{document}");
        };
        assert_eq!(
            image["externalRefs"][0]["referenceLocator"],
            "pkg:docker/app@1?platform=linux%2Famd64"
        );
        assert_eq!(
            first["externalRefs"][0]["referenceLocator"],
            "pkg:apk/alpine/a/b@1-r0?arch=x86_64"
        );
        assert_eq!(first["licenseDeclared"], "MIT");
        assert_eq!(second["licenseDeclared"], UNKNOWN);
        assert_eq!(second["licenseComments"], "declared as: as-is");
        let id = first["SPDXID"].as_str().unwrap();
        assert!(id.starts_with("SPDXRef-Package-apk-a-b-"), "{id}");
        assert_eq!(document["relationships"][1]["relatedSpdxElement"], id);
    }
}
