//! Limits on memory, processors and processes, by whatever control groups the machine has.

use std::fs;
use std::path::{Path, PathBuf};

use crate::home;
use rbuild_testkit::{Home, eventually};

fn with_image() -> Home {
    let home = home();
    home.builds("app", "FROM busybox\n").ok();
    home
}

/// The folders of this name in the trees of the machine, wherever they are mounted.
pub(crate) fn groups(name: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let trees = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (root, kind) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup").then(|| Path::new(root).join(name))
    });
    trees.filter(|folder| folder.is_dir()).collect()
}

/// The content of the first of these files that one of the groups has.
fn limit(groups: &[PathBuf], files: [&str; 2]) -> String {
    let mut paths = groups.iter().flat_map(|group| files.iter().map(|file| group.join(file)));
    let text = paths.find_map(|path| fs::read_to_string(path).ok());
    text.unwrap_or_else(|| panic!("none of {groups:?} has one of {files:?}")).trim().to_owned()
}

#[test]
fn limits_are_those_that_were_asked_for() {
    let home = with_image();
    let flags = "-m 64m --memory-reservation 32m --cpus 1.5 -c 2048 --cpuset-cpus 0 \
                 --cpuset-mems 0 --pids-limit 11 --oom-score-adj 500";
    let id = home.types(&format!("rbuild run -d --name lim {flags} app sleep 1000")).ok();
    let found = groups(&format!("rbuild/{id}"));
    let memory = limit(&found, ["memory.limit_in_bytes", "memory.max"]);
    assert_eq!(memory, (64 << 20).to_string());
    let kept = limit(&found, ["memory.soft_limit_in_bytes", "memory.low"]);
    assert_eq!(kept, (32 << 20).to_string());
    let quota = limit(&found, ["cpu.cfs_quota_us", "cpu.max"]);
    assert!(["150000", "150000 100000"].contains(&&*quota), "{quota}");
    let shares = limit(&found, ["cpu.shares", "cpu.weight"]);
    assert!(shares == "2048" || shares.parse::<u64>().unwrap() > 100, "{shares}");
    assert_eq!(limit(&found, ["cpuset.cpus", "cpuset.cpus"]), "0");
    assert_eq!(limit(&found, ["pids.max", "pids.max"]), "11");
    assert_eq!(home.types("rbuild exec lim cat /proc/1/oom_score_adj").ok(), "500");
    let inside = home.types("rbuild exec lim cat /proc/self/cgroup").ok();
    assert!(inside.contains(&id) || inside == "0::/", "what joins is limited too: {inside}");
    // Inside they are seen, and not to be changed.
    let files = ["memory/memory.limit_in_bytes", "memory.max"];
    let shown = files.map(|file| format!("/sys/fs/cgroup/{file}")).join(" ");
    let script =
        format!("cat {shown} 2>/dev/null; for f in {shown}; do echo 1 >$f || echo no; done");
    let ran = home.types(&format!("rbuild exec lim sh -c '{script}'"));
    assert_eq!(ran.stdout, "67108864\nno\nno\n", "{ran}");
    let group =
        "$(dirname $(ls /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max))";
    let made = home.types(&format!("rbuild exec lim sh -c 'mkdir {group}/inner 2>&1'"));
    assert!(made.stdout.contains("ead-only file system"), "{made}");
    let format = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} \
                  {{.HostConfig.CpusetCpus}} {{.HostConfig.PidsLimit}}";
    let told = home.types(&format!("rbuild inspect --format '{format}' lim")).ok();
    assert_eq!(told, "67108864 134217728 1500000000 0 11");
    home.types("rbuild rm -f lim").ok();
    assert!(groups(&format!("rbuild/{id}")).is_empty(), "the group went with it");
}

#[test]
fn what_runs_out_of_memory_is_killed_and_said_to_be() {
    let home = with_image();
    let eat = "x=1234567890; while true; do x=$x$x; done";
    let ran = home.types(&format!("rbuild run --name eater -m 16m app sh -c '{eat}'"));
    assert_eq!(ran.code, 137, "{ran}");
    let format = "'{{.State.OOMKilled}} {{.State.ExitCode}}'";
    let told = |name: &str| home.types(&format!("rbuild inspect --format {format} {name}")).ok();
    assert_eq!(told("eater"), "true 137");
    home.types("rbuild run --name spare -m 16m app sh -c 'exit 137'").fails(137);
    assert_eq!(told("spare"), "false 137", "it was not memory that ended it");
}

#[test]
fn processes_are_counted() {
    let home = with_image();
    let fork = "for i in 1 2 3 4 5 6; do sleep 1000 & done; echo made";
    let ran = home.types(&format!("rbuild run --rm --pids-limit 3 app sh -c '{fork}'"));
    assert!(ran.code != 0 && ran.stderr.contains("can't fork"), "{ran}");
    let free = home.types(&format!("rbuild run --rm --pids-limit -1 app sh -c '{fork}'"));
    assert_eq!(free.ok(), "made");
}

#[test]
fn a_group_has_the_place_that_was_named_and_does_not_stay() {
    let home = with_image();
    let parent = format!("rbuild-tests-{}", std::process::id());
    let line = format!("rbuild run -d --rm --cgroup-parent /{parent} app sleep 1000");
    let id = home.types(&line).ok();
    let pid = home.types(&format!("rbuild inspect --format '{{{{.State.Pid}}}}' {id}")).ok();
    let (made, parents) = (groups(&format!("{parent}/{id}")), groups(&parent));
    assert!(!made.is_empty() && made.len() == parents.len(), "{made:?} in {parents:?}");
    for group in &made {
        let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap();
        assert!(processes.lines().any(|line| line == pid), "{group:?} has {processes}, not {pid}");
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap();
    home.types(&format!("kill -9 {monitor}")).ok();
    eventually("nothing runs", || home.types("rbuild ps -q").ok().is_empty().then_some(()));
    assert!(groups(&format!("{parent}/{id}")).is_empty(), "swept by who looked");
    for folder in groups(&parent) {
        fs::remove_dir(folder).unwrap();
    }
}

#[test]
fn limits_that_cannot_be_are_refused() {
    let home = with_image();
    for (flags, reason) in [
        ("-m 1m", "6 MiB is the least"),
        ("-m 64m --memory-swap 32m", "below `memory`"),
        ("--memory-swap 32m", "takes `memory`"),
        ("--cpus 9999", "processors"),
        ("--cpus 1 --cpu-quota 5000", "in other words"),
        ("--cpuset-cpus 9999", "there are processors"),
        ("--cpuset-cpus x", "expected numbers"),
        ("--blkio-weight 5", "expected 10 to 1000"),
        ("--oom-score-adj 2000", "2000"),
        ("--cgroup-parent ../up", "no path of a control group"),
    ] {
        let ran = home.types(&format!("rbuild run --rm {flags} app true"));
        assert_eq!(ran.code, 125, "{flags}: {ran}");
        assert!(ran.stderr.contains(reason), "{flags}: {ran}");
    }
    assert_eq!(home.types("rbuild ps -aq").ok(), "");
}

/// What has its processes among others takes them all with it, and none of them can keep it.
#[test]
fn nothing_is_left_among_the_processes_of_others() {
    let home = with_image();
    let script = "sleep 98765 & exec sleep 1000";
    let run = format!("rbuild run -d --pid host --name seen app sh -c '{script}'");
    let id = home.types(&run).ok();
    let path = format!("rbuild/{id}");
    assert!(!groups(&path).is_empty(), "it is known by its group");
    let members = || -> Vec<String> {
        let text = |group: PathBuf| fs::read_to_string(group.join("cgroup.procs")).unwrap();
        groups(&path)
            .into_iter()
            .flat_map(|group| text(group).lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    };
    eventually("both of them", || (members().len() >= 2).then_some(()));
    let pids = members();
    home.types("rbuild rm -f seen").ok();
    for pid in pids {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!command.starts_with(b"sleep"), "{pid} is left");
    }
    assert!(groups(&path).is_empty());
    // It ends though what it has started goes on writing.
    home.types("rbuild run --pid host app sh -c 'yes & sleep 0.1' | tail -n 1").ok();
    // And though that forks as fast as it can, and is never the same process for long.
    let forks = "f() { f & }; f; f; f; exec sleep 1000";
    let id = home.types(&format!("rbuild run -d --pid host --name many app sh -c '{forks}'")).ok();
    home.types("rbuild rm -f many").ok();
    assert!(groups(&format!("rbuild/{id}")).is_empty(), "nobody is left in it");
}
