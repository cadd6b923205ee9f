//! `rbuild runtime`: the verbs of an OCI runtime, and podman with ours and with others.

use std::fs;
use std::os::unix::fs::symlink;

use crate::home;
use rbuild_testkit::{Home, Ran, eventually};
use serde_json::{Value, json};

mod asked;
mod lives;
mod namespaces;
mod podman;

const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 17] = [
    "sh", "cat", "ls", "id", "true", "false", "sleep", "echo", "grep", "mount", "touch", "mkdir",
    "hostname", "tty", "stty", "pwd", "wc",
];

/// A home with a root to run in, and the program under the name of a runtime.
fn with_root() -> Home {
    let home = home();
    home.write("rootfs/etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/tmp:/bin/sh\n");
    for folder in ["bin", "root", "tmp", "proc", "sys", "dev", "t", "var/tmp", "run"] {
        fs::create_dir_all(home.path("rootfs").join(folder)).unwrap();
    }
    fs::copy(BUSYBOX, home.path("rootfs/bin/busybox")).expect("apt-get install busybox-static");
    for applet in APPLETS {
        symlink("busybox", home.path("rootfs/bin").join(applet)).unwrap();
    }
    symlink(env!("CARGO_BIN_EXE_rbuild"), home.path("rbuild-runtime")).unwrap();
    home
}

/// A configuration such as engines write, which runs a line of shell.
fn config(script: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"],
            "user": { "uid": 0, "gid": 0, "umask": 18 },
            "capabilities": { "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"],
                "effective": ["CAP_KILL"], "inheritable": [], "ambient": [] },
        },
        "root": { "path": "rootfs" },
        "hostname": "box",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options":
                ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"] },
        ],
        "linux": {
            "namespaces": [{ "type": "pid" }, { "type": "network" }, { "type": "ipc" },
                { "type": "uts" }, { "type": "mount" }, { "type": "cgroup" }],
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
        },
    })
}

/// Types a line of a runtime that remembers its containers in this home.
fn types(home: &Home, config: &Value, line: &str) -> Ran {
    home.write("config.json", config.to_string());
    home.types(&format!("./rbuild-runtime --root $HOME/state {line}"))
}

fn status(home: &Home, id: &str) -> String {
    let ran = home.types(&format!("./rbuild-runtime --root $HOME/state state {id}"));
    let state: Value = serde_json::from_str(&ran.ok()).unwrap();
    state["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_bundle_is_created_started_and_removed() {
    let home = with_root();
    let config = config("echo $PPID; hostname; touch /done; exec sleep 1000");
    let id = format!("life-{}", std::process::id());
    let line = |line: &str| types(&home, &config, &line.replace("ID", &id));
    // The container holds what it is given of streams.
    line("create --bundle . --pid-file pid ID >out 2>err").ok();
    assert_eq!(status(&home, &id), "created");
    let state: Value = serde_json::from_str(&line("state ID").ok()).unwrap();
    assert_eq!(state["pid"].to_string(), home.read("pid"));
    assert_eq!(state["ociVersion"], "1.0.2");
    assert_eq!(state["bundle"], fs::canonicalize(home.path("")).unwrap().to_str().unwrap());
    line("create --bundle . ID").fails(1);
    line("delete ID").fails(1);
    line("resume ID").fails(1);
    assert!(!home.path("rootfs/done").exists(), "its program waits");

    line("start ID").ok();
    assert_eq!(status(&home, &id), "running");
    eventually("it is done", || home.path("rootfs/done").exists().then_some(()));
    assert_eq!(home.read("out"), "0\nbox\n");
    line("start ID").fails(1);
    line("delete ID").fails(1);
    line("exec ID sh -c 'exit 9'").fails(9);
    line("exec ID no-such-program").fails(127);
    assert_eq!(line("exec -e A=1 --cwd /tmp ID sh -c 'echo $A; pwd'").ok(), "1\n/tmp");
    assert_eq!(line("ps -f json ID").ok().matches(&home.read("pid")).count(), 1);
    line("pause ID").ok();
    assert_eq!(status(&home, &id), "paused");
    line("resume ID").ok();
    assert_eq!(status(&home, &id), "running");

    line("kill ID KILL").ok();
    eventually("it has ended", || (status(&home, &id) == "stopped").then_some(()));
    line("kill ID TERM").fails(1);
    line("delete ID").ok();
    line("state ID").fails(1);
    line("delete ID").fails(1);
    line("delete --force ID").ok();
    assert_eq!(line("list -q").ok(), "");
    assert_eq!(crate::limits::groups(&format!("rbuild/{id}")).len(), 0, "no group is left");
}

#[test]
fn a_bundle_that_makes_no_sense_is_refused_and_leaves_nothing() {
    let home = with_root();
    let changed = |path: &str, value: Value| {
        let mut config = config("true");
        *config.pointer_mut(path).unwrap() = value;
        config
    };
    for (config, reason) in [
        (changed("/ociVersion", json!("invalid")), "ociVersion"),
        (changed("/process/args", json!([])), "process.args"),
        (changed("/process/cwd", json!("here")), "not absolute"),
        (changed("/process/args", json!(["missing"])), "executable file not found"),
        (changed("/process/args", json!(["/etc/passwd"])), "Permission denied"),
        (changed("/root/path", json!("missing")), "open the root"),
        (changed("/linux/namespaces", json!([{ "type": "mount" }])), "host name"),
        (changed("/linux/namespaces", json!([{ "type": "odd" }])), "unknown namespace"),
    ] {
        let ran = types(&home, &config, "--log log --log-format json run odd");
        assert_ne!(ran.code, 0, "{reason}: {ran}");
        assert!(ran.stderr.contains(reason), "{reason}: {ran}");
        let log = home.read("log");
        let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        assert!(last["msg"].as_str().unwrap().contains(reason), "{last}");
        assert_eq!(home.types("./rbuild-runtime --root $HOME/state list -q").ok(), "");
    }
    types(&home, &config("exit 3"), "run fine").fails(3);
    home.types("./rbuild-runtime create").fails(2);
    types(&home, &config("true"), "run ../up").fails(1);
}

#[test]
fn hooks_run_at_their_time_and_place() {
    let home = with_root();
    let mut config = config("cat /proc/self/mountinfo >/dev/null; echo program >>/order");
    let order = home.path("rootfs/order");
    let hook = |name: &str, script: &str| {
        let file = home.path(&format!("state-{name}"));
        let line = format!("cat >{}; echo {name} >>{}; {script}", file.display(), order.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", line], "env": ["A=b"] }])
    };
    let in_root = home.path("rootfs/proc/self/mounts");
    config["hooks"] = json!({
        "prestart": hook("prestart", "test $A = b && test -z \"$HOME\" && test $PWD = /"),
        "createRuntime": hook("createRuntime", &format!("test ! -e {}", in_root.display())),
        "createContainer": hook("createContainer", &format!("test -d {}",
            home.path("rootfs/proc/sys").display())),
        "startContainer": [{ "path": "/bin/sh", "args":
            ["sh", "-c", "cat >/state-start; echo startContainer >>/order"] }],
        "poststart": hook("poststart", "true"),
        "poststop": hook("poststop", "true"),
    });
    config["annotations"] = json!({ "note": "kept" });
    types(&home, &config, "run hooked").ok();
    let lines = home.read("rootfs/order");
    let before = "prestart\ncreateRuntime\ncreateContainer\nstartContainer\n";
    assert!(lines.starts_with(before) && lines.ends_with("poststop\n"), "{lines}");
    assert!(lines.contains("poststart\n") && lines.contains("program\n"), "{lines}");
    for (name, status) in [
        ("state-prestart", "created"),
        ("state-createContainer", "creating"),
        ("rootfs/state-start", "created"),
        ("state-poststart", "running"),
        ("state-poststop", "stopped"),
    ] {
        let state: Value = serde_json::from_str(&home.read(name)).unwrap();
        assert_eq!(state["status"], status, "{name}");
        assert_eq!(
            (&state["id"], &state["annotations"]["note"]),
            (&json!("hooked"), &json!("kept"))
        );
    }
    config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/false" }] });
    let ran = types(&home, &config, "run failing");
    assert!(ran.code != 0 && ran.stderr.contains("/bin/false"), "{ran}");
    assert_eq!(types(&home, &config, "list -q").ok(), "");
}

#[test]
fn a_profile_of_system_calls_is_kept() {
    let home = with_root();
    let mut config =
        config("mkdir /made 2>/dev/null || echo refused; grep Seccomp: /proc/self/status");
    config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [
            { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5 },
            { "names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS", "args":
                [{ "index": 1, "value": 10, "op": "SCMP_CMP_EQ" }] },
        ],
    });
    assert_eq!(types(&home, &config, "run profiled").ok(), "refused\nSeccomp:\t2");
    config["process"]["args"] = json!(["sh", "-c", "kill -0 $$ && kill -USR1 $$"]);
    types(&home, &config, "run killed").fails(128 + 31);
    config["linux"]["seccomp"]["defaultAction"] = json!("SCMP_ACT_NOTIFY");
    let ran = types(&home, &config, "run notified");
    assert!(ran.code != 0 && ran.stderr.contains("NOTIFY"), "{ran}");
}

/// What ends a container kills all that is in its group, so that must be the container's own.
#[test]
fn the_group_of_others_is_neither_joined_nor_killed() {
    let home = with_root();
    home.builds("app", "FROM busybox\n").ok();
    let other = home.types("rbuild run -d -m 64m app sleep 1000").ok();
    let mut config = config("true");
    config["linux"]["cgroupsPath"] = json!(format!("/rbuild/{other}"));
    let ran = types(&home, &config, "run odd").fails(1);
    assert!(ran.contains("has processes"), "{ran}");
    assert_eq!(home.types("rbuild ps -q --no-trunc").ok(), other, "it runs on");
}

#[test]
fn what_is_frozen_can_be_killed_with_all_that_it_has() {
    let home = with_root();
    let id = format!("frozen-{}", std::process::id());
    let line = |words: &str| {
        home.types(&format!("./rbuild-runtime --root $HOME/state {}", words.replace("ID", &id)))
    };
    // Its streams are those of the line that is typed, which would be waited for.
    types(&home, &config("sleep 1000"), &format!("run --detach {id} >/dev/null 2>&1")).ok();
    line("pause ID").ok();
    line("kill --all ID KILL").ok();
    rbuild_testkit::eventually("it has ended", || (status(&home, &id) == "stopped").then_some(()));
    line("delete ID").ok();
}
