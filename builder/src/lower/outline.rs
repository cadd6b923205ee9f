//! The arguments that a target takes, with the values that they have.

use std::collections::{BTreeMap, BTreeSet};

use super::lint::{Declared, ask, declared};
use super::plan::{Base, Plan, sources};
use super::scope::is_automatic;
use super::{Request, ResolvedImage, Wanted};
use crate::dockerfile::{Dockerfile, Span};

/// An argument of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The name.
    pub name: String,
    /// The lines of the comment above.
    pub comments: Vec<String>,
    /// The value; empty where there is none.
    pub value: String,
    /// Its ARG.
    pub span: Span,
}

/// Collects the arguments that the target and all beneath it use, in the order of the file.
pub(super) fn arguments(
    file: &Dockerfile,
    plan: &Plan,
    request: &Request,
    resolved: &BTreeMap<Wanted, ResolvedImage>,
) -> Vec<Argument> {
    let mut outline = Outline {
        globals: globals(file, plan, request),
        declared: declared(file, plan, request, resolved),
        names: BTreeSet::new(),
        arguments: Vec::new(),
    };
    let mut seen = BTreeSet::new();
    let mut pending = vec![plan.target];
    while let Some(index) = pending.pop() {
        if !seen.insert(index) {
            continue;
        }
        outline.stage(file, plan, index);
        let planned = &plan.stages[index];
        let others = planned.instructions.iter().flat_map(|statement| {
            let names = sources(&statement.value).into_iter();
            names.map(|(name, numbers)| {
                plan.from(index, &name, numbers, statement.span, request).unwrap_or(Base::Scratch)
            })
        });
        // What the stage stands on counts before what it copies from.
        for base in others.chain([planned.base.clone()]) {
            if let Base::Stage(below) = base {
                pending.push(below);
            }
        }
    }
    outline.arguments.sort_by_key(|argument| argument.span.start);
    outline.arguments
}

/// An ARG above the first FROM, and the arguments that its default uses.
struct Global {
    argument: Argument,
    uses: Vec<String>,
}

fn globals(file: &Dockerfile, plan: &Plan, request: &Request) -> BTreeMap<String, Global> {
    let mut scope = plan.global.beside();
    let automatic = plan.global.variables().iter().filter(|(name, _)| is_automatic(name));
    for (name, value) in automatic {
        scope.set(name, value);
    }
    let mut globals: BTreeMap<String, Global> = BTreeMap::new();
    for statement in &file.args {
        for argument in &statement.value {
            let name = argument.name.text.clone();
            let (value, mut uses) = match (request.argument(&name), &argument.default) {
                (Some(value), _) => (value.to_owned(), Vec::new()),
                (None, Some(default)) => {
                    let asked = ask(&scope, &default.text);
                    (asked.value.unwrap_or_default(), asked.known)
                }
                (None, None) => (String::new(), Vec::new()),
            };
            // One that is made of an earlier one of its name uses what that used.
            if uses.contains(&name) {
                let before = globals.get(&name).map(|earlier| earlier.uses.clone());
                uses.extend(before.unwrap_or_default());
                uses.retain(|used| *used != name);
            }
            if request.argument(&name).is_some() || argument.default.is_some() {
                scope.set(&name, &value);
            }
            let (comments, span) = (statement.comments.clone(), statement.span);
            let argument = Argument { name: name.clone(), comments, value, span };
            globals.insert(name, Global { argument, uses });
        }
    }
    globals
}

struct Outline {
    globals: BTreeMap<String, Global>,
    declared: Vec<Vec<Declared>>,
    names: BTreeSet<String>,
    arguments: Vec<Argument>,
}

impl Outline {
    fn stage(&mut self, file: &Dockerfile, plan: &Plan, index: usize) {
        let mut used = Vec::new();
        for declared in std::mem::take(&mut self.declared[index]) {
            if declared.inherited {
                used.push(declared.argument.name);
            } else if self.names.insert(declared.argument.name.clone()) {
                self.arguments.push(declared.argument);
            }
        }
        let from = &file.stages[index].from.value;
        for word in [Some(&from.image), from.platform.as_ref()].into_iter().flatten() {
            used.extend(ask(&plan.global, &word.text).known);
        }
        while let Some(name) = used.pop() {
            if let Some(global) = self.globals.get(&name)
                && self.names.insert(name)
            {
                used.extend(global.uses.iter().cloned());
                self.arguments.push(global.argument.clone());
            }
        }
    }
}
