//! The flags of the verbs on containers.

use std::path::PathBuf;

use super::Pair;
use super::foreign::{Flag, Flags, Foreign, refused};

/// What `rbuild ps` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct PsArgs {
    /// Also those that have stopped
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only those that match, such as `name=web`, `status=exited`, `ancestor=alpine`
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// `table`, `json` or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// The last few made, running or not
    #[arg(short = 'n', long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) last: Option<i64>,
    /// The last one made, running or not
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// Cut nothing short
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print what each container has written to its files
    #[arg(short, long)]
    pub(crate) size: bool,
}

/// What `rbuild logs` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// The container
    pub(crate) container: String,
    /// Go on until the container stops
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Put the time before each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Only the last few lines
    #[arg(short = 'n', long, value_name = "LINES", allow_negative_numbers = true)]
    pub(crate) tail: Option<String>,
    /// Only what was written after a time, or in the last while: `10m`
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only what was written before a time, or before the last while
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Accepted for docker's sake
    #[arg(long, hide = true)]
    pub(crate) details: bool,
}

/// What `rbuild exec` understands.
#[derive(Debug, clap::Args)]
#[command(override_usage = "rbuild exec [OPTIONS] CONTAINER COMMAND [ARG]...")]
pub(crate) struct ExecArgs {
    /// The container, then the command
    #[arg(value_name = "CONTAINER COMMAND [ARG]", required = true, trailing_var_arg = true)]
    pub(crate) container_and_command: Vec<String>,
    /// Leave the command in the background
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<Pair>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// The user, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// The working directory
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) workdir: Option<String>,
    /// Grant every capability
    #[arg(long)]
    pub(crate) privileged: bool,
    /// The keys that leave the command running
    #[arg(long, hide = true)]
    pub(crate) detach_keys: Option<String>,
}

/// What `rbuild start` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
    /// Show what it writes, and wait for it
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Send it standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// The keys that leave the container running
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    #[command(flatten)]
    pub(crate) foreign: Foreign<StartFlags>,
}

/// Flags of `start` that rbuild lacks.
#[derive(Debug)]
pub(crate) struct StartFlags;

impl Flags for StartFlags {
    const FLAGS: &'static [Flag] = &[refused("checkpoint"), refused("checkpoint-dir")];
}

/// What `rbuild stop` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
    /// The signal, in place of the container's own stop signal
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    /// Seconds from the signal to the kill; -1 waits for ever
    #[arg(
        short,
        long,
        visible_alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub(crate) timeout: Option<i64>,
}

/// What `rbuild kill` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct KillArgs {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
    /// The signal
    #[arg(short, long, default_value = "KILL")]
    pub(crate) signal: String,
}

/// What `rbuild rm` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
    /// Also those that run: they are killed
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Also the volumes without a name that belong to them
    #[arg(short, long)]
    pub(crate) volumes: bool,
    #[command(flatten)]
    pub(crate) foreign: Foreign<RmFlags>,
}

/// Flags of `rm` that rbuild lacks.
#[derive(Debug)]
pub(crate) struct RmFlags;

impl Flags for RmFlags {
    const FLAGS: &'static [Flag] = &[refused("link").short('l').switch()];
}

/// What verbs understand that take names and nothing else.
#[derive(Debug, clap::Args)]
pub(crate) struct NamesArgs {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
}

/// What `rbuild rename` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct RenameArgs {
    /// The container
    pub(crate) container: String,
    /// Its new name
    pub(crate) name: String,
}

/// What `rbuild attach` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct AttachArgs {
    /// The container
    pub(crate) container: String,
    /// Send it no standard input
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Pass signals on to the container
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value_t = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) sig_proxy: bool,
    /// The keys that leave the container running
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
}

/// What `rbuild cp` understands.
#[derive(Debug, clap::Args)]
#[command(override_usage = "rbuild cp [OPTIONS] CONTAINER:PATH PATH|-\n       \
                            rbuild cp [OPTIONS] PATH|- CONTAINER:PATH")]
pub(crate) struct CpArgs {
    /// What is copied: a path, `CONTAINER:PATH`, or `-` for a tar on standard input
    pub(crate) source: String,
    /// Where to: a path, `CONTAINER:PATH`, or `-` for a tar on standard output
    pub(crate) destination: String,
    /// Keep the numbers of users and groups
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Copy what the source points at where it is a link
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
    /// Accepted for docker's sake
    #[arg(short, long, hide = true)]
    pub(crate) quiet: bool,
}

/// What `rbuild commit` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct CommitArgs {
    /// The container
    pub(crate) container: String,
    /// The name of the image
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
    /// Who made it
    #[arg(short, long, default_value = "")]
    pub(crate) author: String,
    /// Change its config by an instruction of a Dockerfile, such as `CMD sh`
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// The line of its history
    #[arg(short, long, default_value = "")]
    pub(crate) message: String,
    /// Pause the container meanwhile, if it runs
    #[arg(short, long, num_args = 0..=1, require_equals = true, value_name = "BOOL",
          default_missing_value = "true", overrides_with = "no_pause")]
    pub(crate) pause: Option<bool>,
    /// Let it go on meanwhile, as is usual
    #[arg(long, hide = true)]
    pub(crate) no_pause: bool,
}

/// What `rbuild export` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The container
    pub(crate) container: String,
    /// Write to this file in place of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What `rbuild top` understands.
#[derive(Debug, clap::Args)]
#[command(override_usage = "rbuild top CONTAINER [OPTIONS OF ps]")]
pub(crate) struct TopArgs {
    /// The container, then options of `ps`
    #[arg(
        value_name = "CONTAINER [OPTIONS OF ps]",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) container_and_options: Vec<String>,
}

/// What `rbuild stats` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct StatsArgs {
    /// The containers; all that run where none is named
    #[arg(value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
    /// Also containers that have stopped
    #[arg(short, long)]
    pub(crate) all: bool,
    /// `table`, `json` or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Measure once, and end
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Cut nothing short
    #[arg(long)]
    pub(crate) no_trunc: bool,
}
