//! `run --runtime`: the same containers made by rbuild itself, by runc, by crun and by rbuild as a
//! runtime of others.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::home;
use rbuild_testkit::{Home, eventually, skipped};
use serde_json::Value;

/// What apt installs them as.
const RUNC: &str = "/usr/sbin/runc";
const CRUN: &str = "/usr/bin/crun";

/// Every way to make a container; each test that takes a table takes it once for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    Rbuild,
    Runc,
    Crun,
    Shim,
}

impl Maker {
    const ALL: [Self; 4] = [Self::Rbuild, Self::Runc, Self::Crun, Self::Shim];
    const OTHERS: [Self; 3] = [Self::Runc, Self::Crun, Self::Shim];

    /// The flag that asks for it.
    fn flag(self) -> &'static str {
        match self {
            Self::Rbuild => "",
            Self::Runc => "--runtime runc",
            Self::Crun => "--runtime $HOME/crun",
            Self::Shim => "--runtime $HOME/rbuild-runtime",
        }
    }

    /// Whether limits can be set: crun takes one tree of control groups only, which has few of them
    /// where the machine has others beside it.
    fn has_limits(self) -> bool {
        self != Self::Crun || is_one_tree()
    }
}

fn is_one_tree() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// A home with an image, and the programs of all makers.
fn with_makers() -> Home {
    let home = home();
    home.builds("app", "FROM busybox\nENV FROM_IMAGE=yes\nWORKDIR /work\n").ok();
    symlink(env!("CARGO_BIN_EXE_rbuild"), home.path("rbuild-runtime")).unwrap();
    for program in [RUNC, CRUN] {
        assert!(Path::new(program).exists(), "apt-get install runc crun");
    }
    // Where there are trees of both versions, crun is shown the one that it takes.
    let script = if is_one_tree() {
        format!("#!/bin/sh\nexec {CRUN} \"$@\"\n")
    } else {
        let tree = "mount -t cgroup2 none /sys/fs/cgroup";
        let crun = format!("exec {CRUN} --cgroup-manager=disabled \"$@\"");
        format!("#!/bin/sh\nexec unshare -m sh -c '{tree} && {crun}' sh \"$@\"\n")
    };
    home.write("crun", script);
    fs::set_permissions(home.path("crun"), fs::Permissions::from_mode(0o755)).unwrap();
    home
}

/// What a container is started with, what runs in it, the exit code and what is written.
const TABLE: [(&str, &str, i32, &str); 28] = [
    ("", "echo $FROM_IMAGE; pwd", 0, "yes\n/work"),
    ("", "exit 42", 42, ""),
    ("", "echo $$", 0, "1"),
    ("", "id -u; id -g; echo $HOME", 0, "0\n0\n/root"),
    ("-u app", "id -u; id -g; echo $HOME", 0, "1000\n1001\n/home/app"),
    ("-u 12:34 --group-add 56", "id -u; id -G", 0, "12\n34 56"),
    ("-e A=1 -e FROM_IMAGE=no", "echo $A $FROM_IMAGE", 0, "1 no"),
    ("-w /new/dir -u app", "pwd; stat -c %u .", 0, "/new/dir\n1000"),
    ("--hostname box", "hostname; cat /etc/hostname", 0, "box\nbox"),
    ("-v $HOME/shared:/s", "cat /s/file; echo new >/s/new", 0, "shared"),
    ("-v $HOME/shared:/s:ro", "touch /s/no 2>/dev/null || cat /s/new", 0, "new"),
    ("-v data:/data", "echo kept >/data/x", 0, ""),
    ("-v data:/data:ro", "cat /data/x", 0, "kept"),
    ("--tmpfs /t:size=64k", "grep -c ' /t tmpfs .*size=64k' /proc/mounts", 0, "1"),
    ("--read-only", "touch /x 2>/dev/null || echo read-only", 0, "read-only"),
    ("--add-host there:10.1.2.3", "grep there /etc/hosts | cut -f1", 0, "10.1.2.3"),
    ("--network none", "ls /sys/class/net; cat /sys/class/net/lo/carrier", 0, "lo\n1"),
    ("--shm-size 1m", "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", 0, "1024"),
    ("", "grep -c . /proc/sysrq-trigger 2>&1 | head -c 4; cat /proc/kcore | head -c 1", 0, "grep"),
    (
        "",
        "(echo x >/proc/sys/kernel/core_pattern) 2>&1 | grep -o 'Read-only file system'",
        0,
        "Read-only file system",
    ),
    (
        "",
        "grep Cap /proc/self/status | cut -f2 | tr '\\n' ' '",
        0,
        "0000000000000000 00000000a80425fb 00000000a80425fb 00000000a80425fb 0000000000000000",
    ),
    (
        "--cap-drop ALL --cap-add KILL",
        "grep CapBnd /proc/self/status | cut -f2",
        0,
        "0000000000000020",
    ),
    ("", "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status | cut -f2", 0, "0\n2"),
    (
        "--security-opt seccomp=unconfined --security-opt no-new-privileges",
        "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status | cut -f2",
        0,
        "1\n0",
    ),
    (
        "",
        "mount -t tmpfs none /mnt 2>/dev/null || unshare -m true 2>/dev/null || echo walled",
        0,
        "walled",
    ),
    ("--ulimit nofile=100:200", "ulimit -Sn; ulimit -Hn", 0, "100\n200"),
    ("--device /dev/null:/dev/mine", "echo x >/dev/mine && stat -c %t:%T /dev/mine", 0, "1:3"),
    (
        "--privileged",
        "mount -t tmpfs x /tmp && echo mounted; test -e /dev/loop-control || test -e /dev/kmsg",
        0,
        "mounted",
    ),
];

fn table(maker: Maker) {
    let home = with_makers();
    home.write("shared/file", "shared\n");
    home.write("script", "");
    let run = |flags: &str, command: &str| {
        home.types(&format!("rbuild run --rm {} {flags} {command}", maker.flag()))
    };
    for (flags, script, code, said) in TABLE {
        let ran = run(flags, &format!("app sh -c \"{}\"", script.replace('$', "\\$")));
        assert_eq!((ran.code, ran.stdout.trim_end()), (code, said), "{maker:?} {flags}: {ran}");
    }
    for (command, code) in
        [("/no/such", 127), ("no-such", 127), ("/etc/passwd", 126), ("/etc", 126)]
    {
        let ran = run("", &format!("app {command}"));
        assert_eq!(ran.code, code, "{maker:?}: {ran}");
        assert_eq!(ran.stdout, "", "{maker:?}: {ran}");
    }
    let ran = home.types(&format!(
        "echo in | rbuild run --rm -i {} app sh -c 'cat; echo out; echo err >&2'",
        maker.flag()
    ));
    assert_eq!((&*ran.stdout, ran.stderr.contains("err\n")), ("in\nout\n", true), "{ran}");
    let bytes = run("", "app sh -c 'seq 1 100000' | cksum").ok();
    assert_eq!(bytes, home.types("seq 1 100000 | cksum").ok(), "{maker:?}");
    if maker.has_limits() {
        let limit = if is_one_tree() { "memory.max" } else { "memory/memory.limit_in_bytes" };
        home.types(&format!("rbuild run -d --name limited {} -m 64m app sleep 1000", maker.flag()))
            .ok();
        let id = home.types("rbuild inspect -f '{{.Id}}' limited").ok();
        let (tree, file) = limit.rsplit_once('/').unwrap_or(("", limit));
        let path = Path::new("/sys/fs/cgroup").join(tree).join("rbuild").join(id).join(file);
        assert_eq!(fs::read_to_string(path).unwrap(), "67108864\n", "{maker:?}");
        home.types("rbuild rm -f limited").ok();
    } else {
        skipped(
            "limits of crun",
            "it takes one tree of control groups, and this machine has several",
        );
    }
    let left = home.types("rbuild ps -aq").ok();
    assert_eq!(left, "", "{maker:?} leaves nothing");
}

#[test]
fn rbuild_itself_makes_containers_of_the_table() {
    table(Maker::Rbuild);
}

#[test]
fn runc_makes_them_alike() {
    table(Maker::Runc);
}

#[test]
fn crun_makes_them_alike() {
    table(Maker::Crun);
}

#[test]
fn rbuild_as_the_runtime_of_others_makes_them_alike() {
    table(Maker::Shim);
}

/// A container in the background, from its start to its removal.
fn life(maker: Maker) {
    let home = with_makers();
    let script = "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let run = format!("rbuild run -d --name web {} app sh -c \"{script}\"", maker.flag());
    let id = home.types(&run).ok();
    eventually("its first line", || {
        home.types("rbuild logs web").ok().contains("ready").then_some(())
    });
    let inspected: Value = serde_json::from_str(&home.types("rbuild inspect web").ok()).unwrap();
    let flag = maker.flag().rsplit(' ').next().unwrap_or_default();
    let name = inspected[0]["HostConfig"]["Runtime"].as_str().unwrap();
    assert!(flag.ends_with(name.rsplit('/').next().unwrap()), "{name}");
    assert_eq!(home.types("rbuild exec web sh -c 'exit 9'").code, 9);
    assert_eq!(home.types("rbuild exec web no-such-program").code, 127);
    let exec = |words: &str| home.types(&format!("rbuild exec {words}")).ok();
    assert_eq!(exec("-e A=1 -w /tmp web sh -c 'echo $A; pwd'"), "1\n/tmp");
    assert_eq!(exec("-u app web id -u"), "1000");
    assert_eq!(home.types("echo in | rbuild exec -i web cat").ok(), "in");
    home.write("file", "copied\n");
    home.types("rbuild cp file web:/tmp/file").ok();
    assert_eq!(exec("web cat /tmp/file"), "copied");
    assert!(home.types("rbuild top web").ok().contains("trap"));
    home.types("rbuild pause web").ok();
    assert!(home.types("rbuild ps").ok().contains("(Paused)"));
    home.types("rbuild unpause web").ok();
    home.types("rbuild stop web").ok();
    assert_eq!(home.types("rbuild wait web").ok(), "3");
    assert_eq!(home.types("rbuild logs web").ok(), "ready\ntold");
    assert_eq!(home.types("rbuild start web").ok(), "web");
    eventually("it is there again", || {
        home.types("rbuild exec web cat /tmp/file").stdout.contains("copied").then_some(())
    });
    home.types("rbuild kill web").ok();
    assert_eq!(home.types("rbuild wait web").ok(), "137");
    home.types("rbuild rm web").ok();
    assert!(!fs::exists(home.store().join("containers").join(id)).unwrap(), "{maker:?}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&home.store().display().to_string()), "{mounts}");
}

#[test]
fn a_container_of_runc_lives_as_any_other() {
    life(Maker::Runc);
}

#[test]
fn a_container_of_crun_lives_as_any_other() {
    life(Maker::Crun);
}

#[test]
fn a_container_of_rbuild_as_a_runtime_lives_as_any_other() {
    life(Maker::Shim);
}

#[test]
fn each_gives_a_real_terminal() {
    for maker in Maker::ALL {
        let home = with_makers();
        let mut terminal = home.terminal(&format!("rbuild run -it --rm {} app", maker.flag()));
        terminal.until("# ");
        terminal.types("tty; stty size; exit 5\n");
        let (code, screen) = terminal.wait();
        assert_eq!(code, 5, "{maker:?}: {screen}");
        assert!(screen.contains("/dev/pts/0") && screen.contains("40 120"), "{maker:?}: {screen}");
        home.types(&format!("rbuild run -d --name kept {} app sleep 1000", maker.flag())).ok();
        let mut terminal = home.terminal("rbuild exec -it kept sh");
        terminal.until("# ");
        terminal.types("test -t 0 && echo is a $((1))tty; exit 4\n");
        terminal.until("is a 1tty");
        assert_eq!(terminal.wait().0, 4, "{maker:?}");
        home.types("rbuild rm -f kept").ok();
    }
}

#[test]
fn networks_and_ports_are_theirs_too() {
    for maker in Maker::ALL {
        let home = with_makers();
        let port = rbuild_testkit::free_ports(1);
        home.types("rbuild network create app").ok();
        let serve = "echo served >index.html; exec httpd -f -p 80 -h .";
        home.types(&format!(
            "rbuild run -d --name web --network app -p {port}:80 {} app sh -c '{serve}'",
            maker.flag()
        ))
        .ok();
        let line = format!(
            "rbuild run --rm --network app {} app wget -qO- http://web/ 2>&1",
            maker.flag()
        );
        eventually("an answer by name", || (home.types(&line).stdout == "served\n").then_some(()));
        let outside = home.types(&format!("busybox wget -qO- http://127.0.0.1:{port}/"));
        assert_eq!(outside.ok(), "served", "{maker:?}");
        home.types("rbuild rm -f web; rbuild network rm app").ok();
    }
}

#[test]
fn a_killed_monitor_ends_what_another_runtime_has_made() {
    for maker in Maker::OTHERS {
        let home = with_makers();
        let run = format!("rbuild run -d --name web {} app sleep 1000", maker.flag());
        let id = home.types(&run).ok();
        let state = home.store().join("containers").join(&id).join("state.json");
        let state: Value = serde_json::from_str(&fs::read_to_string(state).unwrap()).unwrap();
        let process = Path::new("/proc").join(state["pid"].to_string());
        let monitor =
            home.types(&format!("pgrep -f -- '[-]-rbuild-container-monitor .*{id}'")).ok();
        home.types(&format!("kill -9 {monitor}")).ok();
        // Nobody has to look for it to end.
        eventually("its end", || (!process.exists()).then_some(()));
        let is_gone = || home.types("rbuild ps -q").ok().is_empty().then_some(());
        eventually("that it is known", is_gone);
        assert!(home.types("rbuild ps -a").ok().contains("Exited (137)"), "{maker:?}");
        let bundle = home.store().join("containers").join(&id).join("oci");
        eventually("that nothing is left of it", || (!bundle.exists()).then_some(()));
        home.types("rbuild start web").ok();
        home.types("rbuild rm -f web").ok();
    }
}

#[test]
fn what_is_no_runtime_is_told_as_docker_does() {
    let home = with_makers();
    for name in ["no-such-runtime", "/no/such/runtime", "$HOME/store-is-no-program"] {
        let ran = home.types(&format!("rbuild run --rm --runtime {name} app true"));
        assert!(ran.stderr.contains("unknown or invalid runtime name"), "{ran}");
        ran.fails(125);
    }
    let ran = home.types("rbuild run --rm --runtime /bin/false app true");
    assert!(ran.stderr.contains("the runtime `/bin/false` could not create"), "{ran}");
    ran.fails(125);
    home.types("rbuild run --rm --init --runtime runc app true").fails(125);
    assert_eq!(home.types("rbuild ps -aq").ok(), "");
}

/// A runtime of NVIDIA's changes the bundle and leaves the container to the one that its settings
/// name, which are for this one rbuild's.
#[test]
fn a_runtime_of_nvidias_leaves_the_container_to_rbuild() {
    let home = with_makers();
    let script = "#!/bin/sh\n\
        settings=$NVIDIA_CTK_CONFIG_FILE_PATH\n\
        program=$(sed -n 's/^runtimes = \\[\"\\(.*\\)\"\\]$/\\1/p' $settings)\n\
        for word; do\n\
        test \"$last\" = --bundle && sed -i 's/\"FROM_IMAGE=yes\"/\"FROM_IMAGE=nvidia\"/' $word/config.json\n\
        last=$word\n\
        done\n\
        echo \"$program $*\" >>PLACE\n\
        exec $program \"$@\"\n";
    let log = home.path("called");
    home.write("nvidia-container-runtime", script.replace("PLACE", &log.display().to_string()));
    let program = home.path("nvidia-container-runtime");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    let line =
        "rbuild run --rm --runtime=$HOME/nvidia-container-runtime app sh -c 'echo $FROM_IMAGE'";
    assert_eq!(home.types(line).ok(), "nvidia");
    let called = home.read("called");
    let programs: Vec<_> = called.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(programs.iter().all(|program| program.ends_with("/rbuild-runtime")), "{called}");
    assert!(called.contains(" create ") && called.contains(" delete "), "{called}");
}
