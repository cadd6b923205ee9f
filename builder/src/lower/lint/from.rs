//! The rules about FROM, which hold for every stage, built or not.

use super::{Asked, ask, near};
use crate::dockerfile::{Diagnostic, Dockerfile, From, Rule, Statement, Word};
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
        for stage in &file.stages {
            arguments(&mut found, file, &global, &stage.from);
        }
    }
    if let Ok(defaults) = global_scope(file, &without_arguments(request), target) {
        for (index, stage) in file.stages.iter().enumerate() {
            let image = &stage.from.value.image;
            let asked = ask(&defaults, &image.text);
            let name = asked.value.as_deref().unwrap_or_default();
            if uses_any(&asked) && !is_stage(file, index, name) && !is_image(name) {
                let message =
                    format!("with the defaults alone `{}` is `{name}`, no image", image.text);
                let rule = Rule::InvalidDefaultArgInFrom;
                found.push(Diagnostic::lint(rule, stage.from.span, message));
            }
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

/// Whether an earlier stage has this name.
fn is_stage(file: &Dockerfile, index: usize, name: &str) -> bool {
    let lower = name.to_lowercase();
    file.stages[..index].iter().any(|stage| stage.from.value.name.as_deref() == Some(&lower))
}

fn arguments(
    found: &mut Vec<Diagnostic>,
    file: &Dockerfile,
    global: &Scope,
    statement: &Statement<From>,
) {
    let from = &statement.value;
    let mut add = |rule, message: String| {
        found.push(Diagnostic::lint(rule, statement.span, message));
    };
    for word in [Some(&from.image), from.platform.as_ref()].into_iter().flatten() {
        for name in undeclared(file, global, word) {
            let hint = near(&name, declared(file, global));
            let message = format!("no ARG above the first FROM declares `{name}`{hint}");
            add(Rule::UndefinedArgInFrom, message);
        }
    }
    let Some(word) = &from.platform else {
        return;
    };
    let asked = ask(global, &word.text);
    let value = asked.value.as_deref().unwrap_or_default();
    let only_target = asked.known == ["TARGETPLATFORM"] && asked.unknown.is_empty();
    if only_target && global.get("TARGETPLATFORM") == Some(value) {
        let message = format!("`--platform={}` is what holds anyway", word.text);
        add(Rule::RedundantTargetPlatform, message);
    }
    if !uses_any(&asked) && is_constant(value, from.name.as_deref().unwrap_or_default()) {
        let message = format!("`--platform={value}` builds for one platform only");
        add(Rule::FromPlatformFlagConstDisallowed, message);
    }
}

/// Whether a platform is one that the name of its stage does not announce.
fn is_constant(value: &str, stage: &str) -> bool {
    let platform = platform::parse(value);
    platform.is_ok_and(|is| !stage.contains(is.os()) && !stage.contains(is.architecture()))
}

/// The arguments that FROM may use.
fn declared<'a>(file: &'a Dockerfile, global: &'a Scope) -> impl Iterator<Item = &'a str> + Clone {
    let arguments = file.args.iter().flat_map(|statement| &statement.value);
    let names = arguments.map(|argument| argument.name.text.as_str());
    names.chain(global.variables().iter().map(|(name, _)| name.as_str()))
}

fn undeclared(file: &Dockerfile, global: &Scope, word: &Word) -> Vec<String> {
    let mut names = ask(global, &word.text).unknown;
    names.retain(|name| !declared(file, global).any(|known| known == name));
    names
}
