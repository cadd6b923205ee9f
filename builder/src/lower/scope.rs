//! Variables in scope: ordered names and values, and the arguments that every build has.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::dockerfile::expand::{self, ExpandError};
use crate::dockerfile::{Diagnostic, Word};
use crate::platform::Platform;

/// Names with values, in the order in which they were first set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    variables: Vec<(String, String)>,
    /// Where each name stands among them.
    places: HashMap<String, usize>,
    escape: char,
}

impl Scope {
    /// An empty scope of a Dockerfile with this escape character.
    pub(crate) fn new(escape: char) -> Self {
        Self { variables: Vec::new(), places: HashMap::new(), escape }
    }

    /// The escape character of the Dockerfile.
    pub(crate) fn escape(&self) -> char {
        self.escape
    }

    /// The value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|&place| self.variables[place].1.as_str())
    }

    /// Sets a name, at its old place where it had one.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        if let Some(&place) = self.places.get(name) {
            value.clone_into(&mut self.variables[place].1);
        } else {
            self.places.insert(name.to_owned(), self.variables.len());
            self.variables.push((name.to_owned(), value.to_owned()));
        }
    }

    /// All names and values, in order.
    pub(crate) fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Resolves variables, quotes and escapes of a word.
    pub(crate) fn expand(&self, word: &Word) -> Result<String, Diagnostic> {
        expand::expand(&word.text, self.escape, |name| self.get(name).map(Cow::Borrowed))
            .map_err(|error| at(word, &error))
    }

    /// Like [`expand`](Self::expand), but splits the result on blanks outside quotes.
    pub(crate) fn expand_words(&self, word: &Word) -> Result<Vec<String>, Diagnostic> {
        expand::expand_words(&word.text, self.escape, |name| self.get(name).map(Cow::Borrowed))
            .map_err(|error| at(word, &error))
    }

    /// Resolves the variables of a text whose quotes stay, as progress shows an instruction;
    /// names without a value stay as they are.
    pub(crate) fn expand_for_display(&self, text: &str) -> String {
        expand::expand_for_display(text, self.escape, |name| self.get(name).map(Cow::Borrowed))
            .unwrap_or_else(|_| text.to_owned())
    }
}

fn at(word: &Word, error: &ExpandError) -> Diagnostic {
    Diagnostic::error(word.span, format!("failed to process `{}`: {error}", word.text))
}

/// The arguments that exist without being declared, importable by a bare `ARG NAME`.
///
/// See the Dockerfile reference, "Automatic platform ARGs in the global scope".
pub(crate) fn automatic(target: &Platform, host: &Platform, stage: &str) -> Vec<(String, String)> {
    let of = |prefix: &str, platform: &Platform| {
        [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os().to_owned()),
            ("OSVERSION", String::new()),
            ("ARCH", platform.architecture().to_owned()),
            ("VARIANT", platform.variant().unwrap_or_default().to_owned()),
        ]
        .map(|(name, value)| (format!("{prefix}{name}"), value))
    };
    let mut arguments = Vec::from(of("BUILD", host));
    arguments.extend(of("TARGET", target));
    arguments.push(("TARGETSTAGE".to_owned(), stage.to_owned()));
    arguments
}

/// Whether an argument exists without being declared.
pub(crate) fn is_automatic(name: &str) -> bool {
    const PARTS: [&str; 5] = ["PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT"];
    let part = name.strip_prefix("BUILD").or_else(|| name.strip_prefix("TARGET"));
    name == "TARGETSTAGE" || part.is_some_and(|part| PARTS.contains(&part))
}

/// Whether a name is one of the proxy variables, which RUN sees without being part of its key.
pub(crate) fn is_proxy(name: &str) -> bool {
    ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"]
        .iter()
        .any(|proxy| proxy.eq_ignore_ascii_case(name))
}
