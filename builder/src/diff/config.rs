//! What differs between the configs of two images.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Aspect;
use crate::image::{ContainerConfig, History, ImageConfig};

/// Compares field by field; times count only where `times` says so.
pub(super) fn compare(first: &ImageConfig, second: &ImageConfig, times: bool) -> Vec<Aspect> {
    let mut aspects = Vec::new();
    let platform = (first.platform().to_string(), second.platform().to_string());
    aspects.extend(field("platform", json!(platform.0), json!(platform.1)));
    aspects.extend(field("author", json!(first.author), json!(second.author)));
    if times {
        aspects.extend(field("created", json!(first.created), json!(second.created)));
    }
    aspects.extend(defaults(&first.config, &second.config));
    aspects.extend(history(&first.history, &second.history, times));
    aspects
}

fn field(what: &str, was: Value, now: Value) -> Option<Aspect> {
    (was != now).then(|| Aspect { what: what.to_owned(), was: text(was), now: text(now) })
}

/// A value for people; none for what says nothing.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(items) if items.is_empty() => None,
        Value::Object(fields) if fields.is_empty() => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

fn defaults(first: &ContainerConfig, second: &ContainerConfig) -> Vec<Aspect> {
    let mut aspects = Vec::new();
    let mut add = |what: &str, was: Value, now: Value| aspects.extend(field(what, was, now));
    add("user", json!(first.user), json!(second.user));
    add("entrypoint", json!(first.entrypoint), json!(second.entrypoint));
    add("cmd", json!(first.cmd), json!(second.cmd));
    add("workdir", json!(first.working_dir), json!(second.working_dir));
    add("shell", json!(first.shell), json!(second.shell));
    add("stop signal", json!(first.stop_signal), json!(second.stop_signal));
    add("healthcheck", json!(first.healthcheck), json!(second.healthcheck));
    add("onbuild", json!(first.on_build), json!(second.on_build));
    aspects.extend(pairs("env", &environment(first), &environment(second)));
    aspects.extend(pairs("label", &first.labels, &second.labels));
    let set = |names: &std::collections::BTreeSet<String>| -> BTreeMap<String, String> {
        names.iter().map(|name| (name.clone(), name.clone())).collect()
    };
    aspects.extend(pairs("port", &set(&first.exposed_ports), &set(&second.exposed_ports)));
    aspects.extend(pairs("volume", &set(&first.volumes), &set(&second.volumes)));
    aspects
}

fn environment(config: &ContainerConfig) -> BTreeMap<String, String> {
    let pair = |line: &String| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    };
    config.env.iter().map(pair).collect()
}

fn pairs(
    what: &str,
    first: &BTreeMap<String, String>,
    second: &BTreeMap<String, String>,
) -> Vec<Aspect> {
    let mut names: Vec<_> = first.keys().chain(second.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let aspect = |name: &String| {
        let (was, now) = (first.get(name).cloned(), second.get(name).cloned());
        (was != now).then(|| Aspect { what: format!("{what} {name}"), was, now })
    };
    names.into_iter().filter_map(aspect).collect()
}

/// The lines of the histories between those that both begin and end with.
fn history(first: &[History], second: &[History], times: bool) -> Vec<Aspect> {
    let line = |line: &History| {
        let time = if times { line.created } else { None };
        History { created: time, comment: String::new(), ..line.clone() }
    };
    let lines = |all: &[History]| all.iter().map(line).collect::<Vec<_>>();
    let (first, second) = (lines(first), lines(second));
    let before = first.iter().zip(&second).take_while(|(a, b)| a == b).count();
    let (first, second) = (&first[before..], &second[before..]);
    let after = first.iter().rev().zip(second.iter().rev()).take_while(|(a, b)| a == b).count();
    let (first, second) = (&first[..first.len() - after], &second[..second.len() - after]);
    let shown = |line: &History| match line.created {
        Some(time) => format!("{} at {time}", line.created_by),
        None => line.created_by.clone(),
    };
    let aspect = |place: usize, was: Option<&History>, now: Option<&History>| Aspect {
        what: format!("history {}", before + place + 1),
        was: was.map(shown),
        now: now.map(shown),
    };
    if first.len() == second.len() {
        let pairs = first.iter().zip(second).enumerate().filter(|(_, (a, b))| a != b);
        return pairs.map(|(place, (was, now))| aspect(place, Some(was), Some(now))).collect();
    }
    let gone = first.iter().enumerate().map(|(place, was)| aspect(place, Some(was), None));
    let new = second.iter().enumerate().map(|(place, now)| aspect(place, None, Some(now)));
    gone.chain(new).collect()
}
