//! What a bundle asks for is so: devices, mounts, filters of system calls, capabilities.

use serde_json::{Value, json};

use super::{config, types, with_root};

/// What comes of opening the kernel's log, whose node the container makes, to write.
const OPENS: &str = "busybox mknod /tmp/log c 1 11 && (: >/tmp/log) 2>/dev/null && echo yes || echo no; \
     busybox mknod /tmp/null c 1 3 && echo x >/tmp/null && echo usual; \
     busybox mknod /dev/again c 1 3 && echo x >/dev/again && echo here";

fn with_rules(rules: Value) -> Value {
    let mut config = config(OPENS);
    for set in ["bounding", "permitted", "effective"] {
        config["process"]["capabilities"][set] = json!(["CAP_MKNOD", "CAP_SYSLOG"]);
    }
    config["linux"]["resources"]["devices"] = rules;
    config
}

#[test]
fn rules_on_devices_are_obeyed_in_their_order() {
    let home = with_root();
    let log = |allow: bool, access: &str| json!({ "allow": allow, "type": "c", "major": 1, "minor": 11, "access": access });
    let nothing = json!({ "allow": false, "access": "rwm" });
    let everything = json!({ "allow": true, "access": "rwm" });
    for (place, which) in [
        ("", "the controller"),
        (
            "unshare -m sh -c 'umount /sys/fs/cgroup/devices 2>/dev/null; exec \"$0\" \"$@\"' ",
            "a program",
        ),
    ] {
        for (rules, answer) in [
            (json!([nothing]), "no"),
            (json!([nothing, log(true, "w")]), "yes"),
            (json!([nothing, log(true, "r")]), "no"),
            (json!([everything]), "yes"),
            (json!([everything, log(false, "w")]), "no"),
            (json!([log(false, "w"), everything]), "yes"),
            (
                json!([nothing, { "allow": true, "type": "c", "major": 1, "access": "rwm" }, log(false, "w")]),
                "no",
            ),
        ] {
            home.types("rm -f rootfs/tmp/* ").ok();
            home.write("config.json", with_rules(rules.clone()).to_string());
            let said =
                home.types(&format!("{place}./rbuild-runtime --root $HOME/state run ruled")).ok();
            assert_eq!(said, format!("{answer}\nusual\nhere"), "{rules} by {which}");
        }
    }
}

#[test]
fn mounts_are_listed_in_the_order_that_was_asked_for() {
    let home = with_root();
    let mut config =
        config("while read -r a b c d place rest; do echo $place; done </proc/self/mountinfo");
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.extend([
        json!({ "destination": "/t", "type": "tmpfs", "source": "tmpfs" }),
        json!({ "destination": "/t/etc", "source": "/etc", "options": ["bind"] }),
        json!({ "destination": "/t/hosts", "source": "/etc/hosts", "options": ["bind", "ro"] }),
        json!({ "destination": "/t/last", "type": "tmpfs", "source": "tmpfs" }),
    ]);
    let said = types(&home, &config, "run listed").ok();
    let places: Vec<_> = said.lines().filter(|place| place.starts_with("/t")).collect();
    assert_eq!(places, ["/t", "/t/etc", "/t/hosts", "/t/last"], "{said}");
}

/// A profile may leave out what a program does not need on its way, though a runtime may.
#[test]
fn a_profile_need_not_allow_what_the_runtime_asks() {
    let home = with_root();
    let mut config = config("");
    config["process"]["args"] = json!(["/bin/echo", "ran"]);
    config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["access", "faccessat", "faccessat2", "stat", "newfstatat", "statx",
            "close_range", "umask", "setgroups", "getcwd", "openat2", "sendmsg", "dup3"],
            "action": "SCMP_ACT_ERRNO" }],
    });
    assert_eq!(types(&home, &config, "run narrow").ok(), "ran");
    config["process"]["user"] = json!({ "uid": 33, "gid": 34, "additionalGids": [5] });
    config["process"]["args"] = json!(["/bin/id"]);
    let said = types(&home, &config, "run other").ok();
    assert!(said.starts_with("uid=33") && said.contains("gid=34") && said.contains('5'), "{said}");
    config["process"]["args"] = json!(["/root/secret"]);
    home.types("cp rootfs/bin/busybox rootfs/root/secret && chmod 700 rootfs/root/secret").ok();
    let ran = types(&home, &config, "create refused");
    assert!(ran.code == 1 && ran.stderr.contains("Permission denied"), "{ran}");
}

#[test]
fn capabilities_without_a_meaning_are_refused_where_the_specification_says_so() {
    let home = with_root();
    let mut config = config("grep CapBnd /proc/self/status");
    config["process"]["capabilities"]["bounding"] = json!(["CAP_KILL", "CAP_TEST"]);
    let refused = types(&home, &config, "run odd").fails(1);
    assert!(refused.contains("CAP_TEST"), "{refused}");
    config["ociVersion"] = json!("1.2.0");
    assert!(types(&home, &config, "run odd").ok().ends_with("0000000020"), "the others are held");
}

#[test]
fn a_queue_of_bytes_is_made_like_a_device() {
    let home = with_root();
    let mut config = config("test -p /dev/queue && busybox stat -c %a:%u /dev/queue");
    config["linux"]["devices"] =
        json!([{ "path": "/dev/queue", "type": "p", "fileMode": 0o640, "uid": 7 }]);
    assert_eq!(types(&home, &config, "run queued").ok(), "640:7");
}
