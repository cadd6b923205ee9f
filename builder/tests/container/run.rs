//! Containers in the foreground.

use std::io::{Read, Write};
use std::thread;

use rbuild::container::{self, Network, Share};
use rustix::process::{Pid, Signal, kill_process};

use crate::Test;
use crate::stage::{Stage, read_line, script, words};

pub(crate) const TESTS: &[Test] = &[
    ("the_exit_code_is_the_commands_own", the_exit_code_is_the_commands_own),
    ("output_and_errors_stay_apart", output_and_errors_stay_apart),
    ("input_reaches_the_command_and_ends", input_reaches_the_command_and_ends),
    ("nothing_is_left_of_a_run_with_rm", nothing_is_left_of_a_run_with_rm),
    ("signals_are_passed_on", signals_are_passed_on),
    ("a_reader_that_leaves_ends_the_command", a_reader_that_leaves_ends_the_command),
    ("the_image_and_the_user_say_what_runs", the_image_and_the_user_say_what_runs),
    ("the_environment_is_dockers", the_environment_is_dockers),
    ("the_network_is_the_hosts_or_none", the_network_is_the_hosts_or_none),
    ("what_cannot_be_honoured_is_refused", what_cannot_be_honoured_is_refused),
];

fn the_exit_code_is_the_commands_own() {
    let stage = Stage::new();
    for (command, code) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137),
        (&["nowhere"], 127),
        (&["/nowhere"], 127),
        (&["/etc/plain"], 126),
        (&["/etc"], 126),
    ] {
        let mut options = script("");
        options.command = words(command);
        let output = stage.output(&options);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
    }
    let mut options = script("true");
    options.user = Some("nobody-knows".to_owned());
    assert_eq!(stage.output(&options).status.code(), Some(125));
    // Those that ended are kept, with their codes.
    let codes: Vec<_> = container::list(&stage.store, true).unwrap();
    let mut codes: Vec<_> = codes.into_iter().map(|one| one.state.exit_code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 7, 125, 126, 126, 127, 127, 137]);
    assert!(container::list(&stage.store, false).unwrap().is_empty());
}

fn output_and_errors_stay_apart() {
    let stage = Stage::new();
    let output = stage.output(&script("echo out; echo err >&2; test -t 1 || echo no terminal"));
    assert_eq!(output.stdout, b"out\nno terminal\n");
    assert_eq!(output.stderr, b"err\n");
    let id = &container::list(&stage.store, true).unwrap()[0].id;
    let mut logs = stage.logs(id).lines().map(str::to_owned).collect::<Vec<_>>();
    logs.sort();
    assert_eq!(logs, ["err", "no terminal", "out"]);
}

fn input_reaches_the_command_and_ends() {
    let stage = Stage::new();
    let mut options = script("cat");
    (options.interactive, options.remove) = (true, true);
    let mut child = stage.run(&options);
    let sent: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).take(3_000_000).collect();
    let mut stdin = child.stdin.take().unwrap();
    let copy = sent.clone();
    let writer = thread::spawn(move || stdin.write_all(&copy).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    assert!(output.stdout == sent, "{} bytes came back", output.stdout.len());
    // Without -i there is nothing to read.
    options.interactive = false;
    assert_eq!(stage.output(&options).stdout, b"");
}

fn nothing_is_left_of_a_run_with_rm() {
    let stage = Stage::with(
        |_| (),
        |config| {
            config.config.volumes.insert("/data".to_owned());
        },
    );
    let mut options = script("touch /data/x /y; cat /data/seed");
    options.remove = true;
    assert_eq!(stage.output(&options).stdout, b"seed\n");
    stage.assert_empty();
    options.command = words(&["nowhere"]);
    assert_eq!(stage.output(&options).status.code(), Some(127));
    stage.assert_empty();
    // A terminal that is none is refused, and what was made for it goes, too.
    (options.tty, options.interactive) = (true, true);
    assert_eq!(stage.output(&options).status.code(), Some(125));
    stage.assert_empty();
}

fn signals_are_passed_on() {
    let stage = Stage::new();
    let mut options = script("trap 'exit 9' USR1; echo ready; while :; do sleep 0.02; done");
    options.remove = true;
    let mut child = stage.run(&options);
    assert_eq!(read_line(child.stdout.as_mut().unwrap()), "ready\n");
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::USR1).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
    stage.assert_empty();
}

fn a_reader_that_leaves_ends_the_command() {
    let stage = Stage::new();
    let mut options = script("yes");
    options.remove = true;
    let mut child = stage.run(&options);
    let mut some = [0; 100];
    child.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
    drop(child.stdout.take());
    assert!(!child.wait().unwrap().success());
    stage.assert_empty();
}

fn the_image_and_the_user_say_what_runs() {
    let stage = Stage::with(
        |_| (),
        |config| {
            config.config.entrypoint = words(&["echo", "entry"]);
            config.config.cmd = words(&["command"]);
        },
    );
    let out = |entrypoint: Option<&[&str]>, command: &[&str]| {
        let mut options = script("");
        options.entrypoint = entrypoint.map(words);
        options.command = words(command);
        options.remove = true;
        String::from_utf8(stage.output(&options).stdout).unwrap()
    };
    assert_eq!(out(None, &[]), "entry command\n");
    assert_eq!(out(None, &["other"]), "entry other\n");
    assert_eq!(out(Some(&["echo"]), &[]), "\n");
    assert_eq!(out(Some(&[]), &["echo", "bare"]), "bare\n");
    let mut nothing = script("");
    (nothing.entrypoint, nothing.command) = (Some(Vec::new()), Vec::new());
    let created = container::create(&stage.store, &stage.image, nothing);
    assert!(matches!(created, Err(container::Error::NoCommand)));
    stage.assert_empty();
}

fn the_environment_is_dockers() {
    let stage = Stage::with(
        |_| (),
        |config| {
            config.config.env.push("FROM_IMAGE=1".to_owned());
            "/tmp".clone_into(&mut config.config.working_dir);
            "user".clone_into(&mut config.config.user);
        },
    );
    let mut options =
        script("env; pwd; id -u; id -g; hostname; cat /etc/hostname; grep -c db /etc/hosts");
    options.env = words(&["MINE=2"]);
    options.hostname = Some("box".to_owned());
    options.add_hosts = vec![("db".to_owned(), "10.1.2.3".to_owned())];
    let output = stage.output(&options);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("SHLVL")).collect();
    for line in ["HOSTNAME=box", "MINE=2", "FROM_IMAGE=1", "HOME=/", "/tmp", "7", "8", "box", "1"] {
        assert!(lines.contains(&line), "{line}: {text}");
    }
    // Without a name of its own it is called by its id.
    options = script("hostname");
    options.uts = Share::Private;
    let created = stage.start(&options);
    stage.until(&created.id, |state| state.finished.is_some());
    assert_eq!(stage.logs(&created.id).trim_end(), &created.id[..12]);
}

fn the_network_is_the_hosts_or_none() {
    let stage = Stage::new();
    let mut options = script("ls /sys/class/net; cat /proc/net/dev");
    options.network = Network::None;
    options.remove = true;
    let output = String::from_utf8(stage.output(&options).stdout).unwrap();
    let devices = output.lines().filter(|line| line.contains(':')).count();
    assert_eq!(devices, 1, "{output}");
    options.network = Network::Bridge;
    let output = String::from_utf8(stage.output(&options).stdout).unwrap();
    assert!(output.contains("eth0:"), "{output}");
    options.network = Network::Host;
    options.publish = words(&["80"]);
    let created = container::create(&stage.store, &stage.image, options).unwrap();
    assert!(created.notes[0].starts_with("published ports are discarded"), "{:?}", created.notes);
}

fn what_cannot_be_honoured_is_refused() {
    let stage = Stage::new();
    let refuse = |change: &dyn Fn(&mut container::RunOptions)| {
        let mut options = script("true");
        change(&mut options);
        let error = container::create(&stage.store, &stage.image, options).unwrap_err();
        assert_eq!(error.exit_code(), 125);
        error.to_string()
    };
    assert!(refuse(&|o| o.publish = words(&["8080:x"])).contains("8080:x"));
    assert!(refuse(&|o| o.network = Network::Named("mine".into())).contains("network mine"));
    assert!(refuse(&|o| o.cap_add = words(&["FLY"])).contains("FLY"));
    assert!(refuse(&|o| o.security_opt = words(&["magic"])).contains("magic"));
    assert!(refuse(&|o| o.name = Some("a b".into())).contains("a b"));
    stage.assert_empty();
}
