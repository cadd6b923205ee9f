//! The flags of the verbs on images and registries.

use std::path::PathBuf;

/// What `rbuild images` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct ImagesArgs {
    /// Only images of this name
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
    /// Accepted for docker's sake: there are no hidden images
    #[arg(short, long, hide = true)]
    pub(crate) all: bool,
    /// Show digests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Only those that match, such as `reference=alpine`, `dangling=true`, `label=x`
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// `table`, `json` or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Cut nothing short
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What `rbuild pull` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct PullArgs {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub(crate) image: String,
    /// The image of this platform
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Print the name only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Every tag
    #[arg(short, long)]
    pub(crate) all_tags: bool,
}

/// What `rbuild push` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct PushArgs {
    /// The image
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) image: String,
    /// The image of this platform
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Print the name only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Every tag
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// Accepted for docker's sake
    #[arg(long, hide = true)]
    pub(crate) disable_content_trust: bool,
}

/// What `rbuild tag` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct TagArgs {
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) source: String,
    /// Its new name
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) target: String,
}

/// What `rbuild rmi` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct RmiArgs {
    /// The images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Also where a container uses it, or several names do
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Accepted for docker's sake
    #[arg(long, hide = true)]
    pub(crate) no_prune: bool,
}

/// What `rbuild history` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// The image
    pub(crate) image: String,
    /// `table`, `json` or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Sizes and times for people
    #[arg(
        short = 'H', long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "true", action = clap::ArgAction::Set
    )]
    pub(crate) human: bool,
    /// Cut nothing short
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What `rbuild save` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct SaveArgs {
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// Write to this file and not to standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What `rbuild load` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// Read from this file and not from standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Say less
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What the prune verbs understand.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Of images: also those that have a name but no container
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Don't ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Only what matches
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
}

/// What `rbuild login` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct LoginArgs {
    /// The registry [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    pub(crate) registry: Option<String>,
    /// The user
    #[arg(short, long)]
    pub(crate) username: Option<String>,
    /// The password; others on this machine may see it
    #[arg(short, long, conflicts_with = "password_stdin")]
    pub(crate) password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

/// What `rbuild logout` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct LogoutArgs {
    /// The registry [default: docker.io]
    #[arg(value_name = "REGISTRY")]
    pub(crate) registry: Option<String>,
}
