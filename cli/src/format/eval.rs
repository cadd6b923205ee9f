//! Nodes and a value to text.

use serde_json::Value;

use super::FormatError;
use super::functions::apply;
use super::parse::{Node, Pipe, Term};

/// One value through a template, with a line end.
pub(super) fn line(nodes: &[Node], value: &Value) -> Result<String, FormatError> {
    let mut scope = Scope { variables: vec![(String::new(), value.clone())], out: String::new() };
    scope.run(nodes, value)?;
    scope.out.push('\n');
    Ok(scope.out)
}

struct Scope {
    variables: Vec<(String, Value)>,
    out: String,
}

impl Scope {
    fn run(&mut self, nodes: &[Node], dot: &Value) -> Result<(), FormatError> {
        let outside = self.variables.len();
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Print(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    let text = match last_name(pipe) {
                        Some(name) if value.is_null() => super::empty::text(name).to_owned(),
                        _ => text_of(&value),
                    };
                    self.out.push_str(&text);
                }
                Node::Set(name, pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    self.variables.push((name.clone(), value));
                }
                Node::If(pipe, body, otherwise) => {
                    let body = if holds(&self.pipe(pipe, dot)?) { body } else { otherwise };
                    self.run(body, dot)?;
                }
                Node::With(pipe, body, otherwise) => {
                    let value = self.pipe(pipe, dot)?;
                    if holds(&value) {
                        self.run(body, &value)?;
                    } else {
                        self.run(otherwise, dot)?;
                    }
                }
                Node::Range(names, pipe, body, otherwise) => {
                    let items = items(self.pipe(pipe, dot)?)?;
                    if items.is_empty() {
                        self.run(otherwise, dot)?;
                    }
                    self.range(names, items, body)?;
                }
            }
        }
        self.variables.truncate(outside);
        Ok(())
    }

    fn range(
        &mut self,
        names: &[String],
        items: Vec<(Value, Value)>,
        body: &[Node],
    ) -> Result<(), FormatError> {
        let outside = self.variables.len();
        for (key, item) in items {
            match names {
                [] => {}
                [value] => self.variables.push((value.clone(), item.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
            }
            self.run(body, &item)?;
            self.variables.truncate(outside);
        }
        Ok(())
    }

    fn pipe(&self, pipe: &Pipe, dot: &Value) -> Result<Value, FormatError> {
        let mut passed = None;
        for call in &pipe.0 {
            let mut arguments = Vec::new();
            let function = match call.first() {
                Some(Term::Word(name)) if !is_constant(name) => Some(name.as_str()),
                _ => None,
            };
            for term in &call[usize::from(function.is_some())..] {
                arguments.push(self.term(term, dot)?);
            }
            arguments.extend(passed.take());
            passed = Some(match function {
                Some(name) => apply(name, &arguments)?,
                None if arguments.len() == 1 => arguments.remove(0),
                None if is_label(call) && arguments.len() == 2 => {
                    label(&arguments[0], &arguments[1])
                }
                None => return Err(FormatError::WrongValue { function: "|" }),
            });
        }
        Ok(passed.unwrap_or(Value::Null))
    }

    fn term(&self, term: &Term, dot: &Value) -> Result<Value, FormatError> {
        match term {
            Term::Field(names) => field(dot, names),
            Term::Variable(name, names) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let unexpected = || FormatError::Unexpected { word: format!("${name}") };
                field(&known.ok_or_else(unexpected)?.1, names)
            }
            Term::Text(text) => Ok(Value::from(text.as_str())),
            Term::Number(number) => Ok(Value::from(*number)),
            Term::Word(word) => match word.as_str() {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                "nil" => Ok(Value::Null),
                _ => apply(word, &[]),
            },
            Term::Pipe(pipe, names) => field(&self.pipe(pipe, dot)?, names),
        }
    }
}

/// The name of the field that is all of a pipe.
fn last_name(pipe: &Pipe) -> Option<&str> {
    let [call] = &*pipe.0 else { return None };
    match &**call {
        [Term::Field(names) | Term::Variable(_, names) | Term::Pipe(_, names)] => {
            names.last().map(String::as_str)
        }
        _ => None,
    }
}

/// Whether this is `.Label`, which is asked for a name.
fn is_label(call: &[Term]) -> bool {
    let Some(Term::Field(names) | Term::Variable(_, names)) = call.first() else { return false };
    names.last().is_some_and(|name| name == "Label")
}

/// The value of a label; what is no object is the head of a table, which has the label's name.
fn label(labels: &Value, name: &Value) -> Value {
    let name = text_of(name);
    if let Value::Object(labels) = labels {
        return labels.get(&name).cloned().unwrap_or_else(|| Value::from(""));
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    Value::from(last.replace(['-', '_'], " "))
}

fn is_constant(word: &str) -> bool {
    matches!(word, "true" | "false" | "nil")
}

/// Follows names down into a value. What is null has every field, and each of them is null.
fn field(value: &Value, names: &[String]) -> Result<Value, FormatError> {
    let mut value = value;
    for name in names {
        value = match value {
            Value::Null => return Ok(Value::Null),
            Value::Object(fields) => {
                let known = || fields.keys().map(|key| format!("`.{key}`")).collect::<Vec<_>>();
                // Go's names of fields begin with capitals that the JSON of some lacks.
                let same = || fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                let found = fields.get(name).or_else(|| same().map(|(_, value)| value));
                found.ok_or_else(|| FormatError::UnknownField {
                    name: format!(".{name}"),
                    known: known().join(", "),
                })?
            }
            _ => {
                let (name, known) = (format!(".{name}"), "a plain value".to_owned());
                return Err(FormatError::UnknownField { name, known });
            }
        };
    }
    Ok(value.clone())
}

/// What Go takes for true.
pub(super) fn holds(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// A value as Go prints it.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(text_of).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(key, value)| format!("{key}:{}", text_of(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

fn items(value: Value) -> Result<Vec<(Value, Value)>, FormatError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            Ok(items.into_iter().enumerate().map(|(i, item)| (Value::from(i), item)).collect())
        }
        Value::Object(fields) => {
            Ok(fields.into_iter().map(|(key, item)| (Value::from(key), item)).collect())
        }
        _ => Err(FormatError::WrongValue { function: "range" }),
    }
}
