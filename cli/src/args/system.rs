//! The flags of the verbs on rbuild itself.

use std::path::PathBuf;

use super::Buildx;
use super::foreign::{Flag, Flags, Foreign, ignored};

/// Flags of `buildx` that rbuild lets pass.
#[derive(Debug)]
pub(crate) struct BuildxFlags;

impl Flags for BuildxFlags {
    const FLAGS: &'static [Flag] = &[ignored("builder")];
}

/// What `rbuild buildx` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildxArgs {
    #[command(subcommand)]
    pub(crate) verb: Buildx,
    #[command(flatten)]
    pub(crate) foreign: Foreign<BuildxFlags>,
}

/// What verbs understand that show one thing.
#[derive(Debug, clap::Args)]
pub(crate) struct FormatArgs {
    /// `json` or a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// What `rbuild doctor` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// The registry that is asked
    #[arg(long, value_name = "HOST", default_value = "docker.io")]
    pub(crate) registry: String,
    /// `table`, `json` or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// What `rbuild system df` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct DfArgs {
    /// List images, containers, volumes and the cache
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// `table`, `json` or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// What `rbuild system prune` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct SystemPruneArgs {
    /// Also images that have a name but no container, and what was pulled for bases
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Don't ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Only what was not used, or not made, for so long: `until=24h`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Also volumes without a name that no container uses
    #[arg(long)]
    pub(crate) volumes: bool,
}

/// What `rbuild inspect` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// The containers, images, networks or volumes
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// `json` or a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Look for this kind only: `container`, `image`, `network` or `volume`
    #[arg(long = "type", value_name = "KIND", value_parser = ["container", "image", "network", "volume"])]
    pub(crate) kind: Option<String>,
    /// Show sizes
    #[arg(short, long)]
    pub(crate) size: bool,
    /// Of several platforms, the image of this one
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
}

impl InspectArgs {
    /// The same, for one kind of thing.
    pub(super) fn only(self, kind: &str) -> Self {
        Self { kind: Some(kind.to_owned()), ..self }
    }
}

/// What `rbuild completion` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// What `rbuild man` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Where to write the pages [default: the main page to standard output]
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
}

/// What `rbuild why` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct WhyArgs {
    /// A step: its number, or a part of its text
    #[arg(value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// Look at the last build of this Dockerfile, not the last of all
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Look at the last build of this stage
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// `json` or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}
