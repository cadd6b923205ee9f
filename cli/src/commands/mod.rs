//! The verbs, one file each: what was typed becomes calls of the library, and what it gives
//! becomes lines.

mod attest;
mod build;
mod cache;
mod caches;
mod check;
mod commit;
mod completion;
mod cp;
mod df;
mod diff;
mod doctor;
mod events;
mod exec;
mod history;
mod images;
mod imagetools;
mod import;
mod info;
mod inspect;
mod load;
mod login;
mod logs;
mod man;
mod network;
mod outputs;
mod prune;
mod ps;
mod pull;
mod push;
mod rmi;
mod run;
mod runtime;
mod save;
mod signals;
mod stats;
mod status;
mod top;
mod verify;
mod verify_build;
mod version;
mod volume;
mod why;

use std::io::{self, Write};
use std::time::SystemTime;

use rbuild::{Platform, Registries, Store};

use crate::args::{Cache, Command, Imagetools, Manifest};
use crate::config::{self, Config};
use crate::failure::Failure;
pub(crate) use runtime::run as runtime;

/// The result of a verb; its value is the exit code.
pub(crate) type Outcome = Result<u8, Failure>;

/// The exit code of a verb that has done its work.
const DONE: u8 = 0;

/// The exit code of a check that has found something.
const FAILED: u8 = 1;

/// What every verb starts from; nothing is opened before it is used.
pub(crate) struct Session {
    pub(crate) config: Config,
}

impl Session {
    /// Opens the store.
    fn store(&self) -> Result<Store, Failure> {
        Ok(Store::open(self.config.root()?).map_err(rbuild::Error::from)?)
    }

    fn registries(&self) -> Result<Registries, Failure> {
        Ok(self.config.registries()?)
    }
}

/// The platform that was typed or is usual; none is this machine's.
fn platform(typed: Option<&str>) -> Result<Option<Platform>, Failure> {
    typed_platform(typed.map(str::to_owned).or_else(config::platform).as_deref())
}

/// The platform that was typed.
fn typed_platform(typed: Option<&str>) -> Result<Option<Platform>, Failure> {
    let parse = |text: &str| {
        rbuild::platform::parse(text).map_err(|error| Failure::usage(error.to_string()))
    };
    typed.map(parse).transpose()
}

/// Does what was typed, by its verb without any group.
pub(crate) fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::Build(args) => build::run(&args, session),
        Command::Why(args) => why::run(&args, session),
        Command::Run(args) => run::run(&args, session),
        Command::Create(args) => run::create(&args, session),
        Command::Ps(args) => ps::run(&args, session),
        Command::Logs(args) => logs::run(&args, session),
        Command::Exec(args) => exec::run(&args, session),
        Command::Start(args) => status::start(&args, session),
        Command::Stop(args) => status::stop(&args, session),
        Command::Restart(args) => status::restart(&args, session),
        Command::Kill(args) => status::kill(&args, session),
        Command::Attach(args) => status::attach(&args, session),
        Command::Rename(args) => status::rename(&args, session),
        Command::Commit(args) => commit::run(&args, session),
        Command::Cp(args) => cp::run(&args, session),
        Command::Export(args) => cp::export(&args, session),
        Command::Top(args) => top::run(&args, session),
        Command::Stats(args) => stats::run(&args, session),
        Command::Volume(verb) => volume::run(&verb, session),
        Command::Pause(args) => status::pause(&args, session),
        Command::Unpause(args) => status::unpause(&args, session),
        Command::Update(args) => run::update(&args, session),
        Command::Events(args) => events::run(&args, session),
        Command::Wait(args) => status::wait(&args, session),
        Command::Rm(args) => status::rm(&args, session),
        Command::Port(args) => network::port(&args, session),
        Command::Network(verb) => network::run(&verb, session),
        other => of_the_rest(other, session),
    }
}

/// Does what is about no container: about images, the store, and rbuild itself.
fn of_the_rest(command: Command, session: &Session) -> Outcome {
    match command {
        Command::Images(args) => images::run(&args, session),
        Command::Pull(args) => pull::run(&args, session),
        Command::Push(args) => push::run(&args, session),
        Command::Tag(args) => images::tag(&args, session),
        Command::Rmi(args) => rmi::run(&args, session),
        Command::History(args) => history::run(&args, session),
        Command::Save(args) => save::run(&args, session),
        Command::Load(args) => load::run(&args, session),
        Command::Import(args) => import::run(&args, session),
        Command::Diff(args) => diff::run(&args, session),
        Command::Verify(args) => verify_build::run(&args, session),
        Command::Inspect(args) => inspect::run(&args, session),
        Command::Login(args) => login::login(&args, session),
        Command::Logout(args) => login::logout(&args, session),
        Command::Doctor(args) => doctor::run(&args, session),
        Command::Version(args) => version::run(&args),
        Command::Info(args) => info::run(&args, session),
        Command::Completion(args) => completion::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Runtime(args) => {
            Ok(runtime::run(std::iter::once("rbuild-runtime".into()).chain(args.words).collect()))
        }
        Command::ImagePrune(args) => prune::images(&args, session),
        Command::ContainerPrune(args) => prune::containers(&args, session),
        Command::Cache(verb) => of_cache(verb, session),
        Command::BuildxPrune(args) => prune::buildx(&args, session),
        Command::SystemPrune(args) => prune::system(&args, session),
        Command::Imagetools(verb) => of_imagetools(verb, session),
        Command::Manifest(Manifest::Inspect(args)) => imagetools::manifest_inspect(&args, session),
        Command::DiskUsage(args) => df::run(&args, session),
        _ => unreachable!("`plain` has undone the groups, and the others are containers'"),
    }
}

fn of_cache(verb: Cache, session: &Session) -> Outcome {
    match verb {
        Cache::Du(args) => cache::du(&args, session),
        Cache::Prune(args) => prune::cache(&args, session),
        Cache::WhyKept(args) => cache::why_kept(&args, session),
        Cache::Verify(args) => verify::run(&args, session),
    }
}

fn of_imagetools(verb: Imagetools, session: &Session) -> Outcome {
    match verb {
        Imagetools::Create(args) => imagetools::create(&args, session),
        Imagetools::Inspect(args) => imagetools::inspect(&args, session),
    }
}

/// Prints a result: on standard output, and at once.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::io("print"))
}

/// Tells the user something: on standard error, where losing it does no harm.
pub(crate) fn tell(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Does one thing to each of several names, and prints what that gives; a name that fails doesn't
/// stop the others.
fn each(names: &[String], mut act: impl FnMut(&str) -> Result<String, Failure>) -> Outcome {
    let mut code = DONE;
    for name in names {
        match act(name) {
            Ok(line) => print(&line)?,
            Err(failure) => {
                tell(&failure.render());
                code = failure.code();
            }
        }
    }
    Ok(code)
}

/// Tells docker's `key=value` filters apart.
fn filters(typed: &[String]) -> Result<Vec<(&str, &str)>, Failure> {
    let split = |text: &String| text.split_once('=').is_some();
    match typed.iter().find(|text| !split(text)) {
        Some(text) => {
            Err(Failure::usage(format!("the filter `{text}` is not of the form KEY=VALUE")))
        }
        None => Ok(typed.iter().filter_map(|text| text.split_once('=')).collect()),
    }
}

/// Asks the user; nobody to ask means no.
fn confirm(question: &str) -> bool {
    tell(&format!("{question} [y/N] "));
    let mut answer = String::new();
    drop(io::stdin().read_line(&mut answer));
    matches!(answer.trim(), "y" | "Y" | "yes")
}
