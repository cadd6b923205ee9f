//! What can be asked about a Dockerfile in place of a build, and the answers as `BuildKit` words
//! them in JSON: [`CheckReport`], [`Outline`], [`Targets`], and [`requests()`], which lists them.

mod check;
mod outline;
mod sarif;
mod targets;

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use crate::dockerfile::Span;

pub use check::{BuildError, CheckReport, SourceInfo, Warning};
pub use outline::{Cache, Credential, Outline, Parameter};
pub use targets::{Target, Targets};

/// A place in the Dockerfile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Location {
    /// Its lines, one range for each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
}

/// A stretch of the Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range {
    /// Where it begins.
    pub start: Position,
    /// Where it ends.
    pub end: Position,
}

/// A point in the Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The line, counted from 1.
    pub line: usize,
}

impl Location {
    /// The first and the last line, where there are any.
    pub fn lines(&self) -> Option<(usize, usize)> {
        Some((self.ranges.first()?.start.line, self.ranges.last()?.end.line))
    }
}

impl From<Span> for Location {
    fn from(span: Span) -> Self {
        let (first, last) = span.lines;
        let at = |line| Range { start: Position { line }, end: Position { line } };
        Self { ranges: (first.max(1)..=last).map(at).collect() }
    }
}

/// Bytes, which JSON has in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

/// Something that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Request {
    /// The name, with `frontend.` before it.
    pub name: &'static str,
    /// The version of the answer's form.
    pub version: &'static str,
    /// How it is asked.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What it is about.
    pub description: &'static str,
    /// The options that count.
    #[serde(rename = "opts", skip_serializing_if = "<[Named]>::is_empty")]
    pub options: &'static [Named],
    /// The forms of the answer.
    pub metadata: &'static [Named],
}

/// An option or a form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The name.
    pub name: &'static str,
    /// What it means, where that is not clear.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: &'static str,
}

const JSON: Named = Named { name: "result.json", description: "" };
const TEXT: Named = Named { name: "result.txt", description: "" };
const STATUS: Named = Named { name: "result.statuscode", description: "" };
const TARGET: Named = Named { name: "target", description: "the stage that is asked about" };

/// Returns all that can be asked.
pub fn requests() -> &'static [Request] {
    const fn request(
        name: &'static str,
        description: &'static str,
        options: &'static [Named],
        metadata: &'static [Named],
    ) -> Request {
        Request { name, version: "1.0.0", kind: "rpc", description, options, metadata }
    }
    const ALL: &[Request] = &[
        request(
            "frontend.outline",
            "What a target takes: arguments, secrets, agents",
            &[TARGET],
            &[JSON, TEXT],
        ),
        request("frontend.targets", "The stages that can be built", &[], &[JSON, TEXT]),
        request(
            "frontend.lint",
            "What the lint rules find in the Dockerfile",
            &[TARGET],
            &[JSON, TEXT, STATUS],
        ),
        request(
            "frontend.subrequests.describe",
            "What can be asked, as listed here",
            &[],
            &[JSON, TEXT],
        ),
    ];
    ALL
}

/// What a comment above an instruction says about a name: the rest of the line that starts with it.
fn description(comments: &[String], name: &str) -> String {
    let about = |line: &String| Some(line.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
    let mut named = comments.iter().filter(|_| !name.is_empty());
    named.find_map(about).unwrap_or_default()
}
