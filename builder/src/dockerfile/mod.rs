//! The Dockerfile language: text in, tree and errors out.
//!
//! Nothing here touches the machine. [`parse()`] returns the tree of a whole file or every error in
//! it; [`expand`] resolves the variables of a [`Word`] afterwards, and
//! [`port`], [`signal`] and [`value`] read the values that have a grammar of their own.

mod clause;
pub mod diagnostic;
pub mod directive;
pub mod expand;
mod files;
mod finding;
mod flag;
mod frontend;
mod heredoc;
mod hint;
mod instruction;
mod line;
pub mod lint;
pub mod mount;
mod parse;
pub mod port;
pub mod signal;
mod source;
pub mod span;
pub mod tree;
pub mod value;
mod word;

#[cfg(test)]
mod tests;

pub use diagnostic::{Diagnostic, Kind};
pub use directive::{Check, Directives, RuleSet};
pub use frontend::{frontend, is_dockerfile};
pub use hint::suggest;
pub use lint::Rule;
pub use mount::{Mount, MountOptions, Sharing};
pub use parse::{parse, parse_all, parse_instruction};
pub use span::{Span, Spanned};
pub use tree::*;
