//! Containers whose processes are killed at any moment, and very many containers: `ps` tells the
//! truth, `rm` works, and nothing stays behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::home;
use rbuild_testkit::{Home, eventually};
use rustix::process::{Pid, Signal, kill_process};

/// How often something is killed.
const KILLS: usize = 200;
/// How many containers are run one after the other, and how many at once.
const IN_A_ROW: usize = 1000;
const AT_ONCE: usize = 50;
/// The longest time, in microseconds, that an action has before something is killed.
const LONGEST: u64 = 60_000;

fn with_image() -> Home {
    let home = home();
    home.builds("app", "FROM busybox\n").ok();
    home
}

/// Numbers that look like chance, and are the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        // The constants are Knuth's.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// The processes of this home, by number: monitors, and what runs in its containers.
fn processes(home: &Home) -> BTreeMap<u32, String> {
    let store = home.store();
    let store = store.to_str().unwrap();
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let read = |file: &str| {
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let command = read("cmdline");
        // One that has ended has no command.
        let is_ours = command.contains("-monitor ") && command.contains(store)
            || !command.is_empty() && read("mountinfo").contains(&format!("upperdir={store}/"));
        if is_ours {
            found.insert(pid, command);
        }
    }
    found
}

/// The ids of all containers that this home ever had.
fn ids(home: &Home) -> BTreeSet<String> {
    let line = "rbuild events --since 1 --until 0s -f type=container --format '{{.Actor.ID}}'";
    home.types(line).ok().lines().map(str::to_owned).collect()
}

/// What of this home's containers is in the machine and in the store.
fn traces(home: &Home, ids: &BTreeSet<String>) -> Vec<String> {
    let store = home.store();
    let mut found = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(
        mounts.lines().filter(|line| line.contains(store.to_str().unwrap())).map(str::to_owned),
    );
    found.extend(processes(home).into_iter().map(|(pid, command)| format!("{pid} {command}")));
    let is_id = |name: &str| ids.contains(name);
    for tree in fs::read_to_string("/proc/self/mounts").unwrap().lines() {
        let mut fields = tree.split(' ').skip(1);
        let (root, kind) = (fields.next().unwrap(), fields.next().unwrap());
        if kind.starts_with("cgroup") {
            let groups = names(&PathBuf::from(root).join("rbuild"));
            found.extend(groups.into_iter().filter(|name| is_id(name)));
        }
    }
    for entry in fs::read_dir("/sys/class/net").unwrap().flatten() {
        let alias = fs::read_to_string(entry.path().join("ifalias")).unwrap_or_default();
        found.extend(alias.split_whitespace().filter(|word| is_id(word)).map(str::to_owned));
    }
    for folder in ["containers", "containers/names", "networks/bridge/members", "tmp", "volumes"] {
        let inside = names(&store.join(folder)).into_iter().filter(|name| name != "names");
        found.extend(inside.map(|name| format!("{folder}/{name}")));
    }
    found
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Waits until nothing is left but what was there; the kernel takes devices away when it gets
/// round to it.
#[expect(clippy::print_stderr, reason = "what is left when it fails is to be known")]
fn vanish(home: &Home, before: &[String]) {
    let ids = ids(home);
    let mut left = Vec::new();
    eventually("nothing to be left", || {
        let now: Vec<_> =
            traces(home, &ids).into_iter().filter(|trace| !before.contains(trace)).collect();
        if now != left {
            left.clone_from(&now);
            eprintln!("left: {left:#?}");
        }
        now.is_empty().then_some(())
    });
}

/// What is listed as running and does not run.
fn lies(home: &Home) -> Vec<String> {
    let line = "rbuild ps --no-trunc -q | xargs -r rbuild inspect --format \
                '{{.Id}} {{.State.Status}} {{.State.Pid}}' 2>/dev/null";
    let told = home.types(line).stdout;
    let is_lie = |line: &&str| {
        let words: Vec<_> = line.split(' ').collect();
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", words[2]));
        words[1] == "running" && !mounts.is_ok_and(|mounts| mounts.contains(words[0]))
    };
    told.lines().filter(is_lie).map(str::to_owned).collect()
}

/// Something that is done while something is killed; the containers `runs` and `rests` are there.
const ACTIONS: [&str; 12] = [
    "rbuild run -d app sleep 1000",
    "rbuild run -d --network none -m 64m app sleep 1000",
    "rbuild run --rm app true",
    "rbuild run --rm --network none app sleep 1000",
    "rbuild run -d --rm --restart no app sleep 0.02",
    "rbuild run -d --restart always app true",
    "rbuild start rests",
    "rbuild stop -t 0 runs",
    "rbuild restart -t 0 runs",
    "rbuild exec runs sh -c 'sleep 0.01'",
    "rbuild exec -d runs sleep 1000",
    "sh -c 'rbuild pause runs; rbuild unpause runs'",
];

/// The seed that was given, to see again what was seen; else another one each time.
#[expect(clippy::disallowed_methods, reason = "a test reads what it is told here only")]
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let given = std::env::var("RBUILD_TEST_SEED").ok();
    given.map_or(now.as_secs(), |seed| seed.parse().unwrap())
}

#[test]
fn what_is_killed_at_any_moment_leaves_no_lie() {
    let home = with_image();
    let before = traces(&home, &BTreeSet::new());
    let seed = seed();
    eprintln!("RBUILD_TEST_SEED={seed}");
    let mut chance = Chance(seed);
    for round in 0..KILLS {
        home.types("rbuild run -d --name runs --network none app sleep 1000").ok();
        home.types("rbuild create --name rests app sleep 1000").ok();
        let action = ACTIONS[chance.below(ACTIONS.len())];
        let started = home.starts(action);
        let moment = chance.below(usize::try_from(LONGEST).unwrap());
        std::thread::sleep(Duration::from_micros(moment as u64));
        let others: Vec<u32> = processes(&home).into_keys().collect();
        let victim = chance.below(others.len() + 1);
        let told = if let Some(pid) = others.get(victim) {
            let number = Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
            // It may have ended by itself meanwhile.
            let _ = kill_process(number, Signal::KILL);
            format!("process {pid}")
        } else {
            started.kill();
            "rbuild itself".to_owned()
        };
        let what = format!("round {round}: {told} killed after {moment} us of `{action}`");
        eventually(&format!("the truth after {what}"), || {
            let lies = lies(&home);
            if !lies.is_empty() {
                eprintln!("{what}: {lies:?}");
            }
            lies.is_empty().then_some(())
        });
        started.kill();
        let _ = started.wait();
        let removed = home.types("rbuild ps -aq | xargs -r rbuild rm -f");
        assert_eq!(removed.code, 0, "{what}: {removed}");
        // What was in the making when its maker was killed may come a moment later.
        eventually(&format!("no container after {what}"), || {
            let left = home.types("rbuild ps -aq").ok();
            let again = format!("rbuild rm -f {left}").replace('\n', " ");
            left.is_empty().then_some(()).or_else(|| {
                home.types(&again).ok();
                None
            })
        });
    }
    vanish(&home, &before);
}

#[test]
fn a_thousand_containers_leave_nothing() {
    let home = with_image();
    let before = traces(&home, &BTreeSet::new());
    // Every tenth has all that a container can have.
    let all = "-m 64m -v /v -p 80 --init --health-cmd true";
    let script = format!(
        "i=0; while [ $i -lt {IN_A_ROW} ]; do i=$((i+1)); flags='--network none'; \
         [ $((i % 10)) -gt 0 ] || flags='{all}'; \
         rbuild run --rm $flags app true || exit; done"
    );
    home.types(&script).ok();
    vanish(&home, &before);
    let script =
        format!("for i in $(seq {AT_ONCE}); do rbuild run --rm app echo here $i & done; wait");
    let ran = home.types(&script);
    assert_eq!(ran.stdout.matches("here").count(), AT_ONCE, "{ran}");
    vanish(&home, &before);
    let script = format!(
        "for i in $(seq {AT_ONCE}); do rbuild run -d --name box$i app sleep 1000 & done; wait"
    );
    home.types(&script).ok();
    assert_eq!(home.types("rbuild ps -q").ok().lines().count(), AT_ONCE);
    home.types("rbuild ps -q | xargs -n 5 -P 10 rbuild rm -f").ok();
    vanish(&home, &before);
}
