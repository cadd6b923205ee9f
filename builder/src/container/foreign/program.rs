//! The program of another runtime: how it is called, and what it answers.

use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rbuild_runtime::DEFAULT_PATH;
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::super::error::{Error, Result};
use super::OtherRuntime;
use super::bundle::Bundle;
use super::nvidia;

/// As much as is read of what a runtime says.
const LONGEST_LOG: u64 = 1 << 20;
const CONSOLE: &str = "console";

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

    /// Runs it to its end.
    pub(super) fn run(&self, command: &mut Command, verb: &'static str) -> Result<()> {
        let _ = std::fs::remove_file(self.bundle.log());
        let status = command.status().map_err(|source| Error::File {
            doing: "run the runtime",
            path: self.runtime.program.clone(),
            source,
        })?;
        // The ends of pipes in it are the container's alone.
        if status.success() {
            return Ok(());
        }
        let mut text = String::new();
        if let Ok(log) = std::fs::File::open(self.bundle.log()) {
            // What cannot be read says nothing.
            let _ = log.take(LONGEST_LOG).read_to_string(&mut text);
        }
        let reason = reason(&text).unwrap_or_else(|| format!("it ended with {status}"));
        Err(Error::OtherRuntime { name: self.runtime.name.clone(), verb, reason })
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
        let name = format!("{CONSOLE}-{}", std::process::id());
        let file = bundle.path().join(&name);
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
