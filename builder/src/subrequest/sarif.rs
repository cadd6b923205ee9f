//! A check as SARIF 2.1.0, the form that tools for code review read.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{CheckReport, Location};
use crate::dockerfile::{Rule, Span};
use crate::error::Error;

/// The rule of what is no lint: the file cannot be built.
const BUILD_ERROR: &str = "BuildError";

impl CheckReport {
    /// Returns the report as a SARIF log; `path` is where the Dockerfile is, relative to the root of
    /// what is reviewed.
    pub fn to_sarif(&self, path: &str) -> Value {
        let mut results: Vec<Value> = self.warnings.iter().map(|w| warning(w, path)).collect();
        results.extend(self.errors().into_iter().map(|(message, location)| {
            result(BUILD_ERROR, Rule::ALL.len(), "error", &message, &location, path)
        }));
        let driver = json!({
            "name": "rbuild",
            "semanticVersion": env!("CARGO_PKG_VERSION"),
            "rules": rules(),
        });
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": driver },
                "columnKind": "unicodeCodePoints",
                "results": results,
            }],
        })
    }

    /// All errors of the file, or the one that there is.
    fn errors(&self) -> Vec<(String, Location)> {
        let place = |span: Span| if span == Span::default() { None } else { Some(span.into()) };
        match (&self.error, &self.build_error) {
            (Some(Error::Dockerfile { errors, .. }), _) => errors
                .iter()
                .map(|error| (error.message.clone(), place(error.span).unwrap_or_default()))
                .collect(),
            (_, Some(error)) => vec![(error.message.clone(), error.location.clone())],
            _ => Vec::new(),
        }
    }
}

fn rules() -> Vec<Value> {
    let rule = |rule: &Rule| {
        let mut described = json!({
            "id": rule.name(),
            "shortDescription": { "text": rule.description() },
            "defaultConfiguration": { "level": "warning", "enabled": !rule.is_experimental() },
        });
        if let Some(url) = rule.url() {
            described["helpUri"] = url.into();
        }
        described
    };
    let mut rules: Vec<Value> = Rule::ALL.iter().map(rule).collect();
    rules.push(json!({
        "id": BUILD_ERROR,
        "shortDescription": { "text": "The Dockerfile cannot be built" },
        "defaultConfiguration": { "level": "error" },
    }));
    rules
}

fn warning(warning: &super::Warning, path: &str) -> Value {
    let place = Rule::ALL.iter().position(|rule| rule.name() == warning.rule_name);
    let place = place.unwrap_or_default();
    result(warning.rule_name, place, "warning", &warning.detail, &warning.location, path)
}

fn result(
    rule: &str,
    place: usize,
    level: &str,
    message: &str,
    location: &Location,
    path: &str,
) -> Value {
    // What has no place of its own is shown at the first line.
    let (first, last) = location.lines().unwrap_or((1, 1));
    json!({
        "ruleId": rule,
        "ruleIndex": place,
        "level": level,
        "message": { "text": message },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": uri(path) },
                "region": { "startLine": first, "endLine": last },
            },
        }],
    })
}

/// A path as a relative reference: what means something in a URI is written in hexadecimal.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_references() {
        assert_eq!(uri("docker/Dockerfile.dev"), "docker/Dockerfile.dev");
        assert_eq!(uri("a b/ü:c"), "a%20b/%C3%BC%3Ac");
    }
}
