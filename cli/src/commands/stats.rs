//! `stats`: what running containers use.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rbuild::Store;
use rbuild::container::{self, Listed};
use serde_json::{Value, json};

use super::{DONE, Outcome, Session, print};
use crate::args::StatsArgs;
use crate::failure::Failure;
use crate::format::Format;
use crate::table::{binary_size, short_id, size};

const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t\
                     {{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
/// Clock ticks in a second, as the kernel tells them to programs on every machine.
const TICKS: f64 = 100.0;
/// The time from one measurement to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// What brings the cursor home and clears a terminal's screen.
const CLEAR: &str = "\x1b[H\x1b[J";

/// The processor time of containers by id, in ticks, at one moment.
struct Measured {
    at: Instant,
    ticks: BTreeMap<String, u64>,
}

pub(super) fn run(args: &StatsArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let format = args.format.as_deref().filter(|format| *format != "table");
    let clear = if format.is_none() && !args.no_stream { CLEAR } else { "" };
    let format = Format::parse(format.unwrap_or(TABLE))?;
    let mut before = measure(&store, &chosen(args, &store)?);
    loop {
        thread::sleep(PAUSE);
        let containers = chosen(args, &store)?;
        let now = measure(&store, &containers);
        let rows: Vec<Value> =
            containers.iter().map(|one| row(&store, one, &before, &now, args)).collect();
        print(&format!("{clear}{}", format.rows(&titles(), &rows)?))?;
        if args.no_stream {
            return Ok(DONE);
        }
        before = now;
    }
}

/// The containers that are asked for.
fn chosen(args: &StatsArgs, store: &Store) -> Result<Vec<Listed>, Failure> {
    let all = args.all || !args.containers.is_empty();
    let listed = container::list(store, all)?;
    if args.containers.is_empty() {
        return Ok(listed);
    }
    let find = |name: &String| {
        let is_it = |one: &&Listed| one.names.contains(name) || one.id.starts_with(name.as_str());
        let found = listed.iter().find(is_it).cloned();
        found.ok_or_else(|| container::Error::NotFound(name.clone()).into())
    };
    args.containers.iter().map(find).collect()
}

fn measure(store: &Store, containers: &[Listed]) -> Measured {
    let ticks = |one: &Listed| {
        let processes = container::processes(store, &one.id).unwrap_or_default();
        (one.id.clone(), processes.iter().map(|process| process.ticks).sum())
    };
    Measured { at: Instant::now(), ticks: containers.iter().map(ticks).collect() }
}

fn row(store: &Store, one: &Listed, before: &Measured, now: &Measured, args: &StatsArgs) -> Value {
    // One that has ended meanwhile uses nothing.
    let processes = container::processes(store, &one.id).unwrap_or_default();
    let memory: u64 = processes.iter().map(|process| process.memory).sum();
    let machine = memory_of_machine();
    let limit = one.memory.filter(|most| *most > 0).map_or(machine, |most| most.min(machine));
    let used = |measured: &Measured| measured.ticks.get(&one.id).copied();
    let ticks = used(now).zip(used(before)).map_or(0, |(now, then)| now.saturating_sub(then));
    let seconds = now.at.duration_since(before.at).as_secs_f64();
    let (network, disk) = (traffic(one.state.pid), disk(&processes));
    json!({
        "BlockIO": format!("{} / {}", size(disk.0), size(disk.1)),
        "CPUPerc": percent(ticks, seconds * TICKS),
        "Container": one.id,
        "ID": if args.no_trunc { one.id.as_str() } else { short_id(&one.id) },
        "MemPerc": percent(memory, approximate(limit)),
        "MemUsage": format!("{} / {}", binary_size(memory), binary_size(limit)),
        "Name": one.names.first(),
        "NetIO": format!("{} / {}", size(network.0), size(network.1)),
        "PIDs": processes.iter().map(|process| process.threads).sum::<u64>().to_string(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "it is shown with two digits")]
fn approximate(number: u64) -> f64 {
    number as f64
}

fn percent(part: u64, whole: f64) -> String {
    let share = if whole > 0.0 { approximate(part) / whole * 100.0 } else { 0.0 };
    format!("{share:.2}%")
}

fn memory_of_machine() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = kib.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Bytes that came and went over the network that a process is in, loopback left out.
fn traffic(pid: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let mut sum = (0, 0);
    for line in text.lines() {
        let Some((name, numbers)) = line.split_once(':') else { continue };
        let number = |index| -> u64 {
            let field = numbers.split_whitespace().nth(index);
            field.and_then(|text| text.parse().ok()).unwrap_or_default()
        };
        if name.trim() != "lo" {
            sum = (sum.0 + number(0), sum.1 + number(8));
        }
    }
    sum
}

/// Bytes that processes have read from disks and written to them.
fn disk(processes: &[container::ContainerProcess]) -> (u64, u64) {
    let mut sum = (0, 0);
    for process in processes {
        let text = std::fs::read_to_string(format!("/proc/{}/io", process.pid)).unwrap_or_default();
        let number = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|text| text.trim().parse().ok()).unwrap_or_default()
        };
        sum = (sum.0 + number("read_bytes:"), sum.1 + number("write_bytes:"));
    }
    sum
}

fn titles() -> Value {
    json!({
        "BlockIO": "BLOCK I/O", "CPUPerc": "CPU %", "Container": "CONTAINER", "ID": "CONTAINER ID",
        "MemPerc": "MEM %", "MemUsage": "MEM USAGE / LIMIT", "Name": "NAME", "NetIO": "NET I/O",
        "PIDs": "PIDS",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_two_digits() {
        assert_eq!(percent(150, 100.0), "150.00%");
        assert_eq!(percent(1, 3.0), "33.33%");
        assert_eq!(percent(1, 0.0), "0.00%");
    }
}
