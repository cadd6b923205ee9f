//! `--metadata-file`: what a build has made, in the keys that buildx writes.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rbuild::dockerfile::value::boolean;
use rbuild::dockerfile::{Diagnostic, Kind};
use rbuild::{Built, Detail};
use serde_json::{Value, json};

use crate::config;
use crate::failure::Failure;

/// How much is told of how the image was made: little unless the environment says otherwise.
pub(super) fn detail() -> Result<Option<Detail>, Failure> {
    match config::variable("BUILDX_METADATA_PROVENANCE").as_deref() {
        None | Some("" | "min" | "true" | "1") => Ok(Some(Detail::Min)),
        Some("max") => Ok(Some(Detail::Max)),
        Some("disabled" | "false" | "0") => Ok(None),
        Some(_) => {
            Err(Failure::usage("`BUILDX_METADATA_PROVENANCE` is `min`, `max` or `disabled`"))
        }
    }
}

/// Writes the file; it is there as a whole or as it was.
pub(super) fn write(path: &Path, built: &Built) -> Result<(), Failure> {
    let failed = || Failure::io(format!("write `{}`", path.display()));
    let aside = path.with_extension(format!("{}.partial", std::process::id()));
    let written = fs::write(&aside, format!("{:#}\n", metadata(built)));
    let written = written.and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written.map_err(failed())
}

fn metadata(built: &Built) -> Value {
    let mut metadata = json!({});
    for (platform, told) in &built.provenance {
        let key = match built.provenance.len() {
            1 => "buildx.build.provenance".to_owned(),
            _ => format!("buildx.build.provenance/{platform}"),
        };
        metadata[key] = serde_json::from_slice(told).unwrap_or_default();
    }
    if config::variable("BUILDX_METADATA_WARNINGS").is_some_and(|text| boolean(&text) == Some(true))
    {
        metadata["buildx.build.warnings"] = warnings(built).into();
    }
    // An index has no config.
    if built.platforms.len() == 1 {
        metadata["containerimage.config.digest"] = built.id.to_string().into();
    }
    // Where no manifest was made, the id is the one digest that there is, as with docker's store.
    let digest = built.manifest.as_ref().map_or(built.id, |manifest| manifest.digest);
    if let Some(manifest) = &built.manifest {
        metadata["containerimage.descriptor"] = json!(manifest);
    }
    metadata["containerimage.digest"] = digest.to_string().into();
    if !built.names.is_empty() {
        metadata["image.name"] = built.names.join(",").into();
    }
    metadata
}

/// What the lint rules found, as `BuildKit` tells it.
fn warnings(built: &Built) -> Vec<Value> {
    let file = json!({
        "filename": built.dockerfile.name,
        "data": STANDARD.encode(&*built.dockerfile.text),
        "language": "Dockerfile",
    });
    let one = |warning: &Diagnostic| {
        let (first, last) = warning.span.lines;
        let mut told = json!({
            "level": 1,
            "short": STANDARD.encode(warning.to_string()),
            "sourceInfo": file,
            "range": [{ "start": { "line": first }, "end": { "line": last } }],
        });
        if let Kind::Lint(rule) = warning.kind {
            told["detail"] = json!([STANDARD.encode(rule.description())]);
            told["url"] = rule.url().into();
        }
        told
    };
    built.warnings.iter().map(one).collect()
}
