//! The flags of `run` and `create`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use rbuild::cdi::Gpus;

use super::foreign::{Flag, Flags, Foreign, ignored, refused};
use super::{Pair, Pull, Size, Swap, Ulimit};

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
        refused("cgroupns"),
        refused("cpu-rt-period"),
        refused("cpu-rt-runtime"),
        refused("device-cgroup-rule"),
        refused("device-read-bps"),
        refused("device-read-iops"),
        refused("device-write-bps"),
        refused("device-write-iops"),
        ignored("disable-content-trust").switch(),
        refused("health-cmd"),
        refused("health-interval"),
        refused("health-retries"),
        refused("health-start-interval"),
        refused("health-start-period"),
        refused("health-timeout"),
        refused("ip6"),
        refused("isolation"),
        ignored("kernel-memory"),
        refused("link"),
        refused("link-local-ip"),
        refused("log-driver"),
        refused("log-opt"),
        ignored("memory-swappiness"),
        ignored("no-healthcheck").switch(),
        refused("oom-kill-disable").switch(),
        refused("storage-opt"),
        refused("use-api-socket").switch(),
        refused("userns"),
        refused("volume-driver"),
        refused("volumes-from"),
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
    /// Seconds from the stop signal to the kill
    #[arg(long, value_name = "SECONDS")]
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
    /// `nvidia`: show the GPUs that the image or `-e` names in `NVIDIA_VISIBLE_DEVICES`
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
    /// The most memory it may use
    #[arg(short, long, value_name = "BYTES")]
    pub(crate) memory: Option<Size>,
    /// How many processors it may use
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<f64>,
    /// How many processes it may have
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// The most memory and swap space together; -1 is any [default: twice the memory]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub(crate) memory_swap: Option<Swap>,
    /// Memory that it keeps when the machine has little left
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory_reservation: Option<Size>,
    /// Its part of processor time, where 1024 is usual
    #[arg(short, long, value_name = "SHARES")]
    pub(crate) cpu_shares: Option<u64>,
    /// The processors that it may use
    #[arg(long, value_name = "0-2,4")]
    pub(crate) cpuset_cpus: Option<String>,
    /// The nodes of memory that it may use
    #[arg(long, value_name = "0-1")]
    pub(crate) cpuset_mems: Option<String>,
    /// Microseconds of processor time in each period
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true, hide = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// The period of `--cpu-quota`
    #[arg(long, value_name = "MICROSECONDS", hide = true)]
    pub(crate) cpu_period: Option<u64>,
    /// Its part of the time of disks, 10 to 1000
    #[arg(long, value_name = "WEIGHT", hide = true)]
    pub(crate) blkio_weight: Option<u16>,
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
