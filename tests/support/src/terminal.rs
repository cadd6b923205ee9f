//! A command on a real terminal: the test sits at its other end.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::eventually;
use crate::ran::{Stream, exit_code};

/// A command that runs on a terminal.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Stream>,
}

impl Terminal {
    /// Starts a program on a terminal of 40 rows and 120 columns. `setsid` of util-linux makes the
    /// terminal the one that controls the new process.
    pub(crate) fn start(shell: &Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("the machine gives a terminal");
        grantpt(&master).expect("the terminal is ours");
        unlockpt(&master).expect("the terminal is ours");
        let name = ptsname(&master, Vec::new()).expect("a terminal has a name");
        let slave = openat(CWD, name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())
            .expect("the terminal is ours");
        let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("a terminal has a size");
        let copy = |fd: &OwnedFd| fd.try_clone().expect("an open file can be doubled");
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(shell.get_program()).args(shell.get_args());
        command.env_clear();
        for (name, value) in shell.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        if let Some(folder) = shell.get_current_dir() {
            command.current_dir(folder);
        }
        command.stdin(Stdio::from(copy(&slave)));
        command.stdout(Stdio::from(copy(&slave))).stderr(Stdio::from(slave));
        let child = command.spawn().expect("a shell starts");
        drop(command);
        let keyboard = File::from(copy(&master));
        Self { child, keyboard, screen: Stream::read(File::from(master)) }
    }

    /// Types on its keyboard.
    pub fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("the terminal takes what is typed");
    }

    /// Makes it another size, as a user does who draws at the corner of its window.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.keyboard, size).expect("a terminal has a size");
    }

    /// Waits for a text on its screen.
    pub fn until(&self, text: &str) {
        self.screen.until(&format!("`{text}`"), |all, _| all.contains(text));
    }

    /// Waits until the program has ended; returns its exit code and all that was on the screen.
    pub fn wait(mut self) -> (i32, String) {
        let child = &mut self.child;
        let status = eventually("the end of the program on the terminal", || {
            child.try_wait().expect("a child can be waited for")
        });
        let screen = self.screen.until("the end", |_, ended| ended);
        (exit_code(status), screen)
    }

    /// All that was on the screen so far.
    pub fn screen(&self) -> String {
        self.screen.text()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
