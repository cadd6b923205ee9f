//! The life of a container in the background.

use std::io;
use std::path::Path;

use rbuild::container::{self, Error, ExecOptions, LogOptions, LogStream, Restart, Signal, Status};
use rustix::process::{Pid, kill_process};

use crate::Test;
use crate::stage::{Stage, eventually, is_running, patient, script, words};

pub(crate) const TESTS: &[Test] = &[
    ("a_container_is_started_listed_and_stopped", a_container_is_started_listed_and_stopped),
    ("a_start_that_fails_is_told_at_once", a_start_that_fails_is_told_at_once),
    ("starting_again_keeps_the_files", starting_again_keeps_the_files),
    ("stopping_gives_up_waiting", stopping_gives_up_waiting),
    ("killing_and_waiting", killing_and_waiting),
    ("names_are_unique_and_change", names_are_unique_and_change),
    ("only_a_force_removes_what_runs", only_a_force_removes_what_runs),
    ("a_killed_monitor_is_noticed", a_killed_monitor_is_noticed),
    ("a_killed_monitor_of_a_run_with_rm_leaves_nothing", a_killed_monitor_leaves_nothing),
    ("policies_start_it_again", policies_start_it_again),
    ("logs_are_followed_to_the_end", logs_are_followed_to_the_end),
    ("logs_are_cut_and_dated", logs_are_cut_and_dated),
    ("exec_joins_the_container", exec_joins_the_container),
    ("inspect_speaks_dockers_json", inspect_speaks_dockers_json),
];

fn a_container_is_started_listed_and_stopped() {
    let stage = Stage::new();
    let created = stage.start(&patient());
    let listed = container::list(&stage.store, false).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, created.id);
    assert_eq!(listed[0].names, [created.name.as_str()]);
    assert_eq!(listed[0].image, "busybox:test");
    assert!(listed[0].command.starts_with("sh -c trap"));
    assert!(is_running(&listed[0].state) && listed[0].state.pid > 0);
    eventually(|| (stage.logs(&created.name) == "ready\n").then_some(()));
    assert_eq!(container::start(&stage.store, &created.name).unwrap(), created.id);
    container::stop(&stage.store, &created.name, None, None).unwrap();
    let state = stage.state(&created.id);
    assert_eq!((state.status, state.exit_code, state.pid), (Status::Exited, 3, 0));
    assert!(container::list(&stage.store, false).unwrap().is_empty());
    // To stop it again changes nothing.
    container::stop(&stage.store, &created.name, None, None).unwrap();
    container::remove(&stage.store, &created.name, false, false).unwrap();
    stage.assert_empty();
}

fn a_start_that_fails_is_told_at_once() {
    let stage = Stage::new();
    let mut options = script("");
    options.command = words(&["nowhere"]);
    let created = stage.create(&options);
    let error = container::start(&stage.store, &created.id).unwrap_err();
    assert_eq!(error.exit_code(), 127);
    assert!(error.to_string().contains("nowhere"), "{error}");
    let state = stage.state(&created.id);
    assert_eq!((state.status, state.exit_code), (Status::Created, 127));
    container::remove(&stage.store, &created.id, false, false).unwrap();
    options.remove = true;
    let created = stage.create(&options);
    container::start(&stage.store, &created.id).unwrap_err();
    stage.assert_empty();
}

fn starting_again_keeps_the_files() {
    let stage = Stage::new();
    let created = stage.create(&script("echo x >> /count; cat /count; rm -f /etc/plain"));
    for lines in [1, 3, 6] {
        container::start(&stage.store, &created.id).unwrap();
        assert_eq!(container::wait(&stage.store, &created.id).unwrap(), 0);
        assert_eq!(stage.logs(&created.id).lines().count(), lines);
    }
    assert!(container::size(&stage.store, &created.id).unwrap() >= 6);
}

fn stopping_gives_up_waiting() {
    let stage = Stage::new();
    let created = stage.start(&script("trap '' TERM; echo ready; while :; do sleep 0.02; done"));
    eventually(|| (stage.logs(&created.id) == "ready\n").then_some(()));
    container::stop(&stage.store, &created.id, None, Some(0)).unwrap();
    assert_eq!(stage.state(&created.id).exit_code, 137);
    // Its own signal and patience.
    let mut options = script("trap 'exit 4' USR2; echo ready; while :; do sleep 0.02; done");
    options.stop_signal = "USR2".parse().ok();
    let created = stage.start(&options);
    eventually(|| (stage.logs(&created.id) == "ready\n").then_some(()));
    container::stop(&stage.store, &created.id, None, None).unwrap();
    assert_eq!(stage.state(&created.id).exit_code, 4);
}

fn killing_and_waiting() {
    let stage = Stage::new();
    let created = stage.start(&patient());
    let (store, id) = (stage.store.clone(), created.id.clone());
    let waiting = std::thread::spawn(move || container::wait(&store, &id).unwrap());
    eventually(|| (stage.logs(&created.id) == "ready\n").then_some(()));
    container::kill(&stage.store, &created.id[..8], Signal::TERM).unwrap();
    assert_eq!(waiting.join().unwrap(), 3);
    assert_eq!(container::wait(&stage.store, &created.id).unwrap(), 3);
    let again = container::kill(&stage.store, &created.id, Signal::TERM);
    assert!(matches!(again, Err(Error::NotRunning(_))));
    let nobody = container::kill(&stage.store, "nobody", Signal::TERM);
    assert_eq!(nobody.unwrap_err().to_string(), "no such container: nobody");
}

fn names_are_unique_and_change() {
    let stage = Stage::new();
    let named = |name: &str| container::RunOptions { name: Some(name.into()), ..script("true") };
    let first = stage.create(&named("web"));
    let taken = container::create(&stage.store, &stage.image, named("web")).unwrap_err();
    assert!(matches!(&taken, Error::NameTaken { by, .. } if *by == first.id[..12]), "{taken}");
    container::rename(&stage.store, "web", "old").unwrap();
    let second = stage.create(&named("web"));
    assert_ne!(first.id, second.id);
    assert!(matches!(container::rename(&stage.store, "old", "web"), Err(Error::NameTaken { .. })));
    container::remove(&stage.store, "old", false, false).unwrap();
    container::remove(&stage.store, &second.id, false, false).unwrap();
    stage.assert_empty();
}

fn only_a_force_removes_what_runs() {
    let stage = Stage::new();
    let created = stage.start(&patient());
    let refused = container::remove(&stage.store, &created.id, false, false);
    assert!(matches!(refused, Err(Error::RemoveRunning(_))));
    assert!(is_running(&stage.state(&created.id)));
    container::remove(&stage.store, &created.id, true, false).unwrap();
    stage.assert_empty();
    stage.create(&script("true"));
    let running = stage.start(&patient());
    assert_eq!(container::prune(&stage.store, |_| true).unwrap().len(), 1);
    assert_eq!(container::list(&stage.store, true).unwrap()[0].id, running.id);
}

/// The monitor of a container, by its arguments.
fn monitor(id: &str) -> Pid {
    let is_it = |folder: &Path| {
        let line = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("container-monitor") && line.contains(id)
    };
    let folders = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let folder = folders.into_iter().find(|folder| is_it(folder)).expect("it has a monitor");
    let number = folder.file_name().unwrap().to_str().unwrap().parse().unwrap();
    Pid::from_raw(number).unwrap()
}

fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn a_killed_monitor_is_noticed() {
    let stage = Stage::new();
    let created = stage.start(&patient());
    let pid = stage.state(&created.id).pid;
    kill_process(monitor(&created.id), rustix::process::Signal::KILL).unwrap();
    let state = stage.until(&created.id, |state| !is_running(state));
    assert_eq!((state.status, state.exit_code, state.pid), (Status::Exited, 137, 0));
    assert!(state.finished.is_some() && !state.error.is_empty());
    eventually(|| (!is_alive(pid)).then_some(()));
    container::start(&stage.store, &created.id).unwrap();
    assert!(is_running(&stage.state(&created.id)));
    kill_process(monitor(&created.id), rustix::process::Signal::KILL).unwrap();
    assert_eq!(container::wait(&stage.store, &created.id).unwrap(), 137);
    container::remove(&stage.store, &created.id, false, false).unwrap();
    stage.assert_empty();
}

fn a_killed_monitor_leaves_nothing() {
    let stage = Stage::new();
    let created = stage.start(&container::RunOptions { remove: true, ..patient() });
    kill_process(monitor(&created.id), rustix::process::Signal::KILL).unwrap();
    eventually(|| container::list(&stage.store, true).unwrap().is_empty().then_some(()));
    stage.assert_empty();
}

fn policies_start_it_again() {
    let stage = Stage::new();
    let mut options = script("echo run; exit 1");
    options.restart = Restart::OnFailure(Some(2));
    let created = stage.start(&options);
    assert_eq!(container::wait(&stage.store, &created.id).unwrap(), 1);
    assert_eq!(stage.logs(&created.id), "run\nrun\nrun\n");
    assert_eq!(stage.state(&created.id).restarts, 2);
    options.command = words(&["true"]);
    options.restart = Restart::Always;
    let created = stage.start(&options);
    stage.until(&created.id, |state| state.restarts > 1);
    container::stop(&stage.store, &created.id, None, None).unwrap();
    assert_eq!(stage.state(&created.id).status, Status::Exited);
}

fn logs_are_followed_to_the_end() {
    let stage = Stage::new();
    let created = stage.start(&patient());
    let mut seen = Vec::new();
    let options = LogOptions { follow: true, ..LogOptions::default() };
    container::logs(&stage.store, &created.id, &options, &mut |stream, line| {
        seen.push((stream, String::from_utf8(line.to_vec()).unwrap()));
        let stop = container::kill(&stage.store, &created.id, Signal::TERM);
        stop.map_err(io::Error::other)
    })
    .unwrap();
    assert_eq!(seen, [(LogStream::Stdout, "ready\n".to_owned())]);
    assert_eq!(stage.state(&created.id).exit_code, 3);
}

fn logs_are_cut_and_dated() {
    let stage = Stage::new();
    let created = stage.create(&script("seq 1 100; echo last >&2"));
    container::start(&stage.store, &created.id).unwrap();
    container::wait(&stage.store, &created.id).unwrap();
    let read = |options: LogOptions| {
        let mut lines = Vec::new();
        container::logs(&stage.store, &created.id, &options, &mut |_, line| {
            lines.push(String::from_utf8(line.to_vec()).unwrap());
            Ok(())
        })
        .unwrap();
        lines
    };
    assert_eq!(read(LogOptions::default()).len(), 101);
    assert_eq!(read(LogOptions { tail: Some(3), ..LogOptions::default() }).len(), 3);
    let dated = read(LogOptions { timestamps: true, tail: Some(1), ..LogOptions::default() });
    let (time, _) = dated[0].split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(time.len(), "2026-01-01T00:00:00.000000000Z".len());
    let since = Some(jiff::Timestamp::now());
    assert!(read(LogOptions { since, ..LogOptions::default() }).is_empty());
    let mut count = 0;
    container::logs(&stage.store, &created.id, &LogOptions::default(), &mut |_, _| {
        count += 1;
        Err(io::ErrorKind::BrokenPipe.into())
    })
    .unwrap();
    assert_eq!(count, 1);
}

fn exec_joins_the_container() {
    let stage = Stage::new();
    let mut options = patient();
    options.env = words(&["A=1"]);
    let created = stage.start(&options);
    let command = |text: &str| ExecOptions {
        command: words(&["sh", "-c", text]),
        env: words(&["B=2"]),
        ..ExecOptions::default()
    };
    let output =
        stage.exec(&created.name, &command("echo $A$B; echo err >&2; touch /made; exit 6"));
    assert_eq!((output.stdout, output.status.code()), (b"12\n".to_vec(), Some(6)));
    assert_eq!(output.stderr, b"err\n");
    let with_user = ExecOptions { user: Some("user".into()), ..command("id -u; ls /made") };
    assert_eq!(stage.exec(&created.name, &with_user).stdout, b"7\n/made\n");
    let missing = ExecOptions { command: words(&["nowhere"]), ..ExecOptions::default() };
    assert_eq!(stage.exec(&created.name, &missing).status.code(), Some(127));
    let background = ExecOptions { detach: true, ..command("touch /background") };
    assert_eq!(stage.exec(&created.name, &background).status.code(), Some(0));
    let made = || stage.exec(&created.name, &command("ls /background")).status.success();
    eventually(|| made().then_some(()));
    container::stop(&stage.store, &created.id, None, None).unwrap();
    let stopped = stage.exec(&created.name, &command("true"));
    assert!(String::from_utf8(stopped.stderr).unwrap().contains("is not running"));
}

fn inspect_speaks_dockers_json() {
    let stage = Stage::new();
    let mut options = patient();
    options.name = Some("looked-at".to_owned());
    options.env = words(&["A=1"]);
    options.labels.insert("colour".to_owned(), "red".to_owned());
    let created = stage.start(&options);
    eventually(|| (stage.logs(&created.id) == "ready\n").then_some(()));
    let value = container::inspect(&stage.store, "looked-at").unwrap();
    assert_eq!(value["Id"], created.id.as_str());
    assert_eq!(value["Name"], "/looked-at");
    assert_eq!(value["State"]["Status"], "running");
    assert_eq!(value["State"]["Running"], true);
    assert_eq!(value["Path"], "sh");
    assert_eq!(value["Args"][0], "-c");
    assert_eq!(value["Config"]["Labels"]["colour"], "red");
    assert!(value["Config"]["Env"].as_array().unwrap().contains(&"A=1".into()));
    assert_eq!(value["Image"], stage.image.id.to_string());
    container::stop(&stage.store, "looked-at", None, None).unwrap();
    let value = container::inspect(&stage.store, "looked-at").unwrap();
    assert_eq!((&value["State"]["ExitCode"], &value["State"]["Pid"]), (&3.into(), &0.into()));
}
