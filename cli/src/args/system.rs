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

/// What `rbuild inspect` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// The containers or images
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// `json` or a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Look for this kind only: `container` or `image`
    #[arg(long = "type", value_name = "KIND", value_parser = ["container", "image"])]
    pub(crate) kind: Option<String>,
    /// Show sizes
    #[arg(short, long)]
    pub(crate) size: bool,
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
