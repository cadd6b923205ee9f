//! `commit`: an image of a container.

use rbuild::container;
use rbuild::images::{self, Commit};

use super::{DONE, Outcome, Session, print};
use crate::args::CommitArgs;
use crate::failure::Failure;

pub(super) fn run(args: &CommitArgs, session: &Session) -> Outcome {
    let options = Commit {
        name: args.name.clone(),
        author: args.author.clone(),
        message: args.message.clone(),
        changes: args.change.clone(),
    };
    let store = session.store()?;
    let pauses = args.pause == Some(true) && !args.no_pause;
    // One that does not run stands still anyway.
    let paused =
        pauses && container::pause(&store, &args.container).map_or_else(tolerate, |()| Ok(true))?;
    let committed = images::commit(&store, &args.container, &options);
    if paused {
        container::unpause(&store, &args.container)?;
    }
    let id = committed?;
    print(&format!("{id}\n"))?;
    Ok(DONE)
}

/// What stands still need not be paused.
fn tolerate(error: container::Error) -> Result<bool, Failure> {
    match error {
        container::Error::NotRunning(_) | container::Error::Paused(_) => Ok(false),
        error => Err(error.into()),
    }
}
