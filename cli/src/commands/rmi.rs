//! `rmi`: takes names from images, and images from the store.

use rbuild::images::{self, Removed};
use rbuild::{Digest, Error, container};

use super::{Outcome, Session, each, tell};
use crate::args::RmiArgs;
use crate::failure::Failure;
use crate::table::short_id;

pub(super) fn run(args: &RmiArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let used = container::images_in_use(&store)?;
    let user = |image: &Digest| {
        let (container, _) = used.iter().find(|(_, used)| used == image)?;
        Some(format!("container {}", short_id(container)))
    };
    each(&args.images, |name| {
        let removed = match images::remove(&store, name, args.force, &user) {
            // As with docker, it is told and does not count.
            Err(error @ Error::NoImage(_)) if args.force => {
                tell(&Failure::from(error).render());
                Vec::new()
            }
            removed => removed?,
        };
        let lines = removed.into_iter().map(|removed| match removed {
            Removed::Untagged(name) => format!("Untagged: {name}\n"),
            Removed::Deleted(id) => format!("Deleted: {id}\n"),
        });
        Ok(lines.collect())
    })
}
