//! Variables in scope: ordered names and values, and the arguments that every build has.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::dockerfile::expand::{self, ExpandError};
use crate::dockerfile::{Arg, Diagnostic, Word};
use crate::platform::Platform;

/// Names with values, in the order in which they were first set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    variables: Vec<(String, String)>,
    /// Where each name stands among them.
    places: HashMap<String, usize>,
    escape: char,
    /// The bytes that all scopes of the file have spent, so that a small file stays a small graph.
    spent: Rc<Cell<usize>>,
}

impl Scope {
    /// An empty scope of a Dockerfile with this escape character.
    pub(crate) fn new(escape: char) -> Self {
        Self { escape, ..Self::default() }
    }

    /// An empty scope of the same file.
    pub(crate) fn beside(&self) -> Self {
        Self { escape: self.escape, spent: Rc::clone(&self.spent), ..Self::default() }
    }

    /// Counts bytes that the graph will hold.
    ///
    /// # Errors
    /// When it has become too large for what a file can mean.
    pub(crate) fn spend(&self, bytes: usize) -> Result<(), ExpandError> {
        self.spent.set(self.spent.get().saturating_add(bytes));
        if self.spent.get() > expand::TOTAL_LIMIT { Err(ExpandError::Total) } else { Ok(()) }
    }

    /// Counts a copy of all names and values.
    pub(crate) fn spend_copy(&self) -> Result<(), ExpandError> {
        let size = |(name, value): &(String, String)| name.len() + value.len() + 2 * WORD;
        self.spend(self.variables.iter().map(size).sum())
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

    /// Sets the ARGs of an instruction; a value that the caller gave comes before a default.
    pub(crate) fn set_arguments<'g>(
        &mut self,
        arguments: &[Arg],
        given: impl Fn(&str) -> Option<&'g str>,
    ) -> Result<(), Diagnostic> {
        for Arg { name, default } in arguments {
            match (given(&name.text), default) {
                (Some(value), _) => self.set(&name.text, value),
                (None, Some(default)) => {
                    let value = self.expand(default)?;
                    self.set(&name.text, &value);
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// All names and values, in order.
    pub(crate) fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Resolves variables, quotes and escapes of a word.
    pub(crate) fn expand(&self, word: &Word) -> Result<String, Diagnostic> {
        expand::expand(&word.text, self.escape, |name| self.get(name).map(Cow::Borrowed))
            .and_then(|text| self.spend(text.len()).map(|()| text))
            .map_err(|error| at(word, &error))
    }

    /// Resolves the variables of a here-document.
    pub(crate) fn expand_heredoc(&self, body: &str) -> Result<String, ExpandError> {
        let text = expand::expand_heredoc(body, |name| self.get(name).map(Cow::Borrowed))?;
        self.spend(text.len()).map(|()| text)
    }

    /// Like [`expand`](Self::expand), but splits the result on blanks outside quotes.
    pub(crate) fn expand_words(&self, word: &Word) -> Result<Vec<String>, Diagnostic> {
        let spend = |words: Vec<String>| {
            self.spend(words.iter().map(|word| word.len() + WORD).sum()).map(|()| words)
        };
        expand::expand_words(&word.text, self.escape, |name| self.get(name).map(Cow::Borrowed))
            .and_then(spend)
            .map_err(|error| at(word, &error))
    }

    /// Resolves the variables of a text whose quotes stay, as progress shows an instruction;
    /// names without a value stay as they are.
    pub(crate) fn expand_for_display(&self, text: &str) -> String {
        expand::expand_for_display(text, self.escape, |name| self.get(name).map(Cow::Borrowed))
            .and_then(|shown| self.spend(shown.len()).map(|()| shown))
            .unwrap_or_else(|_| text.to_owned())
    }
}

/// What a text costs beside its bytes.
const WORD: usize = size_of::<String>();

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Request, lower};
    use crate::dockerfile::parse;

    /// What is said of a file whose graph would be large.
    fn refused(text: &str) -> String {
        assert!(text.len() < 200_000, "a small file");
        let file = parse(text.as_bytes()).expect("a valid file");
        lower(&file, &Request::new(), &BTreeMap::new()).expect_err("too large").message
    }

    fn numbered(line: impl Fn(usize) -> String, count: usize) -> String {
        (0..count).map(line).collect()
    }

    #[test]
    fn a_small_file_makes_no_large_graph() {
        let doubled =
            format!("FROM scratch\nENV A=0123456789abcdef\n{}", "ENV A=$A$A\n".repeat(17));
        let copies = "COPY <<E /x\n$A\nE\n";
        let names = numbered(|n| format!("ENV name{n}=value\n"), 3000);
        let stages = numbered(|n| format!("FROM a AS b{n}\n"), 3000);
        let used = numbered(|n| format!("COPY --from=b{n} /x /x\n"), 3000);
        for text in [
            format!("{doubled}{}", "LABEL a=$A\n".repeat(100)),
            format!("{doubled}{}", copies.repeat(100)),
            format!("FROM scratch\n{names}{}", "RUN a\n".repeat(3000)),
            format!("FROM scratch AS a\n{}{stages}", "ONBUILD USER a\n".repeat(3000)),
            format!("FROM scratch AS a\n{}{stages}FROM scratch\n{used}", "USER a\n".repeat(3000)),
        ] {
            let message = refused(&text);
            assert!(message.contains("all values of the file together"), "{message}");
        }
    }

    #[test]
    fn a_usual_file_spends_little() {
        let names = numbered(|n| format!("ENV name{n}=value\n"), 200);
        let text = format!("FROM scratch\n{names}{}", "RUN a\n".repeat(1000));
        let file = parse(text.as_bytes()).expect("a valid file");
        assert!(lower(&file, &Request::new(), &BTreeMap::new()).is_ok());
    }
}
