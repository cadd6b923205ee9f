//! `pull`: an image from its registry into the store.

use std::io::{self, IsTerminal};

use rbuild::images::{self, Pulled};
use rbuild::space;
use rbuild::{Event, Events, Platform, Reference, Registries, Store, What};

use super::{DONE, Outcome, Session, platform, print, tell};
use crate::args::PullArgs;
use crate::failure::Failure;
use crate::interrupt::block_on;
use crate::progress::{Look, Mode, Progress};
use crate::table::short_id;

pub(super) fn run(args: &PullArgs, session: &Session) -> Outcome {
    if args.all_tags {
        return Err(Failure::unsupported("all-tags"));
    }
    let place = Place {
        store: session.store()?,
        registries: session.registries()?,
        platform: platform(args.platform.as_deref())?.unwrap_or_else(rbuild::platform::host),
    };
    let pulled = pull(&args.image, &place, session, args.quiet, Voice::Stdout)?;
    if args.quiet {
        print(&format!("{}\n", pulled.name))?;
        return Ok(DONE);
    }
    let name: Reference =
        pulled.name.parse().map_err(|_| Failure::failed("the image has no name"))?;
    let familiar = name.familiar();
    let status = if pulled.is_new {
        format!("Downloaded newer image for {familiar}")
    } else {
        format!("Image is up to date for {familiar}")
    };
    print(&format!("Digest: {}\nStatus: {status}\n{}\n", pulled.digest, pulled.name))?;
    Ok(DONE)
}

/// Where an image is put, and which.
pub(super) struct Place {
    pub(super) store: Store,
    pub(super) registries: Registries,
    pub(super) platform: Platform,
}

/// Where progress goes: `pull` prints it, `run` keeps its output for the container.
#[derive(Clone, Copy)]
pub(super) enum Voice {
    Stdout,
    Stderr,
}

impl Voice {
    fn say(self, text: &str) {
        match self {
            // A reader that has gone is noticed by the lines at the end.
            Self::Stdout => drop(print(text)),
            Self::Stderr => tell(text),
        }
    }
}

/// Pulls one image, showing how far it is.
pub(super) fn pull(
    image: &str,
    place: &Place,
    session: &Session,
    quiet: bool,
    voice: Voice,
) -> Result<Pulled, Failure> {
    let progress = transfer(session, "Pulling", quiet, voice, "Pull complete");
    if !quiet && let Ok(name) = image.parse::<Reference>() {
        let tag = name.tag().map_or_else(|| name.to_string(), str::to_owned);
        voice.say(&format!("{tag}: Pulling from {}\n", name.repository()));
    }
    let Place { store, registries, platform } = place;
    let pulled = block_on(async {
        Ok::<_, Failure>(images::pull(store, registries, image, platform, &progress.events).await?)
    })?;
    drop(progress);
    keep_cap(session, store)?;
    Ok(pulled)
}

/// Keeps the store below its cap once images have come.
pub(super) fn keep_cap(session: &Session, store: &Store) -> Result<(), Failure> {
    if let Some(max) = session.config.cache_max(None)?
        && let Some(warning) = space::keep_cap(store, max)
    {
        tell(&format!("warning: {warning}\n"));
    }
    Ok(())
}

/// Layers on their way, being shown.
pub(super) struct Transfer {
    pub(super) events: Events,
    /// Draws on a terminal as long as it lives.
    _progress: Option<Progress>,
}

/// Shows layers on their way: as a picture on a terminal, else as a line for each that is there;
/// no word for those means that nothing is shown.
pub(super) fn transfer(
    session: &Session,
    heading: &'static str,
    quiet: bool,
    voice: Voice,
    done: &'static str,
) -> Transfer {
    if quiet {
        return Transfer { events: Events::none(), _progress: None };
    }
    if io::stderr().is_terminal() {
        let look = Look { heading, ..session.config.look() };
        let progress = Progress::start(Mode::Tty, look);
        return Transfer { events: Events::new(progress.sink()), _progress: Some(progress) };
    }
    let events = match done {
        "" => Events::none(),
        word => Events::new(move |event| layer_line(&event, voice, word)),
    };
    Transfer { events, _progress: None }
}

fn layer_line(event: &Event, voice: Voice, word: &str) {
    if let What::Progress { part, done: true, .. } = &event.what
        && part.starts_with("sha256:")
    {
        voice.say(&format!("{}: {word}\n", short_id(part)));
    }
}
