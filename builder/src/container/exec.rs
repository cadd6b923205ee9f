//! One more process in a container that runs.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rbuild_cache::Store;
use rbuild_runtime::{Capabilities, Process, Running, Seccomp, Signal, WindowSize, open_in_root};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::attach::{Ended, Peer, Terminal, attach, check};
use super::clients::Clients;
use super::control::connect;
use super::error::{Error, Result};
use super::folder::{Folder, Record};
use super::foreign;
use super::message::{Reply, Request, control, first_request};
use super::names::{self, new_id};
use super::note::entry;
use super::sandbox::process;
use super::session::{Session, Stop};
use super::spawn::{self, Task};
use super::state::Status;
use super::streams::Streams;
use crate::image::set;
use crate::journal::{self, Entry};

/// What `docker exec` can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of docker's")]
pub struct ExecOptions {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `NAME=value`, besides the container's environment.
    pub env: Vec<String>,
    /// The working directory; none is the container's.
    pub workdir: Option<String>,
    /// `user[:group]`; none is the container's.
    pub user: Option<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether it can read standard input.
    pub interactive: bool,
    /// Whether it gets every capability.
    pub privileged: bool,
    /// Whether it stays in the background.
    pub detach: bool,
}

/// Runs a process in a container that runs, and waits for its end, unless it is to stay in the
/// background.
pub fn exec(store: &Store, name: &str, options: &ExecOptions, user: &Terminal) -> Result<Ended> {
    let folder = names::find(store, name)?;
    if options.command.is_empty() {
        return Err(Error::NoCommand);
    }
    if !options.detach {
        check(user, options.tty)?;
    }
    // One with a terminal can be left running; so it needs a process of its own that watches it.
    // What another runtime starts needs one too, of one thread.
    if options.detach || options.tty || is_foreign(&folder)? {
        let mut stream = spawn::start(store, &folder.id, Task::Exec)?;
        let request = control(&Request::Exec(Box::new(options.clone())));
        stream.write_all(&request).map_err(Error::monitor("speak to"))?;
        if options.detach {
            return started(stream);
        }
        return attach(
            stream,
            user,
            &Peer { tty: options.tty, owned: !options.tty, forward: &|_| () },
        );
    }
    let (streams, stdio) = Streams::new(None, options.interactive)?;
    let (running, execution) = Execution::launch(&folder, options, stdio)?;
    let running = Arc::new(running);
    let (ours, theirs) = UnixStream::pair().map_err(Error::system("make a socket"))?;
    let watched = Arc::clone(&running);
    let watch = move || {
        if let Ok(clients) = Clients::new(theirs, (true, true), None) {
            serve((&watched, &execution), streams, clients);
        }
    };
    let thread = std::thread::Builder::new().name("exec".to_owned()).spawn(watch);
    let thread = thread.map_err(Error::system("start a thread"))?;
    let forward = |signal| drop(running.kill(signal));
    let ended = attach(ours, user, &Peer { tty: false, owned: true, forward: &forward });
    let _ = thread.join();
    ended
}

fn is_foreign(folder: &Folder) -> Result<bool> {
    Ok(folder.record()?.is_some_and(|record| record.options.runtime.is_some()))
}

/// Waits until a process in the background has been started.
fn started(mut stream: UnixStream) -> Result<Ended> {
    let request = Request::Attach { output: false, input: false, size: None };
    stream.write_all(&control(&request)).map_err(Error::monitor("speak to"))?;
    match super::message::Frames::default().reply(&mut stream) {
        Ok(Some(Reply::Failed { message, code, hint })) => {
            Err(Error::Start { message, code, hint })
        }
        Ok(Some(_)) => Ok(Ended::Detached),
        Ok(None) => {
            let source = std::io::ErrorKind::UnexpectedEof.into();
            Err(Error::Monitor { doing: "hear from", source })
        }
        Err(source) => Err(Error::Monitor { doing: "hear from", source }),
    }
}

/// The process of its own that watches over an exec.
pub(crate) fn serve_exec(folder: &Folder, mut client: UnixStream) {
    let Ok(Request::Exec(options)) = first_request(&mut client) else {
        return;
    };
    let Ok(Request::Attach { output, input, size }) = first_request(&mut client) else {
        return;
    };
    let start = || {
        let size = size.unwrap_or(WindowSize { rows: 24, columns: 80 });
        let (streams, stdio) = Streams::new(options.tty.then_some(size), options.interactive)?;
        Ok((Execution::launch(folder, &options, stdio)?, streams))
    };
    match start() {
        Ok(((running, execution), streams)) => {
            if let Ok(mut clients) = Clients::new(client, (output, input), None) {
                clients.tell_all(&Reply::Started);
                serve((&running, &execution), streams, clients);
            }
        }
        Err(error) => {
            let error: Error = error;
            let reply = Reply::failed(&error);
            let _ = client.write_all(&control(&reply));
        }
    }
}

/// Serves the clients of a process until it ends.
fn serve((running, execution): (&Running, &Execution), streams: Streams, mut clients: Clients) {
    let session = Session {
        running,
        streams,
        clients: &mut clients,
        log: None,
        stop: &mut Stop::default(),
        stop_signal: Signal::TERM,
        care: None,
    };
    let reply = match session.run() {
        Ok(exit) => {
            execution.ended(exit.code());
            Reply::Exited(exit.code())
        }
        Err(error) => Reply::failed(&error),
    };
    clients.tell_all(&reply);
    clients.finish();
}

/// One more process in a container, for the journal.
#[derive(Debug)]
pub(crate) struct Execution {
    folder: Folder,
    record: Record,
    id: String,
}

impl Execution {
    /// Starts a process in a container that runs.
    pub(crate) fn launch(
        folder: &Folder,
        options: &ExecOptions,
        stdio: rbuild_runtime::Stdio,
    ) -> Result<(Running, Self)> {
        let not_running = || Error::NotRunning(folder.short().to_owned());
        let record = folder.record()?.ok_or_else(not_running)?;
        let state = folder.state()?;
        if state.status == Status::Paused {
            return Err(Error::Paused(folder.short().to_owned()));
        }
        let pid = state.pid;
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(not_running)?;
        let pidfd = pidfd_open(number, PidfdFlags::empty()).map_err(|_| not_running())?;
        // The number was still the container's after it was opened.
        connect(folder)?;
        if folder.written_state()?.pid != pid {
            return Err(not_running());
        }
        let mut process = process(folder, &record)?;
        process.argv.clone_from(&options.command);
        customize(&mut process, options);
        check_directory(pid, &process.cwd)?;
        let execution = Self { folder: folder.clone(), record, id: new_id()? };
        let command = options.command.join(" ");
        let begins = ["exec_create", "exec_start"]
            .map(|action| execution.entry(format!("{action}: {command}")));
        journal::note(&folder.store, &begins);
        let running = match &execution.record.options.runtime {
            Some(other) => foreign::exec(folder, other, pid, process, stdio)?,
            None => rbuild_runtime::exec(pid, pidfd.as_fd(), process, stdio)?,
        };
        Ok((running, execution))
    }

    /// Says how it has ended.
    pub(crate) fn ended(&self, code: i32) {
        let entry = self.entry("exec_die").with("exitCode", code.to_string());
        journal::note(&self.folder.store, &[entry]);
    }

    fn entry(&self, action: impl Into<String>) -> Entry {
        entry(&self.folder, &self.record, action, &[("execID", self.id.clone())])
    }
}

/// Refuses a working directory that the container lacks: only `run` makes it.
fn check_directory(pid: u32, cwd: &str) -> Result<()> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty());
    let root = root.map_err(Error::file("open", &path))?;
    match open_in_root(root.as_fd(), cwd, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
        Err(error @ (Errno::NOENT | Errno::NOTDIR)) => Err(Error::Start {
            message: format!("cannot change to directory {cwd:?}: {error}"),
            code: 127,
            hint: None,
        }),
        // What else may hinder it is for the runtime to find.
        _ => Ok(()),
    }
}

fn customize(process: &mut Process, options: &ExecOptions) {
    process.oom_score = None;
    if options.tty {
        set(&mut process.env, "TERM", "xterm");
    }
    for line in &options.env {
        if let Some((name, value)) = line.split_once('=') {
            set(&mut process.env, name, value);
        }
    }
    if let Some(user) = &options.user {
        process.user.clone_from(user);
        process.groups.clear();
    }
    if let Some(workdir) = &options.workdir {
        process.cwd.clone_from(workdir);
    }
    if options.privileged {
        process.capabilities = Capabilities::all();
        process.seccomp = Seccomp::None;
    }
}
