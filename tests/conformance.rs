//! The cases below `fixtures/build`: each is a Dockerfile with its context, and says what BuildKit
//! makes of it: the config, the history, and every entry of every layer.
//!
//! A case's `prepare` is a script that runs in a copy of its context, for what git does not keep;
//! `arguments` are further arguments of the command; `fails` is a text of the error. With
//! `UPDATE_EXPECTED=1` the expectations are written anew, with `UPDATE_EXPECTED=copy_` only those of
//! cases whose names begin so, and no others are built: read every difference before keeping it.
//! Debian's buildah builds the same cases; `notes.txt` says where it differs, and which row of the
//! specification decides.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::home;
use rbuild_testkit::{Home, archive, skipped};

/// The time of every file of a context, so that a listing can say that it was kept.
const TIME: u64 = 978_307_200;

/// What makes the copy of a context the same on every machine.
const NORMALISE: &str = "umask 022; chmod -R u=rwX,go=rX . && chown -Rh 0:0 .";

#[expect(clippy::disallowed_methods, reason = "a developer asks for new expectations by it")]
fn update() -> Option<String> {
    std::env::var("UPDATE_EXPECTED").ok()
}

/// The folders of all cases, in order, or of those that a developer names.
fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/build");
    let folder = folder.canonicalize().unwrap();
    let mut cases: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let named = update().filter(|value| value != "1").unwrap_or_default();
    cases.retain(|case| case.join("Dockerfile").exists() && name(case).starts_with(&named));
    cases.sort();
    cases
}

fn name(case: &Path) -> &str {
    case.file_name().unwrap().to_str().unwrap()
}

fn optional(case: &Path, file: &str) -> Option<String> {
    fs::read_to_string(case.join(file)).ok().map(|text| text.trim().to_owned())
}

/// Copies the context of a case to where its build finds it.
fn prepare(home: &Home, case: &Path) {
    let (name, from) = (name(case), case.join("context"));
    home.types(&format!("cp -r '{}' {name}", from.display())).ok();
    let own = optional(case, "prepare").unwrap_or_else(|| "true".to_owned());
    let touch = format!("find . -depth -exec touch -h -d @{TIME} {{}} +");
    home.types(&format!("cd {name} && {NORMALISE} && {own} && {touch}")).ok();
}

/// Builds a case, and describes what came of it; an error is checked instead.
fn build(home: &Home, case: &Path) -> Result<Option<archive::Image>, String> {
    prepare(home, case);
    let name = name(case);
    let arguments = optional(case, "arguments").unwrap_or_default();
    let file = case.join("Dockerfile");
    let line = format!(
        "cd {name} && rbuild {arguments} -f '{}' -o type=oci,dest=../{name}.tar .",
        file.display()
    );
    let ran = home.types(&line);
    match optional(case, "fails") {
        None if ran.code == 0 => {
            let path = home.path(&format!("{name}.tar"));
            Ok(Some(archive::oci(&archive::read(&path))))
        }
        Some(text) if ran.code != 0 && ran.stderr.contains(&text) => Ok(None),
        Some(text) => Err(format!("no error with `{text}`, but {}:\n{}", ran.code, ran.stderr)),
        None => Err(ran.stderr),
    }
}

/// JSON with the names of its objects in order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> =
                map.iter().map(|(key, value)| (key, sorted(value))).collect();
            serde_json::to_value(sorted).unwrap()
        }
        value => value.clone(),
    }
}

fn platform(config: &Value) -> String {
    let names = ["os", "architecture", "variant"].map(|name| config[name].as_str());
    names.into_iter().flatten().collect::<Vec<_>>().join("/")
}

/// The platform of this machine, which is not told.
fn here() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}")
}

fn describe(image: &archive::Image) -> String {
    let mut text = String::new();
    let config = sorted(&image.config["config"]);
    writeln!(text, "config {}", serde_json::to_string_pretty(&config).unwrap()).unwrap();
    let platform = platform(&image.config);
    if platform != here() {
        writeln!(text, "platform {platform}").unwrap();
    }
    if let Some(author) = image.config.get("author") {
        writeln!(text, "author {author}").unwrap();
    }
    writeln!(text, "history").unwrap();
    for line in image.config["history"].as_array().unwrap() {
        let empty = if line["empty_layer"] == Value::Bool(true) { "empty" } else { "layer" };
        writeln!(text, "  {empty} {}", line["created_by"]).unwrap();
    }
    for (number, layer) in image.layers.iter().enumerate() {
        writeln!(text, "layer {number}").unwrap();
        let entries = archive::entries(layer);
        if entries.iter().any(|entry| entry.path == "bin/busybox") {
            writeln!(text, "  of the base image").unwrap();
            continue;
        }
        for entry in &entries {
            writeln!(text, "  {}", entry_line(entry)).unwrap();
        }
    }
    text
}

/// `- 0644 0:0 = 12 path`: kind, mode, owner, `=` where the time of the context was kept, size.
fn entry_line(entry: &archive::Entry) -> String {
    let archive::Entry { path, kind, mode, owner: (user, group), target, bytes, .. } = entry;
    if path.rsplit('/').next().is_some_and(|name| name.starts_with(".wh.")) {
        return format!("w {path}");
    }
    let time = if entry.mtime == TIME { '=' } else { '~' };
    let mut line = format!("{kind} {mode:04o} {user}:{group} {time} {} {path}", bytes.len());
    if !target.is_empty() {
        write!(line, " -> {target}").unwrap();
    }
    for name in &entry.xattrs {
        write!(line, " [{name}]").unwrap();
    }
    line
}

/// The lines of two texts that differ, and those around them.
fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let same = |a: &&str, b: &&str| a == b;
    let start = expected.iter().zip(&found).take_while(|(a, b)| same(a, b)).count();
    let ends = expected[start..].iter().rev().zip(found[start..].iter().rev());
    let end = ends.take_while(|(a, b)| same(a, b)).count();
    let mut text = String::new();
    for line in &expected[start..expected.len() - end] {
        writeln!(text, "    -{line}").unwrap();
    }
    for line in &found[start..found.len() - end] {
        writeln!(text, "    +{line}").unwrap();
    }
    text
}

#[test]
fn every_case_gives_what_buildkit_gives() {
    let home = home();
    let mut failures = String::new();
    for case in cases() {
        let expected = optional(&case, "expect.txt").unwrap_or_default();
        match build(&home, &case) {
            Err(error) => writeln!(failures, "{}: {error}", name(&case)).unwrap(),
            Ok(None) => {}
            Ok(Some(image)) => {
                let found = describe(&image);
                if update().is_some() {
                    fs::write(case.join("expect.txt"), &found).unwrap();
                } else if found.trim() != expected {
                    let lines = difference(&expected, found.trim());
                    writeln!(failures, "{}:\n{lines}", name(&case)).unwrap();
                }
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// What a container of an image starts with, as far as two builders can agree on it.
fn comparable(config: &Value) -> String {
    let mut text = String::new();
    let names = [
        "Cmd",
        "Entrypoint",
        "Env",
        "ExposedPorts",
        "Labels",
        "StopSignal",
        "User",
        "Volumes",
        "WorkingDir",
    ];
    for name in names {
        let mut value = sorted(&config[name]);
        if let Some(labels) = value.as_object_mut() {
            labels.retain(|label, _| label != "io.buildah.version");
        }
        let directory = value.as_str().map(|path| path.trim_end_matches('/').to_owned());
        let is_empty = value.is_null()
            || directory.as_deref() == Some("")
            || value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty);
        if !is_empty {
            writeln!(text, "{name} {}", directory.map_or(value, Value::from)).unwrap();
        }
    }
    text
}

/// The files of an image with all its layers, without times.
fn root_file_system(image: &archive::Image) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for layer in &image.layers {
        let entries = archive::entries(layer);
        for entry in &entries {
            let path = Path::new(&entry.path);
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name == ".wh..wh..opq" {
                files.retain(|known, _| {
                    !(Path::new(known) != folder && Path::new(known).starts_with(&folder))
                });
            } else if let Some(gone) = name.strip_prefix(".wh.") {
                let gone = folder.join(gone);
                files.retain(|known, _| !Path::new(known).starts_with(&gone));
            }
        }
        for entry in entries.iter().filter(|entry| !entry.path.contains(".wh.")) {
            if entry.kind != 'd' {
                files.retain(|known, _| !Path::new(known).starts_with(&entry.path));
            }
            files.insert(entry.path.clone(), file_line(entry));
        }
    }
    files.retain(|path, _| !path.is_empty());
    files
}

fn file_line(entry: &archive::Entry) -> String {
    match entry.kind {
        // Which of several names is the first is the builder's choice.
        'h' => "a file".to_owned(),
        '-' if entry.bytes.is_empty() => format!("{:04o} {:?}", entry.mode, entry.owner),
        'l' => format!("l {:?} {}", entry.owner, entry.target),
        kind => {
            let (mode, owner, length) = (entry.mode, entry.owner, entry.bytes.len());
            format!("{kind} {mode:04o} {owner:?} {length}")
        }
    }
}

/// What buildah leaves in an image whose base has no place for what it mounts.
const STUBS: [&str; 7] =
    ["dev", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc", "run", "sys"];

/// The paths that two images do not have in common.
fn differing_files(ours: &archive::Image, theirs: &archive::Image) -> String {
    let (ours, theirs) = (root_file_system(ours), root_file_system(theirs));
    let mut text = String::new();
    let paths: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for path in paths {
        let lines = (ours.get(path), theirs.get(path));
        let is_link = |line: Option<&String>| line.is_some_and(|line| line == "a file");
        let is_either_link = is_link(lines.0) || is_link(lines.1);
        if lines.0.is_none() && STUBS.contains(&path.as_str()) {
            continue;
        }
        if lines.0 != lines.1 && !(is_either_link && lines.0.is_some() && lines.1.is_some()) {
            writeln!(text, "    {path}: {:?}, buildah {:?}", lines.0, lines.1).unwrap();
        }
    }
    text
}

/// Builds a case with both builders, and says where they differ.
fn compare_with_buildah(home: &Home, case: &Path) -> Result<String, String> {
    let ours = build(home, case)?;
    let name = name(case);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/with-buildah");
    let line = format!(
        "cd {name} && {} {} {} {} . '{}' {}",
        script.display(),
        home.path("buildah").display(),
        home.registry.host(),
        home.path(&format!("{name}-buildah.tar")).display(),
        case.join("Dockerfile").display(),
        optional(case, "arguments").unwrap_or_default(),
    );
    let ran = home.types(&line);
    match (ours, ran.code) {
        (None, 0) => Err("buildah builds what must fail".to_owned()),
        (None, _) => Ok(String::new()),
        (Some(_), code) if code != 0 => Err(format!("buildah fails: {}", ran.stderr)),
        (Some(ours), _) => {
            let path = home.path(&format!("{name}-buildah.tar"));
            let theirs = archive::oci(&archive::read(&path));
            let config = comparable(&ours.config["config"]);
            let lines = difference(&comparable(&theirs.config["config"]), &config);
            Ok(lines + &differing_files(&ours, &theirs))
        }
    }
}

#[test]
fn buildah_agrees_but_for_the_notes() {
    let home = home();
    if home.types("command -v buildah").code != 0 {
        skipped("the cases of fixtures/build with buildah", "buildah is not installed");
        return;
    }
    let mut failures = String::new();
    for case in cases() {
        if optional(&case, "notes.txt").is_some_and(|notes| notes.starts_with("buildah: differs")) {
            continue;
        }
        match compare_with_buildah(&home, &case) {
            Ok(lines) if lines.is_empty() => {}
            Ok(text) | Err(text) => writeln!(failures, "{}:\n{text}", name(&case)).unwrap(),
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}
