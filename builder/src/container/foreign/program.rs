//! The program of another runtime: how it is called, and what it answers.

use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rbuild_runtime::DEFAULT_PATH;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;

use super::super::error::{Error, Result};
use super::OtherRuntime;
use super::bundle::Bundle;
use super::nvidia;

/// As much as is read of what a runtime says.
const LONGEST_LOG: u64 = 1 << 20;
const CONSOLE: &str = "console";
/// How long a runtime may take: whoever watches a container does nothing else meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take for what runs programs of others, such as hooks.
const LONG_PATIENCE: Duration = Duration::from_mins(2);

/// Another runtime, for one container.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) id: String,
    runtime: OtherRuntime,
    bundle: Bundle,
}

impl Program {
    pub(super) fn new(id: &str, runtime: &OtherRuntime, bundle: &Bundle) -> Self {
        Self { id: id.to_owned(), runtime: runtime.clone(), bundle: bundle.clone() }
    }

    /// The program with a verb, to which the verb's own arguments are added.
    pub(super) fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.runtime.program);
        command.arg("--root").arg(self.bundle.state());
        command.arg("--log").arg(self.bundle.log()).args(["--log-format", "json", verb]);
        command.env_clear().env("PATH", DEFAULT_PATH).current_dir("/").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        nvidia::add_variables(&mut command, &self.runtime, &self.bundle);
        command
    }

    /// Runs it to its end, which comes soon or is brought about.
    pub(super) fn run(&self, command: &mut Command, verb: &'static str) -> Result<()> {
        let limit = match verb {
            "kill" | "delete" => PATIENCE,
            _ => LONG_PATIENCE,
        };
        self.run_within(limit, command, verb)
    }

    fn run_within(&self, limit: Duration, command: &mut Command, verb: &'static str) -> Result<()> {
        let _ = std::fs::remove_file(self.bundle.log());
        let ended = command.spawn().and_then(|child| end(child, limit));
        let status = ended.map_err(|source| Error::File {
            doing: "run the runtime",
            path: self.runtime.program.clone(),
            source,
        })?;
        let failed = |reason| Error::OtherRuntime { name: self.runtime.name.clone(), verb, reason };
        let Some(status) = status else {
            return Err(failed(format!("it was killed after {} s", limit.as_secs())));
        };
        // The ends of pipes in it are the container's alone.
        if status.success() {
            return Ok(());
        }
        let mut text = String::new();
        if let Ok(log) = std::fs::File::open(self.bundle.log()) {
            // What cannot be read says nothing.
            let _ = log.take(LONGEST_LOG).read_to_string(&mut text);
        }
        Err(failed(reason(&text).unwrap_or_else(|| format!("it ended with {status}"))))
    }

    /// Removes what was written for the runtime.
    pub(super) fn remove_bundle(&self) {
        self.bundle.remove();
    }

    /// Removes the container, whatever it does.
    pub(super) fn delete(&self) -> Result<()> {
        let mut delete = self.command("delete");
        self.run(delete.arg("--force").arg(&self.id), "delete")
    }
}

/// Waits for the end of a program; none if it had to be killed.
fn end(mut child: Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let waited = wait(&child, limit);
    if !matches!(waited, Ok(true)) {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(waited?.then_some(status))
}

/// Whether a program ends in time.
fn wait(child: &Child, limit: Duration) -> std::io::Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let until = Instant::now() + limit;
    loop {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], left.as_ref()) {
            Err(Errno::INTR) => {}
            ended => return Ok(ended? > 0),
        }
    }
}

/// A name for what no other call of a runtime may meet, in this process or another.
pub(super) fn unique(what: &str) -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    format!("{what}-{}-{}", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed))
}

/// The last error of a log in JSON, a line each.
fn reason(log: &str) -> Option<String> {
    let line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_error = matches!(value["level"].as_str(), None | Some("error" | "fatal" | "panic"));
        is_error.then(|| value["msg"].as_str().map(|text| text.trim().to_owned()))?
    };
    log.lines().rev().find_map(line).filter(|reason| !reason.is_empty())
}

/// The code that `docker run` exits with for what a runtime says of its failure.
pub(crate) fn exit_code(reason: &str) -> i32 {
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    let is_of_the_program = has(&["exec: ", "executable", "cannot run \""]);
    let not_a_program =
        ["ermission denied", "not permitted", "s a directory", "ot a directory", "format error"];
    if has(&["executable file not found", "executable file `"]) {
        127
    } else if is_of_the_program && has(&not_a_program) {
        126
    } else if is_of_the_program && has(&["o such file or directory"]) {
        127
    } else {
        125
    }
}

/// A socket to which a runtime sends the outer end of a terminal.
#[derive(Debug)]
pub(super) struct Console {
    listener: UnixListener,
    folder: OwnedFd,
    file: PathBuf,
}

impl Console {
    pub(super) fn listen(bundle: &Bundle) -> Result<Self> {
        let file = bundle.path().join(unique(CONSOLE));
        let _ = std::fs::remove_file(&file);
        let listen = || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = rustix::fs::open(bundle.path(), flags, Mode::empty())?;
            let listener = UnixListener::bind(short(&folder, &file))?;
            Ok::<_, std::io::Error>((listener, folder))
        };
        let (listener, folder) = listen().map_err(Error::file("listen at", &file))?;
        Ok(Self { listener, folder, file })
    }

    /// Its path: the address of a socket is at most 107 bytes long.
    pub(super) fn path(&self) -> PathBuf {
        short(&self.folder, &self.file)
    }

    /// The terminal that a program has sent before it ended.
    pub(super) fn take(self) -> Result<OwnedFd> {
        let take = || {
            self.listener.set_nonblocking(true)?;
            let (stream, _) = self.listener.accept()?;
            receive(&stream)
        };
        take().map_err(Error::system("receive the terminal of a container"))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn short(folder: &OwnedFd, file: &Path) -> PathBuf {
    let place = format!("/proc/{}/fd/{}", std::process::id(), folder.as_raw_fd());
    Path::new(&place).join(file.file_name().unwrap_or_default())
}

fn receive(stream: &UnixStream) -> std::io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 4096];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(stream.as_fd(), &mut [IoSliceMut::new(&mut name)], &mut ancillary, flags)?;
    let mut fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    fds.find_map(|mut fds| fds.next()).ok_or(std::io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_the_reason() {
        let log = "{\"level\":\"warning\",\"msg\":\"a\"}\n{\"level\":\"error\",\"msg\":\"b\\n\"}\n\
            {\"level\":\"warning\",\"msg\":\"c\"}\nno json\n";
        assert_eq!(reason(log).as_deref(), Some("b"));
        assert_eq!(reason("{\"msg\":\"bare\"}").as_deref(), Some("bare"));
        assert_eq!(reason("text\n"), None);
    }

    #[test]
    fn a_runtime_that_takes_too_long_is_killed() {
        let scratch = tempfile::tempdir().unwrap();
        let store = rbuild_cache::Store::open(scratch.path()).unwrap();
        let bundle = Bundle::of(&super::super::Folder::new(&store, "slow"));
        let runtime =
            OtherRuntime { name: "slow".to_owned(), program: "sleep".into(), below: None };
        let program = Program::new("slow", &runtime, &bundle);
        let (mut its_life, held) = std::io::pipe().unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000").stdout(held);
        let limit = Duration::from_millis(50);
        let error = program.run_within(limit, &mut command, "kill").unwrap_err();
        assert!(error.to_string().contains("it was killed"), "{error}");
        drop(command);
        // Were it alive, this would wait for it.
        assert_eq!(its_life.read(&mut [0]).unwrap(), 0);
        program.run(&mut Command::new("true"), "kill").unwrap();
        assert!(program.run(&mut Command::new("false"), "kill").is_err());
    }

    #[test]
    fn names_of_calls_differ() {
        assert_ne!(unique("exec"), unique("exec"));
    }

    #[test]
    fn reasons_have_docker_s_codes() {
        for (reason, code) in [
            (r#"exec: "nope": executable file not found in $PATH"#, 127),
            ("executable file `nope` not found in $PATH: No such file or directory", 127),
            (r#"exec: "/no/such": stat /no/such: no such file or directory"#, 127),
            ("open executable: Permission denied", 126),
            ("open executable: Operation not permitted", 126),
            ("cannot run \"/etc/passwd\": Permission denied (os error 13)", 126),
            ("setrlimit (RLIM_MEMLOCK): Operation not permitted", 125),
            (r#"exec: "/etc": is a directory"#, 126),
            ("error mounting \"/x\": no such file or directory", 125),
            ("cgroups in hybrid mode not supported", 125),
        ] {
            assert_eq!(exit_code(reason), code, "{reason}");
        }
    }
}
