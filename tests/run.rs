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
