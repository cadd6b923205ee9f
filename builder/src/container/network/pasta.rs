//! The network of an ordinary user's container: its own, which `pasta` joins to the host's without
//! privilege; or the host's, where there is no pasta.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rbuild_runtime::network::{new_namespace, within};
use rbuild_runtime::{end_with_caller, userns};

use super::held::{HeldPorts, Reached};
use super::ports::{Protocol, Published};
use crate::container::error::{Error, Result};
use crate::container::folder::Record;
use crate::container::options::{Network, RunOptions};

const PROGRAM: &str = "pasta";
/// By which it speaks to a namespace. It waits for ever where it may not open this.
const DEVICE: &str = "/dev/net/tun";
/// How long it may take to connect a container.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(2);

/// Why there is no pasta to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoPasta {
    /// It is not installed.
    #[error("`pasta` is not installed")]
    Program,
    /// Its device cannot be opened.
    #[error("`{DEVICE}` cannot be opened: {source}")]
    Device {
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// Looks whether containers of an ordinary user can have a network of their own.
pub(crate) fn find_pasta() -> Result<(), NoPasta> {
    let run = Command::new(PROGRAM)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    run.map_err(|_| NoPasta::Program)?;
    let device = std::fs::OpenOptions::new().read(true).write(true).open(DEVICE);
    device.map(drop).map_err(|source| NoPasta::Device { source })
}

/// Gives a container of an ordinary user the network that it can have; refuses those that only
/// root can make.
pub(crate) fn settle(options: &mut RunOptions) -> Result<()> {
    if userns::is_initial() {
        return Ok(());
    }
    let refused = |option: String, reason| Err(Error::Unsupported { option, reason });
    let named = match &options.network {
        Network::Named(name) => Some(name.clone()),
        _ => options.more_networks.first().map(|connection| connection.network.clone()),
    };
    if let Some(name) = named {
        let reason = "only root can make networks; `host`, `none` and `container:NAME` are there";
        return refused(format!("--network {name}"), reason);
    }
    if options.network != Network::Bridge || find_pasta().is_ok() {
        return Ok(());
    }
    if !options.publish.is_empty() || options.publish_all {
        let reason = "without `pasta` a container of an ordinary user has the host's network, where \
                      its ports are the host's anyway; `rbuild doctor` says what helps";
        return refused("-p".to_owned(), reason);
    }
    options.network = Network::Host;
    Ok(())
}

/// A container's own network, as long as this lives.
#[derive(Debug)]
pub(crate) struct Pasta {
    namespace: OwnedFd,
    process: Child,
    pub(crate) published: Vec<Published>,
}

impl Pasta {
    /// Makes the network of a container.
    pub(crate) fn start(record: &Record) -> Result<Self> {
        find_pasta().map_err(|lack| failed(&lack.to_string()))?;
        let (namespace, ()) = new_namespace(|| Ok(())).map_err(Error::network)?;
        let reached = Reached { address: Ipv4Addr::UNSPECIFIED, ipv6: None };
        // They are free: pasta takes them at once.
        let (published, held) = HeldPorts::take(record, reached)?;
        drop(held);
        let process = spawn(&namespace, &published)?;
        let mut pasta = Self { namespace, process, published };
        pasta.wait()?;
        Ok(pasta)
    }

    pub(crate) fn namespace(&self) -> &OwnedFd {
        &self.namespace
    }

    /// Waits until there is a way out of the container.
    fn wait(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !self.is_connected()? {
            if self.process.try_wait().map_err(Error::system("wait for pasta"))?.is_some() {
                let mut said = String::new();
                if let Some(mut stderr) = self.process.stderr.take() {
                    let _ = stderr.read_to_string(&mut said);
                }
                return Err(failed(said.trim().lines().last().unwrap_or("it ended")));
            }
            if Instant::now() > until {
                return Err(failed("it has not connected the container"));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn is_connected(&self) -> Result<bool> {
        use std::os::fd::AsFd;
        let routes = || Ok(std::fs::read_to_string("/proc/thread-self/net/route"));
        let routes = within(self.namespace.as_fd(), routes).map_err(Error::network)?;
        // The first line says what the others are.
        Ok(routes.map_err(Error::file("read", "/proc/thread-self/net/route"))?.lines().count() > 1)
    }
}

impl Drop for Pasta {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn failed(reason: &str) -> Error {
    Error::network(rbuild_runtime::Error::Invalid(format!("pasta: {reason}")))
}

fn spawn(namespace: &OwnedFd, published: &[Published]) -> Result<Child> {
    let mut command = Command::new(PROGRAM);
    // Nothing of the container reaches what listens at the host's loopback device only.
    command.args(["--foreground", "--quiet", "--stderr", "--config-net", "--no-map-gw"]);
    command.args(["--no-netns-quit", "-T", "none", "-U", "none"]);
    // It gives up the right to look into this process, but has its own standard input.
    let theirs = namespace.try_clone().map_err(Error::system("keep a network"))?;
    command.args(["--netns", "/proc/self/fd/0"]).stdin(theirs);
    for (flag, protocol) in [("-t", Protocol::Tcp), ("-u", Protocol::Udp)] {
        match ports(published, protocol) {
            ports if ports.is_empty() => command.args([flag, "none"]),
            ports => command.args(ports.iter().flat_map(|port| [flag, port])),
        };
    }
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    end_with_caller(&mut command);
    command.spawn().map_err(Error::system("start pasta"))
}

/// The ports as pasta is told of them; one without an address is at all of both kinds.
fn ports(published: &[Published], protocol: Protocol) -> Vec<String> {
    let mut ports = Vec::new();
    for one in published.iter().filter(|one| one.protocol == protocol) {
        let (host, inside) = (one.host.port(), one.container.port());
        let port = match one.host.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => format!("{host}:{inside}"),
            IpAddr::V6(address) if address.is_unspecified() => format!("{host}:{inside}"),
            address => format!("{address}/{host}:{inside}"),
        };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_once_for_all_addresses() {
        let one = |protocol, host: &str| Published {
            protocol,
            host: host.parse().unwrap(),
            container: ([0, 0, 0, 0], 80).into(),
        };
        let published = [
            one(Protocol::Tcp, "0.0.0.0:8080"),
            one(Protocol::Tcp, "[::]:8080"),
            one(Protocol::Udp, "127.0.0.1:53"),
        ];
        assert_eq!(ports(&published, Protocol::Tcp), ["8080:80"]);
        assert_eq!(ports(&published, Protocol::Udp), ["127.0.0.1/53:80"]);
    }
}
