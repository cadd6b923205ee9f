//! The flags of the verbs on manifests and indexes in registries.

use std::path::PathBuf;

use clap::{ArgAction, Subcommand};

use super::foreign::{Flag, Flags, Foreign, ignored};
use crate::progress::Mode;

const EXAMPLES: &str = "\
Examples:
  rbuild imagetools create -t host/app:1 host/app:amd64 host/app:arm64
  rbuild imagetools create -t host/app:1 --append host/app:riscv64
  rbuild imagetools create -t other/app:1 host/app:1        copies, with all platforms
  rbuild imagetools inspect alpine:3
  rbuild imagetools inspect --format '{{.Manifest.Digest}}' alpine:3";

/// `rbuild imagetools ...`
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Imagetools {
    /// Make an index of images that registries have
    Create(IndexArgs),
    /// Show what a name stands for at its registry
    Inspect(LookArgs),
}

/// `rbuild manifest ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Manifest {
    /// Show the manifest or index of a name as JSON
    Inspect(ManifestArgs),
}

/// Flags of `imagetools` that rbuild lets pass.
#[derive(Debug)]
pub(crate) struct ImagetoolsFlags;

impl Flags for ImagetoolsFlags {
    const FLAGS: &'static [Flag] = &[ignored("builder")];
}

/// What `rbuild imagetools create` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct IndexArgs {
    /// Images and indexes: names, or digests in the repository of the first `-t`
    #[arg(value_name = "SOURCE")]
    pub(crate) sources: Vec<String>,
    /// Name the index (may be repeated)
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    pub(crate) tags: Vec<String>,
    /// Take also what the first name stands for already
    #[arg(long)]
    pub(crate) append: bool,
    /// Print the index, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Say something besides, on `index:` or `manifest-descriptor:` (may be repeated)
    #[arg(long = "annotation", value_name = "TYPE:KEY=VALUE")]
    pub(crate) annotations: Vec<String>,
    /// Read the descriptor of a source from a JSON file (may be repeated)
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Make an index of a lone image too; with `false` it stays a manifest
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub(crate) prefer_index: bool,
    /// Only the images of these platforms
    #[arg(short, long = "platform", value_name = "OS/ARCH", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,
    /// Write what was made to a JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// How to show what goes on [env: BUILDKIT_PROGRESS]
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) progress: Option<Mode>,
    #[command(flatten)]
    pub(crate) foreign: Foreign<ImagetoolsFlags>,
}

/// What `rbuild imagetools inspect` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct LookArgs {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub(crate) image: String,
    /// A Go template over `.Name`, `.Manifest`, `.Image`, `.Provenance` and `.SBOM`
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Print the document as the registry has it, byte for byte
    #[arg(long, conflicts_with = "format")]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) foreign: Foreign<ImagetoolsFlags>,
}

/// What `rbuild manifest inspect` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestArgs {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub(crate) image: String,
    /// Show each image of an index, with its manifest
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Accepted for docker's sake: see `--insecure-registry`
    #[arg(long, hide = true)]
    pub(crate) insecure: bool,
}
