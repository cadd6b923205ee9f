//! The life of containers: health checks, pausing, limits that change, events, logs, and which of
//! them `ps` shows.

use std::fs;

use serde_json::Value;

use crate::home;
use crate::limits::groups;
use rbuild_testkit::{Home, eventually};

fn with_image() -> Home {
    let home = home();
    home.builds("app", "FROM busybox\n").ok();
    home
}

fn inspect(home: &Home, name: &str, field: &str) -> Value {
    let told = home.types(&format!("rbuild inspect --format '{{{{json {field}}}}}' {name}")).ok();
    serde_json::from_str(&told).unwrap()
}

fn status(home: &Home, filter: &str) -> String {
    home.types(&format!("rbuild ps -a --filter '{filter}' --format '{{{{.Status}}}}'")).ok()
}

/// What an image says of health counts, and what the user says counts more.
#[test]
fn a_container_is_as_well_as_its_checks() {
    let home = home();
    let check = "HEALTHCHECK --interval=20ms --retries=2 CMD test -e /ok || { echo sick; exit 3; }";
    home.builds("app", &format!("FROM busybox\n{check}\n")).ok();
    home.types("rbuild run -d --name web app sleep 1000").ok();
    let health = |name: &str| inspect(&home, name, ".State.Health");
    eventually("the container to be unwell", || {
        (health("web")["Status"] == "unhealthy").then_some(())
    });
    assert!(status(&home, "name=web").ends_with(" (unhealthy)"), "another process sees it");
    let last = health("web")["Log"][0].clone();
    assert_eq!((&last["ExitCode"], &last["Output"]), (&3.into(), &"sick\n".into()));
    home.types("rbuild exec web touch /ok").ok();
    eventually("the container to be well", || (health("web")["Status"] == "healthy").then_some(()));
    assert_eq!(health("web")["FailingStreak"], 0);
    eventually("five checks", || (health("web")["Log"].as_array()?.len() == 5).then_some(()));
    let ids = |filter: &str| home.types(&format!("rbuild ps --filter {filter} -q")).ok();
    assert!(!ids("health=healthy").is_empty() && ids("health=unhealthy").is_empty());
    let kept = inspect(&home, "web", ".Config.Healthcheck");
    assert_eq!((&kept["Interval"], &kept["Retries"]), (&20_000_000.into(), &2.into()));
    home.types("rbuild stop -t 0 web").ok();
    assert_eq!(health("web")["Status"], "unhealthy", "as docker has it");

    let flags = "--health-cmd 'exit 1' --health-start-period 1h --health-start-interval 10ms";
    home.types(&format!("rbuild run -d --name young {flags} app sleep 1000")).ok();
    eventually("checks", || (health("young")["Log"].as_array()?.len() == 5).then_some(()));
    assert_eq!(
        (&health("young")["Status"], &health("young")["FailingStreak"]),
        (&"starting".into(), &0.into())
    );
    assert!(status(&home, "name=young").ends_with(" (health: starting)"));

    home.types("rbuild run -d --name blind --no-healthcheck app sleep 1000").ok();
    assert_eq!(inspect(&home, "blind", ".Config.Healthcheck.Test"), serde_json::json!(["NONE"]));
    assert!(!status(&home, "name=blind").contains('('));
    assert!(!ids("health=none").is_empty());
    home.types("rbuild run --no-healthcheck --health-cmd x app true").fails(125);
    let wrong = home.types("rbuild run --health-interval 1us app true").fails(125);
    assert!(wrong.contains("1ms is the least"), "{wrong}");
}

/// A check that hangs is killed and keeps nobody waiting, and one that writes much is cut.
#[test]
fn a_check_that_hangs_or_writes_much_does_no_harm() {
    let home = with_image();
    let health = |name: &str| inspect(&home, name, ".State.Health");
    let often = "--health-interval 10ms --health-retries 1";
    home.types(&format!(
        "rbuild run -d --name slow {often} --health-timeout 2s \
         --health-cmd 'test -e /enough || {{ echo begun; exec sleep 999; }}' app sleep 1000"
    ))
    .ok();
    eventually("a check that took too long", || {
        let log = health("slow")["Log"].clone();
        let of_one = "Health check exceeded timeout (2s): begun\n";
        let hung = log.as_array()?.iter().filter(|one| one["Output"] == of_one);
        let codes: Vec<_> = hung.map(|one| one["ExitCode"].clone()).collect();
        assert!(codes.iter().all(|code| *code == -1), "{log}");
        (codes.len() >= 2).then_some(())
    });
    home.types("rbuild exec slow touch /enough").ok();
    eventually("the checks to be killed", || {
        let listed = home.types("rbuild top slow").ok();
        (!listed.contains("sleep 999")).then_some(())
    });
    home.types(&format!(
        "rbuild run -d --name loud {often} --health-cmd 'yes | head -c 100000' app sleep 1000"
    ))
    .ok();
    let output =
        eventually("a check", || health("loud")["Log"][0]["Output"].as_str().map(str::to_owned));
    assert_eq!((output.len(), output.ends_with("y\n...")), (4096 + 3, true));
    home.types(&format!(
        "rbuild run -d --name none {often} --health-cmd x --entrypoint /bin/sleep app 1000"
    ))
    .ok();
    eventually("a check that fails", || {
        (health("none")["Log"][0]["ExitCode"] == 127).then_some(())
    });
    assert_eq!(home.types("rbuild rm -f slow loud none").ok(), "slow\nloud\nnone");
}

/// Every process of a paused container stands still, whatever it forks, and none is lost.
#[test]
fn a_paused_container_stands_still() {
    let home = with_image();
    let forks = "while :; do /bin/true & wait; echo >>/ran; done";
    home.types(&format!("rbuild run -d --name busy --stop-timeout 0 app sh -c '{forks}'")).ok();
    home.types("rbuild run -d --name lone -m 64m app sleep 1000").ok();
    home.types("rbuild exec -d busy sleep 998").ok();
    assert_eq!(home.types("rbuild pause busy lone").ok(), "busy\nlone");
    let id = inspect(&home, "busy", ".Id").as_str().unwrap().to_owned();
    let pids = home.types("rbuild top busy -o pid").ok();
    let pids: Vec<&str> = pids.lines().skip(1).map(str::trim).collect();
    assert!(pids.len() >= 2, "{pids:?}");
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        if stat.contains(") Z ") {
            // It has ended, and its parent stands still before it could ask how.
            continue;
        }
        let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(group.contains(&id), "{pid} is in {group}");
    }
    let size = || fs::metadata(home.store().join("containers").join(&id).join("layer/files/ran"));
    let before = size().map(|file| file.len()).unwrap_or_default();
    let state = inspect(&home, "busy", ".State");
    let told = [&state["Status"], &state["Paused"], &state["Running"]];
    assert_eq!(told, [&Value::from("paused"), &true.into(), &true.into()]);
    assert!(status(&home, "status=paused").contains(" (Paused)"));
    for verb in ["pause busy", "exec busy true", "start busy", "attach busy", "rm busy"] {
        home.types(&format!("rbuild {verb}")).fails(1);
    }
    assert_eq!(size().map(|file| file.len()).unwrap_or_default(), before, "nothing ran");
    home.types("rbuild unpause busy").ok();
    eventually("it to go on", || (size().ok()?.len() > before).then_some(()));
    home.types("rbuild unpause busy").fails(1);
    assert_eq!(home.types("rbuild exec busy echo on").ok(), "on");
    home.types("rbuild pause busy").ok();
    home.types("rbuild stop busy").ok();
    assert!(status(&home, "name=busy").starts_with("Exited (137)"));
    home.types("rbuild rm -f lone").ok();
    assert!(groups(&format!("rbuild/{id}")).is_empty());
    let gone = home.types("rbuild pause busy").fails(1);
    assert!(gone.contains("is not running"), "{gone}");
}

/// When the process that watches a paused container is killed, so is what is frozen.
#[test]
fn a_paused_container_does_not_outlive_its_monitor() {
    let home = with_image();
    let id = home.types("rbuild run -d --name ice app sleep 1000").ok();
    home.types("rbuild pause ice").ok();
    let pid = inspect(&home, "ice", ".State.Pid").as_u64().unwrap();
    let monitor = fs::read_dir("/proc").unwrap().flatten().find(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains("--rbuild-container-monitor") && line.contains(&id)
    });
    let monitor = monitor.unwrap().file_name().into_string().unwrap();
    home.types(&format!("kill -KILL {monitor}")).ok();
    eventually("the end to be noticed", || {
        status(&home, "name=ice").starts_with("Exited (137)").then_some(())
    });
    eventually("the process to end", || {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (!command.starts_with(b"sleep")).then_some(())
    });
    assert!(groups(&format!("rbuild/{id}")).is_empty());
    home.types("rbuild start ice").ok();
    home.types("rbuild rm -f ice").ok();
}

/// The content of a group's file, whichever version it is of.
fn limit(id: &str, files: [&str; 2]) -> String {
    let found = groups(&format!("rbuild/{id}"));
    let mut paths = found.iter().flat_map(|group| files.iter().map(|file| group.join(file)));
    let text = paths.find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    text.trim().to_owned()
}

#[test]
fn limits_and_policies_change_while_it_runs() {
    let home = with_image();
    let id = home.types("rbuild run -d --name grows --network none app sleep 1000").ok();
    assert!(groups(&format!("rbuild/{id}")).is_empty(), "what has no limits has no group");
    let flags = "-m 64m --cpus 0.5 --pids-limit 20 --restart on-failure:3";
    assert_eq!(home.types(&format!("rbuild update {flags} grows")).ok(), "grows");
    assert_eq!(limit(&id, ["memory.limit_in_bytes", "memory.max"]), (64 << 20).to_string());
    assert_eq!(limit(&id, ["pids.max", "pids.max"]), "20");
    assert_eq!(limit(&id, ["pids.current", "pids.current"]), "1", "it was moved there");
    home.types("rbuild update --memory 128m --pids-limit -1 grows").ok();
    assert_eq!(limit(&id, ["memory.limit_in_bytes", "memory.max"]), (128 << 20).to_string());
    assert_eq!(limit(&id, ["pids.max", "pids.max"]), "max");
    let host = inspect(&home, "grows", ".HostConfig");
    assert_eq!((&host["Memory"], &host["NanoCpus"]), (&(128 << 20).into(), &500_000_000.into()));
    assert_eq!(host["RestartPolicy"]["Name"], "on-failure");
    let wrong = home.types("rbuild update --memory 1m grows").fails(1);
    assert!(wrong.contains("6 MiB"), "{wrong}");
    home.types("rbuild update grows").fails(2);
    home.types("rbuild update --cpu-rt-period 5 grows").fails(2);
    home.types("rbuild stop -t 0 grows").ok();
    home.types("rbuild update --pids-limit 7 grows").ok();
    home.types("rbuild start grows").ok();
    assert_eq!(limit(&id, ["pids.max", "pids.max"]), "7", "a stopped one keeps it for later");
    home.types("rbuild run -d --rm --name brief app sleep 1000").ok();
    home.types("rbuild update --restart always brief").fails(1);
}

/// The policy that counts is the last one that was given.
#[test]
fn a_policy_that_changes_counts_at_once() {
    let home = with_image();
    home.types("rbuild run -d --name again app sh -c 'cat /proc/uptime >>/up; sleep 1000'").ok();
    home.types("rbuild update --restart always again").ok();
    let pid = inspect(&home, "again", ".State.Pid");
    home.types(&format!("kill -KILL {pid}")).ok();
    eventually("it to start again", || {
        let state = inspect(&home, "again", ".State");
        (state["Running"] == true && state["Pid"] != pid && state["Pid"] != 0).then_some(())
    });
    assert_eq!(inspect(&home, "again", ".RestartCount"), 1);
    home.types("rbuild update --restart no again").ok();
    let pid = inspect(&home, "again", ".State.Pid");
    home.types(&format!("kill -KILL {pid}")).ok();
    eventually("it to stay", || {
        status(&home, "name=again").starts_with("Exited (137)").then_some(())
    });
}

/// One that waits to be started again can be told not to, and other limits for its next run.
#[test]
fn a_policy_that_changes_counts_between_two_runs() {
    let home = with_image();
    home.types("rbuild run -d --name fails --restart always app false").ok();
    // The pauses double: soon one is long enough to be met.
    eventually("a pause", || {
        let restarts = inspect(&home, "fails", ".RestartCount").as_u64()?;
        (restarts >= 5 && status(&home, "name=fails").starts_with("Restarting")).then_some(())
    });
    assert_eq!(home.types("rbuild update --pids-limit 9 --restart no fails").ok(), "fails");
    assert_eq!(home.types("rbuild wait fails").ok(), "1");
    assert!(status(&home, "name=fails").starts_with("Exited (1)"));
    assert_eq!(inspect(&home, "fails", ".HostConfig.PidsLimit"), 9);
}

/// The actions of what happened, in order.
fn actions(home: &Home, flags: &str) -> Vec<String> {
    let format = "{{.Type}} {{.Action}}";
    let line = format!("rbuild events --since 1 --until 0s {flags} --format '{format}'");
    home.types(&line).ok().lines().map(str::to_owned).collect()
}

#[test]
fn what_happens_is_told() {
    let home = with_image();
    let follower = home.starts("rbuild events --filter type=container --format json");
    // It sees what happens once it is there, which the first thing that it sees says.
    eventually("the follower to be there", || {
        home.types("rbuild create --name probe app true; rbuild rm probe").ok();
        let told = home.types("rbuild ps -aq").ok();
        (told.is_empty() && follower.out().contains("destroy")).then_some(())
    });
    home.types("rbuild run --rm --name one -l tier=front -v data:/d app true").ok();
    let of_one = actions(&home, "--filter container=one");
    let expected = ["create", "attach", "start", "die", "destroy"];
    assert_eq!(of_one, expected.map(|action| format!("container {action}")));
    assert_eq!(actions(&home, "--filter label=tier=front").len(), 5);
    let of_volume = actions(&home, "--filter volume=data");
    assert_eq!(of_volume, ["volume create", "volume mount", "volume unmount"]);

    home.types("rbuild run -d --name two --network none app sleep 1000").ok();
    home.types("rbuild exec two sh -c 'exit 3'").fails(3);
    home.types("rbuild pause two; rbuild unpause two; rbuild update -m 64m two").ok();
    home.types("rbuild rename two six; rbuild kill -s WINCH six; rbuild restart -t 0 six").ok();
    home.types("rbuild rm -f six").ok();
    let id = "--filter container=six --filter container=two";
    let told: Vec<_> = actions(&home, id).iter().map(|line| line[10..].to_owned()).collect();
    let expected = [
        "create",
        "start",
        "exec_create: sh -c exit 3",
        "exec_start: sh -c exit 3",
        "exec_die",
        "pause",
        "unpause",
        "update",
        "rename",
        "kill",
        "kill",
        "die",
        "stop",
        "start",
        "restart",
        "kill",
        "die",
        "destroy",
    ];
    assert_eq!(told, expected);
    let execs = actions(&home, "--filter event=exec_create --filter event=exec_die");
    assert_eq!(execs, ["container exec_create: sh -c exit 3", "container exec_die"]);
    let line = home.types("rbuild events --since 1 --until 0s --filter event=exec_die").ok();
    assert!(line.contains(" container exec_die ") && line.contains("exitCode=3"), "{line}");

    follower.until_out("\"Action\":\"restart\"");
    let seen = follower.out();
    let events: Vec<Value> =
        seen.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let restart = events.iter().find(|event| event["Action"] == "restart").unwrap();
    assert_eq!(restart["Actor"]["Attributes"]["name"], "six");
    assert_eq!((&restart["from"], &restart["Type"]), (&"app".into(), &"container".into()));
    home.types("rbuild events --filter colour=red").fails(2);
}

#[test]
fn images_and_networks_have_events() {
    let home = with_image();
    home.types("rbuild pull busybox && rbuild tag busybox mine:1 && rbuild rmi mine:1").ok();
    home.types("rbuild network create lan").ok();
    home.types("rbuild run --rm --network lan app true && rbuild network rm lan").ok();
    let expected = ["image tag", "image pull", "image tag", "image untag"];
    assert_eq!(actions(&home, "--filter type=image"), expected);
    let of_network = actions(&home, "--filter network=lan");
    let expected = ["create", "connect", "disconnect", "destroy"];
    assert_eq!(of_network, expected.map(|action| format!("network {action}")));
}

#[test]
fn a_build_that_is_known_writes_no_event() {
    let home = with_image();
    let journal = || fs::read(home.store().join("journal")).unwrap_or_default();
    let before = journal();
    home.builds("app", "FROM busybox\n").ok();
    assert_eq!(journal(), before);
}

/// A log is as long as the user allows, and what of it is left is read in order.
#[test]
fn logs_are_cut_and_read_over_their_files() {
    let home = with_image();
    let flags = "--log-opt max-size=400 --log-opt max-file=3";
    let count = "i=0; while [ $i -lt 50 ]; do echo line $i; i=$((i+1)); sleep 0; done";
    let run = |flags: &str| format!("rbuild run -d {flags} app sh -c '{count}'");
    home.types(&run(&format!("--name cut {flags}"))).ok();
    home.types("rbuild wait cut").ok();
    let told = home.types("rbuild logs cut").ok();
    let lines: Vec<_> = told.lines().collect();
    let first = 50 - lines.len();
    let expected: Vec<_> = (first..50).map(|number| format!("line {number}")).collect();
    assert_eq!(lines, expected);
    assert!((5..40).contains(&lines.len()), "{lines:?}");
    assert_eq!(home.types("rbuild logs -n 2 cut").ok(), "line 48\nline 49");
    let most = lines.len() - 1;
    assert_eq!(home.types(&format!("rbuild logs -n {most} cut")).ok().lines().count(), most);
    assert_eq!(inspect(&home, "cut", ".HostConfig.LogConfig.Config.max-file"), "3");

    home.types(&run("--name mute --log-driver none")).ok();
    home.types("rbuild wait mute").ok();
    let wrong = home.types("rbuild logs mute").fails(1);
    assert!(wrong.contains("--log-driver none"), "{wrong}");
    home.types("rbuild run --rm --log-driver syslog app true").fails(125);
    home.types("rbuild run --rm --log-opt tag=x app true").fails(125);
}

/// Who follows a log loses nothing when it is cut.
#[test]
fn a_log_that_is_cut_is_followed() {
    let home = with_image();
    let count = "read go; i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done; read end";
    let flags = "-di --name cut --log-opt max-size=2k --log-opt max-file=9";
    home.types(&format!("rbuild run {flags} app sh -c '{count}'")).ok();
    let follower = home.starts("rbuild logs -f cut");
    let typist = home.types("echo go | rbuild attach cut");
    let told = follower.wait();
    let expected: Vec<_> = (0..200).map(|number| format!("line {number}")).collect();
    assert_eq!(told.stdout.lines().collect::<Vec<_>>(), expected, "{}", typist.code);
}

#[test]
fn ps_shows_what_is_asked_for() {
    let home = with_image();
    home.types("rbuild create --name web1 -l a=1 -l b=2 --expose 9000 -v data:/d app true").ok();
    home.types("rbuild create --name web2 -l a=1 -v /tmp:/t busybox true").ok();
    home.types("rbuild run --name done app sh -c 'exit 3'").fails(3);
    let names = |filters: &[&str]| {
        let flags: Vec<_> = filters.iter().map(|filter| format!("-f '{filter}'")).collect();
        let flags = flags.join(" ");
        let told = home.types(&format!("rbuild ps -a {flags} --format '{{{{.Names}}}}'")).ok();
        told.lines().rev().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    for (filters, expected) in [
        (&["name=web"][..], "web1 web2"),
        (&["name=^web$"], ""),
        (&["name=1$"], "web1"),
        (&["name=1", "name=done"], "web1 done"),
        (&["label=a=1", "label=b"], "web1"),
        (&["status=created"], "web1 web2"),
        (&["status=created", "status=exited", "label=a"], "web1 web2"),
        (&["exited=3"], "done"),
        (&["exited=0"], ""),
        (&["ancestor=busybox"], "web2"),
        (&["before=web2"], "web1"),
        (&["since=web1"], "web2 done"),
        (&["volume=data"], "web1"),
        (&["volume=/t"], "web2"),
        (&["volume=/tmp"], "web2"),
        (&["network=bridge"], "web1 web2 done"),
        (&["expose=8999-9001"], "web1"),
        (&["expose=9000/udp"], ""),
        (&["publish=9000"], ""),
        (&["health=none"], "web1 web2 done"),
        (&["is-task=true"], ""),
    ] {
        assert_eq!(names(filters), expected, "{filters:?}");
    }
    home.types("rbuild ps -f colour=red").fails(2);
    home.types("rbuild ps -f status=up").fails(2);
    assert_eq!(home.types("rbuild ps -lq --no-trunc").ok().len(), 64);
    assert_eq!(home.types("rbuild ps -n 2 --format '{{.Names}}'").ok(), "done\nweb2");
    let size = home.types("rbuild ps -as --filter name=done --format '{{.Size}}'").ok();
    assert!(size.starts_with("0B (virtual ") && size.ends_with("MB)"), "{size}");
}

/// What of a container's output is wanted is shown, and what is typed wrong is said.
#[test]
fn streams_and_flags_are_those_of_docker() {
    let home = with_image();
    let both = "app sh -c 'echo out; echo err >&2'";
    let ran = home.types(&format!("rbuild run --rm -a stdout {both}"));
    assert_eq!((&*ran.stdout, &*ran.stderr), ("out\n", ""));
    let ran = home.types(&format!("rbuild run --rm -a STDERR {both}"));
    assert_eq!((&*ran.stdout, &*ran.stderr), ("", "err\n"));
    home.types(&format!("rbuild run --rm -a input {both}")).fails(125);
    home.types(&format!("rbuild run -d -a stdout {both}")).fails(125);
    let domain = "rbuild run --rm --domainname example.org app cat /proc/sys/kernel/domainname";
    assert_eq!(home.types(domain).ok(), "example.org");
    let flags = "--userns host --cgroupns private --oom-score-adj 5 --stop-timeout 1";
    assert_eq!(home.types(&format!("rbuild run --rm {flags} app echo here")).ok(), "here");
    let refused = home.types("rbuild run --rm --link other app true").fails(125);
    assert!(refused.contains("`--link`"), "{refused}");
    home.types("rbuild create --name still app true").ok();
    let refused = home.types("rbuild start --checkpoint c still").fails(2);
    assert!(refused.contains("`--checkpoint`"), "{refused}");
    let refused = home.types("rbuild rm --link still").fails(2);
    assert!(refused.contains("`--link`"), "{refused}");
    assert_eq!(home.types("rbuild start still && rbuild wait still still").ok(), "still\n0\n0");
}
