//! `save`: images as one archive.

use std::io::{self, IsTerminal};

use rbuild::{Destination, Events, images};

use super::{DONE, Outcome, Session, typed_platform};
use crate::args::SaveArgs;
use crate::failure::Failure;
use crate::interrupt::block_on;

pub(super) fn run(args: &SaveArgs, session: &Session) -> Outcome {
    let to = match &args.output {
        Some(path) => Destination::Path(path.clone()),
        None if io::stdout().is_terminal() => {
            let message = "an archive is nothing for a terminal";
            return Err(Failure::usage(message).hint("name a file with `-o`, or use a pipe"));
        }
        None => Destination::Stdout,
    };
    let platform = typed_platform(args.platform.as_deref())?;
    let (store, registries) = (session.store()?, session.registries()?);
    block_on(async {
        let (images, platform) = (&args.images, platform.as_ref());
        Ok(images::save(&store, &registries, images, platform, &to, &Events::none()).await?)
    })?;
    Ok(DONE)
}
