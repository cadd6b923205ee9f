//! What a RUN finds mounted over its root: files of other inputs, cache folders, secrets.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rbuild_cache::tree::Keep;
use rbuild_cache::{Lock, Snapshot, StagedLayer};
use rbuild_runtime::{Mount, MountSource};
use rbuild_solver::Task;
use rbuild_solver::op::{Exec, MountKind};
use rustix::fs::{CWD, Dev, FileType, Mode, OFlags};

use super::{World, select};
use crate::context::Folder;
use crate::error::StepError;
use crate::ssh::Forward;

/// The mounts of one RUN, and what must live as long as they do.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) list: Vec<Mount>,
    /// Secrets that are variables, as `NAME=value`.
    pub(super) env: Vec<String>,
    /// Layers that take the writes to bind mounts, which are thrown away.
    staged: Vec<StagedLayer>,
    /// Views of whose files only one is mounted; closing a view unmounts it.
    views: Vec<OwnedFd>,
    /// Cache folders that are in use by this RUN alone, by the names of their caches.
    pub(super) claimed: BTreeMap<String, (String, Lock)>,
    /// Cache folders that are in use.
    pub(super) caches: Vec<OwnedFd>,
    /// What speaks for the SSH agents.
    agents: Vec<Forward>,
}

impl World {
    /// Prepares everything that a RUN wants mounted.
    pub(super) fn mounts(&self, task: &Task, exec: &Exec) -> Result<Mounts, StepError> {
        let mut all = Mounts::default();
        self.lock_caches(task, exec, &mut all)?;
        for mount in &exec.mounts {
            let target = mount.target.clone();
            match &mount.kind {
                MountKind::Bind { input, source, writable } => {
                    let fd = self.bound(&task.inputs[*input], source, *writable, &mut all)?;
                    let bound = Mount::new(MountSource::Fd(fd), target);
                    all.list.push(if *writable { bound } else { bound.read_only() });
                }
                MountKind::Cache { read_only, .. } => {
                    let folder = self.cache_folder(task, &mount.kind, &mut all)?;
                    let bound = Mount::new(MountSource::Fd(folder), target);
                    all.list.push(if *read_only { bound.read_only() } else { bound });
                }
                MountKind::Inline { contents, mode } => {
                    let bytes = contents.clone().into_bytes();
                    let source = MountSource::Bytes { bytes, mode: *mode, uid: 0, gid: 0 };
                    all.list.push(Mount::new(source, target).read_only());
                }
                MountKind::Tmpfs { size } => {
                    let size = (*size != 0).then_some(*size);
                    let source = MountSource::Tmpfs { size, mode: 0o1777, uid: 0, gid: 0 };
                    all.list.push(Mount::new(source, target));
                }
                MountKind::Secret { id, env, file, required, mode, uid, gid } => {
                    let Some(bytes) = self.secret(id, *required)? else {
                        continue;
                    };
                    if let Some(name) = env {
                        let value = String::from_utf8_lossy(&bytes);
                        all.env.push(format!("{name}={value}"));
                    }
                    if *file {
                        let (mode, uid, gid) = (*mode, *uid, *gid);
                        let source = MountSource::Bytes { bytes, mode, uid, gid };
                        all.list.push(Mount::new(source, target).read_only());
                    }
                }
                MountKind::Ssh { id, required, mode, uid, gid } => {
                    let Some(agent) = self.agent(id, *required)? else {
                        continue;
                    };
                    let doing = format!("forward the SSH agent `{id}`");
                    let forward = Forward::start(&self.store, agent, *mode, (*uid, *gid))
                        .map_err(StepError::file(doing))?;
                    all.list.push(Mount::bind(forward.socket(), target));
                    all.agents.push(forward);
                }
            }
        }
        Ok(all)
    }

    fn secret(&self, id: &str, required: bool) -> Result<Option<Vec<u8>>, StepError> {
        match self.secrets.read(id).map_err(StepError::file(format!("read the secret `{id}`")))? {
            None if required => Err(StepError::Secret(id.to_owned())),
            secret => Ok(secret),
        }
    }

    fn agent(&self, id: &str, required: bool) -> Result<Option<PathBuf>, StepError> {
        let doing = format!("start the SSH agent `{id}`");
        match self.agents.socket(id, &self.store).map_err(StepError::file(doing))? {
            None if required => Err(StepError::Agent(id.to_owned())),
            agent => Ok(agent),
        }
    }

    /// Opens one path of an input for a bind mount.
    fn bound(
        &self,
        input: &Snapshot,
        source: &str,
        writable: bool,
        all: &mut Mounts,
    ) -> Result<OwnedFd, StepError> {
        let stage = || self.store.stage().map_err(StepError::store("begin a layer"));
        let staged = writable.then(stage).transpose()?;
        let root = match self.folder(input) {
            Some(folder) => self.folder_view(folder, staged.as_ref(), all)?,
            None => match &staged {
                Some(staged) => self.store.writable(&input.layers, staged),
                None => self.store.view(&input.layers),
            }
            .map_err(StepError::store("mount the files of another stage"))?,
        };
        all.staged.extend(staged);
        let relative = relative(source);
        if is_root(source) {
            return Ok(root);
        }
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => {
                StepError::NotFound { path: relative.to_owned(), hint: None }
            }
            _ => StepError::file(format!("open `{relative}` for a bind mount"))(error),
        };
        let real = select::resolve(root.as_fd(), Path::new(relative)).map_err(failed)?;
        let real = if real.as_os_str().is_empty() { PathBuf::from(".") } else { real };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(root.as_fd(), &real, flags, Mode::empty())
            .map_err(|error| failed(error.into()))?;
        all.views.push(root);
        Ok(opened)
    }

    /// A folder of the caller as a RUN may see it: without what is ignored, and never written to.
    fn folder_view(
        &self,
        folder: &Folder,
        staged: Option<&StagedLayer>,
        all: &mut Mounts,
    ) -> Result<OwnedFd, StepError> {
        if staged.is_none() && !folder.is_filtered() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            return rustix::fs::openat(CWD, folder.path(), flags, Mode::empty())
                .map_err(StepError::file("open the context"));
        }
        let mask = self.store.stage().map_err(StepError::store("begin a layer"))?;
        hide_ignored(folder, Path::new(""), mask.files())
            .map_err(StepError::file("hide the files that are ignored"))?;
        let folders = [mask.files().to_owned(), folder.path().to_owned()];
        let view = self.store.stack(&folders, staged);
        all.staged.push(mask);
        view.map_err(StepError::store("mount the context"))
    }
}

/// A path of an input below its root.
pub(super) fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

pub(super) fn is_root(path: &str) -> bool {
    matches!(relative(path), "" | ".")
}

/// Puts a whiteout into `mask` for everything of a folder that its ignore file leaves out.
fn hide_ignored(folder: &Folder, below: &Path, mask: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder.path().join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let directory = entry.file_type()?.is_dir();
        match folder.keep(&path, directory) {
            Keep::Take | Keep::Descend if directory => {
                hide_ignored(folder, &path, mask)?;
            }
            Keep::Take | Keep::Descend => {}
            Keep::Skip => {
                let hidden = mask.join(&path);
                if let Some(parent) = hidden.parent() {
                    fs::create_dir_all(parent)?;
                }
                let whiteout = FileType::CharacterDevice;
                let device: Dev = 0;
                rustix::fs::mknodat(CWD, &hidden, whiteout, Mode::empty(), device)?;
            }
        }
    }
    Ok(())
}
