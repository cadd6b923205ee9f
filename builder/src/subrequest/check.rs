//! What a check has found.

use std::error::Error as _;

use serde::Serialize;

use super::{Bytes, Location};
use crate::dockerfile::{Diagnostic, Kind, Span};
use crate::error::{Error, Source};

/// What a check has found in a Dockerfile.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CheckReport {
    /// What the lint rules found, in the order of the file.
    pub warnings: Vec<Warning>,
    /// The Dockerfile.
    pub sources: Vec<SourceInfo>,
    /// Why the Dockerfile cannot be built, where it can't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_error: Option<BuildError>,
    /// The same with all that is known of it.
    #[serde(skip)]
    pub error: Option<Error>,
}

/// What one rule has found in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Warning {
    /// The rule, as `# check=skip=` names it.
    pub rule_name: &'static str,
    /// What the rule asks for.
    pub description: &'static str,
    /// The page about the rule; some have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What was found here.
    pub detail: String,
    /// Where.
    pub location: Location,
}

/// A Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SourceInfo {
    /// Its name.
    pub filename: String,
    /// Its language: `Dockerfile`.
    pub language: &'static str,
    /// Its text.
    pub data: Bytes,
}

/// Why a Dockerfile cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BuildError {
    /// In one line.
    pub message: String,
    /// Where; nowhere for what is not in the file.
    pub location: Location,
}

impl CheckReport {
    /// The report about a file.
    pub(crate) fn new(file: &Source, warnings: &[Diagnostic], error: Option<Error>) -> Self {
        let source = SourceInfo {
            filename: file.name.clone(),
            language: "Dockerfile",
            data: Bytes(file.text.as_bytes().to_vec()),
        };
        Self {
            warnings: warnings.iter().filter_map(Warning::new).collect(),
            sources: vec![source],
            build_error: error.as_ref().map(BuildError::new),
            error,
        }
    }

    /// Whether anything was found.
    pub fn is_clean(&self) -> bool {
        self.warnings.is_empty() && self.build_error.is_none()
    }
}

impl Warning {
    fn new(found: &Diagnostic) -> Option<Self> {
        let Kind::Lint(rule) = found.kind else {
            return None;
        };
        Some(Self {
            rule_name: rule.name(),
            description: rule.description(),
            url: rule.url(),
            detail: found.message.clone(),
            location: found.span.into(),
        })
    }
}

impl BuildError {
    fn new(error: &Error) -> Self {
        let mut message = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            message = format!("{message}: {cause}");
            next = cause.source();
        }
        let span = error.excerpt().map(|(_, span)| span).filter(|span| *span != Span::default());
        Self { message, location: span.map_or_else(Location::default, Into::into) }
    }
}
