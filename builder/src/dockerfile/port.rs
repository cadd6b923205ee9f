//! The ports of `EXPOSE`.

use std::fmt;
use std::net::IpAddr;

/// One port that a container listens on; printed as `80/tcp`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The number.
    pub number: u16,
    /// The protocol in lower case.
    pub protocol: String,
}

impl fmt::Display for Port {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.number, self.protocol)
    }
}

/// Parses a word of `EXPOSE`, expanded: one port, or each of a range. The error is one line.
pub fn parse(text: &str) -> Result<Vec<Port>, String> {
    let ports = read(text)?;
    let port = |number| Port { number, protocol: ports.protocol.clone() };
    Ok((ports.first..=ports.last).map(port).collect())
}

/// One word of `EXPOSE`, expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// The first port of the range.
    pub first: u16,
    /// The last port of the range.
    pub last: u16,
    /// The protocol in lower case: `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Whether the protocol was written in lower case, or not at all.
    pub lower_case: bool,
    /// Whether an address or a port of the host was given, which mean nothing here.
    pub published: bool,
}

/// Reads a word of `EXPOSE` as it is: `PORT[-PORT][/PROTOCOL]`, or with `[ADDRESS:]HOST:` before it.
/// The error is one line.
pub fn read(text: &str) -> Result<Ports, String> {
    let invalid = |why: &str| format!("invalid port `{text}`: {why}");
    let (ports, protocol) = text.split_once('/').unwrap_or((text, ""));
    let lower = protocol.to_ascii_lowercase();
    let name = if lower.is_empty() { "tcp" } else { lower.as_str() };
    if !matches!(name, "tcp" | "udp" | "sctp") {
        return Err(invalid("the protocol is tcp, udp or sctp"));
    }
    let (host, container) =
        ports.rsplit_once(':').map_or((None, ports), |(host, container)| (Some(host), container));
    if container.is_empty() {
        return Err(invalid("no port is given"));
    }
    let (first, last) = range(container).map_err(invalid)?;
    if let Some(host) = host {
        check_host(host, last - first).map_err(invalid)?;
    }
    Ok(Ports {
        first,
        last,
        protocol: name.to_owned(),
        lower_case: lower == protocol,
        published: host.is_some(),
    })
}

/// Checks `[ADDRESS:]HOST`, where the host's range is as long as the container's.
fn check_host(host: &str, length: u16) -> Result<(), &'static str> {
    let (address, port) =
        host.rsplit_once(':').map_or((None, host), |(address, port)| (Some(address), port));
    if let Some(address) = address.filter(|address| !address.is_empty()) {
        let plain = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address: Result<IpAddr, _> = plain.unwrap_or(address).parse();
        address.map_err(|_| "the address is not one")?;
    }
    if port.is_empty() {
        return Ok(());
    }
    let (first, last) = range(port)?;
    // A range of the host for one port of the container lets the runtime choose.
    if last - first != length && length != 0 {
        return Err("the ranges differ in length");
    }
    Ok(())
}

fn range(text: &str) -> Result<(u16, u16), &'static str> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse::<u16>().ok()).flatten();
        number.ok_or("ports are numbers from 0 to 65535")
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err("the range ends before it starts") } else { Ok((first, last)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_every_form() {
        let port = |text| read(text).map(|p| (p.first, p.last, p.protocol));
        assert_eq!(port("80"), Ok((80, 80, "tcp".into())));
        assert_eq!(port("80-82/UDP"), Ok((80, 82, "udp".into())));
        assert_eq!(port("127.0.0.1:8080:80/tcp"), Ok((80, 80, "tcp".into())));
        assert_eq!(port("[::1]:8080:80"), Ok((80, 80, "tcp".into())));
        assert!(read("1.2.3.4::80").is_ok_and(|ports| ports.published));
        assert!(!read("80/Tcp").is_ok_and(|ports| ports.lower_case));
        for text in ["", "x", "65536", "82-80", "80/icmp", "80:", "nohost:1:80", "-1", "1-3:1-2"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_is_each_port_of_it() {
        let ports = parse("80-82/UDP").expect("valid");
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        assert_eq!(ports, ["80/udp", "81/udp", "82/udp"]);
        assert_eq!(parse("0-65535").map(|ports| ports.len()), Ok(65_536));
    }
}
