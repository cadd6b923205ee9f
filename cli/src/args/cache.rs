//! The flags of the verbs on what the store takes.

use clap::Subcommand;

use super::Size;
use super::foreign::{Flag, Flags, Foreign, ignored};

/// `rbuild cache ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Show what the store takes, and what of it can go
    #[command(visible_alias = "ls")]
    Du(DuArgs),
    /// Remove what nobody uses, the least valuable first
    Prune(CachePruneArgs),
    /// Tell who needs something, or when it would go
    WhyKept(WhyKeptArgs),
    /// Look whether everything in the store is as it was written
    Verify(VerifyArgs),
}

/// Flags of `du` and `prune` that rbuild lets pass.
#[derive(Debug)]
pub(crate) struct DuFlags;

impl Flags for DuFlags {
    const FLAGS: &'static [Flag] = &[ignored("builder"), ignored("timeout")];
}

const FILTERS: &str = "\
Filters: until=24h (not used for so long), id=, parents=, description=, type=, inuse, mutable,
immutable, shared, private; with `!=` the others, with `~=` those that a pattern fits.
Types: regular (layers), internal (compressed layers, configs), exec.cachemount,
source.git.checkout, source.local.";

/// What `rbuild cache du` understands.
#[derive(Debug, clap::Args)]
#[command(after_help = FILTERS)]
pub(crate) struct DuArgs {
    /// Tell all that is known of each thing
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Only what matches
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// `table`, `json` or a Go template
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "verbose")]
    pub(crate) format: Option<String>,
    /// Cut nothing short
    #[arg(long)]
    pub(crate) no_trunc: bool,
    #[command(flatten)]
    pub(crate) foreign: Foreign<DuFlags>,
}

/// What `rbuild cache prune` understands.
#[derive(Debug, clap::Args)]
#[command(after_help = FILTERS)]
pub(crate) struct CachePruneArgs {
    /// Also what was pulled for the bases of builds
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only what matches
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Go on until the store takes no more than this
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_used_space: Option<Size>,
    /// Never go below this
    #[arg(long, alias = "keep-storage", value_name = "SIZE")]
    pub(crate) reserved_space: Option<Size>,
    /// Go on until this much of the disk is free
    #[arg(long, value_name = "SIZE")]
    pub(crate) min_free_space: Option<Size>,
    /// Only tell what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Don't ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Tell all that is known of each thing
    #[arg(long)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) foreign: Foreign<DuFlags>,
}

/// What `rbuild cache why-kept` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct WhyKeptArgs {
    /// Ids, or beginnings of them, as `du` shows them
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
}

/// What `rbuild cache verify` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// Set aside what is damaged, so that it is made or fetched again
    #[arg(long)]
    pub(crate) repair: bool,
    /// `json` or a Go template, for each finding
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}
