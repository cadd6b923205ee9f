//! `completion`: a script that lets a shell complete verbs and flags.

use clap::CommandFactory;

use super::{DONE, Outcome, print};
use crate::args::{Cli, CompletionArgs};

pub(super) fn run(args: &CompletionArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rbuild", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(DONE)
}
