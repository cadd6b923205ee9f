//! The sandbox of `run` and of RUN: what a probe finds in it, against tables of what Docker gives, and
//! beside what podman with runc gives.

mod calls;
mod dump;
mod expected;

use std::collections::BTreeSet;
use std::fs;

use crate::home;
use calls::{Numbers, Profile, differing, numbers};
use dump::{ARGUMENTS, Facts, compile, facts};
use rbuild_testkit::Home;
use serde_json::Value;

/// Docker's own.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A home with an image that has the probe.
fn with_probe() -> Home {
    let home = home();
    compile(&home, "app");
    home.builds("app", "FROM busybox\nCOPY probe /bin/\n").ok();
    home
}

fn arguments() -> String {
    ARGUMENTS.map(|argument| argument.to_string()).join(" ")
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// What the probe finds in a container that `rbuild run` makes.
fn in_run(home: &Home, flags: &str) -> Value {
    let line = format!("rbuild run --rm {flags} app probe - {}", arguments());
    parse(&home.types(&line).ok())
}

/// What the probe finds in a step.
fn in_step(home: &Home) -> Value {
    let words = arguments().replace(' ', "\",\"");
    let step = format!("RUN [\"probe\",\"/tmp/found\",\"{words}\"]");
    let dockerfile = format!("FROM app AS a\n{step}\nFROM scratch\nCOPY --from=a /tmp/found /\n");
    home.write("step/Dockerfile", dockerfile);
    home.types("rbuild -o out step").ok();
    parse(&home.read("out/found"))
}

/// What differs between facts and a table, in lines.
fn compare(found: &Facts, wanted: &Facts) -> Vec<String> {
    let names: BTreeSet<_> = found.keys().chain(wanted.keys()).collect();
    let nothing = "nothing".to_owned();
    let of = |facts: &Facts, name: &String| facts.get(name).unwrap_or(&nothing).clone();
    let pairs = names.into_iter().map(|name| (name, of(found, name), of(wanted, name)));
    let differ = pairs.filter(|(_, found, wanted)| found != wanted);
    differ.map(|(name, found, wanted)| format!("{name}: {found}, and not {wanted}")).collect()
}

#[test]
fn a_container_finds_what_docker_gives() {
    let home = with_probe();
    let found = facts(&in_run(&home, ""));
    assert_eq!(compare(&found, &expected::of_run()), [""; 0], "{found:#?}");
}

/// What joins a container is within the same walls, and brings nothing along.
#[test]
fn what_joins_a_container_finds_the_same() {
    let home = with_probe();
    home.types("rbuild run -d --name box app sleep 1000").ok();
    let line = format!("LEAK=1 rbuild exec box probe - {}", arguments());
    let dump = parse(&home.types(&line).ok());
    let mut found = facts(&dump);
    // It is another process than the first, of a session and a group of its own.
    let pid = dump["process"][0].as_u64().unwrap();
    assert!(pid > 1, "{found:#?}");
    assert_eq!(found["process"], format!("[{pid},0,{pid},{pid}]"));
    for (name, of_first) in [("process", "[1,0,1,1]"), ("status NSpid", "1")] {
        found.insert(name.to_owned(), of_first.to_owned());
    }
    assert_eq!(compare(&found, &expected::of_run()), [""; 0], "{found:#?}");
    let profile = Profile::new(&CAPABILITIES);
    for (convention, numbers) in conventions(&home) {
        let answer = |name: Option<&str>, number, argument| profile.answer(name, number, argument);
        assert_eq!(differing(&dump, convention, &numbers, answer), [""; 0], "{convention}");
    }
}

#[test]
fn a_terminal_changes_what_is_known() {
    let home = with_probe();
    let line = format!("rbuild run -it --name box app probe /tmp/found {}", arguments());
    assert_eq!(home.terminal(&line).wait().0, 0);
    home.types("rbuild cp box:/tmp/found found").ok();
    let found = facts(&parse(&home.read("found")));
    let mut wanted = expected::of_run();
    wanted.extend(expected::of_terminal());
    assert_eq!(compare(&found, &wanted), [""; 0], "{found:#?}");
}

#[test]
fn a_step_finds_what_docker_gives() {
    let home = with_probe();
    let found = facts(&in_step(&home));
    assert_eq!(compare(&found, &expected::of_step()), [""; 0], "{found:#?}");
}

/// The calling conventions that the probe tries, with the headers that have their numbers.
fn conventions(home: &Home) -> Vec<(&'static str, Numbers)> {
    let mut conventions = vec![("native", numbers(home, "asm/unistd.h"))];
    if cfg!(target_arch = "x86_64") {
        conventions.push(("i386", numbers(home, "asm/unistd_32.h")));
    }
    conventions
}

/// x32 is refused whole, as if the kernel had none, which most have not.
fn assert_no_x32(dump: &Value) {
    if cfg!(target_arch = "x86_64") {
        assert_eq!(differing(dump, "x32", &Numbers::new(), |_, _, _| 38), [""; 0]);
    }
}

/// A container is not spared when memory runs out because its launcher is; a step is as the build is.
#[test]
fn how_soon_it_is_killed_is_the_containers_own() {
    let home = with_probe();
    let raised = |line: &str| format!("echo 300 >/proc/self/oom_score_adj; {line}");
    let shown = "cat /proc/self/oom_score_adj";
    assert_eq!(home.types(&raised(&format!("rbuild run --rm app {shown}"))).ok(), "0");
    let line = format!("rbuild run --rm --oom-score-adj 400 app {shown}");
    assert_eq!(home.types(&raised(&line)).ok(), "400");
    let file = format!("FROM app AS a\nRUN {shown} >/s\nFROM scratch\nCOPY --from=a /s /\n");
    home.write("step/Dockerfile", file);
    home.types(&raised("rbuild -o out step")).ok();
    assert_eq!(home.read("out/s"), "300\n");
}

#[test]
fn every_call_is_answered_by_docker_s_profile() {
    let home = with_probe();
    let conventions = conventions(&home);
    let more = [&CAPABILITIES[..], &["CAP_SYS_ADMIN"], &["CAP_SYS_PTRACE"]].concat();
    for (dump, capabilities) in [
        (in_run(&home, ""), &CAPABILITIES[..]),
        (in_step(&home), &CAPABILITIES[..]),
        (in_run(&home, "--cap-add SYS_ADMIN --cap-add SYS_PTRACE"), &more[..]),
        (in_run(&home, "--cap-drop ALL"), &[]),
    ] {
        let profile = Profile::new(capabilities);
        for (convention, numbers) in &conventions {
            let wrong = differing(&dump, convention, numbers, |name, number, argument| {
                profile.answer(name, number, argument)
            });
            assert_eq!(wrong, [""; 0], "{convention} with {capabilities:?}");
        }
        assert_no_x32(&dump);
    }
    let free = in_run(&home, "--security-opt seccomp=unconfined");
    for (convention, numbers) in &conventions {
        let refused = differing(&free, convention, numbers, |_, _, _| 0);
        assert_eq!(refused, [""; 0], "without a filter");
    }
}

#[test]
fn each_container_has_a_keyring_of_its_own() {
    let home = with_probe();
    let free = "--security-opt seccomp=unconfined";
    let keyring = |dump: Value| dump["keyring"].as_i64().unwrap();
    let own = home.types("./app/probe - 0").ok();
    let host = keyring(parse(&own));
    let all = [host, keyring(in_run(&home, free)), keyring(in_run(&home, free))];
    assert!(all.iter().all(|number| *number > 0), "{all:?}");
    assert_eq!(BTreeSet::from(all).len(), 3, "{all:?}");
}

/// What the probe finds in a container that podman makes with runc.
fn in_podman(home: &Home, flags: &str) -> Value {
    for folder in ["tmp", "proc", "sys", "dev", "run"] {
        fs::create_dir_all(home.path("rootfs").join(folder)).unwrap();
    }
    let limits = "--ulimit nofile=1024:1024 --ulimit nproc=1000:1000";
    let podman = "podman --root $HOME/store --runroot $HOME/run --tmpdir $HOME/tmp \
        --storage-driver vfs --cgroup-manager cgroupfs --events-backend none \
        --runtime /usr/sbin/runc";
    let line = format!("run --rm --network none {limits} {flags} --rootfs $HOME/rootfs");
    home.types(&format!("{podman} {line} probe /tmp/found {}", arguments())).ok();
    parse(&home.read("rootfs/tmp/found"))
}

#[test]
fn podman_with_runc_differs_in_what_is_known() {
    let home = with_probe();
    home.types("rbuild -o rootfs app").ok();
    let theirs = facts(&in_podman(&home, "--cap-add MKNOD"));
    let ours = facts(&in_run(&home, "--network none"));
    let mut known = BTreeSet::new();
    let mut unknown = Vec::new();
    for line in compare(&theirs, &ours) {
        let name = expected::OF_PODMAN.iter().map(|(name, _)| *name).find(|name| {
            line.strip_prefix(name.trim_end_matches('*'))
                .is_some_and(|rest| name.ends_with('*') || rest.starts_with(": "))
        });
        match name {
            Some(name) => drop(known.insert(name)),
            None => unknown.push(line),
        }
    }
    assert_eq!(unknown, [""; 0]);
    // Other versions of podman and other machines differ in less, but in these always.
    for name in ["status CapBnd", "variable TERM", "node c*"] {
        assert!(known.contains(name), "{name} is no difference any more");
    }
}

/// The same profile by libseccomp and runc, and by us.
#[test]
fn runc_compiles_the_profile_to_the_same_answers() {
    let home = with_probe();
    home.types("rbuild -o rootfs app").ok();
    home.write("profile.json", Profile::TEXT);
    let flags = "--security-opt seccomp=$HOME/profile.json --cap-drop ALL";
    let caps: Vec<_> = CAPABILITIES.iter().map(|name| format!("--cap-add {name}")).collect();
    let theirs = in_podman(&home, &format!("{flags} {}", caps.join(" ")));
    let profile = Profile::new(&CAPABILITIES);
    for (convention, numbers) in conventions(&home) {
        let differing = differing(&theirs, convention, &numbers, |name, number, argument| {
            profile.answer(name, number, argument)
        });
        // Calls that the installed libseccomp has no name for yet are absent with runc.
        let is_older = |line: &String| {
            let number: u32 = line.split(' ').next().unwrap().parse().unwrap();
            number > expected::KNOWN_TO_LIBSECCOMP && line.ends_with(" 38")
        };
        let wrong: Vec<_> = differing.into_iter().filter(|line| !is_older(line)).collect();
        assert_eq!(wrong, [""; 0], "{convention}");
    }
}
