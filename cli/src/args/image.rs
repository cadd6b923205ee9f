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
    /// Only those that match: `reference=NAME`, `dangling=BOOL`, `label=NAME[=VALUE]`,
    /// `before=IMAGE`, `since=IMAGE`, `until=SPAN` (which of one key matches does not matter, but
    /// labels must all be there)
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
    /// Of several platforms, only the image of this one
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
    /// Of several platforms, the image of this one
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
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
    /// Of several platforms, only the image of this one
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
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

/// What `rbuild import` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// A tar, plain or compressed: a file, a URL, or `-` for standard input
    #[arg(value_name = "FILE | URL | -")]
    pub(crate) source: String,
    /// Name the image
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
    /// Apply an instruction of a Dockerfile that makes no layer, such as `CMD sh`
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// The line of the image's history
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Say that the image is for this platform
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
}

const DIFF: &str = "\
Examples:
  rbuild diff app:1 app:2                    files and config that differ
  rbuild diff --times app:1 app:2            also times of files, and when it was made
  rbuild diff app oci-layout://app.tar       an image, and one in an OCI archive
  rbuild diff web                            what the container `web` changed, as docker has it

Exit codes, as those of diff: 0 the same, 1 they differ, 2 trouble. With one container: 0.";

/// What `rbuild diff` understands.
#[derive(Debug, clap::Args)]
#[command(after_help = DIFF)]
pub(crate) struct DiffArgs {
    /// An image, by name, id or `oci-layout://PATH[:TAG]`; alone, a container
    #[arg(value_name = "IMAGE | CONTAINER")]
    pub(crate) first: String,
    /// The image to compare it with
    #[arg(value_name = "IMAGE")]
    pub(crate) second: Option<String>,
    /// Compare times too: of files, of the image, of the lines of its history
    #[arg(long)]
    pub(crate) times: bool,
    /// `json` or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// The images of this platform
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
}

/// What `rbuild container prune` and `rbuild network prune` understand.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneUnusedArgs {
    /// Don't ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Only what has, or has not, a label, or was made before: `label=KEY`, `label!=KEY`, `until=24h`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
}

/// What `rbuild image prune` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Also those that have a name but no container
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
