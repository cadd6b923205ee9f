//! One more process in the container of a bundle.

use std::os::fd::AsFd;
use std::path::PathBuf;

use rbuild_runtime::{Running, exec_detached};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::create::{send_terminal, write_pid};
use super::error::{Error, Result};
use super::process;
use super::spec;
use super::state::{Bundles, Status, started};

/// What one more process is, where it is not as the container's first.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// A file with the process as `config.json` has it.
    pub process: Option<PathBuf>,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`, besides the first process's.
    pub env: Vec<String>,
    /// The working directory.
    pub cwd: Option<String>,
    /// Its user and group by number, `1000:1000`.
    pub user: Option<String>,
    /// More groups, by number.
    pub additional_gids: Vec<u32>,
    /// Capabilities besides the first process's.
    pub cap: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether it can gain no privilege.
    pub no_new_privs: bool,
    /// Where its number is written.
    pub pid_file: Option<PathBuf>,
    /// The socket that a terminal is sent to.
    pub console_socket: Option<PathBuf>,
}

impl Bundles {
    /// Starts one more process in a container that runs.
    ///
    /// It goes on without this process.
    pub fn exec(&self, id: &str, options: &ExecOptions) -> Result<Running> {
        let state = self.state(id)?;
        if !matches!(state.status, Status::Running | Status::Created) {
            return Err(Error::Status { verb: "exec in", status: state.status });
        }
        let spec = wanted(&state.saved.process, options)?;
        if spec.terminal && options.console_socket.is_none() {
            return Err(Error::Config("a terminal takes a console socket".into()));
        }
        let process = process::process(&spec, state.saved.seccomp.as_ref())?;
        let pid = state.saved.pid;
        let gone = || Error::Status { verb: "exec in", status: Status::Stopped };
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let pidfd = pidfd_open(number, PidfdFlags::empty()).map_err(|_| gone())?;
        // The number was still the container's after it was opened.
        if started(pid) != Some(state.saved.started) {
            return Err(gone());
        }
        let running = exec_detached(pid, pidfd.as_fd(), process, process::stdio(&spec))?;
        if let (Some(terminal), Some(socket)) = (running.terminal(), &options.console_socket) {
            send_terminal(terminal, socket)?;
        }
        if let Some(path) = &options.pid_file {
            write_pid(path, running.pid())?;
        }
        Ok(running)
    }
}

fn wanted(first: &spec::Process, options: &ExecOptions) -> Result<spec::Process> {
    if let Some(path) = &options.process {
        let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
        let mut spec: spec::Process =
            serde_json::from_slice(&bytes).map_err(|error| Error::Config(error.to_string()))?;
        spec.terminal |= options.tty;
        return Ok(spec);
    }
    let mut spec = first.clone();
    spec.args.clone_from(&options.args);
    spec.terminal = options.tty;
    spec.no_new_privileges |= options.no_new_privs;
    spec.env.extend(options.env.iter().cloned());
    if let Some(cwd) = &options.cwd {
        spec.cwd.clone_from(cwd);
    }
    if let Some(user) = &options.user {
        let wrong = || Error::Config(format!("{user:?} is not uid[:gid]"));
        let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
        spec.user = spec::User {
            uid: uid.parse().map_err(|_| wrong())?,
            gid: gid.parse().map_err(|_| wrong())?,
            ..spec::User::default()
        };
    }
    spec.user.additional_gids.extend(&options.additional_gids);
    if let Some(held) = &mut spec.capabilities {
        for set in [&mut held.bounding, &mut held.effective, &mut held.permitted] {
            set.extend(options.cap.iter().cloned());
        }
    }
    Ok(spec)
}
