//! Terminals, real ones: typing, leaving, coming back.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};

use rbuild::container::{self, ExecOptions};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::Test;
use crate::stage::{Stage, is_running, script, words};

pub(crate) const TESTS: &[Test] = &[
    ("a_shell_on_a_terminal", a_shell_on_a_terminal),
    ("a_container_is_left_and_found_again", a_container_is_left_and_found_again),
    ("the_terminal_is_resized", the_terminal_is_resized),
    ("exec_has_a_terminal_of_its_own", exec_has_a_terminal_of_its_own),
    ("output_is_seen_from_where_one_attaches", output_is_seen_from_where_one_attaches),
];

/// A user in front of a terminal.
struct User {
    screen: File,
    seen: String,
    child: Child,
}

impl User {
    fn new(mut command: Command) -> Self {
        let screen =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let size = Winsize { ws_row: 33, ws_col: 101, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&screen, size).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = || -> OwnedFd { ioctl_tiocgptpeer(&screen, flags).unwrap() };
        command.stdin(terminal()).stdout(terminal()).stderr(terminal());
        let child = command.spawn().unwrap();
        drop(command);
        Self { screen: screen.into(), seen: String::new(), child }
    }

    fn types(&mut self, text: &str) {
        self.screen.write_all(text.as_bytes()).unwrap();
    }

    /// Reads on until a text is on the screen.
    fn sees(&mut self, text: &str) {
        let mut buffer = [0; 1024];
        while !self.seen.contains(text) {
            let length = self.screen.read(&mut buffer).unwrap_or(0);
            assert!(length > 0, "{text:?} is missing: {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        let end = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..end);
    }

    fn leaves_with(mut self) -> Option<i32> {
        let mut rest = Vec::new();
        // The other side's hanging up is an error.
        let _ = self.screen.read_to_end(&mut rest);
        self.child.wait().unwrap().code()
    }
}

fn shell() -> container::RunOptions {
    container::RunOptions { tty: true, interactive: true, command: words(&["sh"]), ..script("") }
}

fn run(stage: &Stage, options: &container::RunOptions) -> User {
    User::new(stage.command("run", &serde_json::to_string(options).unwrap(), ""))
}

fn a_shell_on_a_terminal() {
    let stage = Stage::new();
    let mut user = run(&stage, &container::RunOptions { remove: true, ..shell() });
    user.sees("#");
    user.types("test -t 0 && test -t 1 && echo $((6*7)) $TERM; stty size\n");
    user.sees("42 xterm\r\n");
    user.sees("33 101\r\n");
    user.types("exit 5\n");
    assert_eq!(user.leaves_with(), Some(5));
    stage.assert_empty();
    let mut options = shell();
    options.command = words(&["nowhere"]);
    assert_eq!(run(&stage, &options).leaves_with(), Some(127));
}

fn a_container_is_left_and_found_again() {
    let stage = Stage::new();
    let mut user = run(&stage, &shell());
    user.sees("#");
    user.types("echo a$((1+1))c\n");
    user.sees("a2c\r\n");
    user.types("\x10\x11");
    user.sees("detached");
    assert_eq!(user.leaves_with(), Some(0));
    let id = container::list(&stage.store, false).unwrap()[0].id.clone();
    let mut user = User::new(stage.command("attach", "", &id));
    user.types("echo b$((1+1))d\n");
    user.sees("b2d\r\n");
    user.types("exit 4\n");
    assert_eq!(user.leaves_with(), Some(4));
    assert_eq!(stage.state(&id).exit_code, 4);
    let mut user = User::new(stage.command("start", "", &id));
    user.sees("#");
    user.types("exit 3\n");
    assert_eq!(user.leaves_with(), Some(3));
    assert!(stage.logs(&id).contains("a2c\r\n"));
}

fn the_terminal_is_resized() {
    let stage = Stage::new();
    let mut user = run(&stage, &shell());
    user.sees("#");
    let size = Winsize { ws_row: 20, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&user.screen, size).unwrap();
    let pid = Pid::from_raw(i32::try_from(user.child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::WINCH).unwrap();
    user.types("while ! stty size | grep '20 60'; do sleep 0.02; done\n");
    user.sees("20 60\r\n");
    user.types("exit\n");
    assert_eq!(user.leaves_with(), Some(0));
}

fn exec_has_a_terminal_of_its_own() {
    let stage = Stage::new();
    let created = stage.start(&crate::stage::patient());
    let options = ExecOptions {
        command: words(&["sh"]),
        tty: true,
        interactive: true,
        ..ExecOptions::default()
    };
    let options = serde_json::to_string(&options).unwrap();
    let mut user = User::new(stage.command("exec", &options, &created.id));
    user.sees("#");
    user.types("stty size; exit 8\n");
    user.sees("33 101\r\n");
    assert_eq!(user.leaves_with(), Some(8));
    assert!(is_running(&stage.state(&created.id)));
}

fn output_is_seen_from_where_one_attaches() {
    let stage = Stage::new();
    let options = container::RunOptions {
        interactive: true,
        ..script("while read line; do echo got $line; done; exit 2")
    };
    let created = stage.start(&options);
    let mut child = stage.command("attach", "", &created.id).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    assert_eq!(crate::stage::read_line(child.stdout.as_mut().unwrap()), "got one\n");
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(2));
}
