//! The part of Go's templates that people type after `--format`: fields, `json`, `range`, `if`,
//! `index`, `join` and their like, over JSON values.

mod empty;
mod eval;
mod functions;
mod parse;
mod printf;

use serde_json::Value;
use thiserror::Error;

use crate::table;

/// Why a template can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum FormatError {
    #[error("`{{{{` is not closed in the template")]
    Open,
    #[error("`{word}` can't stand here in the template")]
    Unexpected { word: String },
    #[error("`{{{{end}}}}` is missing in the template")]
    EndMissing,
    #[error("the template has no function `{name}`")]
    UnknownFunction { name: String },
    #[error("there is no field `{name}` here, only {known}")]
    UnknownField { name: String, known: String },
    #[error("`{function}` can't be used on this value")]
    WrongValue { function: &'static str },
    #[error("the template is too deep")]
    TooDeep,
}

/// How to print a list.
#[derive(Debug)]
pub(crate) struct Format {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// One JSON object a line.
    Json,
    Lines(Vec<parse::Node>),
    Table(Vec<parse::Node>),
}

impl Format {
    /// Reads what was typed after `--format`.
    pub(crate) fn parse(text: &str) -> Result<Self, FormatError> {
        let kind = match text.strip_prefix("table") {
            _ if text == "json" => Kind::Json,
            Some(rest) if rest.is_empty() || rest.starts_with([' ', '\t', '{']) => {
                Kind::Table(parse::parse(&unescape(rest.trim_start()))?)
            }
            _ => Kind::Lines(parse::parse(&unescape(text))?),
        };
        Ok(Self { kind })
    }

    /// Prints each row; a table has a head made of the rows' titles.
    pub(crate) fn rows(&self, titles: &Value, rows: &[Value]) -> Result<String, FormatError> {
        match &self.kind {
            Kind::Json => {
                let shown = rows.iter().cloned().map(|mut row| {
                    // Only templates can ask for single labels.
                    row.as_object_mut().map(|row| row.remove("Label"));
                    format!("{row}\n")
                });
                Ok(shown.collect())
            }
            Kind::Lines(nodes) => rows.iter().map(|row| eval::line(nodes, row)).collect(),
            Kind::Table(nodes) => {
                let lines = std::iter::once(titles).chain(rows);
                let cells = lines.map(|row| {
                    let line = eval::line(nodes, row)?;
                    Ok(line.trim_end_matches('\n').split('\t').map(str::to_owned).collect())
                });
                Ok(table::table(&cells.collect::<Result<Vec<Vec<_>>, _>>()?))
            }
        }
    }

    /// Prints one thing.
    pub(crate) fn one(&self, value: &Value) -> Result<String, FormatError> {
        match &self.kind {
            Kind::Json => Ok(format!("{value}\n")),
            Kind::Lines(nodes) | Kind::Table(nodes) => eval::line(nodes, value),
        }
    }
}

/// Shells pass `\t` and `\n` on as two characters.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

#[cfg(test)]
mod tests;
