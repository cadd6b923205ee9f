//! The stages that can be built.

use serde::Serialize;

use super::{Bytes, Location, description};
use crate::dockerfile::Dockerfile;
use crate::error::Source;

/// The stages of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Targets {
    /// In the order of the file.
    pub targets: Vec<Target>,
    /// The Dockerfile.
    pub sources: Vec<Bytes>,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Target {
    /// The name; empty for a stage without one.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: String,
    /// Whether it is built where no target is named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// What the comment above FROM says about it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: String,
    /// The image or stage that it stands on, as written.
    pub base: String,
    /// Its `--platform`, as written.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub platform: String,
    /// Where its FROM is.
    pub location: Location,
}

impl Targets {
    /// The stages of a file.
    pub(crate) fn new(file: &Source, tree: &Dockerfile) -> Self {
        let last = tree.stages.len().saturating_sub(1);
        let target = |(index, stage): (usize, &crate::dockerfile::Stage)| {
            let from = &stage.from.value;
            let name = from.name.clone().unwrap_or_default();
            Target {
                default: index == last,
                description: description(&stage.from.comments, &name),
                base: from.image.text.clone(),
                platform: from.platform.as_ref().map(|word| word.text.clone()).unwrap_or_default(),
                location: stage.from.span.into(),
                name,
            }
        };
        Self {
            targets: tree.stages.iter().enumerate().map(target).collect(),
            sources: vec![Bytes(file.text.as_bytes().to_vec())],
        }
    }
}
