//! What this machine lacks for building and running, found by trying it, and the fix of each lack.

mod machine;
mod user;

use std::time::Duration;

use rbuild_cache::Store;
use rbuild_runtime::userns;

use crate::container::chain;
use crate::registries::{Registries, Retry};
use crate::space;
use crate::worker::fetch::blocking;

/// How a part of the machine fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It does what is wanted of it.
    Good,
    /// It is missing, and so is what it is for; all else works.
    Missing,
    /// Nothing works without it.
    Broken,
}

/// What was found out about one part of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The part, in a word or two.
    pub part: &'static str,
    /// How it fares.
    pub health: Health,
    /// What was seen.
    pub seen: String,
    /// What helps, where something is amiss.
    pub fix: Option<String>,
}

impl Finding {
    fn good(part: &'static str, seen: impl Into<String>) -> Self {
        Self { part, health: Health::Good, seen: seen.into(), fix: None }
    }

    fn missing(part: &'static str, seen: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { part, health: Health::Missing, seen: seen.into(), fix: Some(fix.into()) }
    }

    fn broken(part: &'static str, seen: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { health: Health::Broken, ..Self::missing(part, seen, fix) }
    }
}

/// How long a registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Less room than this, in bytes, is little for images.
const LITTLE: u64 = 2 << 30;

/// Looks at the machine, the store and a registry, the most needed first.
pub async fn examine(store: &Store, registries: &Registries, registry: &str) -> Vec<Finding> {
    let machine = {
        let store = store.clone();
        blocking(move || Ok::<_, crate::Error>(examine_machine(&store))).await
    };
    let mut findings = machine.unwrap_or_default();
    findings.push(reach(registries, registry).await);
    findings
}

fn examine_machine(store: &Store) -> Vec<Finding> {
    let user = user::find();
    if user.health == Health::Broken {
        // Whatever else was tried would fail for the same reason.
        return vec![user, room(space::room(store)), machine::git()];
    }
    vec![
        user,
        machine::namespaces(),
        machine::overlay(store),
        machine::seccomp(),
        room(space::room(store)),
        machine::cgroups(),
        if userns::is_initial() { machine::networks() } else { user::networks() },
        machine::emulation(),
        machine::gpus(),
        machine::git(),
    ]
}

/// Whether there is room on the disk of the store, by its free bytes.
fn room(free: crate::Result<u64>) -> Finding {
    let part = "disk";
    let help = "`rbuild system prune` makes room; `--cache-max SIZE` keeps the store small";
    match free {
        Ok(u64::MAX) => Finding::good(part, "the store is still empty"),
        Ok(free) => {
            let seen = format!("{}.{} GB free", free / 1_000_000_000, free / 100_000_000 % 10);
            if free < LITTLE {
                Finding::missing(part, seen, help)
            } else {
                Finding::good(part, seen)
            }
        }
        Err(error) => Finding::broken(part, chain(&error), "name another place with `--root`"),
    }
}

/// Whether a registry answers.
async fn reach(registries: &Registries, registry: &str) -> Finding {
    let part = "registry";
    let once = Retry { count: 0, ..Retry::default() };
    let registries = registries.clone().retry(once).idle_timeout(PATIENCE);
    match registries.client().ping(registry).await {
        Ok(()) => Finding::good(part, format!("{registry} answers")),
        Err(error) => {
            let fix = "check the network, `HTTPS_PROXY`, and `--registry-mirror`; `rbuild login` \
                       where it asks for a password; builds with `--offline` need none";
            Finding::missing(part, chain(&error), fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_is_told_with_what_makes_more() {
        assert_eq!(room(Ok(LITTLE)).health, Health::Good);
        let little = room(Ok(LITTLE - 1));
        assert_eq!((little.health, &*little.seen), (Health::Missing, "2.1 GB free"));
        assert!(little.fix.unwrap().contains("prune"));
    }

    #[tokio::test]
    async fn a_registry_that_does_not_answer_is_no_harm_to_the_rest() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host = free.local_addr().unwrap().to_string();
        drop(free);
        let finding = reach(&Registries::new(), &host).await;
        assert_eq!(finding.health, Health::Missing);
        assert!(finding.seen.contains(&host), "{finding:?}");
    }
}
