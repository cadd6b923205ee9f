//! What Docker's default sandbox gives, and what podman gives in its place.

use super::dump::{Facts, HIDDEN, READ_ONLY, has};

/// What a container and a step find alike.
const BOTH: [(&str, &str); 59] = [
    ("namespace mnt", "own"),
    ("namespace pid", "own"),
    ("namespace ipc", "own"),
    ("namespace uts", "own"),
    // Docker's next release gives one, which shows the same clocks; its releases have not.
    ("namespace time", "host's"),
    // There is none unless one is asked for.
    ("namespace user", "host's"),
    ("mount /proc", "proc proc rw,nosuid,nodev,noexec,relatime"),
    ("mount /dev/pts", "devpts devpts rw,nosuid,noexec,relatime gid=5,mode=620,ptmxmode=666"),
    ("mount /dev/shm", "tmpfs shm rw,nosuid,nodev,noexec,relatime size=65536k"),
    ("mount /dev/mqueue", "mqueue mqueue rw,nosuid,nodev,noexec,relatime"),
    ("mount /sys", "sysfs sysfs ro,nosuid,nodev,noexec,relatime"),
    ("status Umask", "0022"),
    ("status Uid", "0 0 0 0"),
    ("status Gid", "0 0 0 0"),
    ("status Groups", "0"),
    ("status NSpid", "1"),
    ("status SigBlk", "0000000000000000"),
    ("status SigIgn", "0000000000000000"),
    ("status SigCgt", "0000000000000000"),
    ("status CapInh", "0000000000000000"),
    ("status CapPrm", "00000000a80425fb"),
    ("status CapEff", "00000000a80425fb"),
    ("status CapBnd", "00000000a80425fb"),
    ("status CapAmb", "0000000000000000"),
    ("status NoNewPrivs", "0"),
    ("status Seccomp", "2"),
    ("/proc/self/personality", "00000000"),
    ("/proc/self/oom_score_adj", "0"),
    ("/proc/self/uid_map", "0 0 4294967295"),
    ("/proc/sys/kernel/domainname", "(none)"),
    ("ids", "[0,0,0,0,0,0]"),
    ("groups", "[0]"),
    // It is the first of its session and its group.
    ("process", "[1,0,1,1]"),
    ("umask", "22"),
    ("cwd", "/"),
    ("terminal", "0"),
    // The profile refuses to ask.
    ("keyring", "-1"),
    ("descriptors", "0 1 2"),
    ("variable PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("variable HOME", "/root"),
    // What is not hidden and can't be written to all the same.
    ("place /proc/sys/kernel/core_pattern", "write: read-only"),
    ("place /proc/sys/kernel/panic", "write: read-only"),
    ("place /proc/irq/default_smp_affinity", "write: read-only"),
    ("place /sys/kernel/mm/transparent_hugepage/enabled", "write: read-only"),
    ("place /sys/kernel", "a folder"),
    ("place /proc/self/oom_score_adj", "write: yes"),
    ("device /dev/null", "20666 0:0 1:3 read: yes, write: yes"),
    ("device /dev/zero", "20666 0:0 1:5 read: yes, write: yes"),
    ("device /dev/full", "20666 0:0 1:7 read: yes, write: yes"),
    ("device /dev/random", "20666 0:0 1:8 read: yes, write: yes"),
    ("device /dev/urandom", "20666 0:0 1:9 read: yes, write: yes"),
    // There is no terminal.
    ("device /dev/tty", "20666 0:0 5:0 read: ENXIO, write: ENXIO"),
    ("device /dev/fd", "-> /proc/self/fd"),
    ("device /dev/stdin", "-> /proc/self/fd/0"),
    ("device /dev/stdout", "-> /proc/self/fd/1"),
    ("device /dev/stderr", "-> /proc/self/fd/2"),
    ("device /dev/ptmx", "-> pts/ptmx"),
    ("device /dev/pts/ptmx", "20666 0:0 5:2 read: yes, write: yes"),
    ("device /dev/pts", "40755 0:0 0:0 read: yes, write: is a directory"),
];

/// Nodes that a process makes itself work nowhere: the standard ones are mounts, each of its own, on
/// file systems where devices do not work.
const FENCE: [(&str, &str); 8] = [
    ("mount /", "rw,nodev,relatime"),
    ("mount /dev", "tmpfs tmpfs rw,nosuid,nodev size=65536k,mode=755"),
    ("mount /dev/null", "tmpfs tmpfs rw,nosuid size=65536k,mode=755"),
    ("mount /dev/zero", "tmpfs tmpfs rw,nosuid size=65536k,mode=755"),
    ("mount /dev/full", "tmpfs tmpfs rw,nosuid size=65536k,mode=755"),
    ("mount /dev/random", "tmpfs tmpfs rw,nosuid size=65536k,mode=755"),
    ("mount /dev/urandom", "tmpfs tmpfs rw,nosuid size=65536k,mode=755"),
    ("mount /dev/tty", "tmpfs tmpfs rw,nosuid size=65536k,mode=755"),
];
/// The nodes that the probe makes.
const NODES: [&str; 10] = [
    "c 1:3", "c 1:5", "c 5:1", "c 10:200", "c 10:229", "c 1:1", "c 1:11", "b 8:0", "b 254:0",
    "b 7:0",
];
const FOLDERS: [&str; 2] = ["device /dev/shm", "device /dev/mqueue"];

/// What only a container finds that `run` makes, in the network of its own.
const OF_RUN: [(&str, &str); 8] = [
    ("namespace net", "own"),
    ("hostname", "ID"),
    ("variable HOSTNAME", "ID"),
    ("mount /etc/hosts", "rw,nosuid,nodev"),
    ("mount /etc/hostname", "rw,nosuid,nodev"),
    ("mount /etc/resolv.conf", "rw,nosuid,nodev"),
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

/// What only a step finds, in the host's network.
const OF_STEP: [(&str, &str); 4] = [
    ("namespace net", "host's"),
    ("hostname", "buildkitsandbox"),
    ("mount /etc/hosts", "ro,nosuid,nodev"),
    ("mount /etc/resolv.conf", "ro,nodev"),
];

/// What a terminal adds and changes.
const OF_TERMINAL: [(&str, &str); 6] = [
    ("terminal", "1"),
    ("variable TERM", "xterm"),
    ("mount /dev/console", "devpts devpts rw,nosuid,noexec,relatime gid=5,mode=620,ptmxmode=666"),
    ("device /dev/console", "20620 0:5 136:0 read: yes, write: yes"),
    ("device /dev/pts/0", "20620 0:5 136:0 read: yes, write: yes"),
    ("device /dev/tty", "20666 0:0 5:0 read: yes, write: yes"),
];

/// What podman with runc gives that is not what we give, each with its reason. A star is any ending.
pub(crate) const OF_PODMAN: [(&str, &str); 30] = [
    ("status CapBnd", "podman gives eleven capabilities; the test adds MKNOD to try nodes"),
    ("status CapEff", "the same"),
    ("status CapPrm", "the same"),
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "docker sets it, podman does not"),
    ("/proc/sys/net/ipv4/ping_group_range", "podman sets it only with a network of its own making"),
    ("groups", "docker has the first group among the others since CVE-2022-36109"),
    ("status Groups", "the same"),
    ("status SigIgn", "the C library has what it starts ignore a signal, which runc passes on"),
    ("variable TERM", "podman sets it without a terminal, too"),
    ("keyring", "podman's profile lets one ask"),
    ("limit Max open files", "the test's own, as podman would raise it"),
    ("limit Max processes", "the same"),
    ("place /proc/interrupts", "docker hides it since 2025"),
    ("mount /sys/dev/block", "podman hides it"),
    ("mount /run/.containerenv", "podman's note to what runs in it"),
    ("mount /dev/shm", "podman counts in thousands: 64000k"),
    (
        "mount /etc/hosts",
        "a file on podman's disk; ours is in memory, without programs and devices",
    ),
    ("mount /etc/hostname", "the same"),
    ("mount /etc/resolv.conf", "podman has none without a network"),
    (
        "mount /sys/fs/cgroup*",
        "a container of podman always has groups; ours has where it has limits",
    ),
    ("mount /", "devices are fenced off by mounts, not by a control group"),
    ("mount /dev", "the same, and podman lets no programs run there"),
    ("mount /dev/null", "devices are fenced off by mounts"),
    ("mount /dev/zero", "the same"),
    ("mount /dev/full", "the same"),
    ("mount /dev/random", "the same"),
    ("mount /dev/urandom", "the same"),
    ("mount /dev/tty", "the same"),
    ("node c*", "a node made inside opens what the control group allows; here nothing"),
    ("node b*", "the same"),
];

/// The last call whose name libseccomp 2.5 knows; what came later is absent with it.
pub(crate) const KNOWN_TO_LIBSECCOMP: u32 = 450;

pub(crate) fn of_run() -> Facts {
    let mut facts = alike();
    facts.extend(table(&OF_RUN));
    facts
}

pub(crate) fn of_step() -> Facts {
    let mut facts = alike();
    facts.extend(table(&OF_STEP));
    // Those of the host, as the network is.
    for name in ["ip_unprivileged_port_start", "ping_group_range"] {
        let path = format!("/proc/sys/net/ipv4/{name}");
        let words = std::fs::read_to_string(&path).unwrap();
        facts.insert(path, words.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    facts
}

pub(crate) fn of_terminal() -> Facts {
    table(&OF_TERMINAL)
}

fn table(rows: &[(&str, &str)]) -> Facts {
    rows.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// The table for this machine, which may lack what is to be hidden, and has control groups of one
/// version or the other.
fn alike() -> Facts {
    let mut facts = table(&BOTH);
    facts.extend(table(&FENCE));
    for node in NODES {
        facts.insert(format!("node {node}"), "made: yes, opened: EACCES".to_owned());
    }
    for folder in FOLDERS {
        let value = "41777 0:0 0:0 read: yes, write: is a directory";
        facts.insert(folder.to_owned(), value.to_owned());
    }
    for path in HIDDEN {
        let value = if has(path) { "hidden" } else { "absent" };
        facts.insert(format!("place {path}"), value.to_owned());
    }
    for path in READ_ONLY {
        let is_file = path == "/proc/sysrq-trigger";
        let value = match (has(path), is_file) {
            (false, _) => "absent",
            (true, true) => "write: read-only",
            (true, false) => "a folder",
        };
        facts.insert(format!("place {path}"), value.to_owned());
        if has(path) {
            let value = "proc proc ro,nosuid,nodev,noexec,relatime";
            facts.insert(format!("mount {path}"), value.to_owned());
        }
    }
    if has("/proc/kcore") {
        facts.insert("device /dev/core".to_owned(), "-> /proc/kcore".to_owned());
    }
    // Only where there is one tree of control groups can a container have its own part of it.
    let has_tree = has("/sys/fs/cgroup/cgroup.controllers");
    let value = if has_tree { "own" } else { "host's" };
    facts.insert("namespace cgroup".to_owned(), value.to_owned());
    facts.insert("place /sys/fs/cgroup".to_owned(), "a folder".to_owned());
    if has_tree {
        let value = "cgroup2 cgroup ro,nosuid,nodev,noexec,relatime";
        facts.insert("mount /sys/fs/cgroup".to_owned(), value.to_owned());
    }
    facts
}
