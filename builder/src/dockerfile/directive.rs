//! Parser directives: the `# key=value` lines at the very top, and `# check=` above an instruction.

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
