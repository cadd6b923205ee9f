//! The command.
mod args;
mod diagnostic;
mod format;
mod progress;
mod table;
fn main() {}
