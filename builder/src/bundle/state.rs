//! What is remembered of a container, and how it fares.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rbuild_runtime::Hook;
use rbuild_runtime::cgroup::Cgroup;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{Error, Result};
use super::spec;

const STATE: &str = "state.json";
const FIFO: &str = "start";
const GROUP: &str = "group";

/// The folder in which containers of bundles are remembered.
#[derive(Debug, Clone)]
pub struct Bundles {
    root: PathBuf,
}

/// The stage of its life that a container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything is ready but for its program, which waits.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// What is remembered of a container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) oci_version: String,
    pub(super) pid: u32,
    /// When the first process was started, in the kernel's words: a number is used again.
    pub(super) started: u64,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) created: Timestamp,
    pub(super) group: Option<String>,
    pub(super) process: spec::Process,
    pub(super) seccomp: Option<spec::Seccomp>,
    pub(super) poststart: Vec<Hook>,
    pub(super) poststop: Vec<Hook>,
}

/// A container, and how it fares.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) id: String,
    pub(super) saved: Saved,
    /// How it fares.
    pub status: Status,
}

impl State {
    /// The first process, as this process numbers it; none when it has ended.
    pub fn pid(&self) -> Option<u32> {
        (self.status != Status::Stopped).then_some(self.saved.pid)
    }

    /// The state as the specification has it, with what others add.
    pub fn json(&self) -> Value {
        json!({
            "ociVersion": self.saved.oci_version,
            "id": self.id,
            "pid": self.pid().unwrap_or_default(),
            "status": self.status,
            "bundle": self.saved.bundle,
            "rootfs": self.saved.rootfs,
            "created": self.saved.created,
            "annotations": self.saved.annotations,
        })
    }

    pub(super) fn group(&self) -> Option<Cgroup> {
        self.saved.group.as_deref().and_then(|path| Cgroup::find(path).ok())
    }
}

impl Bundles {
    /// The containers that are remembered in a folder, which is made when there is one.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// How a container fares.
    pub fn state(&self, id: &str) -> Result<State> {
        let path = self.folder(id)?.join(STATE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NotFound(id.to_owned()));
            }
            read => read.map_err(Error::file("read", &path))?,
        };
        let saved: Saved = serde_json::from_slice(&bytes)
            .map_err(io::Error::from)
            .map_err(Error::file("read", &path))?;
        let mut state = State { id: id.to_owned(), saved, status: Status::Stopped };
        state.status = self.status(&state);
        Ok(state)
    }

    /// All containers, by their ids.
    pub fn list(&self) -> Result<Vec<State>> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(Error::file("read", &self.root))?,
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut states: Vec<_> = names.filter_map(|id| self.state(&id).ok()).collect();
        states.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(states)
    }

    fn status(&self, state: &State) -> Status {
        let saved = &state.saved;
        if started(saved.pid) != Some(saved.started) {
            return Status::Stopped;
        }
        if state.group().is_some_and(|group| group.is_frozen()) {
            return Status::Paused;
        }
        // Who waits to be started holds the fifo open.
        match self.open_fifo(&state.id) {
            Ok(_) => Status::Created,
            Err(_) => Status::Running,
        }
    }

    /// The fifo at which the first process waits; nobody does where this fails.
    pub(super) fn open_fifo(&self, id: &str) -> io::Result<fs::File> {
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
        let path = self.root.join(id).join(FIFO);
        fs::OpenOptions::new().write(true).custom_flags(flags).open(path)
    }

    /// Takes away what is left of a container whose maker died before it was made.
    pub(super) fn sweep(&self, id: &str) -> Result<()> {
        let path = self.folder(id)?;
        let folder = match fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(Error::file("open", &path))?,
        };
        if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::Busy(id.to_owned()));
        }
        let noted = fs::read_to_string(path.join(GROUP)).ok();
        let is_others = |path: &String| {
            let states = self.list().unwrap_or_default();
            states.iter().any(|state| state.saved.group.as_ref() == Some(path))
        };
        if let Some(path) = noted.filter(|path| !is_others(path)) {
            let group = Cgroup::find(&path)?;
            group.kill();
            group.remove()?;
        }
        self.forget(id)
    }

    /// Notes where a container's control group will be, for whoever has to sweep.
    pub(super) fn note_group(&self, id: &str, group: &str) -> Result<()> {
        let path = self.folder(id)?.join(GROUP);
        fs::write(&path, group).map_err(Error::file("write", &path))
    }

    /// Makes the folder of a new container, locked as long as what is returned first lives, and its
    /// fifo, open at both ends.
    pub(super) fn make(&self, id: &str) -> Result<(fs::File, fs::File)> {
        let path = self.folder(id)?;
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&self.root);
        made.map_err(Error::file("make the folder", &self.root))?;
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists(id.to_owned()));
            }
            made => made.map_err(Error::file("make the folder", &path))?,
        }
        let folder = fs::File::open(&path).map_err(Error::file("open", &path))?;
        let locked = flock(&folder, FlockOperation::LockExclusive);
        locked.map_err(Error::file("lock", &path))?;
        let fifo = path.join(FIFO);
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
        let made = rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0);
        made.map_err(Error::file("make", &fifo))?;
        let opened = fs::OpenOptions::new().read(true).write(true).open(&fifo);
        Ok((folder, opened.map_err(Error::file("open", &fifo))?))
    }

    pub(super) fn save(&self, id: &str, saved: &Saved) -> Result<()> {
        let path = self.folder(id)?.join(STATE);
        let new = path.with_extension("new");
        let bytes = serde_json::to_vec(saved).map_err(io::Error::from);
        let written = bytes.and_then(|bytes| fs::write(&new, bytes));
        written.and_then(|()| fs::rename(&new, &path)).map_err(Error::file("write", &path))
    }

    /// Forgets a container.
    pub(super) fn forget(&self, id: &str) -> Result<()> {
        let path = self.folder(id)?;
        fs::remove_dir_all(&path).map_err(Error::file("remove", &path))
    }

    fn folder(&self, id: &str) -> Result<PathBuf> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        let is_id = !id.is_empty() && id.len() <= 1024 && id.bytes().all(is_known);
        if !is_id || id.starts_with('.') {
            return Err(Error::InvalidId(id.to_owned()));
        }
        Ok(self.root.join(id))
    }
}

/// When a process was started, in the kernel's words; none when it has ended.
pub(super) fn started(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    // The 22nd field of all; a dead process is one that nobody has waited for yet.
    fields.nth(18)?.parse().ok().filter(|_| !matches!(state, "Z" | "X"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_name() {
        let bundles = Bundles::new("/nowhere");
        for id in ["", ".", "..", "a/b", "../x", "a b", ".hidden"] {
            assert!(matches!(bundles.state(id), Err(Error::InvalidId(_))), "{id:?}");
        }
        assert!(matches!(bundles.state("a_b+c-1.2"), Err(Error::NotFound(_))));
        assert_eq!(bundles.list().unwrap().len(), 0);
    }

    #[test]
    fn the_start_of_a_process_tells_it_from_a_later_one() {
        let own = started(std::process::id()).unwrap();
        assert_eq!(started(std::process::id()), Some(own));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(started(pid), None);
    }
}
