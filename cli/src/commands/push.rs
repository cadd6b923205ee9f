//! `push`: an image from the store to its registry.

use std::fmt::Write as _;

use rbuild::{Pushed, Reference, images};

use super::pull::{Voice, transfer};
use super::{DONE, Outcome, Session, print, typed_platform};
use crate::args::PushArgs;
use crate::failure::Failure;
use crate::interrupt::block_on;
use crate::table::short_id;

pub(super) fn run(args: &PushArgs, session: &Session) -> Outcome {
    if args.all_tags {
        return Err(Failure::unsupported("all-tags"));
    }
    let platform = typed_platform(args.platform.as_deref())?;
    let (store, registries) = (session.store()?, session.registries()?);
    // The library names what is wrong with a name that can't be read.
    let name = args.image.parse::<Reference>().ok();
    if let Some(name) = name.as_ref().filter(|_| !args.quiet) {
        print(&format!("The push refers to repository [{}]\n", name.name()))?;
    }
    // What became of each layer is told at the end, so only a terminal shows them on their way.
    let progress = transfer(session, "Pushing", args.quiet, Voice::Stderr, "");
    let pushed = block_on(async {
        let (image, platform) = (&args.image, platform.as_ref());
        Ok(images::push(&store, &registries, image, platform, &progress.events).await?)
    });
    drop(progress);
    let (pushed, name) = (pushed?, name.as_ref());
    if args.quiet {
        print(&format!("{}\n", name.map_or_else(|| args.image.clone(), ToString::to_string)))?;
        return Ok(DONE);
    }
    let mut text = String::new();
    for layer in &pushed.layers {
        let how = match layer.how {
            Pushed::Existed => "Layer already exists",
            Pushed::Mounted => "Mounted from another repository",
            Pushed::Sent => "Pushed",
        };
        let _ = writeln!(text, "{}: {how}", short_id(&layer.digest.to_string()));
    }
    let tag = name.and_then(Reference::tag).unwrap_or("latest");
    let _ = writeln!(text, "{tag}: digest: {} size: {}", pushed.digest, pushed.size);
    print(&text)?;
    Ok(DONE)
}
