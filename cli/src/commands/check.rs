//! `--check` and `--call`: what is asked about a Dockerfile in place of a build. The answer goes to
//! standard output, as text in docker's words or as JSON.

use std::fmt::Write as _;

use rbuild::dockerfile::{Diagnostic, Kind};
use rbuild::subrequest::{CheckReport, Outline, Targets, Warning, requests};
use rbuild::{Build, Source, Store};
use serde::Serialize;

use super::{DONE, FAILED, Outcome, print, tell};
use crate::args::{Call, Format, Method};
use crate::diagnostic::Place;
use crate::failure::Failure;
use crate::interrupt::block_on;
use crate::progress::Progress;
use crate::table::table;

/// Asks, and prints the answer. `path` is where the Dockerfile is, as far as that is known.
pub(super) fn run(
    call: Call,
    build: Build,
    store: &Store,
    progress: Progress,
    path: Option<&str>,
) -> Outcome {
    let build = build.on_event(progress.sink());
    match call.method {
        Method::Check => {
            let report = block_on(async { Ok(build.check(store).await?) });
            progress.finish();
            check(call, report?, path)
        }
        Method::Outline => {
            let outline = block_on(async { Ok(build.outline(store).await?) });
            progress.finish();
            answer(call.format, &outline?, outline_text)
        }
        Method::Targets => {
            let targets = block_on(async { Ok(build.targets(store).await?) });
            progress.finish();
            answer(call.format, &targets?, targets_text)
        }
        Method::Describe | Method::Build => {
            progress.finish();
            answer(call.format, requests(), |_| describe_text())
        }
    }
}

fn answer<A: Serialize + ?Sized>(
    format: Format,
    answer: &A,
    text: impl FnOnce(&A) -> String,
) -> Outcome {
    match format {
        Format::Text => print(&text(answer))?,
        Format::Json | Format::Sarif => print(&json(answer))?,
    }
    Ok(DONE)
}

fn json<A: Serialize + ?Sized>(answer: &A) -> String {
    let json = serde_json::to_string_pretty(answer).expect("an answer has string keys only");
    format!("{json}\n")
}

fn check(call: Call, report: CheckReport, path: Option<&str>) -> Outcome {
    let file = report.sources.first().map_or("Dockerfile", |source| &source.filename);
    let text = match call.format {
        Format::Text => check_text(&report),
        Format::Json => json(&report),
        Format::Sarif => json(&report.to_sarif(path.unwrap_or(file))),
    };
    print(&text)?;
    let clean = report.is_clean();
    match report.error.map(Failure::from) {
        Some(failure) if call.ignore_status => tell(&failure.render()),
        Some(failure) => return Err(failure),
        None => {}
    }
    Ok(if clean || call.ignore_status { DONE } else { FAILED })
}

fn check_text(report: &CheckReport) -> String {
    let mut text = match (report.warnings.len(), &report.build_error) {
        (0, None) => "Check complete, no warnings found.\n".to_owned(),
        (0, Some(_)) => String::new(),
        (1, _) => "Check complete, 1 warning has been found!\n".to_owned(),
        (count, _) => format!("Check complete, {count} warnings have been found!\n"),
    };
    let source = report.sources.first();
    let (name, source) = source.map_or(("", "".into()), |source| {
        (source.filename.as_str(), String::from_utf8_lossy(&source.data.0))
    });
    for warning in &report.warnings {
        let _ = write!(text, "\nWARNING: {}", warning.rule_name);
        if let Some(url) = &warning.url {
            let _ = write!(text, " - {url}");
        }
        let _ = writeln!(text, "\n{}", warning.detail);
        text.push_str(&excerpt(warning, name, &source));
    }
    text
}

fn excerpt(warning: &Warning, file: &str, source: &str) -> String {
    let lines = warning.location.lines();
    lines.map_or_else(String::new, |lines| Place { file, source, lines, columns: None }.excerpt())
}

/// The warnings of a build, each with what its rule is about and its place.
pub(super) fn at_length(warnings: &[Diagnostic], file: &Source) -> String {
    let mut text = String::new();
    for warning in warnings {
        let Kind::Lint(rule) = warning.kind else {
            continue;
        };
        let _ = writeln!(text, "\n{warning}\n{}", rule.description());
        if let Some(url) = rule.url() {
            let _ = writeln!(text, "More info: {url}");
        }
        let lines = warning.span.lines;
        let place = Place { file: &file.name, source: &file.text, lines, columns: None };
        text.push_str(&place.excerpt());
    }
    text
}

fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = if outline.name.is_empty() { "(default)" } else { &outline.name };
        let _ = writeln!(text, "TARGET:      {name}");
        if !outline.description.is_empty() {
            let _ = writeln!(text, "DESCRIPTION: {}", outline.description);
        }
        text.push('\n');
    }
    let credential = |credential: &rbuild::subrequest::Credential| {
        let required = if credential.required { "true" } else { "" };
        vec![credential.name.clone(), required.to_owned()]
    };
    let arguments = outline.args.iter().map(|argument| {
        vec![argument.name.clone(), argument.value.clone(), argument.description.clone()]
    });
    let caches = outline.cache.iter().map(|cache| vec![cache.id.clone()]);
    block(&mut text, &["BUILD ARG", "VALUE", "DESCRIPTION"], arguments);
    block(&mut text, &["SECRET", "REQUIRED"], outline.secrets.iter().map(credential));
    block(&mut text, &["SSH", "REQUIRED"], outline.ssh.iter().map(credential));
    block(&mut text, &["CACHE"], caches);
    text
}

/// Adds a table with an empty line behind it, unless there are no rows.
fn block(text: &mut String, heading: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let heading = heading.iter().map(|&word| word.to_owned()).collect();
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    if rows.len() > 1 {
        text.push_str(&table(&rows));
        text.push('\n');
    }
}

fn targets_text(targets: &Targets) -> String {
    let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    for (index, target) in targets.targets.iter().enumerate() {
        // `--target` takes a number too.
        let name = if target.name.is_empty() { index.to_string() } else { target.name.clone() };
        let name = match (target.default, target.name.is_empty()) {
            (true, true) => "(default)".to_owned(),
            (true, false) => format!("{name} (default)"),
            (false, _) => name,
        };
        rows.push(vec![name, target.description.clone()]);
    }
    table(&rows)
}

fn describe_text() -> String {
    let mut rows = vec![["NAME", "VERSION", "DESCRIPTION"].map(str::to_owned).to_vec()];
    for request in requests() {
        let name = request.name.strip_prefix("frontend.").unwrap_or(request.name);
        rows.push([name, request.version, request.description].map(str::to_owned).to_vec());
    }
    table(&rows)
}
