//! Stages that need each other: found where one uses another that is not before it.

use std::collections::{HashMap, VecDeque};

use super::plan::{Base, Plan, sources};
use crate::dockerfile::{Diagnostic, Span};

/// The error of a stage that uses a later one, or itself, if that one needs it in turn.
pub(super) fn error(plan: &Plan, stage: usize, later: usize, span: Span) -> Option<Diagnostic> {
    let back = path(plan, later, stage)?;
    let name = |index: usize| &plan.stages[index].name;
    let steps = std::iter::once((stage, later, span)).chain(back);
    let steps = steps.map(|(user, used, span)| {
        format!("stage `{}` uses `{}` (line {})", name(user), name(used), span.lines.0)
    });
    let message = format!("circular dependency: {}", steps.collect::<Vec<_>>().join(", "));
    let hint = "move what both need into a stage of its own".to_owned();
    Some(Diagnostic::error(span, message).hint(hint))
}

/// The shortest way from one stage to another, each step a use: who, whom, where.
fn path(plan: &Plan, start: usize, end: usize) -> Option<Vec<(usize, usize, Span)>> {
    let mut came: HashMap<usize, (usize, Span)> = HashMap::new();
    let mut pending = VecDeque::from([start]);
    while let Some(stage) = pending.pop_front() {
        if stage == end {
            return Some(back(&came, start, end));
        }
        for (used, span) in uses(plan, stage) {
            if used != start && !came.contains_key(&used) {
                came.insert(used, (stage, span));
                pending.push_back(used);
            }
        }
    }
    None
}

fn back(
    came: &HashMap<usize, (usize, Span)>,
    start: usize,
    end: usize,
) -> Vec<(usize, usize, Span)> {
    let mut steps = Vec::new();
    let mut stage = end;
    while stage != start {
        let Some(&(before, span)) = came.get(&stage) else { break };
        steps.push((before, stage, span));
        stage = before;
    }
    steps.reverse();
    steps
}

/// The stages that a stage uses, and where it does.
fn uses(plan: &Plan, stage: usize) -> Vec<(usize, Span)> {
    let planned = &plan.stages[stage];
    let mut used = Vec::new();
    if let Base::Stage(below) = planned.base {
        used.push((below, planned.from));
    }
    for statement in &planned.instructions {
        for (name, numbers) in sources(&statement.value) {
            let number = name.parse().ok().filter(|_| numbers);
            let found = number.or_else(|| plan.stage_named(&name));
            used.extend(
                found.filter(|&used| used < plan.stages.len()).map(|used| (used, statement.span)),
            );
        }
    }
    used
}
