//! Ports: which are exposed and published, as people write and read them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::container::error::{Error, Result};
use crate::container::folder::Record;
use crate::container::parse::invalid;

/// What speaks at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The number that packets have.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of a container, such as `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// What speaks there.
    pub protocol: Protocol,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

impl FromStr for Port {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match exposed(text)?.as_slice() {
            [port] => Ok(*port),
            _ => Err(invalid("port", text, "expected one port")),
        }
    }
}

/// A port of the host that stands for one of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// What speaks there.
    pub protocol: Protocol,
    /// The address and the port of the host; 0.0.0.0 and `[::]` are every address of their kind.
    pub host: SocketAddr,
    /// The address and the port of the container.
    pub container: SocketAddr,
}

impl Published {
    /// The container's port.
    pub fn port(&self) -> Port {
        Port { number: self.container.port(), protocol: self.protocol }
    }
}

/// Ports to publish, as `-p` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    /// The address of the host; none is every one.
    pub(super) address: Option<IpAddr>,
    /// The first and the last port of the host; none is any.
    pub(super) host: Option<(u16, u16)>,
    /// The first and the last port of the container.
    pub(super) container: (u16, u16),
    pub(super) protocol: Protocol,
}

impl FromStr for Wish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |reason| invalid("publish", text, reason);
        let (ports, protocol) = with_protocol(text, "publish")?;
        let (rest, container) =
            ports.rsplit_once(':').map_or((None, ports), |(rest, last)| (Some(rest), last));
        let container = range(container).ok_or_else(|| wrong("not a port"))?;
        let (address, host) = match rest.map(|rest| rest.rsplit_once(':').unwrap_or(("", rest))) {
            None => ("", None),
            Some((address, "")) => (address, None),
            Some((address, host)) => {
                (address, Some(range(host).ok_or_else(|| wrong("not a port of the host"))?))
            }
        };
        let address = match address {
            "" => None,
            address => {
                let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
                let parsed = bare.unwrap_or(address).parse::<IpAddr>();
                let parsed = parsed.ok().filter(|parsed| parsed.is_ipv6() == bare.is_some());
                Some(parsed.ok_or_else(|| wrong("not an address of the host"))?)
            }
        };
        let length = |(first, last): (u16, u16)| last - first;
        if host.is_some_and(|host| length(host) != length(container) && length(container) > 0) {
            return Err(wrong("the ranges are not of one length"));
        }
        Ok(Self { address, host, container, protocol })
    }
}

/// One port, or the first and the last of a range.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (0 < first && first <= last).then_some((first, last))
}

fn with_protocol<'a>(text: &'a str, option: &'static str) -> Result<(&'a str, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Ok((port, Protocol::Tcp)),
        "udp" => Ok((port, Protocol::Udp)),
        _ => Err(invalid(option, text, "only tcp and udp are known")),
    }
}

/// What was asked for with `-p`, as docker's `PortBindings` has it.
pub(crate) fn wished(publish: &[String]) -> Value {
    let mut bindings = Map::new();
    for wish in publish.iter().filter_map(|text| text.parse::<Wish>().ok()) {
        let (first, last) = wish.container;
        for number in first..=last {
            let host = match wish.host {
                None => String::new(),
                Some((low, high)) if first == last && low != high => format!("{low}-{high}"),
                Some((low, _)) => (low + (number - first)).to_string(),
            };
            let address = wish.address.map(|address| address.to_string()).unwrap_or_default();
            let port = Port { number, protocol: wish.protocol }.to_string();
            let several = bindings.entry(port).or_insert_with(|| json!([]));
            if let Value::Array(several) = several {
                several.push(json!({ "HostIp": address, "HostPort": host }));
            }
        }
    }
    bindings.into()
}

/// The ports of an `EXPOSE` or `--expose`: one, or a range.
fn exposed(text: &str) -> Result<Vec<Port>> {
    let (port, protocol) = with_protocol(text, "expose")?;
    let (first, last) = range(port).ok_or_else(|| invalid("expose", text, "not a port"))?;
    Ok((first..=last).map(|number| Port { number, protocol }).collect())
}

/// Refuses what is no port, before anything is made.
pub(crate) fn check(publish: &[String], expose: &[String]) -> Result<()> {
    publish.iter().try_for_each(|text| text.parse::<Wish>().map(drop))?;
    expose.iter().try_for_each(|text| exposed(text).map(drop))
}

/// The ports that the image or the user exposes; as with docker, those that are to be published are
/// exposed too.
pub(crate) fn all_exposed(record: &Record) -> BTreeSet<Port> {
    let texts = record.config.exposed_ports.iter().chain(&record.options.expose);
    // What an image exposes that is no port of ours is told by nobody else either.
    let exposed = texts.filter_map(|text| exposed(text).ok()).flatten();
    let wishes = record.options.publish.iter().filter_map(|text| text.parse::<Wish>().ok());
    let wished = wishes.flat_map(|Wish { container: (first, last), protocol, .. }| {
        (first..=last).map(move |number| Port { number, protocol })
    });
    exposed.chain(wished).collect()
}

/// The ports as `ps` shows them: neighbours together, then those exposed and not published.
pub(crate) fn shown(published: &[Published], exposed: &BTreeSet<Port>) -> String {
    let mut published = published.to_vec();
    published.sort_by_key(|one| (one.port(), one.host));
    let mut lines: Vec<(Published, u16)> = Vec::new();
    for one in &published {
        let follows = |(first, count): &&mut (Published, u16)| {
            first.protocol == one.protocol
                && first.host.ip() == one.host.ip()
                && first.host.port().checked_add(*count) == Some(one.host.port())
                && first.container.port().checked_add(*count) == Some(one.container.port())
        };
        match lines.iter_mut().find(follows) {
            Some((_, count)) => *count += 1,
            None => lines.push((*one, 1)),
        }
    }
    let span = |first: u16, count: u16| match count {
        1 => first.to_string(),
        _ => format!("{first}-{}", first + (count - 1)),
    };
    let shown = lines.iter().map(|(one, count)| {
        let (host, inner) = (span(one.host.port(), *count), span(one.container.port(), *count));
        let address = match one.host.ip() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        format!("{address}:{host}->{inner}/{}", one.protocol)
    });
    let is_published = |port: &&Port| published.iter().any(|one| one.port() == **port);
    let rest = exposed.iter().filter(|port| !is_published(port)).map(ToString::to_string);
    shown.chain(rest).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_docker_reads_them() {
        let wish = |text: &str| text.parse::<Wish>().unwrap();
        let tcp = |address: &str, host, container| Wish {
            address: address.parse().ok(),
            host,
            container,
            protocol: Protocol::Tcp,
        };
        assert_eq!(wish("80"), tcp("", None, (80, 80)));
        assert_eq!(wish("8080:80"), tcp("", Some((8080, 8080)), (80, 80)));
        assert_eq!(wish("127.0.0.1:8080:80/TCP"), tcp("127.0.0.1", Some((8080, 8080)), (80, 80)));
        assert_eq!(wish("127.0.0.1::80"), tcp("127.0.0.1", None, (80, 80)));
        assert_eq!(wish("[::1]:8080:80"), tcp("::1", Some((8080, 8080)), (80, 80)));
        assert_eq!(wish("[::]::80"), tcp("::", None, (80, 80)));
        assert_eq!(wish("8000-8001:90-91"), tcp("", Some((8000, 8001)), (90, 91)));
        assert_eq!(wish("8000-8009:90").host, Some((8000, 8009)));
        assert_eq!(wish("53:53/udp").protocol, Protocol::Udp);
        for wrong in [
            "",
            "a",
            "0",
            "80:",
            "1-2:1-3",
            "2-1",
            "70000:1",
            "1:2/sctp",
            "::1:1:2",
            "[::1:1:2",
            "[1.2.3.4]:1:2",
            "x:1:2",
        ] {
            assert!(wrong.parse::<Wish>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_are_shown_with_their_neighbours() {
        let one = |host: u16, container: u16| Published {
            protocol: Protocol::Tcp,
            host: ([0, 0, 0, 0], host).into(),
            container: ([10, 0, 0, 2], container).into(),
        };
        let exposed = ["80", "443"].map(|port| port.parse().unwrap()).into();
        let long = Published { host: "[::]:9000".parse().unwrap(), ..one(9000, 90) };
        let published = [one(8002, 82), one(9000, 90), one(8000, 80), one(8001, 81), long];
        assert_eq!(
            shown(&published, &exposed),
            "0.0.0.0:8000-8002->80-82/tcp, 0.0.0.0:9000->90/tcp, [::]:9000->90/tcp, 443/tcp"
        );
    }
}
