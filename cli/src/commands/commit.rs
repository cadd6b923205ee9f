//! `commit`: an image of a container.

use std::sync::{Arc, Mutex, PoisonError};

use rbuild::images::{self, Commit};
use rbuild::{Store, container};

use super::{DONE, Outcome, Session, print};
use crate::args::CommitArgs;
use crate::failure::Failure;
use crate::interrupt;

pub(super) fn run(args: &CommitArgs, session: &Session) -> Outcome {
    let options = Commit {
        name: args.name.clone(),
        author: args.author.clone(),
        message: args.message.clone(),
        changes: args.change.clone(),
    };
    let store = session.store()?;
    let pauses = args.pause == Some(true) && !args.no_pause;
    let committed = if pauses {
        let paused = Arc::new(Paused::new(store.clone(), args.container.clone()));
        let other = Arc::clone(&paused);
        interrupt::before_the_end(move || drop(other.end()))?;
        paused.begin()?;
        let committed = images::commit(&store, &args.container, &options);
        paused.end()?;
        committed
    } else {
        images::commit(&store, &args.container, &options)
    };
    let id = committed?;
    print(&format!("{id}\n"))?;
    Ok(DONE)
}

/// A container that stands still for a while, however that ends.
struct Paused {
    store: Store,
    container: String,
    /// Whether it does; held while that changes.
    stands: Mutex<bool>,
}

impl Paused {
    fn new(store: Store, container: String) -> Self {
        Self { store, container, stands: Mutex::new(false) }
    }

    /// Pauses it; one that does not run stands still anyway.
    fn begin(&self) -> Result<(), Failure> {
        let mut stands = self.stands.lock().unwrap_or_else(PoisonError::into_inner);
        let paused = container::pause(&self.store, &self.container);
        *stands = paused.map_or_else(tolerate, |()| Ok(true))?;
        Ok(())
    }

    /// Lets it go on, where that was not done.
    fn end(&self) -> Result<(), container::Error> {
        let mut stands = self.stands.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *stands) {
            container::unpause(&self.store, &self.container)?;
        }
        Ok(())
    }
}

/// What stands still need not be paused.
fn tolerate(error: container::Error) -> Result<bool, Failure> {
    match error {
        container::Error::NotRunning(_) | container::Error::Paused(_) => Ok(false),
        error => Err(error.into()),
    }
}
