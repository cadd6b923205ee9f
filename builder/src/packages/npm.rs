//! Node's modules: `node_modules/*/package.json`.

use serde::Deserialize;
use serde_json::Value;

use super::{Kind, Package, text};

#[derive(Debug, Deserialize)]
struct Manifest {
    name: String,
    version: String,
    #[serde(default)]
    license: Value,
}

/// Reads the manifest of one module.
pub(super) fn read(bytes: &[u8]) -> Vec<Package> {
    let package = || {
        let manifest: Manifest = serde_json::from_slice(bytes).ok()?;
        let package = Package::new(Kind::Npm, &manifest.name, &manifest.version)?;
        // Old modules have an object where others have a text.
        let license = manifest.license.as_str().or_else(|| manifest.license.get("type")?.as_str());
        Some(Package { license: license.and_then(text), ..package })
    };
    package().into_iter().collect()
}
