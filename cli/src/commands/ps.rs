//! `ps`: the containers.

use rbuild::container::{self, Listed, State, Status};
use serde_json::{Value, json};

use super::images::has_label;
use super::{DONE, Outcome, Session, filters, now, print};
use crate::args::PsArgs;
use crate::failure::Failure;
use crate::format::Format;
use crate::table::{ago, short_id, shorten, size, span, time};

const TABLE: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t\
                     {{.Ports}}\t{{.Names}}";
/// How much of a command is shown.
const COMMAND: usize = 20;

pub(super) fn run(args: &PsArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let filters = filters(&args.filter)?;
    let last = args.last.filter(|last| *last >= 0).or(args.latest.then_some(1));
    let asks_state = filters.iter().any(|(key, _)| matches!(*key, "status" | "exited"));
    let mut listed = container::list(&store, args.all || last.is_some() || asks_state)?;
    for (key, value) in filters {
        filter(&mut listed, key, value)?;
    }
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
            row["Size"] = size(container::size(&store, &one.id)?).into();
        }
    }
    let usual = if args.size { format!("{TABLE}\t{{{{.Size}}}}") } else { TABLE.to_owned() };
    let format = args.format.clone().filter(|format| format != "table").unwrap_or(usual);
    print(&Format::parse(&format)?.rows(&titles(), &rows)?)?;
    Ok(DONE)
}

fn filter(listed: &mut Vec<Listed>, key: &str, value: &str) -> Result<(), Failure> {
    match key {
        "id" => listed.retain(|one| one.id.starts_with(value)),
        "name" => listed.retain(|one| one.names.iter().any(|name| name.contains(value))),
        "status" => listed.retain(|one| one.state.status.to_string() == value),
        "exited" => listed.retain(|one| {
            one.state.status == Status::Exited && one.state.exit_code.to_string() == value
        }),
        "label" => listed.retain(|one| has_label(&one.labels, value)),
        "network" => listed.retain(|one| one.networks.iter().any(|name| name == value)),
        "ancestor" => listed.retain(|one| {
            let name = one.image.split(':').next().unwrap_or_default();
            one.image == value || name == value || one.image_id.hex().starts_with(value)
        }),
        _ => return Err(Failure::usage(format!("there is no filter `{key}`"))),
    }
    Ok(())
}

fn row(one: &Listed, id: &str, whole: bool, now: i64) -> Value {
    let command = if whole { one.command.clone() } else { shorten(&one.command, COMMAND) };
    let labels: Vec<_> = one.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let created = one.created.as_second();
    json!({
        "Command": format!("{command:?}"),
        "CreatedAt": time(created),
        "ID": id,
        "Image": one.image,
        "Labels": labels.join(","),
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
        Status::Running => up(),
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
        "Labels": "LABELS", "Mounts": "MOUNTS", "Names": "NAMES", "Networks": "NETWORKS",
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
        let exited = state(Status::Exited, Some(100), Some(160));
        assert_eq!(status(&exited, 280), "Exited (3) 2 minutes ago");
        assert_eq!(status(&state(Status::Created, None, None), 280), "Created");
    }
}
