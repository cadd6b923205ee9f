//! The small languages of `docker run`'s options: `--network`, `--device`, `--ulimit` and others.

use std::path::PathBuf;
use std::str::FromStr;

use rbuild_runtime::{Limit, Resource};

use super::error::{Error, Result};
use super::options::{Device, Network, Restart, Share};

/// Says what is wrong with a value.
pub(crate) fn invalid(option: &'static str, value: &str, reason: impl Into<String>) -> Error {
    Error::Invalid { option, value: value.to_owned(), reason: reason.into() }
}

/// Whether a text can be the name of a container, a volume or a network.
pub(crate) fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let bytes = text.as_bytes();
    matches!(bytes, [first, rest @ ..] if !rest.is_empty() && rest.len() < 255
        && first.is_ascii_alphanumeric() && rest.iter().all(|&byte| inner(byte)))
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" | "bridge" | "default" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            other => match other.strip_prefix("container:") {
                Some("") => Err(invalid("network", text, "a container is missing")),
                Some(container) => Ok(Self::Container(container.to_owned())),
                None if is_name(other) => Ok(Self::Named(other.to_owned())),
                None => Err(invalid("network", text, "not a name")),
            },
        }
    }
}

impl FromStr for Share {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" | "private" | "shareable" | "none" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            other => match other.strip_prefix("container:") {
                None | Some("") => {
                    Err(invalid("namespace", text, "expected private, host or container:NAME"))
                }
                Some(container) => Ok(Self::Container(container.to_owned())),
            },
        }
    }
}

impl FromStr for Restart {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':').map_or((text, None), |(policy, most)| (policy, Some(most))) {
            ("" | "no", None) => Ok(Self::No),
            ("always", None) => Ok(Self::Always),
            ("unless-stopped", None) => Ok(Self::UnlessStopped),
            ("on-failure", None | Some("0")) => Ok(Self::OnFailure(None)),
            ("on-failure", Some(most)) => {
                let most = most.parse().map_err(|_| invalid("restart", text, "not a number"))?;
                Ok(Self::OnFailure(Some(most)))
            }
            _ => Err(invalid(
                "restart",
                text,
                "expected no, on-failure[:N], always or unless-stopped",
            )),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(':');
        let host = parts.next().unwrap_or_default();
        let second = parts.next();
        let third = parts.next();
        if !host.starts_with('/') || parts.next().is_some() {
            return Err(invalid("device", text, "expected /dev/x[:/dev/y[:rwm]]"));
        }
        let is_access = |text: &str| !text.is_empty() && text.bytes().all(|b| b"rwm".contains(&b));
        let (path, access) = match (second, third) {
            (Some(access), None) if is_access(access) => (host, access),
            (path, access) => (path.unwrap_or(host), access.unwrap_or("rwm")),
        };
        if !path.starts_with('/') || !is_access(access) {
            return Err(invalid("device", text, "expected /dev/x[:/dev/y[:rwm]]"));
        }
        let (read, write) = (access.contains('r'), access.contains('w'));
        Ok(Self { host: PathBuf::from(host), path: path.to_owned(), read, write })
    }
}

/// A resource limit by its name as `--ulimit` has it; -1 is no limit.
pub fn ulimit(name: &str, soft: i64, hard: i64) -> Result<Limit> {
    let resource = Resource::named(name).ok_or_else(|| invalid("ulimit", name, "no such limit"))?;
    let (soft, hard) = (u64::try_from(soft).ok(), u64::try_from(hard).ok());
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        return Err(invalid("ulimit", name, "the soft limit is above the hard one"));
    }
    Ok(Limit { resource, soft, hard })
}

/// A line for `/etc/hosts`, written `host:address` or `host=address`.
pub fn add_host(text: &str) -> Result<(String, String)> {
    let wrong = |reason: &str| invalid("add-host", text, reason);
    let (host, address) =
        text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(|| wrong("no address"))?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let is_address = address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok();
    let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '#');
    match (is_host, is_address) {
        (false, _) => Err(wrong("not a host name")),
        (_, false) => Err(wrong("not an address")),
        _ => Ok((host.to_owned(), address.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_place_and_an_access() {
        let device = |text: &str| text.parse::<Device>();
        assert_eq!(device("/dev/a").unwrap().path, "/dev/a");
        let read_only = device("/dev/a:r").unwrap();
        assert_eq!(
            (read_only.path.as_str(), read_only.read, read_only.write),
            ("/dev/a", true, false)
        );
        assert_eq!(device("/dev/a:/dev/b:rw").unwrap().path, "/dev/b");
        for wrong in ["a", "/dev/a:b", "/dev/a:/dev/b:x", "/a:/b:r:c"] {
            assert!(device(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn policies_networks_and_hosts() {
        assert_eq!("on-failure:3".parse::<Restart>().unwrap(), Restart::OnFailure(Some(3)));
        assert!("always:3".parse::<Restart>().is_err());
        assert_eq!("container:a".parse::<Network>().unwrap(), Network::Container("a".to_owned()));
        assert!("container:".parse::<Network>().is_err());
        assert!("a b".parse::<Network>().is_err());
        assert_eq!(add_host("a:::1").unwrap(), ("a".to_owned(), "::1".to_owned()));
        assert_eq!(add_host("a=[::1]").unwrap().1, "::1");
        assert!(add_host("a:b").is_err());
        assert!(ulimit("nofile", 10, 5).is_err());
        assert_eq!(ulimit("core", -1, -1).unwrap().soft, None);
    }

    #[test]
    fn names_are_those_that_docker_takes() {
        for good in ["ab", "a.b_c-d", "0x"] {
            assert!(is_name(good), "{good}");
        }
        for wrong in ["", "a", "-a", "a/b", "a b", "..", "é1"] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
