//! The verbs on networks, and their flags.

use std::net::Ipv4Addr;

use clap::Subcommand;

use super::{Pair, PruneArgs};

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
    Prune(PruneArgs),
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
    /// Its addresses [default: some that this machine does not use]
    #[arg(long, value_name = "ADDRESS/BITS")]
    pub(crate) subnet: Option<String>,
    /// The address of its bridge [default: the first of the subnet]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Option<Ipv4Addr>,
    /// Let nothing outside be reached from it
    #[arg(long)]
    pub(crate) internal: bool,
    /// Add a label
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<Pair>,
    /// The kind of network: `bridge`
    #[arg(short, long, default_value = "bridge", value_parser = ["bridge"])]
    pub(crate) driver: String,
    /// Accepted for docker's sake
    #[arg(long, hide = true)]
    pub(crate) attachable: bool,
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
}

/// What `rbuild network disconnect` understands.
#[derive(Debug, clap::Args)]
pub(crate) struct DisconnectArgs {
    /// The network
    pub(crate) network: String,
    /// The container
    pub(crate) container: String,
    /// Accepted for docker's sake
    #[arg(short, long, hide = true)]
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
