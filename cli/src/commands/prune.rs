//! `image prune` and `container prune`: removes what nobody will miss.

use rbuild::{Digest, container, images};

use super::{DONE, Outcome, Session, confirm, print, tell};
use crate::args::PruneArgs;
use crate::failure::Failure;

pub(super) fn containers(args: &PruneArgs, session: &Session) -> Outcome {
    refuse_filters(args)?;
    if args.all {
        return Err(Failure::usage("containers have no `--all`: those that have stopped go"));
    }
    let question = "This removes all containers that have stopped. Go on?";
    if !args.force && !confirm(question) {
        return Ok(DONE);
    }
    let removed = container::prune(&session.store()?)?;
    let lines: String = removed.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
    print(&format!("Deleted Containers:\n{lines}"))?;
    Ok(DONE)
}

pub(super) fn images(args: &PruneArgs, session: &Session) -> Outcome {
    refuse_filters(args)?;
    let what = if args.all { "that no container uses" } else { "that have no name" };
    if !args.force && !confirm(&format!("This removes all images {what}. Go on?")) {
        return Ok(DONE);
    }
    let store = session.store()?;
    let used: Vec<Digest> =
        container::images_in_use(&store)?.into_iter().map(|(_, image)| image).collect();
    let mut text = "Deleted Images:\n".to_owned();
    for image in images::list(&store)? {
        if used.contains(&image.id) || (image.name.is_some() && !args.all) {
            continue;
        }
        let name = image.name.clone().unwrap_or_else(|| image.id.to_string());
        images::remove(&store, &name, false, &|_| None)?;
        text.extend(["deleted: ", &name, "\n"]);
    }
    print(&text)?;
    // What steps and processes that died have left is in nobody's way but takes space.
    store.sweep().map_err(|source| rbuild::Error::Store {
        doing: "clear up after dead processes".to_owned(),
        source: Box::new(source),
    })?;
    tell("note: their layers stay in the cache, which is not cut back yet\n");
    Ok(DONE)
}

fn refuse_filters(args: &PruneArgs) -> Result<(), Failure> {
    if args.filter.is_empty() { Ok(()) } else { Err(Failure::unsupported("filter")) }
}
