//! The command line as it was typed; nothing here looks at the machine.
//!
//! The verbs and flags are those of `docker`, so that `alias docker=rbuild` serves scripts as
//! they are. What follows no verb is a build: `rbuild -t x .` is `rbuild build -t x .`.

#![expect(clippy::doc_markdown, reason = "these comments are the help that users read")]
#![expect(clippy::struct_excessive_bools, reason = "a switch is a bool")]
#![expect(clippy::struct_field_names, reason = "a field is named as its flag")]

mod branch;
mod build;
mod cache;
mod call;
mod container;
mod foreign;
mod group;
mod image;
mod imagetools;
mod life;
mod network;
mod route;
mod run;
mod runtime;
mod system;
mod values;
mod volume;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::failure::{ENGINE, USAGE};
use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use build::{BuildArgs, VerifyBuildArgs};
pub(crate) use cache::{Cache, CachePruneArgs, DuArgs, VerifyArgs, WhyKeptArgs};
pub(crate) use call::{Call, Format, Method};
pub(crate) use container::{
    AttachArgs, CommitArgs, CpArgs, ExecArgs, ExportArgs, KillArgs, LogsArgs, NamesArgs, PsArgs,
    RenameArgs, RmArgs, StartArgs, StatsArgs, StopArgs, TopArgs,
};
pub(crate) use group::{Builder, Buildx, Container, Image, System};
pub(crate) use image::{
    DiffArgs, HistoryArgs, ImagesArgs, ImportArgs, LoadArgs, LoginArgs, LogoutArgs, PruneArgs,
    PruneUnusedArgs, PullArgs, PushArgs, RmiArgs, SaveArgs, TagArgs,
};
pub(crate) use imagetools::{Imagetools, IndexArgs, LookArgs, Manifest, ManifestArgs};
pub(crate) use life::{EventsArgs, Health, Limits, Logging, UpdateArgs};
pub(crate) use network::{
    ConnectArgs, DisconnectArgs, NetworkCreateArgs, NetworkInspectArgs, NetworkLsArgs,
    NetworkRmArgs, Networks, PortArgs,
};
pub(crate) use run::{CreateArgs, Files, Network, RunArgs, Sandbox};
pub(crate) use runtime::{
    BundleArgs, ExecBundleArgs, ListArgs, ListFormat, LogFormat, PsBundleArgs, RunBundleArgs,
    RuntimeArgs, RuntimeCli, RuntimeVerb, UpdateBundleArgs, runtime_words,
};
pub(crate) use system::{
    BuildxArgs, CompletionArgs, DfArgs, DoctorArgs, FormatArgs, InspectArgs, ManArgs,
    SystemPruneArgs, WhyArgs,
};
pub(crate) use values::{
    Allow, Pair, Pull, SecretFlag, SecretSource, Size, SshFlag, Swap, Ulimit, csv,
};
pub(crate) use volume::{
    Volume as Volumes, VolumeCreateArgs, VolumeInspectArgs, VolumeLsArgs, VolumePruneArgs,
    VolumeRmArgs,
};

const EXAMPLES: &str = "\
Examples:
  rbuild -t hello .                  build the Dockerfile of this folder and name the image
  rbuild run --rm hello              run it, and leave nothing behind
  rbuild run -it --rm alpine         a shell in a fresh container
  rbuild push hello                  send it to its registry
  alias docker=rbuild                scripts written for docker work as they are

`rbuild build --help` lists the flags of a build; `rbuild help VERB` those of another verb.";

/// Builds container images, and runs them
#[derive(Debug, Parser)]
#[command(
    name = "rbuild",
    version,
    disable_version_flag = true,
    override_usage = "rbuild [BUILD OPTIONS] PATH\n       rbuild [OPTIONS] VERB ...",
    after_help = EXAMPLES,
    args_override_self = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) top: Top,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What may stand before the verb.
#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) global: Global,
    /// Print the version
    #[arg(short = 'v', short_alias = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// What every verb understands.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Keep images, layers and containers in this folder [env: RBUILD_ROOT]
    #[arg(long, value_name = "FOLDER", global = true)]
    pub(crate) root: Option<PathBuf>,
    /// Ask this host in place of docker.io, or of the registry named before `=`
    #[arg(long, value_name = "[REGISTRY=]HOST", global = true)]
    pub(crate) registry_mirror: Vec<String>,
    /// Speak plain HTTP, or TLS that nobody vouches for, with this registry
    #[arg(long, value_name = "HOST", global = true)]
    pub(crate) insecure_registry: Vec<String>,
    #[command(flatten)]
    pub(crate) patience: Patience,
    /// Tell more: causes of errors, every warning
    #[arg(short = 'D', long, global = true)]
    pub(crate) debug: bool,
    /// Read registry credentials from the `config.json` in this folder [env: DOCKER_CONFIG]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) config: Option<PathBuf>,
    /// Accepted for docker's sake: rbuild has no daemon
    #[arg(short = 'H', long, hide = true)]
    pub(crate) host: Option<String>,
    /// Accepted for docker's sake: `default` is the only one
    #[arg(short = 'c', long, hide = true)]
    pub(crate) context: Option<String>,
    /// Accepted for docker's sake
    #[arg(short = 'l', long, hide = true)]
    pub(crate) log_level: Option<String>,
}

/// How patient rbuild is with registries and other servers.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Patience {
    /// Make a request up to so many times more that failed for the moment: never one that was
    /// refused [env: RBUILD_RETRY; default: 5]
    #[arg(long, value_name = "COUNT", global = true)]
    pub(crate) retry: Option<u32>,
    /// Wait so long before the second time, and twice as long before each further one
    /// [env: RBUILD_RETRY_DELAY; default: 1s]
    #[arg(long, value_name = "SPAN", global = true)]
    pub(crate) retry_delay: Option<String>,
    /// Give a request up when nothing moved for so long [env: RBUILD_IDLE_TIMEOUT; default: 1m]
    #[arg(long, value_name = "SPAN", global = true)]
    pub(crate) idle_timeout: Option<String>,
}

impl Global {
    /// The first flag typed that rbuild can't honour.
    pub(crate) fn refused(&self) -> Option<&'static str> {
        let other_context = self.context.as_deref().is_some_and(|context| context != "default");
        match (&self.host, other_context) {
            (Some(_), _) => Some("host"),
            (None, true) => Some("context"),
            (None, false) => None,
        }
    }
}

/// The verbs, as typed; [`Command::plain`] undoes the grouping.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile (also without the word `build`)
    Build(Box<BuildArgs>),
    /// Say why the steps of the last build ran
    Why(WhyArgs),
    /// Build twice without any cache, and say what differs
    #[command(after_help = VerifyBuildArgs::AFTER)]
    Verify(Box<VerifyBuildArgs>),
    /// Run a command in a new container
    Run(Box<RunArgs>),
    /// Make a container without starting it
    Create(Box<CreateArgs>),
    /// List containers
    Ps(PsArgs),
    /// Show what a container wrote
    Logs(LogsArgs),
    /// Run a command in a running container
    Exec(ExecArgs),
    /// Connect to a running container
    Attach(AttachArgs),
    /// Copy files between a container and the host
    Cp(CpArgs),
    /// Make an image of a container
    Commit(CommitArgs),
    /// Write the files of a container to an archive
    Export(ExportArgs),
    /// List the processes of a container
    Top(TopArgs),
    /// Show what running containers use
    Stats(StatsArgs),
    /// Give a container another name
    Rename(RenameArgs),
    /// Start containers that have stopped
    Start(StartArgs),
    /// Stop containers
    Stop(StopArgs),
    /// Stop containers, and start them again
    Restart(StopArgs),
    /// Send a signal to containers
    Kill(KillArgs),
    /// Stop all processes of containers where they are
    Pause(NamesArgs),
    /// Let the processes of paused containers go on
    Unpause(NamesArgs),
    /// Change limits and the restart policy of containers
    Update(Box<UpdateArgs>),
    /// Show what happens to containers, images, networks and volumes
    Events(EventsArgs),
    /// Wait until containers stop, and print their exit codes
    Wait(NamesArgs),
    /// Remove containers
    Rm(RmArgs),
    /// Show what stands for the ports of a container
    Port(PortArgs),
    /// List images
    Images(ImagesArgs),
    /// Fetch an image from a registry
    Pull(PullArgs),
    /// Send an image to a registry
    Push(PushArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Remove images
    Rmi(RmiArgs),
    /// Show how an image was made
    History(HistoryArgs),
    /// Write images to an archive
    Save(SaveArgs),
    /// Read images from an archive
    Load(LoadArgs),
    /// Make an image of the files of a tar
    Import(ImportArgs),
    /// Show what differs between two images, or what a container changed
    Diff(DiffArgs),
    /// Show all that is known of containers or images
    Inspect(InspectArgs),
    /// Remember the credentials of a registry
    Login(LoginArgs),
    /// Forget the credentials of a registry
    Logout(LogoutArgs),
    /// Verbs on images
    #[command(subcommand)]
    Image(Image),
    /// Verbs on containers
    #[command(subcommand)]
    Container(Container),
    /// Verbs on volumes
    #[command(subcommand)]
    Volume(Volumes),
    /// Verbs on networks of containers
    #[command(subcommand)]
    Network(Networks),
    /// Verbs on what the store takes
    #[command(subcommand)]
    Cache(Cache),
    /// The build verb as `docker builder` has it
    #[command(subcommand)]
    Builder(Builder),
    /// The build verb as `docker buildx` has it
    Buildx(BuildxArgs),
    /// Verbs on manifests and indexes in registries
    #[command(subcommand)]
    Imagetools(Imagetools),
    /// The same as `docker manifest` has them
    #[command(subcommand)]
    Manifest(Manifest),
    /// Verbs on the store
    #[command(subcommand)]
    System(System),
    /// Say what this machine lacks, and what helps
    Doctor(DoctorArgs),
    /// Show the version
    Version(FormatArgs),
    /// Show the machine and the store
    Info(FormatArgs),
    /// Write a completion script for a shell
    Completion(CompletionArgs),
    /// Write the manual pages into a folder
    Man(ManArgs),
    /// Run containers of OCI bundles, for podman and others
    Runtime(RuntimeArgs),
    /// Remove images without a name
    #[command(skip)]
    ImagePrune(PruneArgs),
    /// Remove containers that have stopped
    #[command(skip)]
    ContainerPrune(PruneUnusedArgs),
    /// Remove containers, images and cache that nobody uses
    #[command(skip)]
    SystemPrune(SystemPruneArgs),
    /// Remove cache that nobody uses, and end as `buildx prune` does
    #[command(skip)]
    BuildxPrune(CachePruneArgs),
    /// Show what images, containers and the cache take
    #[command(skip)]
    DiskUsage(DfArgs),
}

impl Command {
    /// The same command without its group: `container ls` is `ps`, `buildx build` is `build`.
    pub(crate) fn plain(self) -> Self {
        match self {
            Self::Image(verb) => verb.plain(),
            Self::Container(verb) => verb.plain(),
            Self::Builder(Builder::Build(args)) => Self::Build(args),
            Self::Buildx(args) => args.verb.plain(),
            Self::System(System::Events(args)) => Self::Events(args),
            Self::System(System::Df(args)) => Self::DiskUsage(args),
            Self::System(System::Info(args)) => Self::Info(args),
            Self::System(System::Prune(args)) => Self::SystemPrune(args),
            Self::Builder(Builder::Prune(args)) => Self::Cache(Cache::Prune(args)),
            plain => plain,
        }
    }
}

/// A command line that can't be followed, or that asks for help.
#[derive(Debug)]
pub(crate) struct Wrong {
    error: clap::Error,
    /// Whether it runs a container: `docker run` has exit codes of its own.
    runs: bool,
}

impl Wrong {
    /// Says what is wrong, or helps; returns the exit code.
    pub(crate) fn explain(&self) -> u8 {
        // There is nobody left to tell that telling failed.
        drop(self.error.print());
        match (self.error.use_stderr(), self.runs) {
            (false, _) => 0,
            (true, true) => ENGINE,
            (true, false) => USAGE,
        }
    }
}

/// Reads a command line, the program's name first.
///
/// # Errors
/// What clap has to say instead: that something is wrong, but also help and version.
pub(crate) fn parse(argv: Vec<OsString>) -> Result<Cli, Wrong> {
    let (argv, verb) = route::route(argv);
    let branch = verb.as_deref().and_then(branch::of);
    let matches = branch.and_then(|branch| branch.try_get_matches_from(&argv).ok());
    if let Some(cli) = matches.and_then(|matches| Cli::from_arg_matches(&matches).ok()) {
        return Ok(cli);
    }
    let runs = matches!(verb.as_deref(), Some("run" | "create" | "exec" | "container"));
    let mut command = Cli::command();
    let parsed = match verb.as_deref() {
        Some(verb) if route::is_absent(verb) => {
            let message = format!("`rbuild {verb}` is not supported yet");
            Err(command.error(ErrorKind::InvalidSubcommand, message))
        }
        Some(_) => read(command, argv),
        None => Err(route::no_verb(&mut command)),
    };
    parsed.map_err(|error| Wrong { error, runs })
}

fn read(mut command: clap::Command, argv: Vec<OsString>) -> Result<Cli, clap::Error> {
    let matches = match command.try_get_matches_from_mut(&argv) {
        // Only now and then does somebody type `--rm=true`, so only then is it paid for.
        Err(error) if error.kind() == ErrorKind::TooManyValues => {
            with_switch_values(Cli::command()).try_get_matches_from(argv)?
        }
        other => other?,
    };
    Cli::from_arg_matches(&matches)
}

/// Lets every switch take a value after `=`, as all of docker's do.
fn with_switch_values(command: clap::Command) -> clap::Command {
    command.mut_subcommands(with_switch_values).mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .value_parser(clap::builder::FalseyValueParser::new()),
        _ => arg,
    })
}

#[cfg(test)]
mod tests;
