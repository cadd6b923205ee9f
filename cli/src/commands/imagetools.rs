//! `imagetools` and `manifest`: manifests and indexes in registries.

use std::fmt::Write as _;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rbuild::imagetools::{self, Create, Inspected, Merged};
use rbuild::{Events, Registries};
use serde::Serialize as _;
use serde_json::{Value, json};

use super::outputs::annotation;
use super::{DONE, Outcome, Session, platform, print};
use crate::args::{IndexArgs, LookArgs, ManifestArgs};
use crate::config;
use crate::failure::Failure;
use crate::format::Format;
use crate::interrupt::block_on;
use crate::progress::Progress;

/// Makes an index.
pub(super) fn create(args: &IndexArgs, session: &Session) -> Outcome {
    let registries = session.registries()?;
    let wanted = wanted(args)?;
    if wanted.tags.is_empty() && !args.dry_run {
        let hint = "`--dry-run` prints the index in place of writing it";
        return Err(Failure::usage("a name is needed: give one with `-t`").hint(hint));
    }
    let merged = block_on(async { Ok(wanted.merge(&registries).await?) })?;
    if args.dry_run {
        print(&format!("{}\n", String::from_utf8_lossy(&merged.bytes)))?;
        return Ok(DONE);
    }
    let mode = match args.progress {
        Some(mode) => mode,
        None => config::progress()?,
    };
    let progress = Progress::start(mode, session.config.look());
    let events = Events::new(progress.sink());
    let pushed = block_on(async { Ok(merged.push(&registries, &events).await?) });
    progress.finish();
    pushed?;
    if let Some(file) = &args.metadata_file {
        let text = format!("{:#}\n", metadata(&wanted, &merged));
        fs::write(file, text).map_err(Failure::io(format!("write `{}`", file.display())))?;
    }
    Ok(DONE)
}

fn wanted(args: &IndexArgs) -> Result<Create, Failure> {
    let mut wanted = Create::default();
    wanted.tags.clone_from(&args.tags);
    wanted.sources.clone_from(&args.sources);
    wanted.append = args.append;
    wanted.keep_manifest = !args.prefer_index;
    for file in &args.files {
        let bytes = fs::read(file);
        wanted.descriptors.push(bytes.map_err(Failure::io(format!("read `{}`", file.display())))?);
    }
    for text in &args.annotations {
        wanted.annotations.extend(annotation::flag(text).map_err(Failure::usage)?);
    }
    for text in &args.platforms {
        wanted.platforms.extend(platform(Some(text))?);
    }
    Ok(wanted)
}

fn metadata(wanted: &Create, merged: &Merged) -> Value {
    let digest = merged.digest.to_string();
    json!({
        "containerimage.descriptor": {
            "mediaType": merged.media_type,
            "digest": digest,
            "size": merged.bytes.len(),
        },
        "containerimage.digest": digest,
        "image.name": wanted.tags.join(","),
    })
}

/// Shows what a name stands for.
pub(super) fn inspect(args: &LookArgs, session: &Session) -> Outcome {
    let registries = session.registries()?;
    let found = look_up(&registries, &args.image)?;
    if args.raw {
        print(&String::from_utf8_lossy(&found.bytes))?;
        return Ok(DONE);
    }
    let Some(text) = &args.format else {
        print(&as_text(&found))?;
        return Ok(DONE);
    };
    let format = Format::parse(text)?;
    let mut value = json!({ "name": found.name, "manifest": manifest(&found) });
    if asks_for_more(text) {
        let details = block_on(async { Ok(found.details(&registries).await?) })?;
        for (name, detail) in
            [("image", details.image), ("provenance", details.provenance), ("sbom", details.sbom)]
        {
            value[name] = detail;
        }
    }
    print(&format.one(&value)?)?;
    Ok(DONE)
}

fn look_up(registries: &Registries, name: &str) -> Result<Inspected, Failure> {
    block_on(async { Ok(imagetools::inspect(registries, name).await?) })
}

/// Whether a template asks for what is not in the manifest or index itself.
fn asks_for_more(template: &str) -> bool {
    let names = template.split('.').skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        rest[..end].to_ascii_lowercase()
    });
    let whole = template == "json";
    whole || names.into_iter().any(|name| matches!(&*name, "" | "image" | "provenance" | "sbom"))
}

/// What the name stands for, as a descriptor; an index says what it lists too.
fn manifest(found: &Inspected) -> Value {
    let mut value = json!({
        "mediaType": found.media_type,
        "digest": found.digest,
        "size": found.bytes.len(),
    });
    for field in ["schemaVersion", "manifests", "annotations"] {
        let said = &found.document[field];
        if !found.document["manifests"].is_null() && !said.is_null() {
            value[field] = said.clone();
        }
    }
    value
}

fn as_text(found: &Inspected) -> String {
    let mut text = block(
        "",
        &[
            ("Name:", found.name.clone()),
            ("MediaType:", found.media_type.clone()),
            ("Digest:", found.digest.clone()),
        ],
    );
    for (number, (part, platform)) in found.manifests().enumerate() {
        text.push_str(if number == 0 { "\nManifests:\n" } else { "\n" });
        let media_type = part["mediaType"].as_str().unwrap_or_default().to_owned();
        let mut lines = vec![("Name:", found.name_of(part)), ("MediaType:", media_type)];
        lines.extend(platform.map(|platform| ("Platform:", platform)));
        let annotations = part["annotations"].as_object().filter(|all| !all.is_empty());
        if annotations.is_some() {
            lines.push(("Annotations:", String::new()));
        }
        text.push_str(&block("  ", &lines));
        let pairs = annotations.into_iter().flatten();
        let pairs: Vec<_> = pairs
            .map(|(key, value)| (format!("{key}:"), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (&**key, value.clone())).collect();
        text.push_str(&block("    ", &pairs));
    }
    text
}

/// Names and values in two columns.
fn block(indent: &str, lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in lines {
        let line = format!("{indent}{name:width$} {value}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Shows the manifest or index of a name as docker does.
pub(super) fn manifest_inspect(args: &ManifestArgs, session: &Session) -> Outcome {
    let registries = session.registries()?;
    let found = look_up(&registries, &args.image)?;
    let value = if args.verbose { verbose(&registries, &found)? } else { found.document.clone() };
    print(&tabbed(&value)?)?;
    Ok(DONE)
}

/// Each image with its descriptor and manifest: an object, or a list for an index.
fn verbose(registries: &Registries, found: &Inspected) -> Result<Value, Failure> {
    let one = |it: &Inspected, name: String, descriptor: &Value| {
        let is_docker = it.media_type.starts_with("application/vnd.docker.");
        let kind = if is_docker { "SchemaV2Manifest" } else { "OCIManifest" };
        json!({
            "Ref": name,
            "Descriptor": descriptor,
            "Raw": STANDARD.encode(&it.bytes),
            kind: it.document,
        })
    };
    if found.document["manifests"].is_null() {
        return Ok(one(found, found.name.clone(), &manifest(found)));
    }
    let mut all = Vec::new();
    for (part, _) in found.manifests() {
        let image = block_on(async { Ok(found.listed(registries, part).await?) })?;
        all.push(one(&image, found.name_of(part), part));
    }
    Ok(all.into())
}

/// JSON whose lines are indented by tabs, as docker has it.
fn tabbed(value: &Value) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    let written = value.serialize(&mut serializer);
    written.map_err(|error| Failure::failed(error.to_string()))?;
    bytes.push(b'\n');
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_names() {
        let lines = [("Name:", "a".to_owned()), ("MediaType:", "b".to_owned())];
        assert_eq!(block("  ", &lines), "  Name:      a\n  MediaType: b\n");
        assert_eq!(block("", &[("X:", String::new())]), "X:\n");
    }

    #[test]
    fn only_what_is_asked_for_is_fetched() {
        for text in ["{{.Name}}", "{{.Manifest.Digest}}", "{{json .Manifest}}", "x"] {
            assert!(!asks_for_more(text), "{text}");
        }
        for text in ["{{json .}}", "json", "{{json .Image}}", "{{.sbom.SPDX}}", "{{.Provenance}}"] {
            assert!(asks_for_more(text), "{text}");
        }
    }

    #[test]
    fn json_is_indented_by_tabs() {
        assert_eq!(
            tabbed(&json!({ "a": [1] })).ok().as_deref(),
            Some("{\n\t\"a\": [\n\t\t1\n\t]\n}\n")
        );
    }
}
