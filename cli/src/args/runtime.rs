//! The flags of `rbuild runtime`, which are those of an OCI runtime: not rbuild's own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The name under which the program is nothing but a runtime.
const NAME: &str = "rbuild-runtime";
const VERB: &str = "runtime";

const EXAMPLES: &str = "\
Examples:
  podman --runtime /usr/local/bin/rbuild-runtime run alpine true
  rbuild runtime run --bundle ./bundle box

`rbuild-runtime` is a link to rbuild, or a script: exec rbuild runtime \"$@\"";

/// Runs containers of OCI bundles, for podman, containerd and others
#[derive(Debug, Parser)]
#[command(
    name = "rbuild runtime",
    version,
    args_override_self = true,
    max_term_width = 100,
    after_help = EXAMPLES
)]
pub(crate) struct RuntimeCli {
    /// Remember containers in this folder
    #[arg(long, value_name = "FOLDER", default_value = "/run/rbuild-runtime")]
    pub(crate) root: PathBuf,
    /// Write errors to a file as well
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// How errors are written there
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    /// Read `cgroupsPath` as `slice:prefix:name`
    #[arg(long)]
    pub(crate) systemd_cgroup: bool,
    /// Accepted for others' sake
    #[arg(long, hide = true)]
    pub(crate) debug: bool,
    /// Accepted for others' sake
    #[arg(long, hide = true)]
    pub(crate) log_level: Option<String>,
    #[command(subcommand)]
    pub(crate) verb: RuntimeVerb,
}

/// How errors are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line each.
    #[default]
    Text,
    /// One object each.
    Json,
}

/// The verbs of a runtime.
#[derive(Debug, Subcommand)]
pub(crate) enum RuntimeVerb {
    /// Make a container, whose program waits
    Create(BundleArgs),
    /// Let the program of a container run
    Start(IdArgs),
    /// Make a container, start it and wait for its end
    Run(RunBundleArgs),
    /// Print how a container fares
    State(IdArgs),
    /// Send a signal to a container
    Kill(KillBundleArgs),
    /// Remove a container
    Delete(DeleteArgs),
    /// Run one more process in a container
    Exec(ExecBundleArgs),
    /// List the processes of a container
    Ps(PsBundleArgs),
    /// Stop all processes of a container where they are
    Pause(IdArgs),
    /// Let them go on
    Resume(IdArgs),
    /// Set limits of a container anew
    Update(UpdateBundleArgs),
    /// List containers
    List(ListArgs),
    /// Print what this runtime can do
    Features,
}

/// What making a container takes.
#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    /// The folder with `config.json`
    #[arg(short, long, value_name = "FOLDER", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// Send the terminal to this socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Write the number of the first process to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Pass more open files on; only 0 is possible
    #[arg(long, value_name = "NUMBER", default_value_t, hide = true)]
    pub(crate) preserve_fds: u32,
    /// Accepted for others' sake: the root is never changed by less
    #[arg(long, hide = true)]
    pub(crate) no_pivot: bool,
    /// Accepted for others' sake
    #[arg(long, hide = true)]
    pub(crate) no_new_keyring: bool,
    /// The container's id
    pub(crate) id: String,
}

/// What `run` takes.
#[derive(Debug, Args)]
pub(crate) struct RunBundleArgs {
    #[command(flatten)]
    pub(crate) create: BundleArgs,
    /// Do not wait for its end
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Do not remove it when it has ended
    #[arg(long)]
    pub(crate) keep: bool,
    /// Accepted for others' sake
    #[arg(long, hide = true)]
    pub(crate) no_subreaper: bool,
}

/// What verbs take that need an id and nothing else.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// The container's id
    pub(crate) id: String,
}

/// What `kill` takes.
#[derive(Debug, Args)]
pub(crate) struct KillBundleArgs {
    /// To all of its processes
    #[arg(short, long)]
    pub(crate) all: bool,
    /// The container's id
    pub(crate) id: String,
    /// The signal
    #[arg(default_value = "TERM")]
    pub(crate) signal: String,
}

/// What `delete` takes.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Also one that has not ended: it is killed
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The container's id
    pub(crate) id: String,
}

/// What `exec` takes.
#[derive(Debug, Args)]
pub(crate) struct ExecBundleArgs {
    /// Send the terminal to this socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// The working directory
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cwd: Option<String>,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Its user and group, by number
    #[arg(short, long, value_name = "UID[:GID]")]
    pub(crate) user: Option<String>,
    /// More groups, by number
    #[arg(short = 'g', long, value_name = "GID")]
    pub(crate) additional_gids: Vec<u32>,
    /// Read the process from a file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) process: Option<PathBuf>,
    /// Do not wait for its end
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Write its number to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Let it gain no privilege
    #[arg(long)]
    pub(crate) no_new_privs: bool,
    /// Grant a capability
    #[arg(short, long, value_name = "CAPABILITY")]
    pub(crate) cap: Vec<String>,
    /// Pass more open files on; only 0 is possible
    #[arg(long, value_name = "NUMBER", default_value_t, hide = true)]
    pub(crate) preserve_fds: u32,
    /// The container's id, then the command
    #[arg(value_name = "ID [COMMAND] [ARG]", required = true, trailing_var_arg = true)]
    pub(crate) id_and_command: Vec<String>,
}

/// What `ps` takes.
#[derive(Debug, Args)]
pub(crate) struct PsBundleArgs {
    /// How they are listed
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
    /// The container's id
    pub(crate) id: String,
    /// Accepted for others' sake
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) options: Vec<String>,
}

/// What `update` takes.
#[derive(Debug, Args)]
pub(crate) struct UpdateBundleArgs {
    /// Read them from a file, or standard input, as `config.json` has its `resources`
    #[arg(short, long, value_name = "FILE|-")]
    pub(crate) resources: PathBuf,
    /// The container's id
    pub(crate) id: String,
}

/// What `list` takes.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// How they are listed
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
    /// Print ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// How something is listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// In columns.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// What is listed in the help of rbuild itself; the words after it are a [`RuntimeCli`].
#[derive(Debug, Args)]
#[command(disable_help_flag = true, override_usage = "rbuild runtime [OPTIONS] VERB ...")]
pub(crate) struct RuntimeArgs {
    /// What an OCI runtime is told
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<OsString>,
}

/// The words for a runtime, the program's name first, where a command line is for one.
pub(crate) fn runtime_words(argv: &[OsString]) -> Option<Vec<OsString>> {
    let (program, words) = argv.split_first()?;
    if Path::new(program).file_name()? == NAME {
        return Some(argv.to_vec());
    }
    let (verb, words) = words.split_first()?;
    (verb == VERB)
        .then(|| std::iter::once(OsString::from(NAME)).chain(words.iter().cloned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<OsString>> {
        runtime_words(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_line_for_a_runtime_is_told_by_its_first_words() {
        assert_eq!(words("rbuild run alpine runtime"), None);
        assert_eq!(words("/usr/bin/rbuild-runtime state x").unwrap().len(), 3);
        let given = words("rbuild runtime --root /r create -b /b x").unwrap();
        let cli = RuntimeCli::try_parse_from(given).unwrap();
        assert_eq!(cli.root, Path::new("/r"));
        assert!(matches!(cli.verb, RuntimeVerb::Create(args) if args.id == "x"));
    }

    #[test]
    fn lines_of_others_are_understood() {
        for line in [
            "--log-format=json --log /l create --bundle /b --pid-file /p box",
            "--root /r --systemd-cgroup create -b /b --console-socket /c --no-pivot box",
            "exec --pid-file /p --process /q --detach box",
            "exec -d -t -u 1:2 -e A=1 box sh -c ls",
            "kill --all box 9",
            "kill box",
            "delete --force box",
            "ps --format json box",
            "list -q",
            "features",
        ] {
            let words = ["rbuild-runtime"].into_iter().chain(line.split(' '));
            assert!(RuntimeCli::try_parse_from(words).is_ok(), "{line}");
        }
    }
}
