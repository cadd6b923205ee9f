//! The verbs as docker groups them: `image ls`, `container rm`, `buildx build`.

use clap::Subcommand;

use super::{
    AttachArgs, BuildArgs, Cache, CachePruneArgs, Command, CommitArgs, CpArgs, CreateArgs, DfArgs,
    DuArgs, EventsArgs, ExecArgs, ExportArgs, FormatArgs, HistoryArgs, ImagesArgs, Imagetools,
    ImportArgs, InspectArgs, KillArgs, LoadArgs, LogsArgs, NamesArgs, PortArgs, PruneArgs,
    PruneUnusedArgs, PsArgs, PullArgs, PushArgs, RenameArgs, RmArgs, RmiArgs, RunArgs, SaveArgs,
    StartArgs, StatsArgs, StopArgs, SystemPruneArgs, TagArgs, TopArgs, UpdateArgs,
};

/// `rbuild image ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Build an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// List images
    #[command(visible_alias = "list")]
    Ls(ImagesArgs),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(RmiArgs),
    /// Fetch an image from a registry
    Pull(PullArgs),
    /// Send an image to a registry
    Push(PushArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Show all that is known of images
    Inspect(InspectArgs),
    /// Show how an image was made
    History(HistoryArgs),
    /// Remove images without a name
    Prune(PruneArgs),
    /// Write images to an archive
    Save(SaveArgs),
    /// Read images from an archive
    Load(LoadArgs),
    /// Make an image of the files of a tar
    Import(ImportArgs),
}

/// `rbuild container ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Container {
    /// Run a command in a new container
    Run(Box<RunArgs>),
    /// Make a container without starting it
    Create(Box<CreateArgs>),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(PsArgs),
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
    /// Wait until containers stop, and print their exit codes
    Wait(NamesArgs),
    /// Show what stands for the ports of a container
    Port(PortArgs),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Show all that is known of containers
    Inspect(InspectArgs),
    /// Remove containers that have stopped
    Prune(PruneUnusedArgs),
}

/// `rbuild builder ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Builder {
    /// Build an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// Remove cache that nobody uses
    Prune(CachePruneArgs),
}

/// `rbuild buildx ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Buildx {
    /// Build an image from a Dockerfile
    #[command(visible_alias = "b")]
    Build(Box<BuildArgs>),
    /// Remove cache that nobody uses
    Prune(CachePruneArgs),
    /// Show the version
    Version(FormatArgs),
    /// Show what the store takes
    Du(DuArgs),
    /// Verbs on manifests and indexes in registries
    #[command(subcommand)]
    Imagetools(Imagetools),
}

/// `rbuild system ...`
#[derive(Debug, Subcommand)]
pub(crate) enum System {
    /// Show what images, containers and the cache take
    Df(DfArgs),
    /// Show what happens to containers, images, networks and volumes
    Events(EventsArgs),
    /// Show the machine and the store
    Info(FormatArgs),
    /// Remove containers, images and cache that nobody uses
    Prune(SystemPruneArgs),
}

impl Image {
    /// The same verb without the group.
    pub(super) fn plain(self) -> Command {
        match self {
            Self::Build(args) => Command::Build(args),
            Self::Ls(args) => Command::Images(args),
            Self::Rm(args) => Command::Rmi(args),
            Self::Pull(args) => Command::Pull(args),
            Self::Push(args) => Command::Push(args),
            Self::Tag(args) => Command::Tag(args),
            Self::Inspect(args) => Command::Inspect(args.only("image")),
            Self::History(args) => Command::History(args),
            Self::Prune(args) => Command::ImagePrune(args),
            Self::Save(args) => Command::Save(args),
            Self::Load(args) => Command::Load(args),
            Self::Import(args) => Command::Import(args),
        }
    }
}

impl Container {
    /// The same verb without the group.
    pub(super) fn plain(self) -> Command {
        match self {
            Self::Run(args) => Command::Run(args),
            Self::Create(args) => Command::Create(args),
            Self::Ls(args) => Command::Ps(args),
            Self::Logs(args) => Command::Logs(args),
            Self::Exec(args) => Command::Exec(args),
            Self::Attach(args) => Command::Attach(args),
            Self::Cp(args) => Command::Cp(args),
            Self::Export(args) => Command::Export(args),
            Self::Commit(args) => Command::Commit(args),
            Self::Top(args) => Command::Top(args),
            Self::Stats(args) => Command::Stats(args),
            Self::Rename(args) => Command::Rename(args),
            Self::Restart(args) => Command::Restart(args),
            Self::Start(args) => Command::Start(args),
            Self::Stop(args) => Command::Stop(args),
            Self::Kill(args) => Command::Kill(args),
            Self::Pause(args) => Command::Pause(args),
            Self::Unpause(args) => Command::Unpause(args),
            Self::Update(args) => Command::Update(args),
            Self::Wait(args) => Command::Wait(args),
            Self::Port(args) => Command::Port(args),
            Self::Rm(args) => Command::Rm(args),
            Self::Inspect(args) => Command::Inspect(args.only("container")),
            Self::Prune(args) => Command::ContainerPrune(args),
        }
    }
}

impl Buildx {
    /// The same verb without the group.
    pub(super) fn plain(self) -> Command {
        match self {
            Self::Build(args) => Command::Build(args),
            Self::Prune(args) => Command::BuildxPrune(args),
            Self::Version(args) => Command::Version(args),
            Self::Du(args) => Command::Cache(Cache::Du(args)),
            Self::Imagetools(verb) => Command::Imagetools(verb),
        }
    }
}
