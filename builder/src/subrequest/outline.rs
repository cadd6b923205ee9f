//! What a target takes: arguments, secrets, agents, caches.

use std::collections::BTreeSet;

use rbuild_solver::Work;
use rbuild_solver::op::{MountKind, Op};
use serde::Serialize;

use super::{Bytes, Location, description};
use crate::dockerfile::{Dockerfile, Span};
use crate::error::Source;
use crate::lower::{Argument, Lowered};

/// What a target takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Outline {
    /// The name of the target; empty for a stage without one.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: String,
    /// What the comment above FROM says about it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: String,
    /// The arguments that it and the stages beneath use, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Parameter>,
    /// The secrets that some step mounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Credential>,
    /// The SSH agents that some step mounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<Credential>,
    /// The cache folders that some step mounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<Cache>,
    /// The Dockerfile.
    pub sources: Vec<Bytes>,
}

/// An argument: what `--build-arg` may set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Parameter {
    /// The name.
    pub name: String,
    /// What the comment above ARG says about it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: String,
    /// The value that it has.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub value: String,
    /// Where its ARG is.
    pub location: Location,
}

/// A secret or an SSH agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Credential {
    /// Its id.
    pub name: String,
    /// Whether the step fails without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// The first step that mounts it.
    pub location: Location,
}

/// A cache folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Cache {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// The first step that mounts it.
    pub location: Location,
}

impl Outline {
    /// What the target of a lowered file takes.
    pub(crate) fn new(
        file: &Source,
        tree: &Dockerfile,
        lowered: &Lowered,
        (stage, arguments): (usize, Vec<Argument>),
    ) -> Self {
        let mut outline = Self {
            args: arguments.into_iter().map(Into::into).collect(),
            sources: vec![Bytes(file.text.as_bytes().to_vec())],
            ..Self::default()
        };
        if let Some(stage) = tree.stages.get(stage) {
            outline.name = stage.from.value.name.clone().unwrap_or_default();
            outline.description = description(&stage.from.comments, &outline.name);
        }
        outline.mounts(lowered);
        outline
    }

    fn mounts(&mut self, lowered: &Lowered) {
        let mut steps = Vec::new();
        for (_, vertex) in lowered.graph.iter() {
            if let Work::Op { op: Op::Exec(exec), .. } = &vertex.work {
                let span = lowered.spans.get(&vertex.place).copied().unwrap_or_default();
                steps.extend(exec.mounts.iter().map(|mount| (span, &mount.kind)));
            }
        }
        steps.sort_by_key(|(span, _)| span.start);
        let mut seen = BTreeSet::new();
        for (span, kind) in steps {
            self.mount(span, kind, &mut seen);
        }
    }

    fn mount(&mut self, span: Span, kind: &MountKind, seen: &mut BTreeSet<(u8, String)>) {
        let location = || Location::from(span);
        match kind {
            MountKind::Secret { id, required, .. } if seen.insert((0, id.clone())) => {
                let (name, required) = (id.clone(), *required);
                self.secrets.push(Credential { name, required, location: location() });
            }
            MountKind::Ssh { id, required, .. } if seen.insert((1, id.clone())) => {
                let (name, required) = (id.clone(), *required);
                self.ssh.push(Credential { name, required, location: location() });
            }
            MountKind::Cache { id, .. } if seen.insert((2, id.clone())) => {
                self.cache.push(Cache { id: id.clone(), location: location() });
            }
            _ => {}
        }
    }
}

impl From<Argument> for Parameter {
    fn from(argument: Argument) -> Self {
        Self {
            description: description(&argument.comments, &argument.name),
            name: argument.name,
            value: argument.value,
            location: argument.span.into(),
        }
    }
}
