//! The functions of templates.

use std::cmp::Ordering;

use serde_json::Value;

use super::FormatError;
use super::eval::{holds, text_of};
use super::printf::{WIDEST, printf};

/// Calls a function; what a pipe passes on is the last argument.
pub(super) fn apply(name: &str, arguments: &[Value]) -> Result<Value, FormatError> {
    let text = |place: usize| arguments.get(place).map(text_of).unwrap_or_default();
    let spaced = || arguments.iter().map(text_of).collect::<Vec<_>>().join(" ");
    let truth = |place: usize| arguments.get(place).is_some_and(holds);
    Ok(match name {
        "json" => Value::from(arguments.first().unwrap_or(&Value::Null).to_string()),
        "print" => Value::from(arguments.iter().map(text_of).collect::<String>()),
        "println" => Value::from(spaced() + "\n"),
        "printf" => Value::from(printf(&text(0), arguments.get(1..).unwrap_or_default())),
        "upper" => Value::from(text(0).to_uppercase()),
        "lower" => Value::from(text(0).to_lowercase()),
        "title" => Value::from(title(&text(0))),
        "join" => Value::from(join(arguments, &text(1))?),
        "split" => text(0).split(&text(1)).map(Value::from).collect(),
        "slice" => slice(arguments)?,
        "truncate" => {
            let length = arguments.get(1).and_then(Value::as_u64).unwrap_or(0);
            Value::from(
                text(0).chars().take(usize::try_from(length).unwrap_or(0)).collect::<String>(),
            )
        }
        "len" => Value::from(length(arguments)?),
        "index" => index(arguments)?,
        "not" => Value::Bool(!truth(0)),
        "and" => arguments
            .iter()
            .find(|value| !holds(value))
            .or(arguments.last())
            .cloned()
            .unwrap_or_default(),
        "or" => arguments
            .iter()
            .find(|value| holds(value))
            .or(arguments.last())
            .cloned()
            .unwrap_or_default(),
        "eq" => Value::Bool(arguments.iter().skip(1).any(|other| Some(other) == arguments.first())),
        "gt" => Value::Bool(order("gt", arguments)?.is_gt()),
        "ge" => Value::Bool(order("ge", arguments)?.is_ge()),
        "lt" => Value::Bool(order("lt", arguments)?.is_lt()),
        "le" => Value::Bool(order("le", arguments)?.is_le()),
        "pad" => Value::from(pad(&text(0), arguments)),
        "ne" => Value::Bool(arguments.first() != arguments.get(1)),
        _ => {
            return Err(FormatError::UnknownFunction { name: name.to_owned() });
        }
    })
}

fn join(arguments: &[Value], between: &str) -> Result<String, FormatError> {
    match arguments.first() {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::Array(items)) => {
            Ok(items.iter().map(text_of).collect::<Vec<_>>().join(between))
        }
        Some(_) => Err(FormatError::WrongValue { function: "join" }),
    }
}

fn length(arguments: &[Value]) -> Result<usize, FormatError> {
    match arguments.first() {
        None | Some(Value::Null) => Ok(0),
        Some(Value::Array(items)) => Ok(items.len()),
        Some(Value::Object(fields)) => Ok(fields.len()),
        Some(Value::String(text)) => Ok(text.len()),
        Some(_) => Err(FormatError::WrongValue { function: "len" }),
    }
}

/// `index .List 0`, `index .Map "key"`, and deeper.
fn index(arguments: &[Value]) -> Result<Value, FormatError> {
    let wrong = FormatError::WrongValue { function: "index" };
    let (mut value, keys) = arguments.split_first().ok_or_else(|| wrong.clone())?;
    for key in keys {
        value = match (value, key) {
            (Value::Array(items), Value::Number(place)) => place
                .as_u64()
                .and_then(|place| items.get(usize::try_from(place).ok()?))
                .ok_or_else(|| wrong.clone())?,
            // Go gives the zero value for a key that a map lacks.
            (Value::Object(fields), Value::String(key)) => fields.get(key).unwrap_or(&Value::Null),
            _ => return Err(wrong),
        };
    }
    Ok(value.clone())
}

/// `slice .ID 0 12`, in characters.
fn slice(arguments: &[Value]) -> Result<Value, FormatError> {
    let wrong = FormatError::WrongValue { function: "slice" };
    let place = |at: usize, other: usize| {
        let given = arguments.get(at).and_then(Value::as_u64);
        given.and_then(|place| usize::try_from(place).ok()).unwrap_or(other)
    };
    let (from, to) = (place(1, 0), place(2, usize::MAX));
    let count = to.saturating_sub(from);
    match arguments.first() {
        Some(Value::String(text)) => {
            Ok(Value::from(text.chars().skip(from).take(count).collect::<String>()))
        }
        Some(Value::Array(items)) => Ok(items.iter().skip(from).take(count).cloned().collect()),
        _ => Err(wrong),
    }
}

fn title(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// How the first argument is to the second.
fn order(function: &'static str, arguments: &[Value]) -> Result<Ordering, FormatError> {
    let order = match arguments {
        [Value::String(one), Value::String(other)] => Some(one.cmp(other)),
        [one, other] => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => Some(one.cmp(&other)),
            _ => one.as_f64().zip(other.as_f64()).and_then(|(one, other)| one.partial_cmp(&other)),
        },
        _ => None,
    };
    order.ok_or(FormatError::WrongValue { function })
}

/// `pad .Name 1 2`: so many blanks before and behind a text that is not empty.
fn pad(text: &str, arguments: &[Value]) -> String {
    let blanks = |place: usize| {
        let count = arguments.get(place).and_then(Value::as_u64).unwrap_or(0);
        " ".repeat(usize::try_from(count).unwrap_or(0).min(WIDEST))
    };
    if text.is_empty() { String::new() } else { blanks(1) + text + &blanks(2) }
}
