//! The cases below `fixtures/build`: each is a Dockerfile with its context, and says what BuildKit
//! makes of it: the config, the history, and every entry of every layer.
//!
//! A case's `prepare` is a script that runs in a copy of its context, for what git does not keep;
//! `arguments` are further arguments of the command; `fails` is a text of the error. With
//! `UPDATE_EXPECTED=1` the expectations are written anew: read every difference before keeping it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::home;
use rbuild_testkit::{Home, archive};

/// The time of every file of a context, so that a listing can say that it was kept.
const TIME: u64 = 978_307_200;

/// What makes the copy of a context the same on every machine.
const NORMALISE: &str = "umask 022; chmod -R u=rwX,go=rX . && chown -Rh 0:0 .";

#[expect(clippy::disallowed_methods, reason = "a developer asks for new expectations by it")]
fn is_update() -> bool {
    std::env::var_os("UPDATE_EXPECTED").is_some()
}

/// The folders of all cases, in order.
fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/build");
    let folder = folder.canonicalize().unwrap();
    let mut cases: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.join("Dockerfile").exists());
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
            let sorted: BTreeMap<_, _> = map.iter().map(|(key, value)| (key, sorted(value))).collect();
            serde_json::to_value(sorted).unwrap()
        }
        value => value.clone(),
    }
}

fn describe(image: &archive::Image) -> String {
    let mut text = String::new();
    let config = sorted(&image.config["config"]);
    writeln!(text, "config {}", serde_json::to_string_pretty(&config).unwrap()).unwrap();
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
                if is_update() {
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
