//! The verbs on volumes.

use clap::Subcommand;

use super::Pair;

/// `rbuild volume ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Volume {
    /// Make a volume
    Create(VolumeCreateArgs),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(VolumeLsArgs),
    /// Show all that is known of volumes
    Inspect(VolumeInspectArgs),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(VolumeRmArgs),
    /// Remove volumes without a name that no container uses
    Prune(VolumePruneArgs),
}

/// What `rbuild volume create` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct VolumeCreateArgs {
    /// Its name; one is made up where none is given
    #[arg(value_name = "VOLUME")]
    pub(crate) name: Option<String>,
    /// The same
    #[arg(long = "name", value_name = "VOLUME", conflicts_with = "name", hide = true)]
    pub(crate) named: Option<String>,
    /// Add a label
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<Pair>,
    /// The driver: `local`
    #[arg(short, long, value_name = "DRIVER", default_value = "local")]
    pub(crate) driver: String,
    /// What is mounted as the volume: `type`, `device` and `o`, as mount(8) has them
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) opt: Vec<Pair>,
}

/// What `rbuild volume ls` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct VolumeLsArgs {
    /// Only those that match: `dangling=BOOL`, `name=TEXT`, `label=NAME[=VALUE]`, `driver=local`
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// `table`, `json` or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Print names only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What `rbuild volume inspect` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct VolumeInspectArgs {
    /// The volumes
    #[arg(required = true, value_name = "VOLUME")]
    pub(crate) volumes: Vec<String>,
    /// `json` or a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// What `rbuild volume rm` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct VolumeRmArgs {
    /// The volumes
    #[arg(required = true, value_name = "VOLUME")]
    pub(crate) volumes: Vec<String>,
    /// What is not there is no error
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// What `rbuild volume prune` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct VolumePruneArgs {
    /// Also volumes with a name
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only those that match: `label=NAME[=VALUE]`, `all=BOOL`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Don't ask
    #[arg(short, long)]
    pub(crate) force: bool,
}
