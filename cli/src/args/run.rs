//! The flags of `run` and `create`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use rbuild::cdi::Gpus;

use super::foreign::{Flag, Flags, Foreign, ignored, refused};
use super::life::{Health, Limits, Logging};
use super::{Pair, Pull, Size, Ulimit};

const EXAMPLES: &str = "\
Examples:
  rbuild run --rm hello                        run it, and leave nothing behind
  rbuild run -it --rm alpine                   a shell; ^P^Q leaves it running
  rbuild run -d --name web -p 8080:80 nginx    in the background
  rbuild run --rm -v \"$PWD\":/work -w /work alpine ls -l

Everything after the image is the container's. Exit code: the command's own; 125 where rbuild
failed, 126 where the command can't be run, 127 where there is no such command.";

/// Flags of `run` that rbuild lacks.
#[derive(Debug)]
pub(crate) struct RunFlags;

impl Flags for RunFlags {
    const FLAGS: &'static [Flag] = &[
        ignored("annotation"),
        refused("blkio-weight-device"),
        refused("cpu-rt-period"),
        refused("cpu-rt-runtime"),
        refused("device-cgroup-rule"),
        refused("device-read-bps"),
        refused("device-read-iops"),
        refused("device-write-bps"),
        refused("device-write-iops"),
        ignored("disable-content-trust").switch(),
        refused("isolation"),
        ignored("kernel-memory"),
        refused("link"),
        refused("link-local-ip"),
        refused("storage-opt"),
        refused("use-api-socket").switch(),
    ];
}

/// What `rbuild run` understands.
#[derive(Debug, clap::Args)]
#[command(
    after_help = EXAMPLES,
    disable_help_flag = true,
    override_usage = "rbuild run [OPTIONS] IMAGE [COMMAND] [ARG]..."
)]
pub(crate) struct RunArgs {
    /// Stay in the background, and print the container's id
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Remove the container when it stops
    #[arg(long)]
    pub(crate) rm: bool,
    /// Connect these of `stdin`, `stdout`, `stderr`
    #[arg(short, long, value_name = "STREAM", hide = true)]
    pub(crate) attach: Vec<String>,
    /// The keys that leave a container running [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS", hide = true)]
    pub(crate) detach_keys: Option<String>,
    /// Pass signals on to the container
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, hide = true,
        default_missing_value = "true", default_value = "true", action = clap::ArgAction::Set
    )]
    pub(crate) sig_proxy: bool,
    #[command(flatten)]
    pub(crate) create: CreateArgs,
}

/// What `rbuild create` understands, all of which `run` does too.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "rbuild create [OPTIONS] IMAGE [COMMAND] [ARG]..."
)]
pub(crate) struct CreateArgs {
    /// The image, then the command that runs in place of the image's own
    // One list, and not an image and a list: clap stops looking for flags at the first word of
    // the last one, which must be the image.
    #[arg(value_name = "IMAGE [COMMAND] [ARG]", required = true, trailing_var_arg = true)]
    pub(crate) image_and_command: Vec<String>,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Name the container
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Set an environment variable; without a value it is taken from the environment
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<Pair>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// The program, in place of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// The working directory
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) workdir: Option<String>,
    /// The user, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// More groups for the user
    #[arg(long, value_name = "GROUP")]
    pub(crate) group_add: Vec<String>,
    /// The host name
    #[arg(short = 'h', long)]
    pub(crate) hostname: Option<String>,
    /// The domain name
    #[arg(long)]
    pub(crate) domainname: Option<String>,
    /// Add a label
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<Pair>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) label_file: Vec<PathBuf>,
    /// Write the container's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// Start a small init that reaps orphans
    #[arg(long)]
    pub(crate) init: bool,
    /// Start again when it stops: `no`, `on-failure[:N]`, `always`, `unless-stopped`
    #[arg(long, value_name = "POLICY")]
    pub(crate) restart: Option<String>,
    /// The signal that stops it
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// Seconds from the stop signal to the kill; -1 waits for ever
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) stop_timeout: Option<i64>,
    /// When to fetch the image
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) pull: Pull,
    /// Run the image of this platform
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Say nothing about fetching the image
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print this help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) network: Network,
    #[command(flatten)]
    pub(crate) health: Health,
    #[command(flatten)]
    pub(crate) logging: Logging,
    #[command(flatten)]
    pub(crate) sandbox: Sandbox,
    #[command(flatten)]
    pub(crate) foreign: Foreign<RunFlags>,
}

/// What the container sees of the machine's files and devices.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Files and devices")]
pub(crate) struct Files {
    /// Show a folder or file of this machine in the container
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro]")]
    pub(crate) volume: Vec<String>,
    /// Mount what another container has of folders and volumes
    #[arg(long, value_name = "CONTAINER[:ro]")]
    pub(crate) volumes_from: Vec<String>,
    /// The driver of new volumes: `local`
    #[arg(long, value_name = "DRIVER", default_value = "local", hide = true)]
    pub(crate) volume_driver: String,
    /// The same, spelled out
    #[arg(long, value_name = "type=bind,src=S,dst=T")]
    pub(crate) mount: Vec<String>,
    /// Put a file system in memory there
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    pub(crate) tmpfs: Vec<String>,
    /// Let nothing be written to the image's files
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Show a device, by its path or by the name of its description, `vendor/class=name`
    #[arg(long, value_name = "DEVICE[:TARGET[:rwm]]")]
    pub(crate) device: Vec<String>,
    /// Show GPUs: `all`, a number, `device=0,2`
    #[arg(long, value_name = "GPUS")]
    pub(crate) gpus: Option<Gpus>,
    /// Another runtime, such as runc, by its name or path; `nvidia`: show the GPUs that the image or
    /// `-e` names in `NVIDIA_VISIBLE_DEVICES`
    #[arg(long, value_name = "RUNTIME")]
    pub(crate) runtime: Option<String>,
    /// Where descriptions of devices are
    #[arg(long, value_name = "FOLDER", hide = true)]
    pub(crate) cdi_spec_dir: Vec<PathBuf>,
    /// Where the driver's files are looked for
    #[arg(long, value_name = "FOLDER", hide = true)]
    pub(crate) driver_root: Option<PathBuf>,
    /// The size of `/dev/shm`
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<Size>,
}

/// Where the container is reached and what it reaches.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct Network {
    /// `bridge`, `host`, `none`, `container:NAME` or a network's name
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    pub(crate) network: Vec<String>,
    /// Another name of the container in its network
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    pub(crate) network_alias: Vec<String>,
    /// The container's address in its network
    #[arg(long, value_name = "IP")]
    pub(crate) ip: Option<Ipv4Addr>,
    /// The container's IPv6 address in its network
    #[arg(long, value_name = "IP")]
    pub(crate) ip6: Option<Ipv6Addr>,
    /// The container's hardware address in its network
    #[arg(long, value_name = "MAC")]
    pub(crate) mac_address: Option<String>,
    /// Publish a port, or a range of ports
    #[arg(short, long, value_name = "[[IP:]PORT:]PORT[/udp]")]
    pub(crate) publish: Vec<String>,
    /// Publish every port that the image exposes
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Say that the container listens there
    #[arg(long, value_name = "PORT")]
    pub(crate) expose: Vec<String>,
    /// Add a line to `/etc/hosts`
    #[arg(long, value_name = "HOST:IP")]
    pub(crate) add_host: Vec<String>,
    /// Ask this name server
    #[arg(long, value_name = "IP")]
    pub(crate) dns: Vec<String>,
    /// Look names up under this domain
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
    /// An option of the resolver
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub(crate) dns_option: Vec<String>,
}

/// What the container may do and use.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Privileges and limits")]
pub(crate) struct Sandbox {
    /// Take nearly all walls away
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Grant a capability
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<String>,
    /// `seccomp=unconfined`, `no-new-privileges`, ...
    #[arg(long, value_name = "OPTION")]
    pub(crate) security_opt: Vec<String>,
    /// The IPC namespace: `private`, `host`, `none`, `shareable`
    #[arg(long, value_name = "MODE")]
    pub(crate) ipc: Option<String>,
    /// The process namespace: `host`
    #[arg(long, value_name = "MODE")]
    pub(crate) pid: Option<String>,
    /// The host name namespace: `host`
    #[arg(long, value_name = "MODE")]
    pub(crate) uts: Option<String>,
    /// A kernel parameter
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) sysctl: Vec<Pair>,
    /// A resource limit
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<Ulimit>,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// Let its processes wait, rather than kill one, when its memory runs out
    #[arg(long, hide = true)]
    pub(crate) oom_kill_disable: bool,
    /// How readily its memory is moved to swap space, 0 to 100
    #[arg(
        long, value_name = "NUMBER", allow_negative_numbers = true, hide = true,
        value_parser = clap::value_parser!(i64).range(-1..=100)
    )]
    pub(crate) memory_swappiness: Option<i64>,
    /// The user namespace: `host`
    #[arg(long, value_name = "MODE", hide = true)]
    pub(crate) userns: Option<String>,
    /// The namespace of control groups: `private`, `host`
    #[arg(long, value_name = "MODE", hide = true)]
    pub(crate) cgroupns: Option<String>,
    /// How soon it is killed when the machine's memory runs out, -1000 to 1000
    #[arg(
        long, value_name = "SCORE", allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(-1000..=1000)
    )]
    pub(crate) oom_score_adj: Option<i32>,
    /// The control group that its own is made in
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_parent: Option<String>,
}
