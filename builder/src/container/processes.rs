//! The processes of a container, as `/proc` of the host has them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rbuild_cache::Store;

use super::error::{Error, Result};
use super::folder::Record;
use super::names;
use super::options::Share;

/// One process of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerProcess {
    /// Its number on the host.
    pub pid: u32,
    /// The number of its parent.
    pub parent: u32,
    /// The number of its user.
    pub user: u32,
    /// The number of its terminal, as the kernel numbers devices; 0 is none.
    pub terminal: u32,
    /// When it was started, in clock ticks since the machine was.
    pub started: u64,
    /// Processor time that it has used, in clock ticks.
    pub ticks: u64,
    /// Bytes of memory that are in use.
    pub memory: u64,
    /// Threads.
    pub threads: u64,
    /// Whether it has ended, and its parent has not asked how.
    pub ended: bool,
    /// What it runs, with its arguments.
    pub command: String,
}

/// The processes of a container that runs, in the order of their numbers.
///
/// # Errors
/// A container that is not there, or does not run.
pub fn processes(store: &Store, name: &str) -> Result<Vec<ContainerProcess>> {
    let folder = names::find(store, name)?;
    let state = folder.state()?;
    if !state.status.is_alive() {
        return Err(Error::NotRunning(folder.short().to_owned()));
    }
    let record = folder.record()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
    Ok(of_container(&record, state.pid))
}

/// The numbers of the processes of a container whose first one has this number, without those that
/// have ended.
pub(crate) fn inside(record: &Record, first: u32) -> Vec<u32> {
    let living = of_container(record, first).into_iter().filter(|process| !process.ended);
    living.map(|process| process.pid).collect()
}

fn of_container(record: &Record, first: u32) -> Vec<ContainerProcess> {
    let all = all(Path::new("/proc"));
    let mut roots = BTreeSet::from([first]);
    if record.options.pid == Share::Private {
        // What came in by `exec` has its parent outside.
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = namespace(first);
        let is_its = |pid: &u32| own.is_some() && namespace(*pid) == own;
        roots.extend(all.iter().map(|process| process.pid).filter(is_its));
    }
    let inside = descendants(&all, roots);
    all.into_iter().filter(|process| inside.contains(&process.pid)).collect()
}

/// Processes and all that come from them.
fn descendants(all: &[ContainerProcess], mut found: BTreeSet<u32>) -> BTreeSet<u32> {
    loop {
        let more: Vec<u32> = all
            .iter()
            .filter(|process| found.contains(&process.parent) && !found.contains(&process.pid))
            .map(|process| process.pid)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn all(proc: &Path) -> Vec<ContainerProcess> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // One that ends meanwhile is none.
    let mut all: Vec<_> = numbers.filter_map(|pid| process(proc, pid)).collect();
    all.sort_by_key(|process| process.pid);
    all
}

fn process(proc: &Path, pid: u32) -> Option<ContainerProcess> {
    use std::os::unix::fs::MetadataExt;
    let folder = proc.join(pid.to_string());
    let user = fs::metadata(&folder).ok()?.uid();
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
    let arguments = fs::read(folder.join("cmdline")).unwrap_or_default();
    let memory = resident(&status);
    parse(pid, user, &stat, &arguments).map(|process| ContainerProcess { memory, ..process })
}

/// The bytes that `/proc/<pid>/status` says are in memory; a process that has ended has none.
fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Reads the line of `/proc/<pid>/stat` (`proc_pid_stat(5)`).
fn parse(pid: u32, user: u32, stat: &str, arguments: &[u8]) -> Option<ContainerProcess> {
    // The name may have spaces and brackets of its own.
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let number = |index: usize| fields.get(index - 3)?.parse::<u64>().ok();
    let command = String::from_utf8_lossy(arguments).trim_end_matches('\0').replace('\0', " ");
    Some(ContainerProcess {
        pid,
        user,
        parent: u32::try_from(number(4)?).ok()?,
        terminal: u32::try_from(number(7)?).unwrap_or_default(),
        ticks: number(14)? + number(15)?,
        threads: number(20)?,
        started: number(22)?,
        memory: 0,
        ended: matches!(fields.first(), Some(&("Z" | "X"))),
        command: if command.is_empty() { format!("[{name}]") } else { command },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_rest_of_the_line() {
        let stat = "7 (a) S 9 (x) R 3 7 7 34816 -1 4194304 0 0 0 0 11 22 0 0 20 0 5 0 777 0 0";
        let process = parse(7, 1000, stat, b"/bin/x\0-l\0").unwrap();
        assert_eq!((process.parent, process.terminal, process.ticks), (3, 34816, 33));
        assert_eq!((process.threads, process.started), (5, 777));
        assert_eq!(process.command, "/bin/x -l");
        assert_eq!(parse(7, 0, stat, b"").unwrap().command, "[a) S 9 (x]");
        assert_eq!(parse(7, 0, "7 (x", b""), None);
        assert_eq!(parse(7, 0, "7 (x) S 3", b""), None);
    }

    #[test]
    fn those_that_come_from_one_are_found_in_any_order() {
        let process = |pid, parent| {
            let stat = format!("{pid} (x) S {parent} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0");
            parse(pid, 0, &stat, b"x").unwrap()
        };
        let all = [process(2, 9), process(5, 1), process(7, 5), process(9, 5), process(10, 3)];
        assert_eq!(descendants(&all, BTreeSet::from([5])), BTreeSet::from([2, 5, 7, 9]));
    }

    #[test]
    fn this_process_is_in_proc() {
        let all = all(Path::new("/proc"));
        let own = all.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert!(own.memory > 0 && own.threads > 0, "{own:?}");
    }
}
