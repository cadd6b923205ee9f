//! `top`: the processes of a container.

use std::process::Command;

use rbuild::container::{self, ContainerProcess};

use super::{DONE, Outcome, Session, now, print};
use crate::args::TopArgs;
use crate::failure::Failure;
use crate::table::table;

/// Clock ticks in a second, as the kernel tells them to programs on every machine.
const TICKS: u64 = 100;

pub(super) fn run(args: &TopArgs, session: &Session) -> Outcome {
    let Some((name, options)) = args.container_and_options.split_first() else {
        return Err(Failure::usage("name a container"));
    };
    let processes = container::processes(&session.store()?, name)?;
    if !options.is_empty() {
        print(&with_ps(&processes, options)?)?;
        return Ok(DONE);
    }
    let titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
    let (now, up) = (now(), uptime());
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(processes.iter().map(|process| row(process, now, up)));
    print(&table(&rows))?;
    Ok(DONE)
}

fn row(process: &ContainerProcess, now: i64, up: u64) -> Vec<String> {
    let age = up.saturating_sub(process.started / TICKS);
    let seconds = process.ticks / TICKS;
    let share = (seconds * 100).checked_div(age).unwrap_or_default();
    let begun = now.saturating_sub(i64::try_from(age).unwrap_or_default());
    let begun = jiff::Timestamp::from_second(begun).unwrap_or_default();
    let begun = begun.to_zoned_datetime(jiff::tz::TimeZone::system());
    vec![
        user(process.user),
        process.pid.to_string(),
        process.parent.to_string(),
        share.min(99).to_string(),
        begun.strftime("%H:%M").to_string(),
        terminal(process.terminal),
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        process.command.clone(),
    ]
}

/// The name that the host has for a user, else the number.
fn user(number: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number.to_string()).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| number.to_string())
}

/// The name of a terminal by its number (`proc_pid_stat(5)`, field 7).
fn terminal(number: u32) -> String {
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xfff00);
    match major {
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        4 => format!("tty{minor}"),
        _ => "?".to_owned(),
    }
}

/// Seconds since the machine was started.
fn uptime() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or_default()
}

/// What the host's `ps` says with these options, without what is not the container's.
fn with_ps(processes: &[ContainerProcess], options: &[String]) -> Result<String, Failure> {
    let ran = Command::new("ps").args(options).output().map_err(Failure::io("run `ps`"))?;
    if !ran.status.success() {
        let told = String::from_utf8_lossy(&ran.stderr).trim().replace('\n', "; ");
        return Err(Failure::usage(format!("`ps` refuses these options: {told}")));
    }
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let mut lines = text.lines();
    let titles = lines.next().unwrap_or_default();
    let Some(column) = titles.split_whitespace().position(|title| title == "PID") else {
        return Err(Failure::usage("`ps` must print the column PID").hint("add `-o pid`"));
    };
    let is_inside = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|text| text.parse().ok());
        processes.iter().any(|process| Some(process.pid) == pid)
    };
    let inside = lines.filter(is_inside);
    Ok(std::iter::once(titles).chain(inside).flat_map(|line| [line, "\n"]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_have_their_names() {
        let names = [0, 136 << 8 | 3, 137 << 8 | 1, 4 << 8 | 2].map(terminal);
        assert_eq!(names, ["?", "pts/3", "pts/257", "tty2"]);
    }

    #[test]
    fn a_row_tells_shares_and_times() {
        let process = ContainerProcess {
            pid: 7,
            parent: 1,
            user: 4_000_000_000,
            terminal: 0,
            started: 900 * TICKS,
            ticks: 3661 * TICKS,
            memory: 0,
            threads: 1,
            ended: false,
            command: "busy".to_owned(),
        };
        let row = row(&process, 1_000_000, 1_000);
        assert_eq!(row[0], "4000000000");
        assert_eq!((&*row[3], &*row[6], &*row[7]), ("99", "01:01:01", "busy"));
    }
}
