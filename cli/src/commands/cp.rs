//! `cp` and `export`: files between a container and the host.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Write};

use rbuild::container::{self, CopyOptions, Place};

use super::{DONE, Outcome, Session};
use crate::args::{CpArgs, ExportArgs};
use crate::failure::Failure;

/// What stands for a tar on a stream.
const STREAM: &str = "-";

pub(super) fn run(args: &CpArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let options = CopyOptions { keep_owner: args.archive, follow: args.follow_link };
    let (from, to) = (place(&args.source), place(&args.destination));
    let is_stream = [&args.source, &args.destination].map(|text| text == STREAM);
    match (is_stream, &from, &to) {
        ([true, false], _, Place::Container { .. }) => {
            let tar = BufReader::new(io::stdin().lock());
            container::copy_from_tar(&store, tar, &to, options)?;
        }
        ([false, true], Place::Container { .. }, _) => {
            let mut out = BufWriter::new(io::stdout().lock());
            container::copy_to_tar(&store, &from, options, &mut out)?;
            out.flush().map_err(Failure::io("write the archive"))?;
        }
        ([false, false], Place::Container { .. }, Place::Host(_))
        | ([false, false], Place::Host(_), Place::Container { .. }) => {
            container::copy(&store, &from, &to, options)?;
        }
        (_, Place::Container { .. }, Place::Container { .. }) => {
            return Err(Failure::usage("copying between containers is not supported"));
        }
        _ => {
            let hint = "write the one in a container as CONTAINER:PATH";
            return Err(Failure::usage("neither place is in a container").hint(hint));
        }
    }
    Ok(DONE)
}

pub(super) fn export(args: &ExportArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let Some(path) = &args.output else {
        if io::stdout().is_terminal() {
            let message = "an archive is not for a terminal";
            return Err(Failure::usage(message).hint("name a file with `-o`, or a pipe"));
        }
        let mut out = BufWriter::new(io::stdout().lock());
        container::export(&store, &args.container, &mut out)?;
        out.flush().map_err(Failure::io("write the archive"))?;
        return Ok(DONE);
    };
    let failed = || Failure::io(format!("write `{}`", path.display()));
    let mut out = BufWriter::new(File::create(path).map_err(failed())?);
    container::export(&store, &args.container, &mut out)?;
    out.flush().map_err(failed())?;
    Ok(DONE)
}

/// Tells a path in a container from one of the host, which begins with `/` or `.` where it has a
/// colon of its own.
fn place(text: &str) -> Place {
    match text.split_once(':') {
        Some((name, path)) if !text.starts_with(['/', '.']) && !name.contains('/') => {
            Place::Container { name: name.to_owned(), path: path.to_owned() }
        }
        _ => Place::Host(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_makes_a_path_one_in_a_container() {
        let inside = |name: &str, path: &str| Place::Container {
            name: name.to_owned(),
            path: path.to_owned(),
        };
        let table = [
            ("web:/etc/hosts", inside("web", "/etc/hosts")),
            ("web:etc", inside("web", "etc")),
            ("web:a:b", inside("web", "a:b")),
            ("./web:/etc", Place::Host("./web:/etc".into())),
            ("/x:y", Place::Host("/x:y".into())),
            ("x/y:z", Place::Host("x/y:z".into())),
            ("file", Place::Host("file".into())),
        ];
        for (text, expected) in table {
            assert_eq!(place(text), expected, "{text}");
        }
    }
}
