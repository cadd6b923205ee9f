//! The Dockerfile language: text in, tree and errors out.
//!
//! Nothing here touches the machine. [`parse`] returns the tree of a whole file or every error in
//! it; [`expand`](mod@expand) resolves the variables of a [`Word`](tree::Word) afterwards.

pub mod diagnostic;
pub mod directive;
pub mod expand;
pub mod lint;
pub mod mount;
pub mod span;
pub mod tree;

pub use diagnostic::{Diagnostic, Kind};
pub use directive::{Check, Directives, RuleSet};
pub use lint::Rule;
pub use mount::{Mount, MountOptions, Sharing};
pub use span::{Span, Spanned};
pub use tree::*;
