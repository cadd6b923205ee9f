//! Podman with ours, runc and crun: the same table for all.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rbuild_testkit::{Home, eventually};

use super::with_root;

/// What is typed after `podman run`, and what comes of it: the code, and a part of the output.
const TABLE: [(&str, i32, &str); 16] = [
    ("true", 0, ""),
    ("sh -c 'exit 42'", 42, ""),
    ("no-such-program", 127, "not found"),
    ("/etc/passwd", 126, "ermission denied"),
    ("OPTIONS -u web ROOT id", 0, "uid=33(web) gid=34"),
    ("OPTIONS -u 12:34 ROOT id", 0, "uid=12"),
    ("OPTIONS --cap-drop all --cap-add chown ROOT grep CapEff /proc/self/status", 0, "000000001\n"),
    ("OPTIONS --security-opt no-new-privileges ROOT grep NoNew /proc/self/status", 0, "1\n"),
    ("sh -c 'grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp || echo no'", 0, "2\nno\n"),
    (
        "OPTIONS -v $HOME/shared:/s:ro ROOT sh -c 'cat /s/file; touch /s/x || echo no'",
        0,
        "hi\nno\n",
    ),
    ("OPTIONS --tmpfs /t ROOT grep ' /t ' /proc/mounts", 0, "nosuid,nodev"),
    ("OPTIONS --memory 64m ROOT cat /sys/fs/cgroup/LIMIT", 0, "67108864\n"),
    ("OPTIONS --pids-limit 3 ROOT sh -c 'for i in 1 2 3 4 5; do sleep 9 & done'", 2, "can't fork"),
    ("OPTIONS --hostname box ROOT hostname", 0, "box\n"),
    ("OPTIONS --read-only ROOT sh -c 'touch /x || touch /dev/shm/x && echo half'", 0, "half\n"),
    ("OPTIONS --privileged ROOT sh -c 'mount -t tmpfs x /tmp && echo mounted'", 0, "mounted\n"),
];

/// A runtime in podman's hands.
#[derive(Clone, Copy)]
struct Engine {
    runtime: &'static str,
    /// Whether it runs where control groups are one tree of version 2, whatever the machine has.
    one_tree: bool,
    /// Whether it uses none.
    no_groups: bool,
}

/// A podman whose store is in this home.
fn podman(engine: Engine) -> String {
    let (runtime, place) =
        (engine.runtime, if engine.one_tree { "unshare -m ./one-tree " } else { "" });
    format!(
        "{place}podman --root $HOME/store --runroot $HOME/run --tmpdir $HOME/tmp --storage-driver vfs \
         --cgroup-manager cgroupfs --events-backend none --runtime {runtime}"
    )
}

/// The options of every container: no network, and limits that this process may set.
const OPTIONS: &str = "--network none --ulimit nofile=1024:1024 --ulimit nproc=1000:1000";

/// What of the table takes control groups.
const LIMITS: [&str; 2] = ["--memory", "--pids-limit"];

fn options(engine: Engine) -> String {
    let more = match engine {
        Engine { no_groups: true, .. } => "--cgroups disabled",
        // The tree need not have the controller that podman's usual limit takes.
        Engine { one_tree: true, .. } => "--pids-limit -1",
        Engine { .. } => "",
    };
    format!("{OPTIONS} {more}")
}

fn prepared() -> Home {
    let home = with_root();
    home.write("shared/file", "hi\n");
    let script = "#!/bin/sh\numount -R /sys/fs/cgroup\nmount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"\n";
    home.write("one-tree", script);
    home.types("chmod +x one-tree").ok();
    home
}

/// The file with the limit of memory, in a container.
fn memory_limit() -> &'static str {
    let files = ["memory/memory.limit_in_bytes", "memory.max"];
    files[usize::from(!Path::new("/sys/fs/cgroup/memory").exists())]
}

fn smoke(engine: Engine) {
    let home = prepared();
    let options = options(engine);
    let limit = memory_limit();
    let run = |line: &str| {
        let line = line.replace("OPTIONS", &options).replace("LIMIT", limit);
        let line = if line.contains("ROOT") {
            line.replace("ROOT", "--rootfs $PWD/rootfs")
        } else {
            format!("{options} --rootfs $PWD/rootfs {line}")
        };
        // What a container writes is in the log for certain; podman may hang up before it hears it.
        let _ = fs::remove_file(home.path("log"));
        let log = "--log-driver k8s-file --log-opt path=$HOME/log";
        home.types(&format!("{} run --rm {log} {line}", podman(engine)))
    };
    for (line, code, part) in TABLE {
        if engine.one_tree && LIMITS.iter().any(|limit| line.contains(limit)) {
            continue;
        }
        let ran = run(line);
        assert_eq!(ran.code, code, "{line}: {ran}");
        let log = fs::read_to_string(home.path("log")).unwrap_or_default();
        let lines =
            log.lines().filter_map(|line| line.split_once(" stdout F ").map(|(_, text)| text));
        let said = lines.flat_map(|line| [line, "\n"]).collect::<String>() + &ran.stderr;
        assert!(said.contains(part), "{line}: {ran}");
    }
    life(&home, engine);
}

/// A container in the background, and on a terminal.
fn life(home: &Home, engine: Engine) {
    let options = options(engine);
    let types = |line: &str| home.types(&format!("{} {line}", podman(engine)));
    let script = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    types(&format!("run -d --name box {options} --rootfs $PWD/rootfs sh -c \"{script}\"")).ok();
    eventually("its first line", || types("logs box").ok().contains("up").then_some(()));
    types("exec box sh -c 'exit 9'").fails(9);
    types("exec box no-such-program").fails(127);
    assert!(types("exec -u 33 box id").ok().starts_with("uid=33"));
    if !engine.no_groups {
        types("pause box").ok();
        assert_eq!(types("inspect --format '{{.State.Status}}' box").ok(), "paused");
        types("unpause box").ok();
        if !engine.one_tree {
            types("update --memory 48m box").ok();
            let limit = memory_limit();
            assert_eq!(types(&format!("exec box cat /sys/fs/cgroup/{limit}")).ok(), "50331648");
        }
    }
    types("stop -t 20 box").ok();
    assert_eq!(types("wait box").ok(), "5");
    assert!(types("logs box").ok().ends_with("bye"));
    types("rm box").ok();
    let line = format!("{} run -it --rm {options} --rootfs $PWD/rootfs", podman(engine));
    let (code, screen) = home.terminal(&format!("{line} sh -c 'tty; exit 4'")).wait();
    assert!(code == 4 && screen.contains("/dev/pts/0"), "{code} {screen}");
}

#[test]
fn podman_runs_with_ours() {
    smoke(Engine { runtime: "$HOME/rbuild-runtime", one_tree: false, no_groups: false });
}

#[test]
fn podman_runs_with_ours_where_control_groups_are_one_tree() {
    smoke(Engine { runtime: "$HOME/rbuild-runtime", one_tree: true, no_groups: false });
}

#[test]
fn podman_runs_with_runc_all_the_same() {
    smoke(Engine { runtime: "/usr/sbin/runc", one_tree: false, no_groups: false });
}

/// Which refuses a machine with control groups of both versions, and takes a privilege to make one:
/// there it runs without.
#[test]
fn podman_runs_with_crun_all_the_same() {
    let one_tree = Path::new("/sys/fs/cgroup/unified").exists();
    smoke(Engine { runtime: "/usr/bin/crun", one_tree, no_groups: one_tree });
}

/// The users of a container are others on the host.
#[test]
fn podman_gives_containers_users_of_their_own() {
    let home = prepared();
    home.types("chown -R 100000:100000 rootfs").ok();
    for runtime in ["$HOME/rbuild-runtime", "/usr/sbin/runc"] {
        let engine = Engine { runtime, one_tree: false, no_groups: false };
        let line = "sh -c 'id -u; cat /proc/self/uid_map; echo hi >/made; echo hi >/dev/null'";
        let maps = "--uidmap 0:100000:5000 --gidmap 0:100000:5000";
        let _ = fs::remove_file(home.path("rootfs/made"));
        let podman = podman(engine);
        let line = format!("{podman} run --rm {maps} {OPTIONS} --rootfs $PWD/rootfs {line}");
        let said = home.types(&line).ok();
        let words: Vec<_> = said.split_whitespace().collect();
        assert_eq!(words, ["0", "0", "100000", "5000"], "{runtime}");
        assert_eq!(fs::metadata(home.path("rootfs/made")).unwrap().uid(), 100_000, "{runtime}");
    }
}
