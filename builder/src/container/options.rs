//! What `docker run` can be told, as plain data that is kept beside the container.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use rbuild_cache::{Digest, Layer};
use rbuild_runtime::{Limit, Signal};
use serde::{Deserialize, Serialize};

use super::foreign::OtherRuntime;
use super::limits::Resources;
use super::log::LogConfig;
use super::mounts::Mount;
use super::network::{Connection, DEFAULT, Mac};
use crate::cdi::DeviceRequest;
use crate::image::{Healthcheck, ImageConfig};

/// An image whose layers are all unpacked in the store.
#[derive(Debug, Clone)]
pub struct ImageToRun {
    /// The image as it was asked for, such as `alpine:3`.
    pub reference: String,
    /// The digest of its config.
    pub id: Digest,
    /// Its config.
    pub config: ImageConfig,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

/// Everything about a container that its image does not say.
///
/// The default is what `docker run IMAGE` does, without a terminal and without input.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of docker's")]
pub struct RunOptions {
    /// The name; none is a generated one. Not kept here: see [`super::rename`].
    #[serde(skip)]
    pub name: Option<String>,
    /// What replaces the image's `CMD`; empty keeps it.
    pub command: Vec<String>,
    /// What replaces the image's entry point and its `CMD`; an empty list takes both away.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`; a `NAME` alone takes the image's variable away.
    pub env: Vec<String>,
    /// The working directory.
    pub workdir: Option<String>,
    /// `user[:group]`, by name or number.
    pub user: Option<String>,
    /// More groups, by name or number.
    pub group_add: Vec<String>,
    /// The host name; none is the first 12 digits of the id.
    pub hostname: Option<String>,
    /// The domain name.
    pub domainname: Option<String>,
    /// Labels, besides the image's.
    pub labels: BTreeMap<String, String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether its standard input stays open.
    pub interactive: bool,
    /// Whether it is removed, with its anonymous volumes, when it stops.
    pub remove: bool,
    /// Whether a small init forwards signals and reaps orphans.
    pub init: bool,
    /// Whether it starts again when it stops.
    pub restart: Restart,
    /// The signal that stops it.
    pub stop_signal: Option<Signal>,
    /// Seconds from the stop signal to the kill; negative waits for ever.
    pub stop_timeout: Option<i64>,
    /// How to tell whether it is well; what is empty or 0 is the image's.
    pub health: Option<Healthcheck>,
    /// What is kept of what it writes.
    pub log: LogConfig,
    /// The network.
    pub network: Network,
    /// What the container is called in its first network, besides its name and its short id.
    pub network_aliases: Vec<String>,
    /// Its address in its first network.
    pub ip: Option<Ipv4Addr>,
    /// Its IPv6 address in its first network.
    pub ip6: Option<Ipv6Addr>,
    /// Its hardware address in its first network.
    pub mac_address: Option<Mac>,
    /// More networks.
    pub more_networks: Vec<Connection>,
    /// Ports to publish, as `-p` has them.
    pub publish: Vec<String>,
    /// Whether every exposed port is published.
    pub publish_all: bool,
    /// Ports such as `80/tcp`, besides the image's.
    pub expose: Vec<String>,
    /// Host names and their addresses, for `/etc/hosts`; `host-gateway` is the host.
    pub add_hosts: Vec<(String, String)>,
    /// Name servers, in place of the host's.
    pub dns: Vec<String>,
    /// Domains to search, in place of the host's.
    pub dns_search: Vec<String>,
    /// Options of the resolver, in place of the host's.
    pub dns_options: Vec<String>,
    /// Binds, volumes and file systems in memory.
    pub mounts: Vec<Mount>,
    /// Containers whose binds and volumes are mounted as well, as `--volumes-from` has them.
    pub volumes_from: Vec<String>,
    /// Whether the image's files cannot be written to.
    pub read_only: bool,
    /// Another runtime than this crate's own.
    pub runtime: Option<OtherRuntime>,
    /// Device nodes.
    pub devices: Vec<Device>,
    /// Devices by their descriptions, and GPUs.
    pub device_request: DeviceRequest,
    /// The size of `/dev/shm` in bytes; none is 64 MiB.
    pub shm_size: Option<u64>,
    /// Whether nearly all walls are taken away.
    pub privileged: bool,
    /// Capabilities to grant; `ALL` is all.
    pub cap_add: Vec<String>,
    /// Capabilities to take away; `ALL` is all.
    pub cap_drop: Vec<String>,
    /// `seccomp=unconfined`, `no-new-privileges` and others.
    pub security_opt: Vec<String>,
    /// The namespace of message queues and shared memory.
    pub ipc: Share,
    /// The namespace of process numbers.
    pub pid: Share,
    /// The namespace of the host name.
    pub uts: Share,
    /// The namespace of control groups; that of another container cannot be shared.
    pub cgroup_namespace: Share,
    /// Kernel parameters and their values.
    pub sysctls: Vec<(String, String)>,
    /// Resource limits.
    pub ulimits: Vec<Limit>,
    /// Limits on what it uses.
    pub resources: Resources,
    /// How soon the kernel kills it when memory runs out, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
}

impl RunOptions {
    /// The networks that the container is in when it is new.
    pub(crate) fn connections(&self) -> Vec<Connection> {
        let network = match &self.network {
            Network::Bridge => DEFAULT,
            Network::Named(name) => name,
            Network::Host | Network::None | Network::Container(_) => return Vec::new(),
        };
        let first = Connection {
            network: network.to_owned(),
            aliases: self.network_aliases.clone(),
            address: self.ip,
            address6: self.ip6,
            mac: self.mac_address,
        };
        std::iter::once(first).chain(self.more_networks.iter().cloned()).collect()
    }
}

/// The network of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Docker's default: a bridge of the host.
    #[default]
    Bridge,
    /// The host's own.
    Host,
    /// A loopback device and nothing else.
    None,
    /// That of another container, by name or id.
    Container(String),
    /// A network that was made by name.
    Named(String),
}

/// Which namespace of one kind a container is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// One of its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// That of another container, by name or id.
    Container(String),
}

/// When a container starts again by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// When it failed, at most so many times; none is without end.
    OnFailure(Option<u32>),
    /// Whenever it ends, unless it was stopped by hand.
    Always,
    /// The same, without a daemon that could start it after a boot.
    UnlessStopped,
}

/// A device of the host, in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its path on the host, or a folder of devices.
    pub host: PathBuf,
    /// Its path in the container.
    pub path: String,
    /// Whether it may be read.
    pub read: bool,
    /// Whether it may be written.
    pub write: bool,
}
