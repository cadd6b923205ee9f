//! Docker's filters of containers.

use rbuild::container::{Listed, Status};

use crate::commands::filters;
use crate::commands::images::has_label;
use crate::failure::Failure;

const STATUSES: [&str; 7] =
    ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
const HEALTH: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

/// Filters that were typed. Of one key it is enough that one fits; but every label must be there.
#[derive(Debug)]
pub(super) struct Filters<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Filters<'a> {
    /// Reads `KEY=VALUE` filters.
    pub(super) fn read(typed: &'a [String]) -> Result<Self, Failure> {
        let read = filters(typed)?;
        for &(key, value) in &read {
            let is_right = match key {
                "id" | "name" | "label" | "network" | "ancestor" | "volume" | "before"
                | "since" => true,
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
        Ok(Self(read))
    }

    /// Whether what they ask for may have stopped.
    pub(super) fn ask_for_stopped(&self) -> bool {
        self.0.iter().any(|(key, _)| matches!(*key, "status" | "exited"))
    }

    /// Keeps the containers that all filters let pass; `all` are those of the store.
    pub(super) fn keep(&self, listed: &mut Vec<Listed>, all: &[Listed]) -> Result<(), Failure> {
        let mut order = [None, None];
        for (place, wanted) in order.iter_mut().zip(["before", "since"]) {
            let named = self.0.iter().find(|(key, _)| *key == wanted);
            *place = named.map(|(_, name)| find(all, name)).transpose()?;
        }
        let [before, since] = order;
        listed.retain(|one| {
            before.is_none_or(|other| one.created < other.created)
                && since.is_none_or(|other| one.created > other.created)
                && self.pass(one)
        });
        Ok(())
    }

    fn pass(&self, one: &Listed) -> bool {
        self.0.iter().all(|(key, value)| match *key {
            "label" => has_label(&one.labels, value),
            "before" | "since" => true,
            key => self.0.iter().any(|(other, value)| *other == key && fits(one, key, value)),
        })
    }
}

fn fits(one: &Listed, key: &str, value: &str) -> bool {
    match key {
        "id" => one.id.starts_with(value),
        "name" => one.names.iter().any(|name| matches(name, value.trim_start_matches('/'))),
        "status" => one.state.status.to_string() == value,
        "health" => match &one.state.health {
            Some(health) => health.status.to_string() == value,
            None => value == "none",
        },
        "exited" => one.state.status == Status::Exited && one.state.exit_code.to_string() == value,
        "network" => one.networks.iter().any(|name| name == value),
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

/// Whether a name has a text in it; `^` and `$` are its ends.
fn matches(name: &str, wanted: &str) -> bool {
    match (wanted.strip_prefix('^'), wanted.strip_suffix('$')) {
        (Some(_), Some(_)) => {
            Some(name) == wanted.strip_prefix('^').and_then(|w| w.strip_suffix('$'))
        }
        (Some(start), None) => name.starts_with(start),
        (None, Some(end)) => name.ends_with(end),
        (None, None) => name.contains(wanted),
    }
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
    fn names_match_as_far_as_they_are_typed() {
        for (wanted, is_it) in
            [("eb", true), ("^we", true), ("b1$", true), ("^web1$", true), ("^web$", false)]
        {
            assert_eq!(matches("web1", wanted), is_it, "{wanted}");
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
        for wrong in ["status=up", "health=ill", "exited=x", "expose=x", "colour=red", "name"] {
            assert!(!read(wrong), "{wrong}");
        }
    }
}
