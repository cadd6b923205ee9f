//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use rbuild_cache::Store;
use rbuild_runtime::{Mount, MountSource};

use super::error::{Error, Result};
use super::folder::{Folder, Record};
use super::names;
use super::network::{Connection, DEFAULT, Endpoint, NAME_SERVER};
use super::options::{Network, RunOptions, Share};
use super::sandbox::hostname;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What docker asks when the host's servers cannot be reached from inside.
const FALLBACK_SERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
/// The address of the host where a container has no network to reach it by.
const NO_GATEWAY: &str = "127.0.0.1";
/// How deep containers may share each other's networks.
const MOST_SHARERS: usize = 16;

/// Which servers a container asks for addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Those of the host.
    OfHost,
    /// Those of the host that are reached from outside of it.
    FromOutside,
    /// A server of the container's own.
    Own,
}

/// The three files, as mounts. Those of a container in another's network are the other's.
pub(crate) fn mounts(
    store: &Store,
    folder: &Folder,
    record: &Record,
    endpoints: &[Endpoint],
) -> Result<Vec<Mount>> {
    let own = &record.options;
    let (mut folder, mut record) = (folder.clone(), record.clone());
    let mut endpoints = endpoints.to_vec();
    for _ in 0..MOST_SHARERS {
        let Network::Container(name) = &record.options.network else {
            break;
        };
        folder = names::find(store, name)?;
        endpoints = folder.state()?.endpoints;
        record = folder.record()?.ok_or_else(|| Error::NotFound(folder.id.clone()))?;
    }
    let options = &record.options;
    let hostname = hostname(&folder, options);
    let of_host = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (base, resolver) = match options.network {
        Network::Host => {
            (of_host("/etc/hosts"), resolv_conf(&of_host(RESOLV_CONF), options, Names::OfHost))
        }
        _ => (HOSTS.into(), resolver(&folder.connections(&record)?, options)),
    };
    let mut files =
        vec![(RESOLV_CONF, resolver), ("/etc/hosts", hosts(base, &hostname, options, &endpoints))];
    if own.uts != Share::Host {
        files.push(("/etc/hostname", format!("{hostname}\n")));
    }
    Ok(files.into_iter().map(|(path, text)| file(path, text)).collect())
}

/// The `/etc/resolv.conf` of a container in these networks.
pub(crate) fn resolver(connections: &[Connection], options: &RunOptions) -> String {
    let host = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let has_own = has_own_names(connections, options);
    resolv_conf(&host, options, if has_own { Names::Own } else { Names::FromOutside })
}

/// The name servers of the host.
pub(crate) fn servers() -> Vec<String> {
    values(&fs::read_to_string(RESOLV_CONF).unwrap_or_default(), "nameserver")
}

/// Whether a container in these networks has a name server of its own: where containers have
/// names, and where the host's servers are reached from nowhere but the host.
pub(crate) fn has_own_names(connections: &[Connection], options: &RunOptions) -> bool {
    let has_names = connections.iter().any(|connection| connection.network != DEFAULT);
    let servers = servers();
    let only_inside = !servers.is_empty() && servers.iter().all(|server| is_loopback(server));
    !connections.is_empty() && (has_names || options.dns.is_empty() && only_inside)
}

/// The servers that a container's own name server asks.
pub(crate) fn upstream(options: &RunOptions) -> Vec<SocketAddr> {
    let servers = if options.dns.is_empty() { servers() } else { options.dns.clone() };
    let addresses = servers.iter().filter_map(|server| server.parse::<IpAddr>().ok());
    addresses.map(|address| SocketAddr::new(address, 53)).collect()
}

fn is_loopback(server: &str) -> bool {
    server.starts_with("127.") || server == "::1"
}

fn file(path: &str, text: String) -> Mount {
    let source = MountSource::Bytes { bytes: text.into_bytes(), mode: 0o644, uid: 0, gid: 0 };
    Mount::new(source, path)
}

/// Without a base, docker's own lines; then the container's own, and the user's.
fn hosts(base: String, hostname: &str, options: &RunOptions, endpoints: &[Endpoint]) -> String {
    use std::fmt::Write;
    let mut text = if base.trim().is_empty() { HOSTS.to_owned() } else { base };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let known =
        text.lines().any(|line| line.split_whitespace().skip(1).any(|word| word == hostname));
    if !known && options.network != Network::Host {
        let mut addresses: Vec<_> =
            endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
        let long = endpoints.iter().filter_map(|endpoint| endpoint.ipv6);
        addresses.extend(long.map(|place| place.address.to_string()));
        if addresses.is_empty() {
            addresses.push("127.0.1.1".to_owned());
        }
        for address in addresses {
            let _ = match &options.domainname {
                Some(domain) => writeln!(text, "{address}\t{hostname}.{domain} {hostname}"),
                None => writeln!(text, "{address}\t{hostname}"),
            };
        }
    }
    let gateway = endpoints.first().map(|endpoint| endpoint.gateway.to_string());
    for (name, address) in &options.add_hosts {
        let address = match (address.as_str(), &gateway) {
            ("host-gateway", Some(gateway)) => gateway,
            ("host-gateway", None) => NO_GATEWAY,
            (address, _) => address,
        };
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// The values of a key of `resolv.conf`.
fn values(text: &str, key: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix(key));
    let values = lines.filter(|rest| rest.starts_with([' ', '\t']));
    values.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// The host's resolver, with what the user puts in its place. A server on the host's loopback
/// device is out of reach for a container with a network of its own.
fn resolv_conf(host: &str, options: &RunOptions, names: Names) -> String {
    let values = |key: &str| values(host, key);
    let mut servers = match (names, options.dns.as_slice()) {
        (Names::Own, _) => vec![NAME_SERVER.to_string()],
        (_, []) => values("nameserver"),
        (_, own) => own.to_vec(),
    };
    if names == Names::FromOutside && options.dns.is_empty() {
        servers.retain(|server| !is_loopback(server));
        if servers.is_empty() {
            servers.extend(FALLBACK_SERVERS.map(String::from));
        }
    }
    let own_or = |own: &[String], key| match own {
        [] => values(key),
        // A dot alone takes the host's away.
        own => own.iter().filter(|value| *value != ".").cloned().collect(),
    };
    let mut resolver = own_or(&options.dns_options, "options");
    // A container's name has no dots, and is asked for as it is.
    if names == Names::Own && !resolver.iter().any(|option| option.starts_with("ndots:")) {
        resolver.push("ndots:0".to_owned());
    }
    let mut lines: Vec<_> = servers.iter().map(|server| format!("nameserver {server}")).collect();
    for (key, values) in [("search", own_or(&options.dns_search, "search")), ("options", resolver)]
    {
        if !values.is_empty() {
            lines.push(format!("{key} {}", values.join(" ")));
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_resolver_is_kept_unless_it_is_out_of_reach() {
        let host =
            "# comment\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch a b\noptions edns0\n";
        let mut options = RunOptions::default();
        let all = "nameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch a b\noptions edns0\n";
        assert_eq!(resolv_conf(host, &options, Names::OfHost), all);
        let some = "nameserver 10.0.0.1\nsearch a b\noptions edns0\n";
        assert_eq!(resolv_conf(host, &options, Names::FromOutside), some);
        let none = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";
        assert_eq!(resolv_conf("nameserver 127.0.0.53\n", &options, Names::FromOutside), none);
        options.dns = vec!["1.1.1.1".to_owned()];
        options.dns_search = vec![".".to_owned()];
        let asked = "nameserver 1.1.1.1\noptions edns0\n";
        assert_eq!(resolv_conf(host, &options, Names::FromOutside), asked);
        let own = "nameserver 127.0.0.11\noptions edns0 ndots:0\n";
        assert_eq!(resolv_conf(host, &options, Names::Own), own);
        options.dns_options = vec!["ndots:2".to_owned()];
        let own = "nameserver 127.0.0.11\noptions ndots:2\n";
        assert_eq!(resolv_conf(host, &options, Names::Own), own);
    }

    #[test]
    fn the_container_knows_its_own_name_and_those_that_are_added() {
        let mut options = RunOptions {
            add_hosts: vec![("db".into(), "10.0.0.2".into()), ("up".into(), "host-gateway".into())],
            ..RunOptions::default()
        };
        let base = || "127.0.0.1 localhost".to_owned();
        let text = hosts(base(), "me", &options, &[]);
        assert_eq!(text, "127.0.0.1 localhost\n127.0.1.1\tme\n10.0.0.2\tdb\n127.0.0.1\tup\n");
        assert!(hosts(String::new(), "me", &options, &[]).starts_with(HOSTS));
        let text = hosts(base(), "me", &options, &[crate::container::sample::endpoint()]);
        assert!(text.contains("\n10.1.0.2\tme\n") && text.ends_with("10.1.0.1\tup\n"), "{text}");
        options.network = Network::Host;
        assert!(!hosts(String::new(), "me", &options, &[]).contains("me\n127.0.1.1"));
    }
}
