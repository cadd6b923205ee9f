//! `run` and `create`: an image as a container.

mod life;
mod options;
mod runtime;

use std::fs;

use rbuild::container::{self, Created, ImageToRun, RunOptions, Source, Terminal};
use rbuild::images::{self, Found};
use rbuild::{Events, Store};

use super::pull::{Place, Voice, pull};
use super::status::code;
use super::{DONE, Outcome, Session, platform, print, tell};
use crate::args::{CreateArgs, Pull, RunArgs};
use crate::failure::Failure;
use crate::interrupt::block_on;

pub(super) use life::update;

pub(super) fn run(args: &RunArgs, session: &Session) -> Outcome {
    start(args, session).map_err(Failure::of_run)
}

pub(super) fn create(args: &CreateArgs, session: &Session) -> Outcome {
    let made = session.store().and_then(|store| make(args, &store, session, |_| {}));
    let created = made.map_err(Failure::of_run)?;
    print(&format!("{}\n", created.id))?;
    Ok(DONE)
}

fn start(args: &RunArgs, session: &Session) -> Outcome {
    if args.detach && args.rm && args.create.restart.as_deref().is_some_and(|text| text != "no") {
        return Err(Failure::usage("`--rm` and `--restart` contradict each other"));
    }
    let attach: Vec<_> = args.attach.iter().map(|stream| stream.to_ascii_lowercase()).collect();
    if let Some(other) =
        attach.iter().find(|stream| !["stdin", "stdout", "stderr"].contains(&stream.as_str()))
    {
        let message = format!("`--attach {other}`: the streams are stdin, stdout and stderr");
        return Err(Failure::usage(message));
    }
    if args.detach && !attach.is_empty() {
        return Err(Failure::usage("`--attach` and `--detach` contradict each other"));
    }
    let wanted = |stream: &str| attach.is_empty() || attach.iter().any(|one| one == stream);
    let store = session.store()?;
    let remove = args.rm;
    let created = make(&args.create, &store, session, |options| {
        options.remove = remove;
        // Others are started by a process of their own.
        if !args.detach && !options.tty && args.sig_proxy {
            container::prepare(options);
        }
    })?;
    if args.detach {
        container::start(&store, &created.id)?;
        print(&format!("{}\n", created.id))?;
        return Ok(DONE);
    }
    let terminal = Terminal {
        input: args.create.interactive && wanted("stdin"),
        detach_keys: args.detach_keys.clone(),
        sig_proxy: args.sig_proxy,
        hidden: [!wanted("stdout"), !wanted("stderr")],
    };
    Ok(code(container::run(&store, &created, &terminal)?))
}

/// Makes a container of an image that is fetched where it is missing.
fn make(
    args: &CreateArgs,
    store: &Store,
    session: &Session,
    finish: impl FnOnce(&mut RunOptions),
) -> Result<Created, Failure> {
    if let Some(flag) = args.foreign.refused() {
        return Err(Failure::unsupported(flag));
    }
    let Some((name, command)) = args.image_and_command.split_first() else {
        return Err(Failure::usage("name an image"));
    };
    if let Some(file) = args.cidfile.as_ref().filter(|file| file.exists()) {
        let message = format!("`{}` is there already", file.display());
        return Err(Failure::usage(message).hint("remove it, or name another file"));
    }
    let mut options = options::options(args, command)?;
    finish(&mut options);
    for mount in &mut options.mounts {
        if let Source::Image(files) = &mut mount.source {
            files.layers = image(&files.reference, args, store, session)?.entry.layers;
        }
    }
    let found = image(name, args, store, session)?;
    let image = ImageToRun {
        reference: name.clone(),
        id: found.entry.config,
        config: found.config,
        layers: found.entry.layers,
    };
    let created = container::create(store, &image, options)?;
    for note in &created.notes {
        tell(&format!("note: {note}\n"));
    }
    if let Some(file) = &args.cidfile {
        let failed = Failure::io(format!("write `{}`", file.display()));
        fs::write(file, &created.id).map_err(failed)?;
    }
    Ok(created)
}

/// Finds the image for the platform that is asked for, or fetches it.
fn image(
    name: &str,
    args: &CreateArgs,
    store: &Store,
    session: &Session,
) -> Result<Found, Failure> {
    let wanted = platform(args.platform.as_deref())?;
    let found = images::find(store, name).and_then(|found| found.only(store, wanted.as_ref()));
    let mut must_pull = args.pull == Pull::Always;
    let mut other_platform = None;
    match found {
        _ if must_pull => {}
        Ok(found) if is_unpacked(store, &found) => return Ok(found),
        Ok(_) => {}
        Err(error @ rbuild::Error::NoPlatform { .. }) if args.pull == Pull::Missing => {
            (must_pull, other_platform) = (true, Some(error));
        }
        Err(rbuild::Error::NoImage(_)) if args.pull == Pull::Missing => {
            must_pull = true;
            if !args.quiet {
                tell(&format!("Unable to find image '{name}' locally\n"));
            }
        }
        Err(error) => return Err(error.into()),
    }
    let place = Place {
        store: store.clone(),
        registries: session.registries()?,
        platform: wanted.clone().unwrap_or_else(rbuild::platform::host),
    };
    if must_pull && let Err(failure) = pull(name, &place, session, args.quiet, Voice::Stderr) {
        // That there is one for another platform says more than that it is in no registry.
        return Err(match other_platform {
            Some(error) => Failure::from(error).hint(format!("pulling it: {}", failure.line())),
            None => failure,
        });
    }
    let Place { store, registries, platform } = &place;
    block_on(async {
        let found = images::obtain(store, registries, name, platform, &Events::none()).await?;
        Ok(found.only(store, wanted.as_ref())?)
    })
}

/// Whether a container can start at once, without any runtime for asynchronous work.
fn is_unpacked(store: &Store, found: &Found) -> bool {
    found.entry.layers.iter().all(|layer| store.layer_path(layer).is_some())
}
