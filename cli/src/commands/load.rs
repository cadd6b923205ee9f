//! `load`: images from an archive.

use std::fs::File;
use std::io;

use rbuild::images;

use super::pull::keep_cap;
use super::{DONE, Outcome, Session, print};
use crate::args::LoadArgs;
use crate::failure::Failure;

pub(super) fn run(args: &LoadArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let loaded = match &args.input {
        Some(path) => {
            let file = File::open(path).map_err(|error| {
                Failure::usage(format!("cannot read `{}`: {error}", path.display()))
            })?;
            images::load(&store, file)?
        }
        None => images::load(&store, io::stdin())?,
    };
    keep_cap(session, &store)?;
    for name in loaded {
        let what = if name.starts_with("sha256:") { "Loaded image ID" } else { "Loaded image" };
        print(&format!("{what}: {name}\n"))?;
    }
    Ok(DONE)
}
