//! `rmi`: takes names from images, and images from the store.

use rbuild::images::{self, Removed};
use rbuild::{Digest, container};

use super::{Outcome, Session, each};
use crate::args::RmiArgs;
use crate::table::short_id;

pub(super) fn run(args: &RmiArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let used = container::images_in_use(&store)?;
    let user = |image: &Digest| {
        let (container, _) = used.iter().find(|(_, used)| used == image)?;
        Some(format!("container {}", short_id(container)))
    };
    each(&args.images, |name| {
        let lines =
            images::remove(&store, name, args.force, &user)?.into_iter().map(
                |removed| match removed {
                    Removed::Untagged(name) => format!("Untagged: {name}\n"),
                    Removed::Deleted(id) => format!("Deleted: {id}\n"),
                },
            );
        Ok(lines.collect())
    })
}
