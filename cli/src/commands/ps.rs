//! `ps`: the containers.

mod filters;

use filters::Filters;
use rbuild::container::{self, HealthStatus, Listed, State, Status};
use serde_json::{Value, json};

use super::{DONE, Outcome, Session, now, print};
use crate::args::PsArgs;
use crate::format::Format;
use crate::table::{ago, short_id, shorten, size, span, time};

const TABLE: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t\
                     {{.Ports}}\t{{.Names}}";
/// How much of a command is shown.
const COMMAND: usize = 20;

pub(super) fn run(args: &PsArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let filters = Filters::read(&args.filter)?;
    let last = args.last.filter(|last| *last >= 0).or(args.latest.then_some(1));
    let all = container::list(&store, true)?;
    let with_stopped = args.all || last.is_some() || filters.ask_for_stopped();
    let mut listed = all.clone();
    listed.retain(|one| with_stopped || one.state.status.is_alive());
    let networks =
        if filters.ask_for_networks() { container::network::list(&store)? } else { Vec::new() };
    filters.keep(&mut listed, &all, &networks)?;
    if let Some(last) = last {
        listed.truncate(usize::try_from(last).unwrap_or(usize::MAX));
    }
    let id = |container: &Listed| {
        if args.no_trunc { container.id.clone() } else { short_id(&container.id).to_owned() }
    };
    if args.quiet && args.format.is_none() {
        print(&listed.iter().map(|container| id(container) + "\n").collect::<String>())?;
        return Ok(DONE);
    }
    let now = now();
    let mut rows: Vec<_> =
        listed.iter().map(|one| row(one, &id(one), args.no_trunc, now)).collect();
    if args.size {
        for (one, row) in listed.iter().zip(&mut rows) {
            let (own, all) = container::sizes(&store, &one.id)?;
            row["Size"] = format!("{} (virtual {})", size(own), size(all)).into();
        }
    }
    let usual = if args.size { format!("{TABLE}\t{{{{.Size}}}}") } else { TABLE.to_owned() };
    let format = args.format.clone().filter(|format| format != "table").unwrap_or(usual);
    print(&Format::parse(&format)?.rows(&titles(), &rows)?)?;
    Ok(DONE)
}

fn row(one: &Listed, id: &str, whole: bool, now: i64) -> Value {
    let command = if whole { one.command.clone() } else { shorten(&one.command, COMMAND) };
    let labels: Vec<_> = one.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let created = one.created.as_second();
    // What else is mounted has a path, or is an image with a tag.
    let volumes = one.mounts.iter().filter(|mount| !mount.contains(['/', ':'])).count();
    json!({
        "Command": format!("{command:?}"),
        "CreatedAt": time(created),
        "ID": id,
        "Image": one.image,
        "Label": one.labels,
        "Labels": labels.join(","),
        "LocalVolumes": volumes.to_string(),
        "Mounts": one.mounts.join(","),
        "Names": one.names.join(","),
        "Networks": one.networks.join(","),
        "Ports": one.ports,
        "RunningFor": ago(created, now),
        "Size": size(0),
        "State": one.state.status.to_string(),
        "Status": status(&one.state, now),
    })
}

/// `Up 3 minutes`, `Exited (0) 2 minutes ago`.
fn status(state: &State, now: i64) -> String {
    let since = |then: &Option<jiff::Timestamp>| then.map_or(now, jiff::Timestamp::as_second);
    let up = || format!("Up {}", span(now - since(&state.started)));
    let ended = || format!("({}) {}", state.exit_code, ago(since(&state.finished), now));
    match state.status {
        Status::Running => match state.health.as_ref().map(|health| health.status) {
            None => up(),
            Some(HealthStatus::Starting) => up() + " (health: starting)",
            Some(status) => format!("{} ({status})", up()),
        },
        Status::Paused => up() + " (Paused)",
        Status::Exited => format!("Exited {}", ended()),
        Status::Restarting => format!("Restarting {}", ended()),
        Status::Created => "Created".to_owned(),
        Status::Dead => "Dead".to_owned(),
    }
}

fn titles() -> Value {
    json!({
        "Command": "COMMAND", "CreatedAt": "CREATED AT", "ID": "CONTAINER ID", "Image": "IMAGE",
        "Label": "LABEL", "Labels": "LABELS", "LocalVolumes": "LOCAL VOLUMES",
        "Mounts": "MOUNTS", "Names": "NAMES", "Networks": "NETWORKS",
        "Ports": "PORTS", "RunningFor": "CREATED", "Size": "SIZE", "State": "STATE",
        "Status": "STATUS",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_since_when() {
        let state = |status, started: Option<i64>, finished: Option<i64>| State {
            status,
            pid: 0,
            exit_code: 3,
            started: started.map(|at| jiff::Timestamp::from_second(at).unwrap()),
            finished: finished.map(|at| jiff::Timestamp::from_second(at).unwrap()),
            ..State::default()
        };
        assert_eq!(status(&state(Status::Running, Some(100), None), 280), "Up 3 minutes");
        let with_health = |status| State {
            health: Some(rbuild::container::Health { status, ..Default::default() }),
            ..state(Status::Running, Some(100), None)
        };
        let told = status(&with_health(HealthStatus::Starting), 280);
        assert_eq!(told, "Up 3 minutes (health: starting)");
        let told = status(&with_health(HealthStatus::Healthy), 280);
        assert_eq!(told, "Up 3 minutes (healthy)");
        let paused = state(Status::Paused, Some(100), None);
        assert_eq!(status(&paused, 280), "Up 3 minutes (Paused)");
        let exited = state(Status::Exited, Some(100), Some(160));
        assert_eq!(status(&exited, 280), "Exited (3) 2 minutes ago");
        assert_eq!(status(&state(Status::Created, None, None), 280), "Created");
    }
}
