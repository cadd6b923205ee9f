//! Parser directives: the `# key=value` lines at the very top, and `# check=` above an instruction.

use super::diagnostic::Diagnostic;
use super::hint;
use super::lint::Rule;
use super::parse::ERROR_LIMIT;
use super::source::Source;
use super::span::{Span, Spanned};

/// What the directives ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: the frontend image that the file was written for.
    pub syntax: Option<Spanned<String>>,
    /// `# escape=`: the character that escapes and continues lines, `\` or a backquote.
    pub escape: char,
    /// `# check=`.
    pub check: Option<Check>,
    /// How many lines they take.
    pub(super) lines: usize,
}

/// The value of a `# check=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The rules that are not applied.
    pub skip: RuleSet,
    /// The experimental rules that are applied.
    pub experimental: RuleSet,
    /// Whether a finding fails the build.
    pub error: bool,
    /// Where it stands.
    pub span: Span,
}

/// Some rules, by name, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleSet {
    /// Every rule.
    All,
    /// Those of these names, which need not exist.
    Named(Vec<String>),
}

impl RuleSet {
    fn parse(list: &str) -> Self {
        let mut names = list.split(',').map(str::trim);
        if names.clone().any(|name| name.eq_ignore_ascii_case("all")) {
            return Self::All;
        }
        Self::Named(names.by_ref().filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    /// Whether a rule is among them.
    pub fn contains(&self, rule: Rule) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == rule.name()),
        }
    }
}

impl Check {
    /// Parses what follows `check=`: `skip=A,B;error=true;experimental=all`. The error is one line.
    pub fn parse(value: &str, span: Span) -> Result<Self, String> {
        let none = || RuleSet::Named(Vec::new());
        let mut check = Self { skip: none(), experimental: none(), error: false, span };
        for part in value.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("`{part}` in a check is not of the form KEY=VALUE"))?;
            match key.trim() {
                "skip" => check.skip = RuleSet::parse(value),
                "experimental" => check.experimental = RuleSet::parse(value),
                "error" => {
                    check.error = super::value::boolean(value.trim())
                        .ok_or_else(|| format!("invalid value `{value}` of `error` in a check"))?;
                }
                other => return Err(format!("unknown key `{other}` in a check")),
            }
        }
        Ok(check)
    }

    /// Reads the value of a `# check=` above an instruction: it ends at the first blank, so that a
    /// reason may follow, and one that is no check is just a comment.
    pub(super) fn above(value: &str, span: Span) -> Option<Self> {
        Self::parse(value.split_whitespace().next()?, span).ok()
    }

    /// Whether a rule is applied under the check of the file and the one above the instruction,
    /// as far as there are any.
    pub fn applies(file: Option<&Self>, instruction: Option<&Self>, rule: Rule) -> bool {
        let mut checks = file.into_iter().chain(instruction);
        if rule.is_experimental() {
            checks.any(|check| check.experimental.contains(rule))
        } else {
            !checks.any(|check| check.skip.contains(rule))
        }
    }
}

/// The key and the value of a comment line that may be a directive.
pub(super) fn key_value(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let mut letters = key.chars();
    let named = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric());
    (named && !value.is_empty()).then_some((key, value))
}

impl Directives {
    /// Reads the unbroken block of directives at the top of a file.
    pub(super) fn read(source: &Source, errors: &mut Vec<Diagnostic>) -> Self {
        let mut directives = Self::none();
        let mut seen = Vec::new();
        let shebang = source.line(0).starts_with("#!");
        directives.lines = usize::from(shebang);
        while let Some((key, value)) = key_value(source.line(directives.lines)) {
            let key = key.to_ascii_lowercase();
            let span = source.line_span(directives.lines);
            // Only the search for the other two looks behind a `#!` line.
            if !matches!(key.as_str(), "syntax" | "check" | "escape")
                || (key == "escape" && shebang)
            {
                break;
            }
            if errors.len() == ERROR_LIMIT {
                break;
            }
            if seen.contains(&key) {
                let message = format!("only one `{key}` directive can be used");
                errors.push(Diagnostic::error(span, message));
            } else if let Err(error) = directives.set(&key, value, span) {
                errors.push(error);
            }
            seen.push(key);
            directives.lines += 1;
        }
        directives
    }

    /// What holds where nothing is asked for.
    pub(super) fn none() -> Self {
        Self { syntax: None, escape: '\\', check: None, lines: 0 }
    }

    fn set(&mut self, key: &str, value: &str, span: Span) -> Result<(), Diagnostic> {
        match key {
            "syntax" => {
                self.syntax = Some(Spanned { value: value.to_owned(), span });
            }
            "check" => {
                let check = Check::parse(value, span);
                self.check = Some(check.map_err(|message| {
                    Diagnostic::error(span, message).hint(hint::CHECK.to_owned())
                })?);
            }
            _ => match value {
                "\\" | "`" => self.escape = value.chars().next().unwrap_or('\\'),
                _ => {
                    let message = format!("invalid escape character `{value}`");
                    return Err(Diagnostic::error(span, message)
                        .hint("it is a backslash or a backquote".to_owned()));
                }
            },
        }
        Ok(())
    }
}
