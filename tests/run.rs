//! Containers: `run` and its friends.

use crate::home;
use rbuild_testkit::{Home, eventually};

fn with_image() -> Home {
    let home = home();
    home.builds("app", "FROM busybox\nENV FROM_IMAGE=yes\nWORKDIR /work\n").ok();
    home
}

#[test]
fn exit_codes_are_passed_on() {
    let home = with_image();
    for (line, code) in [
        ("true", 0),
        ("false", 1),
        ("sh -c 'exit 42'", 42),
        ("/no/such/program", 127),
        ("no-such-program", 127),
        ("/etc/passwd", 126),
        ("/etc", 126),
    ] {
        let ran = home.types(&format!("rbuild run --rm app {line}"));
        assert_eq!(ran.code, code, "{ran}");
    }
    home.types("rbuild run --rm --no-such-flag app true").fails(125);
    home.types("rbuild run --rm no-such-image-here true").fails(125);
    assert_eq!(home.types("rbuild ps -aq").ok(), "", "--rm leaves nothing");
}

#[test]
fn the_streams_are_the_containers() {
    let home = with_image();
    let ran = home.types("echo in | rbuild run --rm -i app sh -c 'cat; echo out; echo err >&2'");
    assert_eq!(ran.stdout, "in\nout\n");
    assert!(ran.stderr.contains("err\n"), "{ran}");
    let bytes = home.types("rbuild run --rm app sh -c 'seq 1 100000' | cksum").ok();
    assert_eq!(bytes, home.types("seq 1 100000 | cksum").ok());
    let pipe = home.types("rbuild run --rm app sh -c 'yes' | head -1");
    assert_eq!(pipe.stdout, "y\n", "a reader that has gone ends it");
}

#[test]
fn flags_change_the_container() {
    let home = with_image();
    home.write("shared/file", "shared\n");
    for (flags, script, said) in [
        ("-e A=1 -e FROM_IMAGE=no", "echo $A $FROM_IMAGE", "1 no"),
        ("", "echo $FROM_IMAGE $PWD", "yes /work"),
        ("-w /tmp", "pwd", "/tmp"),
        ("-u app", "id -u; id -g", "1000\n1001"),
        ("-u 12:34", "id -u; id -g", "12\n34"),
        ("--hostname box", "hostname", "box"),
        ("-v $HOME/shared:/s", "cat /s/file; echo new >/s/new", "shared"),
        ("-v $HOME/shared:/s:ro", "touch /s/no 2>/dev/null || cat /s/new", "new"),
        ("--tmpfs /t", "grep -c \" /t tmpfs \" /proc/mounts", "1"),
        ("--read-only", "touch /x 2>/dev/null || echo read-only", "read-only"),
        ("--add-host there:10.1.2.3", "grep there /etc/hosts | cut -f1", "10.1.2.3"),
        ("--network none", "ls /sys/class/net", "lo"),
        ("--entrypoint echo", "", "-c"),
    ] {
        let script = if script.is_empty() { "-c".to_owned() } else { format!("sh -c '{script}'") };
        assert_eq!(
            home.types(&format!("rbuild run --rm {flags} app {script}")).ok(),
            said,
            "{flags}"
        );
    }
    assert_eq!(home.read("shared/new"), "new\n");
}

#[test]
fn the_sandbox_holds() {
    let home = with_image();
    let inside = |script: &str| home.types(&format!("rbuild run --rm app sh -c '{script}'")).ok();
    assert_eq!(inside("echo $$"), "1");
    assert_eq!(inside("ls -d /proc/[0-9]* | wc -l; true").lines().count(), 1);
    assert_ne!(inside("mount -t tmpfs none /mnt 2>&1 || echo refused").find("refused"), None);
    assert_eq!(inside("cat /proc/kcore 2>/dev/null | head -c 1 | wc -c"), "0");
    assert_eq!(inside("echo 1 2>/dev/null >/proc/sys/kernel/panic || echo refused"), "refused");
    let caps = inside("grep CapEff /proc/self/status");
    assert!(caps.ends_with("00000000a80425fb"), "docker's default capabilities: {caps}");
    assert!(inside("grep Seccomp: /proc/self/status").ends_with('2'));
}

#[test]
fn a_container_in_the_background_has_a_whole_life() {
    let home = with_image();
    let script = "trap \"echo told to stop; exit 3\" TERM; echo ready; \
                  while :; do sleep 0.02; done";
    let id = home.types(&format!("rbuild run -d --name web app sh -c '{script}'")).ok();
    assert_eq!(id.len(), 64, "{id}");
    eventually("its first line", || {
        home.types("rbuild logs web").ok().contains("ready").then_some(())
    });
    let row = home.types("rbuild ps --format '{{.Names}} {{.Image}} {{.State}}'").ok();
    assert_eq!(row, "web app running");
    assert_eq!(home.types("rbuild exec web sh -c 'echo in; exit 5'").code, 5);
    assert_eq!(home.types("rbuild exec -e A=1 -w /tmp web sh -c 'echo $A; pwd'").ok(), "1\n/tmp");
    home.types("rbuild exec web no-such-program").fails(127);
    home.types("rbuild run --name web app true").fails(125);

    home.types("rbuild stop web").ok();
    assert_eq!(home.types("rbuild ps -q").ok(), "");
    assert!(home.types("rbuild ps -a").ok().contains("Exited (3)"));
    assert_eq!(home.types("rbuild logs web").ok(), "ready\ntold to stop");
    assert_eq!(home.types("rbuild logs -n 1 web").ok(), "told to stop");
    assert_eq!(home.types("rbuild wait web").ok(), "3");

    home.types("rbuild start web").ok();
    home.types("rbuild kill web").ok();
    assert_eq!(home.types("rbuild wait web").ok(), "137");
    home.types("rbuild start web").ok();
    assert_eq!(home.types("rbuild ps -q").ok(), id[..12]);
    home.types("rbuild rm web").fails(1);
    assert_eq!(home.types("rbuild rm -f web").ok(), "web");
    assert_eq!(home.types("rbuild ps -aq").ok(), "");
    home.types("rbuild logs web").fails(1);
}

#[test]
fn logs_can_be_followed() {
    let home = with_image();
    let script = "echo one; while [ ! -e /go ]; do sleep 0.02; done; echo two";
    home.types(&format!("rbuild run -d --name talker app sh -c '{script}'")).ok();
    let follower = home.starts("rbuild logs -f talker");
    follower.until_out("one\n");
    home.types("rbuild exec talker touch /go").ok();
    assert_eq!(follower.wait().ok(), "one\ntwo", "it ends with the container");
}

/// Nothing that is wanted can come after the time, nor after a line that is newer.
#[test]
fn logs_are_followed_until_a_time() {
    let home = with_image();
    home.types("rbuild run -d --name talker app sh -c 'echo one; sleep 1000'").ok();
    eventually("its line", || (home.types("rbuild logs talker").ok() == "one").then_some(()));
    assert_eq!(home.types("rbuild logs -f --until 0s talker").ok(), "one");
    assert_eq!(home.types("rbuild logs -f --until 1h talker").ok(), "");
    let soon = "$(date -u -d @$(($(date +%s) + 2)) +%Y-%m-%dT%H:%M:%SZ)";
    assert_eq!(home.types(&format!("rbuild logs -f --until {soon} talker")).ok(), "one");
}

#[test]
fn a_signal_reaches_the_program() {
    let home = with_image();
    let script = "trap \"exit 7\" INT; echo ready; while :; do sleep 0.02; done";
    let run = home.starts(&format!("rbuild run --rm app sh -c '{script}'"));
    run.until_out("ready");
    run.signal(rustix::process::Signal::INT);
    assert_eq!(run.wait().code, 7);
    assert_eq!(home.types("rbuild ps -aq").ok(), "");
}

/// Where signals are not passed on, one that ends the client leaves the container as it is.
#[test]
fn a_signal_that_is_not_passed_on_ends_only_the_client() {
    let home = with_image();
    let wait = "echo ready; while [ ! -e /go ]; do sleep 0.02; done";
    let flags = "--rm --name stays --sig-proxy=false";
    let run = home.starts(&format!("rbuild run {flags} app sh -c '{wait}'"));
    run.until_out("ready");
    run.signal(rustix::process::Signal::INT);
    assert_ne!(run.wait().code, 0);
    assert_eq!(home.types("rbuild ps --format '{{.Names}}'").ok(), "stays");
    home.types("rbuild exec stays touch /go").ok();
    eventually("it to be removed", || home.types("rbuild ps -aq").ok().is_empty().then_some(()));
    let ran = home.types("rbuild run --rm --sig-proxy=false app sh -c 'echo out; exit 5'");
    assert_eq!((ran.code, &*ran.stdout), (5, "out\n"), "without a signal all is as ever");
}

/// An image is one of the platform that is asked for, or none.
#[test]
fn another_platform_is_not_made_of_this_one() {
    let home = with_image();
    let other = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
    let own = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    for pull in ["missing", "never"] {
        let line = format!("rbuild create --pull {pull} --platform linux/{other} app true");
        let told = home.types(&line).fails(125);
        assert!(
            told.contains(&format!("no image for linux/{other}; it has linux/{own}")),
            "{told}"
        );
    }
    let line = format!("rbuild run --rm --pull never --platform linux/{own} app echo own");
    assert_eq!(home.types(&line).ok(), "own");
    home.types("rbuild create --platform a/b/c/d app true").fails(125);
    // Of several the right one is taken.
    home.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nLABEL for=$TARGETARCH\nCMD x\n");
    home.types(&format!("rbuild -t both --platform linux/{own},linux/{other} .")).ok();
    for name in [own, other] {
        let line = format!("rbuild create --pull never --name {name} --platform linux/{name} both");
        home.types(&line).ok();
        let told = home.types(&format!("rbuild inspect -f '{{{{.Config.Labels.for}}}}' {name}"));
        assert_eq!(told.ok(), name);
    }
}

/// What is published is exposed, and what the memory is limited to is shown.
#[test]
fn ports_and_limits_are_told_as_docker_tells_them() {
    let home = with_image();
    home.types("rbuild create --name web -p 18080:80 app true").ok();
    let exposed = home.types("rbuild inspect -f '{{json .Config.ExposedPorts}}' web").ok();
    assert_eq!(exposed, "{\"80/tcp\":{}}");
    let names = "--format '{{.Names}}'";
    assert_eq!(home.types(&format!("rbuild ps -a -f expose=80 {names}")).ok(), "web");
    assert_eq!(home.types(&format!("rbuild ps -a -f expose=81 {names}")).ok(), "");
    home.types("rbuild create --name small -m 64m app true").ok();
    let stats = "rbuild stats --no-stream --format '{{.MemUsage}};{{.NetIO}};{{.BlockIO}}' small";
    assert_eq!(home.types(stats).ok(), "0B / 64MiB;0B / 0B;0B / 0B");
}

/// Numbers below 0 are numbers, and what cannot be is refused before anything is made.
#[test]
fn values_are_those_of_docker() {
    let home = with_image();
    home.types("rbuild run --name done --stop-timeout -1 app sh -c 'echo 1; echo 2'").ok();
    assert_eq!(home.types("rbuild logs -n -1 done").ok(), "1\n2");
    assert_eq!(home.types("rbuild logs --tail -1 done").ok(), "1\n2");
    assert_eq!(home.types("rbuild stop -t -1 done").ok(), "done");
    home.write("spaces", " Y = 2\n");
    home.write("good", "  Y=2\n");
    for flags in [
        "--dns bad",
        "--uts host --hostname x",
        "--hostname 'bad_host!'",
        "--env-file spaces",
        "--env-file nowhere",
    ] {
        home.types(&format!("rbuild create {flags} app true")).fails(125);
    }
    let line = "rbuild run --rm --dns 10.1.2.3 --hostname a_b.c --env-file good app sh -c";
    assert_eq!(home.types(&format!("{line} 'hostname; echo $Y'")).ok(), "a_b.c\n2");
    let told = home.types("rbuild nosuch").fails(2);
    assert!(told.contains("nor is there a verb `nosuch`"), "{told}");
}

/// A command starts where it is told to or not at all.
#[test]
fn exec_makes_no_directory() {
    let home = with_image();
    home.types("rbuild run -d --name web app sleep 1000").ok();
    for flags in ["", "-d"] {
        let told = home.types(&format!("rbuild exec {flags} -w /nosuch/dir web pwd")).fails(127);
        assert!(told.contains("/nosuch/dir"), "{told}");
    }
    home.types("rbuild exec -w /etc/passwd web pwd").fails(127);
    assert_eq!(home.types("rbuild exec web ls -d /nosuch").code, 1);
    assert_eq!(home.types("rbuild exec -w /tmp web pwd").ok(), "/tmp");
    home.types("rbuild exec --env-file /nonex web pwd").fails(1);
}

#[test]
fn a_stopped_container_keeps_its_files() {
    let home = with_image();
    home.types("rbuild run --name once app sh -c 'echo kept >/kept'").ok();
    assert_eq!(home.types("rbuild start -a once && rbuild ps -aq | wc -l").ok(), "1");
    home.types("rbuild create --name made app cat /work").ok();
    assert!(home.types("rbuild ps -a").ok().contains("Created"));
    home.types("rbuild container prune -f").ok();
    assert_eq!(home.types("rbuild ps -aq").ok(), "");
}

#[test]
fn a_terminal_is_a_real_one() {
    let home = with_image();
    let mut terminal = home.terminal("rbuild run -it --rm app");
    terminal.until("# ");
    terminal.types("tty; stty size; echo $((40 + 2))\n");
    terminal.until("/dev/pts/");
    terminal.until("40 120");
    terminal.until("\n42");
    // Control and c is for the program inside, which goes on. What says that it sleeps is what will
    // be interrupted: between two commands a shell may miss it.
    terminal.types("sh -c 'echo asl\"\"eep; exec sleep 1000'\n");
    terminal.until("asleep");
    terminal.types("\u{3}");
    // What is typed before the prompt is back may be thrown away with what was interrupted.
    eventually("a new prompt", || {
        let screen = terminal.screen();
        let (_, after) = screen.rsplit_once("^C")?;
        after.contains("# ").then_some(())
    });
    terminal.types("echo sti''ll here\n");
    terminal.until("still here");
    terminal.types("exit 5\n");
    let (code, screen) = terminal.wait();
    assert_eq!(code, 5, "{screen}");
}

#[test]
fn exec_has_a_terminal_too() {
    let home = with_image();
    home.types("rbuild run -d --name kept app sleep 1000").ok();
    let mut terminal = home.terminal("rbuild exec -it kept sh");
    terminal.until("# ");
    terminal.types("test -t 0 && echo is a $((1))tty; exit 4\n");
    terminal.until("is a 1tty");
    assert_eq!(terminal.wait().0, 4);
}

#[test]
fn a_terminal_is_demanded_where_it_is_asked_for() {
    let home = with_image();
    let error = home.types("rbuild run -it --rm app true");
    assert_ne!(error.code, 0, "{error}");
    assert!(error.stderr.contains("not a terminal"), "{error}");
}
