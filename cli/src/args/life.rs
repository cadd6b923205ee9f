//! The flags about the life of a container: health checks, logs, limits that change, and events.

use std::time::Duration;

use super::{Size, Swap};

/// How to tell whether a container is well.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Health")]
pub(crate) struct Health {
    /// Tell by this command whether the container is well
    #[arg(long, value_name = "COMMAND")]
    pub(crate) health_cmd: Option<String>,
    /// The time between two checks [default: 30s]
    #[arg(long, value_name = "SPAN", value_parser = rbuild::dockerfile::value::duration)]
    pub(crate) health_interval: Option<Duration>,
    /// The time after which a check has failed [default: 30s]
    #[arg(long, value_name = "SPAN", value_parser = rbuild::dockerfile::value::duration)]
    pub(crate) health_timeout: Option<Duration>,
    /// How many failures in a row mean that it is not well [default: 3]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) health_retries: Option<i64>,
    /// The time at the start in which failures do not count [default: 0s]
    #[arg(long, value_name = "SPAN", value_parser = rbuild::dockerfile::value::duration)]
    pub(crate) health_start_period: Option<Duration>,
    /// The time between two checks at the start [default: 5s]
    #[arg(long, value_name = "SPAN", value_parser = rbuild::dockerfile::value::duration)]
    pub(crate) health_start_interval: Option<Duration>,
    /// Do not check, whatever the image says
    #[arg(long)]
    pub(crate) no_healthcheck: bool,
}

/// What is kept of what a container writes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct Logging {
    /// Keep what it writes: `json-file`, `local` (at most 5 files of 20 MB), `none`
    #[arg(long, value_name = "DRIVER")]
    pub(crate) log_driver: Option<String>,
    /// `max-size=SIZE`, `max-file=NUMBER`
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) log_opt: Vec<String>,
}

/// Limits that can be changed while a container runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Limits {
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
}

/// What `rbuild update` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct UpdateArgs {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
    /// Start again when it stops: `no`, `on-failure[:N]`, `always`, `unless-stopped`
    #[arg(long, value_name = "POLICY")]
    pub(crate) restart: Option<String>,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten)]
    pub(crate) foreign: super::foreign::Foreign<UpdateFlags>,
}

/// Flags of `update` that rbuild lacks.
#[derive(Debug)]
pub(crate) struct UpdateFlags;

impl super::foreign::Flags for UpdateFlags {
    const FLAGS: &'static [super::foreign::Flag] = &[
        super::foreign::refused("cpu-rt-period"),
        super::foreign::refused("cpu-rt-runtime"),
        super::foreign::ignored("kernel-memory"),
    ];
}

/// What `rbuild events` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct EventsArgs {
    /// Only those that match, such as `container=web`, `event=die`, `type=image`
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Also what happened since a time, or in the last while: `10m`
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only what happens until a time, and end then
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// `json` or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}
