//! A command that was typed: while it runs, and when it has ended.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::{GUARD, eventually};

/// A command that has ended.
#[derive(Debug)]
#[must_use = "a command may have failed: say `ok` or `fails`"]
pub struct Ran {
    /// What was typed.
    pub line: String,
    /// The exit code; 128 + n after signal n.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ran {
    /// Demands that it went well, and returns its standard output without blanks at its ends.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:#}");
        self.stdout.trim().to_owned()
    }

    /// Demands that it failed with this code, and returns its standard error.
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:#}");
        self.stderr
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, code, stdout, stderr } = self;
        write!(f, "`{line}` ended with {code}\n-- stdout\n{stdout}\n-- stderr\n{stderr}")
    }
}

/// What was read from a stream so far.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    bytes: Mutex<(Vec<u8>, bool)>,
    grown: Condvar,
}

impl Stream {
    /// Reads a stream to its end in a thread.
    pub(crate) fn read(mut from: impl Read + Send + 'static) -> Arc<Self> {
        let stream = Arc::new(Self::default());
        let shared = stream.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                // The other end of a terminal that is closed gives an error.
                let length = from.read(&mut buffer).unwrap_or(0);
                let mut bytes = shared.bytes.lock().unwrap_or_else(PoisonError::into_inner);
                bytes.0.extend_from_slice(&buffer[..length]);
                bytes.1 = length == 0;
                shared.grown.notify_all();
                if length == 0 {
                    return;
                }
            }
        });
        stream
    }

    /// What came so far.
    pub(crate) fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes.0).into_owned()
    }

    /// Waits until what came satisfies a demand, or the stream ends; tells whether it did.
    pub(crate) fn until(&self, what: &str, is_there: impl Fn(&str, bool) -> bool) -> String {
        let begun = Instant::now();
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let text = String::from_utf8_lossy(&bytes.0).into_owned();
            if is_there(&text, bytes.1) {
                return text;
            }
            assert!(!bytes.1, "the output ended without {what}:\n{text}");
            let left = GUARD.saturating_sub(begun.elapsed());
            assert!(!left.is_zero(), "{what} never came:\n{text}");
            bytes = self.grown.wait_timeout(bytes, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A command that runs.
#[derive(Debug)]
pub struct Started {
    line: String,
    child: Child,
    stdout: Arc<Stream>,
    stderr: Arc<Stream>,
}

impl Started {
    pub(crate) fn spawn(line: &str, command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a shell starts");
        let stdout = Stream::read(child.stdout.take().expect("it is piped"));
        let stderr = Stream::read(child.stderr.take().expect("it is piped"));
        Self { line: line.to_owned(), child, stdout, stderr }
    }

    /// Waits for a text in its standard output.
    pub fn until_out(&self, text: &str) {
        self.stdout.until(&format!("`{text}`"), |all, _| all.contains(text));
    }

    /// What came of its standard output so far.
    pub fn out(&self) -> String {
        self.stdout.text()
    }

    /// Waits for a text in its standard error.
    pub fn until_err(&self, text: &str) {
        self.stderr.until(&format!("`{text}`"), |all, _| all.contains(text));
    }

    /// Waits for so many lines in its standard error, or for the end of that.
    pub fn until_err_lines(&self, count: usize) {
        self.stderr.until("so many lines", |all, ended| ended || all.lines().count() >= count);
    }

    /// Ends its process at once, as the kernel does when memory is short.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends its process a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process is there until it is waited for");
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended and nobody holds its streams any more.
    pub fn wait(mut self) -> Ran {
        let (line, child) = (self.line.clone(), &mut self.child);
        let status = eventually(&format!("the end of `{line}`"), || {
            child.try_wait().expect("a child can be waited for")
        });
        let what = format!("the end of the output of `{line}`, which has ended,");
        Ran {
            code: exit_code(status),
            stdout: self.stdout.until(&what, |_, ended| ended),
            stderr: self.stderr.until(&what, |_, ended| ended),
            line,
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // A test that failed leaves no process behind; one that was waited for is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The exit code as a shell gives it.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
