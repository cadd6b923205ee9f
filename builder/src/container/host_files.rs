//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container.

use std::fs;

use rbuild_runtime::{Mount, MountSource};

use super::folder::Folder;
use super::options::{Network, RunOptions, Share};
use super::sandbox::hostname;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What docker asks when the host's servers cannot be reached from inside.
const FALLBACK_SERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
/// The address of the host for a container in its network.
const HOST_GATEWAY: &str = "127.0.0.1";

/// The three files, as mounts.
pub(crate) fn mounts(folder: &Folder, options: &RunOptions) -> Vec<Mount> {
    let hostname = hostname(folder, options);
    let of_host = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let on_host = matches!(options.network, Network::Host | Network::Bridge);
    let base = if on_host { of_host("/etc/hosts") } else { HOSTS.to_owned() };
    let mut files = vec![
        ("/etc/resolv.conf", resolv_conf(&of_host(RESOLV_CONF), options)),
        ("/etc/hosts", hosts(base, &hostname, options)),
    ];
    if options.uts != Share::Host {
        files.push(("/etc/hostname", format!("{hostname}\n")));
    }
    files.into_iter().map(|(path, text)| file(path, text)).collect()
}

fn file(path: &str, text: String) -> Mount {
    let source = MountSource::Bytes { bytes: text.into_bytes(), mode: 0o644, uid: 0, gid: 0 };
    Mount::new(source, path)
}

/// Without a base, docker's own lines; then the user's.
fn hosts(base: String, hostname: &str, options: &RunOptions) -> String {
    use std::fmt::Write;
    let mut text = if base.trim().is_empty() { HOSTS.to_owned() } else { base };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let known =
        text.lines().any(|line| line.split_whitespace().skip(1).any(|word| word == hostname));
    if !known && options.network != Network::Host {
        let _ = match &options.domainname {
            Some(domain) => writeln!(text, "127.0.1.1\t{hostname}.{domain} {hostname}"),
            None => writeln!(text, "127.0.1.1\t{hostname}"),
        };
    }
    for (name, address) in &options.add_hosts {
        let address = if address == "host-gateway" { HOST_GATEWAY } else { address };
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// The host's resolver, with what the user puts in its place. A server on the host's loopback
/// device is out of reach for a container with a network of its own.
fn resolv_conf(host: &str, options: &RunOptions) -> String {
    let values = |key: &str| -> Vec<String> {
        let lines = host.lines().filter_map(|line| line.trim().strip_prefix(key));
        let values = lines.filter(|rest| rest.starts_with([' ', '\t']));
        values.flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    let private = !matches!(options.network, Network::Host | Network::Bridge);
    let mut servers = match options.dns.as_slice() {
        [] => values("nameserver"),
        own => own.to_vec(),
    };
    if private && options.dns.is_empty() {
        servers.retain(|server| !server.starts_with("127.") && server != "::1");
        if servers.is_empty() {
            servers.extend(FALLBACK_SERVERS.map(String::from));
        }
    }
    let own_or = |own: &[String], key| match own {
        [] => values(key),
        // A dot alone takes the host's away.
        own => own.iter().filter(|value| *value != ".").cloned().collect(),
    };
    let mut lines: Vec<_> = servers.iter().map(|server| format!("nameserver {server}")).collect();
    for (key, values) in [
        ("search", own_or(&options.dns_search, "search")),
        ("options", own_or(&options.dns_options, "options")),
    ] {
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
        assert_eq!(resolv_conf(host, &options), all);
        options.network = Network::None;
        let some = "nameserver 10.0.0.1\nsearch a b\noptions edns0\n";
        assert_eq!(resolv_conf(host, &options), some);
        let none = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";
        assert_eq!(resolv_conf("nameserver 127.0.0.53\n", &options), none);
        options.dns = vec!["1.1.1.1".to_owned()];
        options.dns_search = vec![".".to_owned()];
        assert_eq!(resolv_conf(host, &options), "nameserver 1.1.1.1\noptions edns0\n");
    }

    #[test]
    fn the_container_knows_its_own_name_and_those_that_are_added() {
        let mut options = RunOptions {
            add_hosts: vec![("db".into(), "10.0.0.2".into()), ("up".into(), "host-gateway".into())],
            ..RunOptions::default()
        };
        let text = hosts("127.0.0.1 localhost".to_owned(), "me", &options);
        assert_eq!(text, "127.0.0.1 localhost\n127.0.1.1\tme\n10.0.0.2\tdb\n127.0.0.1\tup\n");
        assert!(hosts(String::new(), "me", &options).starts_with(HOSTS));
        options.network = Network::Host;
        assert!(!hosts(String::new(), "me", &options).contains("me\n127.0.1.1"));
    }
}
