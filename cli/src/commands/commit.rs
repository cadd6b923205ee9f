//! `commit`: an image of a container.

use rbuild::images::{self, Commit};

use super::{DONE, Outcome, Session, print};
use crate::args::CommitArgs;

pub(super) fn run(args: &CommitArgs, session: &Session) -> Outcome {
    let options = Commit {
        name: args.name.clone(),
        author: args.author.clone(),
        message: args.message.clone(),
        changes: args.change.clone(),
    };
    let id = images::commit(&session.store()?, &args.container, &options)?;
    print(&format!("{id}\n"))?;
    Ok(DONE)
}
