//! The verbs on networks, and their flags.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::Subcommand;

use super::foreign::{Flag, Flags, Foreign, ignored, refused};
use super::{Pair, PruneUnusedArgs};

/// `rbuild network ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Networks {
    /// Make a network
    Create(NetworkCreateArgs),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(NetworkLsArgs),
    /// Show all that is known of networks
    Inspect(NetworkInspectArgs),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(NetworkRmArgs),
    /// Remove networks in which no container runs
    Prune(PruneUnusedArgs),
    /// Put a container into one more network
    Connect(ConnectArgs),
    /// Take a container out of a network
    Disconnect(DisconnectArgs),
}

/// What `rbuild network create` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct NetworkCreateArgs {
    /// The network's name
    pub(crate) name: String,
    /// Its addresses; once more for those of IPv6 [default: some that this machine does not use]
    #[arg(long, value_name = "ADDRESS/BITS")]
    pub(crate) subnet: Vec<String>,
    /// The address of its bridge, of IPv4 or of IPv6 [default: the first of the subnet]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Vec<IpAddr>,
    /// Which of its addresses containers get [default: all]
    #[arg(long, value_name = "ADDRESS/BITS")]
    pub(crate) ip_range: Option<String>,
    /// An address that no container gets
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub(crate) aux_address: Vec<Pair>,
    /// Give it IPv6 addresses, too
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// Let nothing outside be reached from it
    #[arg(long)]
    pub(crate) internal: bool,
    /// Add a label
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<Pair>,
    /// `com.docker.network.bridge.name`, the device, or `com.docker.network.driver.mtu`
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) opt: Vec<Pair>,
    /// The kind of network: `bridge` is the only one
    #[arg(short, long, default_value = "bridge")]
    pub(crate) driver: String,
    #[command(flatten)]
    pub(crate) foreign: Foreign<NetworkCreate>,
}

/// The verb whose foreign flags these are.
#[derive(Debug)]
pub(crate) struct NetworkCreate;

impl Flags for NetworkCreate {
    const FLAGS: &'static [Flag] = &[
        ignored("attachable").switch(),
        ignored("ipam-driver"),
        refused("config-from"),
        refused("config-only").switch(),
        refused("ingress").switch(),
        refused("ipam-opt"),
        refused("ipv4"),
        refused("scope"),
    ];
}

/// What `rbuild network ls` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct NetworkLsArgs {
    /// Only those that match, such as `name=app`, `driver=bridge`, `label=a=b`
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

/// What `rbuild network inspect` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct NetworkInspectArgs {
    /// The networks
    #[arg(required = true, value_name = "NETWORK")]
    pub(crate) networks: Vec<String>,
    /// `json` or a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Accepted for docker's sake
    #[arg(short, long, hide = true)]
    pub(crate) verbose: bool,
}

/// What `rbuild network rm` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct NetworkRmArgs {
    /// The networks
    #[arg(required = true, value_name = "NETWORK")]
    pub(crate) networks: Vec<String>,
    /// Say nothing of those that are not there
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// What `rbuild network connect` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct ConnectArgs {
    /// The network
    pub(crate) network: String,
    /// The container
    pub(crate) container: String,
    /// Another name of the container there
    #[arg(long, value_name = "NAME")]
    pub(crate) alias: Vec<String>,
    /// The container's address there
    #[arg(long, value_name = "IP")]
    pub(crate) ip: Option<Ipv4Addr>,
    /// The container's IPv6 address there
    #[arg(long, value_name = "IP")]
    pub(crate) ip6: Option<Ipv6Addr>,
}

/// What `rbuild network disconnect` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct DisconnectArgs {
    /// The network
    pub(crate) network: String,
    /// The container
    pub(crate) container: String,
    /// Say nothing where it is not in the network, or not there
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// What `rbuild port` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct PortArgs {
    /// The container
    pub(crate) container: String,
    /// A port of the container [default: all that are published]
    #[arg(value_name = "PORT[/PROTOCOL]")]
    pub(crate) port: Option<String>,
}
