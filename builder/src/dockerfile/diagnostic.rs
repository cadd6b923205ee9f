//! What the parser has to say about a file: errors, and warnings that name their lint rule.

use std::fmt;

use super::lint::Rule;
use super::span::Span;

/// Whether a diagnostic stops the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The file cannot be built.
    Error,
    /// The file can be built; a lint rule has found something.
    Lint(Rule),
}

/// One message about one place of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or lint.
    pub kind: Kind,
    /// One line, lower case, without a full stop.
    pub message: String,
    /// Where in the file.
    pub span: Span,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How many characters of a message are shown.
const MESSAGE_LIMIT: usize = 300;

/// Makes a message that quotes the file safe for a terminal: one line, no control characters, and
/// no longer than it helps.
fn tidy(message: String) -> String {
    if message.len() <= MESSAGE_LIMIT && !message.contains(char::is_control) {
        return message;
    }
    let mut tidied = String::with_capacity(MESSAGE_LIMIT);
    for (count, c) in message.chars().enumerate() {
        if count == MESSAGE_LIMIT {
            tidied.push('…');
            break;
        }
        if c.is_control() {
            tidied.extend(c.escape_default());
        } else {
            tidied.push(c);
        }
    }
    tidied
}

impl Diagnostic {
    /// Makes an error.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self { kind: Kind::Error, message: tidy(message.into()), span, hint: None }
    }

    /// Makes a warning of a lint rule.
    pub fn lint(rule: Rule, span: Span, message: impl Into<String>) -> Self {
        Self { kind: Kind::Lint(rule), message: tidy(message.into()), span, hint: None }
    }

    /// Adds what to do about it, when there is something.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into().map(tidy);
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.span.lines.0;
        match self.kind {
            Kind::Error => write!(formatter, "{}:{}: {}", line, self.span.column, self.message),
            Kind::Lint(rule) => {
                write!(formatter, "{}: {} (line {line})", rule.name(), self.message)
            }
        }
    }
}

impl std::error::Error for Diagnostic {}
