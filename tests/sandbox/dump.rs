//! What the probe finds, as facts that can be compared: a name and what is said of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rbuild_testkit::Home;
use serde_json::Value;

/// Values of a first argument that make a difference to some call, and neighbours of theirs.
pub(crate) const ARGUMENTS: [u32; 19] = [
    0,
    1,
    8,
    9,
    37,
    38,
    39,
    40,
    41,
    0x11,
    0x80,
    0x2_0000,
    0x2_0008,
    0x200_0000,
    0x400_0000,
    0x1000_0000,
    0x4000_0000,
    0x8000_0000,
    u32::MAX,
];

/// Paths that Docker hides, where the machine has them.
pub(crate) const HIDDEN: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
];

/// Paths that Docker lets nobody write to, where the machine has them.
pub(crate) const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Lines of `/proc/self/status` that tell what the process may do, or what it has inherited.
const STATUS: [&str; 15] = [
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "NSpid",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
];

pub(crate) type Facts = BTreeMap<String, String>;

/// Puts the program that looks around into a folder below a home.
pub(crate) fn compile(home: &Home, folder: &str) {
    home.write("probe.c", include_str!("probe.c"));
    fs::create_dir_all(home.path(folder)).unwrap();
    home.types(&format!("cc -static -O1 -Wall -Werror -o {folder}/probe probe.c -pthread")).ok();
}

/// What is told of all but the calls.
pub(crate) fn facts(dump: &Value) -> Facts {
    let mut facts = Facts::new();
    let mut add = |name: String, value: String| facts.insert(name, value);
    for (path, seen) in dump["namespaces"].as_object().unwrap() {
        let hosts = fs::read_link(path).unwrap();
        let is_hosts = hosts.to_str() == seen.as_str();
        let kind = path.rsplit('/').next().unwrap();
        add(format!("namespace {kind}"), (if is_hosts { "host's" } else { "own" }).to_owned());
    }
    for (name, value) in mounts(file(dump, "/proc/self/mountinfo")) {
        add(name, value);
    }
    for line in file(dump, "/proc/self/status").lines() {
        let (name, value) = line.split_once(':').unwrap();
        if STATUS.contains(&name) {
            let words: Vec<_> = value.split_whitespace().collect();
            add(format!("status {name}"), words.join(" "));
        }
    }
    for (name, value) in limits(file(dump, "/proc/self/limits")) {
        add(name, value);
    }
    for name in ["/proc/self/personality", "/proc/self/oom_score_adj", "/proc/self/uid_map"] {
        let words: Vec<_> = file(dump, name).split_whitespace().collect();
        add(name.to_owned(), words.join(" "));
    }
    for (path, content) in dump["files"].as_object().unwrap() {
        if path.starts_with("/proc/sys/") {
            let words: Vec<_> = content.as_str().unwrap().split_whitespace().collect();
            add(path.clone(), words.join(" "));
        }
    }
    facts.extend(surroundings(dump));
    facts.extend(places(dump));
    facts.extend(devices(dump));
    facts
}

pub(crate) fn file<'a>(dump: &'a Value, path: &str) -> &'a str {
    dump["files"][path].as_str().unwrap_or_else(|| panic!("no {path} in {}", dump["files"]))
}

fn is_hidden(path: &str) -> bool {
    HIDDEN.contains(&path) || path.starts_with("/sys/devices/system/cpu/")
}

/// What is mounted where, in what way; what hides a path is told by the path's own fact. Of the
/// root and of single files the options are their file system's.
fn mounts(info: &str) -> Facts {
    let mut found = Facts::new();
    for line in info.lines() {
        let (of_mount, of_system) = line.split_once(" - ").unwrap();
        let fields: Vec<_> = of_mount.split(' ').collect();
        let system: Vec<_> = of_system.split(' ').collect();
        let (target, flags) = (fields[4], fields[5]);
        if is_hidden(target) {
            continue;
        }
        let shared = fields[6..].join(" ");
        assert_eq!(shared, "", "{target} tells others of its mounts, or is told");
        let value = if target == "/" {
            flags.to_owned()
        } else if target.starts_with("/etc/") || target.starts_with("/run/") {
            flags.replace(",relatime", "")
        } else {
            // Those of control groups are the machine's own.
            let of_system = if system[0] == "cgroup2" { "" } else { system[2] };
            let words = [system[0], system[1], flags, &options(of_system)].join(" ");
            words.trim_end().to_owned()
        };
        found.insert(format!("mount {target}"), value);
    }
    found
}

/// The options of a file system that mean the same on every kernel; whether it can be written to is
/// told by the mount's own.
fn options(text: &str) -> String {
    let counts =
        |word: &&str| !word.starts_with("inode") && !["rw", "ro", "seclabel"].contains(word);
    text.split(',').filter(counts).collect::<Vec<_>>().join(",")
}

/// Limits that are not those of this process, which started the container.
fn limits(table: &str) -> Facts {
    let own = fs::read_to_string("/proc/self/limits").unwrap();
    let rows = table.lines().skip(1).map(|line| (line[..26].trim(), line[26..].trim()));
    let changed = rows.filter(|(name, value)| {
        let is_same = |line: &str| line[..26].trim() == *name && line[26..].trim() == *value;
        !own.lines().any(is_same)
    });
    changed.map(|(name, value)| (format!("limit {name}"), value.to_owned())).collect()
}

fn surroundings(dump: &Value) -> Facts {
    let mut found = Facts::new();
    let hostname = dump["hostname"].as_str().unwrap();
    let is_id = hostname.len() == 12 && hostname.bytes().all(|byte| byte.is_ascii_hexdigit());
    let shown = if is_id { "ID" } else { hostname };
    found.insert("hostname".to_owned(), shown.to_owned());
    for name in ["ids", "groups", "process", "umask", "cwd", "terminal", "keyring"] {
        let value = dump[name].as_str().map_or_else(|| dump[name].to_string(), str::to_owned);
        found.insert(name.to_owned(), value);
    }
    for variable in dump["env"].as_array().unwrap() {
        let (name, value) = variable.as_str().unwrap().split_once('=').unwrap();
        found.insert(format!("variable {name}"), value.replace(hostname, shown));
    }
    let descriptors: Vec<_> = dump["descriptors"].as_object().unwrap().keys().cloned().collect();
    found.insert("descriptors".to_owned(), descriptors.join(" "));
    found
}

fn number(answer: &Value) -> &'static str {
    match answer.as_i64().unwrap() {
        0 => "yes",
        1 => "EPERM",
        2 => "ENOENT",
        6 => "ENXIO",
        13 => "EACCES",
        19 => "ENODEV",
        21 => "is a directory",
        30 => "read-only",
        other => panic!("error {other} is not expected"),
    }
}

/// Whether each place is hidden, and whether what can be seen can be written to.
fn places(dump: &Value) -> Facts {
    const TMPFS: &str = "1021994";
    let told = |place: &Value| {
        if !place.is_object() {
            return "absent".to_owned();
        }
        let is_empty = place["system"] == TMPFS && place["holds"] == 0;
        match (place["mode"].as_str().unwrap(), is_empty) {
            ("20000", true) => "hidden".to_owned(),
            ("40000", true) if place["write"] == 30 => "hidden".to_owned(),
            ("40000", _) => "a folder".to_owned(),
            _ => format!("write: {}", number(&place["write"])),
        }
    };
    let places = dump["places"].as_object().unwrap().iter();
    places.map(|(path, place)| (format!("place {path}"), told(place))).collect()
}

fn devices(dump: &Value) -> Facts {
    let mut found = Facts::new();
    for (device, answers) in dump["made"].as_object().unwrap() {
        let value = format!("made: {}, opened: {}", number(&answers[0]), number(&answers[1]));
        found.insert(format!("node {device}"), value);
    }
    for (path, node) in dump["devices"].as_object().unwrap() {
        let part = |name: &str| node[name].as_str().unwrap().to_owned();
        let link = part("link");
        let value = if link.is_empty() {
            let (read, write) = (number(&node["read"]), number(&node["write"]));
            let (mode, owner, device) = (part("mode"), part("owner"), part("number"));
            format!("{mode} {owner} {device} read: {read}, write: {write}")
        } else {
            format!("-> {link}")
        };
        found.insert(format!("device {path}"), value);
    }
    found
}

/// Whether this machine has a path that a container might see.
pub(crate) fn has(path: &str) -> bool {
    Path::new(path).exists()
}
