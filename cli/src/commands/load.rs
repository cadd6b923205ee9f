//! `load`: images from an archive.

use std::fs::File;
use std::io::{self, IsTerminal, Read};

use rbuild::images;

use super::{DONE, Outcome, Session, print};
use crate::args::LoadArgs;
use crate::failure::Failure;

pub(super) fn run(args: &LoadArgs, session: &Session) -> Outcome {
    let input: Box<dyn Read + Send> = match &args.input {
        Some(path) => {
            let opened = File::open(path);
            Box::new(opened.map_err(Failure::io(format!("read `{}`", path.display())))?)
        }
        None if io::stdin().is_terminal() => {
            let message = "standard input is a terminal: there is no archive to read";
            return Err(Failure::usage(message).hint("name a file with `-i`, or use a pipe"));
        }
        None => Box::new(io::stdin()),
    };
    let store = session.store()?;
    let names = session.wait(async { Ok(images::load(&store, input).await?) })?;
    for name in names {
        let kind = if name.starts_with("sha256:") {
            " ID"
        } else {
            ""
        };
        print(&format!("Loaded image{kind}: {name}\n"))?;
    }
    Ok(DONE)
}
