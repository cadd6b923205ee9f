//! `import`: an image of the files of a tar.

use std::fs::File;
use std::io;

use rbuild::images::{self, Import};

use super::{DONE, Outcome, Session, platform, print};
use crate::args::ImportArgs;
use crate::failure::Failure;
use crate::interrupt::block_on;

pub(super) fn run(args: &ImportArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let source = args.source.as_str();
    let options = Import {
        name: args.name.clone(),
        changes: args.change.clone(),
        message: args.message.clone().unwrap_or_else(|| format!("Imported from {source}")),
        platform: platform(args.platform.as_deref())?,
    };
    let id = if source == "-" {
        images::import(&store, io::stdin(), &options)?
    } else if source.starts_with("http://") || source.starts_with("https://") {
        let registries = session.registries()?;
        block_on(async { Ok(images::import_url(&store, &registries, source, &options).await?) })?
    } else {
        let file = File::open(source)
            .map_err(|error| Failure::usage(format!("cannot read `{source}`: {error}")))?;
        images::import(&store, file, &options)?
    };
    print(&format!("{id}\n"))?;
    Ok(DONE)
}
