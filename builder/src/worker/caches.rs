//! The folders of `RUN --mount=type=cache`, which outlive a build.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use futures::future::try_join_all;
use rbuild_cache::{Blob, Lock, Snapshot, Store, privilege};
use rbuild_solver::op::{Exec, MountKind, Op, Sharing};
use rbuild_solver::{Graph, Task, What, Work};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, statat};
use rustix::io::Errno;

use super::mounts::{Mounts, is_root, relative};
use super::{LocalWorker, World, fetch};
use crate::error::{StepError, with_causes};
use crate::share::mounts;

const CACHES: &str = "cache-mounts";

/// How the name of a folder ends that is not yet a cache.
const UNFINISHED: &str = ".new";

/// How often a cache is opened again that another build takes away meanwhile.
const TRIES: usize = 16;

/// How many chunks of a cache are fetched at the same time.
const AT_ONCE: usize = 8;

/// Takes away the caches that steps of a graph use which are to run as if for the first time.
///
/// A RUN of another build that uses one of them keeps it until it ends.
pub(crate) fn forget(store: &Store, graph: &Graph) -> rbuild_cache::Result<()> {
    let ids = fresh(graph);
    let entries = match fs::read_dir(store.root().join(CACHES)) {
        Ok(entries) if !ids.is_empty() => entries,
        _ => return Ok(()),
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.ends_with(UNFINISHED)) else {
            continue;
        };
        if ids.iter().any(|id| name.starts_with(id.as_str())) {
            store.discard(&entry.path())?;
        }
    }
    Ok(())
}

/// How the names of caches begin that are to be as if for the first time.
pub(crate) fn fresh(graph: &Graph) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for (_, vertex) in graph.iter() {
        let Work::Op { op: Op::Exec(exec), fresh: true, .. } = &vertex.work else {
            continue;
        };
        ids.extend(exec.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Cache { id, .. } => Some(hash(id)),
            _ => None,
        }));
    }
    ids
}

/// The folders of the caches that a graph uses and that are here: the ids and names, without the
/// copies of those that no two steps share.
pub(crate) fn folders(store: &Store, graph: &Graph) -> Vec<(String, String)> {
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for (_, vertex) in graph.iter() {
        let Work::Op { op: Op::Exec(exec), .. } = &vertex.work else { continue };
        for mount in &exec.mounts {
            if let MountKind::Cache { id, .. } = &mount.kind {
                ids.insert(hash(id), id.clone());
            }
        }
    }
    let entries = fs::read_dir(store.root().join(CACHES)).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| !name.contains('.'))?;
            let id = ids.get(name.split('-').next().unwrap_or_default())?;
            Some((id.clone(), name))
        })
        .collect();
    found.sort();
    found
}

/// The folder of a cache by its name.
pub(crate) fn path(store: &Store, name: &str) -> PathBuf {
    store.root().join(CACHES).join(name)
}

impl LocalWorker {
    /// Fetches the caches of other machines that a RUN would find empty. What cannot be fetched is
    /// told, and the RUN does without.
    pub(super) async fn fetch_caches(&self, task: &Task) {
        let Op::Exec(exec) = &task.op else { return };
        let World { store, registries, events, mounts, .. } = &*self.0;
        for mount in &exec.mounts {
            let MountKind::Cache { id, .. } = &mount.kind else { continue };
            let name = cache_name(task, &mount.kind, id);
            let Some(chunks) = mounts.get(&name).filter(|_| !path(store, &name).exists()) else {
                continue;
            };
            let get = |chunk| fetch::blob(store, registries, chunk, events, Some(task.step));
            for some in chunks.chunks(AT_ONCE) {
                let Err(error) = try_join_all(some.iter().map(get)).await else { continue };
                let text = format!("the cache mount `{id}` is empty: {}", with_causes(&error));
                task.events.emit(task.step, What::Warning { text });
                break;
            }
        }
    }
}

impl World {
    /// Fills a new cache with what another machine had in it; tells whether there was such.
    fn restore_cache(&self, folder: &Path, aside: &Path) -> bool {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_here = |chunk: &Blob| self.store.has_blob(&chunk.digest);
        let Some(chunks) = self.mounts.get(name).filter(|chunks| chunks.iter().all(is_here)) else {
            return false;
        };
        let restored = mounts::restore(&self.store, chunks, aside);
        if let Err(error) = &restored {
            tracing::warn!(%error, name, "a cache mount is not taken over");
        }
        restored.is_ok()
    }

    /// Opens the folder of a cache mount, which is made and seeded when it is new.
    pub(super) fn cache_folder(
        &self,
        task: &Task,
        kind: &MountKind,
        all: &mut Mounts,
    ) -> Result<OwnedFd, StepError> {
        let MountKind::Cache { id, sharing, seed, source, .. } = kind else {
            return Err(StepError::Other("not a cache mount".to_owned()));
        };
        let path = || relative(source).to_owned();
        if seed.is_none() && !is_root(source) {
            let hint = "a new cache is empty: `source` is a path in what `from` names".to_owned();
            return Err(StepError::NotFound { path: path(), hint: Some(hint) });
        }
        let name = self.claim_cache(task, id, cache_name(task, kind, id), *sharing, all)?;
        self.store
            .uses_cache_mount(&name, &format!("cache mount {id}"))
            .map_err(StepError::store(format!("use the cache folder `{id}`")))?;
        let folder = self.store.root().join(CACHES).join(name);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound if seed.is_some() => {
                StepError::NotFound { path: path(), hint: None }
            }
            _ => StepError::file(format!("make the cache folder `{id}`"))(error),
        };
        for _ in 0..TRIES {
            self.make_cache(task, kind, &folder).map_err(failed)?;
            if let Some(opened) = open_in_use(&folder).map_err(failed)? {
                all.caches.push(opened.try_clone().map_err(failed)?);
                return Ok(opened);
            }
        }
        Err(StepError::Other(format!("other builds take the cache `{id}` away")))
    }

    /// Makes the folder of a cache unless it is there.
    fn make_cache(&self, task: &Task, kind: &MountKind, folder: &Path) -> io::Result<()> {
        let MountKind::Cache { seed, source, mode, uid, gid, .. } = kind else {
            return Ok(());
        };
        if folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(folder.parent().unwrap_or(folder))?;
        // Made aside and renamed, so that nobody sees a half-seeded folder.
        let end = format!("{}.{}{UNFINISHED}", std::process::id(), task.step.0);
        let aside = folder.with_extension(end);
        let _ = fs::remove_dir_all(&aside);
        let make = || fs::DirBuilder::new().mode(*mode).create(&aside);
        make()?;
        let is_restored = self.restore_cache(folder, &aside);
        if !is_restored {
            // Half of a cache is none.
            fs::remove_dir_all(&aside)?;
            make()?;
        }
        if let Some(seed) = seed.filter(|_| !is_restored) {
            self.seed_cache(&task.inputs[seed], source, &aside)?;
        }
        fs::set_permissions(&aside, fs::Permissions::from_mode(*mode))?;
        if !privilege::has_owner(*uid, *gid) {
            return Err(io::Error::other(privilege::no_owner(*uid, *gid)));
        }
        chown(&aside, Some(*uid), Some(*gid))?;
        match fs::rename(&aside, folder) {
            Err(_) if folder.is_dir() => fs::remove_dir_all(&aside),
            result => result,
        }
    }

    /// Waits for the caches that a RUN wants for itself: in the order of their names, in which all
    /// wait, so that no two wait for each other.
    pub(super) fn lock_caches(
        &self,
        task: &Task,
        exec: &Exec,
        all: &mut Mounts,
    ) -> Result<(), StepError> {
        let locked = exec.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Cache { id, sharing: Sharing::Locked, .. } => {
                Some((cache_name(task, &mount.kind, id), id))
            }
            _ => None,
        });
        let mut locked: Vec<_> = locked.collect();
        locked.sort();
        for (name, id) in locked {
            self.claim_cache(task, id, name, Sharing::Locked, all)?;
        }
        Ok(())
    }

    /// Finds which folder serves a cache mount, by how it is shared; a RUN that has it for itself
    /// gets it at every place where it is mounted.
    fn claim_cache(
        &self,
        task: &Task,
        id: &str,
        name: String,
        sharing: Sharing,
        all: &mut Mounts,
    ) -> Result<String, StepError> {
        if let Some((folder, _)) = all.claimed.get(&name) {
            return Ok(folder.clone());
        }
        let Some((folder, lock)) = self.lock_cache(task, id, &name, sharing)? else {
            return Ok(name);
        };
        all.claimed.insert(name, (folder.clone(), lock));
        Ok(folder)
    }

    /// Locks the folder that serves a cache, unless it is shared.
    fn lock_cache(
        &self,
        task: &Task,
        id: &str,
        name: &str,
        sharing: Sharing,
    ) -> Result<Option<(String, Lock)>, StepError> {
        let failed = || StepError::store(format!("lock the cache folder `{id}`"));
        match sharing {
            Sharing::Shared => Ok(None),
            Sharing::Locked => {
                let tell = |pid: u32| {
                    let on = format!("pid {pid}, which uses the cache `{id}`");
                    task.events.emit(task.step, What::Waiting { on });
                };
                let lock = self.store.lock_wait(&format!("cache {name}"), tell);
                Ok(Some((name.to_owned(), lock.map_err(failed())?)))
            }
            Sharing::Private => {
                for number in 0_u32.. {
                    let name = match number {
                        0 => name.to_owned(),
                        number => format!("{name}.{number}"),
                    };
                    let lock = self.store.lock(&format!("cache {name}")).map_err(failed())?;
                    if let Some(lock) = lock {
                        return Ok(Some((name, lock)));
                    }
                }
                Err(StepError::Other(format!("every copy of the cache `{id}` is in use")))
            }
        }
    }

    fn seed_cache(&self, seed: &Snapshot, source: &str, target: &Path) -> io::Result<()> {
        let root = match self.folder(seed) {
            Some(folder) => folder.root().try_clone_to_owned()?,
            None => self.store.view(&seed.layers).map_err(io::Error::other)?,
        };
        super::copy::tree(root.as_fd(), Path::new(relative(source)), target)
    }
}

/// Opens a cache and marks it as in use; there is none if another build takes it away just now.
fn open_in_use(folder: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(CWD, folder, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened?,
    };
    flock(&opened, FlockOperation::LockShared)?;
    let there = match statat(CWD, folder, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        there => there?,
    };
    Ok((there.st_ino == fstat(&opened)?.st_ino).then_some(opened))
}

/// The name of the folder of a cache, which begins with the hash of its id: another seed, or
/// another owner, is another cache.
fn cache_name(task: &Task, kind: &MountKind, id: &str) -> String {
    let mut more = String::new();
    if let MountKind::Cache { seed, source, mode, uid, gid, .. } = kind {
        if let Some(seed) = seed {
            let content = task.inputs[*seed].content.hex();
            let _ = write!(more, "\0{content} {source}");
        }
        if (*mode, *uid, *gid) != (0o755, 0, 0) {
            let _ = write!(more, "\0{mode:o} {uid} {gid}");
        }
    }
    if more.is_empty() { hash(id) } else { format!("{}-{}", hash(id), hash(&more)) }
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}
