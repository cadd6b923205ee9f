//! The rules about FROM, which hold for every stage, built or not.

use std::collections::BTreeSet;

use super::{Asked, Near, ask};
use crate::dockerfile::{Diagnostic, Dockerfile, From, Rule, Span, Statement, Word};
use crate::lower::Request;
use crate::lower::plan::{find_target, global_scope};
use crate::lower::scope::{Scope, is_automatic};
use crate::platform;

/// Finds what the rules have to say.
pub(super) fn find(file: &Dockerfile, request: &Request) -> Vec<Diagnostic> {
    let target = find_target(file, request.target.as_deref());
    let target = target.unwrap_or(file.stages.len().saturating_sub(1));
    let mut found = Vec::new();
    if let Ok(global) = global_scope(file, request, target) {
        let arguments = file.args.iter().flat_map(|statement| &statement.value);
        let names = arguments.map(|argument| argument.name.text.as_str());
        let names = names.chain(global.variables().iter().map(|(name, _)| name.as_str()));
        let mut look =
            Look { declared: names.collect(), global: &global, near: Near::new(), found };
        for stage in &file.stages {
            look.from(&stage.from);
        }
        found = look.found;
    }
    if let Ok(defaults) = global_scope(file, &without_arguments(request), target) {
        let mut earlier = BTreeSet::new();
        for stage in &file.stages {
            let image = &stage.from.value.image;
            let asked = ask(&defaults, &image.text);
            let name = asked.value.as_deref().unwrap_or_default();
            let is_stage = || earlier.contains(name.to_lowercase().as_str());
            if uses_any(&asked) && !is_image(name) && !is_stage() {
                let message =
                    format!("with the defaults alone `{}` is `{name}`, no image", image.text);
                let rule = Rule::InvalidDefaultArgInFrom;
                found.push(Diagnostic::lint(rule, stage.from.span, message));
            }
            earlier.extend(stage.from.value.name.as_deref());
        }
    }
    found
}

/// The same request with no `--build-arg` but those of the automatic arguments.
fn without_arguments(request: &Request) -> Request {
    let mut request = request.clone();
    request.arguments.retain(|name, _| is_automatic(name));
    request
}

fn uses_any(asked: &Asked) -> bool {
    !asked.known.is_empty() || !asked.unknown.is_empty()
}

fn is_image(name: &str) -> bool {
    name.parse::<rbuild_registry::Reference>().is_ok()
}

/// A look at what FROM uses.
struct Look<'a> {
    /// The arguments that it may use.
    declared: BTreeSet<&'a str>,
    global: &'a Scope,
    near: Near,
    found: Vec<Diagnostic>,
}

impl Look<'_> {
    fn from(&mut self, statement: &Statement<From>) {
        let from = &statement.value;
        let at = statement.span;
        for word in [Some(&from.image), from.platform.as_ref()].into_iter().flatten() {
            for name in ask(self.global, &word.text).unknown {
                if !self.declared.contains(name.as_str()) {
                    let hint = self.near.hint("", &name, self.declared.iter().copied());
                    let message = format!("no ARG above the first FROM declares `{name}`{hint}");
                    self.add(Rule::UndefinedArgInFrom, at, message);
                }
            }
        }
        if let Some(word) = &from.platform {
            self.platform(word, from.name.as_deref().unwrap_or_default(), at);
        }
    }

    fn platform(&mut self, word: &Word, stage: &str, at: Span) {
        let asked = ask(self.global, &word.text);
        let value = asked.value.as_deref().unwrap_or_default();
        let only_target = asked.known == ["TARGETPLATFORM"] && asked.unknown.is_empty();
        if only_target && self.global.get("TARGETPLATFORM") == Some(value) {
            let message = format!("`--platform={}` is what holds anyway", word.text);
            self.add(Rule::RedundantTargetPlatform, at, message);
        }
        if !uses_any(&asked) && is_constant(value, stage) {
            let message = format!("`--platform={value}` builds for one platform only");
            self.add(Rule::FromPlatformFlagConstDisallowed, at, message);
        }
    }

    fn add(&mut self, rule: Rule, at: Span, message: String) {
        self.found.push(Diagnostic::lint(rule, at, message));
    }
}

/// Whether a platform is one that the name of its stage does not announce.
fn is_constant(value: &str, stage: &str) -> bool {
    let platform = platform::parse(value);
    platform.is_ok_and(|is| !stage.contains(is.os()) && !stage.contains(is.architecture()))
}
