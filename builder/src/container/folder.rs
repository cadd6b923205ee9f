//! The folder of one container: what it is, how it fares, and who is in charge of it.
//!
//! `containers/<64 hex digits>/` of the store has `container.json` (never changed once written),
//! `state.json` (replaced as a whole), `networks.json` (what was connected and disconnected since
//! it was made), `update.json` (the limits and the policy that it was given since), `name` (a link
//! to its name), `log.json` (docker's json lines), `layer/files` and `layer/work` (the writable
//! layer), and `socket` while a monitor lives. Whoever makes, runs or removes the container holds a
//! lock on the folder itself.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rbuild_cache::{Digest, Layer, Store};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::error::{Error, Result};
use super::foreign;
use super::group;
use super::names;
use super::network::{self, Connection};
use super::note::note;
use super::options::RunOptions;
use super::state::{State, Status};
use super::update::Changed;
use crate::image::ContainerConfig;

/// The folder of the store with a folder for each container.
pub(crate) const CONTAINERS: &str = "containers";
const RECORD: &str = "container.json";
const STATE: &str = "state.json";
const CONNECTIONS: &str = "networks.json";
const CHANGED: &str = "update.json";
/// A link to the container's name: text in the shortest form that a file system has.
const NAME: &str = "name";
const SOCKET: &str = "socket";
/// More than any record of ours: the rest of a damaged file is not read.
const LONGEST_RECORD: u64 = 16 << 20;

/// What a container is, written once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// When it was made.
    pub(crate) created: Timestamp,
    /// The image as it was asked for.
    pub(crate) reference: String,
    /// The digest of the image's config.
    pub(crate) image: Digest,
    /// The image's layers, lowest first.
    pub(crate) layers: Vec<Layer>,
    /// The image's defaults.
    pub(crate) config: ContainerConfig,
    /// What the user asked for; volumes without a name have one by now.
    pub(crate) options: RunOptions,
    /// The volumes that go with the container.
    pub(crate) anonymous: Vec<String>,
}

/// The lock on a container's folder; freed on drop, and by the kernel when the process dies.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "it is held open")] OwnedFd);

/// One container's folder, which may be gone any time unless it is locked.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) id: String,
    pub(crate) store: Store,
    path: PathBuf,
}

impl Folder {
    /// The folder of an id, whether or not there is one.
    pub(crate) fn new(store: &Store, id: &str) -> Self {
        let path = store.root().join(CONTAINERS).join(id);
        Self { id: id.to_owned(), store: store.clone(), path }
    }

    /// Makes the folder of a new container, locked.
    pub(crate) fn create(store: &Store, id: &str) -> Result<(Self, Held)> {
        let folder = Self::new(store, id);
        loop {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(&folder.path);
            made.map_err(Error::file("make the folder", &folder.path))?;
            // A sweep may have come first and removed what was not locked yet.
            if let Some(held) = folder.lock()? {
                return Ok((folder, held));
            }
        }
    }

    /// The first digits of the id, as people see it.
    pub(crate) fn short(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// Where the container's own changes to its files are.
    pub(crate) fn files(&self) -> PathBuf {
        self.path.join("layer/files")
    }

    /// The work folder of its overlay.
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("layer/work")
    }

    /// The log.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log.json")
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folders of the writable layer.
    pub(crate) fn make_layer(&self) -> Result<()> {
        for (path, mode) in
            [(self.path.join("layer"), 0o700), (self.files(), 0o755), (self.work(), 0o700)]
        {
            let made = DirBuilder::new().mode(mode).create(&path);
            made.map_err(Error::file("make the folder", &path))?;
        }
        Ok(())
    }

    /// Takes the lock; none while another process has it, or when the folder is gone.
    pub(crate) fn lock(&self) -> Result<Option<Held>> {
        let fd = match open_folder(&self.path) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(Error::file("open", &self.path)(error)),
        };
        match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(Error::file("lock", &self.path)(error)),
        }
        let links = rustix::fs::fstat(&fd).map_err(Error::file("lock", &self.path))?.st_nlink;
        Ok((links > 0).then_some(Held(fd)))
    }

    /// What the container is; none when it is not there, or not made to the end.
    pub(crate) fn record(&self) -> Result<Option<Record>> {
        let Some(mut record) = read::<Record>(&self.path.join(RECORD))? else {
            return Ok(None);
        };
        if let Some(changed) = read::<Changed>(&self.path.join(CHANGED))? {
            changed.apply(&mut record.options);
        }
        Ok(Some(record))
    }

    /// Changes what of a container can be changed.
    pub(crate) fn write_changed(&self, changed: &Changed) -> Result<()> {
        self.replace(CHANGED, changed)
    }

    /// The name that the container was given last.
    pub(crate) fn name(&self) -> Option<String> {
        let name = fs::read_link(self.path.join(NAME)).ok()?;
        name.to_str().map(str::to_owned)
    }

    /// Notes the name of the container.
    pub(crate) fn write_name(&self, name: &str) -> Result<()> {
        let path = self.path.join(NAME);
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink(name, &path).map_err(Error::file("make the link", &path))
    }

    /// Writes what the container is, which brings it into being. The disk has it by then, unless
    /// the container goes anyway when it stops.
    pub(crate) fn write_record(&self, record: &Record) -> Result<()> {
        if record.options.remove {
            return self.replace(RECORD, record);
        }
        write(&self.path.join(RECORD), record, true)?;
        let containers = self.path.parent().unwrap_or(&self.path);
        for folder in [&containers.join(names::NAMES), containers, &self.path] {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(Error::file("sync", folder))?;
        }
        Ok(())
    }

    /// How the container fares as its monitor last wrote it.
    pub(crate) fn written_state(&self) -> Result<State> {
        Ok(read(&self.path.join(STATE))?.unwrap_or_default())
    }

    /// Writes how the container fares.
    pub(crate) fn write_state(&self, state: &State) -> Result<()> {
        self.replace(STATE, state)
    }

    /// How the container fares. What a dead monitor left behind is put right first.
    pub(crate) fn state(&self) -> Result<State> {
        let state = self.written_state()?;
        if !state.status.is_alive() || self.connect().is_ok() {
            return Ok(state);
        }
        // Its monitor is about to start, about to end, or dead; a dead one holds no lock.
        let Some(held) = self.lock()? else {
            return self.written_state();
        };
        let state = self.written_state()?;
        if !state.status.is_alive() {
            return Ok(state);
        }
        let state = State {
            status: Status::Exited,
            pid: 0,
            exit_code: 137,
            finished: Some(Timestamp::now()),
            error: "the process that watched the container was killed".to_owned(),
            endpoints: Vec::new(),
            published: Vec::new(),
            ..state
        };
        let record = self.record()?;
        if let Some(record) = &record {
            // Before it is said to have ended, as it may still do something.
            if let Some(other) = &record.options.runtime {
                foreign::sweep(self, other);
            }
            group::sweep(self, &record.options.resources);
            network::forget(self, record)?;
        }
        self.write_state(&state)?;
        let _ = fs::remove_file(self.path.join(SOCKET));
        if let Some(record) = &record {
            note(self, record, "die", &[("exitCode", state.exit_code.to_string())]);
        }
        drop(held);
        Ok(state)
    }

    /// The networks that the container is to be in.
    pub(crate) fn connections(&self, record: &Record) -> Result<Vec<Connection>> {
        let changed = read(&self.path.join(CONNECTIONS))?;
        Ok(changed.unwrap_or_else(|| record.options.connections()))
    }

    /// Changes which networks the container is to be in.
    pub(crate) fn write_connections(&self, connections: &[Connection]) -> Result<()> {
        self.replace(CONNECTIONS, &connections)
    }

    /// Whether a process makes, runs or removes the container.
    pub(crate) fn is_held(&self) -> Result<bool> {
        Ok(self.lock()?.is_none() && self.path.exists())
    }

    /// Replaces a file as a whole. The lock makes this process its only writer.
    fn replace<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        replace(&self.path.join(name), value)
    }

    /// Speaks to the monitor, if one lives.
    pub(crate) fn connect(&self) -> io::Result<UnixStream> {
        let folder = open_folder(&self.path)?;
        UnixStream::connect(socket_path(&folder))
    }

    /// Listens as the monitor.
    pub(crate) fn listen(&self) -> Result<UnixListener> {
        let path = self.path.join(SOCKET);
        let _ = fs::remove_file(&path);
        let bind = || UnixListener::bind(socket_path(&open_folder(&self.path)?));
        bind().map_err(Error::file("listen at", &path))
    }

    /// Stops listening.
    pub(crate) fn remove_socket(&self) {
        let _ = fs::remove_file(self.path.join(SOCKET));
    }

    /// Removes the folder; whoever does holds the lock.
    pub(crate) fn remove(&self) -> Result<()> {
        // Without its record it is no container any more, whatever happens to the rest.
        let record = self.path.join(RECORD);
        match fs::remove_file(&record) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file("remove", &record)(error))
            }
            _ => fs::remove_dir_all(&self.path).map_err(Error::file("remove", &self.path)),
        }
    }
}

fn open_folder(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// The socket by the open folder: the address of a socket is at most 107 bytes long.
fn socket_path(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
}

/// Replaces a file as a whole; nobody else may be writing it.
pub(crate) fn replace<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write(path, value, false)
}

/// The same; where it is to be `durable`, the disk has the contents before they get the name.
fn write<T: Serialize>(path: &Path, value: &T, durable: bool) -> Result<()> {
    let new = path.with_extension("new");
    let bytes = serde_json::to_vec(value).map_err(io::Error::from);
    let bytes = bytes.map_err(Error::file("write", path))?;
    fs::write(&new, bytes).map_err(Error::file("write", &new))?;
    if durable {
        let synced = File::open(&new).and_then(|file| file.sync_all());
        synced.map_err(Error::file("sync", &new))?;
    }
    fs::rename(&new, path).map_err(Error::file("rename into", path))
}

/// Reads a file of ours; one that is missing or damaged is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(LONGEST_RECORD).read_to_end(&mut bytes).map(drop));
    match read {
        Ok(()) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}
