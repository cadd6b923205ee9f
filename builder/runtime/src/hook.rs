//! Programs of the host that run on a container's way, told on their standard input how it fares.
//!
//! A hook has the variables that its description gives it and no others, and `/` as its working
//! directory, so that nothing of the container's leads it astray.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Result};
use crate::mounts::attach;
use crate::sys;

/// A program of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its arguments, its name first; none is the path alone.
    pub args: Vec<String>,
    /// `NAME=value`, and nothing else.
    pub env: Vec<String>,
    /// Seconds until it is killed, which is a failure.
    pub timeout: Option<u64>,
}

/// What runs on the way of a container from nothing to its program.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// How the container fares, a JSON object; its `pid` and `status` are filled in.
    pub state: String,
    /// Where hooks inside see the container's root.
    pub root: PathBuf,
    /// Outside, once everything is mounted: `prestart`.
    pub before: Vec<Hook>,
    /// The same, after those: `createRuntime`.
    pub outside: Vec<Hook>,
    /// After those, among the host's files with the container's mounts at its root:
    /// `createContainer`.
    pub inside: Vec<Hook>,
    /// In the container itself, right before its program: `startContainer`.
    pub start: Vec<Hook>,
}

impl Hooks {
    /// Whether the container waits for any of them before it changes its root.
    pub(crate) fn pause(&self) -> Option<usize> {
        let none = self.before.is_empty() && self.outside.is_empty() && self.inside.is_empty();
        (!none).then_some(self.inside.len())
    }

    /// Runs those before the change of root.
    pub(crate) fn run(&self, pid: u32, pidfd: BorrowedFd<'_>, roots: Vec<OwnedFd>) -> Result<()> {
        let created = self.state(pid, "created");
        for hook in &self.before {
            hook.run(&created)?;
        }
        let state = self.state(pid, "creating");
        for hook in &self.outside {
            hook.run(&state)?;
        }
        for (hook, root) in self.inside.iter().zip(roots) {
            hook.run_inside(&state, pidfd, root, &self.root)?;
        }
        Ok(())
    }

    fn state(&self, pid: u32, status: &str) -> String {
        with_process(&self.state, pid, status)
    }
}

/// The state with a process and a status in it.
pub(crate) fn with_process(state: &str, pid: u32, status: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(state).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("pid".into(), pid.into());
        fields.insert("status".into(), status.into());
    }
    value.to_string()
}

impl Hook {
    /// Runs it to its end, as a child of this process.
    ///
    /// # Errors
    /// When it cannot be run, takes too long, or ends with anything but 0.
    pub fn run(&self, state: &str) -> Result<()> {
        self.finish(self.command(), state)
    }

    /// Runs it in the container's namespaces but for that of processes, in mounts of its own:
    /// those of this process, and at `place` the container's root.
    fn run_inside(
        &self,
        state: &str,
        container: BorrowedFd<'_>,
        root: OwnedFd,
        place: &Path,
    ) -> Result<()> {
        let container = container.try_clone_to_owned().doing(|| "keep the container")?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let path = std::ffi::CString::new(place.as_os_str().as_encoded_bytes());
        let path = path.map_err(|_| Error::Invalid("the root's path has a zero byte".into()))?;
        let mut command = self.command();
        let enter = move || -> io::Result<()> {
            let kinds = ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
                | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
                | ThreadNameSpaceType::NETWORK;
            move_into_thread_name_spaces(container.as_fd(), kinds)?;
            sys::unshare(UnshareFlags::NEWNS)?;
            let open = |path: &std::ffi::CStr| rustix::fs::open(path, flags, Mode::empty());
            sys::set_mount_attributes(open(c"/")?, 0, true)?;
            attach(&root, open(&path)?)?;
            rustix::process::chdir(c"/")?;
            Ok(())
        };
        sys::before_program(&mut command, enter);
        self.finish(command, state)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let Some((name, arguments)) = self.args.split_first() {
            command.arg0(name).args(arguments);
        }
        let pairs = self.env.iter().filter_map(|line| line.split_once('='));
        command.env_clear().envs(pairs).current_dir("/");
        command.stdout(Stdio::null());
        command
    }

    fn finish(&self, mut command: Command, state: &str) -> Result<()> {
        let doing = || format!("run the hook {}", self.path.display());
        command.stdin(told(state).doing(doing)?);
        let mut child = command.spawn().doing(doing)?;
        if !self.has_ended(&child).doing(doing)? {
            // It has not been waited for, so that the number is still its own.
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::Error::from(io::ErrorKind::TimedOut)).doing(doing);
        }
        let status = child.wait().doing(doing)?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Invalid(format!("the hook {} failed: {status}", self.path.display())))
    }

    /// Waits for its end, or until its time is over.
    fn has_ended(&self, child: &Child) -> io::Result<bool> {
        let Some(seconds) = self.timeout else {
            return Ok(true);
        };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pidfd = pidfd_open(pid.ok_or(io::ErrorKind::NotFound)?, PidfdFlags::empty())?;
        let time = Timespec::try_from(Duration::from_secs(seconds)).ok();
        let found = rustix::io::retry_on_intr(|| {
            poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], time.as_ref())
        })?;
        Ok(found > 0)
    }
}

/// The end of a pipe in which a text is, whole: nobody waits for a hook that does not listen.
fn told(text: &str) -> io::Result<OwnedFd> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    if fcntl_getpipe_size(&writer)? < text.len() {
        fcntl_setpipe_size(&writer, text.len())?;
    }
    std::fs::File::from(writer).write_all(text.as_bytes())?;
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Hook {
        let args = ["sh", "-c", script].map(String::from).to_vec();
        Hook { path: "/bin/sh".into(), args, env: vec!["A=1".into()], timeout: None }
    }

    #[test]
    fn a_hook_hears_the_state_and_has_its_own_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out");
        let script = format!("cat >{0}; echo \" $A $HOME $PWD\" >>{0}", file.display());
        shell(&script).run(&with_process(r#"{"id":"x"}"#, 7, "created")).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(text, "{\"id\":\"x\",\"pid\":7,\"status\":\"created\"} 1  /\n");
    }

    #[test]
    fn a_hook_that_fails_or_takes_too_long_is_a_failure() {
        let failed = shell("exit 3").run("{}").unwrap_err().to_string();
        assert!(failed.contains("exit status: 3"), "{failed}");
        let slow = Hook { timeout: Some(1), ..shell("exec sleep 1000") };
        assert!(slow.run("{}").is_err());
        let long = format!("\"{}\"", "x".repeat(200_000));
        assert!(slow.run(&long).is_err(), "it does not listen either");
        let counts = shell("test $(wc -c) = 200002");
        counts.run(&long).unwrap();
        let missing = Hook { path: "/no/such/hook".into(), ..Hook::default() };
        assert!(missing.run("{}").is_err());
    }
}
