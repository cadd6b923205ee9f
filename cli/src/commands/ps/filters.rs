//! Docker's filters of containers.

use std::collections::BTreeMap;

use rbuild::container::network::NetworkListed;
use rbuild::container::{Listed, Status};
use regex::{Regex, RegexBuilder};

use crate::commands::filters;
use crate::commands::images::has_label;
use crate::failure::Failure;

const STATUSES: [&str; 7] =
    ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
const HEALTH: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

/// How large a pattern may become in memory, in bytes.
const LARGEST: usize = 1 << 20;

/// Filters that were typed. Of one key it is enough that one fits; but every label must be there.
#[derive(Debug)]
pub(super) struct Filters<'a> {
    typed: Vec<(&'a str, &'a str)>,
    /// The values of `id` and `name`, which are patterns.
    patterns: BTreeMap<&'a str, Regex>,
}

impl<'a> Filters<'a> {
    /// Reads `KEY=VALUE` filters.
    pub(super) fn read(typed: &'a [String]) -> Result<Self, Failure> {
        let read = filters(typed)?;
        let mut patterns = BTreeMap::new();
        for &(key, value) in &read {
            let is_right = match key {
                "id" | "name" => {
                    let pattern = pattern(value);
                    let is_one = pattern.is_some();
                    patterns.extend(pattern.map(|pattern| (value, pattern)));
                    is_one
                }
                "label" | "network" | "ancestor" | "volume" | "before" | "since" => true,
                "status" => STATUSES.contains(&value),
                "health" => HEALTH.contains(&value),
                "exited" => value.parse::<i32>().is_ok(),
                "publish" | "expose" => range(value).is_some(),
                "is-task" => truth(value).is_some(),
                _ => return Err(Failure::usage(format!("there is no filter `{key}`"))),
            };
            if !is_right {
                return Err(Failure::usage(format!("invalid filter `{key}={value}`")));
            }
        }
        Ok(Self { typed: read, patterns })
    }

    /// Whether networks must be known to see what passes.
    pub(super) fn ask_for_networks(&self) -> bool {
        self.typed.iter().any(|(key, _)| *key == "network")
    }

    /// Whether what they ask for may have stopped.
    pub(super) fn ask_for_stopped(&self) -> bool {
        self.typed.iter().any(|(key, _)| matches!(*key, "status" | "exited"))
    }

    /// Keeps the containers that all filters let pass; `all` are those of the store, and `networks`
    /// its networks.
    pub(super) fn keep(
        &self,
        listed: &mut Vec<Listed>,
        all: &[Listed],
        networks: &[NetworkListed],
    ) -> Result<(), Failure> {
        let mut order = [None, None];
        for (place, wanted) in order.iter_mut().zip(["before", "since"]) {
            let named = self.typed.iter().find(|(key, _)| *key == wanted);
            *place = named.map(|(_, name)| find(all, name)).transpose()?;
        }
        let [before, since] = order;
        listed.retain(|one| {
            before.is_none_or(|other| one.created < other.created)
                && since.is_none_or(|other| one.created > other.created)
                && self.pass(one, networks)
        });
        Ok(())
    }

    fn pass(&self, one: &Listed, networks: &[NetworkListed]) -> bool {
        self.typed.iter().all(|(key, value)| match *key {
            "label" => has_label(&one.labels, value),
            "before" | "since" => true,
            key => {
                let mut values = self.typed.iter().filter(|(other, _)| *other == key);
                values.any(|(_, value)| match (key, self.patterns.get(value)) {
                    ("id", Some(pattern)) => pattern.is_match(&one.id),
                    ("name", Some(pattern)) => {
                        one.names.iter().any(|name| is_called(name, pattern))
                    }
                    ("network", _) => one.networks.iter().any(|name| is_in(name, value, networks)),
                    _ => fits(one, key, value),
                })
            }
        })
    }
}

fn fits(one: &Listed, key: &str, value: &str) -> bool {
    match key {
        "status" => one.state.status.to_string() == value,
        "health" => match &one.state.health {
            Some(health) => health.status.to_string() == value,
            None => value == "none",
        },
        "exited" => one.state.status == Status::Exited && one.state.exit_code.to_string() == value,
        "volume" => one.mounts.iter().chain(&one.targets).any(|mount| mount == value),
        "ancestor" => {
            let name = match one.image.rsplit_once(':') {
                Some((name, tag)) if !tag.contains('/') => name,
                _ => &one.image,
            };
            let id = value.strip_prefix("sha256:").unwrap_or(value);
            one.image == value
                || name == value
                || id.len() > 1 && one.image_id.hex().starts_with(id)
        }
        "publish" => range(value).is_some_and(|wanted| has_published(&one.ports, &wanted)),
        "expose" => range(value).is_some_and(|wanted| {
            one.exposed.iter().filter_map(|port| range(port)).any(|port| wanted.overlaps(&port))
        }),
        // There are no tasks of swarms.
        "is-task" => truth(value) == Some(false),
        _ => true,
    }
}

/// A regular expression, anywhere in a text.
fn pattern(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).size_limit(LARGEST).dfa_size_limit(LARGEST).build().ok()
}

/// Whether a pattern is in a name, which docker writes with a slash, too.
fn is_called(name: &str, pattern: &Regex) -> bool {
    pattern.is_match(name) || pattern.is_match(&format!("/{name}"))
}

/// Whether the network of a container, by its name or id, is the wanted one, by its name or the
/// beginning of its id.
fn is_in(network: &str, wanted: &str, networks: &[NetworkListed]) -> bool {
    let is_it = |one: &&NetworkListed| {
        one.name == network || network.len() > 1 && one.id.starts_with(network)
    };
    network == wanted
        || networks.iter().find(is_it).is_some_and(|one| {
            one.name == wanted || !wanted.is_empty() && one.id.starts_with(wanted)
        })
}

fn find<'a>(all: &'a [Listed], name: &str) -> Result<&'a Listed, Failure> {
    let is_it = |one: &&Listed| {
        one.names.iter().any(|other| other == name) || one.id.starts_with(name) && !name.is_empty()
    };
    let not_found = || rbuild::container::Error::NotFound(name.to_owned()).into();
    all.iter().find(is_it).ok_or_else(not_found)
}

/// Ports from one to another, of a protocol.
#[derive(Debug, PartialEq, Eq)]
struct Range<'a> {
    first: u16,
    last: u16,
    protocol: &'a str,
}

impl Range<'_> {
    fn overlaps(&self, other: &Range<'_>) -> bool {
        self.protocol == other.protocol && self.first <= other.last && other.first <= self.last
    }
}

/// Reads `80`, `80/udp`, `8000-8010/tcp`.
fn range(text: &str) -> Option<Range<'_>> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(Range { first, last, protocol })
}

/// Whether the ports as they are shown, `0.0.0.0:80->8080/tcp, ...`, have some of the host's.
fn has_published(shown: &str, wanted: &Range<'_>) -> bool {
    shown.split(", ").any(|port| {
        let Some((host, container)) = port.split_once("->") else {
            return false;
        };
        let protocol = container.rsplit_once('/').map_or("tcp", |(_, protocol)| protocol);
        let ports = host.rsplit_once(':').map_or(host, |(_, ports)| ports);
        let published = format!("{ports}/{protocol}");
        range(&published).is_some_and(|published| wanted.overlaps(&published))
    })
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_by_patterns() {
        for (wanted, is_it) in [
            ("eb", true),
            ("^we", true),
            ("b1$", true),
            ("^web1$", true),
            ("^web$", false),
            ("^(web|db)[0-9]$", true),
            ("w.b", true),
            ("w*2", false),
            ("/web1", true),
            ("^/web1$", true),
            ("/eb", false),
        ] {
            assert_eq!(is_called("web1", &pattern(wanted).unwrap()), is_it, "{wanted}");
        }
        assert!(pattern("(").is_none());
        assert!(pattern("(a{1000}){1000}").is_none(), "it is too large");
    }

    #[test]
    fn networks_are_found_by_name_and_by_the_beginning_of_an_id() {
        let network = |name: &str, id: &str| NetworkListed {
            id: id.to_owned(),
            name: name.to_owned(),
            driver: "bridge",
            ipv6: false,
            internal: false,
            in_use: false,
            created: jiff::Timestamp::UNIX_EPOCH,
            labels: BTreeMap::new(),
        };
        let all = [network("front", "abcdef"), network("back", "123456")];
        for (network, wanted, is_it) in [
            ("front", "front", true),
            ("front", "abc", true),
            ("abcd", "front", true),
            ("front", "bcd", false),
            ("front", "fro", false),
            ("front", "back", false),
            ("front", "", false),
            ("container:x", "container:x", true),
        ] {
            assert_eq!(is_in(network, wanted, &all), is_it, "{network} {wanted}");
        }
    }

    #[test]
    fn published_ports_are_those_of_the_host() {
        let shown = "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 0.0.0.0:53-55->53-55/udp, 9/tcp";
        let has = |text| has_published(shown, &range(text).unwrap());
        assert!(has("8080") && has("8000-8100") && has("54/udp"));
        assert!(!has("80") && !has("54") && !has("9") && !has("8080/udp"));
        assert!(range("x").is_none() && range("9-8").is_none() && range("70000").is_none());
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let read = |text: &str| Filters::read(&[text.to_owned()]).is_ok();
        for right in ["status=paused", "health=none", "exited=0", "publish=80", "is-task=false"] {
            assert!(read(right), "{right}");
        }
        for wrong in
            ["status=up", "health=ill", "exited=x", "expose=x", "colour=red", "name", "name=["]
        {
            assert!(!read(wrong), "{wrong}");
        }
    }
}
