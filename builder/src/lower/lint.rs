//! The lint rules that depend on what is built: on arguments, on the base images, on the ignore
//! file. Like the rest of the lowering they only look at data.

mod copy;
mod from;
mod stage;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use super::plan::{Plan, Wanted};
use super::scope::Scope;
use super::{Request, ResolvedImage};
use crate::dockerfile::{Check, Diagnostic, Dockerfile, Kind, Rule, expand, suggest};

pub(super) use stage::{Declared, declared};

/// The check that holds for a build: the request's, else the file's own.
pub(super) fn check<'a>(file: &'a Dockerfile, request: &'a Request) -> Option<&'a Check> {
    request.check.as_ref().or(file.directives.check.as_ref())
}

/// Finds what all rules have to say about a build, in the order of the file. Without a plan only
/// what the text and the arguments tell is found.
pub(super) fn find(
    file: &Dockerfile,
    plan: Option<&Plan>,
    request: &Request,
    resolved: &BTreeMap<Wanted, ResolvedImage>,
) -> Vec<Diagnostic> {
    let told = |warning: &&Diagnostic| {
        warning.kind != Kind::Lint(Rule::LegacyKeyValueFormat)
            || plan.is_some_and(|plan| is_built(file, plan, warning))
    };
    let mut all: Vec<_> = file.warnings.iter().filter(told).cloned().collect();
    all.extend(from::find(file, request));
    if let Some(plan) = plan {
        all.extend(stage::find(file, plan, request, resolved));
    }
    all.sort_by_key(|warning| warning.span.start);
    file.kept_under(check(file, request), all)
}

/// Whether a warning is about a stage that is built.
fn is_built(file: &Dockerfile, plan: &Plan, warning: &Diagnostic) -> bool {
    let start = warning.span.start;
    let behind = file.stages.partition_point(|stage| stage.from.span.start <= start);
    behind.checked_sub(1).and_then(|index| plan.stages.get(index)).is_some_and(|stage| stage.wanted)
}

/// What a text has asked a scope for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The expanded text; none where it is not valid.
    pub(super) value: Option<String>,
    /// The names with a value, each once.
    pub(super) known: Vec<String>,
    /// The names without one, each once.
    unknown: Vec<String>,
}

/// Expands a text as an instruction does, and notes the names.
pub(super) fn ask(scope: &Scope, text: &str) -> Asked {
    asked(scope, |lookup| expand::expand(text, scope.escape(), lookup).ok())
}

fn asked<'s>(
    scope: &'s Scope,
    expand: impl FnOnce(&mut dyn FnMut(&str) -> Option<Cow<'s, str>>) -> Option<String>,
) -> Asked {
    let mut asked = Asked::default();
    let (known, unknown) = (&mut asked.known, &mut asked.unknown);
    let mut seen = HashSet::new();
    let mut lookup = |name: &str| {
        let value = scope.get(name);
        if seen.insert(name.to_owned()) {
            let names = if value.is_some() { &mut *known } else { &mut *unknown };
            names.push(name.to_owned());
        }
        value.map(Cow::Borrowed)
    };
    let value = expand(&mut lookup);
    asked.value = value.filter(|value| scope.spend(value.len()).is_ok());
    asked
}

/// The names that are still compared with others: there may be very many of both.
struct Near(usize);

impl Near {
    /// How many names are compared, and with how many others.
    const NAMES: usize = 20;
    const OTHERS: usize = 1000;

    fn new() -> Self {
        Self(Self::NAMES)
    }

    /// ` (did you mean …?)`, where another name is near; `sign` stands before names.
    fn hint<'a>(
        &mut self,
        sign: &str,
        name: &str,
        others: impl Iterator<Item = &'a str>,
    ) -> String {
        let Some(left) = self.0.checked_sub(1) else {
            return String::new();
        };
        self.0 = left;
        let others = others.take(Self::OTHERS).map(|other| format!("{sign}{other}"));
        let others: Vec<_> = others.collect();
        let hint = suggest(&format!("{sign}{name}"), others.iter().map(String::as_str));
        hint.map_or_else(String::new, |hint| format!(" ({hint})"))
    }
}
